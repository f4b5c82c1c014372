/* host/compare_arms.c: the two sides: plugins, a pair of devices, sessions (contract: compare.h). */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "plugin_call.h"
#include "plugin_error.h"

void compare_add_doubt(compare_doubts *doubts, const char *guard, const char *format, ...) {
    if (doubts->n == COMPARE_MOST_DOUBTS)
        return;
    compare_doubt *d = &doubts->item[doubts->n++];
    va_list args;
    va_start(args, format);
    d->guard = guard;
    vsnprintf(d->text, sizeof d->text, format, args);
    va_end(args);
}

/* ---- devices ---- */

static bool is_null(const uint8_t uuid[16]) {
    static const uint8_t zero[16];
    return !memcmp(uuid, zero, sizeof zero);
}

/* A device of `d`'s plugin with the UUID of `like`; where both are one plugin, the same device. */
static bool find_same_card(cli_device *d, const cli_device *like) {
    tandem_error error = TANDEM_ERROR_INIT;
    uint32_t n = 0;
    if (d->backend == like->backend) {
        d->index = like->index;
        d->info = like->info;
        return true;
    }
    if (is_null(like->info.uuid) || plugin_device_count(d->backend, &n, &error))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        tandem_device_info info = {.struct_size = sizeof info};
        if (plugin_device_info(d->backend, i, &info, &error) ||
            memcmp(info.uuid, like->info.uuid, sizeof info.uuid))
            continue;
        d->index = i;
        d->info = info;
        return true;
    }
    return false;
}

/* Neither device is named: the best of A's that B has too. */
static bool find_pair(cli_device *a, cli_device *b) {
    tandem_error error = TANDEM_ERROR_INIT;
    uint32_t n = 0;
    if (find_same_card(b, a))
        return true;
    if (plugin_device_count(a->backend, &n, &error))
        return false;
    for (uint32_t kind = TANDEM_DEVICE_GPU; kind <= TANDEM_DEVICE_SIMULATED; kind++)
        for (uint32_t i = 0; i < n; i++) {
            cli_device other = *a;
            other.index = i;
            other.info = (tandem_device_info){.struct_size = sizeof other.info};
            if (plugin_device_info(a->backend, i, &other.info, &error) || other.info.kind != kind ||
                !find_same_card(b, &other))
                continue;
            *a = other;
            return true;
        }
    return false;
}

static int pair_devices(compare *c) {
    const compare_options *o = c->options;
    cli_device *a = &c->side[SIDE_A].device, *b = &c->side[SIDE_B].device;
    bool found = o->device[SIDE_A] && o->device[SIDE_B];
    if (!found)
        found = o->device[SIDE_A]   ? find_same_card(b, a)
                : o->device[SIDE_B] ? find_same_card(a, b)
                                    : find_pair(a, b);
    if (!found)
        return cli_fail(
            TANDEM_EXIT_ENVIRONMENT, compare_command,
            "%s and %s have no device of one UUID; to compare different ones name both, with --device-a and "
            "--device-b (see tandem devices)",
            a->backend->descriptor->name, b->backend->descriptor->name);
    c->same_card = !memcmp(a->info.uuid, b->info.uuid, sizeof a->info.uuid) &&
                   (!is_null(a->info.uuid) || (a->backend == b->backend && a->index == b->index));
    for (uint32_t i = 0; i < N_SIDE; i++) {
        c->simulated |= c->side[i].device.info.kind == TANDEM_DEVICE_SIMULATED;
        c->software |= c->side[i].device.info.kind == TANDEM_DEVICE_SOFTWARE;
    }
    return OPTIONS_GO_ON;
}

const char *compare_device_note(const compare *c) {
    return c->simulated ? "simulated" : c->software ? "software" : "";
}

/* ---- opening ---- */

/* Without imposed experts each side would send tokens to those that its own last bits prefer. */
static int impose_routing(compare *c) {
    common_options *common = &c->sweep.common;
    if (!model_source_config(c->source)->n_expert)
        return OPTIONS_GO_ON;
    if (!common->routing)
        common->routing = "uniform";
    if (!strcmp(common->routing, "model"))
        return cli_fail(
            TANDEM_EXIT_USAGE, compare_command,
            "Experts are imposed, equal on both sides: --routing uniform, zipf[:S] or trace:FILE");
    return OPTIONS_GO_ON;
}

/* The members that sweep_identity and sweep_walk read. */
static bool describe_sweep(compare *c) {
    const compare_options *o = c->options;
    c->sweep = (sweep_options){.common = o->common, .shape = o->shape, .fill = o->fill};
    const char *kv = o->common.kv ? o->common.kv : "f16";
    const char *precision = o->common.precision ? o->common.precision : "exact";
    c->sweep.common.kv = kv;
    c->sweep.common.precision = precision;
    c->sweep.common.batch = o->common.batch ? o->common.batch : 256;
    c->sweep.kvs.text[0] = strdup(kv);
    c->sweep.precisions.text[0] = strdup(precision);
    c->sweep.kvs.n = c->sweep.precisions.n = 1;
    return c->sweep.kvs.text[0] && c->sweep.precisions.text[0];
}

static int open_side(compare *c, uint32_t side) {
    compare_side *s = &c->side[side];
    common_options common = c->options->common;
    common.plugin = c->options->plugin[side];
    common.device = c->options->device[side];
    int code = cli_open_device(&common, compare_command, &s->device);
    if (code != OPTIONS_GO_ON)
        return code;
    s->name = s->device.backend->descriptor->name;
    snprintf(s->label, sizeof s->label, "%.40s (%c)", s->name, 'A' + (int)side);
    return OPTIONS_GO_ON;
}

int compare_open(compare *c, const compare_options *o) {
    *c = (compare){.options = o, .swapped = o->swap};
    if (!describe_sweep(c))
        return TANDEM_EXIT_NO_MEMORY;
    int code = cli_open_model(&o->shape, o->common.seed, compare_command, &c->source);
    if (code == OPTIONS_GO_ON)
        code = impose_routing(c);
    for (uint32_t i = 0; i < N_SIDE && code == OPTIONS_GO_ON; i++)
        code = open_side(c, i);
    if (code == OPTIONS_GO_ON)
        code = pair_devices(c);
    for (uint32_t i = 0; i < N_SIDE && code == OPTIONS_GO_ON; i++)
        c->card[i] = i && c->same_card ? NULL : card_open(c->side[i].device.info.uuid);
    if (code == OPTIONS_GO_ON)
        c->n_vocab = model_source_config(c->source)->n_vocab;
    return code;
}

void compare_close(compare *c) {
    for (uint32_t i = 0; i < N_SIDE; i++) {
        card_close(c->card[i]);
        cli_close_session(c->side[i].s);
        cJSON_Delete(c->side[i].prefix);
        cJSON_Delete(c->side[i].stamp);
    }
    for (uint32_t i = 0; i < N_SIDE; i++)
        cli_close_device(&c->side[i].device);
    cJSON_Delete(c->reference);
    model_source_close(c->source);
    options_free_texts(&c->sweep.kvs);
    options_free_texts(&c->sweep.precisions);
}

/* ---- sessions ---- */

/* A chunk and the token whose ids are hashed behind it, or the tokens of a turn. */
static uint32_t rollback(const compare *c) {
    const uint32_t decode = compare_runs(c->options, PHASE_DECODE), chunk = c->sweep.common.batch + 1;
    return decode > chunk ? decode : chunk;
}

static int open_session(compare *c, uint32_t side, tandem_message *message) {
    const compare_options *o = c->options;
    const uint32_t most = rollback(c) > STAMP_TOKENS ? rollback(c) : STAMP_TOKENS;
    session_request request = {.command = compare_command, .n_score = STAMP_TOKENS};
    session_desc desc;
    cli_describe_session(&c->sweep.common, &request, &desc);
    desc.n_ctx = o->depth[o->n_depth - 1] + most;
    desc.backend = c->side[side].device.backend;
    desc.device = c->side[side].device.index;
    desc.source = c->source;
    desc.n_rollback = rollback(c);
    const uint64_t begin = now_ns();
    int status = session_create(&c->side[side].s, &desc, message);
    c->side[side].load_ns = now_ns() - begin;
    c->side[side].walk_ns = 0;
    return status;
}

static void leave(compare_side *side) {
    cli_close_session(side->s);
    side->s = NULL;
}

void compare_leave(compare *c) {
    leave(&c->side[SIDE_A]);
    leave(&c->side[SIDE_B]);
}

int compare_reside(compare *c, uint32_t side, tandem_message *message) {
    compare_side *this = &c->side[side], *other = &c->side[!side];
    if (this->s)
        return TANDEM_OK;
    if (c->swapped)
        leave(other);
    int status = open_session(c, side, message);
    if (status != TANDEM_E_OUT_OF_MEMORY || !other->s)
        return status;
    /* Two copies do not fit: from now on one at a time. */
    c->swapped = true;
    leave(other);
    return open_session(c, side, message);
}

sweep_walk compare_walk(compare *c, uint32_t side) {
    return (sweep_walk){.options = &c->sweep, .s = c->side[side].s, .n_vocab = c->n_vocab};
}

int compare_go_to(compare *c, uint32_t side, uint32_t depth, tandem_message *message) {
    int status = compare_reside(c, side, message);
    if (status)
        return status;
    session *s = c->side[side].s;
    if (session_length(s) > depth)
        return session_truncate(s, depth, message);
    if (session_length(s) == depth)
        return TANDEM_OK;
    sweep_walk walk = compare_walk(c, side);
    const uint64_t begin = now_ns();
    status = sweep_go_to(&walk, depth, !strcmp(c->options->fill, "synthetic"), message);
    c->side[side].walk_ns += now_ns() - begin;
    return status;
}
