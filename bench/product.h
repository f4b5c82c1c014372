/* product.h: one matrix product of the Vulkan shaders, ready to launch: weights packed, inputs rounded, and
 * what the result should be. */
#ifndef TANDEM_BENCH_PRODUCT_H
#define TANDEM_BENCH_PRODUCT_H

#include "../vulkan/pack.h"
#include "bench_vulkan.h"

#define PRODUCT_PLAIN 0u
#define PRODUCT_GLU 1u     /* gate and up are two matrices */
#define PRODUCT_GATE_UP 2u /* one matrix, gate rows first */

typedef struct product_desc {
    uint32_t type; /* TANDEM_TYPE_* */
    uint32_t n_row;
    uint32_t n_col;
    uint32_t n_tok;
    uint32_t precision; /* TANDEM_PRECISION_* */
    uint32_t form;      /* PRODUCT_* */
    uint32_t gather;    /* 1: row i of y comes from row 2 i of x */
    float softcap;      /* 0: none */
    float amplitude;    /* of x */
    uint64_t max_segment_bytes;
    int expected; /* 0: compute no reference */
} product_desc;

enum { PRODUCT_MAX_SEGMENTS = 64 };

typedef struct product {
    product_desc desc;
    tandem_kit_pack pack;
    bench_buffer segments[2][PRODUCT_MAX_SEGMENTS];
    bench_buffer tables[2];
    bench_buffer x, q8, y, rows, n_tok;
    uint32_t n_x_row;
    uint32_t x_stride, y_stride;
    double *expected; /* [n_tok][n_row] */
} product;

/* Weights and x are random, the same for the same desc. `shaders` is a folder of .spv files. */
product product_create(const bench_device *device, const char *shaders, const product_desc *desc);
void product_destroy(const bench_device *device, product *p);

/* How a product is launched: as kind VK_MATMUL_*, with the tiles for a CPU or a GPU of n_unit
 * multiprocessors; its pipeline, and its push block. */
vk_matmul_plan product_plan(const bench_device *device, const product *p, uint32_t kind, uint32_t int64,
                            uint32_t software, uint32_t n_unit);
bench_pipeline product_pipeline(const bench_device *device, const char *shaders, const vk_matmul_plan *plan);
matmul_push product_push(const product *p);

/* sum (y - expected)^2 / sum expected^2 of the worst row; infinite if an element is not finite. */
double product_error(const bench_device *device, const product *p);

#endif
