/* matmul.comp: y[i][r] = f(sum over c of W[r][c] x[row(i)][c]), W packed in one of sixteen formats. The
 * mat-vec of decode and the matrix product of prefill are this one loop at different tile sizes.
 *
 * computes    f: identity, soft cap, or with GLU two matrices and y = gelu(gate x) * (up x)
 * inputs      matmul_push (params.h); W [n_row][n_col] as vulkan/pack.h lays it; x f32 rows, or with Q8
 *             (integer dot products) rows of quantise_q8.comp
 * grid        x: rows of y / rows_per_group, y: *n_tok / cols_per_group (vk_matmul_plan). A lane owns a tile
 *             of ROWS_PER_LANE rows (twice with GLU) by N_COL rows of x, in registers. LANES_PER_ROW lanes
 *             share a row: block j of a chunk falls to lane j mod LANES_PER_ROW, so that 704 and 2112 columns
 *             (22 and 66 blocks) leave no lane of a pair idle. No shared memory, no barrier: a subgroup needs
 *             nobody. Lanes with the same columns load the same address of x, one transaction; the rows of x
 *             stay in the first-level cache. EXPERTS: y counts entries, rows or tiles (params.h); a
 *             workgroup reads from the route or its tile which expert's W it takes. N_PRODUCT: z counts
 *             products of the same format and width (q, k, v), whose push blocks lie in memory
 * bytes       W once per N_COL * COL_SUBGROUPS rows of x, by 16-byte loads of whole 128-byte lines;
 *             COL_SUBGROUPS subgroups of a workgroup pass over the same rows of W together, so it reaches the
 *             SM once for them. BLOCKS_IN_FLIGHT blocks of each row are asked for before the first is used
 * phase       every product of a layer, and the head
 * order       f32: 4 columns by a dot product, those in ascending order per lane, then lanes by an
 *             exclusive-or tree. Q8: 32 columns (HALF_SCALES: 16) exactly in int32, then f32. EXPERTS_SUM:
 *             choices ascending per lane, before the tree. The same in every run
 * reference   backend/reference/matmul.c, moe_ffn.c
 *
 * loops       per subgroup at most MATMUL_ITERATIONS(n_col, UNROLL, passes); passes: n_used with EXPERTS_SUM,
 *             else 1
 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef Q8
#extension GL_EXT_spirv_intrinsics : require
#endif
#include "params.h"
#include "address.glsl"
#include "quant.glsl"
#include "activations.glsl"

layout(local_size_x_id = SPEC_LOCAL_SIZE) in;
layout(constant_id = SPEC_LOCAL_SIZE) const uint LOCAL_SIZE = 64;
layout(constant_id = SPEC_LANES_PER_ROW) const uint LANES_PER_ROW = 1;
layout(constant_id = SPEC_ROWS_PER_LANE) const uint ROWS_PER_LANE = 1;
layout(constant_id = SPEC_N_COL) const uint N_COL = 1;
layout(constant_id = SPEC_GLU) const uint GLU = 0;
layout(constant_id = SPEC_COL_SUBGROUPS) const uint COL_SUBGROUPS = 1;
layout(constant_id = SPEC_BLOCKS_IN_FLIGHT) const uint BLOCKS_IN_FLIGHT = 1;
layout(constant_id = SPEC_UNROLL) const uint UNROLL = 8;
layout(constant_id = SPEC_EXPERTS) const uint EXPERTS = EXPERTS_NONE;
layout(constant_id = SPEC_DOT_PAIRS) const uint DOT_PAIRS = 0; // 1: no fast integer dot product
layout(constant_id = SPEC_N_PRODUCT) const uint N_PRODUCT = 1;
#include "subgroup.glsl"

const uint N_W = ROWS_PER_LANE * (1 + GLU); // weight rows of a lane: gate rows first, then up rows

layout(push_constant) uniform Push { matmul_push pushed; };
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Pushes { matmul_push v[]; };
matmul_push p;

#ifdef Q8
// OpSDot of SPV_KHR_integer_dot_product; the last operand says "four 8-bit components packed in 32 bits".
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450)
int dot_packed(int a, int b, spirv_literal int format);

int dot4(uint a, uint b) {
    return dot_packed(int(a), int(b), 0);
}

vec4 code_values(uint word) {
    return vec4(ivec4(int(word) << 24, int(word) << 16, int(word) << 8, int(word)) >> 24);
}
#endif

uint x_at[N_COL];    // unit where a row of x begins
uvec2 w_base[1 + GLU]; // of the segment
uint w_at[N_W];   // unit where a row of W begins
uint w_row[N_W];  // its place in its group
float sum[N_W * N_COL];
float weighted[N_W * N_COL]; // EXPERTS_SUM: of the experts before

Units weights_of(uint m) {
    return Units(w_base[m / ROWS_PER_LANE]);
}

// Step o + e of a block: word o + e mod 4 of part (o + e) / 4, constants where UNROLL lets them be.
uint word_index(uint o, uint e) {
    return UNROLL < 4 ? (o + e) % 4u : e % 4u;
}

uint part_index(uint o, uint e) {
    return UNROLL < 8 ? (o + e) / 4u : e / 4u;
}

#ifdef IS_FLOAT
// Columns 4q .. 4q + 3 of row n; zero from n_col on, whatever lies there.
vec4 load_x(uint n, uint q) {
    uint last = (p.n_col - 1u) / 4u;
    vec4 v = uintBitsToFloat(load_unit(Units(p.x), x_at[n] + min(q, last)));
    return mix(v, vec4(0.0), greaterThanEqual(uvec4(4u * q) + uvec4(0u, 1u, 2u, 3u), uvec4(p.n_col)));
}

void multiply_words(uint k, uint word, uint part, bool live) {
    uint i = 4u * part + word;
    vec4 v[N_W];
    [[unroll]] for (uint m = 0; m < N_W; m++)
        v[m] = live ? load_values(weights_of(m), w_at[m], k, i) : vec4(0.0);
    [[unroll]] for (uint n = 0; n < N_COL; n++) {
#ifdef Q8
        float d = uintBitsToFloat(load_pair(Pairs(p.x), x_at[n] * 2u + n_block * 4u + k).x);
        vec4 xv = d * code_values(word_of(load_unit(Units(p.x), x_at[n] + k * 2u + part), word));
#else
        vec4 xv = load_x(n, k * 8u + i);
#endif
        [[unroll]] for (uint m = 0; m < N_W; m++)
            sum[m * N_COL + n] += dot(v[m], xv);
    }
}

void multiply_block(uint u, uint j, uint k, bool live) {
    for (uint o = 0; o < 8; o += UNROLL)
        [[unroll]] for (uint e = 0; e < UNROLL; e++)
            multiply_words(k, word_index(o, e), part_index(o, e), live);
}
#else
Header header[N_W];
Block block[N_W * BLOCKS_IN_FLIGHT];

// (d, m) of a block; nothing for a block beyond the end of the row.
vec2 scale_of(uint m, uint u, uint j, uint part, bool live) {
    return live ? block_scale(header[m], block[m * BLOCKS_IN_FLIGHT + u], j, part) : vec2(0.0);
}

#ifdef Q8
#ifdef HALF_SCALES
const uint N_PART = 2; // sums of 16 columns
#else
const uint N_PART = 1; // sums of 32 columns
#endif
int total[N_PART * N_W * N_COL];

#ifdef PAIR_WORDS
int pair_total[N_W * N_COL];

// Columns 2, 0 and 3, 1 of four packed codes, a pair in 16-bit halves. With w = w0 + 2^16 w2 and x = x2 +
// 2^16 x0 the product w x holds w0 x0 + w2 x2 in its upper half, and w0 x2 in its lower one.
ivec2 pairs_of(uint x) {
    return (ivec2(int(x << 8), int(x)) >> 24) + (ivec2(int(x << 24), int(x << 16 & 0xff000000u)) >> 8);
}

void add_pairs(uint i, uint codes, ivec2 x) {
    pair_total[i] += int(codes & 0xff00ffu) * x.x + int(codes >> 8 & 0xff00ffu) * x.y;
}

// The upper halves, before a sum of either half can leave 16 bits.
void take_pairs(uint sums) {
    [[unroll]] for (uint s = 0; s < N_W * N_COL; s++) {
        total[sums + s] += pair_total[s] + 0x8000 >> 16;
        pair_total[s] = 0;
    }
}

bool pairs_full(uint e) {
    return DOT_PAIRS == 1 && (e + 1u) % min(PAIR_WORDS, UNROLL) == 0u;
}
#else
bool pairs_full(uint e) {
    return false;
}

void take_pairs(uint sums) {
}
#endif

void multiply_words(uint u, uint word, uint part, uint sums, const uvec4 first[N_COL],
                    const uvec4 second[N_COL]) {
    uint codes[N_W];
    [[unroll]] for (uint m = 0; m < N_W; m++)
        codes[m] = block_codes(block[m * BLOCKS_IN_FLIGHT + u], word, part);
    [[unroll]] for (uint n = 0; n < N_COL; n++) {
        uint xv = word_of(part == 0u ? first[n] : second[n], word);
#ifdef PAIR_WORDS
        if (DOT_PAIRS == 1) {
            ivec2 pairs = pairs_of(xv);
            [[unroll]] for (uint m = 0; m < N_W; m++)
                add_pairs(m * N_COL + n, codes[m], pairs);
            continue;
        }
#endif
        [[unroll]] for (uint m = 0; m < N_W; m++)
            total[sums + m * N_COL + n] += dot4(codes[m], xv);
    }
}

#ifdef HALF_SCALES
void multiply_part(uint u, uint part, const uvec4 first[N_COL], const uvec4 second[N_COL]) {
    for (uint o = 0; o < 4; o += UNROLL)
        [[unroll]] for (uint e = 0; e < min(UNROLL, 4u); e++) {
            multiply_words(u, word_index(o, e), part, part * N_W * N_COL, first, second);
            if (pairs_full(e))
                take_pairs(part * N_W * N_COL);
        }
}
#endif

void multiply_block(uint u, uint j, uint k, bool live) {
    uvec4 first[N_COL], second[N_COL];
    uvec2 meta[N_COL];
    [[unroll]] for (uint n = 0; n < N_COL; n++) {
        first[n] = load_unit(Units(p.x), x_at[n] + k * 2u);
        second[n] = load_unit(Units(p.x), x_at[n] + k * 2u + 1u);
        meta[n] = load_pair(Pairs(p.x), x_at[n] * 2u + n_block * 4u + k);
    }
    [[unroll]] for (uint s = 0; s < N_PART * N_W * N_COL; s++)
        total[s] = 0;
#ifdef PAIR_WORDS
    [[unroll]] for (uint s = 0; s < N_W * N_COL; s++)
        pair_total[s] = 0;
#endif
#ifdef HALF_SCALES
    multiply_part(u, 0u, first, second);
    multiply_part(u, 1u, first, second);
#else
    for (uint o = 0; o < 8; o += UNROLL)
        [[unroll]] for (uint e = 0; e < UNROLL; e++) {
            multiply_words(u, word_index(o, e), part_index(o, e), 0u, first, second);
            if (pairs_full(e))
                take_pairs(0u);
        }
#endif
    [[unroll]] for (uint m = 0; m < N_W; m++) {
        vec2 s = scale_of(m, u, j, 0u, live);
#ifdef HALF_SCALES
        vec2 s_second = scale_of(m, u, j, 1u, live);
#endif
        [[unroll]] for (uint n = 0; n < N_COL; n++) {
            float d = uintBitsToFloat(meta[n].x);
            int first_sum = int(meta[n].y << 16) >> 16;
            int second_sum = int(meta[n].y) >> 16;
            int t = total[m * N_COL + n];
#ifdef HALF_SCALES
            float y = fma(d * s.x, float(t - DOT_ZERO * first_sum), sum[m * N_COL + n]);
            y = fma(d * s_second.x, float(total[(N_W + m) * N_COL + n] - DOT_ZERO * second_sum), y);
#else
            float y = fma(d * s.x, float(t - DOT_ZERO * (first_sum + second_sum)), sum[m * N_COL + n]);
#endif
#ifdef HAS_MIN
#ifdef HALF_SCALES
            y = fma(d, fma(s.y, float(first_sum), s_second.y * float(second_sum)), y);
#else
            y = fma(d * s.y, float(first_sum + second_sum), y);
#endif
#endif
            sum[m * N_COL + n] = y;
        }
    }
}
#else
// d * (2^bits + code) + (m - d * (2^bits + zero)): one product per weight, exact where m = 0.
float bias_of(vec2 s) {
#ifdef HAS_MIN
    return s.y - s.x * FLOAT_ZERO;
#else
    return -s.x * FLOAT_ZERO;
#endif
}

void multiply_words(uint u, uint j, uint k, uint word, uint part, bool live) {
    vec4 v[N_W];
    [[unroll]] for (uint m = 0; m < N_W; m++) {
        vec2 s = scale_of(m, u, j, part, live);
        v[m] = fma(block_floats(block[m * BLOCKS_IN_FLIGHT + u], word, part), vec4(s.x), vec4(bias_of(s)));
    }
    [[unroll]] for (uint n = 0; n < N_COL; n++) {
        vec4 xv = uintBitsToFloat(load_unit(Units(p.x), x_at[n] + k * 8u + 4u * part + word));
        [[unroll]] for (uint m = 0; m < N_W; m++)
            sum[m * N_COL + n] += dot(v[m], xv);
    }
}

void multiply_block(uint u, uint j, uint k, bool live) {
    for (uint o = 0; o < 8; o += UNROLL)
        [[unroll]] for (uint e = 0; e < UNROLL; e++)
            multiply_words(u, j, k, word_index(o, e), part_index(o, e), live);
}
#endif
#endif

// The block of the chunk that lane `part` of a row takes u-th from `first` on; the last where none is left.
uint block_index(uint first, uint u, uint part, uint n_left) {
    return min(first + u * LANES_PER_ROW + part, n_left - 1u);
}

// Row i of the route.
uvec2 route_row(uint i) {
    return row_address(p.route, row_index(p.route_rows, i, p.table), p.route_stride);
}

// Row n of the workgroup's rows of x: its row of y, and where in x it is.
uint first_entry;

uint y_row(uint n) {
    if (EXPERTS == EXPERTS_TILES)
        return row_index(p.route_rows, first_entry + n, p.table);
    return EXPERTS == EXPERTS_NONE ? n : first_entry + n;
}

uint x_row(uint n) {
    return row_index(p.rows, EXPERTS == EXPERTS_NONE ? n : y_row(n) / p.entries_per_x, p.table);
}

// Adds the products of all blocks of the lane's tile; `part`: its share of the columns.
void multiply_rows(uint part) {
    uint n_chunk = (n_block + CHUNK_BLOCKS - 1u) / CHUNK_BLOCKS;
    for (uint at = 0; at < n_chunk; at++) {
        // Mesa 26 runs loads of a loop once after its end, where their address is the same in all lanes.
        uint c = min(at, n_chunk - 1u);
        uint n_left = min(CHUNK_BLOCKS, n_block - c * CHUNK_BLOCKS);
#ifndef IS_FLOAT
        [[unroll]] for (uint m = 0; m < N_W; m++)
            header[m] = load_header(weights_of(m), w_at[m], w_row[m], c);
#endif
        for (uint first = 0; first < n_left; first += LANES_PER_ROW * BLOCKS_IN_FLIGHT) {
#ifndef IS_FLOAT
            [[unroll]] for (uint u = 0; u < BLOCKS_IN_FLIGHT; u++)
                [[unroll]] for (uint m = 0; m < N_W; m++)
                    block[m * BLOCKS_IN_FLIGHT + u] =
                        load_block(weights_of(m), w_at[m], c, block_index(first, u, part, n_left));
#endif
            [[unroll]] for (uint u = 0; u < BLOCKS_IN_FLIGHT; u++) {
                uint j = block_index(first, u, part, n_left);
                bool live =
                    LANES_PER_ROW * BLOCKS_IN_FLIGHT == 1 || first + u * LANES_PER_ROW + part < n_left;
                multiply_block(u, j, c * CHUNK_BLOCKS + j, live);
            }
        }
    }
}

void main() {
    p = pushed;
    if (N_PRODUCT > 1)
        p = Pushes(pushed.table).v[gl_WorkGroupID.z];
    uint group = gl_WorkGroupID.y, expert = 0u;
    uint first_tok = subgroup_index() % COL_SUBGROUPS * N_COL;
    uint n_tok = 1u;
    first_entry = group;
    if (EXPERTS == EXPERTS_NONE) {
        n_tok = Words(p.n_tok).v[0];
        first_tok += group * COL_SUBGROUPS * N_COL;
    } else if (EXPERTS == EXPERTS_TILES) {
        uvec4 tile = load_unit(Units(p.route), group); // moe_tile
        expert = tile.x;
        first_entry = tile.y;
        n_tok = tile.z;
    } else if (EXPERTS == EXPERTS_ENTRY) {
        expert = min(Words(route_row(group / p.n_used)).v[group % p.n_used], p.n_expert - 1u);
    }
    if (first_tok >= n_tok)
        return;
    n_block = (p.n_col + 31u) / 32u;

    uint n_lane_row = subgroup_width() / LANES_PER_ROW;
    uint part = LANES_PER_ROW == 1 ? 0u : subgroup_lane() / n_lane_row;
    uint strip = gl_WorkGroupID.x * (subgroup_count() / COL_SUBGROUPS) + subgroup_index() / COL_SUBGROUPS;
    uint first_row = strip * n_lane_row * ROWS_PER_LANE + subgroup_lane() % n_lane_row;

    if (N_PRODUCT > 1 && strip * n_lane_row * ROWS_PER_LANE >= p.n_row)
        return;
    uint row_mask = (1u << p.segment_shift) - 1u; // row of its segment
    [[unroll]] for (uint m = 0; m < N_W; m++) {
        uint row = min(first_row + m % ROWS_PER_LANE * n_lane_row, p.n_row - 1u);
        row = m < ROWS_PER_LANE ? row & row_mask : row + p.up_row;
        w_at[m] = row_at(row);
        w_row[m] = row % GROUP_ROWS;
    }
    if (EXPERTS != EXPERTS_SUM)
        [[unroll]] for (uint n = 0; n < N_COL; n++)
            x_at[n] = x_row(min(first_tok + n, n_tok - 1u)) * (p.x_stride / 16u);

    [[unroll]] for (uint s = 0; s < N_W * N_COL; s++)
        weighted[s] = 0.0;
    uint n_pass = EXPERTS == EXPERTS_SUM ? p.n_used : 1u;
    for (uint pass = 0; pass < n_pass; pass++) {
        uint j = min(pass, n_pass - 1u); // as in multiply_rows
        float weight = 1.0;
        if (EXPERTS == EXPERTS_SUM) {
            uvec2 row = route_row(group);
            expert = Words(row).v[j];
            weight = expert < p.n_expert ? uintBitsToFloat(Words(row).v[p.n_used + j])
                                         : uintBitsToFloat(0x7fc00000u);
            expert = min(expert, p.n_expert - 1u);
            x_at[0] = (group * p.n_used + j) * (p.x_stride / 16u);
        }
        w_base[0] = Table(p.table).address[expert * p.expert_stride + (first_row >> p.segment_shift)];
        if (GLU == 1)
            w_base[GLU] = Table(p.table_up).address[expert * p.expert_stride];
        [[unroll]] for (uint s = 0; s < N_W * N_COL; s++)
            sum[s] = 0.0;
        multiply_rows(part);
        if (EXPERTS == EXPERTS_SUM)
            [[unroll]] for (uint s = 0; s < N_W * N_COL; s++) {
                weighted[s] = fma(weight, sum[s], weighted[s]);
                sum[s] = weighted[s];
            }
    }

    for (uint mask = n_lane_row; mask < subgroup_width(); mask <<= 1)
        [[unroll]] for (uint s = 0; s < N_W * N_COL; s++)
            sum[s] += subgroup_shuffle_xor(sum[s], mask);
    if (part != 0u)
        return;
    [[unroll]] for (uint n = 0; n < N_COL; n++) {
        Floats y = Floats(row_address(p.y, y_row(min(first_tok + n, n_tok - 1u)), p.y_stride));
        [[unroll]] for (uint m = 0; m < ROWS_PER_LANE; m++) {
            uint row = first_row + m * n_lane_row;
            float v = sum[m * N_COL + n];
            if (GLU == 1)
                v = gelu_tanh(v) * sum[(m + GLU * ROWS_PER_LANE) * N_COL + n];
            else
                v = soft_cap(v, p.softcap);
            if (row < p.n_row && first_tok + n < n_tok)
                y.v[row] = v;
        }
    }
}
