/* weights.h: what weights.c, weights_write.c and weights_place.c share. */
#ifndef GPU_WEIGHTS_H
#define GPU_WEIGHTS_H

#include "object.h"

/* Allocates, or frees (at once, or after the pending work), the parts of one record in one place. n_more: so
 * many records, this one included, get storage there in a row. */
tandem_status gpu_storage_create(tandem_weights *weights, uint32_t placement, uint32_t n_more,
                                 gpu_memory **parts, tandem_error *error);
void gpu_storage_release(tandem_weights *weights, gpu_memory **parts, int retire);

/* The record's table entries for its present placement, [n_segment]. */
void gpu_table_entries(const tandem_weights *weights, uint32_t record, uint64_t *entries);

#endif
