/* host/session_internal.h: what session.c and session_run.c share. */
#ifndef TANDEM_HOST_SESSION_INTERNAL_H
#define TANDEM_HOST_SESSION_INTERNAL_H

#include "plugin_call.h"
#include "plugin_error.h"
#include "session.h"

/* An op list and what the plugin made of it. */
typedef struct compiled {
    graph *graph;
    tandem_program *program;
} compiled;

typedef struct pending_run {
    tandem_ticket ticket;
    uint32_t result_row; /* in the results buffer */
    uint32_t position;   /* of the last row */
    bool with_head;
    uint64_t start_ns;
} pending_run;

struct session {
    session_desc desc;
    memory_plan plan;
    const tandem_backend *backend;
    const model_config *config;
    tandem_context *context;
    model_weights weights;
    graph_layout layout;
    tandem_buffer *activations; /* device */
    tandem_buffer *results;     /* host-placed: SESSION_RESULT_ROWS rows of TOPK */
    tandem_buffer *imposed;     /* [batch][n_layer][n_used] ids; NULL without desc.routing */
    tandem_kv *kv;
    compiled decode;  /* one row, with head */
    compiled prefill; /* batch rows, head for one; none where batch is 1 */
    compiled score; /* batch rows, every layer on every row, no head; none where prefill and decode do that */
    compiled head;  /* head for n_score rows; none without scoring */
    uint32_t length;
    pending_run pending[SESSION_MAX_PENDING]; /* a ring: the oldest at `oldest` */
    uint32_t oldest, n_pending;
    uint64_t last_done_ns;
    uint8_t *rows;    /* host copy of the results buffer */
    routing *routing; /* NULL: the model's own */
    uint32_t *ids;    /* what is imposed on the next run, [batch][n_layer][n_used] */
};

/* Bytes of one row of the results buffer. */
uint64_t session_row_bytes(const session *s);

#endif
