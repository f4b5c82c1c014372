/* kit_test.c: messages, growing structs, negotiation, rotation tables and synthetic cache values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <tandem/fill.h>
#include <tandem/growth.h>
#include <tandem/message.h>
#include <tandem/negotiate.h>
#include <tandem/quants.h>
#include <tandem/rope.h>

#include "kit_testing.h"

/* ---- messages ---- */

static void messages_keep_to_the_callers_struct(void **state) {
    (void)state;
    const uint32_t cut = offsetof(tandem_error, message) + 9;
    const uint32_t sizes[] = {0, 3, 4, 8, 20, 24, cut, sizeof(tandem_error), sizeof(tandem_error) + 8};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        union {
            tandem_error error;
            unsigned char bytes[sizeof(tandem_error) + 16];
        } u;
        memset(&u, 0xa5, sizeof u);
        u.error.struct_size = sizes[s];
        assert_int_equal(tandem_kit_fail_op(&u.error, TANDEM_E_INVALID, 7, "twelve %s", "letters"),
                         TANDEM_E_INVALID);
        const uint32_t filled = sizes[s] < 4                ? 4
                                : sizes[s] < sizeof u.error ? sizes[s]
                                                            : (uint32_t)sizeof u.error;
        for (size_t i = filled; i < sizeof u; i++)
            assert_int_equal(u.bytes[i], 0xa5);
        if (sizes[s] >= 4)
            assert_int_equal(u.error.struct_size, filled);
        if (filled >= 8)
            assert_int_equal(u.error.status, TANDEM_E_INVALID);
        if (filled >= 20)
            assert_int_equal(u.error.op_index, 7);
        if (filled == sizeof u.error)
            assert_string_equal(u.error.message, "twelve letters");
        if (filled == cut)
            assert_string_equal(u.error.message, "twelve l");
    }
    assert_int_equal(tandem_kit_fail(NULL, TANDEM_E_BUSY, "%d", 1), TANDEM_E_BUSY);
}

static void long_messages_end_between_characters(void **state) {
    (void)state;
    static const char *const characters[] = {"a", "\xc3\xa4", "\xe2\x82\xac",
                                             "\xf0\x9f\x8e\xb5"}; /* 1 to 4 bytes */
    for (size_t c = 0; c < 4; c++)
        for (size_t lead = 0; lead < 4; lead++) {
            char text[1024] = "xxxx";
            text[lead] = '\0';
            while (strlen(text) < 600)
                strcat(text, characters[c]);
            tandem_error error = {.struct_size = sizeof error};
            tandem_kit_fail(&error, TANDEM_E_INTERNAL, "%s", text);
            size_t n = strlen(error.message), unit = strlen(characters[c]);
            assert_true(n < sizeof error.message && n + unit >= sizeof error.message);
            assert_int_equal((n - lead) % unit, 0);
            assert_memory_equal(error.message, text, n);
        }
}

static void every_status_has_words(void **state) {
    (void)state;
    for (tandem_status s = TANDEM_E_INTERNAL; s <= TANDEM_OK; s++) {
        assert_true(tandem_kit_status_known(s));
        assert_string_not_equal(tandem_kit_status_name(s), "unknown status");
    }
    assert_string_equal(tandem_kit_status_name(TANDEM_E_OUT_OF_MEMORY), "OUT_OF_MEMORY");
    assert_string_equal(tandem_kit_status_name(TANDEM_OK), "OK");
    assert_false(tandem_kit_status_known(TANDEM_E_INTERNAL - 1));
    assert_false(tandem_kit_status_known(1));
    assert_string_equal(tandem_kit_status_name(1), "unknown status");
    assert_non_null(tandem_kit_status_sentence(1));
}

static void texts_of_strangers_can_be_printed(void **state) {
    (void)state;
    static const struct {
        const char *given, *printed;
    } cases[] = {
        {"RTX 3060 \xc2\xb5, \xe2\x82\xac, \xf0\x9f\x98\x80",
         "RTX 3060 \xc2\xb5, \xe2\x82\xac, \xf0\x9f\x98\x80"},
        {"\x1b[2J\a\r\n\t\x7f", "?[2J?????"},
        {"\xc2\x9b"
         "31m",
         "??31m"}, /* CSI of C1 */
        {"a\xe2\x80\xae"
         "b\xe2\x81\xa6",
         "a???b???"},                                          /* right to left, isolate */
        {"\xff\xc0\x80\xe0\x80\xaf\xed\xa0\x80", "?????????"}, /* no byte, overlong forms, a surrogate */
        {"\xf4\x90\x80\x80\xf8\x88\x80\x80", "????????"},      /* beyond U+10FFFF, five bytes */
        {"cut \xe2\x82", "cut ??"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", cases[i].given);
        tandem_kit_printable(text);
        assert_string_equal(text, cases[i].printed);
    }
}

/* ---- growth ---- */

/* One struct in its first version, and as a later one has it. */
typedef struct small {
    uint32_t struct_size, a;
    uint64_t b;
} small;
typedef struct large {
    uint32_t struct_size, a;
    uint64_t b;
    uint32_t c, d;
} large;

static void an_older_input_gets_zeros_for_what_it_lacks(void **state) {
    (void)state;
    const small old = {.struct_size = sizeof old, .a = 1, .b = 2};
    large local;
    memset(&local, 0xa5, sizeof local);
    assert_int_equal(tandem_kit_take(&local, sizeof local, sizeof old, &old, NULL, "old"), TANDEM_OK);
    assert_int_equal(local.a, 1);
    assert_int_equal(local.b, 2);
    assert_int_equal(local.c, 0);
    assert_int_equal(local.d, 0);
    assert_int_equal(local.struct_size, sizeof local);
}

static void a_newer_input_passes_while_its_news_are_zero(void **state) {
    (void)state;
    large new = {.struct_size = sizeof new, .a = 1, .b = 2};
    small local;
    tandem_error error = {.struct_size = sizeof error};
    assert_int_equal(tandem_kit_take(&local, sizeof local, sizeof local, &new, &error, "tandem_new"),
                     TANDEM_OK);
    assert_int_equal(local.b, 2);
    assert_int_equal(local.struct_size, sizeof local);
    new.d = 0x01000000; /* its last byte */
    assert_int_equal(tandem_kit_take(&local, sizeof local, sizeof local, &new, &error, "tandem_new"),
                     TANDEM_E_UNSUPPORTED);
    assert_non_null(strstr(error.message, "tandem_new has a value at offset 23"));
    assert_int_equal(local.a, 0);
    new.c = 1;
    tandem_kit_take(&local, sizeof local, sizeof local, &new, &error, "tandem_new");
    assert_non_null(strstr(error.message, "offset 16"));
}

static void a_struct_without_a_believable_size_is_not_read(void **state) {
    (void)state;
    small local;
    tandem_error error = {.struct_size = sizeof error};
    static const uint32_t sizes[] = {0, 1, 4, sizeof(small) - 1, TANDEM_KIT_MAX_STRUCT + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint32_t *given = malloc(sizeof *given); /* a sanitizer would see any read behind the size */
        *given = sizes[i];
        assert_int_equal(tandem_kit_take(&local, sizeof local, sizeof local, given, &error, "it"),
                         TANDEM_E_INVALID);
        assert_int_equal(tandem_kit_give(given, &local, sizeof local, sizeof local, &error, "it"),
                         TANDEM_E_INVALID);
        assert_int_equal(*given, sizes[i]);
        assert_non_null(strstr(error.message, "it.struct_size"));
        free(given);
    }
    assert_int_equal(tandem_kit_take(&local, sizeof local, sizeof local, NULL, &error, "it"),
                     TANDEM_E_INVALID);
    assert_int_equal(tandem_kit_give(NULL, &local, sizeof local, sizeof local, &error, "it"),
                     TANDEM_E_INVALID);
    assert_string_equal(error.message, "it is NULL");
}

static void an_output_is_filled_as_far_as_both_sides_know(void **state) {
    (void)state;
    const large local = {.struct_size = 99, .a = 1, .b = 2, .c = 3, .d = 4};
    large out;
    memset(&out, 0xa5, sizeof out);
    out.struct_size = sizeof(small); /* an older caller */
    assert_int_equal(tandem_kit_give(&out, &local, sizeof local, sizeof(small), NULL, "out"), TANDEM_OK);
    assert_int_equal(out.struct_size, sizeof(small));
    assert_int_equal(out.b, 2);
    assert_int_equal(out.c, 0xa5a5a5a5u);
    memset(&out, 0xa5, sizeof out);
    out.struct_size = sizeof out; /* an older callee */
    assert_int_equal(tandem_kit_give(&out, &local, sizeof(small), sizeof(small), NULL, "out"), TANDEM_OK);
    assert_int_equal(out.struct_size, sizeof(small));
    assert_int_equal(out.c, 0xa5a5a5a5u);
}

static void takes_ops_by_their_kind(void **state) {
    (void)state;
    tandem_kit_op local;
    tandem_error error = {.struct_size = sizeof error};
    struct {
        tandem_op_matmul op;
        uint32_t news[2];
    } newer = {.op = {.head = {.struct_size = sizeof newer, .kind = TANDEM_OP_MATMUL}, .record = 5}};
    assert_int_equal(tandem_kit_take_op(&local, &newer.op.head, 3, &error), TANDEM_OK);
    assert_int_equal(local.matmul.record, 5);
    assert_int_equal(local.head.struct_size, sizeof local.matmul);
    newer.news[1] = 1;
    assert_int_equal(tandem_kit_take_op(&local, &newer.op.head, 3, &error), TANDEM_E_UNSUPPORTED);
    assert_int_equal(error.op_index, 3);
    newer.op.head.struct_size = TANDEM_KIT_MIN_tandem_op_matmul; /* a caller that knows no prologue */
    newer.op.prologue = (const tandem_op_stream *)(const void *)&newer;
    assert_int_equal(tandem_kit_take_op(&local, &newer.op.head, 3, &error), TANDEM_OK);
    assert_null(local.matmul.prologue);
    newer.op.head.struct_size = sizeof(tandem_op);
    assert_int_equal(tandem_kit_take_op(&local, &newer.op.head, 3, &error), TANDEM_E_INVALID);
    newer.op.head.struct_size = 4;
    assert_int_equal(tandem_kit_take_op(&local, &newer.op.head, 3, &error), TANDEM_E_INVALID);
    newer.op.head = (tandem_op){.struct_size = sizeof newer.op, .kind = 0};
    assert_int_equal(tandem_kit_take_op(&local, &newer.op.head, 3, &error), TANDEM_E_UNSUPPORTED);
    assert_int_equal(tandem_kit_take_op(&local, NULL, 3, &error), TANDEM_E_INVALID);
    assert_string_equal(tandem_kit_op_name(TANDEM_OP_TOPK), "TOPK");
    assert_string_equal(tandem_kit_op_name(77), "unknown");
}

/* Every kind: its first version's size is enough, less is not, and what lies behind the struct must be zero.
 */
static void ops_of_every_kind_and_size(void **state) {
    (void)state;
#define OP(KIND, type)                                                                                       \
    { TANDEM_OP_##KIND, #KIND, TANDEM_KIT_MIN_##type, sizeof(type) }
    static const struct {
        uint32_t kind;
        const char *name;
        uint32_t minimum, bytes;
    } ops[] = {
        OP(EMBED, tandem_op_embed),         OP(STREAM, tandem_op_stream),     OP(MATMUL, tandem_op_matmul),
        OP(ATTENTION, tandem_op_attention), OP(TOPK, tandem_op_topk),         OP(GLU, tandem_op_elementwise),
        OP(ADD, tandem_op_elementwise),     OP(SCALE, tandem_op_elementwise), OP(COPY, tandem_op_elementwise),
        OP(MOE_ROUTE, tandem_op_moe_route), OP(MOE_FFN, tandem_op_moe_ffn)};
#undef OP
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        union {
            tandem_op head;
            unsigned char bytes[sizeof(tandem_kit_op) + 8];
        } given;
        tandem_kit_op local;
        tandem_error error = {.struct_size = sizeof error};
        assert_int_equal(ops[i].kind, i + 1);
        assert_string_equal(tandem_kit_op_name(ops[i].kind), ops[i].name);
        memset(&given, 0xa5, sizeof given);
        given.head = (tandem_op){.struct_size = ops[i].minimum - 1, .kind = ops[i].kind};
        assert_int_equal(tandem_kit_take_op(&local, &given.head, 3, &error), TANDEM_E_INVALID);
        assert_int_equal(error.op_index, 3);
        given.head.struct_size = ops[i].minimum; /* what lies behind it is not looked at */
        assert_int_equal(tandem_kit_take_op(&local, &given.head, 3, &error), TANDEM_OK);
        assert_int_equal(local.head.struct_size, ops[i].bytes);
        for (uint32_t at = ops[i].minimum; at < ops[i].bytes; at++)
            assert_int_equal(((const unsigned char *)&local)[at], 0);
        memset(given.bytes + ops[i].bytes, 0, 8);
        given.head.struct_size = ops[i].bytes + 8;
        assert_int_equal(tandem_kit_take_op(&local, &given.head, 3, &error), TANDEM_OK);
        given.bytes[ops[i].bytes + 7] = 1;
        assert_int_equal(tandem_kit_take_op(&local, &given.head, 3, &error), TANDEM_E_UNSUPPORTED);
    }
}

/* ---- negotiation ---- */

static void versions_fit_by_the_published_rule(void **state) {
    (void)state;
    assert_true(tandem_kit_versions_fit(0, 1, 0, 1));
    assert_false(tandem_kit_versions_fit(0, 2, 0, 1));
    assert_false(tandem_kit_versions_fit(0, 1, 0, 2));
    assert_false(tandem_kit_versions_fit(1, 1, 0, 1));
    assert_false(tandem_kit_versions_fit(0, 1, 1, 1));
    assert_true(tandem_kit_versions_fit(1, 0, 1, 9));
    assert_true(tandem_kit_versions_fit(1, 9, 1, 0));
    assert_false(tandem_kit_versions_fit(2, 0, 1, 0));
}

static void a_plugin_refuses_hosts_that_do_not_fit(void **state) {
    (void)state;
    tandem_error error = {.struct_size = sizeof error};
    const char *options[] = {"a=b", NULL};
    tandem_host local, host = {.struct_size = sizeof host,
                               .abi_major = TANDEM_ABI_MAJOR,
                               .abi_minor = TANDEM_ABI_MINOR,
                               .n_options = 1,
                               .options = options,
                               .error = &error};
    assert_int_equal(tandem_kit_check_host(&host, &local), TANDEM_OK);
    assert_ptr_equal(local.options, options);
    host.n_options = 2;
    assert_int_equal(tandem_kit_check_host(&host, &local), TANDEM_E_INVALID);
    assert_non_null(strstr(error.message, "options[1] is NULL"));
    host.options = NULL;
    assert_int_equal(tandem_kit_check_host(&host, &local), TANDEM_E_INVALID);
    host.n_options = 0;
    host.abi_minor++;
    assert_int_equal(tandem_kit_check_host(&host, &local), TANDEM_E_VERSION);
    assert_non_null(strstr(error.message, "ABI 0.1 and the host for ABI 0.2"));
    assert_non_null(strstr(error.message, "a newer plugin"));
    host.abi_minor = 0;
    assert_int_equal(tandem_kit_check_host(&host, &local), TANDEM_E_VERSION);
    assert_non_null(strstr(error.message, "a newer host"));
    host.abi_major++; /* of another major nothing behind the version is read */
    host.error = (tandem_error *)(uintptr_t)1;
    assert_int_equal(tandem_kit_check_host(&host, &local), TANDEM_E_VERSION);
    host.struct_size = 8;
    assert_int_equal(tandem_kit_check_host(&host, &local), TANDEM_E_INVALID);
    assert_int_equal(tandem_kit_check_host(NULL, &local), TANDEM_E_INVALID);
}

/* ---- rotation ---- */

static void exact_angles_are_exact(void **state) {
    (void)state;
    static const struct {
        double omega;
        uint32_t position;
        double cosine, sine; /* mpmath, 300 bits, of the double omega */
    } known[] = {
        {1.0, 100003, 0.98431483010245143323, -0.17642084695517752169},
        {1.0, 262143, -0.60916149056919764901, 0.7930462019375121651},
        {1.0, 4294967295u, -0.8679353473572022873, 0.49667719175328819253},
        {0.94746353, 100003, 0.32570250062055418046, -0.9454723058289533547},
        {0.94746353, 262143, -0.97099100209462262831, 0.23911602591896795456},
        {0.94746353, 4294967295u, 0.49423122025891422402, -0.86933049004471516598},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double c, s;
        tandem_kit_rope_exact(known[i].omega, known[i].position, &c, &s);
        assert_true(fabs(c - known[i].cosine) < 1e-15);
        assert_true(fabs(s - known[i].sine) < 1e-15);
    }
}

static void joined_tables_give_every_position(void **state) {
    (void)state;
    enum { N_PAIR = 64, N_CTX = 262144 };
    double omega[N_PAIR];
    for (int i = 0; i < N_PAIR; i++)
        omega[i] = pow(1e6, -2.0 * i / 512);
    uint32_t n_high = tandem_kit_rope_n_high(N_CTX);
    assert_int_equal(n_high, 1024);
    float *low = malloc(TANDEM_KIT_ROPE_LOW * N_PAIR * 2 * sizeof *low);
    float *high = malloc((size_t)n_high * N_PAIR * 2 * sizeof *high);
    assert_non_null(low);
    assert_non_null(high);
    tandem_kit_rope_low(omega, N_PAIR, low);
    tandem_kit_rope_high(omega, N_PAIR, n_high, high);
    double worst = 0;
    for (uint32_t p = 0; p < N_CTX; p += p < 600 || p > N_CTX - 600 ? 1 : 97)
        for (uint32_t i = 0; i < N_PAIR; i++) {
            float c, s;
            double exact_c, exact_s;
            tandem_kit_rope_join(low, high, N_PAIR, p, i, &c, &s);
            tandem_kit_rope_exact(omega[i], p, &exact_c, &exact_s);
            worst = fmax(worst, fmax(fabs(c - exact_c), fabs(s - exact_s)));
        }
    free(high);
    free(low);
    print_message("worst error of a joined cosine or sine: %.2e\n", worst);
    assert_true(worst < 2e-7);
}

static void table_sizes_cover_the_context(void **state) {
    (void)state;
    assert_int_equal(tandem_kit_rope_n_high(0), 1);
    assert_int_equal(tandem_kit_rope_n_high(256), 1);
    assert_int_equal(tandem_kit_rope_n_high(257), 2);
    assert_int_equal(tandem_kit_rope_n_high(1ull << 32), 1u << 24);
    assert_int_equal(tandem_kit_rope_n_high(UINT64_MAX), UINT32_MAX);
}

/* ---- synthetic cache values ---- */

static void fill_values_are_the_published_ones(void **state) {
    (void)state;
    static const struct {
        uint32_t seed, layer, which, head, position, dim, row;
        float value;
    } known[] = {
        /* computed by a second implementation, in Python, from the text of the header */
        {0, 0, 0, 0, 0, 0, 0x37dd7702u, 0.78125f},
        {1, 0, 0, 0, 0, 0, 0xb0cdf59cu, -1.4609375f},
        {42, 5, 1, 3, 262143, 255, 0xff4d8b94u, -1.1484375f},
        {UINT32_MAX, 25, 0, 1, 100003, 17, 0x086a3dc1u, -1.171875f},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t row = tandem_kit_fill_row(known[i].seed, known[i].layer, known[i].which, known[i].head,
                                           known[i].position);
        assert_int_equal(row, known[i].row);
        assert_true(tandem_kit_fill_value(row, known[i].dim) == known[i].value);
    }
}

static void fill_values_look_normal_and_fit_f16(void **state) {
    (void)state;
    enum { N_POS = 2000, N_DIM = 256 };
    float row[N_DIM], before[N_DIM] = {0};
    double sum = 0, square = 0, along = 0;
    for (uint32_t p = 0; p < N_POS; p++) {
        tandem_kit_fill(tandem_kit_fill_row(1, 2, TANDEM_KV_K, 0, p), row, N_DIM);
        for (uint32_t d = 0; d < N_DIM; d++) {
            sum += row[d];
            square += row[d] * row[d];
            along += row[d] * before[d]; /* rows that follow one another must not resemble each other */
            assert_true(fabsf(row[d]) < 4);
            assert_true(tandem_kit_f16_to_f32(tandem_kit_f32_to_f16(row[d])) == row[d]);
        }
        memcpy(before, row, sizeof row);
    }
    const double n = (double)N_POS * N_DIM, variance = 65535.0 / 3 / 128 / 128; /* of four bytes */
    assert_true(fabs(sum / n) < 5 * sqrt(variance / n));
    assert_true(fabs(square / n / variance - 1) < 0.01);
    assert_true(fabs(along / n / variance) < 5 / sqrt(n));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_keep_to_the_callers_struct),
        cmocka_unit_test(long_messages_end_between_characters),
        cmocka_unit_test(texts_of_strangers_can_be_printed),
        cmocka_unit_test(every_status_has_words),
        cmocka_unit_test(an_older_input_gets_zeros_for_what_it_lacks),
        cmocka_unit_test(a_newer_input_passes_while_its_news_are_zero),
        cmocka_unit_test(a_struct_without_a_believable_size_is_not_read),
        cmocka_unit_test(an_output_is_filled_as_far_as_both_sides_know),
        cmocka_unit_test(takes_ops_by_their_kind),
        cmocka_unit_test(ops_of_every_kind_and_size),
        cmocka_unit_test(versions_fit_by_the_published_rule),
        cmocka_unit_test(a_plugin_refuses_hosts_that_do_not_fit),
        cmocka_unit_test(exact_angles_are_exact),
        cmocka_unit_test(joined_tables_give_every_position),
        cmocka_unit_test(table_sizes_cover_the_context),
        cmocka_unit_test(fill_values_are_the_published_ones),
        cmocka_unit_test(fill_values_look_normal_and_fit_f16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
