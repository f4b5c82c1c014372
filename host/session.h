/* host/session.h: one model on one device, with one cache: feed tokens, score them, decode.
 *
 * Threads: one caller per session.
 */
#ifndef TANDEM_HOST_SESSION_H
#define TANDEM_HOST_SESSION_H

#include "graph.h"
#include "plan.h"
#include "routing.h"

#define SESSION_MAX_PENDING 4u /* every plugin takes that many runs */
#define SESSION_RESULT_ROWS 32u
#define SESSION_DEVICE_NEXT TANDEM_NONE /* the token that the run before found most likely */

typedef struct session_desc {
    const tandem_backend *backend;
    const model_source *source;
    uint32_t device;
    uint32_t n_ctx; /* positions of the cache; >= 1 */
    uint32_t batch; /* most rows of one run; cut to n_ctx */
    uint32_t kv_type;
    uint32_t precision;
    uint32_t n_threads;        /* 0: plugin's choice */
    uint64_t memory_cap;       /* 0: what the device has free */
    uint32_t expert_placement; /* TANDEM_PLACE_* */
    const char *routing;       /* imposed experts, as in routing_create; NULL: the model's own choice */
    uint64_t routing_seed;
    uint32_t n_rollback; /* positions that session_truncate must be able to take back; 0: the batch */
    uint32_t
        n_score; /* rows scored by one head run, at most SESSION_RESULT_ROWS; 0: session_score is not used */
    load_progress progress;
    void *user;
} session_desc;

typedef struct session session;

/* What TOPK found for one row. Pointers live until the next call on the session. */
typedef struct topk_row {
    uint32_t n;
    const uint32_t *id; /* [n] most likely first */
    const float *logit; /* [n] */
    float logsumexp;
    float target; /* logit of the row's target, 0 without one */
} topk_row;

/* What a run took. */
typedef struct run_times {
    uint64_t device_ns;
    uint64_t gap_ns;
    uint64_t wall_ns; /* from queueing (or the end of the run before, if later) to seeing it done */
} run_times;

/* Plans, refuses what does not fit, loads, compiles. */
int session_create(session **out, const session_desc *desc, tandem_message *message);
void session_destroy(session *s);

const session_desc *session_description(const session *s); /* with the batch that is in force */
const memory_plan *session_plan(const session *s);
const char *session_routing(const session *s); /* routing_name */
int session_memory(session *s, tandem_memory_info *info, tandem_message *message);

/* Moves experts so that `host_share` (0..1) of each layer's lie in host memory, the others on the device. */
int session_place_experts(session *s, double host_share, tandem_message *message);

uint32_t session_length(const session *s);
int session_truncate(session *s, uint32_t length, tandem_message *message);
/* Seeded values instead of a real prompt. */
int session_fill(session *s, uint32_t seed, uint32_t length, tandem_message *message);

/* Appends tokens in runs of up to `batch`. `last`, if not NULL, receives the result of the last token's head;
 * else the head is not run. `times`, if not NULL, the sums over the runs. */
int session_feed(session *s, const uint32_t *tokens, uint32_t n, topk_row *last, run_times *times,
                 tandem_message *message);

/* Called for every row, in order. logits: [n_vocab], or NULL where not asked for. A negative return stops. */
typedef int (*score_row)(void *user, uint32_t index, const topk_row *row, const float *logits);

/* Appends tokens and hands over the head's result of every one. targets: [n] ids (or TANDEM_NONE), or
 * NULL. */
int session_score(session *s, const uint32_t *tokens, const uint32_t *targets, uint32_t n, bool want_logits,
                  score_row callback, void *user, tandem_message *message);

/* Logits of the last row that the head saw: [n_vocab]. */
int session_read_logits(session *s, float *logits, tandem_message *message);

/* Experts of the last run's rows, as written by the router (or as imposed): ids [n_row][n_layer][n_used].
 * Waits for all runs. UNSUPPORTED for a model without experts. */
int session_read_routes(session *s, uint32_t n_row, uint32_t *ids, tandem_message *message);

/* Queues a run of one token, or of SESSION_DEVICE_NEXT; at most SESSION_MAX_PENDING may wait to be
 * collected. */
int session_decode(session *s, uint32_t token, bool with_head, tandem_message *message);
/* The same with 1 to `batch` tokens. */
int session_queue(session *s, const uint32_t *tokens, uint32_t n, bool with_head, tandem_message *message);
uint32_t session_pending(const session *s);
/* Waits for the oldest queued run. `row` (may be NULL) is empty for a run without head. */
int session_collect(session *s, topk_row *row, run_times *times, tandem_message *message);

/* Steps of a program and the bytes of one run of it at the present length. */
#define SESSION_DECODE 0u
#define SESSION_PREFILL 1u

typedef struct step_cost {
    tandem_step step;
    tandem_cost cost;
} step_cost;

/* *out is malloc'd. The run has n_rows rows, the last n_out of them wanted. */
int session_steps(session *s, uint32_t which, uint32_t n_rows, uint32_t n_out, step_cost **out, uint32_t *n,
                  tandem_message *message);

#endif
