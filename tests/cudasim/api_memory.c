/* Memory: allocating, pinning, copying, filling.
 *
 * cuMemFree and its like do not wait: memory goes at once, and work that still wants it is reported when it
 * runs.
 */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- device memory ---- */

static CUresult out_of_memory(uint64_t bytes) {
    return REFUSE(CUDA_ERROR_OUT_OF_MEMORY, "%llu bytes were asked for, and %llu of %llu are in use",
                  (unsigned long long)bytes, (unsigned long long)memory_used(),
                  (unsigned long long)options.memory_bytes);
}

static CUresult allocate(struct context *c, CUdeviceptr *out, size_t bytes) {
    if (!out || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    const CUresult r = capture_forbids_unsafe(c);
    if (r)
        return r;
    struct allocation *a = memory_add(MEMORY_DEVICE, bytes, NULL, c);
    if (!a)
        return out_of_memory(bytes);
    *out = a->base;
    return CUDA_SUCCESS;
}
static struct allocation *device_allocation(CUdeviceptr address) {
    struct allocation *a = memory_find(address);
    return a && a->base == address && a->kind == MEMORY_DEVICE ? a : NULL;
}
/* Freed twice, inside an allocation, of another kind, or none at all. */
static CUresult not_ours(const char *call, CUdeviceptr address) {
    const struct allocation *a = memory_find(address);
    char why[256];
    if (!a)
        memory_explain(address, 1, why, sizeof why);
    else if (a->base != address)
        snprintf(why, sizeof why, "it lies %llu bytes inside allocation %llu",
                 (unsigned long long)(address - a->base), (unsigned long long)a->id);
    else
        snprintf(why, sizeof why, "it is %s",
                 a->kind == MEMORY_VARIABLE ? "a variable of a module" : "memory of the host");
    return REFUSE(CUDA_ERROR_INVALID_VALUE, "%s: 0x%llx does not begin what cuMemAlloc gave: %s", call,
                  (unsigned long long)address, why);
}
static CUresult release(struct context *c, CUdeviceptr address) {
    if (!address)
        return CUDA_SUCCESS;
    struct allocation *a = device_allocation(address);
    CUresult r = a ? CUDA_SUCCESS : not_ours("cuMemFree", address);
    if (!r)
        r = capture_forbids_unsafe(c);
    if (!r)
        memory_remove(a);
    return r;
}

static CUresult allocate_async(struct context *c, CUdeviceptr *out, size_t bytes, CUstream handle) {
    struct stream *s = stream_find(c, handle);
    if (!s || !out || !bytes)
        return s ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    if (s->capture)
        return REFUSE(CUDA_ERROR_NOT_SUPPORTED, "memory nodes of graphs are not simulated");
    struct allocation *a = memory_add(MEMORY_DEVICE, bytes, NULL, c);
    if (!a)
        return out_of_memory(bytes);
    *out = a->base;
    return CUDA_SUCCESS;
}
static CUresult release_async(struct context *c, CUdeviceptr address, CUstream handle) {
    struct stream *s = stream_find(c, handle);
    if (!s || !device_allocation(address))
        return s ? not_ours("cuMemFreeAsync", address) : CUDA_ERROR_INVALID_HANDLE;
    if (s->capture)
        return REFUSE(CUDA_ERROR_NOT_SUPPORTED, "memory nodes of graphs are not simulated");
    struct action a = {.kind = ACTION_FREE, .address = address};
    return stream_add(s, &a, NULL);
}

static CUresult get_info(size_t *available, size_t *total) {
    if (available)
        *available = options.memory_bytes - memory_used();
    if (total)
        *total = options.memory_bytes;
    return available || total ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
static CUresult get_range(CUdeviceptr *base, size_t *bytes, CUdeviceptr address) {
    const struct allocation *a = memory_find(address);
    if (!a) {
        char why[256];
        memory_explain(address, 1, why, sizeof why);
        return REFUSE(CUDA_ERROR_NOT_FOUND, "cuMemGetAddressRange: %s", why);
    }
    if (base)
        *base = a->base;
    if (bytes)
        *bytes = a->bytes;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
    API("cuMemAlloc", NEEDS_CONTEXT, allocate(c, address, bytes));
}
CUresult cuMemFree_v2(CUdeviceptr address) {
    API("cuMemFree", NEEDS_CONTEXT, release(c, address));
}
CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream) {
    API("cuMemAllocAsync", NEEDS_CONTEXT, allocate_async(c, address, bytes, stream));
}
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    API("cuMemFreeAsync", NEEDS_CONTEXT, release_async(c, address, stream));
}
CUresult cuMemGetInfo_v2(size_t *available, size_t *total) {
    API("cuMemGetInfo", NEEDS_CONTEXT, get_info(available, total));
}
CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address) {
    API("cuMemGetAddressRange", NEEDS_CONTEXT, get_range(base, bytes, address));
}

/* ---- pinned host memory ---- */

static CUresult pin(struct context *c, void **out, size_t bytes, unsigned flags) {
    const unsigned known =
        CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
    if (!out || !bytes || flags & ~known)
        return CUDA_ERROR_INVALID_VALUE;
    const CUresult r = capture_forbids_unsafe(c);
    if (r)
        return r;
    struct allocation *a = memory_add(MEMORY_PINNED, bytes, NULL, c);
    if (!a)
        return CUDA_ERROR_OUT_OF_MEMORY;
    a->flags = flags | CU_MEMHOSTALLOC_DEVICEMAP;
    *out = a->host;
    return CUDA_SUCCESS;
}
static CUresult unpin(void *host) {
    if (!host)
        return CUDA_SUCCESS;
    struct allocation *a = memory_find_host(host);
    if (!a || a->host != host || a->kind != MEMORY_PINNED)
        return CUDA_ERROR_INVALID_VALUE;
    memory_remove(a);
    return CUDA_SUCCESS;
}

/* Registered memory gets a device address of its own, as the API allows: one that is not asked for is found
 * out. */
static CUresult enrol(struct context *c, void *host, size_t bytes, unsigned flags) {
    const unsigned known =
        CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_READ_ONLY;
    if (!host || !bytes || flags & ~known)
        return CUDA_ERROR_INVALID_VALUE;
    if (memory_find_host(host) || memory_find_host((uint8_t *)host + bytes - 1))
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    struct allocation *a = memory_add(MEMORY_REGISTERED, bytes, host, c);
    if (!a)
        return CUDA_ERROR_OUT_OF_MEMORY;
    a->flags = flags;
    a->read_only = (flags & CU_MEMHOSTREGISTER_READ_ONLY) != 0;
    return CUDA_SUCCESS;
}
static CUresult dismiss(void *host) {
    struct allocation *a = host ? memory_find_host(host) : NULL;
    if (!a || a->host != host || a->kind != MEMORY_REGISTERED)
        return host ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED : CUDA_ERROR_INVALID_VALUE;
    memory_remove(a);
    return CUDA_SUCCESS;
}
static CUresult device_pointer(CUdeviceptr *out, void *host, unsigned flags) {
    const struct allocation *a = host ? memory_find_host(host) : NULL;
    if (!out || !a || flags)
        return CUDA_ERROR_INVALID_VALUE;
    *out = a->base + (uint64_t)((const uint8_t *)host - a->host);
    return CUDA_SUCCESS;
}
static CUresult host_flags(unsigned *flags, void *host) {
    const struct allocation *a = host ? memory_find_host(host) : NULL;
    if (!flags || !a || a->kind != MEMORY_PINNED)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = a->flags;
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void **host, size_t bytes, unsigned flags) {
    API("cuMemHostAlloc", NEEDS_CONTEXT, pin(c, host, bytes, flags));
}
CUresult cuMemAllocHost_v2(void **host, size_t bytes) {
    API("cuMemAllocHost", NEEDS_CONTEXT, pin(c, host, bytes, 0));
}
CUresult cuMemFreeHost(void *host) {
    API("cuMemFreeHost", NEEDS_CONTEXT, unpin(host));
}
CUresult cuMemHostRegister_v2(void *host, size_t bytes, unsigned flags) {
    API("cuMemHostRegister", NEEDS_CONTEXT, enrol(c, host, bytes, flags));
}
CUresult cuMemHostUnregister(void *host) {
    API("cuMemHostUnregister", NEEDS_CONTEXT, dismiss(host));
}
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *host, unsigned flags) {
    API("cuMemHostGetDevicePointer", NEEDS_CONTEXT, device_pointer(address, host, flags));
}
CUresult cuMemHostGetFlags(unsigned *flags, void *host) {
    API("cuMemHostGetFlags", NEEDS_CONTEXT, host_flags(flags, host));
}

/* ---- copies ---- */

static bool reachable(uint64_t address, uint64_t bytes) {
    const struct allocation *a = memory_find(address);
    return a && a->base + a->bytes - address >= bytes;
}

static void *addressable(uint64_t address) {
    return (void *)(uintptr_t)address;
}

/* Pinned host memory is named by its device address, so that the copy notices when it is freed before it
 * runs. */
static void normalise(uint64_t *address, bool *on_host) {
    const struct allocation *a = *on_host ? memory_find_host(addressable(*address)) : NULL;
    if (!a)
        return;
    *address = a->base + (*address - (uint64_t)(uintptr_t)a->host);
    *on_host = false;
}

static struct action copy_of(uint64_t to, bool to_host, uint64_t from, bool from_host, size_t bytes) {
    struct action a = {
        .kind = ACTION_COPY,
        .copy = {.to = to, .from = from, .to_host = to_host, .from_host = from_host, .bytes = bytes}};
    normalise(&a.copy.to, &a.copy.to_host);
    normalise(&a.copy.from, &a.copy.from_host);
    return a;
}

/* One end of a copy or a fill, which `what` names. */
static CUresult check_end(const char *what, uint64_t address, bool on_host, uint64_t bytes) {
    char why[256];
    if (on_host ? address != 0 : reachable(address, bytes))
        return CUDA_SUCCESS;
    if (on_host)
        return REFUSE(CUDA_ERROR_INVALID_VALUE, "%llu bytes are to be %s NULL", (unsigned long long)bytes,
                      what);
    memory_explain(address, bytes, why, sizeof why);
    return REFUSE(CUDA_ERROR_INVALID_VALUE, "%llu bytes are to be %s 0x%llx, but %s",
                  (unsigned long long)bytes, what, (unsigned long long)address, why);
}

static CUresult check_copy(const struct action *a) {
    const CUresult r = check_end("copied to", a->copy.to, a->copy.to_host, a->copy.bytes);
    return r ? r : check_end("copied from", a->copy.from, a->copy.from_host, a->copy.bytes);
}

/* Waits for the default stream, and through it for all that are not non-blocking; no more than that. */
static CUresult copy_now(struct context *c, uint64_t to, bool to_host, uint64_t from, bool from_host,
                         size_t bytes) {
    struct work *w;
    struct action a = copy_of(to, to_host, from, from_host, bytes);
    CUresult r = capture_forbids_unsafe(c);
    if (!r)
        r = bytes ? check_copy(&a) : CUDA_SUCCESS;
    if (r || !bytes)
        return r;
    r = stream_add(c->null_stream, &a, &w);
    return r ? r : work_finish(c, w);
}

/* Pageable memory: what is read is read at the call; what is written is complete when the call returns. */
static CUresult copy_later(struct context *c, uint64_t to, bool to_host, uint64_t from, bool from_host,
                           size_t bytes, CUstream handle) {
    struct stream *s = stream_find(c, handle);
    struct work *w;
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!bytes)
        return CUDA_SUCCESS;
    struct action a = copy_of(to, to_host, from, from_host, bytes);
    CUresult r = check_copy(&a);
    if (!r && s->capture && (a.copy.to_host || a.copy.from_host))
        r = REFUSE(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a copy of pageable memory cannot be captured");
    if (r)
        return r;
    if (a.copy.from_host) {
        a.copy.snapshot = malloc(bytes);
        if (!a.copy.snapshot)
            return CUDA_ERROR_OUT_OF_MEMORY;
        memcpy(a.copy.snapshot, addressable(from), bytes);
    }
    const bool wait = a.copy.to_host;
    r = stream_add(s, &a, &w);
    return r || !wait ? r : work_finish(c, w);
}

/* An address of the unified space: pageable host memory is not part of it. */
static bool is_host(CUdeviceptr address) {
    return memory_find(address) == NULL && memory_find_host(addressable(address)) == NULL;
}

#define HOST(pointer) ((uint64_t)(uintptr_t)(pointer))
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t bytes) {
    API("cuMemcpyHtoD", NEEDS_CONTEXT, copy_now(c, to, false, HOST(from), true, bytes));
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    API("cuMemcpyDtoH", NEEDS_CONTEXT, copy_now(c, HOST(to), true, from, false, bytes));
}
CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    API("cuMemcpyDtoD", NEEDS_CONTEXT, copy_now(c, to, false, from, false, bytes));
}
CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    API("cuMemcpy", NEEDS_CONTEXT, copy_now(c, to, is_host(to), from, is_host(from), bytes));
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream stream) {
    API("cuMemcpyHtoDAsync", NEEDS_CONTEXT, copy_later(c, to, false, HOST(from), true, bytes, stream));
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream stream) {
    API("cuMemcpyDtoHAsync", NEEDS_CONTEXT, copy_later(c, HOST(to), true, from, false, bytes, stream));
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    API("cuMemcpyDtoDAsync", NEEDS_CONTEXT, copy_later(c, to, false, from, false, bytes, stream));
}
CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    API("cuMemcpyAsync", NEEDS_CONTEXT, copy_later(c, to, is_host(to), from, is_host(from), bytes, stream));
}

/* ---- fills ---- */

static CUresult fill(struct context *c, CUdeviceptr to, uint32_t value, uint32_t element, size_t n,
                     CUstream handle, bool wait) {
    struct stream *s = wait ? c->null_stream : stream_find(c, handle);
    struct work *w;
    if (!s)
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult r = wait ? capture_forbids_unsafe(c) : CUDA_SUCCESS;
    if (r || !n)
        return r;
    if (to % element || n > SIZE_MAX / element)
        return REFUSE(CUDA_ERROR_INVALID_VALUE, "%zu elements of %u bytes at 0x%llx: %s", n, element,
                      (unsigned long long)to, to % element ? "misaligned" : "more than there can be");
    r = check_end("filled at", to, false, n * element);
    if (r)
        return r;
    struct action a = {.kind = ACTION_SET,
                       .set = {.to = to, .count = n, .value = value, .element = element, .height = 1}};
    r = stream_add(s, &a, &w);
    return r || !wait ? r : work_finish(c, w);
}

CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t n) {
    API("cuMemsetD8", NEEDS_CONTEXT, fill(c, to, value, 1, n, NULL, true));
}
CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t n) {
    API("cuMemsetD16", NEEDS_CONTEXT, fill(c, to, value, 2, n, NULL, true));
}
CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t n) {
    API("cuMemsetD32", NEEDS_CONTEXT, fill(c, to, value, 4, n, NULL, true));
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t n, CUstream stream) {
    API("cuMemsetD8Async", NEEDS_CONTEXT, fill(c, to, value, 1, n, stream, false));
}
CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t n, CUstream stream) {
    API("cuMemsetD16Async", NEEDS_CONTEXT, fill(c, to, value, 2, n, stream, false));
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t n, CUstream stream) {
    API("cuMemsetD32Async", NEEDS_CONTEXT, fill(c, to, value, 4, n, stream, false));
}

/* ---- questions about pointers ---- */

static CUresult pointer_attribute(void *out, CUpointer_attribute which, CUdeviceptr address) {
    const struct allocation *a = memory_find(address);
    if (!a)
        a = memory_find_host(addressable(address));
    if (!out || !a)
        return CUDA_ERROR_INVALID_VALUE;
    const bool pinned = a->kind == MEMORY_PINNED || a->kind == MEMORY_REGISTERED;
    switch (which) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *(CUcontext *)out = (CUcontext)a->owner;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)out = pinned ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *(CUdeviceptr *)out = memory_find(address) ? address : a->base + (address - HOST(a->host));
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (!pinned)
            return CUDA_ERROR_INVALID_VALUE;
        *(void **)out = memory_find(address) ? a->host + (address - a->base) : addressable(address);
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned char *)out = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)out = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(CUdeviceptr *)out = a->base;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *(size_t *)out = a->bytes;
        return CUDA_SUCCESS;
    default:
        return REFUSE(CUDA_ERROR_NOT_SUPPORTED, "pointer attribute %d is not simulated", (int)which);
    }
}
CUresult cuPointerGetAttribute(void *out, CUpointer_attribute which, CUdeviceptr address) {
    API("cuPointerGetAttribute", NEEDS_CONTEXT, pointer_attribute(out, which, address));
}
