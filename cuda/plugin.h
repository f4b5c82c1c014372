/* plugin.h: what the plugin keeps from load to unload, and the host's services. */
#ifndef CU_PLUGIN_H
#define CU_PLUGIN_H

#include <tandem/tandem.h>

typedef struct cu_plugin {
    tandem_host host;
    const char *library;  /* option cuda.library, while a query is under way; NULL: the system's */
    uint64_t max_segment; /* option cuda.max_segment: bytes of a piece of a matrix, for tests; 0: no limit */
} cu_plugin;

extern cu_plugin cu_the_plugin;

/* The plugin's own table: the shared validator reads handles through it. */
extern const tandem_backend gpu_backend;

/* Host services, with the plugin's own where the host has none. */
void gpu_log(uint32_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *gpu_alloc(uint64_t bytes); /* zeroed */
void gpu_free(void *pointer);
uint64_t gpu_clock_ns(void);

#endif
