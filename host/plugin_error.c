/* host/plugin_error.c: sentences for refusals of plugins. */
#include "plugin_error.h"

#include <string.h>

#include <tandem/message.h>

int message_plugin(tandem_message *message, tandem_status status, const tandem_error *error,
                   const char *what) {
    char text[sizeof error->message];
    memcpy(text, error->message, sizeof text);
    text[sizeof text - 1] = 0; /* a plugin may have forgotten it */
    return message_fail(message, status, "%s: %s", what, text[0] ? text : tandem_kit_status_sentence(status));
}
