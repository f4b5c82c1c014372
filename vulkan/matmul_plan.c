/* matmul_plan.c: tile sizes of matmul.comp for a matrix, a device and a number of rows. */
#include "pack.h"

#include <stdio.h>

#include <tandem/base.h>
#include <tandem/quants.h>

enum {
    MAX_ROWS_PER_GROUP = 512, /* rows of the smallest segment */
};

typedef struct tile {
    uint32_t local;
    uint32_t lanes_per_row;
    uint32_t rows_per_lane;
    uint32_t n_col;
    uint32_t col_subgroups;
    uint32_t blocks_in_flight;
    uint32_t unroll;
} tile;

static uint32_t floor_pow2(uint32_t n) {
    uint32_t p = 1;
    while (p <= n / 2)
        p *= 2;
    return p;
}

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Loop iterations of a subgroup. */
static uint64_t iterations(const tandem_kit_pack *pack, const tile *t, const vk_matmul_request *request) {
    uint64_t n_pass = request->experts == EXPERTS_SUM ? request->n_used : 1;
    return MATMUL_ITERATIONS((uint64_t)pack->n_col, t->unroll, n_pass);
}

static bool is_float(uint32_t type) {
    return type == TANDEM_TYPE_F32 || type == TANDEM_TYPE_F16 || type == TANDEM_TYPE_BF16;
}

/* Codes of at most 4 bits: eight rows of them need no more registers than four rows of wider ones. */
static bool is_narrow(uint32_t type) {
    return type == TANDEM_TYPE_Q4_0 || type == TANDEM_TYPE_Q4_1 || type == TANDEM_TYPE_Q4_K ||
           type == TANDEM_TYPE_Q2_K || type == TANDEM_TYPE_Q3_K;
}

static uint32_t chunk_blocks(uint32_t type) {
    return type == TANDEM_TYPE_Q4_1 ? 4 : 8;
}

/* Idle share of the lanes, in thousandths, when `lanes` of them take the blocks of a chunk in turn. */
static uint32_t idle_permille(const tandem_kit_pack *pack, uint32_t lanes) {
    uint32_t chunk = chunk_blocks(pack->type);
    uint32_t n_block = (pack->n_col + 31) / 32;
    uint32_t rounds = n_block / chunk * (chunk / lanes) + (n_block % chunk + lanes - 1) / lanes;
    return 1000 - n_block * 1000 / (rounds * lanes);
}

/* A CPU runs a subgroup as one vector and loads lane by lane, so each load must serve as many products as
 * possible: a row a lane and many rows a lane. Its code must stay in the instruction cache, so large tiles
 * are rolled. Measured with bench/matvec_bench; the second choice of rows keeps both a few threads and small
 * matrices in work, since a workgroup has rows_per_lane rows for each lane of a subgroup. */
static tile software_tile(const vk_matmul_request *request, const tandem_kit_pack *pack,
                          const vk_policy *policy) {
    tile t = {.local = policy->subgroup_size, .lanes_per_row = 1, .col_subgroups = 1, .blocks_in_flight = 1};
    bool q8 = request->precision == TANDEM_PRECISION_Q8;
    t.n_col = request->kind == VK_MATMUL_MAT ? 8 : floor_pow2(min_u32(request->n_tok, 8));
    if (t.n_col == 1) {
        bool many = q8 ? is_narrow(pack->type) : !is_float(pack->type);
        t.rows_per_lane = many && request->n_row >= 512 ? 8 : 4;
        t.unroll = q8 ? 4 : 2;
    } else {
        t.rows_per_lane = request->kind == VK_MATMUL_MAT || request->n_row >= 1024 ? 16 : 8;
        t.unroll = 1;
    }
    t.rows_per_lane = request->glu ? t.rows_per_lane / 2 : t.rows_per_lane;
    return t;
}

/* A GPU hides latency by bytes in flight: a lane asks for its whole share of a chunk at once. Lanes share a
 * row while the matrix has too few rows for one each and no more than 2 % of them idle. */
static tile gpu_tile(const vk_matmul_request *request, const tandem_kit_pack *pack, const vk_policy *policy) {
    tile t = {.local = 128,
              .lanes_per_row = 1,
              .rows_per_lane = 1,
              .col_subgroups = 1,
              .blocks_in_flight = 1,
              .unroll = 8};
    uint32_t chunk = chunk_blocks(pack->type);
    if (request->kind == VK_MATMUL_MAT) {
        t.local = policy->subgroup_size > 32 ? 4 * policy->subgroup_size : 128; /* four subgroups at least */
        t.rows_per_lane = request->glu ? 2 : 4;
        t.n_col = 8;
        t.col_subgroups = 4;
        t.unroll = 4;
        return t;
    }
    t.n_col = floor_pow2(min_u32(request->n_tok, 8));
    for (uint32_t lanes = 2; lanes <= min_u32(chunk, policy->subgroup_size); lanes *= 2) {
        uint64_t filled = (uint64_t)request->n_row * (lanes / 2);
        if (request->experts == EXPERTS_ENTRY)
            filled *= request->n_used;
        if (lanes > 2 && (filled >= policy->matvec_lanes || idle_permille(pack, lanes) > 20))
            break;
        t.lanes_per_row = lanes;
    }
    t.blocks_in_flight = is_float(pack->type) ? 1 : min_u32(chunk / t.lanes_per_row, t.n_col > 2 ? 2 : 4);
    return t;
}

bool vk_matmul_plan_make(vk_matmul_plan *plan, const tandem_kit_pack *pack, const vk_matmul_request *request,
                         const vk_policy *policy) {
    const char *format = tandem_kit_pack_format_name(pack->type);
    const char *precision = request->precision == TANDEM_PRECISION_EXACT ? "exact"
                            : request->precision == TANDEM_PRECISION_Q8  ? "q8"
                                                                         : NULL;
    if (!precision || !format || (request->glu && pack->n_segment > 1))
        return false;

    tile t = policy->shape == VK_SHAPE_SOFTWARE ? software_tile(request, pack, policy)
                                                : gpu_tile(request, pack, policy);
    t.local = min_u32(t.local, policy->max_local);
    t.col_subgroups = min_u32(t.col_subgroups, t.local / policy->subgroup_size);
    while (t.unroll < 8 && iterations(pack, &t, request) > policy->loop_budget)
        t.unroll *= 2;
    if (iterations(pack, &t, request) > policy->loop_budget)
        return false;
    uint32_t rows;
    for (;;) {
        rows = t.local / t.lanes_per_row * t.rows_per_lane / t.col_subgroups;
        if (rows <= MAX_ROWS_PER_GROUP)
            break;
        if (t.rows_per_lane > 1)
            t.rows_per_lane /= 2;
        else
            t.local /= 2;
    }

    uint64_t n_weight_row = (uint64_t)request->n_row * (1 + request->glu);
    bool is_vec = request->kind == VK_MATMUL_VEC;
    *plan = (vk_matmul_plan){.local_size = t.local,
                             .rows_per_group = rows,
                             .cols_per_group = t.n_col * t.col_subgroups,
                             .weight_bytes = (n_weight_row * pack->group_bytes + GROUP_ROWS - 1) / GROUP_ROWS,
                             .weight_bytes_min = n_weight_row * pack->row_bytes};
    snprintf(plan->shader, sizeof plan->shader, "matmul_%s_%s%s", format, precision,
             policy->int64 ? "_wide" : "");
    snprintf(plan->kernel, sizeof plan->kernel, "%s_%s_%s", is_vec ? "matvec" : "matmul", format, precision);
    plan->spec[SPEC_LOCAL_SIZE] = t.local;
    plan->spec[SPEC_LANES_PER_ROW] = t.lanes_per_row;
    plan->spec[SPEC_ROWS_PER_LANE] = t.rows_per_lane;
    plan->spec[SPEC_N_COL] = t.n_col;
    plan->spec[SPEC_GLU] = request->glu;
    plan->spec[SPEC_COL_SUBGROUPS] = t.col_subgroups;
    plan->spec[SPEC_BLOCKS_IN_FLIGHT] = t.blocks_in_flight;
    plan->spec[SPEC_UNROLL] = t.unroll;
    plan->spec[SPEC_EXPERTS] = request->experts;
    plan->spec[SPEC_N_PRODUCT] = 1;
    plan->spec[SPEC_DOT_PAIRS] = request->precision == TANDEM_PRECISION_Q8 && policy->dot_pairs;
    plan->grid_x = (request->n_row + rows - 1) / rows;
    return true;
}
