/* matmul_plan.c: kernel, tile sizes and grid of a product for a device and a number of rows. */
#include "matmul.h"

#include <stdio.h>

#include <tandem/base.h>
#include <tandem/pack.h>

enum {
    WARPS_PER_UNIT = 16, /* 40 KB in flight: 2.5 KB of a chunk and warp, of the 7 KB a 3060 needs */
    MIN_WARPS = 4,       /* of a block: a multiprocessor holds only 16 blocks */
    PROLOGUE_WARPS = 8,  /* likewise: three elements of 4 a thread for a row of 2816 */
};

static const tandem_kit_pack *pack_of(const cu_product *product) {
    return &product->weights->packs[product->matrix];
}

static int is_float(uint32_t type) {
    return type == TANDEM_TYPE_F32 || type == TANDEM_TYPE_F16 || type == TANDEM_TYPE_BF16;
}

static uint32_t ceil_div(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

static uint32_t min_u32(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

uint32_t cu_product_kind(uint32_t n_tok) {
    return n_tok <= GPU_MAX_VEC_ROWS ? CU_PRODUCT_VEC
           : n_tok <= TILE_SHORT     ? CU_PRODUCT_SHORT
                                     : CU_PRODUCT_TALL;
}

uint32_t cu_vec_columns(uint32_t n_tok) {
    uint32_t n_col = 1;
    while (n_col < min_u32(n_tok, GPU_MAX_VEC_ROWS))
        n_col *= 2;
    return n_col;
}

int cu_products_fit(const cu_product *products, uint32_t n) {
    const cu_product *a = &products[0];
    for (uint32_t i = 1; i < n; i++) {
        const cu_product *b = &products[i];
        if (a->kind != CU_PRODUCT_VEC || pack_of(a)->type != pack_of(b)->type || b->kind != a->kind ||
            b->op_rows != a->op_rows || b->n_tok != a->n_tok || b->precision != a->precision ||
            a->up != TANDEM_NONE || b->up != TANDEM_NONE || a->experts.n_used || b->experts.n_used)
            return 0;
    }
    return n <= MATVEC_MAX_JOBS;
}

/* Splits of the columns: enough warps to fill the device, no more than chunks, and chunks dealt evenly. */
static uint32_t choose_split(uint32_t n_chunk, uint32_t n_part, uint32_t min_warps, uint32_t max_warps,
                             uint64_t n_strip, uint32_t n_unit) {
    uint32_t most = min_u32(max_warps / n_part, n_chunk), split = 1;
    uint64_t wanted = (uint64_t)(n_unit ? n_unit : 32) * WARPS_PER_UNIT;
    while (split < most && (n_strip * n_part * split < wanted || n_part * split < min_warps))
        split++;
    uint32_t best = split;
    for (uint32_t s = split; s <= most && s <= 2 * split; s++)
        if (ceil_div(n_chunk, s) * s < ceil_div(n_chunk, best) * best)
            best = s;
    return best;
}

static int plan_vec(cu_plan *plan, const cu_product *products, uint32_t n, int has_prologue,
                    uint32_t n_unit) {
    const cu_product *first = &products[0];
    const cu_experts *experts = &first->experts;
    const char *format = tandem_kit_pack_format_name(pack_of(first)->type);
    const char *precision = first->precision == TANDEM_PRECISION_Q8 ? "q8" : "exact";
    uint32_t chunk_blocks = pack_of(first)->type == TANDEM_TYPE_Q4_1 ? 4 : 8, n_chunk = UINT32_MAX,
             strips = 0;
    uint32_t n_col = cu_vec_columns(experts->n_used ? 1 : first->n_tok);
    for (uint32_t i = 0; i < n; i++) {
        strips += ceil_div(products[i].n_row, MATVEC_WARP_ROWS);
        n_chunk = min_u32(n_chunk, ceil_div(ceil_div(pack_of(&products[i])->n_col, 32), chunk_blocks));
    }
    plan->n_part = experts->kind == EXPERTS_SUM ? min_u32(experts->n_used, 8)
                   : first->up != TANDEM_NONE   ? 2
                                                : 1;
    uint64_t n_strip = (uint64_t)strips * (experts->kind == EXPERTS_ENTRY ? experts->n_used : 1);
    plan->n_split = choose_split(n_chunk, plan->n_part, has_prologue ? PROLOGUE_WARPS : MIN_WARPS,
                                 MATVEC_MAX_WARPS(n_col), n_strip, n_unit);
    plan->block = 32 * plan->n_part * plan->n_split;
    plan->shared_bytes = MATVEC_SHARED_BYTES(plan->n_part * plan->n_split, n_col);
    plan->rows_per_pass = n_col;
    plan->grid[0] = strips;
    plan->grid[1] = experts->kind == EXPERTS_ENTRY ? first->n_tok * experts->n_used
                    : experts->kind == EXPERTS_SUM ? first->n_tok
                                                   : ceil_div(first->n_tok, n_col);
    plan->grid[2] = 1;
    snprintf(plan->kernel, sizeof plan->kernel, "matvec_%s_%s_%u", format, precision, n_col);
    return 1;
}

static int plan_tiles(cu_plan *plan, const cu_product *product) {
    const tandem_kit_pack *pack = pack_of(product);
    int q8 = product->precision == TANDEM_PRECISION_Q8, f16 = product->precision == TANDEM_PRECISION_F16;
    const char *precision = q8 && !is_float(pack->type) ? "q8" : f16 ? "f16" : "exact";
    uint32_t height = product->kind == CU_PRODUCT_TALL ? TILE_TALL : TILE_SHORT;
    uint32_t n_tile =
        product->experts.n_used ? (uint32_t)product->experts.route_count : ceil_div(product->n_tok, height);
    plan->block = TILE_THREADS;
    plan->rows_per_pass = height;
    plan->x_kind = q8 ? TILE_X_Q8 : f16 ? TILE_X_F16 : TILE_X_F32;
    plan->grid[0] = n_tile;
    plan->grid[1] = ceil_div(product->n_row, product->up == TANDEM_NONE ? TILE_ROWS : TILE_ROWS / 2);
    plan->grid[2] = 1;
    snprintf(plan->kernel, sizeof plan->kernel, "matmul_%s_%s_%s", tandem_kit_pack_format_name(pack->type),
             precision, product->kind == CU_PRODUCT_TALL ? "tall" : "short");
    return plan->grid[1] <= 65535;
}

int cu_plan_make(cu_plan *plan, const cu_product *products, uint32_t n, int has_prologue, uint32_t n_unit) {
    *plan = (cu_plan){.n_part = 1, .n_split = 1};
    for (uint32_t i = 0; i < n; i++) {
        const cu_product *product = &products[i];
        if (!tandem_kit_pack_format_name(pack_of(product)->type) ||
            product->precision > TANDEM_PRECISION_Q8 ||
            (product->up != TANDEM_NONE &&
             (pack_of(product)->n_segment > 1 || product->weights->packs[product->up].n_segment > 1)))
            return 0;
    }
    if (products[0].kind == CU_PRODUCT_VEC)
        return cu_products_fit(products, n) && plan_vec(plan, products, n, has_prologue, n_unit);
    return n == 1 && plan_tiles(plan, &products[0]);
}
