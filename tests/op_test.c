/* Every op case on a plugin against the reference: error budget, guard bytes, dead rows, equal bits when
 * repeated.
 *
 * usage: op_test PLUGIN [--smoke] [--need-f16] [--filter TEXT]... [--without TEXT] [--stride N] [--list]
 * [--device N]
 *                [--option NAME=VALUE]...
 * --filter runs cases with TEXT in their name, --without leaves them out and says how many; --stride N runs
 * every N-th case of the list. A case that the plugin says it does not support fails: the formats
 * and the precisions `exact` and `q8` are promised by every plugin.
 */
#include "cases/compare.h"
#include "loader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct {
    tandem_plugin *reference, *plugin;
    tandem_context *reference_context, *context;
    uint32_t device;
    uint32_t need_f16, n_refused;
    uint64_t bits; /* hash of every output of the plugin */
    unsigned log_errors; /* messages at error level, such as those of the validation layers */
    double worst_share[TANDEM_OP_MOE_FFN + 1]; /* of the budget, by kind of op */
    const char *worst_name[TANDEM_OP_MOE_FFN + 1];
    uint64_t n_routed,
        n_swap; /* rows whose experts were compared, and those with another one within the margin */
} shared;

static case_list list;

op_case *case_add(case_list *l, op_case c) {
    if (l->n == l->capacity) {
        fprintf(stderr, "op_test: case_list is full\n");
        exit(2);
    }
    l->cases[l->n] = c;
    return &l->cases[l->n++];
}

static void on_log(void *user, uint32_t level, const char *message) {
    (void)user;
    if (level == TANDEM_LOG_ERROR)
        shared.log_errors++;
    if (level <= TANDEM_LOG_WARNING)
        print_error("%s\n", message);
}

static void must(side *s, tandem_status status, const char *what) {
    if (status != TANDEM_OK)
        fail_msg("%s: status %d, %s", what, status, s->error.message);
}

static void judge(const op_case *c, const side_output *a, const unsigned char *expected,
                  const unsigned char *actual, uint32_t kind) {
    comparison result;
    for (uint64_t i = 0; i < a->bytes; i++)
        shared.bits = (shared.bits ^ actual[i]) * 0x100000001b3u;
    compare_output(a, expected, actual, &result);
    double share = c->budget > 0 ? result.worst / c->budget : result.worst > 0 ? 1e300 : 0;
    if (share > shared.worst_share[kind]) {
        shared.worst_share[kind] = share;
        shared.worst_name[kind] = c->name;
    }
    if (a->route) {
        shared.n_routed += a->live;
        shared.n_swap += result.n_swap;
    }
    if (result.n_swap)
        print_message("too close to tell: %s\n", result.swap);
    if (*result.trouble)
        fail_msg("%s", result.trouble);
    if (!(result.worst <= c->budget))
        fail_msg("%s: worst row %.2e, median %.2e, budget %.0e", a->name, result.worst, result.median,
                 c->budget);
    if (c->typical > 0 && a->live >= 3 && !(result.median <= c->typical))
        fail_msg("%s: median row %.2e, and %.0e is usual", a->name, result.median, c->typical);
}

/* Moves records of experts while runs are pending: an edit, a run, and an edit behind it that must not
 * disturb the run. The result stays what it was. */
static void check_moves(side *s, const side_output *o, const unsigned char *expected) {
    tandem_weights *experts = NULL;
    tandem_weights_info before = {.struct_size = sizeof before}, after = before;
    for (uint32_t i = 0; i < s->n_weights && before.n_record < 2; i++) {
        experts = s->weights[i];
        must(s, s->api->weights_info(experts, &before, &s->error), "weights_info");
    }
    assert_in_range(before.n_record, 2, UINT32_MAX);
    for (uint32_t i = 0; i < 2 * before.n_record; i += 2) {
        uint32_t placement = i < before.n_record ? TANDEM_PLACE_HOST : TANDEM_PLACE_DEVICE;
        tandem_ticket moved = 0, last = 0;
        must(s, s->api->weights_place(experts, i % before.n_record, placement, NULL, &s->error),
             "weights_place");
        must(s, s->api->run(s->program, &s->run, NULL, &s->error), "a run behind a move");
        must(s, s->api->weights_place(experts, (i + 1) % before.n_record, placement, &moved, &s->error),
             "weights_place");
        unsigned char *actual = side_read(s, o);
        assert_non_null(actual);
        assert_memory_equal(actual, expected, o->bytes);
        free(actual);
        must(s, s->api->wait(s->context, moved, UINT64_MAX, &s->error), "waiting for a move");
        must(s, s->api->weights_info(experts, &after, &s->error), "weights_info");
        if (i + 2 == before.n_record) /* all are in host memory now */
            assert_true(after.host_bytes >= before.source_bytes);
        must(s, s->api->run(s->program, &s->run, &last, &s->error), "a run behind a move");
    }
    assert_int_equal(after.device_bytes, before.device_bytes);
}

/* A plugin may lack precision f16 (--need-f16: not this one). It says so, and the test counts. */
static void skip_refused(side sides[2]) {
    if (shared.n_refused++ == 0)
        print_message("%s\n", sides[1].error.message);
    side_close(&sides[0]);
    side_close(&sides[1]);
    skip();
}

static void run_case(void **state) {
    const op_case *c = *state;
    side sides[2];
    const tandem_backend *apis[2] = {tandem_plugin_backend(shared.reference),
                                     tandem_plugin_backend(shared.plugin)};
    tandem_context *contexts[2] = {shared.reference_context, shared.context};
    static const char *const who[2] = {"reference", "plugin"};
    shared.log_errors = 0;
    for (int i = 0; i < 2; i++) {
        side *s = &sides[i];
        side_open(s, apis[i], contexts[i]);
        s->precision = c->precision;
        s->max_tokens = c->max_tokens;
        s->max_out = c->n_out;
        must(s, c->build(s, c), who[i]);
        tandem_status status = side_compile(s);
        if (status == TANDEM_E_UNSUPPORTED && i == 1 && c->precision == TANDEM_PRECISION_F16 &&
            !shared.need_f16)
            skip_refused(sides);
        must(s, status, who[i]);
        must(s, side_run(s), who[i]);
    }
    for (uint32_t o = 0; o < sides[0].n_output; o++) {
        unsigned char *expected = side_read(&sides[0], &sides[0].outputs[o]);
        unsigned char *actual = side_read(&sides[1], &sides[1].outputs[o]);
        assert_non_null(expected);
        assert_non_null(actual);
        judge(c, &sides[1].outputs[o], expected, actual, c->kind ? c->kind : sides[0].ops[0]->kind);
        free(expected);
        /* Same program, same device, same bits. */
        if (o == 0)
            must(&sides[1], side_run(&sides[1]), "second run");
        unsigned char *again = side_read(&sides[1], &sides[1].outputs[o]);
        assert_non_null(again);
        assert_memory_equal(actual, again, sides[1].outputs[o].bytes);
        if (c->moves)
            check_moves(&sides[1], &sides[1].outputs[o], again);
        free(actual);
        free(again);
    }
    side_close(&sides[0]);
    side_close(&sides[1]);
    assert_int_equal(shared.log_errors, 0);
}

static int open_side(const char *name, const tandem_host *host, uint32_t device, tandem_plugin **plugin,
                     tandem_context **context) {
    tandem_error error = {.struct_size = sizeof error};
    if (tandem_plugin_open(name, host, plugin, &error) != TANDEM_OK) {
        print_error("%s: %s\n", name, error.message);
        return -1;
    }
    tandem_context_desc desc = {.struct_size = sizeof desc, .device = device};
    if (tandem_plugin_backend(*plugin)->context_create(&desc, context, &error) != TANDEM_OK) {
        print_error("%s: %s\n", name, error.message);
        return -1;
    }
    return 0;
}

static int close_all(void **state) {
    (void)state;
    static const char *const names[] = {"",    "embed", "stream", "matmul", "attention", "topk",
                                        "glu", "add",   "scale",  "copy",   "route",     "ffn"};
    for (uint32_t k = 1; k <= TANDEM_OP_MOE_FFN; k++)
        if (shared.worst_name[k])
            print_message("worst share of the budget, %-9s %8.2g  (%s)\n", names[k], shared.worst_share[k],
                          shared.worst_name[k]);
    if (shared.n_refused)
        print_message("%u cases of precision f16 refused\n", shared.n_refused);
    print_message("bits of all outputs %016llx\n", (unsigned long long)shared.bits);
    print_message("experts of %llu rows compared, %llu of them with another expert within the margin\n",
                  (unsigned long long)shared.n_routed, (unsigned long long)shared.n_swap);
    tandem_plugin_backend(shared.plugin)->context_destroy(shared.context);
    tandem_plugin_backend(shared.reference)->context_destroy(shared.reference_context);
    tandem_plugin_close(shared.plugin);
    tandem_plugin_close(shared.reference);
    if (shared.n_swap > 1 && shared.n_swap * 10000 > shared.n_routed) {
        print_error("more than one row in 10,000 has another expert\n");
        return -1;
    }
    return shared.log_errors ? -1 : 0;
}

/* One of the filters is in the name, or there is none. */
static int matches(const char *name, const char *const *filters, uint32_t n_filter) {
    for (uint32_t i = 0; i < n_filter; i++)
        if (strstr(name, filters[i]))
            return 1;
    return n_filter == 0;
}

static int usage(void) {
    fprintf(stderr, "usage: op_test PLUGIN [--smoke] [--need-f16] [--filter TEXT]... [--without TEXT] "
                    "[--stride N] [--list] [--device N] "
                    "[--option N=V]...\n");
    return 2;
}

int main(int argc, char **argv) {
    const char *filters[8], *without = NULL, *options[8];
    uint32_t n_filter = 0, n_without = 0, smoke = 0, only_list = 0, n_option = 0, stride = 1;
    if (argc < 2 || argv[1][0] == '-')
        return usage();
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--smoke"))
            smoke = 1;
        else if (!strcmp(argv[i], "--list"))
            only_list = 1;
        else if (!strcmp(argv[i], "--need-f16"))
            shared.need_f16 = 1;
        else if (!strcmp(argv[i], "--filter") && i + 1 < argc && n_filter < 8)
            filters[n_filter++] = argv[++i];
        else if (!strcmp(argv[i], "--without") && i + 1 < argc)
            without = argv[++i];
        else if (!strcmp(argv[i], "--stride") && i + 1 < argc && atoi(argv[i + 1]) > 0)
            stride = (uint32_t)atoi(argv[++i]);
        else if (!strcmp(argv[i], "--device") && i + 1 < argc)
            shared.device = (uint32_t)atoi(argv[++i]);
        else if (!strcmp(argv[i], "--option") && i + 1 < argc && n_option < 8)
            options[n_option++] = argv[++i];
        else
            return usage();
    }
    static op_case storage[2048];
    static struct CMUnitTest tests[2048];
    list = (case_list){.cases = storage, .capacity = 2048};
    embed_cases(&list);
    stream_cases(&list);
    elementwise_cases(&list);
    matmul_cases(&list);
    attention_cases(&list);
    topk_cases(&list);
    moe_route_cases(&list);
    moe_ffn_cases(&list);
    moe_block_cases(&list);
    matmul_f16_cases(&list); /* last: a stride picks the same cases of the others with and without them */
    moe_ffn_f16_cases(&list);
    uint32_t n = 0;
    for (uint32_t i = 0; i < list.n; i += stride) {
        op_case *c = &list.cases[i];
        if ((smoke && !c->smoke) || !matches(c->name, filters, n_filter))
            continue;
        if (without && strstr(c->name, without)) {
            n_without++;
            continue;
        }
        if (only_list)
            puts(c->name);
        tests[n++] = (struct CMUnitTest){.name = c->name, .test_func = run_case, .initial_state = c};
    }
    if (only_list)
        return 0;
    if (without)
        printf("%u cases with \"%s\" in their name are left out\n", n_without, without);
    if (n == 0) {
        fprintf(stderr, "op_test: no case matches\n");
        return 2;
    }
    tandem_host plain = {.struct_size = sizeof plain,
                         .abi_major = TANDEM_ABI_MAJOR,
                         .abi_minor = TANDEM_ABI_MINOR,
                         .log = on_log};
    tandem_host host = plain;
    host.n_options = n_option;
    host.options = n_option ? options : NULL;
    if (open_side("reference", &plain, 0, &shared.reference, &shared.reference_context) ||
        open_side(argv[1], &host, shared.device, &shared.plugin, &shared.context))
        return 1;
    return _cmocka_run_group_tests("ops against the reference", tests, n, NULL, close_all);
}
