/* tandem/pack.h: the device layout of quantised matrices that our plugins share.
 *
 * A matrix is cut into groups of 8 rows. A group is a sequence of places of 8 units of 16 bytes, unit r for
 * row r of the group, so that a place is one 128-byte line and quants are loaded as 16 aligned bytes. The
 * group runs through the columns in blocks of 32 and carries each block's scales just before its quants: one
 * stream per group, no padding but the last block's scales. Nothing is requantised: bits are moved, so the
 * dequantised values are those of the GGUF block. Places of each format: shaders/quant_*.glsl. A segment is
 * up to 2^segment_shift rows in one allocation, at most max_segment_bytes long.
 */
#ifndef TANDEM_PACK_H
#define TANDEM_PACK_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TANDEM_KIT_PACK_ROWS 8u /* rows of a group */

typedef struct tandem_kit_pack {
    uint32_t type; /* TANDEM_TYPE_* */
    uint32_t n_col;
    uint64_t n_row;
    uint64_t row_bytes;     /* GGUF bytes of a row */
    uint64_t group_bytes;   /* packed bytes of 8 rows */
    uint32_t segment_shift; /* rows of a segment: 1 << segment_shift; 31 where one segment holds all */
    uint32_t n_segment;     /* table entries */
    uint64_t device_bytes;  /* of all segments together */
} tandem_kit_pack;

/* Computes the layout. False: unknown type, n_col not a multiple of its block, zero or over 2^31 rows or
 * columns, or 512 rows (or all, if fewer) longer than max_segment_bytes or 4 GiB. */
bool tandem_kit_pack_init(tandem_kit_pack *pack, uint32_t type, uint64_t n_row, uint64_t n_col,
                          uint64_t max_segment_bytes);

/* Bytes of one segment (index < n_segment); a multiple of 32. Kernels read no byte beyond. */
uint64_t tandem_kit_pack_segment_bytes(const tandem_kit_pack *pack, uint32_t segment);

/* Where the group of a row begins: its segment, and the byte offset in it. */
uint32_t tandem_kit_pack_segment(const tandem_kit_pack *pack, uint64_t row);
uint64_t tandem_kit_pack_offset(const tandem_kit_pack *pack, uint64_t row);

/* Packs rows [first_row, first_row + n_row) of GGUF blocks from src (any alignment). `groups` points at the
 * bytes of the group that first_row lies in (16-byte aligned), followed by the later groups; segments are not
 * looked at, so a range must not cross one. Every byte of a row is written (padding as zero) and no byte of
 * another row, so that a range may begin or end inside a group and ranges may come in any order. The rows
 * that fill the matrix's last group are never read. Columns beyond n_col are zero. [any thread, rows apart]
 */
void tandem_kit_pack_rows(const tandem_kit_pack *pack, uint64_t first_row, uint64_t n_row, const void *src,
                          void *groups);

/* "q4_0": the format's name in names of kernels; NULL: the layout does not know it. */
const char *tandem_kit_pack_format_name(uint32_t type);

#ifdef __cplusplus
}
#endif
#endif
