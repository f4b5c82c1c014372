/* services.c: what the host offers, and the plugin's own where it offers nothing. */
#include "services.h"

#include <tandem/message.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

gpu_plugin gpu_the_plugin;

void gpu_log(uint32_t level, const char *format, ...) {
    const tandem_host *host = &gpu_the_plugin.host;
    if (!host->log)
        return;
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    host->log(host->user, level, message);
}

void *gpu_alloc(uint64_t bytes) {
    const tandem_host *host = &gpu_the_plugin.host;
    if (bytes == 0)
        bytes = 1;
    if (bytes > SIZE_MAX)
        return NULL;
    if (!host->alloc || !host->free)
        return calloc(1, (size_t)bytes);
    void *pointer = host->alloc(host->user, bytes, 64);
    if (pointer)
        memset(pointer, 0, (size_t)bytes);
    return pointer;
}

void gpu_free(void *pointer) {
    const tandem_host *host = &gpu_the_plugin.host;
    if (!pointer)
        return;
    if (!host->alloc || !host->free)
        free(pointer);
    else
        host->free(host->user, pointer);
}

uint64_t gpu_clock_ns(void) {
    const tandem_host *host = &gpu_the_plugin.host;
    if (host->clock_ns)
        return host->clock_ns(host->user);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- options ---- */

#define MIN_SEGMENT 65536u

int gpu_option_is(const char *option, size_t n, const char *name) {
    return n == strlen(name) && strncmp(option, name, n) == 0;
}

tandem_status gpu_take_switch(const char *option, const char *value, int *target, tandem_error *error) {
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "Option %s: the value must be 0 or 1", option);
    *target = value[0] == '1';
    return TANDEM_OK;
}

tandem_status gpu_take_bytes(const char *option, const char *value, uint64_t *target, tandem_error *error) {
    char *end;
    unsigned long long bytes = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end != 0 || bytes < MIN_SEGMENT)
        return tandem_kit_fail(error, TANDEM_E_INVALID,
                               "Option %s: the value must be a number of bytes, at least %u", option,
                               MIN_SEGMENT);
    *target = bytes;
    return TANDEM_OK;
}
