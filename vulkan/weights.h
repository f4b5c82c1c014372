/* weights.h: what weights.c, weights_write.c and weights_place.c share. */
#ifndef VK_WEIGHTS_H
#define VK_WEIGHTS_H

#include "object.h"

/* Allocates, or frees (at once, or after the pending work), the parts of one record in one place. */
tandem_status vk_storage_create(tandem_weights *weights, uint32_t placement, vk_memory **parts,
                                tandem_error *error);
void vk_storage_release(tandem_weights *weights, vk_memory **parts, int retire);

/* The record's table entries for its present placement, [n_segment]. */
void vk_table_entries(const tandem_weights *weights, uint32_t record, uint64_t *entries);

#endif
