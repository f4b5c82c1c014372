/* host/sweep_profile.c: device time of a run by op. */
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "session_internal.h"
#include "stats.h"
#include "sweep_probe.h"

#define WAIT_NS 600000000000u

/* "blk.3.attn_qkv" is "attn_qkv" in every layer. */
static const char *op_of(const char *label) {
    const char *dot = strncmp(label, "blk.", 4) ? NULL : strchr(label + 4, '.');
    return dot ? dot + 1 : label;
}

static void add_step(cJSON *list, const step_cost *step, uint64_t ns) {
    const char *op = op_of(step->step.label);
    const double bytes = (double)step->cost.weight_bytes + (double)step->cost.kv_bytes;
    const double flops = (double)step->cost.flops;
    cJSON *item;
    cJSON_ArrayForEach(item, list) {
        cJSON *work = cJSON_GetObjectItem(item, "flops");
        cJSON *name = cJSON_GetObjectItem(item, "op"), *n = cJSON_GetObjectItem(item, "n");
        cJSON *time = cJSON_GetObjectItem(item, "ns"), *moved = cJSON_GetObjectItem(item, "bytes");
        if (strcmp(name->valuestring, op))
            continue;
        cJSON_SetNumberValue(n, n->valuedouble + 1);
        cJSON_SetNumberValue(time, time->valuedouble + (double)ns);
        cJSON_SetNumberValue(moved, moved->valuedouble + bytes);
        cJSON_SetNumberValue(work, work->valuedouble + flops);
        return;
    }
    item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "op", op);
    cJSON_AddNumberToObject(item, "n", 1);
    cJSON_AddNumberToObject(item, "ns", (double)ns);
    cJSON_AddNumberToObject(item, "bytes", bytes);
    cJSON_AddNumberToObject(item, "flops", flops);
    cJSON_AddItemToArray(list, item);
}

static tandem_status run_profiled(session *s, const uint32_t *tokens, uint32_t n_rows, bool with_head,
                                  uint64_t *ns, uint32_t n_step, tandem_error *error) {
    tandem_run run = {.struct_size = sizeof run,
                      .flags = TANDEM_RUN_PROFILE,
                      .n_rows = n_rows,
                      .n_out = with_head,
                      .tokens = tokens,
                      .position = s->length};
    tandem_ticket ticket;
    tandem_program *program = n_rows == 1 || !s->prefill.program ? s->decode.program : s->prefill.program;
    tandem_status status = plugin_run(s->backend, program, &run, &ticket, error);
    if (!status)
        status = plugin_wait(s->backend, s->context, ticket, WAIT_NS, error);
    return status ? status : plugin_step_times(s->backend, s->context, ticket, ns, n_step, error);
}

/* ns: [PROFILE_MOST_RUNS][n_step]; runs as often as fits the limit. */
static int run_many(session *s, const uint32_t *tokens, uint32_t n_rows, bool with_head, uint64_t limit_ns,
                    uint64_t *ns, uint32_t n_step, uint32_t *n_run, tandem_message *message) {
    const uint32_t length = s->length;
    const uint64_t start = now_ns();
    *n_run = 0;
    while (*n_run < PROFILE_MOST_RUNS) {
        const uint64_t spent = now_ns() - start;
        if (*n_run && spent + spent / *n_run > limit_ns)
            break;
        tandem_error error = TANDEM_ERROR_INIT;
        tandem_status refused =
            run_profiled(s, tokens, n_rows, with_head, ns + (uint64_t)*n_run * n_step, n_step, &error);
        if (refused == TANDEM_E_UNSUPPORTED) /* no times of steps: no bars */
            return session_truncate(s, length, message);
        if (refused)
            return message_plugin(message, refused, &error, "profile");
        int status = session_truncate(s, length, message);
        if (status)
            return status;
        ++*n_run;
    }
    return TANDEM_OK;
}

static uint64_t median_of(const uint64_t *ns, uint32_t n_step, uint32_t step, uint32_t n_run) {
    double x[PROFILE_MOST_RUNS];
    for (uint32_t i = 0; i < n_run; i++)
        x[i] = (double)ns[(uint64_t)i * n_step + step];
    return (uint64_t)stats_median(x, n_run);
}

int sweep_profile(session *s, const uint32_t *tokens, uint32_t n_rows, bool with_head, uint64_t limit_ns,
                  cJSON *list, uint32_t *n_run, tandem_message *message) {
    step_cost *steps = NULL;
    uint32_t n = 0;
    int status = session_steps(s, n_rows == 1 ? SESSION_DECODE : SESSION_PREFILL, n_rows, with_head, &steps,
                               &n, message);
    if (status)
        return status;
    uint64_t *ns = calloc(n ? n : 1, PROFILE_MOST_RUNS * sizeof *ns);
    status = ns ? run_many(s, tokens, n_rows, with_head, limit_ns, ns, n, n_run, message)
                : message_out_of_memory(message, "step times", n * PROFILE_MOST_RUNS * sizeof *ns);
    for (uint32_t i = 0; i < n && !status && *n_run; i++)
        add_step(list, &steps[i], median_of(ns, n, i, *n_run));
    free(ns);
    free(steps);
    return status;
}
