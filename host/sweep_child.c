/* host/sweep_child.c: one column in a process of its own. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "plugin_watch.h"
#include "sweep_child.h"

/* ---- messages ---- */

static void begin_round(void *user) {
    card_begin(((child *)user)->card);
}

static bool end_round(void *user) {
    return card_end(((child *)user)->card);
}

static void report_progress(void *user, double units) {
    (void)user;
    cJSON *j = child_message("progress");
    cJSON_AddNumberToObject(j, "units", units);
    child_send(j);
}

static int send_column(child *c) {
    tandem_message message;
    cJSON *j = child_message("column");
    int status = sweep_identity(c->options, &c->device, c->source, c->key, sizeof c->key, j, &message);
    if (status) {
        cJSON_Delete(j);
        return cli_refuse(status, sweep_command, &message);
    }
    child_send(j);
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

/* Answers the cells that are left from `depth` on. */
static void refuse_deepest(child *c, uint32_t depth, tandem_status status, const char *reason) {
    while (c->n_cell > c->first && c->cells[c->n_cell - 1].depth >= depth)
        child_refuse(c->cells[--c->n_cell], status, reason);
}

/* One cache for the largest depth that fits; depths that do not are answered and dropped. */
static void open_largest(child *c) {
    const sweep_options *o = c->options;
    tandem_message message;
    while (c->n_cell > c->first) {
        uint32_t depth = c->cells[c->n_cell - 1].depth;
        int status = open_session(c, child_room(o, depth), o->kvs.text[0], o->precisions.text[0], &message);
        if (!status)
            return;
        /* What is refused for another reason than memory is refused at every depth. */
        refuse_deepest(c, status == TANDEM_E_OUT_OF_MEMORY ? depth : 0, status, message.text);
    }
}

/* ---- cells ---- */

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
    c->prefix = prefix;
    return TANDEM_OK;
}

/* The prefix once more, after the last cell: what went bad on the way spoils the cells too. To the bit, since
 * equal programs give equal bits. */
static int check_again(child *c, tandem_message *message) {
    cJSON *prefix;
    uint32_t n_equal;
    if (!c->prefix)
        return TANDEM_OK;
    int status = session_truncate(c->walk.s, 0, message);
    if (!status)
        status = sweep_prefix(&c->walk, c->reference, &prefix, message);
    if (status)
        return status;
    const double error = sweep_prefix_error(prefix, c->prefix, &n_equal);
    cJSON_Delete(prefix);
    if (error == 0)
        return TANDEM_OK;
    cJSON *j = child_message("late"), *cells = cJSON_AddArrayToObject(j, "cells");
    for (uint32_t i = 0; i < c->first; i++)
        cJSON_AddItemToArray(cells, child_cell_message("cell", c->cells[i]));
    cJSON_AddNumberToObject(j, "error", isfinite(error) ? error : 1e300);
    child_send(j);
    return TANDEM_OK;
}

/* Everything but the drift, from cell `first` on. */
static int walk_cells(child *c, tandem_message *message) {
    int status = c->stamp ? TANDEM_OK : make_stamp(c, message);
    if (!status)
        status = child_measure_bias(c, message);
    while (c->first < c->n_cell && !status) {
        status = child_run_cell(c, c->cells[c->first], message);
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
            child_refuse(c->cells[c->first], status, message.text);
        else if (status) /* not even the prefix: nor will any cell */
            refuse_deepest(c, 0, status, message.text);
    } while (status == TANDEM_E_OUT_OF_MEMORY);
    /* After another failure this process and its context are not trusted any more: the next child goes on. */
    if (!status)
        status = check_again(c, &message);
    if (!status)
        child_measure_drift(c, &message);
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
    child_send(prefix);
    return OPTIONS_GO_ON;
}

/* The parent reads there what this process was doing when it ended. */
static void use_watch(void) {
    void *page = mmap(NULL, sizeof(plugin_watch), PROT_READ | PROT_WRITE, MAP_SHARED, SWEEP_WATCH_FD, 0);
    if (page != MAP_FAILED)
        plugin_watch_use(page);
    close(SWEEP_WATCH_FD);
}

int sweep_child(const sweep_options *o) {
    /* Nobody reads a child whose parent is gone. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    use_watch();
    if (!strcmp(o->column, "peaks"))
        return sweep_child_peaks(o);
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
        child_send(child_message("end"));
    session_destroy(c.walk.s);
    cli_close_device(&c.device);
    model_source_close(c.source);
    cJSON_Delete(c.reference);
    cJSON_Delete(c.stamp);
    cJSON_Delete(c.prefix);
    sweep_samples_free(&c.samples);
    card_close(c.card);
    return code == OPTIONS_GO_ON ? TANDEM_EXIT_GOOD : code;
}
