/* pipeline.h: compute pipelines of a context: a shader and its specialisation constants, made once and kept.
 *
 * A program names its pipelines first (vk_pipeline_find), then has the new ones compiled together, on several
 * threads (vk_pipelines_build), and dispatched once with no work-group: some drivers compile at the first
 * dispatch, and that time must not fall into a run.
 */
#ifndef VK_PIPELINE_H
#define VK_PIPELINE_H

#include "context.h"

#define VK_MAX_SPEC 12u

/* SPIR-V embedded in the plugin; the build writes this table (vulkan/CMakeLists.txt), sorted by name. */
typedef struct vk_shader {
    const char *name;
    const uint32_t *words;
    uint32_t n_word;
} vk_shader;

extern const vk_shader vk_shaders[];
extern const uint32_t vk_n_shader;

typedef struct vk_pipeline {
    const vk_shader *shader;
    uint32_t n_spec;
    uint32_t spec[VK_MAX_SPEC]; /* constant_id = index */
    VkPipeline handle;          /* NULL: named, not yet compiled */
    int warm;
} vk_pipeline;

typedef struct vk_pipeline_set {
    vk_pipeline *items;
    uint32_t n;
    uint32_t capacity;
    VkPipelineCache cache;
    char cache_path[768]; /* "": not kept */
} vk_pipeline_set;

/* The pipeline's index in the context's set, named if it is new. UNSUPPORTED: no such shader in this build.
 */
tandem_status vk_pipeline_find(tandem_context *context, const char *shader, const uint32_t *spec,
                               uint32_t n_spec, uint32_t *index, tandem_error *error);
/* 1: the build has this shader. */
int vk_shader_exists(const char *name);
/* Compiles and warms what is named and not compiled yet, and stores the driver's cache. */
tandem_status vk_pipelines_build(tandem_context *context, tandem_error *error);

tandem_status vk_pipelines_create(tandem_context *context, tandem_error *error);
void vk_pipelines_destroy(tandem_context *context);

/* ---- pipeline_cache.c: the driver's cache on disk ---- */

/* The file of this device, driver and set of shaders in the host's cache folder; "" without a folder. */
void vk_cache_path(const tandem_context *context, char *path, size_t room);
/* Its contents, or NULL: missing, damaged or of another format. To gpu_free. */
void *vk_cache_load(const char *path, uint64_t *bytes);
/* Replaces the file in one step; a failure costs only time later, so it is logged. */
void vk_cache_store(const char *path, const void *data, uint64_t bytes);

#endif
