/* proxy.c: the exported symbol, the options, the wrapped plugin and what is said about the device. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tandem/message.h>
#include <tandem/negotiate.h>

#include "proxy.h"

proxy_options proxy;
tandem_backend proxy_inner;

static tandem_descriptor descriptor;
static void *wrapped; /* the library */

int proxy_names(const char *label) {
    const char *dot = label && !strncmp(label, "blk.", 4) ? strchr(label + 4, '.') : NULL;
    if (!label || !proxy.op[0])
        return 0;
    return !strcmp(proxy.op, "*") || !strcmp(proxy.op, dot ? dot + 1 : label);
}

/* ---- options ---- */

static tandem_status take_option(const char *option, tandem_error *error) {
    const char *name = option, *dot = strchr(option, '.'), *equals = strchr(option, '=');
    if (dot && equals && dot < equals)
        name = dot + 1;
    const char *value = strchr(name, '=');
    const size_t n = value ? (size_t)(value++ - name) : 0;
#define IS(text) (value && n == strlen(text) && !strncmp(name, text, n))
    if (IS("wrap"))
        snprintf(proxy.wrap, sizeof proxy.wrap, "%s", value);
    else if (IS("op"))
        snprintf(proxy.op, sizeof proxy.op, "%s", value);
    else if (IS("driver"))
        snprintf(proxy.driver, sizeof proxy.driver, "%s", value);
    else if (IS("depth"))
        proxy.depth = (uint32_t)strtoul(value, NULL, 10);
    else if (IS("head"))
        proxy.head = (uint32_t)strtoul(value, NULL, 10);
    else if (IS("kv"))
        proxy.kv = (uint32_t)strtoul(value, NULL, 10);
    else if (IS("most"))
        proxy.most = (uint32_t)strtoul(value, NULL, 10);
    else if (IS("whole"))
        proxy.whole = !strcmp(value, "1");
    else if (IS("window"))
        proxy.window = (uint32_t)strtoul(value, NULL, 10);
    else if (IS("layer"))
        proxy.layer = (uint32_t)strtoul(value, NULL, 10);
    else if (IS("rows"))
        proxy.rows = (uint32_t)strtoul(value, NULL, 10);
    else if (IS("runs"))
        proxy.runs = strtoull(value, NULL, 10);
    else if (IS("ns"))
        proxy.ns = strtoull(value, NULL, 10);
    else if (IS("base"))
        proxy.base = strtoull(value, NULL, 10);
    else if (IS("seed"))
        proxy.seed = strtoull(value, NULL, 10);
    else if (IS("factor"))
        proxy.factor = strtod(value, NULL);
    else if (IS("noise"))
        proxy.noise = strtod(value, NULL);
    else if (IS("slot"))
        snprintf(proxy.slot, sizeof proxy.slot, "%s", value);
    else if (IS("does"))
        snprintf(proxy.action, sizeof proxy.action, "%s", value);
    else if (IS("after"))
        proxy.after = strtoull(value, NULL, 10);
    else if (IS("status"))
        proxy.status = strtoll(value, NULL, 10);
    else if (IS("disguise"))
        proxy.disguise = !strcmp(value, "1");
    else
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "the plugin %s has no option '%.100s'",
                               PROXY_NAME, option);
#undef IS
    return TANDEM_OK;
}

static tandem_status take_options(const tandem_host *host) {
    proxy = (proxy_options){.ns = 100000, .base = 10000, .factor = 1, .kv = TANDEM_NONE, .most = TANDEM_NONE};
    for (uint32_t i = 0; i < host->n_options; i++) {
        tandem_status status = take_option(host->options[i], host->error);
        if (status != TANDEM_OK)
            return status;
    }
    if (!proxy.wrap[0])
        return tandem_kit_fail(host->error, TANDEM_E_INVALID, "the plugin %s needs wrap=PATH", PROXY_NAME);
    return TANDEM_OK;
}

/* ---- the wrapped plugin ---- */

/* Opens a copy of the file: the file itself may be open in this process, and a library is queried once. */
static void *open_copy(const char *path) {
    struct stat info;
    char copy[64];
    void *library = NULL;
    int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("wrapped", MFD_CLOEXEC);
    if (from >= 0 && to >= 0 && fstat(from, &info) == 0) {
        off_t at = 0;
        while (at < info.st_size && sendfile(to, from, &at, (size_t)(info.st_size - at)) > 0)
            ;
        snprintf(copy, sizeof copy, "/proc/self/fd/%d", to);
        if (at == info.st_size)
            library = dlopen(copy, RTLD_NOW | RTLD_LOCAL);
    }
    if (from >= 0)
        close(from);
    if (to >= 0)
        close(to);
    return library;
}

static tandem_status open_inner(const tandem_host *host) {
    static tandem_host own;
    wrapped = open_copy(proxy.wrap);
    void *symbol = wrapped ? dlsym(wrapped, TANDEM_QUERY_SYMBOL) : NULL;
    tandem_backend_query_fn query;
    if (!symbol)
        return tandem_kit_fail(host->error, TANDEM_E_NO_DEVICE, "the plugin %s cannot wrap %.200s",
                               PROXY_NAME, proxy.wrap);
    memcpy(&query, &symbol, sizeof query);
    own = *host;
    own.n_options = 0;
    own.options = NULL;
    proxy_inner = (tandem_backend){.struct_size = sizeof proxy_inner};
    return query(&own, &proxy_inner);
}

/* Goes with this library, if it may. */
__attribute__((destructor)) static void close_inner(void) {
    if (proxy_hostile("unload"))
        return;
    if (wrapped && proxy_inner.descriptor && (proxy_inner.descriptor->flags & TANDEM_PLUGIN_UNLOADABLE))
        dlclose(wrapped);
}

/* ---- the device ---- */

static tandem_status device_info(uint32_t device, tandem_device_info *info, tandem_error *error) {
    tandem_status status = proxy_inner.device_info(device, info, error);
    if (status != TANDEM_OK)
        return status;
    if (PROXY_MODE == PROXY_FALLBACK) {
        info->kind = TANDEM_DEVICE_GPU;
        info->matrix_paths = info->matrix_used = TANDEM_MATRIX_FMA | TANDEM_MATRIX_MMA;
        snprintf(info->name, sizeof info->name, "GPU in name only");
    }
    if (PROXY_MODE == PROXY_SIMULATED)
        info->kind = TANDEM_DEVICE_SIMULATED;
    if (PROXY_MODE == PROXY_MATRIX)
        info->matrix_paths |= TANDEM_MATRIX_COOPMAT;
    if (PROXY_MODE == PROXY_DRIVER)
        snprintf(info->driver, sizeof info->driver, "%s", proxy.driver);
    return TANDEM_OK;
}

/* ---- the query ---- */

TANDEM_EXPORT tandem_status tandem_backend_query(const tandem_host *host, tandem_backend *backend) {
    tandem_host h;
    if (!backend || backend->struct_size < sizeof *backend)
        return TANDEM_E_INVALID;
    backend->abi_major = TANDEM_ABI_MAJOR;
    backend->abi_minor = TANDEM_ABI_MINOR;
    tandem_status status = tandem_kit_check_host(host, &h);
    if (status == TANDEM_OK)
        status = take_options(&h);
    if (status == TANDEM_OK)
        status = open_inner(&h);
    if (status != TANDEM_OK)
        return status;
    descriptor = *proxy_inner.descriptor;
    descriptor.name = PROXY_NAME;
    *backend = proxy_inner;
    backend->descriptor = &descriptor;
    if (PROXY_MODE == PROXY_HOSTILE) {
        proxy_make_hostile(backend, &descriptor);
        if (proxy_hostile("query"))
            return (tandem_status)proxy.status;
        return TANDEM_OK;
    }
    backend->device_info = device_info;
    backend->supports = proxy_supports;
    backend->kv_create = proxy_kv_create;
    backend->kv_layer = proxy_kv_layer;
    backend->program_create = proxy_program_create;
    backend->program_destroy = proxy_program_destroy;
    backend->program_step_count = proxy_program_step_count;
    backend->program_step = proxy_program_step;
    backend->program_cost = proxy_program_cost;
    backend->run = proxy_start;
    backend->wait = proxy_wait;
    backend->times = proxy_times;
    backend->step_times = proxy_step_times;
    return TANDEM_OK;
}
