/* host/session_run.c: runs of a session: feeding, scoring, pipelined decoding. */
#include "session_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"

/* A run that does not end in an hour never will. */
#define WAIT_NS (3600u * UINT64_C(1000000000))

static int wait_for(session *s, tandem_ticket ticket, tandem_message *message) {
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_wait(s->backend, s->context, ticket, WAIT_NS, &error);
    return status ? message_plugin(message, status, &error, "run") : TANDEM_OK;
}

static int check_room(const session *s, uint32_t n, tandem_message *message) {
    if (n <= s->desc.n_ctx - s->length)
        return TANDEM_OK;
    return message_fail(message, TANDEM_E_INVALID,
                        "%u more tokens after %u do not fit a context of %u (--ctx).", n, s->length,
                        s->desc.n_ctx);
}

static int check_idle(const session *s, tandem_message *message) {
    return s->n_pending ? message_fail(message, TANDEM_E_INVALID, "Runs are still waiting to be collected.")
                        : TANDEM_OK;
}

/* The row at `index` of the host copy. */
static topk_row read_row(const session *s, uint32_t index) {
    const uint8_t *bytes = s->rows + index * session_row_bytes(s);
    const uint32_t n = s->layout.n_topk;
    const float *values = (const float *)(const void *)bytes;
    return (topk_row){.n = n,
                      .id = (const uint32_t *)(const void *)bytes,
                      .logit = values + n,
                      .logsumexp = values[2 * n],
                      .target = values[2 * n + 1]};
}

/* Descending logits of tokens that differ, which together are at most what the sum of all says: a row that no run has
 * written yet, zeros or stale bytes, is none of that. 1e-2 is beyond any rounding of an f32 sum of 262144 terms. */
static bool is_ordered(const topk_row *row) {
    double sum = 0;
    for (uint32_t i = 0; i < row->n; i++) {
        if (i && (row->logit[i] > row->logit[i - 1] || row->id[i] == row->id[i - 1]))
            return false;
        sum += exp((double)row->logit[i] - row->logit[0]);
    }
    return !row->n || log(sum) + row->logit[0] <= row->logsumexp + 1e-2 + 1e-4 * fabs(row->logsumexp);
}

/* A result that cannot be one is never handed on: the likeliest tokens of a broken run look like text. */
static int check_row(const session *s, const topk_row *row, uint32_t position, tandem_message *message) {
    const char *name = s->backend->descriptor->name;
    for (uint32_t i = 0; i < row->n; i++) {
        if (row->id[i] >= s->config->n_vocab)
            return message_fail(
                message, PLUGIN_WRONG_RESULT,
                "plugin %s, run: the row of position %u names token %u of a vocabulary of %u.", name,
                position, row->id[i], s->config->n_vocab);
        if (!isfinite(row->logit[i]))
            return message_fail(message, PLUGIN_WRONG_RESULT,
                                "plugin %s, run: in the row of position %u the logit of token %u is %g.",
                                name, position, row->id[i], (double)row->logit[i]);
    }
    if (isfinite(row->logsumexp) && isfinite(row->target)) {
        if (is_ordered(row))
            return TANDEM_OK;
        return message_fail(
            message, PLUGIN_WRONG_RESULT,
            "plugin %s, run: the row of position %u holds no likeliest tokens: they are not in order, or "
            "more than the sum of all logits.",
            name, position);
    }
    return message_fail(message, PLUGIN_WRONG_RESULT,
                        "plugin %s, run: in the row of position %u the %s is %g.", name, position,
                        isfinite(row->logsumexp) ? "logit of the target" : "sum of all logits",
                        (double)(isfinite(row->logsumexp) ? row->target : row->logsumexp));
}

/* Rows [first, first + n) of the results, which belong to positions from `position` on. */
static int fetch_rows(session *s, uint32_t first, uint32_t n, uint32_t position, tandem_message *message) {
    const uint64_t bytes = session_row_bytes(s);
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_buffer_read(s->backend, s->results, first * bytes, s->rows + first * bytes,
                                              n * bytes, TANDEM_READ_NOW, &error);
    int result = status ? message_plugin(message, status, &error, "results") : TANDEM_OK;
    for (uint32_t i = 0; i < n && !result; i++) {
        const topk_row row = read_row(s, first + i);
        result = check_row(s, &row, position + i, message);
    }
    return result;
}

/* Writes the experts of the next n rows; in order with the runs, like any write. */
static int impose_experts(session *s, uint32_t n, tandem_message *message) {
    if (!s->routing)
        return TANDEM_OK;
    routing_fill(s->routing, s->length, n, s->ids);
    const uint64_t bytes = (uint64_t)n * s->config->n_layer * s->config->n_used * sizeof *s->ids;
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_buffer_write(s->backend, s->imposed, 0, s->ids, bytes, &error);
    return status ? message_plugin(message, status, &error, "imposed experts") : TANDEM_OK;
}

/* Queues one run of up to `batch` rows; with a head its result goes to row 0 of the results. */
static int queue_rows(session *s, tandem_program *program, const uint32_t *tokens, uint32_t n, bool with_head,
                      tandem_ticket *ticket, tandem_message *message) {
    int imposed = impose_experts(s, n, message);
    if (imposed)
        return imposed;
    tandem_run run = {.struct_size = sizeof run,
                      .n_rows = n,
                      .n_out = with_head,
                      .tokens = tokens,
                      .position = s->length,
                      .result = with_head ? s->results : NULL};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_run(s->backend, program, &run, ticket, &error);
    if (status)
        return message_plugin(message, status, &error, "run");
    s->length += n;
    return TANDEM_OK;
}

static int add_times(session *s, tandem_ticket ticket, run_times *sum, tandem_message *message) {
    tandem_times times = {.struct_size = sizeof times};
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_times(s->backend, s->context, ticket, &times, &error);
    if (status)
        return message_plugin(message, status, &error, "times");
    sum->device_ns += times.device_ns;
    sum->gap_ns += times.gap_ns;
    return TANDEM_OK;
}

int session_feed(session *s, const uint32_t *tokens, uint32_t n, topk_row *last, run_times *times,
                 tandem_message *message) {
    tandem_ticket tickets[SESSION_MAX_PENDING];
    run_times sum = {0};
    uint64_t start = now_ns();
    int status = check_room(s, n, message);
    if (!status)
        status = check_idle(s, message);
    uint32_t n_run = 0, n_waited = 0;
    for (uint32_t done = 0; done < n && !status; n_run++) {
        uint32_t rows = n - done < s->desc.batch ? n - done : s->desc.batch;
        tandem_ticket *ticket = &tickets[n_run % SESSION_MAX_PENDING];
        if (n_run >= SESSION_MAX_PENDING) {
            status = wait_for(s, *ticket, message);
            if (!status)
                status = add_times(s, *ticket, &sum, message);
            n_waited++;
        }
        if (!status)
            status = queue_rows(s, rows == 1 ? s->decode.program : s->prefill.program, tokens + done, rows,
                                last && done + rows == n, ticket, message);
        done += rows;
    }
    for (; n_waited < n_run && !status; n_waited++) {
        status = wait_for(s, tickets[n_waited % SESSION_MAX_PENDING], message);
        if (!status)
            status = add_times(s, tickets[n_waited % SESSION_MAX_PENDING], &sum, message);
    }
    s->last_done_ns = now_ns();
    if (!status && last) {
        status = fetch_rows(s, 0, 1, s->length - 1, message);
        *last = read_row(s, 0);
    }
    sum.wall_ns = s->last_done_ns - start;
    if (times)
        *times = sum;
    return status;
}

static int read_logits_row(session *s, uint32_t row, uint32_t position, float *logits,
                           tandem_message *message) {
    const uint64_t bytes = s->config->n_vocab * sizeof(float);
    const uint64_t stride = (bytes + 15) / 16 * 16;
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status =
        plugin_buffer_read(s->backend, s->activations, s->layout.logits.offset + row * stride, logits, bytes,
                           TANDEM_READ_NOW, &error);
    if (status)
        return message_plugin(message, status, &error, "logits");
    for (uint32_t id = 0; id < s->config->n_vocab; id++)
        if (!isfinite(logits[id]))
            return message_fail(message, PLUGIN_WRONG_RESULT,
                                "plugin %s, run: in the row of position %u the logit of token %u is %g.",
                                s->backend->descriptor->name, position, id, (double)logits[id]);
    return TANDEM_OK;
}

int session_read_logits(session *s, float *logits, tandem_message *message) {
    return read_logits_row(s, 0, s->length - 1, logits, message);
}

/* Rows of one chunk that one head run sees, and where they stand in the whole. */
typedef struct score_slice {
    const uint32_t *tokens; /* of the chunk */
    uint32_t n_rows;        /* of the chunk */
    const uint32_t *targets;
    uint32_t first, n;
    uint32_t index; /* of row `first` in the whole */
} score_slice;

static int run_head(session *s, const score_slice *slice, tandem_message *message) {
    tandem_out out[SESSION_RESULT_ROWS];
    for (uint32_t i = 0; i < slice->n; i++)
        out[i] = (tandem_out){.row = slice->first + i,
                              .target = slice->targets ? slice->targets[slice->first + i] : TANDEM_NONE};
    tandem_run run = {.struct_size = sizeof run,
                      .n_rows = slice->n_rows,
                      .n_out = slice->n,
                      .tokens = slice->tokens,
                      .out = out,
                      .position = s->length - slice->n_rows,
                      .result = s->results};
    tandem_ticket ticket;
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status = plugin_run(s->backend, s->head.program, &run, &ticket, &error);
    if (status)
        return message_plugin(message, status, &error, "head");
    status = wait_for(s, ticket, message);
    return status ? status : fetch_rows(s, 0, slice->n, run.position + slice->first, message);
}

static int score_slice_rows(session *s, const score_slice *slice, float *logits, score_row callback,
                            void *user, tandem_message *message) {
    int status = run_head(s, slice, message);
    for (uint32_t i = 0; i < slice->n && !status; i++) {
        topk_row row = read_row(s, i);
        if (logits)
            status = read_logits_row(s, i, s->length - slice->n_rows + slice->first + i, logits, message);
        if (!status)
            status = callback(user, slice->index + i, &row, logits);
    }
    return status;
}

int session_score(session *s, const uint32_t *tokens, const uint32_t *targets, uint32_t n, bool want_logits,
                  score_row callback, void *user, tandem_message *message) {
    float *logits = NULL;
    int status = check_room(s, n, message);
    if (!status)
        status = check_idle(s, message);
    if (!status && !s->desc.n_score)
        status = message_fail(message, TANDEM_E_INVALID, "This session was made without scoring.");
    if (!status && want_logits && !(logits = malloc(s->config->n_vocab * sizeof *logits)))
        status = message_out_of_memory(message, "a row of logits", s->config->n_vocab * sizeof *logits);
    for (uint32_t done = 0; done < n && !status;) {
        uint32_t rows = n - done < s->desc.batch ? n - done : s->desc.batch;
        tandem_ticket ticket;
        tandem_program *layers = s->score.program ? s->score.program
                                 : rows == 1      ? s->decode.program
                                                  : s->prefill.program;
        status = queue_rows(s, layers, tokens + done, rows, false, &ticket, message);
        for (uint32_t first = 0; first < rows && !status; first += s->desc.n_score) {
            score_slice slice = {.tokens = tokens + done,
                                 .n_rows = rows,
                                 .targets = targets ? targets + done : NULL,
                                 .first = first,
                                 .n = rows - first < s->desc.n_score ? rows - first : s->desc.n_score,
                                 .index = done + first};
            status = score_slice_rows(s, &slice, logits, callback, user, message);
        }
        done += rows;
    }
    s->last_done_ns = now_ns();
    free(logits);
    return status;
}

/* Queues `run` of rows behind the present length; fills what is the same for every queued run. */
static int queue_pending(session *s, tandem_program *program, tandem_run *run, tandem_message *message) {
    int status = check_room(s, run->n_rows, message);
    if (status)
        return status;
    if (s->n_pending == SESSION_MAX_PENDING)
        return message_fail(message, TANDEM_E_BUSY, "Collect a run before queueing another.");
    status = impose_experts(s, run->n_rows, message);
    if (status)
        return status;
    uint32_t slot = (s->oldest + s->n_pending) % SESSION_MAX_PENDING;
    pending_run *p = &s->pending[slot];
    *p = (pending_run){.result_row = slot,
                       .with_head = run->n_out > 0,
                       .position = s->length + run->n_rows - 1,
                       .start_ns = now_ns()};
    run->struct_size = sizeof *run;
    run->result = run->n_out ? s->results : NULL;
    run->result_offset = slot * session_row_bytes(s);
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status refused = plugin_run(s->backend, program, run, &p->ticket, &error);
    if (refused)
        return message_plugin(message, refused, &error, "run");
    s->n_pending++;
    s->length += run->n_rows;
    return TANDEM_OK;
}

int session_decode(session *s, uint32_t token, bool with_head, tandem_message *message) {
    if (token != SESSION_DEVICE_NEXT)
        return session_queue(s, &token, 1, with_head, message);
    tandem_run run = {.source = TANDEM_SOURCE_DEVICE_NEXT, .n_rows = 1, .n_out = with_head};
    return queue_pending(s, s->decode.program, &run, message);
}

int session_queue(session *s, const uint32_t *tokens, uint32_t n, bool with_head, tandem_message *message) {
    if (!n || n > s->desc.batch)
        return message_fail(message, TANDEM_E_INVALID, "A run has 1 to %u rows, not %u.", s->desc.batch, n);
    tandem_run run = {.source = TANDEM_SOURCE_HOST,
                      .n_rows = n,
                      .n_out = with_head,
                      .tokens = tokens,
                      .position = s->length};
    return queue_pending(s, n == 1 ? s->decode.program : s->prefill.program, &run, message);
}

uint32_t session_pending(const session *s) {
    return s->n_pending;
}

int session_collect(session *s, topk_row *row, run_times *times, tandem_message *message) {
    if (!s->n_pending)
        return message_fail(message, TANDEM_E_INVALID, "No run is pending.");
    pending_run p = s->pending[s->oldest];
    int status = wait_for(s, p.ticket, message);
    if (status)
        return status;
    uint64_t done = now_ns();
    s->oldest = (s->oldest + 1) % SESSION_MAX_PENDING;
    s->n_pending--;
    run_times t = {.wall_ns = done - (p.start_ns > s->last_done_ns ? p.start_ns : s->last_done_ns)};
    s->last_done_ns = done;
    status = add_times(s, p.ticket, &t, message);
    if (times)
        *times = t;
    if (!row || status)
        return status;
    *row = (topk_row){0};
    if (!p.with_head)
        return TANDEM_OK;
    status = fetch_rows(s, p.result_row, 1, p.position, message);
    *row = read_row(s, p.result_row);
    return status;
}

int session_read_routes(session *s, uint32_t n_row, uint32_t *ids, tandem_message *message) {
    const graph_area *area = &s->layout.route;
    const uint32_t n_layer = s->config->n_layer, n_used = s->config->n_used;
    if (!s->config->n_expert)
        return message_fail(message, TANDEM_E_UNSUPPORTED, "%s has no experts.",
                            model_source_label(s->desc.source));
    uint8_t *routes = malloc(n_row * area->stride);
    if (!routes)
        return message_out_of_memory(message, "routes", n_row * area->stride);
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_status status =
        plugin_buffer_read(s->backend, s->activations, area->offset, routes, n_row * area->stride, 0, &error);
    for (uint64_t i = 0; i < (uint64_t)n_row * n_layer && !status; i++)
        memcpy(ids + i * n_used, routes + i / n_layer * area->stride + i % n_layer * s->layout.route_bytes,
               n_used * sizeof *ids);
    free(routes);
    if (status)
        return message_plugin(message, status, &error, "routes");
    for (uint64_t i = 0; i < (uint64_t)n_row * n_layer * n_used; i++)
        if (ids[i] >= s->config->n_expert)
            return message_fail(message, PLUGIN_WRONG_RESULT,
                                "plugin %s, run: in row %llu of the run, layer %llu names expert %u of %u.",
                                s->backend->descriptor->name, (unsigned long long)(i / n_used / n_layer),
                                (unsigned long long)(i / n_used % n_layer), ids[i], s->config->n_expert);
    return TANDEM_OK;
}
