/* vulkan/pack.h: the device layout of quantised matrices, and the launch plans of the shaders that read it.
 *
 * A matrix is cut into groups of 8 rows. A group is a sequence of places of 8 units of 16 bytes, unit r for
 * row r of the group, so that a place is one 128-byte line and quants are loaded as 16-byte aligned uvec4.
 * The group runs through the columns in blocks of 32 and carries each block's scales just before its quants:
 * one stream per group, no padding but the last block's scales. Nothing is requantised: bits are moved, so
 * the dequantised values are those of the GGUF block. Places of each format: shaders/quant_*.glsl. A segment
 * is up to 2^segment_shift rows in one allocation, at most max_segment_bytes long.
 */
#ifndef TANDEM_VULKAN_PACK_H
#define TANDEM_VULKAN_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "../shaders/params.h"

typedef struct vk_pack {
    uint32_t type; /* TANDEM_TYPE_* */
    uint32_t n_col;
    uint64_t n_row;
    uint64_t row_bytes;     /* GGUF bytes of a row */
    uint64_t group_bytes;   /* packed bytes of 8 rows */
    uint32_t segment_shift; /* rows of a segment: 1 << segment_shift; 31 where one segment holds all */
    uint32_t n_segment;     /* table entries */
    uint64_t device_bytes;  /* of all segments together */
} vk_pack;

/* Computes the layout. False: unknown type, n_col not a multiple of its block, zero or over 2^31 rows or
 * columns, or 512 rows (or all, if fewer) longer than max_segment_bytes or 4 GiB. */
bool vk_pack_init(vk_pack *pack, uint32_t type, uint64_t n_row, uint64_t n_col, uint64_t max_segment_bytes);

/* Bytes of one segment (index < n_segment); a multiple of 32. The shaders read no byte beyond. */
uint64_t vk_pack_segment_bytes(const vk_pack *pack, uint32_t segment);

/* Where the group of a row begins: its segment, and the byte offset in it. */
uint32_t vk_pack_segment(const vk_pack *pack, uint64_t row);
uint64_t vk_pack_offset(const vk_pack *pack, uint64_t row);

/* Packs rows [first_row, first_row + n_row) of GGUF blocks from src (any alignment). `groups` points at the
 * bytes of the group that first_row lies in (16-byte aligned), followed by the later groups; segments are not
 * looked at, so a range must not cross one. Every byte of a row is written (padding as zero) and no byte of
 * another row, so that a range may begin or end inside a group and ranges may come in any order. The rows
 * that fill the matrix's last group are never read. Columns beyond n_col are zero. [any thread, rows apart]
 */
void vk_pack_rows(const vk_pack *pack, uint64_t first_row, uint64_t n_row, const void *src, void *groups);

/* How to launch a matrix product: tile sizes and grid of matmul.comp for one matrix (or GLU pair). */
#define VK_MATMUL_VEC 0u /* few rows of x (decode): limited by weight bytes */
#define VK_MATMUL_MAT 1u /* many (prefill): limited by arithmetic */

typedef struct vk_matmul_request {
    uint32_t kind;          /* VK_MATMUL_* */
    uint32_t precision;     /* TANDEM_PRECISION_EXACT or _Q8 */
    uint32_t n_tok;         /* most rows of x that this launch will see */
    uint32_t glu;           /* 0 or 1 */
    uint32_t n_row;         /* of y: push.n_row; half of a GATE_UP matrix */
    uint32_t subgroup_size; /* of the pipeline: 4..128; subgroups are full */
    uint32_t software;      /* 1: a CPU device */
    uint32_t int64;         /* 1: the device was created with shaderInt64 */
    uint32_t n_unit;        /* multiprocessors of the device to keep busy; 0: unknown */
    uint32_t max_local;     /* the device's limit on threads of a workgroup; 0: 1024 */
    uint32_t experts;       /* EXPERTS_* */
    uint32_t n_used;        /* experts of a row */
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
 * lavapipe's loop budget (900,000 columns). The subgroup size
 * of the pipeline must be the request's (required explicitly where the device has a choice). A product of
 * several matrices (q, k, v) is one launch each, without a barrier between. */
bool vk_matmul_plan_make(vk_matmul_plan *plan, const vk_pack *pack, const vk_matmul_request *request);

/* "q4_0": the format's name in module names; NULL: no kernel reads it. */
const char *vk_pack_format_name(uint32_t type);

/* Module of embed.comp for this matrix: "embed_q4_0"; false: none. Its grid, and that of "quantise_q8":
 * params.h. */
bool vk_embed_shader(char name[32], const vk_pack *pack);

#endif
