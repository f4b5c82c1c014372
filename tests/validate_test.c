/* validate_test.c: every rule of the shared validator is broken once, by one change to something valid, and
 * must answer with its own words and the member's name. The last test counts that no rule was left out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <tandem/growth.h>
#include <tandem/validate.h>

#include "kit_testing.h"
#include "validate_world.h"

/* ---- what a refusal must say ---- */

static uint8_t covered[TANDEM_KIT_N_RULE];

static void must_refuse(int line, tandem_status status, uint32_t rule, tandem_status wanted,
                        const char *member, const tandem_error *error) {
    char id[40];
    snprintf(id, sizeof id, "[%s]", tandem_kit_rule_name(rule));
    if (status == TANDEM_OK || strstr(error->message, id) == NULL || strstr(error->message, member) == NULL ||
        strstr(error->message, tandem_kit_rule_sentence(rule)) == NULL)
        fail_msg("line %d: wanted %s about %s, got %d: %s", line, id, member, status, error->message);
    assert_int_equal(status, wanted);
    assert_int_equal(error->status, wanted);
    covered[rule] = 1;
}

#define WANTED(id, status, sentence) TANDEM_E_##status,
static const tandem_status wanted_status[] = {TANDEM_KIT_RULES(WANTED)};

#define REFUSES(call, id, member)                                                                            \
    do {                                                                                                     \
        tandem_error error = {.struct_size = sizeof error};                                                  \
        tandem_status answer = (call);                                                                       \
        must_refuse(__LINE__, answer, TANDEM_KIT_RULE_##id, wanted_status[TANDEM_KIT_RULE_##id], member,     \
                    &error);                                                                                 \
    } while (0)

static void run_world(world *w) {
    tandem_error error = {.struct_size = sizeof error};
    if (world_build_run(w, &error) != TANDEM_OK)
        fail_msg("%s", error.message);
}

/* One change to the valid program; the rest of the line is the change. */
#define PROGRAM(id, member, ...)                                                                             \
    do {                                                                                                     \
        world w;                                                                                             \
        world_build(&w);                                                                                     \
        __VA_ARGS__;                                                                                         \
        REFUSES(tandem_kit_validate_program(&world_table, &w.desc, &error), id, member);                     \
    } while (0)

#define RUN(id, member, ...)                                                                                 \
    do {                                                                                                     \
        world w;                                                                                             \
        run_world(&w);                                                                                       \
        __VA_ARGS__;                                                                                         \
        REFUSES(tandem_kit_validate_run(&world_table, &w.limits, &w.run, w.lengths,                          \
                                        w.has_next ? &w.next : NULL, &error),                                \
                id, member);                                                                                 \
    } while (0)

#define ACCEPTS(call)                                                                                        \
    do {                                                                                                     \
        tandem_error error = {.struct_size = sizeof error};                                                  \
        if ((call) != TANDEM_OK)                                                                             \
            fail_msg("line %d: %s", __LINE__, error.message);                                                \
    } while (0)

/* ---- programs ---- */

static void accepts_a_valid_program_and_states_its_limits(void **state) {
    (void)state;
    world w;
    world_build(&w);
    tandem_kit_limits limits;
    ACCEPTS(tandem_kit_program_limits(&world_table, &w.desc, &limits, &error));
    assert_int_equal(limits.max_tokens, N_TOK);
    assert_int_equal(limits.n_token, N_VOCAB);
    assert_int_equal(limits.n_logit, N_VOCAB);
    assert_int_equal(limits.topk_stride, 32);
    assert_int_equal(limits.topk_row_bytes, 32);
    assert_int_equal(limits.topk_rows, TANDEM_ROWS_OUT);
    assert_int_equal(limits.n_position, 20);
    assert_int_equal(limits.max_chunk, N_TOK);
    assert_ptr_equal(limits.kv, &w.kv);
    for (uint32_t i = 0; i < N_OP; i++)
        ACCEPTS(tandem_kit_validate_op(&world_table, w.ops[i], TANDEM_PRECISION_Q8, &error));
    w.glu_op.weights = &w.joined; /* gate and up in one matrix */
    w.glu_op.n_matrix = 1;
    ACCEPTS(tandem_kit_validate_program(&world_table, &w.desc, &error));
}

static void refuses_what_a_program_is_not(void **state) {
    (void)state;
    PROGRAM(PROGRAM_OPS, "n_op", w.desc.n_op = 0);
    PROGRAM(POINTER, "ops", w.desc.ops = NULL);
    PROGRAM(PROGRAM_LIMITS, "max_tokens", w.desc.max_tokens = 0);
    PROGRAM(PROGRAM_LIMITS, "max_out 9", w.desc.max_out = 9);
    PROGRAM(PROGRAM_LIMITS, "max_slots 0", w.desc.max_slots = 0);
    PROGRAM(PRECISION, "precision", w.desc.precision = 3);
    PROGRAM(OP_ROWS, "head.rows", w.add_op.head.rows = TANDEM_ROWS_CONST);
    PROGRAM(RESERVED, "head.reserved", w.add_op.head.reserved = 1);
    world w;
    world_build(&w);
    REFUSES(tandem_kit_validate_op(&world_table, w.ops[0], 3, &error), PRECISION, "precision");
}

static void refuses_views_that_do_not_fit(void **state) {
    (void)state;
    PROGRAM(VIEW_MISSING, "(EMBED \"token_embd\"), out", w.embed_op.out.buffer = NULL);
    PROGRAM(VIEW_UNWANTED, "x[0]", w.qkv_op.x[0] = w.stream_op.out[0]);
    PROGRAM(VIEW_UNWANTED, "y[1]", w.output_op.y[1] = w.stream_op.out[0]);
    PROGRAM(VIEW_UNWANTED, "out[1]", w.stream_op.out[1] = w.add_op.out);
    PROGRAM(VIEW_UNWANTED, "k_norm", w.shared_op.k_norm = w.attend_op.k_norm);
    PROGRAM(VIEW_UNWANTED, ", b:", w.add_op.head.kind = TANDEM_OP_SCALE);
    PROGRAM(RESERVED, "y[0]", w.output_op.y[0].reserved = 1);
    PROGRAM(VIEW_ROWS, "out", w.add_op.out.rows = TANDEM_ROWS_OUT);
    PROGRAM(VIEW_ROWS, "x[0]", w.output_op.x[0].rows = TANDEM_ROWS_OUT);
    PROGRAM(VIEW_ROWS, "q_norm", w.attend_op.q_norm.rows = TANDEM_ROWS_ALL);
    PROGRAM(VIEW_ROWS, "x[0]", w.head_op.x[0].rows = 7);
    PROGRAM(VIEW_ALIGNMENT, "offset 8", w.output_op.y[0].offset = 8);
    PROGRAM(VIEW_ALIGNMENT, "stride 260", w.output_op.y[0].stride = D * 4 + 4);
    PROGRAM(VIEW_ALIGNMENT, "q_norm", w.attend_op.q_norm.offset = 2);
    PROGRAM(VIEW_STRIDE, "y[0]", w.output_op.y[0].stride = D * 4 - 16);
    PROGRAM(VIEW_STRIDE, "(TOPK), out", w.topk_op.out.stride = 16);
    PROGRAM(VIEW_RANGE, "y[0]", w.output_op.y[0].offset = 16);
    PROGRAM(VIEW_RANGE, "y[0]", w.output_op.y[0].stride += 16);
    PROGRAM(VIEW_RANGE, "x[0]", w.output_op.x[0].offset = UINT64_MAX - 15);
    PROGRAM(VIEW_RANGE, "x[0]", w.output_op.x[0].stride = (UINT64_MAX / 7 + 1) / 16 * 16);
    PROGRAM(VIEW_RANGE, "out", w.desc.max_tokens++);
    PROGRAM(VIEW_RANGE, "y[0]", w.desc.max_out++);
    PROGRAM(VIEW_RANGE, "q_norm", w.attend_op.q_norm.offset = D * 4 - HEAD_DIM * 4 + 4);
}

/* Random views: whatever the validator accepts lies inside its buffer, counted in arithmetic that cannot
 * wrap. */
static void accepts_no_view_beyond_its_buffer(void **state) {
    (void)state;
    static const uint64_t values[] = {0,
                                      16,
                                      48,
                                      64,
                                      256,
                                      512,
                                      1024,
                                      1u << 31,
                                      1ull << 32,
                                      1ull << 60,
                                      1ull << 63,
                                      UINT64_MAX - 15,
                                      UINT64_MAX / 7 / 16 * 16};
    enum { N_VALUE = sizeof values / sizeof *values, N_ROUND = 200000 };
    uint64_t seed = 1;
    uint32_t n_accepted = 0;
    for (uint32_t round = 0; round < N_ROUND; round++) {
        world w;
        world_build(&w);
        const struct {
            tandem_view *view;
            uint32_t elements;
        } views[] = {
            {&w.output_op.x[0], N_HEAD * HEAD_DIM},
            {&w.output_op.y[0], D},
            {&w.attend_op.q, N_HEAD * HEAD_DIM},
            {&w.attend_op.k, N_KV * HEAD_DIM},
            {&w.add_op.a, D},
            {&w.add_op.out, D},
            {&w.head_op.y[0], N_VOCAB},
            {&w.topk_op.x, N_VOCAB},
            {&w.topk_op.out, 8},
            {&w.route_op.route, 2 * N_USED},
            {&w.route_op.imposed, N_USED},
            {&w.experts_op.route, 2 * N_USED},
            {&w.experts_op.y, D},
        };
        enum { N_VIEW = sizeof views / sizeof *views };
        tandem_view *view = views[test_random(&seed) % N_VIEW].view;
        if (test_random(&seed) % 2)
            view->offset = values[test_random(&seed) % N_VALUE];
        if (test_random(&seed) % 2)
            view->stride = values[test_random(&seed) % N_VALUE];
        if (test_random(&seed) % 2)
            w.desc.max_out = (uint32_t)(test_random(&seed) % (w.desc.max_tokens + 1));
        if (test_random(&seed) % 2)
            w.desc.max_tokens = 1 + (uint32_t)(test_random(&seed) % N_TOK);
        view->buffer->bytes = view->buffer->bytes * (1 + test_random(&seed) % 3) / 2;
        if (tandem_kit_validate_program(&world_table, &w.desc, NULL) != TANDEM_OK)
            continue;
        n_accepted++;
        for (uint32_t i = 0; i < N_VIEW; i++) {
            const tandem_view *v = views[i].view;
            uint32_t n = v->rows == TANDEM_ROWS_OUT ? w.desc.max_out : w.desc.max_tokens;
            if (n > 0)
                assert_true((unsigned __int128)v->offset + (unsigned __int128)(n - 1) * v->stride +
                                4 * views[i].elements <=
                            v->buffer->bytes);
        }
    }
    print_message("%u of %u accepted\n", n_accepted, (uint32_t)N_ROUND);
    assert_in_range(n_accepted, N_ROUND / 100, N_ROUND / 2);
}

static void refuses_outputs_that_overlap(void **state) {
    (void)state;
    PROGRAM(VIEW_OVERLAP, "h bytes 0 to 2048", w.stream_op.out_h = w.stream_op.h);
    PROGRAM(VIEW_OVERLAP, "out_h", w.stream_op.out[0] = w.stream_op.out_h);
    PROGRAM(VIEW_OVERLAP, "prologue.h", w.prologue.out_h = w.prologue.h);
    PROGRAM(VIEW_OVERLAP, "y[1]", w.qkv_op.y[1] = w.qkv_op.y[0]);
    PROGRAM(VIEW_OVERLAP, "prologue.h", w.qkv_op.y[0] = w.prologue.h; w.h[0].bytes = w.q.bytes;
            w.qkv_op.y[0].stride = w.attend_op.q.stride);
    PROGRAM(VIEW_OVERLAP, "b bytes", w.add_op.out = w.add_op.b);
    PROGRAM(VIEW_OVERLAP, "a bytes", w.add_op.out = w.add_op.a; w.add_op.out.offset = 16; w.h[1].bytes += 16);
    PROGRAM(VIEW_OVERLAP, "a bytes", w.add_op.out = w.add_op.a; w.add_op.out.stride += 16;
            w.h[1].bytes += 1024);
}

static void accepts_columns_side_by_side_and_an_update_in_place(void **state) {
    (void)state;
    world w;
    world_build(&w);
    uint64_t stride = (N_HEAD + 2 * N_KV) * HEAD_DIM * 4;
    w.q.bytes = stride * N_TOK;
    for (int i = 0; i < 3; i++) { /* q, k and v as columns of one buffer */
        static const uint64_t first[] = {0, N_HEAD * HEAD_DIM * 4, (N_HEAD + N_KV) * HEAD_DIM * 4};
        w.qkv_op.y[i] = (tandem_view){.buffer = &w.q, .offset = first[i], .stride = stride};
    }
    w.attend_op.q = w.qkv_op.y[0];
    w.attend_op.k = w.qkv_op.y[1];
    w.attend_op.v = w.qkv_op.y[2];
    w.add_op.out = w.add_op.a;
    w.head_op.x[0] = w.add_op.out;
    ACCEPTS(tandem_kit_validate_program(&world_table, &w.desc, &error));
    w.qkv_op.y[1].offset -= 16; /* the columns now share 16 bytes */
    REFUSES(tandem_kit_validate_program(&world_table, &w.desc, &error), VIEW_OVERLAP, "y[0]");
}

static void refuses_bad_streams(void **state) {
    (void)state;
    PROGRAM(STREAM_SHAPE, "d", w.stream_op.d = 0);
    PROGRAM(STREAM_SHAPE, "n_out 4", w.stream_op.n_out = 4);
    PROGRAM(STREAM_BRANCH, "a[1]", w.stream_op.a[1] = w.stream_op.a[0]; w.stream_op.a[0].buffer = NULL);
    PROGRAM(STREAM_BRANCH, "w[0]", w.stream_op.a[0].buffer = NULL);
    PROGRAM(STREAM_BRANCH, "w[2]", w.stream_op.w[2] = w.stream_op.w[0]);
    PROGRAM(STREAM_IDLE, "n_out", w.stream_op.n_out = 0;
            w.stream_op.out[0].buffer = w.stream_op.out_w[0].buffer = NULL; w.stream_op.out_h.buffer = NULL);
    PROGRAM(EPS, "eps", w.stream_op.eps = -1);
    PROGRAM(EPS, "eps", w.stream_op.eps = NAN);
    PROGRAM(NOT_FINITE, "scale", w.stream_op.scale = INFINITY);
    PROGRAM(NOT_FINITE, "out_scale", w.stream_op.out_scale[0] = NAN);
    PROGRAM(RESERVED, "reserved", w.stream_op.reserved2 = 1);
    PROGRAM(VIEW_RANGE, "h", w.stream_op.n_slice = 2; w.stream_op.h.stride *= 2);
    PROGRAM(VIEW_STRIDE, "h", w.stream_op.d = UINT32_MAX; w.stream_op.n_slice = UINT32_MAX);
}

static void refuses_bad_products(void **state) {
    (void)state;
    PROGRAM(POINTER, "weights", w.output_op.weights = NULL);
    PROGRAM(POINTER, "table", w.embed_op.table = NULL);
    PROGRAM(NOT_FINITE, "scale", w.embed_op.scale = NAN);
    PROGRAM(MATRIX_INDEX, "table", w.embed_op.matrix = 1);
    PROGRAM(MATRIX_INDEX, "weights", w.output_op.record = 1);
    PROGRAM(MATRIX_INDEX, "weights", w.qkv_op.first_matrix = 1);
    PROGRAM(MATMUL_COUNT, "n_matrix", w.output_op.n_matrix = 0);
    PROGRAM(MATMUL_COUNT, "n_matrix", w.output_op.n_matrix = 4);
    PROGRAM(MATMUL_COUNT, "n_matrix", w.output_op.first_matrix = UINT32_MAX);
    PROGRAM(MATMUL_ACTIVATION, "activation", w.output_op.activation = 2);
    PROGRAM(MATMUL_GLU, "role 0", w.output_op.activation = TANDEM_ACT_GELU_GLU);
    PROGRAM(MATMUL_GLU, "2 matrices", w.gate_up.matrices[1].n_row++);
    PROGRAM(MATMUL_GLU, "2 matrices", w.gate_up.matrices[0].role = TANDEM_ROLE_UP);
    PROGRAM(MATMUL_GLU, "193 by 64", w.glu_op.weights = &w.joined; w.glu_op.n_matrix = 1;
            w.joined.matrices[0].n_row++);
    PROGRAM(MATMUL_SOFTCAP, "softcap", w.head_op.softcap = -1);
    PROGRAM(MATMUL_SOFTCAP, "softcap", w.head_op.softcap = NAN);
    PROGRAM(MATMUL_SOFTCAP, "softcap", w.glu_op.softcap = 30);
    PROGRAM(VIEW_STRIDE, "y[0]", w.output.matrices[0].n_row++);
}

static void refuses_bad_prologues(void **state) {
    (void)state;
    PROGRAM(PROLOGUE_KIND, "kind 7", w.prologue.head.kind = TANDEM_OP_ADD);
    PROGRAM(PROLOGUE_KIND, "prologue.head.rows", w.prologue.head.rows = TANDEM_ROWS_OUT);
    PROGRAM(PROLOGUE_KIND, "struct_size 8", w.prologue.head.struct_size = 8);
    PROGRAM(PROLOGUE_OUTPUT, "x_output", w.qkv_op.x_output[2] = 1);
    PROGRAM(PROLOGUE_WIDTH, "prologue.d", w.prologue.d = D / 2);
    PROGRAM(RESERVED, "prologue.reserved", w.prologue.reserved = 1);
    PROGRAM(RESERVED, "prologue.head.reserved", w.prologue.head.reserved = 1);
    PROGRAM(VIEW_MISSING, "prologue.h", w.prologue.h.buffer = NULL);
    PROGRAM(VIEW_RANGE, "prologue.out_w[0]", w.prologue.out_w[0].offset = 4);
}

static void refuses_bad_attention(void **state) {
    (void)state;
    PROGRAM(POINTER, "kv", w.attend_op.kv = NULL);
    PROGRAM(KV_LAYER, "layer", w.attend_op.layer = 2);
    PROGRAM(ATTENTION_HEADS, "n_head", w.attend_op.n_head = 3);
    PROGRAM(ATTENTION_HEADS, "n_head", w.attend_op.n_head = 0);
    PROGRAM(ATTENTION_ROPE, "n_rope_pair", w.attend_op.n_rope_pair = HEAD_DIM / 2 + 1);
    PROGRAM(FLAGS, "flags", w.attend_op.flags = 4);
    PROGRAM(NOT_FINITE, "scale", w.attend_op.scale = NAN);
    PROGRAM(NOT_FINITE, "rope_omega", w.omega[3] = INFINITY);
    PROGRAM(POINTER, "rope_omega", w.attend_op.rope_omega = NULL);
    PROGRAM(EPS, "eps", w.attend_op.eps = -1e-6f);
    PROGRAM(ATTENTION_APPEND, "shares", w.shared_op.k = w.attend_op.k; w.shared_op.v = w.attend_op.v);
    PROGRAM(ATTENTION_APPEND, "OUT rows", w.attend_op.head.rows = TANDEM_ROWS_OUT);
    PROGRAM(ATTENTION_APPEND, "op 2 appends", w.ops[ATTEND_SHARED] = &w.attend_op.head);
    PROGRAM(ATTENTION_KV_PAIR, "v is absent", w.attend_op.v.buffer = NULL);
    PROGRAM(ATTENTION_KV_PAIR, "K_IS_V is set", w.attend_op.flags = TANDEM_ATTENTION_K_IS_V);
    PROGRAM(ATTENTION_KV_PAIR, "k is absent", w.attend_op.k.buffer = NULL);
    PROGRAM(ATTENTION_EARLY, "layer 1", w.ops[ATTEND] = &w.shared_op.head);
    PROGRAM(ATTENTION_CACHE, "kv", w.shared_op.kv = &w.other_kv);
    PROGRAM(ATTENTION_CACHE, "2 of the program", w.kv.n_slot = 1);
    PROGRAM(VIEW_ALIGNMENT, "visible_until", w.attend_op.visible_until = w.attend_op.k;
            w.attend_op.visible_until.stride = 6);
}

static void refuses_bad_small_ops(void **state) {
    (void)state;
    PROGRAM(TOPK_K, "k", w.topk_op.k = 0);
    PROGRAM(TOPK_K, "k", w.topk_op.k = 65);
    PROGRAM(TOPK_K, "k", w.topk_op.n = 2);
    PROGRAM(ELEMENTS, "n", w.add_op.n = 0);
    PROGRAM(NOT_FINITE, "scale", w.add_op.scale = INFINITY);
}

static void accepts_experts_in_both_forms(void **state) {
    (void)state;
    world w;
    world_build(&w);
    w.experts.n_matrix = 2; /* gate and up in one matrix */
    w.experts.matrices[0] = world_matrix(TANDEM_ROLE_GATE_UP, 2 * D_FF, D);
    w.experts.matrices[1] = world_matrix(TANDEM_ROLE_DOWN, D, D_FF);
    ACCEPTS(tandem_kit_validate_program(&world_table, &w.desc, &error));
    w.route_op.expert_scale.buffer = w.route_op.imposed.buffer = w.route_op.probabilities.buffer = NULL;
    w.route_op.n_used = w.experts_op.n_used = 1;
    ACCEPTS(tandem_kit_validate_program(&world_table, &w.desc, &error));
    w.route_op.n_used = w.experts_op.n_used = N_EXPERT; /* its rows end where the next would begin */
    w.route_op.route.stride = w.experts_op.route.stride = 8 * N_EXPERT;
    w.route.bytes = 8 * N_EXPERT * N_TOK;
    ACCEPTS(tandem_kit_validate_program(&world_table, &w.desc, &error));
    w.route_op.head.struct_size = TANDEM_KIT_MIN_tandem_op_moe_route; /* knows no probabilities */
    w.route_op.probabilities.buffer = (tandem_buffer *)(uintptr_t)1;
    ACCEPTS(tandem_kit_validate_program(&world_table, &w.desc, &error));
    world_build(&w);
    w.route_op.head.rows = w.experts_op.head.rows =
        TANDEM_ROWS_OUT; /* reads ALL rows, and imposed ids of ALL */
    w.route_op.route.rows = w.route_op.probabilities.rows = TANDEM_ROWS_OUT;
    w.experts_op.route.rows = w.experts_op.y.rows = TANDEM_ROWS_OUT;
    ACCEPTS(tandem_kit_validate_program(&world_table, &w.desc, &error));
}

static void refuses_bad_routes(void **state) {
    (void)state;
    PROGRAM(POINTER, "weights", w.route_op.weights = NULL);
    PROGRAM(MATRIX_INDEX, "weights", w.route_op.matrix = 1);
    PROGRAM(MOE_USED, "0 of 6", w.route_op.n_used = 0);
    PROGRAM(MOE_USED, "7 of 6", w.route_op.n_used = N_EXPERT + 1);
    PROGRAM(MOE_USED, "3 of 1025", w.router.matrices[0].n_row = 1025);
    PROGRAM(VIEW_MISSING, "x", w.route_op.x.buffer = NULL);
    PROGRAM(VIEW_MISSING, "route", w.route_op.route.buffer = NULL);
    PROGRAM(VIEW_STRIDE, "route", w.route_op.route.stride = 16);
    PROGRAM(VIEW_STRIDE, "x", w.router.matrices[0].n_col = 2 * D);
    PROGRAM(VIEW_STRIDE, "probabilities", w.route_op.probabilities.stride = 16);
    PROGRAM(VIEW_STRIDE, "imposed", w.route_op.imposed.stride = 4 * (N_USED - 1));
    PROGRAM(VIEW_ALIGNMENT, "imposed", w.route_op.imposed.offset = 2);
    PROGRAM(VIEW_ALIGNMENT, "route", w.route_op.route.offset = 8);
    PROGRAM(VIEW_RANGE, "route", w.route.bytes -= 16);
    PROGRAM(VIEW_RANGE, "expert_scale", w.route_op.expert_scale.offset = D * 4 - 4 * N_EXPERT + 4);
    PROGRAM(VIEW_RANGE, "probabilities", w.probabilities.bytes -= 16);
    PROGRAM(VIEW_RANGE, "imposed", w.imposed.bytes -= 1);
    PROGRAM(VIEW_ROWS, "expert_scale", w.route_op.expert_scale.rows = TANDEM_ROWS_ALL);
    PROGRAM(VIEW_ROWS, "imposed", w.route_op.imposed.rows = TANDEM_ROWS_OUT);
    PROGRAM(VIEW_ROWS, "route", w.route_op.route.rows = TANDEM_ROWS_OUT);
    PROGRAM(VIEW_ROWS, "probabilities", w.route_op.probabilities.rows = TANDEM_ROWS_CONST);
    PROGRAM(VIEW_OVERLAP, "probabilities", w.route_op.probabilities = w.route_op.route);
    PROGRAM(VIEW_OVERLAP, "imposed", w.route_op.imposed = w.route_op.route);
}

static void refuses_bad_experts(void **state) {
    (void)state;
    PROGRAM(RESERVED, "reserved", w.experts_op.reserved = 1);
    PROGRAM(POINTER, "weights", w.experts_op.weights = NULL);
    PROGRAM(MOE_MATRICES, "4 matrices", w.experts.n_matrix = 4;
            w.experts.matrices[3] = world_matrix(TANDEM_ROLE_SINGLE, D, D));
    PROGRAM(MOE_MATRICES, "2 matrices", w.experts.n_matrix = 2);
    PROGRAM(MOE_MATRICES, "1 matrices", w.experts.n_matrix = 1);
    PROGRAM(MOE_MATRICES, "role 5 and 4", w.experts.matrices[0].role = TANDEM_ROLE_UP;
            w.experts.matrices[1].role = TANDEM_ROLE_GATE);
    PROGRAM(MOE_MATRICES, "97 by 64", w.experts.matrices[1].n_row++);
    PROGRAM(MOE_MATRICES, "96 by 128", w.experts.matrices[1].n_col *= 2);
    PROGRAM(MOE_MATRICES, "weights", w.experts.matrices[2].n_col = D);
    PROGRAM(MOE_MATRICES, "weights", w.experts.matrices[2].role = TANDEM_ROLE_SINGLE);
    PROGRAM(MOE_MATRICES, "193 by 64", w.experts.n_matrix = 2;
            w.experts.matrices[0] = world_matrix(TANDEM_ROLE_GATE_UP, 2 * D_FF + 1, D);
            w.experts.matrices[1] = w.experts.matrices[2]);
    PROGRAM(MOE_MATRICES, "role 6 and 7", w.experts.n_matrix = 2;
            w.experts.matrices[0] = world_matrix(TANDEM_ROLE_GATE_UP, D_FF, D);
            w.experts.matrices[1] = w.experts.matrices[2]);
    PROGRAM(MOE_USED, "0 of 6", w.experts_op.n_used = 0);
    PROGRAM(MOE_USED, "3 of 2", w.experts.n_record = 2);
    PROGRAM(VIEW_MISSING, "x", w.experts_op.x.buffer = NULL);
    PROGRAM(VIEW_MISSING, "route", w.experts_op.route.buffer = NULL);
    PROGRAM(VIEW_MISSING, "y", w.experts_op.y.buffer = NULL);
    PROGRAM(VIEW_STRIDE, "route", w.experts_op.route.stride = 16);
    PROGRAM(VIEW_RANGE, "route", w.experts_op.route.offset = 16);
    PROGRAM(VIEW_RANGE, "y", w.moe.bytes -= 16);
    PROGRAM(VIEW_STRIDE, "y", w.experts.matrices[2].n_row++);
    PROGRAM(VIEW_ROWS, "route", w.experts_op.route.rows = TANDEM_ROWS_OUT);
    PROGRAM(VIEW_ROWS, "y", w.experts_op.y.rows = TANDEM_ROWS_OUT);
    PROGRAM(VIEW_OVERLAP, "x bytes", w.experts_op.y = w.experts_op.x);
    PROGRAM(VIEW_OVERLAP, "route bytes", w.experts_op.y = w.experts_op.route; w.experts_op.y.stride = D * 4;
            w.route.bytes = w.moe.bytes);
}

static void names_the_op_that_is_wrong(void **state) {
    (void)state;
    world w;
    world_build(&w);
    tandem_error error = {.struct_size = sizeof error};
    w.head_op.softcap = -1;
    assert_int_equal(tandem_kit_validate_program(&world_table, &w.desc, &error), TANDEM_E_INVALID);
    assert_int_equal(error.op_index, HEAD);
    assert_non_null(strstr(error.message, "op 11 (MATMUL \"product\"), softcap"));
    w.ops[STREAM] = NULL;
    assert_int_equal(tandem_kit_validate_program(&world_table, &w.desc, &error), TANDEM_E_INVALID);
    assert_int_equal(error.op_index, STREAM);
    world_build(&w);
    w.add_op.head.kind = 99;
    assert_int_equal(tandem_kit_validate_program(&world_table, &w.desc, &error), TANDEM_E_UNSUPPORTED);
    assert_int_equal(error.op_index, ADD);
    assert_non_null(strstr(error.message, "kind 99"));
    assert_int_equal(tandem_kit_validate_program(&world_table, NULL, &error), TANDEM_E_INVALID);
    assert_int_equal(tandem_kit_validate_program(&world_table, NULL, NULL), TANDEM_E_INVALID);
}

/* ---- runs ---- */

static void accepts_runs_of_every_form(void **state) {
    (void)state;
    world w;
    run_world(&w);
#define RUN_IT tandem_kit_validate_run(&world_table, &w.limits, &w.run, w.lengths, &w.next, &error)
    ACCEPTS(RUN_IT);
    w.rows[1] = (tandem_row){.token = 1, .position = 2, .slot = 1}; /* slots interleaved */
    w.rows[2] = (tandem_row){.token = 1, .position = 6, .slot = 0};
    w.rows[3] = (tandem_row){.token = 1, .position = 3, .slot = 1};
    ACCEPTS(RUN_IT);
    w.run.rows = NULL;
    w.run.tokens = w.tokens;
    w.run.position = 5;
    w.run.out = NULL;
    ACCEPTS(RUN_IT);
    tandem_row row = tandem_kit_run_row(&w.run, 3);
    tandem_out out = tandem_kit_run_out(&w.run, 0);
    assert_int_equal(row.token, 3);
    assert_int_equal(row.position, 8);
    assert_int_equal(out.row, 2);
    assert_int_equal(out.target, TANDEM_NONE);
    w.run = (tandem_run){
        .struct_size = sizeof w.run, .source = TANDEM_SOURCE_DEVICE_NEXT, .n_rows = 1, .n_out = 1};
    ACCEPTS(RUN_IT);
    w.run.struct_size = TANDEM_KIT_MIN_tandem_run; /* a caller that knows no flags and no result */
    ACCEPTS(RUN_IT);
    w.limits.kv = NULL; /* without a cache positions are free */
    run_world(&w);
    w.limits.kv = NULL;
    w.rows[0].position = 1000;
    ACCEPTS(tandem_kit_validate_run(&world_table, &w.limits, &w.run, NULL, NULL, &error));
}

static void refuses_bad_runs(void **state) {
    (void)state;
    RUN(RUN_SOURCE, "source", w.run.source = 2);
    RUN(FLAGS, "flags", w.run.flags = 2);
    RUN(RUN_ROWS, "n_rows", w.run.n_rows = 0);
    RUN(RUN_ROWS, "n_rows", w.run.n_rows = N_TOK + 1);
    RUN(RUN_ROWS, "both given", w.run.tokens = w.tokens);
    RUN(RUN_ROWS, "both NULL", w.run.rows = NULL);
    RUN(RUN_ROWS, "position", w.run.position = 5);
    RUN(RUN_TOKEN, "row 1 has token 100", w.rows[1].token = N_VOCAB);
    RUN(RUN_SLOT, "slot 2", w.rows[2].slot = 2);
    RUN(RUN_POSITION, "position 9, not 8", w.rows[3].position = 9);
    RUN(RUN_POSITION, "position 5, not 6", w.lengths[0] = 6);
    RUN(RUN_CAPACITY, "position 20", for (int i = 0; i < 4; i++) w.rows[i].position += 12; w.lengths[0] = 17);
    RUN(RUN_CAPACITY, "position", w.run.rows = NULL; w.run.tokens = w.tokens;
        w.run.position = UINT32_MAX - 1);
    RUN(RUN_CHUNK, "number 4", w.limits.max_chunk = 3);
    RUN(RUN_OUT, "n_out", w.run.n_out = 3; w.run.out = NULL);
    RUN(RUN_OUT, "n_out", w.run.n_rows = 1; w.run.out = NULL);
    RUN(RUN_OUT, "out[1]", w.outs[1].row = 2);
    RUN(RUN_OUT, "out[1]", w.outs[1].row = 4);
    RUN(RUN_TARGET, "target 100", w.outs[1].target = N_VOCAB);
    RUN(RUN_TARGET, "0 logits", w.limits.n_logit = 0; w.run.result = NULL);
    RUN(RUN_RESULT, "no TOPK", w.limits.n_logit = 0; w.outs[1].target = TANDEM_NONE);
    RUN(RUN_RESULT, "offset 8", w.run.result_offset = 8);
    RUN(RUN_RESULT, "64 bytes at offset 976", w.run.result_offset = 976);
    RUN(RUN_RESULT, "offset", w.run.result_offset = UINT64_MAX - 15);
}

static void refuses_a_next_token_that_cannot_be(void **state) {
    (void)state;
#define NEXT                                                                                                 \
    w.run = (tandem_run){.struct_size = sizeof w.run, .source = TANDEM_SOURCE_DEVICE_NEXT, .n_rows = 1};     \
    w.has_next = 1
    RUN(RUN_NEXT, "no TOPK before", NEXT; w.has_next = 0);
    RUN(RUN_NEXT, "2 rows", NEXT; w.run.n_rows = 2);
    RUN(RUN_NEXT, "tokens given", NEXT; w.run.tokens = w.tokens);
    RUN(RUN_NEXT, "position 5", NEXT; w.run.position = 5);
    RUN(RUN_POSITION, "position 6, not 5", NEXT; w.next.position = 6);
    RUN(RUN_SLOT, "slot 2", NEXT; w.next.slot = 2);
    RUN(RUN_CAPACITY, "position 20", NEXT; w.next.position = w.lengths[0] = 20);
}

/* ---- objects ---- */

static void refuses_bad_contexts_and_buffers(void **state) {
    (void)state;
    tandem_context_desc context = {.struct_size = sizeof context, .device = 1};
    ACCEPTS(tandem_kit_validate_context(&context, 2, &error));
    REFUSES(tandem_kit_validate_context(&context, 1, &error), DEVICE, "1 of 1");
    context.reserved = 1;
    REFUSES(tandem_kit_validate_context(&context, 2, &error), RESERVED, "reserved");
    tandem_buffer_desc buffer = {.struct_size = sizeof buffer, .bytes = 1};
    ACCEPTS(tandem_kit_validate_buffer(&buffer, &error));
    buffer.placement = 2;
    REFUSES(tandem_kit_validate_buffer(&buffer, &error), PLACEMENT, "placement");
    buffer.placement = buffer.bytes = 0;
    REFUSES(tandem_kit_validate_buffer(&buffer, &error), BUFFER_BYTES, "bytes");
    ACCEPTS(tandem_kit_validate_range("the buffer", 10, 10, 0, NULL, &error));
    ACCEPTS(tandem_kit_validate_range("the buffer", 10, 2, 8, &buffer, &error));
    REFUSES(tandem_kit_validate_range("the buffer", 10, 2, 9, &buffer, &error), RANGE, "the buffer, offset");
    REFUSES(tandem_kit_validate_range("the buffer", 10, 11, 0, &buffer, &error), RANGE, "offset");
    REFUSES(tandem_kit_validate_range("the buffer", 10, 2, UINT64_MAX, &buffer, &error), RANGE, "offset");
    REFUSES(tandem_kit_validate_range("the buffer", 10, 2, 8, NULL, &error), POINTER, "memory");
}

static void refuses_bad_weights(void **state) {
    (void)state;
    tandem_matrix_desc m[4] = {world_matrix(TANDEM_ROLE_GATE, 3, 64), world_matrix(TANDEM_ROLE_UP, 3, 64),
                               world_matrix(TANDEM_ROLE_DOWN, 64, 32),
                               world_matrix(TANDEM_ROLE_SINGLE, 1, 32)};
    const tandem_matrix_desc *list[4] = {&m[0], &m[1], &m[2], &m[3]};
    tandem_weights_desc d = {.struct_size = sizeof d, .n_record = 4, .n_matrix = 3, .matrices = list};
#define WEIGHTS tandem_kit_validate_weights(&d, &error)
    ACCEPTS(WEIGHTS);
    d.n_record = 0;
    REFUSES(WEIGHTS, WEIGHTS_COUNT, "0 records");
    d.n_record = 4;
    d.n_matrix = 5;
    REFUSES(WEIGHTS, WEIGHTS_COUNT, "5 matrices");
    d.n_matrix = 3;
    d.placement = 2;
    REFUSES(WEIGHTS, PLACEMENT, "placement");
    d.placement = 0;
    d.matrices = NULL;
    REFUSES(WEIGHTS, POINTER, "matrices");
    d.matrices = list;
    m[1].role = TANDEM_ROLE_GATE;
    REFUSES(WEIGHTS, MATRIX_ROLE, "role");
    m[1].role = 8;
    REFUSES(WEIGHTS, MATRIX_ROLE, "role");
    m[1] = world_matrix(TANDEM_ROLE_UP, 3, 64);
    m[1].type = 5;
    REFUSES(WEIGHTS, MATRIX_TYPE, "type");
    m[1] = world_matrix(TANDEM_ROLE_UP, 3, 65);
    REFUSES(WEIGHTS, MATRIX_SHAPE, "3 by 65 of Q8_0");
    m[1] = world_matrix(TANDEM_ROLE_UP, 0, 64);
    REFUSES(WEIGHTS, MATRIX_SHAPE, "0 by 64");
    m[1] = world_matrix(TANDEM_ROLE_UP, UINT64_MAX / 68 / 4, 64);
    REFUSES(WEIGHTS, MATRIX_BYTES, "4 records");
    m[1] = world_matrix(TANDEM_ROLE_UP, 3, UINT64_MAX - 31);
    REFUSES(WEIGHTS, MATRIX_BYTES, "4 records");
    m[1] = world_matrix(TANDEM_ROLE_UP, 3, 64);
    m[1].reserved = 1;
    REFUSES(WEIGHTS, RESERVED, "matrices.reserved");
    tandem_error error = {.struct_size = sizeof error};
    list[1] = NULL;
    assert_int_equal(WEIGHTS, TANDEM_E_INVALID);
}

static void refuses_bad_writes(void **state) {
    (void)state;
    tandem_matrix_desc m = world_matrix(TANDEM_ROLE_SINGLE, 10, 64);
    uint8_t source[68] = {0};
    ACCEPTS(tandem_kit_validate_write(&m, 9, 1, source, 68, TANDEM_WRITE_BORROW, &error));
    REFUSES(tandem_kit_validate_write(&m, 9, 1, source, 68, 2, &error), FLAGS, "flags");
    REFUSES(tandem_kit_validate_write(&m, 9, 2, source, 136, 0, &error), RANGE, "2 rows from row 9 of 10");
    REFUSES(tandem_kit_validate_write(&m, UINT64_MAX, 2, source, 136, 0, &error), RANGE, "n_row");
    REFUSES(tandem_kit_validate_write(&m, 0, 0, source, 0, 0, &error), RANGE, "0 rows");
    REFUSES(tandem_kit_validate_write(&m, 9, 1, source, 67, 0, &error), WRITE_BYTES, "67 for 1 rows of 68");
    REFUSES(tandem_kit_validate_write(&m, 0, 2, source, 68, 0, &error), WRITE_BYTES, "bytes");
    REFUSES(tandem_kit_validate_write(&m, 9, 1, NULL, 68, 0, &error), POINTER, "source");
}

#define KV(id, member, ...)                                                                                  \
    do {                                                                                                     \
        tandem_kv_layer l[3] = {{sizeof *l, 2, 64, TANDEM_TYPE_F16, 0, TANDEM_NONE, 100},                    \
                                {sizeof *l, 1, 64, TANDEM_TYPE_Q8_0, 32, TANDEM_NONE, 100},                  \
                                {sizeof *l, 2, 64, TANDEM_TYPE_F16, 0, 0, 100}};                             \
        const tandem_kv_layer *list[3] = {&l[0], &l[1], &l[2]};                                              \
        tandem_kv_desc d = {                                                                                 \
            .struct_size = sizeof d, .n_layer = 3, .layers = list, .max_chunk = 8, .n_slot = 1};             \
        ACCEPTS(tandem_kit_validate_kv(&d, &error));                                                         \
        __VA_ARGS__;                                                                                         \
        REFUSES(tandem_kit_validate_kv(&d, &error), id, member);                                             \
    } while (0)

static void refuses_bad_caches(void **state) {
    (void)state;
    KV(KV_COUNT, "n_layer", d.n_layer = 0);
    KV(KV_COUNT, "n_slot 0", d.n_slot = 0);
    KV(KV_COUNT, "max_chunk 0", d.max_chunk = 0);
    KV(KV_LAYOUT, "layout", d.layout = 3);
    KV(POINTER, "layers", d.layers = NULL);
    KV(RESERVED, "reserved", d.reserved = 1);
    KV(KV_TYPE, "layer 1", l[1].type = TANDEM_TYPE_Q4_0);
    KV(KV_SHAPE, "layer 1", l[1].n_kv_head = 0);
    KV(KV_SHAPE, "layer 0 has 2 heads of 63", l[0].head_dim = 63);
    KV(KV_SHAPE, "layer 0", l[0].head_dim = 1026);
    KV(KV_SHAPE, "layer 1", l[1].head_dim = 48);
    KV(KV_CAPACITY, "layer 0", l[0].capacity = 0);
    KV(KV_CAPACITY, "layer 0", l[0].capacity = 1ull << 32);
    KV(KV_SHARE, "layer 2 shares layer 2", l[2].share_of = 2);
    KV(KV_SHARE, "differs in shape", l[2].share_of = 1);
    KV(KV_SHARE, "shares too", l[1] = l[2]; l[2].share_of = 1);
    KV(KV_BYTES, "slots", l[1].n_kv_head = l[0].n_kv_head = UINT32_MAX; l[0].capacity = UINT32_MAX);
}

static void every_rule_was_broken(void **state) {
    (void)state;
    for (uint32_t rule = 0; rule < TANDEM_KIT_N_RULE; rule++)
        if (!covered[rule])
            fail_msg("no test breaks %s", tandem_kit_rule_name(rule));
    assert_null(tandem_kit_rule_name(TANDEM_KIT_N_RULE));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_a_valid_program_and_states_its_limits),
        cmocka_unit_test(refuses_what_a_program_is_not),
        cmocka_unit_test(refuses_views_that_do_not_fit),
        cmocka_unit_test(accepts_no_view_beyond_its_buffer),
        cmocka_unit_test(refuses_outputs_that_overlap),
        cmocka_unit_test(accepts_columns_side_by_side_and_an_update_in_place),
        cmocka_unit_test(refuses_bad_streams),
        cmocka_unit_test(refuses_bad_products),
        cmocka_unit_test(refuses_bad_prologues),
        cmocka_unit_test(refuses_bad_attention),
        cmocka_unit_test(refuses_bad_small_ops),
        cmocka_unit_test(accepts_experts_in_both_forms),
        cmocka_unit_test(refuses_bad_routes),
        cmocka_unit_test(refuses_bad_experts),
        cmocka_unit_test(names_the_op_that_is_wrong),
        cmocka_unit_test(accepts_runs_of_every_form),
        cmocka_unit_test(refuses_bad_runs),
        cmocka_unit_test(refuses_a_next_token_that_cannot_be),
        cmocka_unit_test(refuses_bad_contexts_and_buffers),
        cmocka_unit_test(refuses_bad_weights),
        cmocka_unit_test(refuses_bad_writes),
        cmocka_unit_test(refuses_bad_caches),
        cmocka_unit_test(every_rule_was_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
