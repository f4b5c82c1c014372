/* host/compare_check.c: are both sides right, and alike? (contract: compare.h) */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"

/* ---- the reference plugin ---- */

static int reference_prefix(compare *c, const cli_device *device, const char *kv, const char *precision,
                            const cJSON *columns, cJSON **prefix, tandem_message *message) {
    common_options common = c->sweep.common;
    common.kv = kv;
    common.precision = precision;
    common.memory_cap = 0; /* it is meant for the sides */
    common.n_ctx = 0;
    session_request request = {.command = compare_command, .n_ctx = STAMP_TOKENS, .n_score = STAMP_TOKENS};
    session_desc desc;
    cli_describe_session(&common, &request, &desc);
    desc.backend = device->backend;
    desc.device = device->index;
    desc.source = c->source;
    session *s = NULL;
    int status = session_create(&s, &desc, message);
    sweep_walk walk = {.options = &c->sweep, .s = s, .n_vocab = c->n_vocab};
    if (!status)
        status = sweep_prefix(&walk, columns, prefix, message);
    session_destroy(s);
    return status;
}

/* The prefix as both sides should find it, and what its roundings cost against one without any. */
static int run_reference(compare *c, const cli_device *device, tandem_message *message) {
    const char *kv = c->sweep.common.kv, *precision = c->sweep.common.precision;
    cJSON *unrounded = NULL;
    double rounding = 0;
    uint32_t n_equal;
    int status = reference_prefix(c, device, "f32", "exact", NULL, &unrounded, message);
    if (!status && !strcmp(kv, "f32") && !strcmp(precision, "exact")) {
        c->reference = unrounded;
    } else if (!status) {
        status = reference_prefix(c, device, kv, precision, unrounded, &c->reference, message);
        if (!status)
            rounding = sweep_prefix_error(c->reference, unrounded, &n_equal);
        cJSON_Delete(unrounded);
    }
    if (!status)
        cJSON_AddNumberToObject(c->reference, "rounding", rounding);
    return status;
}

/* As the sweep names it. */
static int reference_key(compare *c, char key[128], tandem_message *message) {
    char column[512];
    cJSON *identity = cJSON_CreateObject();
    int status = sweep_identity(&c->sweep, &c->side[SIDE_A].device, c->source, column, sizeof column,
                                identity, message);
    snprintf(key, 128, "%s|%s|%s", json_text(identity, "model_key"), c->sweep.common.kv,
             c->sweep.common.precision);
    cJSON_Delete(identity);
    return status;
}

static int keep_reference(const compare *c, const char *key, journal *j, tandem_message *message) {
    cJSON *row = cJSON_Duplicate(c->reference, true);
    cJSON_AddStringToObject(row, "row", "reference");
    cJSON_AddStringToObject(row, "key", key);
    return journal_append(j, row, message);
}

int compare_check_reference(compare *c, journal *j, tandem_message *message) {
    char key[128];
    int found = reference_key(c, key, message);
    if (found)
        return found;
    const cJSON *row = j->path ? journal_find(j, "reference", key) : NULL;
    if (row) {
        c->reference = cJSON_Duplicate(row, true);
        return TANDEM_OK;
    }
    cli_device device;
    common_options common = {.plugin = "reference"};
    int status = TANDEM_E_NO_DEVICE;
    message_fail(message, status, "it cannot be opened.");
    if (cli_open_device(&common, compare_command, &device) == OPTIONS_GO_ON) {
        status = run_reference(c, &device, message);
        cli_close_device(&device);
    }
    if (status)
        compare_add_doubt(&c->doubts, "reference",
                          "The reference plugin did not run, so nobody knows what the outputs should be: %s",
                          message->text);
    return status || !j->path ? TANDEM_OK : keep_reference(c, key, j, message);
}

/* ---- the sides ---- */

static int check_prefix(compare *c, uint32_t side, tandem_message *message) {
    compare_side *s = &c->side[side];
    sweep_walk walk = compare_walk(c, side);
    int status = sweep_prefix(&walk, c->reference, &s->prefix, message);
    if (status)
        return status;
    s->stamp = sweep_stamp(s->prefix, c->reference);
    if (json_true(s->stamp, "ok"))
        return TANDEM_OK;
    compare_add_doubt(
        &c->doubts, "outputs",
        "The outputs of %s are wrong: error %.1e against the reference, where roundings excuse %.1e; "
        "%.0f of %u likeliest tokens are equal.",
        s->label, json_number(s->stamp, "worst_error"), json_number(s->stamp, "budget"),
        json_number(s->stamp, "top1_equal"), STAMP_TOKENS);
    return TANDEM_OK;
}

/* Each within its budget e of the truth, two sides are within (sqrt e + sqrt e)^2 = 4 e of each other. */
static void check_each_other(compare *c) {
    uint32_t n_equal;
    const double budget = 4 * sweep_budget(json_number(c->reference, "rounding"));
    c->arms_error = sweep_prefix_error(c->side[SIDE_B].prefix, c->side[SIDE_A].prefix, &n_equal);
    if (c->arms_error <= budget && n_equal == STAMP_TOKENS)
        return;
    compare_add_doubt(
        &c->doubts, "outputs",
        "The outputs of both sides differ by %.1e, where roundings excuse %.1e; %u of %u likeliest tokens "
        "are equal.",
        c->arms_error, budget, n_equal, STAMP_TOKENS);
}

int compare_check_sides(compare *c, tandem_message *message) {
    c->arms_error = NAN;
    for (uint32_t i = 0; i < N_SIDE; i++) {
        int status = compare_reside(c, i, message);
        if (status == TANDEM_E_UNSUPPORTED) {
            compare_add_doubt(&c->doubts, "unsupported", "%s does not offer what is compared: %s",
                              c->side[i].label, message->text);
            continue;
        }
        if (!status)
            status = compare_check_precision(c, i, message);
        if (!status && c->reference)
            status = check_prefix(c, i, message);
        if (status)
            return status;
    }
    if (c->side[SIDE_A].prefix && c->side[SIDE_B].prefix)
        check_each_other(c);
    return TANDEM_OK;
}
