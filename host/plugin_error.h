/* host/plugin_error.h: turns a plugin's refusal into the host's sentence. */
#ifndef TANDEM_HOST_PLUGIN_ERROR_H
#define TANDEM_HOST_PLUGIN_ERROR_H

#include "message.h"

/* A tandem_error ready to be handed to a plugin. */
#define TANDEM_ERROR_INIT                                                                                    \
    { .struct_size = sizeof(tandem_error), .op_index = TANDEM_NONE }

/* "<what>: <the plugin's sentence>"; returns `status`. */
int message_plugin(tandem_message *message, tandem_status status, const tandem_error *error,
                   const char *what);

#endif
