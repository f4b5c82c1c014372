/* gpu_types.h: the Vulkan side of the types that the GPU plugins share (backend/gpu/hooks.h). */
#ifndef VK_GPU_TYPES_H
#define VK_GPU_TYPES_H

#include "device.h"
#include "gpu/limits.h"
#include "gpu/list.h"

#include "../shaders/params.h"
#include "../shaders/params_moe.h"
#include "../shaders/params_ops.h"
#include "../shaders/run_block.h"

#define GPU_NAME "vulkan"
#define GPU_TITLE "Vulkan"
#define GPU_MAX_TOPK (64u * TOPK_PART)

typedef vk_device gpu_device;

/* A command buffer for what is put in order, but for the runs. */
typedef struct vk_commands {
    VkCommandBuffer handle;
    int open;   /* begun and not yet submitted */
    int spoilt; /* a failure left it half recorded */
} vk_commands;

/* One queue; serials are values of its timeline. */
typedef struct gpu_api_context {
    const vk_instance *instance;
    VkDevice handle;
    vk_device_table vk;
    VkQueue queue;
    VkSemaphore timeline;
    VkCommandPool command_pool;
    vk_commands commands[GPU_N_TRANSFER]; /* one for each transfer */
    VkPipelineLayout pipeline_layout;
    struct vk_pipeline_set *pipelines;
    VkQueryPool timestamps;      /* begin and end of each pending slot */
    int has_run;                 /* 1: the following two are known */
    uint64_t last_run_end;       /* of the last finished run: its last timestamp, */
    uint64_t last_run_queued_ns; /* and the host's clock before it was submitted */
} gpu_api_context;

typedef struct gpu_api_block {
    VkDeviceMemory memory;
    VkBuffer buffer;
} gpu_api_block;

typedef struct gpu_api_launch {
    uint32_t pipeline;
    uint32_t rule;    /* launch rule, or TANDEM_NONE */
    uint64_t command; /* without a rule: address of launch arguments that an earlier launch writes; 0: always
                         `groups` */
    uint32_t groups[3];
} gpu_api_launch;

typedef struct gpu_api_program {
    gpu_list rules;                        /* launch_rule */
    uint32_t n_rule;                       /* second pass: rules of the first */
    VkCommandBuffer prefix[GPU_N_PENDING]; /* prepare.comp from the slot's table, first timestamp */
    VkCommandBuffer main;
    VkCommandBuffer suffix[GPU_N_PENDING]; /* last timestamp */
    VkCommandBuffer profile; /* main with a timestamp after each step; made by the first PROFILE run */
    VkQueryPool profile_queries;
} gpu_api_program;

#endif
