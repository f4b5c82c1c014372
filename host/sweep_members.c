/* host/sweep_members.c: what a cell's row says beside its figures. */
#include <stdlib.h>
#include <string.h>

#include "sweep_child.h"

static void add_numbers(cJSON *j, const char *name, const uint64_t *values, uint32_t n) {
    cJSON *array = cJSON_AddArrayToObject(j, name);
    for (uint32_t i = 0; i < n; i++)
        cJSON_AddItemToArray(array, cJSON_CreateNumber((double)values[i]));
}

int child_add_memory(child *c, cJSON *j, uint32_t depth, tandem_message *message) {
    tandem_memory_info info;
    int status = session_memory(c->walk.s, &info, message);
    if (status)
        return status;
    /* What a context of this depth alone would take: the column's cache is that of its deepest cell. */
    const session_desc *d = session_description(c->walk.s);
    plan_request request = {.n_ctx = child_room(c->options, depth),
                            .batch = d->batch,
                            .n_rollback = d->n_rollback,
                            .n_score = d->n_score,
                            .kv_type = d->kv_type,
                            .expert_placement = d->expert_placement};
    memory_plan plan;
    status = plan_memory(c->source, &request, false, &plan, message);
    if (status)
        return status;
    cJSON *m = cJSON_AddObjectToObject(j, "memory");
    cJSON_AddNumberToObject(m, "at_depth", (double)plan.total);
    cJSON_AddNumberToObject(m, "predicted", (double)session_plan(c->walk.s)->total);
    cJSON_AddNumberToObject(m, "total", (double)info.total);
    cJSON_AddNumberToObject(m, "peak", (double)info.peak);
    cJSON_AddNumberToObject(m, "weights_device", (double)info.weights_device);
    cJSON_AddNumberToObject(m, "weights_host", (double)info.weights_host);
    cJSON_AddNumberToObject(m, "kv", (double)info.kv);
    cJSON_AddNumberToObject(m, "workspace", (double)(info.workspace + info.buffers + info.staging));
    return TANDEM_OK;
}

void sweep_add_kernels(cJSON *j, const step_cost *steps, uint32_t n) {
    cJSON *kernels = cJSON_AddObjectToObject(j, "kernels");
    for (uint32_t i = 0; i < n; i++) {
        const char *name = steps[i].step.kernel;
        cJSON *count = cJSON_GetObjectItemCaseSensitive(kernels, name);
        if (count)
            cJSON_SetNumberValue(count, count->valuedouble + 1);
        else
            cJSON_AddNumberToObject(kernels, name, 1);
    }
}

/* Bytes that one run of the cell must move, by the plugin's own account. */
int child_add_cost(child *c, cJSON *j, uint32_t phase, tandem_message *message) {
    step_cost *steps = NULL;
    uint32_t n = 0, rows = phase == PHASE_PREFILL ? session_description(c->walk.s)->batch : 1;
    int status = session_steps(c->walk.s, phase == PHASE_PREFILL ? SESSION_PREFILL : SESSION_DECODE, rows,
                               phase == PHASE_DECODE, &steps, &n, message);
    if (status)
        return status;
    tandem_cost sum = {0};
    for (uint32_t i = 0; i < n; i++) {
        sum.weight_bytes += steps[i].cost.weight_bytes;
        sum.kv_bytes += steps[i].cost.kv_bytes;
        sum.activation_bytes += steps[i].cost.activation_bytes;
        sum.host_bytes += steps[i].cost.host_bytes;
        sum.flops += steps[i].cost.flops;
    }
    sweep_add_kernels(j, steps, n);
    free(steps);
    cJSON *k = cJSON_AddObjectToObject(j, "cost");
    cJSON_AddNumberToObject(k, "steps", n);
    cJSON_AddNumberToObject(k, "weight_bytes", (double)sum.weight_bytes);
    cJSON_AddNumberToObject(k, "kv_bytes", (double)sum.kv_bytes);
    cJSON_AddNumberToObject(k, "activation_bytes", (double)sum.activation_bytes);
    cJSON_AddNumberToObject(k, "host_bytes", (double)sum.host_bytes);
    cJSON_AddNumberToObject(k, "flops", (double)sum.flops);
    return TANDEM_OK;
}

static void add_marks(const cell_samples *s, cJSON *j) {
    static const char *const why[] = {"", "throttled", "disturbed"};
    cJSON *marked = NULL;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->mark[i] == SAMPLE_KEPT)
            continue;
        marked = marked ? marked : cJSON_AddArrayToObject(j, "discarded");
        cJSON *mark = cJSON_CreateObject();
        cJSON_AddNumberToObject(mark, "sample", i);
        cJSON_AddStringToObject(mark, "why", why[s->mark[i]]);
        cJSON_AddItemToArray(marked, mark);
    }
}

/* Samples and their summary. A simulated device proves results; its times mean nothing and are not kept. */
void child_add_samples(const child *c, cJSON *j, uint32_t phase) {
    const cell_samples *s = &c->samples;
    cJSON_AddNumberToObject(j, "n_token", s->n_token);
    if (c->device.info.kind == TANDEM_DEVICE_SIMULATED) {
        cJSON_AddStringToObject(j, "no_rate",
                                "the device is simulated: its times say nothing about any device");
        return;
    }
    add_numbers(j, "device_ns", s->device_ns, s->n);
    if (phase != PHASE_PREFILL)
        add_numbers(j, "gap_ns", s->gap_ns, s->n);
    add_marks(s, j);
    cJSON_AddNumberToObject(j, "wall_ns", (double)s->wall_ns);
    cJSON_AddNumberToObject(j, "wall_tokens", s->wall_tokens);
    cJSON_AddNumberToObject(j, "rounds", s->n_round);
    if (!s->n_kept) {
        cJSON_AddStringToObject(j, "no_rate", "every sample was discarded");
        return;
    }
    cJSON *rate = cJSON_AddObjectToObject(j, "rate");
    cJSON_AddNumberToObject(rate, "median", s->rate.median);
    if (s->rate.low > 0) { /* not where too few samples make an interval */
        cJSON_AddNumberToObject(rate, "low", s->rate.low);
        cJSON_AddNumberToObject(rate, "high", s->rate.high);
    }
    cJSON_AddNumberToObject(rate, "n", s->n_kept);
}

/* The column's stamp, and what this cell adds: layers at its depth, equal results of equal runs, clocks that
 * agree. */
void child_add_stamp(const child *c, cJSON *j) {
    const cell_samples *s = &c->samples;
    cJSON *stamp = cJSON_AddItemToObject(j, "stamp", cJSON_Duplicate(c->stamp, true))
                       ? cJSON_GetObjectItem(j, "stamp")
                       : NULL;
    if (!stamp)
        return;
    cJSON_AddItemToObject(stamp, "probe", probe_json(&c->probe));
    cJSON_AddNumberToObject(stamp, "probe_ns", (double)c->probe_ns);
    cJSON_AddNumberToObject(stamp, "limit_ns", (double)c->probe_limit_ns);
    cJSON *omitted = probe_omitted_json(&c->probe);
    if (omitted)
        cJSON_AddItemToObject(stamp, "left_out", omitted);
    if (!probe_is_good(&c->probe))
        cJSON_ReplaceItemInObject(stamp, "ok", cJSON_CreateFalse());
    if (s->n_hash)
        sweep_add_hash(s, stamp);
    if (c->device.info.kind != TANDEM_DEVICE_SIMULATED)
        sweep_add_clock(s, c->device.info.kind, stamp);
    char why[320];
    sweep_why(stamp, why, sizeof why);
    if (!json_true(stamp, "ok") && why[0])
        cJSON_AddStringToObject(stamp, "why", why);
}

/* Card, machine, and what a token costs. */
void child_add_surroundings(const child *c, cJSON *j, cpu_ticks before) {
    const double watts = card_watts(c->card), rate = c->samples.rate.median, price = c->options->price_kwh;
    cJSON_AddItemToObject(j, "host", machine_json(before));
    cJSON *figures = card_json(c->card);
    if (figures)
        cJSON_AddItemToObject(j, "card", figures);
    if (watts <= 0 || rate <= 0 || c->device.info.kind == TANDEM_DEVICE_SIMULATED)
        return;
    cJSON *energy = cJSON_AddObjectToObject(j, "energy");
    cJSON_AddNumberToObject(energy, "watts", watts);
    cJSON_AddNumberToObject(energy, "tokens_per_joule", rate / watts);
    if (price > 0) /* 3.6e6 J in a kWh */
        cJSON_AddNumberToObject(energy, "price_per_million", 1e6 * watts / rate / 3.6e6 * price);
}
