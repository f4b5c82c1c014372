/* policy.h: how kernels are cut and launched on a device. Every choice that differs between devices is here.
 *
 * Made once for a device, out of its kind and the limits that its driver names. The width of a subgroup
 * decides nothing but what has to be a multiple of it: two GPUs that differ in it alone get the same
 * launches.
 */
#ifndef VK_POLICY_H
#define VK_POLICY_H

#include <stdint.h>

/* The shape of kernels: sizes of tiles and work-groups, loads in flight. */
#define VK_SHAPE_GPU 0u /* hides the latency of memory by threads and by loads in flight */
#define VK_SHAPE_SOFTWARE                                                                                    \
    1u /* for a CPU that runs a subgroup as one vector: few threads, much work for each */
#define VK_SHAPE_BY_KIND 2u /* the software shape for software devices, else the GPU's */

#define VK_NO_LOOP_BUDGET UINT32_MAX

/* What is known of a device. */
typedef struct vk_policy_facts {
    uint32_t kind;          /* TANDEM_DEVICE_* */
    uint32_t shape;         /* that was asked for: VK_SHAPE_* */
    uint32_t n_unit;        /* multiprocessors or compute units; 0: the driver does not say */
    uint32_t max_local;     /* most threads of a work-group: the least of the driver's limits on them */
    uint32_t subgroup_size; /* without a request for another */
    uint32_t subgroup_min;  /* what may be requested */
    uint32_t subgroup_max;
    uint32_t subgroup_control; /* 1: a size can be requested */
    uint32_t counts_loops; /* 1: lavapipe, which ends the loops of a subgroup after some 65,000 iterations */
    uint32_t dot_accelerated; /* 1: integer dot products are instructions */
    uint32_t int64;           /* 1: shaders may use 64-bit integers */
} vk_policy_facts;

typedef struct vk_policy {
    uint32_t shape;             /* VK_SHAPE_GPU or VK_SHAPE_SOFTWARE */
    uint32_t subgroup_size;     /* of every pipeline */
    uint32_t required_subgroup; /* to request of the driver; 0: nothing */
    uint32_t n_unit;            /* multiprocessors to keep in work */
    uint32_t n_unit_assumed;    /* 1: the driver does not say how many there are */
    uint32_t loop_budget;       /* most loop iterations of a subgroup, or VK_NO_LOOP_BUDGET */
    uint32_t int64;             /* 1: the shaders with 64-bit loads */
    uint32_t dot_pairs;         /* q8: 1: 32-bit products of pairs of codes, 0: integer dot products */
    uint32_t max_local;         /* most threads of a work-group */
    uint32_t matvec_lanes;      /* threads that fill the device with a mat-vec */
    uint32_t attention_groups;  /* work-groups that fill the device with attention */
    uint32_t keys_in_flight;    /* keys that a thread of attention asks for before it uses the first */
    uint32_t short_tile_rows;   /* entries of a short tile of an expert */
    /* Threads of a work-group, multiples of the subgroup size. */
    uint32_t append_local;  /* attention_append, and rows of the cache written and read */
    uint32_t combine_local; /* attention_combine */
    uint32_t stream_local;
    uint32_t topk_local;
    uint32_t route_local; /* moe_route */
    uint32_t group_local; /* moe_group */
    uint32_t elementwise_local;
} vk_policy;

vk_policy vk_policy_make(const vk_policy_facts *facts);

/* "GPU" or "software". */
const char *vk_shape_name(uint32_t shape);

#endif
