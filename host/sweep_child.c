/* host/sweep_child.c: one column in a process of its own. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "card.h"
#include "sweep.h"
#include "sweep_probe.h"

#define MAX_CELLS (SWEEP_MAX_DEPTHS * SWEEP_MAX_PHASES)

typedef struct child {
    const sweep_options *options;
    cli_device device;
    model_source *source;
    char key[512];
    uint32_t n_cell, first;      /* the first that is not answered */
    sweep_cell cells[MAX_CELLS]; /* ascending depth */
    uint32_t n_drift, drift[SWEEP_MAX_PHASES];
    uint32_t n_bias, bias[SWEEP_MAX_PHASES];
    cJSON *reference; /* row, or NULL */
    cJSON *stamp;
    sweep_walk walk;
    cell_samples samples;
    probe probe;       /* of the cell under way */
    uint64_t probe_ns; /* what it took */
    card *card;        /* NULL: no figures of one */
} child;

/* ---- messages ---- */

/* Writes and frees. A parent that is gone ends the child. */
static void send_message(cJSON *message) {
    char *text = cJSON_PrintUnformatted(message);
    cJSON_Delete(message);
    if (!text || dprintf(SWEEP_MESSAGE_FD, "%s\n", text) < 0)
        exit(TANDEM_EXIT_ENVIRONMENT);
    cJSON_free(text);
}

static cJSON *new_message(const char *kind) {
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "msg", kind);
    return j;
}

static void begin_round(void *user) {
    card_begin(((child *)user)->card);
}

static bool end_round(void *user) {
    return card_end(((child *)user)->card);
}

static void report_progress(void *user, double units) {
    (void)user;
    cJSON *j = new_message("progress");
    cJSON_AddNumberToObject(j, "units", units);
    send_message(j);
}

static cJSON *cell_message(const char *kind, sweep_cell cell) {
    cJSON *j = new_message(kind);
    cJSON_AddStringToObject(j, "phase", phase_name(cell.phase));
    cJSON_AddNumberToObject(j, "depth", cell.depth);
    return j;
}

static void send_refusal(sweep_cell cell, tandem_status status, const char *reason) {
    cJSON *j = cell_message("cell", cell);
    cJSON_AddStringToObject(j, "status",
                            status == TANDEM_E_OUT_OF_MEMORY ? "out_of_memory"
                            : status == TANDEM_E_UNSUPPORTED ? "unsupported"
                                                             : "failed");
    cJSON_AddStringToObject(j, "reason", reason);
    send_message(j);
}

static int send_column(child *c) {
    tandem_message message;
    cJSON *j = new_message("column");
    int status = sweep_identity(c->options, &c->device, c->source, c->key, sizeof c->key, j, &message);
    if (status) {
        cJSON_Delete(j);
        return cli_refuse(status, sweep_command, &message);
    }
    send_message(j);
    return OPTIONS_GO_ON;
}

static uint32_t read_phases(const cJSON *orders, const char *name, uint32_t phases[SWEEP_MAX_PHASES]) {
    const cJSON *item;
    uint32_t n = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(orders, name)) {
        if (n < SWEEP_MAX_PHASES && cJSON_IsString(item) && phase_by_name(item->valuestring, &phases[n]))
            n++;
    }
    return n;
}

static int read_orders(child *c) {
    char *line = NULL;
    size_t room = 0;
    ssize_t length = getline(&line, &room, stdin);
    cJSON *orders = length > 0 ? cJSON_ParseWithLength(line, (size_t)length) : NULL;
    free(line);
    if (!orders)
        return TANDEM_EXIT_ENVIRONMENT; /* the parent is gone */
    const cJSON *cell;
    cJSON_ArrayForEach(cell, cJSON_GetObjectItem(orders, "cells")) {
        sweep_cell *next = &c->cells[c->n_cell];
        if (c->n_cell < MAX_CELLS && phase_by_name(json_text(cell, "phase"), &next->phase)) {
            next->depth = (uint32_t)json_number(cell, "depth");
            c->n_cell++;
        }
    }
    c->n_drift = read_phases(orders, "drift", c->drift);
    c->n_bias = read_phases(orders, "bias", c->bias);
    cJSON *reference = cJSON_DetachItemFromObject(orders, "reference");
    c->reference = reference && cJSON_IsObject(reference) ? reference : (cJSON_Delete(reference), NULL);
    cJSON_Delete(orders);
    return OPTIONS_GO_ON;
}

/* ---- session ---- */

static int open_session(child *c, uint32_t n_ctx, const char *kv, const char *precision,
                        tandem_message *message) {
    const sweep_options *o = c->options;
    session_request request = {.command = sweep_command, .n_ctx = n_ctx, .n_score = STAMP_TOKENS};
    common_options common = o->common;
    common.n_ctx = 0;
    common.kv = kv;
    common.precision = precision;
    session_desc desc;
    cli_describe_session(&common, &request, &desc);
    desc.backend = c->device.backend;
    desc.device = c->device.index;
    desc.source = c->source;
    /* A chunk and the token whose ids are hashed behind it. */
    const uint32_t runs = sweep_decode_runs(o);
    desc.n_rollback = runs > common.batch ? runs : common.batch + 1;
    /* A share in host memory: all of them first, so that the device never holds more than it is to. */
    const char *experts = o->common.expert_memory;
    float share = 0;
    const bool shared = experts && parse_float(experts, &share);
    if (shared)
        desc.expert_placement = share > 0 ? TANDEM_PLACE_HOST : TANDEM_PLACE_DEVICE;
    int status = session_create(&c->walk.s, &desc, message);
    if (!status && share > 0 && share < 1 && model_source_config(c->source)->n_expert)
        status = session_place_experts(c->walk.s, share, message);
    c->walk.options = o;
    c->walk.n_vocab = model_source_config(c->source)->n_vocab;
    c->walk.report = report_progress;
    c->walk.round_begins = begin_round;
    c->walk.round_ends = end_round;
    c->walk.user = c;
    return status;
}

/* Positions that a cell at `depth` needs. */
static uint32_t room_for(const sweep_options *o, uint32_t depth) {
    uint32_t runs = sweep_decode_runs(o), most = o->common.batch > runs ? o->common.batch + 1 : runs;
    return depth + (most > STAMP_TOKENS ? most : STAMP_TOKENS);
}

/* Answers the cells that are left from `depth` on. */
static void refuse_deepest(child *c, uint32_t depth, tandem_status status, const char *reason) {
    while (c->n_cell > c->first && c->cells[c->n_cell - 1].depth >= depth)
        send_refusal(c->cells[--c->n_cell], status, reason);
}

/* One cache for the largest depth that fits; depths that do not are answered and dropped. */
static void open_largest(child *c) {
    const sweep_options *o = c->options;
    tandem_message message;
    while (c->n_cell > c->first) {
        uint32_t depth = c->cells[c->n_cell - 1].depth;
        int status = open_session(c, room_for(o, depth), o->kvs.text[0], o->precisions.text[0], &message);
        if (!status)
            return;
        /* What is refused for another reason than memory is refused at every depth. */
        refuse_deepest(c, status == TANDEM_E_OUT_OF_MEMORY ? depth : 0, status, message.text);
    }
}

/* ---- cells ---- */

static bool is_synthetic(const child *c) {
    return !strcmp(c->options->fill, "synthetic");
}

static void add_numbers(cJSON *j, const char *name, const uint64_t *values, uint32_t n) {
    cJSON *array = cJSON_AddArrayToObject(j, name);
    for (uint32_t i = 0; i < n; i++)
        cJSON_AddItemToArray(array, cJSON_CreateNumber((double)values[i]));
}

static int add_memory(child *c, cJSON *j, uint32_t depth, tandem_message *message) {
    tandem_memory_info info;
    int status = session_memory(c->walk.s, &info, message);
    if (status)
        return status;
    /* What a context of this depth alone would take: the column's cache is that of its deepest cell. */
    const session_desc *d = session_description(c->walk.s);
    plan_request request = {.n_ctx = room_for(c->options, depth),
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

/* The path that was taken: launches of each kernel. */
static void add_kernels(cJSON *j, const step_cost *steps, uint32_t n) {
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
static int add_cost(child *c, cJSON *j, uint32_t phase, tandem_message *message) {
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
    add_kernels(j, steps, n);
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
static void add_samples(const child *c, cJSON *j, uint32_t phase) {
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
static void add_stamp(const child *c, cJSON *j) {
    const cell_samples *s = &c->samples;
    cJSON *stamp = cJSON_AddItemToObject(j, "stamp", cJSON_Duplicate(c->stamp, true))
                       ? cJSON_GetObjectItem(j, "stamp")
                       : NULL;
    if (!stamp)
        return;
    cJSON_AddItemToObject(stamp, "probe", probe_json(&c->probe));
    cJSON_AddNumberToObject(stamp, "probe_ns", (double)c->probe_ns);
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
static void add_surroundings(const child *c, cJSON *j, cpu_ticks before) {
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

/* Computes a layer of each kind again, at this depth and with as many rows as the cell's runs have. */
static int probe_cell(child *c, sweep_cell cell, cJSON *profile, tandem_message *message) {
    uint32_t tokens[4096], n = cell.phase == PHASE_PREFILL ? session_description(c->walk.s)->batch : 1;
    const uint64_t start = now_ns();
    for (uint32_t i = 0; i < n && i < 4096; i++)
        tokens[i] = sweep_token(&c->walk, cell.depth + i);
    int status = probe_run(&c->probe, c->walk.s, tokens, n, c->options->common.seed, message);
    c->probe_ns = now_ns() - start;
    if (!status && c->device.info.kind != TANDEM_DEVICE_SIMULATED)
        status = sweep_profile(c->walk.s, tokens, n, cell.phase == PHASE_DECODE, profile, message);
    return status;
}

static int run_cell(child *c, sweep_cell cell, tandem_message *message) {
    send_message(cell_message("begin", cell));
    const cpu_ticks ticks = machine_ticks();
    uint64_t start = now_ns();
    int status = sweep_go_to(&c->walk, cell.depth, is_synthetic(c), message);
    uint64_t walked = now_ns();
    card_start(c->card);
    if (!status)
        status = sweep_measure(&c->walk, cell.phase, c->options->n_round, &c->samples, message);
    cJSON *j = cell_message("cell", cell);
    cJSON *profile = cJSON_AddArrayToObject(j, "profile");
    if (!status)
        status = probe_cell(c, cell, profile, message);
    if (!status)
        status = add_memory(c, j, cell.depth, message);
    if (!status)
        status = add_cost(c, j, cell.phase, message);
    if (status) {
        cJSON_Delete(j);
        return status;
    }
    cJSON_AddStringToObject(j, "status", "done");
    cJSON_AddBoolToObject(j, "head", cell.phase == PHASE_DECODE);
    cJSON_AddNumberToObject(j, "walk_ns", (double)(walked - start));
    add_samples(c, j, cell.phase);
    add_stamp(c, j);
    add_surroundings(c, j, ticks);
    send_message(j);
    return TANDEM_OK;
}

static cJSON *unchecked_stamp(const char *method) {
    cJSON *stamp = cJSON_CreateObject();
    cJSON_AddStringToObject(stamp, "method", method);
    cJSON_AddBoolToObject(stamp, "ok", !strcmp(method, "self"));
    return stamp;
}

static int make_stamp(child *c, tandem_message *message) {
    if (!strcmp(c->device.backend->descriptor->name, "reference")) {
        c->stamp = unchecked_stamp("self");
        return TANDEM_OK;
    }
    if (!c->reference) {
        c->stamp = unchecked_stamp("none");
        return TANDEM_OK;
    }
    cJSON *prefix;
    int status = sweep_prefix(&c->walk, c->reference, &prefix, message);
    if (status)
        return status;
    c->stamp = sweep_stamp(prefix, c->reference);
    cJSON_Delete(prefix);
    return TANDEM_OK;
}

/* ---- beside the cells ---- */

/* What the column does at depth 0 after all the others. */
static int measure_drift(child *c, tandem_message *message) {
    int status = c->n_drift ? session_truncate(c->walk.s, 0, message) : TANDEM_OK;
    for (uint32_t i = 0; i < c->n_drift && !status; i++) {
        status = sweep_measure(&c->walk, c->drift[i], c->options->n_round, &c->samples, message);
        if (status)
            return status;
        cJSON *j = cell_message("drift", (sweep_cell){.phase = c->drift[i]});
        add_samples(c, j, c->drift[i]);
        send_message(j);
    }
    return status;
}

/* Speed after a synthetic fill against speed after a real one, at a depth where the real one is cheap. */
#define BIAS_DEPTH 256u

static int measure_filled(child *c, uint32_t phase, uint32_t depth, bool synthetic, tandem_message *message) {
    int status = session_truncate(c->walk.s, 0, message);
    if (!status)
        status = sweep_go_to(&c->walk, depth, synthetic, message);
    return status ? status : sweep_measure(&c->walk, phase, c->options->n_round, &c->samples, message);
}

static int measure_bias(child *c, tandem_message *message) {
    const uint32_t most = c->cells[c->n_cell - 1].depth, depth = most < BIAS_DEPTH ? most : BIAS_DEPTH;
    int status = TANDEM_OK;
    c->walk.report = NULL; /* no part of the cells' progress */
    for (uint32_t i = 0; i < c->n_bias && depth && !status; i++) {
        cJSON *j = cell_message("bias", (sweep_cell){.phase = c->bias[i], .depth = depth});
        for (int synthetic = 0; synthetic < 2 && !status; synthetic++) {
            status = measure_filled(c, c->bias[i], depth, synthetic, message);
            if (!status)
                add_samples(c, cJSON_AddObjectToObject(j, synthetic ? "synthetic" : "real"), c->bias[i]);
        }
        if (status)
            cJSON_Delete(j);
        else
            send_message(j);
    }
    c->walk.report = report_progress;
    return status ? status : session_truncate(c->walk.s, 0, message);
}

/* Everything but the drift, from cell `first` on. */
static int walk_cells(child *c, tandem_message *message) {
    int status = c->stamp ? TANDEM_OK : make_stamp(c, message);
    if (!status)
        status = measure_bias(c, message);
    while (c->first < c->n_cell && !status) {
        status = run_cell(c, c->cells[c->first], message);
        c->first += !status;
    }
    return status;
}

/* Out of memory in the middle although the cache of the deepest cell was to be had: that cell is refused, and
 * a smaller cache leaves the others the room they need. */
static int run_cells(child *c) {
    tandem_message message;
    int status;
    do {
        session_destroy(c->walk.s);
        c->walk.s = NULL;
        open_largest(c);
        if (c->first == c->n_cell)
            return OPTIONS_GO_ON;
        status = walk_cells(c, &message);
        if (status == TANDEM_E_OUT_OF_MEMORY)
            refuse_deepest(c, c->cells[c->n_cell - 1].depth, status, message.text);
        else if (status && c->stamp)
            send_refusal(c->cells[c->first], status, message.text);
        else if (status) /* not even the prefix: nor will any cell */
            refuse_deepest(c, 0, status, message.text);
    } while (status == TANDEM_E_OUT_OF_MEMORY);
    /* After another failure this process and its context are not trusted any more: the next child goes on. */
    if (!status)
        measure_drift(c, &message);
    return OPTIONS_GO_ON;
}

static int reference_prefix(child *c, const char *kv, const char *precision, const cJSON *columns,
                            cJSON **prefix, tandem_message *message) {
    int status = open_session(c, STAMP_TOKENS, kv, precision, message);
    if (!status)
        status = sweep_prefix(&c->walk, columns, prefix, message);
    session_destroy(c->walk.s);
    c->walk.s = NULL;
    return status;
}

/* The prefix with the column's roundings, and how far they take it from the prefix without any. */
static int run_reference(child *c) {
    const char *kv = c->options->kvs.text[0], *precision = c->options->precisions.text[0];
    cJSON *unrounded = NULL, *prefix = NULL;
    tandem_message message;
    double rounding = 0;
    uint32_t n_equal;
    int status = reference_prefix(c, "f32", "exact", NULL, &unrounded, &message);
    if (!status && (strcmp(kv, "f32") || strcmp(precision, "exact"))) {
        status = reference_prefix(c, kv, precision, unrounded, &prefix, &message);
        if (!status)
            rounding = sweep_prefix_error(prefix, unrounded, &n_equal);
        cJSON_Delete(unrounded);
    } else {
        prefix = unrounded;
    }
    if (status)
        return cli_refuse(status, sweep_command, &message);
    cJSON_AddNumberToObject(prefix, "rounding", rounding);
    cJSON_AddStringToObject(prefix, "msg", "reference");
    send_message(prefix);
    return OPTIONS_GO_ON;
}

int sweep_child(const sweep_options *o) {
    /* Nobody reads a child whose parent is gone. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    child c = {.options = o};
    model_options model = o->shape;
    common_options common = o->common;
    model.model = o->models.text[0];
    common.plugin = o->plugins.text[0];
    int code = sweep_samples_create(&c.samples, o) ? OPTIONS_GO_ON : TANDEM_EXIT_NO_MEMORY;
    if (code == OPTIONS_GO_ON)
        code = cli_open_model(&model, common.seed, sweep_command, &c.source);
    if (code == OPTIONS_GO_ON)
        code = cli_open_device(&common, sweep_command, &c.device);
    if (code == OPTIONS_GO_ON)
        c.card = card_open(c.device.info.uuid);
    if (code == OPTIONS_GO_ON)
        code = send_column(&c);
    if (code == OPTIONS_GO_ON && !strcmp(o->column, "reference"))
        code = run_reference(&c);
    else if (code == OPTIONS_GO_ON) {
        code = read_orders(&c);
        if (code == OPTIONS_GO_ON)
            code = run_cells(&c);
    }
    if (code == OPTIONS_GO_ON)
        send_message(new_message("end"));
    session_destroy(c.walk.s);
    cli_close_device(&c.device);
    model_source_close(c.source);
    cJSON_Delete(c.reference);
    cJSON_Delete(c.stamp);
    sweep_samples_free(&c.samples);
    card_close(c.card);
    return code == OPTIONS_GO_ON ? TANDEM_EXIT_GOOD : code;
}
