/* host/inspect_view.h: what `tandem inspect` shows, and the two ways of showing it. */
#ifndef TANDEM_HOST_INSPECT_VIEW_H
#define TANDEM_HOST_INSPECT_VIEW_H

#include "inspect.h"

#define VIEW_MAX_CONTEXTS 8u
#define VIEW_MAX_KV 3u
#define VIEW_MAX_CARDS 5u
#define VIEW_MAX_RATES 2u

/* Something to fit into. */
typedef struct view_card {
    char name[32];
    double bytes; /* that a process gets */
    bool unified; /* host memory is the same memory */
} view_card;

/* What predictions of time are made from. */
typedef struct view_rate {
    double bytes_per_s;
    double flops_per_s; /* 0: unknown */
    double watts;       /* 0: unknown */
} view_rate;

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
    uint32_t n_rate;
    view_rate rate[VIEW_MAX_RATES];
    const char *rate_source; /* where the rates come from */
    bool tensors;            /* text: list every tensor */
    bool images;             /* what images cost */
    double price_kwh;        /* > 0: what a million tokens cost */
} inspect_view;

/* Predicted memory of one session. */
typedef struct view_memory {
    memory_plan resident;
    memory_plan offloaded; /* experts in host memory; the same for models without */
} view_memory;

int view_memory_read(const inspect_view *view, uint32_t n_ctx, uint32_t kv_type, view_memory *memory,
                     tandem_message *message);

const char *view_heading(const view_card *card);
bool view_fits(const view_card *card, const memory_plan *plan);
/* "yes", "host" (with the experts in host memory), "no". */
const char *view_fit(const view_card *card, const view_memory *memory);

/* The largest context that fits, in steps of 1024, at most the trained one; 0: none. placement: of the
 * experts. */
int view_largest_context(const inspect_view *view, const view_card *card, uint32_t kv, uint32_t placement,
                         uint32_t *n_ctx, tandem_message *message);
/* The least share of each layer's experts that must be in host memory for that context; NaN where none is
 * enough. */
int view_host_share(const inspect_view *view, const view_card *card, uint32_t n_ctx, uint32_t kv,
                    double *share, tandem_message *message);

/* Tokens that Gemma 4 turns an image into. */
#define VIEW_N_IMAGE 5u
extern const uint32_t view_image_tokens[VIEW_N_IMAGE];

/* inspect_answers.c: what fits, what sharing saves, what images and a million tokens cost. */
int inspect_print_fit(const inspect_view *view, tandem_message *message);
void inspect_print_sharing(const inspect_view *view);
void inspect_print_images(const inspect_view *view);
void inspect_print_price(const inspect_view *view);

int inspect_print_text(const inspect_view *view, tandem_message *message);
int inspect_print_json(const inspect_view *view, tandem_message *message);

#endif
