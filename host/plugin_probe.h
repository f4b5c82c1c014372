/* host/plugin_probe.h: asks a plugin in a process of its own what it is and which devices it has: one that crashes,
 * ends the process or hangs costs its own line, not those of the others.
 */
#ifndef TANDEM_HOST_PLUGIN_PROBE_H
#define TANDEM_HOST_PLUGIN_PROBE_H

#include <stdbool.h>

#include "plugin_call.h"

typedef struct plugin_found {
    bool opened; /* the texts of its descriptor are there */
    char version[64], git[64], toolchain[128], targets[128], shaders[256], needs[128];
    char reason[512]; /* why it has no device; empty if it has one */
    uint32_t n;
    tandem_device_info *device; /* [n], malloc'd */
} plugin_found;

/* path_or_name: as tandem_plugin_open takes it. False: memory is out. */
bool plugin_probe(const char *path_or_name, plugin_found *found);
void plugin_probe_free(plugin_found *found);

#endif
