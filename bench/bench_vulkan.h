/* bench_vulkan.h: the least of Vulkan that a bench of single shaders needs: one device, buffers, pipelines
 * from .spv files, one timed dispatch at a time. Any failure prints a sentence and ends the program with
 * status 3. */
#ifndef TANDEM_BENCH_VULKAN_H
#define TANDEM_BENCH_VULKAN_H

#include <stddef.h>
#include <stdint.h>

#include <vulkan/vulkan.h>

typedef struct bench_device {
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice handle;
    VkQueue queue;
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkQueryPool queries;
    VkPhysicalDeviceMemoryProperties memory;
    char name[256];
    uint32_t subgroup_size;
    uint32_t software; /* 1: a CPU poses as the device */
    uint32_t int64;
    uint32_t integer_dot;
    float tick_ns;
} bench_device;

/* Address and size of device memory, and a host view of it if there is one. */
typedef struct bench_buffer {
    VkBuffer handle;
    VkDeviceMemory memory;
    uint64_t address;
    uint64_t bytes;
    void *host;
} bench_buffer;

typedef struct bench_pipeline {
    VkPipeline handle;
    VkPipelineLayout layout;
    uint32_t push_bytes;
} bench_pipeline;

/* How a dispatch is timed: device timestamps, or CPU time of this process (software devices on a busy
 * machine). */
#define BENCH_DEVICE_TIME 0
#define BENCH_CPU_TIME 1

void bench_die(const char *what, int code);

void bench_device_open(bench_device *device, uint32_t index);
void bench_device_close(bench_device *device);

bench_buffer bench_buffer_create(const bench_device *device, uint64_t bytes);
void bench_buffer_destroy(const bench_device *device, bench_buffer *buffer);
void bench_upload(const bench_device *device, const bench_buffer *buffer, const void *from, uint64_t bytes);
void bench_download(const bench_device *device, const bench_buffer *buffer, void *to, uint64_t bytes);

bench_pipeline bench_pipeline_create(const bench_device *device, const char *spv_path, uint32_t push_bytes,
                                     const uint32_t *spec, uint32_t n_spec);
void bench_pipeline_destroy(const bench_device *device, bench_pipeline *pipeline);

/* A dispatch of a submit. */
typedef struct bench_launch {
    const bench_pipeline *pipeline;
    const void *push;
    uint32_t x, y;
    uint32_t waits; /* 1: for all dispatches before */
} bench_launch;

/* Runs a submit of n dispatches to its end; seconds. */
double bench_run_all(const bench_device *device, const bench_launch *launches, uint32_t n, int clock);

/* The same of one. */
double bench_run(const bench_device *device, const bench_pipeline *pipeline, const void *push, uint32_t x,
                 uint32_t y, int clock);

#endif
