/* pipeline.c: names, compiles and warms pipelines. */
#include "pipeline.h"
#include "spirv.h"

#include <string.h>
#include <unistd.h>

#define MAX_BUILD_THREADS 8

typedef struct build_job {
    tandem_context *context;
    atomic_uint next;
    VkResult *results; /* of each pipeline of the set */
} build_job;

static const vk_shader *find_shader(const char *name) {
    uint32_t low = 0, high = vk_n_shader;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        int order = strcmp(name, vk_shaders[middle].name);
        if (order == 0)
            return &vk_shaders[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

int vk_shader_exists(const char *name) {
    return find_shader(name) != NULL;
}

static tandem_status grow(vk_pipeline_set *set, tandem_error *error) {
    uint32_t capacity = set->capacity ? set->capacity * 2 : 64;
    vk_pipeline *items = gpu_alloc((uint64_t)capacity * sizeof *items);
    if (!items)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the list of pipelines");
    if (set->n)
        memcpy(items, set->items, set->n * sizeof *items);
    gpu_free(set->items);
    set->items = items;
    set->capacity = capacity;
    return TANDEM_OK;
}

tandem_status vk_pipeline_find(tandem_context *context, const char *name, const uint32_t *spec,
                               uint32_t n_spec, uint32_t *index, tandem_error *error) {
    vk_pipeline_set *set = context->api.pipelines;
    const vk_shader *shader = find_shader(name);
    if (!shader)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "This build has no shader %s", name);
    for (uint32_t i = 0; i < set->n; i++) {
        const vk_pipeline *p = &set->items[i];
        if (p->shader == shader && p->n_spec == n_spec &&
            (n_spec == 0 || memcmp(p->spec, spec, n_spec * sizeof *spec) == 0)) {
            *index = i;
            return TANDEM_OK;
        }
    }
    if (set->n == set->capacity) {
        tandem_status status = grow(set, error);
        if (status != TANDEM_OK)
            return status;
    }
    vk_pipeline *p = &set->items[set->n];
    memset(p, 0, sizeof *p);
    p->shader = shader;
    p->n_spec = n_spec;
    if (n_spec)
        memcpy(p->spec, spec, n_spec * sizeof *spec);
    *index = set->n++;
    return TANDEM_OK;
}

static VkResult create_module(tandem_context *context, const vk_shader *shader, VkShaderModule *module) {
    VkShaderModuleCreateInfo info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
                                     .codeSize = shader->n_word * sizeof(uint32_t),
                                     .pCode = shader->words};
    uint32_t *words = NULL;
    VkResult result = vk_fault_check();
    if (result != VK_SUCCESS)
        return result;
    if (context->device.uniform_control_flow) {
        words = gpu_alloc((shader->n_word + VK_SPIRV_MORE_WORDS) * sizeof *words);
        if (!words)
            return VK_ERROR_OUT_OF_HOST_MEMORY;
        info.pCode = words;
        info.codeSize = vk_spirv_uniform_control_flow(shader->words, shader->n_word, words) * sizeof *words;
    }
    result = context->api.vk.CreateShaderModule(context->api.handle, &info, NULL, module);
    gpu_free(words);
    return result;
}

static VkResult compile(tandem_context *context, vk_pipeline *p) {
    VkSpecializationMapEntry entries[VK_MAX_SPEC];
    for (uint32_t i = 0; i < p->n_spec; i++)
        entries[i] = (VkSpecializationMapEntry){i, i * (uint32_t)sizeof(uint32_t), sizeof(uint32_t)};
    VkSpecializationInfo spec = {p->n_spec, entries, p->n_spec * sizeof(uint32_t), p->spec};
    VkPipelineShaderStageRequiredSubgroupSizeCreateInfo size = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO,
        .requiredSubgroupSize = context->device.policy.required_subgroup};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .pName = "main",
                  .pSpecializationInfo = p->n_spec ? &spec : NULL},
        .layout = context->api.pipeline_layout};
    if (context->device.subgroup_control) {
        info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT;
        if (context->device.policy.required_subgroup)
            info.stage.pNext = &size;
    }
    VkResult result = create_module(context, p->shader, &info.stage.module);
    if (result != VK_SUCCESS)
        return result;
    result = vk_fault_check();
    if (result == VK_SUCCESS)
        result = context->api.vk.CreateComputePipelines(context->api.handle, context->api.pipelines->cache, 1,
                                                        &info, NULL, &p->handle);
    context->api.vk.DestroyShaderModule(context->api.handle, info.stage.module, NULL);
    return result;
}

static void *build_some(void *argument) {
    build_job *job = argument;
    vk_pipeline_set *set = job->context->api.pipelines;
    for (;;) {
        uint32_t i = atomic_fetch_add(&job->next, 1);
        if (i >= set->n)
            return NULL;
        if (!set->items[i].handle)
            job->results[i] = compile(job->context, &set->items[i]);
    }
}

/* Compiles the named pipelines on up to as many threads as there are cores. */
static void build_parallel(build_job *job, uint32_t n_new) {
    pthread_t threads[MAX_BUILD_THREADS];
    long n_core = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t wanted = n_core > MAX_BUILD_THREADS ? MAX_BUILD_THREADS : n_core > 1 ? (uint32_t)n_core : 1;
    uint32_t n = 0;
    if (wanted > n_new)
        wanted = n_new;
    while (n + 1 < wanted && pthread_create(&threads[n], NULL, build_some, job) == 0)
        n++;
    build_some(job);
    for (uint32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* Dispatches every cold pipeline with no work-group. */
static tandem_status warm(tandem_context *context, tandem_error *error) {
    vk_pipeline_set *set = context->api.pipelines;
    const uint8_t zeros[VK_PUSH_BYTES] = {0};
    VkCommandBuffer commands;
    tandem_status status = vk_commands_get(context, &commands, error);
    if (status != TANDEM_OK)
        return status;
    for (uint32_t i = 0; i < set->n; i++) {
        if (set->items[i].warm)
            continue;
        context->api.vk.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, set->items[i].handle);
        context->api.vk.CmdPushConstants(commands, context->api.pipeline_layout, VK_SHADER_STAGE_COMPUTE_BIT,
                                         0, VK_PUSH_BYTES, zeros);
        context->api.vk.CmdDispatch(commands, 0, 0, 0);
    }
    status = gpu_submit(context, NULL, error);
    if (status == TANDEM_OK)
        status = gpu_wait_all(context, error);
    if (status == TANDEM_OK)
        for (uint32_t i = 0; i < set->n; i++)
            set->items[i].warm = 1;
    return status;
}

/* Fetches the driver's cache and stores it. */
static tandem_status store_cache(tandem_context *context, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    vk_pipeline_set *set = context->api.pipelines;
    size_t bytes = 0;
    void *data = NULL;
    if (!set->cache_path[0])
        return TANDEM_OK;
    VK_TRY(context, GetPipelineCacheData, context->api.handle, set->cache, &bytes, NULL);
    data = gpu_alloc(bytes);
    if (!data)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the pipeline cache");
    VK_TRY(context, GetPipelineCacheData, context->api.handle, set->cache, &bytes, data);
    vk_cache_store(set->cache_path, data, bytes);
fail:
    gpu_free(data);
    return status;
}

/* Forgets what was named and not compiled, so that one bad shader does not spoil later programs. What is
 * compiled and not used by a program yet may move: nobody holds its index. */
static void drop_uncompiled(vk_pipeline_set *set) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < set->n; i++)
        if (set->items[i].handle)
            set->items[n++] = set->items[i];
    set->n = n;
}

tandem_status vk_pipelines_build(tandem_context *context, tandem_error *error) {
    vk_pipeline_set *set = context->api.pipelines;
    tandem_status status = TANDEM_OK;
    uint32_t n_new = 0, n_cold = 0;
    for (uint32_t i = 0; i < set->n; i++) {
        n_new += !set->items[i].handle;
        n_cold += !set->items[i].warm;
    }
    if (n_cold == 0)
        return TANDEM_OK;
    if (n_new > 0) {
        build_job job = {.context = context, .results = gpu_alloc(set->n * sizeof(VkResult))};
        if (!job.results)
            return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory to compile %u pipelines",
                                   n_new);
        build_parallel(&job, n_new);
        for (uint32_t i = 0; i < set->n && status == TANDEM_OK; i++)
            if (job.results[i] != VK_SUCCESS)
                status = vk_context_failed(context, error, job.results[i], "vkCreateComputePipelines");
        gpu_free(job.results);
        if (status != TANDEM_OK)
            drop_uncompiled(set);
    }
    if (status == TANDEM_OK)
        status = warm(context, error);
    if (status == TANDEM_OK && n_new > 0)
        status = store_cache(context, error);
    return status;
}

tandem_status vk_pipelines_create(tandem_context *context, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    vk_pipeline_set *set = gpu_alloc(sizeof *set);
    uint64_t bytes = 0;
    void *data = NULL;
    if (!set)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the set of pipelines");
    context->api.pipelines = set;
    vk_cache_path(context, set->cache_path, sizeof set->cache_path);
    data = vk_cache_load(set->cache_path, &bytes);
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                      .initialDataSize = (size_t)bytes,
                                      .pInitialData = data};
    VK_TRY(context, CreatePipelineCache, context->api.handle, &info, NULL, &set->cache);
    VkPushConstantRange range = {
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .offset = 0, .size = VK_PUSH_BYTES};
    VkPipelineLayoutCreateInfo layout = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                         .pushConstantRangeCount = 1,
                                         .pPushConstantRanges = &range};
    VK_TRY(context, CreatePipelineLayout, context->api.handle, &layout, NULL, &context->api.pipeline_layout);
fail:
    gpu_free(data);
    return status;
}

void vk_pipelines_destroy(tandem_context *context) {
    vk_pipeline_set *set = context->api.pipelines;
    if (!set)
        return;
    for (uint32_t i = 0; i < set->n; i++)
        if (set->items[i].handle)
            context->api.vk.DestroyPipeline(context->api.handle, set->items[i].handle, NULL);
    if (set->cache)
        context->api.vk.DestroyPipelineCache(context->api.handle, set->cache, NULL);
    if (context->api.pipeline_layout)
        context->api.vk.DestroyPipelineLayout(context->api.handle, context->api.pipeline_layout, NULL);
    gpu_free(set->items);
    gpu_free(set);
    context->api.pipelines = NULL;
}
