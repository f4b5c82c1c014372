/* plugin_argument.h: the plugin that a test program is to try: PROGRAM [PLUGIN [--option NAME=VALUE]...] */
#ifndef TANDEM_TESTS_PLUGIN_ARGUMENT_H
#define TANDEM_TESTS_PLUGIN_ARGUMENT_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "loader.h"

typedef struct plugin_argument {
    const char *name;
    const char *options[4];
    tandem_host host; /* with the options, for tandem_plugin_open; its address stays */
} plugin_argument;

/* False, after a line of usage: something else was given. */
static inline bool plugin_argument_take(plugin_argument *plugin, int argc, char **argv) {
    plugin->name = argc > 1 ? argv[1] : "reference";
    plugin->host = (tandem_host){.struct_size = sizeof plugin->host};
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 == argc || strcmp(argv[i], "--option") != 0 || plugin->host.n_options == 4) {
            fprintf(stderr, "usage: %s [PLUGIN [--option NAME=VALUE]...]\n", argv[0]);
            return false;
        }
        plugin->options[plugin->host.n_options++] = argv[i + 1];
        plugin->host.options = plugin->options;
    }
    return true;
}

#endif
