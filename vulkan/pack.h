/* vulkan/pack.h: the launch plans of the shaders that read packed matrices (tandem/pack.h). */
#ifndef TANDEM_VULKAN_PACK_H
#define TANDEM_VULKAN_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include <tandem/pack.h>

#include "../shaders/params.h"
#include "policy.h"

/* How to launch a matrix product: tile sizes and grid of matmul.comp for one matrix (or GLU pair). */
#define VK_MATMUL_VEC 0u /* few rows of x (decode): limited by weight bytes */
#define VK_MATMUL_MAT 1u /* many (prefill): limited by arithmetic */

typedef struct vk_matmul_request {
    uint32_t kind;      /* VK_MATMUL_* */
    uint32_t precision; /* TANDEM_PRECISION_EXACT or _Q8 */
    uint32_t n_tok;     /* most rows of x that this launch will see */
    uint32_t glu;       /* 0 or 1 */
    uint32_t n_row;     /* of y: push.n_row; half of a GATE_UP matrix */
    uint32_t experts;   /* EXPERTS_* */
    uint32_t n_used;    /* experts of a row */
} vk_matmul_request;

typedef struct vk_matmul_plan {
    char shader[48]; /* SPIR-V module, a line of shaders/variants.txt: "matmul_q4_0_exact_wide" */
    char kernel[48]; /* for the reader: "matvec_q4_0_exact" */
    uint32_t spec[N_SPEC_MATMUL]; /* specialisation constants 0, 1, ... */
    uint32_t local_size;          /* = spec[SPEC_LOCAL_SIZE] */
    uint32_t rows_per_group;      /* of y, per workgroup: grid x = grid_x */
    uint32_t cols_per_group;      /* of x, per workgroup: grid y = ceil(*n_tok / cols_per_group) */
    uint32_t grid_x;
    uint64_t weight_bytes;     /* moved by one pass over W (grid y = 1), padding included */
    uint64_t weight_bytes_min; /* GGUF bytes of the same rows */
} vk_matmul_plan;

/* False: a precision or format without a kernel, a GLU matrix of more than one segment, or rows too long for
 * the loop budget (lavapipe's is 900,000 columns). A product of several matrices (q, k, v) is one launch
 * each, without a barrier between. */
bool vk_matmul_plan_make(vk_matmul_plan *plan, const tandem_kit_pack *pack, const vk_matmul_request *request,
                         const vk_policy *policy);

/* Module of embed.comp for this matrix: "embed_q4_0"; false: none. Its grid, and that of "quantise_q8":
 * params.h. */
bool vk_embed_shader(char name[32], const tandem_kit_pack *pack);

#endif
