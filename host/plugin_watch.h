/* host/plugin_watch.h: which call of which plugin is under way, for whoever is left when the plugin ends the
 * process.
 *
 * The program runs plugins in a child process and keeps one plugin_watch in memory shared with the parent.
 * Embedders of libtandem have none: nothing is recorded there.
 */
#ifndef TANDEM_HOST_PLUGIN_WATCH_H
#define TANDEM_HOST_PLUGIN_WATCH_H

#include <stdatomic.h>
#include <stdint.h>

#include <tandem/negotiate.h>

/* Calls: loading, unloading, the slots of the table in their order. */
#define PLUGIN_WATCH_SLOT(name) PLUGIN_CALL_##name,
enum {
    PLUGIN_CALL_none,
    PLUGIN_CALL_open,
    PLUGIN_CALL_close,
    TANDEM_KIT_SLOTS(PLUGIN_WATCH_SLOT) PLUGIN_N_CALL
};
#undef PLUGIN_WATCH_SLOT

typedef struct plugin_watch {
    _Atomic uint32_t call;   /* PLUGIN_CALL_*; none: the host is at work */
    _Atomic uint32_t number; /* of calls begun: a watcher sees by it that one goes on */
    char plugin[64];         /* of the last call; may be torn while one begins */
} plugin_watch;

/* Records calls of this process in `watch` from now on; NULL: nowhere. */
void plugin_watch_use(plugin_watch *watch);
/* What a host does around every call. `plugin` is copied. plugin_watch_end may be called by a signal handler that ends
 * the process for a reason of its own: then no plugin is blamed. */
void plugin_watch_begin(const char *plugin, uint32_t call);
void plugin_watch_end(void);

/* "kv_create"; "open" and "close" for those. */
const char *plugin_call_name(uint32_t call);
/* Whether it only asks what there is: what takes longer than a minute will not come back. */
int plugin_call_identifies(uint32_t call);

#endif
