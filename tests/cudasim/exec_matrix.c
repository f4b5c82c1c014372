/* ldmatrix and mma. Fragments as the PTX ISA lays them out: lane = 4 * group + part; group counts rows of A,
 * C, D and columns of B, part the pairs (or fours) of elements along the other side.
 *
 * Hardware adds the products of an f32 mma in an order that nobody tells. Here: the accumulator first, then k
 * upwards, each step a fused multiply-add in f32 (f16 products are exact in it). Compare with a tolerance.
 */
#include "half.h"
#include "reach.h"

#include <cuda.h>

enum { M = 16, N = 8 };

/* ---- fragments ---- */

/* A, row-major 16 x k of 16-bit elements: register r holds rows group + 8 * (r & 1), columns 8 * (r / 2) + 2
 * * part and the next; the lower half is the first. */
static void read_a16(uint16_t *a, uint32_t k, const struct warp *w, const uint32_t *v) {
    const uint32_t n = k / 4; /* registers */
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t *x = row(w, v[r]);
        for (uint32_t lane = 0; lane < LANES; lane++) {
            const uint32_t m = lane / 4 + 8 * (r & 1), column = 8 * (r / 2) + lane % 4 * 2;
            a[m * k + column] = (uint16_t)x[lane];
            a[m * k + column + 1] = (uint16_t)(x[lane] >> 16);
        }
    }
}

/* B, k x 8, a column a group: register r holds k = 8 * r + 2 * part and the next. Stored as b[k][n]. */
static void read_b16(uint16_t *b, uint32_t k, const struct warp *w, const uint32_t *v) {
    for (uint32_t r = 0; r < k / 8; r++) {
        const uint32_t *x = row(w, v[r]);
        for (uint32_t lane = 0; lane < LANES; lane++) {
            const uint32_t at = 8 * r + lane % 4 * 2;
            b[at * N + lane / 4] = (uint16_t)x[lane];
            b[(at + 1) * N + lane / 4] = (uint16_t)(x[lane] >> 16);
        }
    }
}

/* Where element e of a lane's accumulator lies. */
static uint32_t c_row(uint32_t lane, uint32_t e) {
    return lane / 4 + 8 * (e / 2);
}
static uint32_t c_column(uint32_t lane, uint32_t e) {
    return lane % 4 * 2 + e % 2;
}

static void read_c32(uint32_t *c, const struct warp *w, const uint32_t *v) {
    for (uint32_t e = 0; e < 4; e++) {
        const uint32_t *x = row(w, v[e]);
        for (uint32_t lane = 0; lane < LANES; lane++)
            c[c_row(lane, e) * N + c_column(lane, e)] = x[lane];
    }
}
static void write_d32(const uint32_t *d, const struct warp *w, const uint32_t *v) {
    for (uint32_t e = 0; e < 4; e++) {
        uint32_t *x = row(w, v[e]);
        for (uint32_t lane = 0; lane < LANES; lane++)
            x[lane] = d[c_row(lane, e) * N + c_column(lane, e)];
    }
}

/* ---- products ---- */

static void multiply_floats(const float *a, const float *b, float *c, uint32_t k) {
    for (uint32_t m = 0; m < M; m++) {
        __m256 sum = _mm256_loadu_ps(c + m * N);
        for (uint32_t i = 0; i < k; i++)
            sum = _mm256_fmadd_ps(_mm256_set1_ps(a[m * k + i]), _mm256_loadu_ps(b + i * N), sum);
        const __m256 nan = _mm256_cmp_ps(sum, sum, _CMP_UNORD_Q);
        const __m256 canon = _mm256_castsi256_ps(_mm256_set1_epi32(CANONICAL_NAN));
        _mm256_storeu_ps(c + m * N, _mm256_blendv_ps(sum, canon, nan));
    }
}

enum { IMM_BF16 = 1, IMM_F16_SUM = 2, IMM_A_UNSIGNED = 4, IMM_B_UNSIGNED = 8, IMM_SATFINITE = 16 };

static void widen(float *to, const uint16_t *from, uint32_t n, int64_t imm) {
    if (!(imm & IMM_BF16)) {
        f16_row_to_float(to, from, n);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        to[i] = bf16_to_float(from[i]);
}

/* m16n8k8 and m16n8k16 of f16 or bf16. v: d, a, b, c. An f16 accumulator is kept in f32 and rounded once at
 * the end. */
static void mma_half(struct warp *w, const struct inst *in, uint32_t lanes) {
    const uint32_t k = in->n, n_c = in->imm & IMM_F16_SUM ? 2 : 4;
    const uint32_t *va = in->v + n_c, *vb = va + k / 4, *vc = vb + k / 8;
    uint16_t a16[M * 16], b16[16 * N], c16[M * N];
    float a[M * 16], b[16 * N], c[M * N];
    (void)lanes;
    read_a16(a16, k, w, va);
    read_b16(b16, k, w, vb);
    widen(a, a16, M * k, in->imm);
    widen(b, b16, k * N, in->imm);
    if (n_c == 4) {
        read_c32((uint32_t *)(void *)c, w, vc);
        multiply_floats(a, b, c, k);
        write_d32((const uint32_t *)(const void *)c, w, in->v);
        return;
    }
    for (uint32_t r = 0; r < 2; r++) {
        const uint32_t *x = row(w, vc[r]);
        for (uint32_t lane = 0; lane < LANES; lane++) {
            c16[c_row(lane, 2 * r) * N + c_column(lane, 0)] = (uint16_t)x[lane];
            c16[c_row(lane, 2 * r) * N + c_column(lane, 1)] = (uint16_t)(x[lane] >> 16);
        }
    }
    f16_row_to_float(c, c16, M * N);
    multiply_floats(a, b, c, k);
    f16_row_from_float(c16, c, M * N);
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t *x = row(w, in->v[r]);
        for (uint32_t lane = 0; lane < LANES; lane++)
            x[lane] = c16[c_row(lane, 2 * r) * N + c_column(lane, 0)] |
                      (uint32_t)c16[c_row(lane, 2 * r) * N + c_column(lane, 1)] << 16;
    }
}

/* Eight bits: register r of A holds rows group + 8 * (r & 1), columns 16 * (r / 2) + 4 * part and three more;
 * of B k = 16 * r
 * + 4 * part and three more. k = 16 has half the registers. */
static void read_bytes(int16_t *to, uint32_t k, const struct warp *w, const uint32_t *v, uint32_t n,
                       bool is_a, bool is_unsigned) {
    for (uint32_t r = 0; r < n; r++) {
        const uint32_t *x = row(w, v[r]);
        const uint32_t line_base = is_a ? 8 * (r & 1) : 0, at_base = 16 * (is_a ? r / 2 : r);
        for (uint32_t lane = 0; lane < LANES; lane++)
            for (uint32_t byte = 0; byte < 4; byte++) {
                const uint8_t value = (uint8_t)(x[lane] >> (8 * byte));
                to[(lane / 4 + line_base) * k + at_base + lane % 4 * 4 + byte] =
                    is_unsigned ? (int16_t)value : (int16_t)(int8_t)value;
            }
    }
}

static int32_t dot_words(const int16_t *a, const int16_t *b, uint32_t k) {
    __m256i sum = _mm256_setzero_si256();
    for (uint32_t i = 0; i < k; i += 16)
        sum = _mm256_add_epi32(sum,
                               _mm256_madd_epi16(_mm256_loadu_si256((const __m256i *)(const void *)(a + i)),
                                                 _mm256_loadu_si256((const __m256i *)(const void *)(b + i))));
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

static void mma_int8(struct warp *w, const struct inst *in, uint32_t lanes) {
    const uint32_t k = in->n, n_a = k / 8, n_b = k / 16;
    const uint32_t *va = in->v + 4, *vb = va + n_a, *vc = vb + n_b;
    int16_t a[M * 32], b[N * 32];
    uint32_t c[M * N];
    (void)lanes;
    read_bytes(a, k, w, va, n_a, true, in->imm & IMM_A_UNSIGNED);
    read_bytes(b, k, w, vb, n_b, false, in->imm & IMM_B_UNSIGNED);
    read_c32(c, w, vc);
    for (uint32_t m = 0; m < M; m++)
        for (uint32_t n = 0; n < N; n++) {
            const int32_t dot = dot_words(a + m * k, b + n * k, k);
            const int64_t exact = (int64_t)(int32_t)c[m * N + n] + dot;
            c[m * N + n] = in->imm & IMM_SATFINITE ? (uint32_t)(exact > INT32_MAX   ? INT32_MAX
                                                                : exact < INT32_MIN ? INT32_MIN
                                                                                    : exact)
                                                   : c[m * N + n] + (uint32_t)dot;
        }
    write_d32(c, w, in->v);
}

static void mma(struct warp *w, const struct inst *in, uint32_t mask) {
    sync_execute(w, in, mask, NULL, (sync_op)in->aux);
}

/* A matrix instruction takes the whole warp: with lanes gone its result means nothing. */
static bool whole_warp(struct warp *w, const struct inst *in, uint32_t lanes) {
    if (lanes == FULL)
        return true;
    launch_fault(w, in, -1, CUDA_ERROR_LAUNCH_FAILED, "only lanes 0x%08x take part, and it needs all 32",
                 lanes);
    return false;
}
static void mma_half_whole(struct warp *w, const struct inst *in, uint32_t lanes) {
    if (whole_warp(w, in, lanes))
        mma_half(w, in, lanes);
}
static void mma_int8_whole(struct warp *w, const struct inst *in, uint32_t lanes) {
    if (whole_warp(w, in, lanes))
        mma_int8(w, in, lanes);
}

/* ---- ldmatrix: lane l of 8 * m to 8 * m + 7 gives the address of a row of matrix m ---- */

static void load_matrices(struct warp *w, const struct inst *in, uint32_t lanes) {
    struct request r;
    const uint32_t rows = 8u * in->n, mask = rows == 32 ? FULL : (1u << rows) - 1;
    const bool transposed = in->flags & FLAG_ALIGNED;
    if (!whole_warp(w, in, lanes))
        return;
    request_begin(&r, w, in, mask, in->o[0], in->imm, in->wide, 16, ACCESS_READ);
    if (!reach_shared(&r, w, in))
        return;
    for (uint32_t m = 0; m < in->n; m++) {
        uint32_t *d = row(w, in->v[m]);
        for (uint32_t lane = 0; lane < LANES; lane++) {
            uint16_t low, high;
            const uint32_t line = lane / 4, column = lane % 4 * 2;
            if (transposed) {
                memcpy(&low, r.at[8 * m + column] + 2 * line, 2);
                memcpy(&high, r.at[8 * m + column + 1] + 2 * line, 2);
                d[lane] = low | (uint32_t)high << 16;
            } else {
                memcpy(&d[lane], r.at[8 * m + line] + 2 * column, 4);
            }
        }
    }
}
static void ldmatrix(struct warp *w, const struct inst *in, uint32_t mask) {
    sync_execute(w, in, mask, NULL, load_matrices);
}
static bool bind_ldmatrix(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    uint32_t *v = decode_vector(d, to->n);
    if (!v || !decode_count(d, from, 2, 2) || !decode_address(d, &from->operand[1], to, 0))
        return false;
    const struct ptx_operand *o = &from->operand[0];
    if (to->n == 1 && o->kind != OPERAND_VECTOR)
        return decode_write(d, o, 4, v);
    if (o->kind != OPERAND_VECTOR || o->n_element != to->n) {
        decode_fail(d, "a vector of %u expected", to->n);
        return false;
    }
    for (uint32_t i = 0; i < to->n; i++)
        if (!decode_write(d, &o->element[i], 4, &v[i]))
            return false;
    return true;
}

static void add_mma(const char *name, const char *signature, sync_op op, uint8_t k, int64_t imm) {
    opcode_add(
        (struct opcode){
            .fn = mma, .signature = signature, .aux = (const void *)op, .n = k, .imm = imm, .cls = CLASS_MMA},
        "%s", name);
}

void opcodes_matrix(void) {
    static const char *const spaces[] = {"shared", "shared::cta"};
    for (int s = 0; s < 2; s++)
        for (int t = 0; t < 2; t++)
            for (uint8_t n = 1; n <= 4; n = (uint8_t)(2 * n))
                opcode_add((struct opcode){.fn = ldmatrix,
                                           .bind = bind_ldmatrix,
                                           .n = n,
                                           .space = SPACE_SHARED,
                                           .flags = (uint8_t)(FLAG_SITE | (t ? FLAG_ALIGNED : 0)),
                                           .cls = CLASS_LDMATRIX},
                           "ldmatrix.sync.aligned.m8n8.x%d%s.%s.b16", n, t ? ".trans" : "", spaces[s]);
    add_mma("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", "R4r4r2r4", mma_half_whole, 16, 0);
    add_mma("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", "R2r4r2r2", mma_half_whole, 16, IMM_F16_SUM);
    add_mma("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "R4r4r2r4", mma_half_whole, 16, IMM_BF16);
    add_mma("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", "R4r2r1r4", mma_half_whole, 8, 0);
    add_mma("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", "R2r2r1r2", mma_half_whole, 8, IMM_F16_SUM);
    add_mma("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", "R4r2r1r4", mma_half_whole, 8, IMM_BF16);
    for (int k = 16; k <= 32; k += 16)
        for (int a = 0; a < 2; a++)
            for (int b = 0; b < 2; b++)
                for (int sat = 0; sat < 2; sat++)
                    opcode_add((struct opcode){.fn = mma,
                                               .signature = k == 16 ? "R4r2r1r4" : "R4r4r2r4",
                                               .aux = (const void *)mma_int8_whole,
                                               .n = (uint8_t)k,
                                               .cls = CLASS_MMA,
                                               .imm = (a ? IMM_A_UNSIGNED : 0) | (b ? IMM_B_UNSIGNED : 0) |
                                                      (sat ? IMM_SATFINITE : 0)},
                               "mma.sync.aligned.m16n8k%d.row.col%s.s32.%c8.%c8.s32", k,
                               sat ? ".satfinite" : "", "su"[a], "su"[b]);
}
