/* attention_plan.h: how attention_split.comp runs for a layer and a program. */
#ifndef VK_ATTENTION_PLAN_H
#define VK_ATTENTION_PLAN_H

#include "policy.h"

typedef struct vk_attention_request {
    uint32_t head_dim, n_head, n_kv_head;
    uint32_t max_rows; /* the program's max_tokens, max_out for an op on OUT rows */
    uint32_t max_keys; /* most keys that a row can see: the capacity, or window + max_tokens */
    uint32_t n_slot;   /* the program's max_slots */
} vk_attention_request;

typedef struct vk_attention_plan {
    uint32_t local_size;     /* specialisation */
    uint32_t n_query;        /* specialisation */
    uint32_t keys_in_flight; /* specialisation */
    uint32_t tiles_per_row;  /* grid and launch rule: groups[1] */
    uint32_t rows_per_tile;  /* launch rule: rows_per_group of axis 1 */
    uint32_t keys_per_split; /* launch rule */
    uint32_t max_split;      /* launch rule */
} vk_attention_plan;

vk_attention_plan vk_attention_plan_make(const vk_attention_request *request, const vk_policy *policy);

/* Loop iterations of a subgroup of attention_split, upper bound; an inner loop of n costs n + 1. n_keys: keys
 * of a split; n_slot: slots that its tile mixes (each then with up to n_keys keys); n_rows: of the run. */
uint64_t vk_attention_iterations(const vk_attention_plan *plan, uint32_t head_dim, uint32_t subgroup_size,
                                 uint32_t n_keys, uint32_t n_slot, uint32_t n_rows);

/* Scratch for the partial results of max_rows rows. */
uint64_t vk_attention_partial_bytes(const vk_attention_plan *plan, uint32_t head_dim, uint32_t n_head,
                                    uint32_t max_rows);

#endif
