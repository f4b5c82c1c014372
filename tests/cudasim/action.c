/* What streams and graphs do: kernels, copies, fills, callbacks. */
#include "driver.h"

#include <stdlib.h>
#include <string.h>

/* The device goes while it works: found out by whoever waits. */
static CUresult lose(const char *name) {
    bool lost = false;
    const CUresult code = (CUresult)fail_check(name, &lost);
    if (!code)
        return CUDA_SUCCESS;
    if (lost)
        api_lose_device(code);
    message("%s: failure %d was asked for", name, (int)code);
    return code;
}

/* Cooperative groups keep the word of their barrier at offset 4. */
enum { WORKSPACE_BYTES = 64 };

static CUresult run_kernel(struct context *context, struct action *a) {
    struct function *f = a->kernel.function;
    struct kernel *k = f->kernel;
    const CUresult injected = lose("launch");
    if (injected)
        return injected;
    if (f->module->unloaded)
        return REFUSE(CUDA_ERROR_ILLEGAL_ADDRESS, "%s: its module was unloaded before it ran", k->name);
    const uint32_t threads = a->kernel.threads[0] * a->kernel.threads[1] * a->kernel.threads[2];
    struct launch l = {
        .kernel = k,
        .params = a->kernel.params,
        .dynamic_bytes = a->kernel.dynamic_bytes,
        .shared_bytes = k->static_shared + a->kernel.dynamic_bytes,
        .id = ++next_object_id,
        .clock = simulated_ns,
        .adversarial = options.seed != 0,
        .resident_limit = occupancy(k, threads, a->kernel.dynamic_bytes) * options.sms,
    };
    l.random.state = (options.seed ^ (l.id * 0x9e3779b97f4a7c15ull)) | 1;
    memcpy(l.grid, a->kernel.grid, sizeof l.grid);
    memcpy(l.threads, a->kernel.threads, sizeof l.threads);
    struct allocation *workspace = NULL;
    if (a->kernel.cooperative && k->wants_workspace) {
        workspace = memory_add(MEMORY_DEVICE, WORKSPACE_BYTES, NULL, context);
        if (!workspace)
            return REFUSE(CUDA_ERROR_OUT_OF_MEMORY, "%s: no memory for the barrier of its grid", k->name);
        memset(workspace->host, 0, WORKSPACE_BYTES);
        memory_mark(workspace, 0, WORKSPACE_BYTES);
        l.workspace = workspace->base;
    }
    launch_run(&l);
    if (workspace)
        memory_remove(workspace);
    simulated_ns += 1000 + l.executed;
    counters_launch(&l);
    return l.failed ? (CUresult)l.error : CUDA_SUCCESS;
}

/* ---- copies ---- */

static CUresult check_device(uint64_t address, uint64_t bytes, const char *what, struct allocation **a) {
    char why[256];
    *a = memory_find(address);
    if (*a && (*a)->base + (*a)->bytes - address >= bytes)
        return CUDA_SUCCESS;
    memory_explain(address, bytes, why, sizeof why);
    return REFUSE(CUDA_ERROR_ILLEGAL_ADDRESS, "a %s of %llu bytes: %s", what, (unsigned long long)bytes, why);
}

static CUresult run_copy(struct action *a) {
    struct allocation *to = NULL, *from = NULL;
    CUresult r = CUDA_SUCCESS;
    if (!a->copy.to_host)
        r = check_device(a->copy.to, a->copy.bytes, "copy to memory", &to);
    if (!r && !a->copy.from_host)
        r = check_device(a->copy.from, a->copy.bytes, "copy from memory", &from);
    if (r)
        return r;
    const uint64_t to_offset = to ? a->copy.to - to->base : 0,
                   from_offset = from ? a->copy.from - from->base : 0;
    void *host_to = (void *)(uintptr_t)a->copy.to;
    const void *host_from = a->copy.snapshot ? a->copy.snapshot : (const void *)(uintptr_t)a->copy.from;
    simulated_ns += 1000 + a->copy.bytes / 16;
    if (to && from) {
        memory_copy(to, to_offset, from, from_offset, a->copy.bytes);
        copy_stats.on_device += a->copy.bytes;
    } else if (to) {
        memcpy(to->host + to_offset, host_from, a->copy.bytes);
        memory_mark(to, to_offset, a->copy.bytes);
        copy_stats.to_device += a->copy.bytes;
        copy_stats.calls_to_device++;
    } else if (from) {
        memory_read(from, from_offset, host_to, a->copy.bytes);
        copy_stats.to_host += a->copy.bytes;
        copy_stats.calls_to_host++;
    } else {
        memmove(host_to, host_from, a->copy.bytes);
    }
    return CUDA_SUCCESS;
}

static CUresult run_set(struct action *a) {
    struct allocation *to;
    const uint64_t row = a->set.count * a->set.element;
    simulated_ns += 1000 + row * a->set.height / 16;
    for (uint64_t line = 0; line < a->set.height; line++) {
        const CUresult r = check_device(a->set.to + line * a->set.pitch, row, "fill of memory", &to);
        if (r)
            return r;
        const uint64_t offset = a->set.to + line * a->set.pitch - to->base;
        for (uint64_t i = 0; i < a->set.count; i++)
            memcpy(to->host + offset + i * a->set.element, &a->set.value, a->set.element);
        memory_mark(to, offset, row);
    }
    return CUDA_SUCCESS;
}

CUresult action_run(struct context *context, struct action *a) {
    struct allocation *memory;
    switch (a->kind) {
    case ACTION_KERNEL:
        return run_kernel(context, a);
    case ACTION_COPY:
        return run_copy(a);
    case ACTION_SET:
        return run_set(a);
    case ACTION_HOST:
        api_callback(a->host, a->user);
        return CUDA_SUCCESS;
    case ACTION_RECORD:
        a->event->time = simulated_ns;
        return CUDA_SUCCESS;
    case ACTION_FREE:
        memory = memory_find(a->address);
        if (!memory || memory->base != a->address)
            return REFUSE(CUDA_ERROR_ILLEGAL_ADDRESS, "memory at 0x%llx was freed twice",
                          (unsigned long long)a->address);
        memory_remove(memory);
        return CUDA_SUCCESS;
    case ACTION_GRAPH:
        graph_launches++;
        return image_run(context, a->graph);
    default:
        return CUDA_SUCCESS;
    }
}

/* Copies what the action owns; events and modules get a user more. */
CUresult action_clone(struct action *to, const struct action *from) {
    *to = *from;
    if (from->kind == ACTION_KERNEL) {
        const uint32_t bytes = from->kernel.function->kernel->param_bytes;
        to->kernel.params = malloc(bytes + 1u);
        if (!to->kernel.params)
            return CUDA_ERROR_OUT_OF_MEMORY;
        memcpy(to->kernel.params, from->kernel.params, bytes);
        from->kernel.function->module->users++;
    } else if (from->kind == ACTION_COPY && from->copy.snapshot) {
        to->copy.snapshot = malloc(from->copy.bytes + 1);
        if (!to->copy.snapshot)
            return CUDA_ERROR_OUT_OF_MEMORY;
        memcpy(to->copy.snapshot, from->copy.snapshot, from->copy.bytes);
    } else if (from->kind == ACTION_RECORD || from->kind == ACTION_WAIT) {
        from->event->users++;
    } else if (from->kind == ACTION_GRAPH) {
        to->graph = image_clone(from->graph);
        if (!to->graph)
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

void action_clear(struct action *a) {
    switch (a->kind) {
    case ACTION_KERNEL:
        free(a->kernel.params);
        module_release(a->kernel.function->module);
        break;
    case ACTION_COPY:
        free(a->copy.snapshot);
        break;
    case ACTION_RECORD:
    case ACTION_WAIT:
        event_release(a->event);
        break;
    case ACTION_GRAPH:
        image_free(a->graph);
        break;
    default:
        break;
    }
    memset(a, 0, sizeof *a);
}
