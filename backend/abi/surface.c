/* surface.c: a library whose debug information holds every type of the ABI, for abidw. Nobody links it: ops
 * and outputs that the function table reaches only through pointers to their first member are named here one
 * by one. */
#include <tandem/tandem.h>

#define SURFACE(type)                                                                                        \
    TANDEM_EXPORT void tandem_abi_of_##type(type *value);                                                    \
    void tandem_abi_of_##type(type *value) {                                                                 \
        (void)value;                                                                                         \
    }

SURFACE(tandem_op_embed)
SURFACE(tandem_op_stream)
SURFACE(tandem_op_matmul)
SURFACE(tandem_op_attention)
SURFACE(tandem_op_topk)
SURFACE(tandem_op_elementwise)
SURFACE(tandem_op_moe_route)
SURFACE(tandem_op_moe_ffn)

/* The entry point, which reaches all others through its arguments. */
tandem_status tandem_backend_query(const tandem_host *host, tandem_backend *backend) {
    (void)host;
    (void)backend;
    return TANDEM_E_UNSUPPORTED;
}
