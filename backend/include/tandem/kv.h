/* tandem/kv.h: the key/value cache, an opaque object whose layout is the plugin's business.
 *
 * A layer without a window holds `capacity` positions per slot. A layer with a window is a ring of window + max_chunk
 * positions. The cache has one length per slot: a run appends its rows at that length, in every layer it touches.
 */
#ifndef TANDEM_KV_H
#define TANDEM_KV_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tandem_kv_layer {
    uint32_t struct_size;
    uint32_t n_kv_head;
    uint32_t head_dim;
    uint32_t type;     /* TANDEM_TYPE_F32, F16 or Q8_0 */
    uint32_t window;   /* a query sees itself and the window - 1 positions before it; 0: all positions */
    uint32_t share_of; /* index of an earlier layer that owns the storage, or TANDEM_NONE */
    uint64_t capacity; /* positions; > 0 */
} tandem_kv_layer;

#define TANDEM_KV_LAYOUT_AUTO 0u
#define TANDEM_KV_LAYOUT_KV 1u     /* K and V apart */
#define TANDEM_KV_LAYOUT_V_ONLY 2u /* layers with K = V store V and rebuild K */

typedef struct tandem_kv_desc {
    uint32_t struct_size;
    uint32_t n_layer;
    const tandem_kv_layer *const *layers; /* [n_layer] */
    uint32_t max_chunk;                   /* most rows of one slot in one run; >= 1 */
    uint32_t n_slot;                      /* sequences; version 0 may refuse more than 1 */
    uint32_t layout;                      /* TANDEM_KV_LAYOUT_* */
    uint32_t reserved;
} tandem_kv_desc;

typedef struct tandem_kv_info {
    uint32_t struct_size;
    uint32_t n_layer;
    uint32_t max_chunk;
    uint32_t n_slot;
    uint32_t layout; /* the one chosen */
    uint32_t reserved;
    uint64_t bytes; /* allocated */
} tandem_kv_info;

#define TANDEM_KV_K 0u
#define TANDEM_KV_V 1u

#ifdef __cplusplus
}
#endif
#endif
