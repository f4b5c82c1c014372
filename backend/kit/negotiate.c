/* negotiate.c: whether host and plugin fit (contract: tandem/negotiate.h). */
#include <string.h>

#include <tandem/growth.h>
#include <tandem/message.h>
#include <tandem/negotiate.h>

int tandem_kit_versions_fit(uint32_t plugin_major, uint32_t plugin_minor, uint32_t host_major,
                            uint32_t host_minor) {
    return plugin_major == host_major && (plugin_major != 0 || plugin_minor == host_minor);
}

static tandem_status check_versions(uint32_t plugin_major, uint32_t plugin_minor, uint32_t host_major,
                                    uint32_t host_minor, tandem_error *error) {
    if (tandem_kit_versions_fit(plugin_major, plugin_minor, host_major, host_minor))
        return TANDEM_OK;
    if (plugin_major != host_major)
        return tandem_kit_fail(
            error, TANDEM_E_VERSION,
            "the plugin is built for ABI %u.%u and the host for ABI %u.%u, and major versions must be "
            "equal: use %s built for the other's",
            plugin_major, plugin_minor, host_major, host_minor,
            plugin_major < host_major ? "a newer plugin" : "a newer host");
    return tandem_kit_fail(
        error, TANDEM_E_VERSION,
        "the plugin is built for ABI %u.%u and the host for ABI %u.%u, and before ABI 1.0 minor versions "
        "must be equal too: use %s",
        plugin_major, plugin_minor, host_major, host_minor,
        plugin_minor < host_minor ? "a newer plugin" : "a newer host");
}

tandem_status tandem_kit_check_host(const tandem_host *host, tandem_host *local) {
    if (host == NULL)
        return TANDEM_E_INVALID;
    /* The version comes first: another major may have moved everything behind it. */
    if (host->struct_size < TANDEM_KIT_END(tandem_host, abi_minor))
        return TANDEM_E_INVALID;
    int reaches_error = host->struct_size >= TANDEM_KIT_END(tandem_host, error);
    tandem_error *error = reaches_error && host->abi_major == TANDEM_ABI_MAJOR ? host->error : NULL;
    tandem_status status =
        check_versions(TANDEM_ABI_MAJOR, TANDEM_ABI_MINOR, host->abi_major, host->abi_minor, error);
    if (status != TANDEM_OK)
        return status;
    status = TANDEM_KIT_TAKE(tandem_host, local, host, error);
    if (status != TANDEM_OK)
        return status;
    if (local->n_options > 0 && local->options == NULL)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "tandem_host.options is NULL with n_options %u",
                               local->n_options);
    for (uint32_t i = 0; i < local->n_options; i++)
        if (local->options[i] == NULL)
            return tandem_kit_fail(error, TANDEM_E_INVALID, "tandem_host.options[%u] is NULL", i);
    return TANDEM_OK;
}

static tandem_status check_descriptor(const tandem_descriptor *given, tandem_error *error) {
    tandem_descriptor d;
    tandem_status status = TANDEM_KIT_TAKE(tandem_descriptor, &d, given, error);
    if (status == TANDEM_E_INVALID)
        return TANDEM_E_UNSUPPORTED;
    memcpy(&d, given,
           given->struct_size < sizeof d ? given->struct_size : sizeof d); /* a newer one says more: fine */
    const struct {
        const char *name, *value;
    } strings[] = {
        {"name", d.name},       {"version", d.version}, {"git", d.git},     {"toolchain", d.toolchain},
        {"targets", d.targets}, {"shaders", d.shaders}, {"needs", d.needs},
    };
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        if (strings[i].value == NULL)
            return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "the plugin's descriptor has no %s",
                                   strings[i].name);
    if (d.name[0] == '\0')
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "the plugin's descriptor has an empty name");
    return TANDEM_OK;
}

tandem_status tandem_kit_check_backend(const tandem_backend *backend, uint32_t offered, tandem_error *error) {
    tandem_status status =
        check_versions(backend->abi_major, backend->abi_minor, TANDEM_ABI_MAJOR, TANDEM_ABI_MINOR, error);
    if (status != TANDEM_OK)
        return status;
    const uint32_t least = TANDEM_KIT_END(tandem_backend, step_times);
    if (backend->struct_size < least || backend->struct_size > offered)
        return tandem_kit_fail(
            error, TANDEM_E_UNSUPPORTED,
            "the plugin says that it filled %u bytes of a table of %u, of which the first %u are mandatory",
            backend->struct_size, offered, least);
    if (backend->descriptor == NULL)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "the plugin has no descriptor");
    status = check_descriptor(backend->descriptor, error);
    if (status != TANDEM_OK)
        return status;
#define CHECK_SLOT(slot)                                                                                     \
    if (backend->slot == NULL)                                                                               \
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "the plugin lacks the mandatory function %s",    \
                               #slot);
    TANDEM_KIT_SLOTS(CHECK_SLOT)
#undef CHECK_SLOT
    return TANDEM_OK;
}
