/* object.h: buffers, weights and caches of a context, and the ABI's functions on them. */
#ifndef GPU_OBJECT_H
#define GPU_OBJECT_H

#include "context.h"

#include <tandem/kv.h>
#include <tandem/pack.h>

struct tandem_buffer {
    tandem_context *context;
    gpu_memory memory;
    uint32_t placement;
};

tandem_status gpu_buffer_create(tandem_context *context, const tandem_buffer_desc *desc,
                                tandem_buffer **buffer, tandem_error *error);
void gpu_buffer_destroy(tandem_buffer *buffer);
tandem_status gpu_buffer_info(const tandem_buffer *buffer, tandem_buffer_info *info, tandem_error *error);
tandem_status gpu_buffer_write(tandem_buffer *buffer, uint64_t offset, const void *source, uint64_t bytes,
                               tandem_error *error);
tandem_status gpu_buffer_read(tandem_buffer *buffer, uint64_t offset, void *target, uint64_t bytes,
                              uint32_t flags, tandem_error *error);

/* A segment of a matrix inside the storage of a record: its allocation, and the bytes there. */
typedef struct gpu_segment {
    uint32_t part;
    uint64_t offset;
    uint64_t bytes;
} gpu_segment;

/* One record in one place: the allocations that its segments lie in. */
typedef struct gpu_record {
    gpu_memory *device; /* [n_part]; NULL: not there */
    gpu_memory
        *host; /* [n_part]; its place, or the home copy of a record that began on the host; NULL: none */
    uint32_t placement; /* what the table points at */
    uint32_t complete;
    uint64_t n_row[4]; /* of each matrix, written so far */
    uint8_t *tail[4];  /* staged writes: the group that the last range ended inside of; NULL: none */
} gpu_record;

struct tandem_weights {
    tandem_context *context;
    uint32_t n_record;
    uint32_t n_matrix;
    tandem_matrix_desc matrices[4];
    tandem_kit_pack packs[4];
    uint32_t first_segment[4]; /* of each matrix in `segments` */
    uint32_t n_segment;        /* of a record */
    uint32_t n_part;
    gpu_segment *segments; /* [n_segment] */
    uint64_t *part_bytes;  /* [n_part] */
    gpu_record *records;   /* [n_record] */
    gpu_memory table;      /* u64 address[n_record][n_segment], read by kernels */
    uint64_t source_bytes;
    uint64_t record_bytes; /* of the storage of one record */
    uint32_t n_on_device;  /* records with device storage */
    uint32_t n_on_host;
};

tandem_status gpu_weights_create(tandem_context *context, const tandem_weights_desc *desc,
                                 tandem_weights **weights, tandem_error *error);
void gpu_weights_destroy(tandem_weights *weights);
tandem_status gpu_weights_info(const tandem_weights *weights, tandem_weights_info *info, tandem_error *error);
tandem_status gpu_weights_matrix(const tandem_weights *weights, uint32_t matrix, tandem_matrix_desc *desc,
                                 tandem_error *error);
tandem_status gpu_weights_write(tandem_weights *weights, uint32_t record, uint32_t matrix, uint64_t first_row,
                                uint64_t n_row, const void *source, uint64_t bytes, uint32_t flags,
                                tandem_error *error);
tandem_status gpu_weights_place(tandem_weights *weights, uint32_t record, uint32_t placement,
                                tandem_ticket *ticket, tandem_error *error);

/* The address of the table entry of segment 0 of a matrix: constant for the object's life. */
uint64_t gpu_weights_table(const tandem_weights *weights, uint32_t record, uint32_t matrix);
/* The storage of one segment where the table points now. */
uint64_t gpu_weights_segment(const tandem_weights *weights, uint32_t record, uint32_t segment,
                             uint64_t *bytes);

typedef struct gpu_kv_layer {
    tandem_kv_layer info;
    uint32_t owner; /* itself, or the layer whose storage it reads */
    uint32_t ring;  /* positions that a region holds */
    uint32_t region_bytes;
    gpu_memory k, v; /* [n_slot][n_kv_head] regions; of owners only */
} gpu_kv_layer;

struct tandem_kv {
    tandem_context *context;
    uint32_t n_layer;
    uint32_t max_chunk;
    uint32_t n_slot;
    uint32_t max_position; /* positions below this fit every layer */
    gpu_kv_layer *layers;
    uint32_t *length;  /* [n_slot] */
    uint32_t *highest; /* [n_slot] greatest length since the slot was empty: how far rings were overwritten */
    uint64_t bytes;
};

tandem_status gpu_kv_create(tandem_context *context, const tandem_kv_desc *desc, tandem_kv **kv,
                            tandem_error *error);
void gpu_kv_destroy(tandem_kv *kv);
tandem_status gpu_kv_info(const tandem_kv *kv, tandem_kv_info *info, tandem_error *error);
tandem_status gpu_kv_layer_info(const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info,
                                tandem_error *error);
tandem_status gpu_kv_length(const tandem_kv *kv, uint32_t slot, uint32_t *length, tandem_error *error);
tandem_status gpu_kv_truncate(tandem_kv *kv, uint32_t slot, uint32_t length, tandem_error *error);
tandem_status gpu_kv_copy_slot(tandem_kv *kv, uint32_t from, uint32_t to, tandem_error *error);
tandem_status gpu_kv_fill(tandem_kv *kv, uint32_t slot, uint32_t seed, uint32_t length, tandem_error *error);
tandem_status gpu_kv_export_bytes(tandem_kv *kv, uint32_t slot, uint64_t *bytes, tandem_error *error);
tandem_status gpu_kv_export(tandem_kv *kv, uint32_t slot, void *target, uint64_t bytes, tandem_error *error);
tandem_status gpu_kv_import(tandem_kv *kv, uint32_t slot, const void *source, uint64_t bytes,
                            tandem_error *error);
tandem_status gpu_kv_read(tandem_kv *kv, uint32_t layer, uint32_t slot, uint32_t which,
                          uint32_t first_position, uint32_t n_row, float *target, tandem_error *error);

#endif
