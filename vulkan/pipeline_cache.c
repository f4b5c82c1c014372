/* pipeline_cache.c: keeps the driver's pipeline cache in a file.
 *
 * The file name is a hash of what the contents depend on (device, driver, our shaders), so a stale file is
 * never opened; a header with length and hash keeps torn or foreign contents away from the driver.
 */
#include "pipeline.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CACHE_MAGIC 0x6b6c7474u /* "ttlk" */
#define CACHE_VERSION 1u
#define CACHE_MAX_BYTES (256u << 20)

typedef struct cache_header {
    uint32_t magic;
    uint32_t version;
    uint64_t bytes;
    uint64_t hash;
} cache_header;

/* FNV-1a, 64 bits. */
static uint64_t hash_bytes(uint64_t hash, const void *data, uint64_t bytes) {
    const uint8_t *p = data;
    for (uint64_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

#define HASH_START 0xcbf29ce484222325u

void vk_cache_path(const tandem_context *context, char *path, size_t room) {
    const vk_device *device = &context->device;
    uint64_t hash = HASH_START;
    path[0] = 0;
    if (!vk_the_plugin.cache_dir[0])
        return;
    hash = hash_bytes(hash, device->info.uuid, sizeof device->info.uuid);
    hash = hash_bytes(hash, device->driver_uuid, sizeof device->driver_uuid);
    hash = hash_bytes(hash, device->cache_uuid, sizeof device->cache_uuid);
    for (uint32_t i = 0; i < vk_n_shader; i++)
        hash = hash_bytes(hash, vk_shaders[i].words, vk_shaders[i].n_word * sizeof(uint32_t));
    int n = snprintf(path, room, "%s/vulkan-%016llx.pipelines", vk_the_plugin.cache_dir,
                     (unsigned long long)hash);
    if (n < 0 || (size_t)n >= room)
        path[0] = 0;
}

void *vk_cache_load(const char *path, uint64_t *bytes) {
    cache_header header;
    void *data = NULL;
    FILE *file = path[0] ? fopen(path, "rbe") : NULL;
    if (!file)
        return NULL;
    if (fread(&header, sizeof header, 1, file) != 1 || header.magic != CACHE_MAGIC ||
        header.version != CACHE_VERSION || header.bytes == 0 || header.bytes > CACHE_MAX_BYTES)
        goto fail;
    data = gpu_alloc(header.bytes);
    if (!data || fread(data, (size_t)header.bytes, 1, file) != 1 ||
        hash_bytes(HASH_START, data, header.bytes) != header.hash)
        goto fail;
    fclose(file);
    *bytes = header.bytes;
    return data;
fail:
    fclose(file);
    gpu_free(data);
    gpu_log(TANDEM_LOG_WARNING, "The pipeline cache %s is damaged or of another version; it will be replaced",
            path);
    return NULL;
}

void vk_cache_store(const char *path, const void *data, uint64_t bytes) {
    cache_header header = {CACHE_MAGIC, CACHE_VERSION, bytes, hash_bytes(HASH_START, data, bytes)};
    char temporary[800];
    int n = snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof temporary)
        return;
    FILE *file = fopen(temporary, "wbe");
    int good = file != NULL;
    if (file) {
        good = fwrite(&header, sizeof header, 1, file) == 1 && fwrite(data, (size_t)bytes, 1, file) == 1;
        good = fclose(file) == 0 && good;
    }
    if (good && rename(temporary, path) == 0)
        return;
    gpu_log(TANDEM_LOG_WARNING, "The pipeline cache %s could not be written (%s)", path, strerror(errno));
    if (file)
        unlink(temporary);
}
