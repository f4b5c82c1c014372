/* host/plugin_watch.c: the call under way (contract: plugin_watch.h). */
#include "plugin_watch.h"

#include <stddef.h>
#include <string.h>

static plugin_watch *record;

void plugin_watch_use(plugin_watch *watch) {
    record = watch;
}

void plugin_watch_begin(const char *plugin, uint32_t call) {
    if (!record)
        return;
    atomic_store_explicit(&record->call, call, memory_order_relaxed);
    atomic_fetch_add_explicit(&record->number, 1, memory_order_relaxed);
    size_t n = strnlen(plugin, sizeof record->plugin - 1);
    memcpy(record->plugin, plugin, n);
    record->plugin[n] = 0;
}

void plugin_watch_end(void) {
    if (record)
        atomic_store_explicit(&record->call, PLUGIN_CALL_none, memory_order_relaxed);
}

const char *plugin_call_name(uint32_t call) {
#define NAME(slot) #slot,
    static const char *const names[] = {"nothing", "open", "close", TANDEM_KIT_SLOTS(NAME)};
#undef NAME
    return call < PLUGIN_N_CALL ? names[call] : "an unknown call";
}

int plugin_call_identifies(uint32_t call) {
    return call == PLUGIN_CALL_open || call == PLUGIN_CALL_device_count || call == PLUGIN_CALL_device_info;
}
