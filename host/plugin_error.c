/* host/plugin_error.c: sentences for refusals of plugins. */
#include "plugin_error.h"

#include <string.h>

#include "options.h"

const char *status_text(tandem_status status) {
    switch (status) {
    case TANDEM_OK: return "good";
    case TANDEM_E_INVALID: return "invalid argument";
    case TANDEM_E_UNSUPPORTED: return "not supported";
    case TANDEM_E_OUT_OF_MEMORY: return "out of memory";
    case TANDEM_E_BUSY: return "too many runs pending";
    case TANDEM_E_TIMEOUT: return "timed out";
    case TANDEM_E_DEVICE_LOST: return "device lost";
    case TANDEM_E_NEEDS_NEW_PROCESS: return "the driver needs a new process";
    case TANDEM_E_NO_DEVICE: return "no device";
    case TANDEM_E_VERSION: return "ABI versions do not fit";
    case TANDEM_E_INTERNAL: return "internal error";
    default: return "unknown status";
    }
}

int message_plugin(tandem_message *message, tandem_status status, const tandem_error *error, const char *what) {
    char text[sizeof error->message];
    memcpy(text, error->message, sizeof text);
    text[sizeof text - 1] = 0; /* a plugin may have forgotten it */
    return message_fail(message, status, "%s: %s", what, text[0] ? text : status_text(status));
}

int exit_code_of(tandem_status status) {
    switch (status) {
    case TANDEM_OK: return TANDEM_EXIT_GOOD;
    case TANDEM_E_INVALID: return TANDEM_EXIT_USAGE;
    case TANDEM_E_OUT_OF_MEMORY: return TANDEM_EXIT_NO_MEMORY;
    default: return TANDEM_EXIT_ENVIRONMENT;
    }
}
