/* services.h: what the host offers, with the plugin's own where it offers nothing, and the plugin's options.
 */
#ifndef GPU_SERVICES_H
#define GPU_SERVICES_H

#include <tandem/tandem.h>

/* What every GPU plugin keeps from load to unload. */
typedef struct gpu_plugin {
    tandem_host host;
    uint64_t max_segment; /* option NAME.max_segment: bytes of a piece of a matrix, for tests; 0: the device's
                             limit */
} gpu_plugin;

extern gpu_plugin gpu_the_plugin;

void gpu_log(uint32_t level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *gpu_alloc(uint64_t bytes); /* zeroed */
void gpu_free(void *pointer);
uint64_t gpu_clock_ns(void);

/* 1: the name of `option`, of n bytes, is `name`. */
int gpu_option_is(const char *option, size_t n, const char *name);
/* Takes the value of an option: 0 or 1; a number of bytes that is not too small for a segment. INVALID. */
tandem_status gpu_take_switch(const char *option, const char *value, int *target, tandem_error *error);
tandem_status gpu_take_bytes(const char *option, const char *value, uint64_t *target, tandem_error *error);

#endif
