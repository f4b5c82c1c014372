/* supports.c: which tables and products there are kernels for. */
#include "matmul.h"

#include <tandem/quants.h>

#include <stdio.h>

tandem_status gpu_supports_table(const tandem_weights *weights, uint32_t matrix, uint32_t op_index,
                                 tandem_error *error) {
    char kernel[32];
    const tandem_kit_pack *pack = &weights->packs[matrix];
    const char *format = tandem_kit_pack_format_name(pack->type);
    snprintf(kernel, sizeof kernel, "embed_%s", format ? format : "");
    if (format && cu_kernel_exists(kernel))
        return TANDEM_OK;
    return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index, "EMBED: no kernel for tables of type %s",
                              tandem_kit_type(pack->type)->name);
}

/* Kernels have all three. */
tandem_status gpu_supports_precision(const tandem_context *context, const char *name, uint32_t precision,
                                     uint32_t op_index, tandem_error *error) {
    (void)context;
    (void)name;
    (void)precision;
    (void)op_index;
    (void)error;
    return TANDEM_OK;
}

/* At any number of rows. */
tandem_status gpu_supports_product(const tandem_context *context, const tandem_weights *weights,
                                   uint32_t matrix, const char *name, uint32_t precision, uint32_t n_used,
                                   uint32_t op_index, tandem_error *error) {
    const tandem_kit_pack *pack = &weights->packs[matrix];
    (void)n_used;
    for (uint32_t kind = CU_PRODUCT_VEC; kind <= CU_PRODUCT_SHORT; kind++) {
        cu_plan plan;
        cu_product product = {.weights = weights,
                              .matrix = matrix,
                              .up = TANDEM_NONE,
                              .n_row = (uint32_t)pack->n_row,
                              .precision = precision,
                              .kind = kind,
                              .n_tok = 1};
        if (!cu_plan_make(&plan, &product, 1, 0, context->device.info.n_units) ||
            !cu_kernel_exists(plan.kernel))
            return tandem_kit_fail_op(
                error, TANDEM_E_UNSUPPORTED, op_index,
                "%s: no kernel for a matrix of type %s with %llu rows at this precision", name,
                tandem_kit_type(pack->type)->name, (unsigned long long)pack->n_row);
    }
    return TANDEM_OK;
}
