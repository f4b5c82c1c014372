/* host/sweep_profile.c: device time of a run by op. */
#include <stdlib.h>
#include <string.h>

#include "session_internal.h"
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
    cJSON *item;
    cJSON_ArrayForEach(item, list) {
        cJSON *name = cJSON_GetObjectItem(item, "op"), *n = cJSON_GetObjectItem(item, "n");
        cJSON *time = cJSON_GetObjectItem(item, "ns"), *moved = cJSON_GetObjectItem(item, "bytes");
        if (strcmp(name->valuestring, op))
            continue;
        cJSON_SetNumberValue(n, n->valuedouble + 1);
        cJSON_SetNumberValue(time, time->valuedouble + (double)ns);
        cJSON_SetNumberValue(moved, moved->valuedouble + bytes);
        return;
    }
    item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "op", op);
    cJSON_AddNumberToObject(item, "n", 1);
    cJSON_AddNumberToObject(item, "ns", (double)ns);
    cJSON_AddNumberToObject(item, "bytes", bytes);
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
    tandem_status status = s->backend->run(program, &run, &ticket, error);
    if (!status)
        status = s->backend->wait(s->context, ticket, WAIT_NS, error);
    return status ? status : s->backend->step_times(s->context, ticket, ns, n_step, error);
}

int sweep_profile(session *s, const uint32_t *tokens, uint32_t n_rows, bool with_head, cJSON *list,
                  tandem_message *message) {
    step_cost *steps = NULL;
    uint32_t n = 0;
    const uint32_t start = s->length;
    tandem_error error = TANDEM_ERROR_INIT;
    int status = session_steps(s, n_rows == 1 ? SESSION_DECODE : SESSION_PREFILL, n_rows, with_head, &steps,
                               &n, message);
    if (status)
        return status;
    uint64_t *ns = calloc(n ? n : 1, sizeof *ns);
    tandem_status refused =
        ns ? run_profiled(s, tokens, n_rows, with_head, ns, n, &error) : TANDEM_E_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < n && !refused; i++)
        add_step(list, &steps[i], ns[i]);
    free(ns);
    free(steps);
    if (refused == TANDEM_E_UNSUPPORTED) /* no times of steps: no bars */
        refused = TANDEM_OK;
    return refused ? message_plugin(message, refused, &error, "profile")
                   : session_truncate(s, start, message);
}
