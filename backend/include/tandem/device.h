/* tandem/device.h: what the host gives a plugin, and what a plugin says about itself and its devices. */
#ifndef TANDEM_DEVICE_H
#define TANDEM_DEVICE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TANDEM_LOG_ERROR 0u
#define TANDEM_LOG_WARNING 1u
#define TANDEM_LOG_INFO 2u
#define TANDEM_LOG_DEBUG 3u

/* Host services. Must outlive the plugin. A NULL service means the plugin uses its own (malloc, the monotonic clock)
 * or stays silent (log). All services are [any-thread]. */
typedef struct tandem_host {
    uint32_t struct_size;
    uint32_t abi_major;
    uint32_t abi_minor;
    uint32_t n_options;
    void *user; /* passed back to every service */
    void (*log)(void *user, uint32_t level, const char *message);
    void *(*alloc)(void *user, uint64_t bytes, uint64_t alignment);
    void (*free)(void *user, void *pointer);
    uint64_t (*clock_ns)(void *user); /* monotonic */
    const char *const *options;       /* "name=value"; a plugin refuses a name it does not know */
    const char *cache_dir;            /* existing folder for compiled pipelines, UTF-8; NULL: none */
    tandem_error *error;              /* receives the sentence of a refused query; may be NULL */
} tandem_host;

#define TANDEM_PLUGIN_UNLOADABLE 1u /* dlclose is safe once every context is destroyed */

/* Static strings owned by the plugin, valid while it is loaded; never NULL. */
typedef struct tandem_descriptor {
    uint32_t struct_size;
    uint32_t flags; /* TANDEM_PLUGIN_* */
    const char *name;      /* "reference", "vulkan", "cuda" */
    const char *version;   /* of the plugin */
    const char *git;       /* commit it was built from, or "unknown" */
    const char *toolchain; /* compiler and version */
    const char *targets;   /* GPU targets or API level compiled for */
    const char *shaders;   /* shader compiler, and abilities that it lacked at build time */
    const char *needs;     /* driver and library needed at run time */
} tandem_descriptor;

#define TANDEM_DEVICE_GPU 0u
#define TANDEM_DEVICE_INTEGRATED 1u
#define TANDEM_DEVICE_SOFTWARE 2u  /* every number from it is labelled */
#define TANDEM_DEVICE_SIMULATED 3u /* never yields a throughput */

/* Ways to multiply matrices that device, driver and build offer together (a set). */
#define TANDEM_MATRIX_FMA 1u
#define TANDEM_MATRIX_DOT 2u     /* packed 8-bit dot products */
#define TANDEM_MATRIX_COOPMAT 4u /* cooperative matrices */
#define TANDEM_MATRIX_MMA 8u     /* tensor core instructions */

typedef struct tandem_device_info {
    uint32_t struct_size;
    uint32_t kind;           /* TANDEM_DEVICE_* */
    uint32_t matrix_paths;   /* TANDEM_MATRIX_* that the hardware and driver offer */
    uint32_t matrix_used;    /* TANDEM_MATRIX_* that this plugin has kernels for */
    uint32_t vendor_id;      /* PCI ids; 0: none */
    uint32_t device_id;
    uint32_t pci_domain;     /* TANDEM_NONE: unknown */
    uint32_t pci_bus;
    uint32_t pci_device;
    uint32_t pci_function;
    uint32_t subgroup_size;  /* lanes that run together; 1 for a CPU plugin */
    uint32_t n_units;        /* SMs, compute units or threads; 0: unknown */
    uint8_t uuid[16];        /* equal under every API for one card */
    uint64_t memory_total;   /* bytes; software devices: of the operating system */
    uint64_t memory_free;
    uint64_t max_allocation; /* bytes in one allocation */
    char name[256];
    char driver[256];
    char abilities[512]; /* what the plugin found, for people */
} tandem_device_info;

#ifdef __cplusplus
}
#endif
#endif
