/* ldmatrix and mma, with matrices in which no two rows, columns or values of k look alike. Small whole
 * numbers make every product and sum exact, so that the order of summation does not matter. */
#include "op.h"
#include "ptx_tests.h"

enum { LANES = 32 };

/* ---- ldmatrix: lane i gives the address of row i % 8 of matrix i / 8; element (row, column) is lane row * 4
 * + column / 2 ---- */

static void check_ldmatrix(const char *opcode, uint32_t n, bool transposed) {
    struct text t = {0};
    uint16_t in[4 * 64];
    uint32_t out[4 * LANES];
    for (int i = 0; i < 4 * 64; i++)
        in[i] = (uint16_t)(0x1111 + 0x107 * i);
    /* rows lie backwards in memory: lane i's row is at (31 - i) * 16 */
    text_put(&t, ".visible .entry matrices(.param .u64 in, .param .u64 out) { .shared .align 16 .b8 "
                 "area[512]; .reg .b64 %%in, %%out, %%o; .reg .b32 %%lane, %%a, %%b, %%w<4>;\n"
                 "ld.param.u64 %%in, [in]; ld.param.u64 %%out, [out]; mov.u32 %%lane, %%laneid; mul.wide.u32 "
                 "%%o, %%lane, 16; add.s64 %%in, %%in, %%o; add.s64 %%out, %%out, %%o;\n"
                 "ld.global.v4.u32 {%%w0, %%w1, %%w2, %%w3}, [%%in]; sub.u32 %%b, 31, %%lane; shl.b32 %%b, "
                 "%%b, 4; mov.u32 %%a, area; add.s32 %%a, %%a, %%b;\n"
                 "st.shared.v4.u32 [%%a], {%%w0, %%w1, %%w2, %%w3}; bar.warp.sync 0xffffffff; mov.u32 %%w0, "
                 "0; mov.u32 %%w1, 0; mov.u32 %%w2, 0; mov.u32 %%w3, 0;\n");
    text_put(&t, "%s %s, [%%a];\nst.global.v4.u32 [%%out], {%%w0, %%w1, %%w2, %%w3}; ret; }", opcode,
             n == 1   ? "{%w0}"
             : n == 2 ? "{%w0, %w1}"
                      : "{%w0, %w1, %w2, %w3}");
    CUdeviceptr din = sim_upload(in, sizeof in), dout = sim_alloc(sizeof out);
    CU(sim_run(op_ptx(t.data), 1, LANES, 0, PARAMS(&din, &dout)));
    sim_download(out, dout, sizeof out);
    for (uint32_t lane = 0; lane < LANES; lane++)
        for (uint32_t m = 0; m < 4; m++)
            for (uint32_t half = 0; half < 2; half++) {
                const uint32_t row = lane / 4, column = lane % 4 * 2 + half;
                const uint16_t expected = m >= n       ? 0
                                          : transposed ? in[m * 64 + column * 8 + row]
                                                       : in[m * 64 + row * 8 + column];
                assert_int_equal(out[lane * 4 + m] >> (16 * half) & 0xffff, expected);
            }
    CU(cuMemFree(din));
    CU(cuMemFree(dout));
    free(t.data);
}

/* ---- mma: where each element of each register lies, as the ISA's tables say ---- */

struct shape {
    const char *opcode;
    uint32_t k, bits; /* of A and B */
    bool a_unsigned, b_unsigned, saturates;
    char kind; /* h f16, b bf16, i integer */
    bool half_sum;
};

static void a_place(const struct shape *s, uint32_t lane, uint32_t i, uint32_t *row, uint32_t *column) {
    const uint32_t group = lane >> 2, thread = lane % 4;
    if (s->bits == 16) {
        *row = s->k == 8 ? (i < 2 ? group : group + 8) : i < 2 || (i >= 4 && i < 6) ? group : group + 8;
        *column = thread * 2 + (i & 1) + (i >= 4 ? 8 : 0);
    } else {
        *row = s->k == 16 ? (i < 4 ? group : group + 8) : i < 4 || (i >= 8 && i < 12) ? group : group + 8;
        *column = thread * 4 + (i & 3) + (i >= 8 ? 16 : 0);
    }
}
static void b_place(const struct shape *s, uint32_t lane, uint32_t i, uint32_t *row, uint32_t *column) {
    const uint32_t thread = lane % 4;
    *column = lane >> 2;
    *row = s->bits == 16 ? thread * 2 + (i & 1) + (i >= 2 ? 8 : 0) : thread * 4 + (i & 3) + (i >= 4 ? 16 : 0);
}
static void c_place(uint32_t lane, uint32_t i, uint32_t *row, uint32_t *column) {
    *row = (lane >> 2) + (i < 2 ? 0 : 8);
    *column = lane % 4 * 2 + (i & 1);
}

static uint32_t encode(const struct shape *s, int value) {
    const float f = (float)value;
    uint32_t bits;
    memcpy(&bits, &f, 4);
    return s->kind == 'h' ? sim_half(f) : s->kind == 'b' ? bits >> 16 : (uint32_t)value & 0xff;
}

static void check_mma(const struct shape *s, bool extreme) {
    int a[16][32], b[32][8], c[16][8];
    const uint32_t n_a = 16 * s->k / LANES * s->bits / 32, n_b = 8 * s->k / LANES * s->bits / 32,
                   n_c = s->half_sum ? 2 : 4, per = 32 / s->bits;
    const uint32_t n_word = n_a + n_b + n_c;
    uint32_t words[LANES * 16] = {0}, out[LANES * 4], seed = 99;
    struct text t = {0};
    for (int m = 0; m < 16; m++)
        for (uint32_t k = 0; k < s->k; k++)
            a[m][k] = extreme ? (s->a_unsigned ? 255 : 127)
                              : (int)(sim_random(&seed) % 17) - (s->a_unsigned ? 0 : 8);
    for (uint32_t k = 0; k < s->k; k++)
        for (int n = 0; n < 8; n++)
            b[k][n] = extreme ? (s->b_unsigned ? 255 : 127)
                              : (int)(sim_random(&seed) % 15) - (s->b_unsigned ? 0 : 7);
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++)
            c[m][n] = extreme ? INT32_MAX - 5 : (int)(sim_random(&seed) % 101) - 50;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        uint32_t *w = words + lane * 16, row, column;
        for (uint32_t i = 0; i < n_a * per; i++) {
            a_place(s, lane, i, &row, &column);
            w[i / per] |= encode(s, a[row][column]) << (s->bits * (i % per));
        }
        for (uint32_t i = 0; i < n_b * per; i++) {
            b_place(s, lane, i, &row, &column);
            w[n_a + i / per] |= encode(s, b[row][column]) << (s->bits * (i % per));
        }
        for (uint32_t i = 0; i < 4; i++) {
            const struct shape whole = {.kind = 'h'};
            c_place(lane, i, &row, &column);
            const float f = (float)c[row][column];
            if (s->half_sum)
                w[n_a + n_b + i / 2] |= encode(&whole, c[row][column]) << (16 * (i % 2));
            else
                memcpy(&w[n_a + n_b + i], s->kind == 'i' ? (const void *)&c[row][column] : (const void *)&f,
                       4);
        }
    }
    text_put(&t, ".visible .entry multiply(.param .u64 in, .param .u64 out) { .reg .b64 %%in, %%out, %%o; "
                 ".reg .b32 %%lane, %%w<16>, %%d<4>;\n"
                 "ld.param.u64 %%in, [in]; ld.param.u64 %%out, [out]; mov.u32 %%lane, %%laneid; mul.wide.u32 "
                 "%%o, %%lane, 64; add.s64 %%in, %%in, %%o; "
                 "mul.wide.u32 %%o, %%lane, 16; add.s64 %%out, %%out, %%o;\n");
    for (uint32_t i = 0; i < n_word; i++)
        text_put(&t, "ld.global.b32 %%w%u, [%%in+%u];\n", i, 4 * i);
    text_put(&t, "%s {", s->opcode);
    for (uint32_t i = 0; i < n_c; i++)
        text_put(&t, "%s%%d%u", i ? ", " : "", i);
    const uint32_t counts[3] = {n_a, n_b, n_c};
    for (uint32_t v = 0, w = 0; v < 3; v++) {
        text_put(&t, "}, {");
        for (uint32_t i = 0; i < counts[v]; i++)
            text_put(&t, "%s%%w%u", i ? ", " : "", w++);
    }
    text_put(&t, "};\n");
    for (uint32_t i = 0; i < n_c; i++)
        text_put(&t, "st.global.b32 [%%out+%u], %%d%u;\n", 4 * i, i);
    text_put(&t, "ret; }");
    CUdeviceptr din = sim_upload(words, sizeof words), dout = sim_alloc(sizeof out);
    CU(cuMemsetD8(dout, 0, sizeof out));
    CU(sim_run(op_ptx(t.data), 1, LANES, 0, PARAMS(&din, &dout)));
    sim_download(out, dout, sizeof out);
    for (uint32_t lane = 0; lane < LANES; lane++)
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t row, column, got = out[lane * 4 + (s->half_sum ? i / 2 : i)], expected;
            c_place(lane, i, &row, &column);
            int64_t sum = c[row][column];
            for (uint32_t k = 0; k < s->k; k++)
                sum += a[row][k] * b[k][column];
            const float f = (float)sum;
            memcpy(&expected, &f, 4);
            if (s->half_sum) {
                got = got >> (16 * (i % 2)) & 0xffff;
                expected = sim_half(f);
            } else if (s->kind == 'i') {
                expected = s->saturates && sum > INT32_MAX ? INT32_MAX : (uint32_t)sum;
            }
            if (got != expected)
                print_error("%s: lane %u element %u: 0x%x, not 0x%x\n", s->opcode, lane, i, got, expected);
            assert_int_equal(got, expected);
        }
    CU(cuMemFree(din));
    CU(cuMemFree(dout));
    free(t.data);
}

void multiplies_matrices(void **state) {
    static const char *const spaces[] = {"shared", "shared::cta"};
    static const struct shape floats[] = {
        {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 16, 16, false, false, false, 'h', false},
        {"mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", 16, 16, false, false, false, 'h', true},
        {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", 16, 16, false, false, false, 'b', false},
        {"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", 8, 16, false, false, false, 'h', false},
        {"mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", 8, 16, false, false, false, 'h', true},
        {"mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", 8, 16, false, false, false, 'b', false}};
    char name[96];
    (void)state;
    for (int s = 0; s < 2; s++)
        for (int t = 0; t < 2; t++)
            for (uint32_t n = 1; n <= 4; n *= 2) {
                snprintf(name, sizeof name, "ldmatrix.sync.aligned.m8n8.x%u%s.%s.b16", n, t ? ".trans" : "",
                         spaces[s]);
                check_ldmatrix(name, n, t);
            }
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
        check_mma(&floats[i], false);
    for (uint32_t k = 16; k <= 32; k += 16)
        for (int a = 0; a < 2; a++)
            for (int b = 0; b < 2; b++)
                for (int sat = 0; sat < 2; sat++) {
                    snprintf(name, sizeof name, "mma.sync.aligned.m16n8k%u.row.col%s.s32.%c8.%c8.s32", k,
                             sat ? ".satfinite" : "", "su"[a], "su"[b]);
                    const struct shape shape = {name, k, 8, a, b, sat, 'i', false};
                    check_mma(&shape, false);
                    check_mma(&shape, true);
                }
}
