/* tandem/negotiate.h: whether host and plugin fit, and the slots of the function table.
 *
 * Part of tandem-kit: plugins call tandem_kit_check_host from their tandem_backend_query, the loader calls
 * tandem_kit_check_backend on what they return, and both sides use the same words. All functions are
 * [any-thread].
 */
#ifndef TANDEM_NEGOTIATE_H
#define TANDEM_NEGOTIATE_H

#include <tandem/tandem.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 1: a plugin and a host of these versions work together. Equal majors; at major 0 equal minors too. */
int tandem_kit_versions_fit(uint32_t plugin_major, uint32_t plugin_minor, uint32_t host_major,
                            uint32_t host_minor);

/* A plugin's view of a host. VERSION: of another ABI; INVALID: host is NULL, too small, or has n_options but
 * no options; UNSUPPORTED: a member that this plugin does not know is set. On success `local`, a copy of the
 * host, is filled. On failure the sentence goes to host->error, unless the host is of another major, where
 * that member may be something else; a query that sets backend->abi_major and abi_minor before it calls this
 * lets the loader find the words. */
tandem_status tandem_kit_check_host(const tandem_host *host, tandem_host *local);

/* A host's view of what a plugin's query filled in, `offered` bytes of a table that was zero before. VERSION:
 * of another ABI; UNSUPPORTED: a missing slot, descriptor or string, which is named. */
tandem_status tandem_kit_check_backend(const tandem_backend *backend, uint32_t offered, tandem_error *error);

/* The mandatory slots of ABI 0.1 in their order. */
#define TANDEM_KIT_SLOTS(X)                                                                                  \
    X(device_count)                                                                                          \
    X(device_info)                                                                                           \
    X(get_interface)                                                                                         \
    X(context_create)                                                                                        \
    X(context_destroy)                                                                                       \
    X(context_memory)                                                                                        \
    X(supports)                                                                                              \
    X(buffer_create)                                                                                         \
    X(buffer_destroy)                                                                                        \
    X(buffer_info)                                                                                           \
    X(buffer_write)                                                                                          \
    X(buffer_read)                                                                                           \
    X(weights_create)                                                                                        \
    X(weights_destroy)                                                                                       \
    X(weights_info)                                                                                          \
    X(weights_matrix)                                                                                        \
    X(weights_write)                                                                                         \
    X(weights_place)                                                                                         \
    X(kv_create)                                                                                             \
    X(kv_destroy)                                                                                            \
    X(kv_info)                                                                                               \
    X(kv_layer)                                                                                              \
    X(kv_length)                                                                                             \
    X(kv_truncate)                                                                                           \
    X(kv_copy_slot)                                                                                          \
    X(kv_fill)                                                                                               \
    X(kv_export_bytes)                                                                                       \
    X(kv_export)                                                                                             \
    X(kv_import)                                                                                             \
    X(kv_read)                                                                                               \
    X(program_create)                                                                                        \
    X(program_destroy)                                                                                       \
    X(program_step_count)                                                                                    \
    X(program_step)                                                                                          \
    X(program_cost)                                                                                          \
    X(run)                                                                                                   \
    X(wait)                                                                                                  \
    X(times)                                                                                                 \
    X(step_times)

#ifdef __cplusplus
}
#endif
#endif
