/* host/inspect_view.h: what `tandem inspect` shows, and the two ways of showing it. */
#ifndef TANDEM_HOST_INSPECT_VIEW_H
#define TANDEM_HOST_INSPECT_VIEW_H

#include "inspect.h"

#define VIEW_MAX_CONTEXTS 8u
#define VIEW_MAX_KV 3u
#define VIEW_MAX_CARDS 5u
#define VIEW_MAX_BANDWIDTHS 2u

/* Something to fit into. */
typedef struct view_card {
    char name[32];
    double bytes; /* that a process gets */
    bool unified; /* host memory is the same memory */
} view_card;

typedef struct inspect_view {
    const model_source *source;
    model_figures figures;
    bool has_published; /* published files of this shape may hold more: the K and V of sharing layers */
    model_figures published;
    uint32_t n_context, context[VIEW_MAX_CONTEXTS];
    uint32_t n_kv, kv_type[VIEW_MAX_KV];
    uint32_t batch;
    uint32_t n_card;
    view_card card[VIEW_MAX_CARDS];
    uint32_t n_bandwidth;
    double bandwidth[VIEW_MAX_BANDWIDTHS]; /* bytes a second */
    bool tensors;                          /* text: list every tensor */
} inspect_view;

/* Predicted memory of one session. */
typedef struct view_memory {
    memory_plan resident;
    memory_plan offloaded; /* experts in host memory; the same for models without */
} view_memory;

int view_memory_read(const inspect_view *view, uint32_t n_ctx, uint32_t kv_type, view_memory *memory,
                     tandem_message *message);

/* "yes", "host" (with the experts in host memory), "no". */
const char *view_fit(const view_card *card, const view_memory *memory);

int inspect_print_text(const inspect_view *view, tandem_message *message);
int inspect_print_json(const inspect_view *view, tandem_message *message);

#endif
