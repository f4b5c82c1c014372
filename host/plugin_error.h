/* host/plugin_error.h: turns a plugin's refusal into the host's sentence. */
#ifndef TANDEM_HOST_PLUGIN_ERROR_H
#define TANDEM_HOST_PLUGIN_ERROR_H

#include "message.h"

/* A tandem_error ready to be handed to a plugin. */
#define TANDEM_ERROR_INIT {.struct_size = sizeof(tandem_error), .op_index = TANDEM_NONE}

/* "<what>: <the plugin's sentence>"; returns `status`. */
int message_plugin(tandem_message *message, tandem_status status, const tandem_error *error, const char *what);

/* "out of memory" and so on. */
const char *status_text(tandem_status status);

/* 2 for INVALID, 4 for OUT_OF_MEMORY, 3 for the rest. */
int exit_code_of(tandem_status status);

#endif
