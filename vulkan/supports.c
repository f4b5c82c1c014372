/* supports.c: which tables, precisions and products there are shaders for. */
#include "builder.h"

#include <tandem/quants.h>

tandem_status gpu_supports_table(const tandem_weights *weights, uint32_t matrix, uint32_t op_index,
                                 tandem_error *error) {
    char shader[32];
    const tandem_kit_pack *pack = &weights->packs[matrix];
    if (vk_embed_shader(shader, pack) && vk_shader_exists(shader))
        return TANDEM_OK;
    return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index, "EMBED: no kernel for tables of type %s",
                              tandem_kit_type(pack->type)->name);
}

tandem_status gpu_supports_precision(const tandem_context *context, const char *name, uint32_t precision,
                                     uint32_t op_index, tandem_error *error) {
    if (precision == TANDEM_PRECISION_F16)
        return tandem_kit_fail_op(
            error, TANDEM_E_UNSUPPORTED, op_index,
            "%s: precision f16 needs the cooperative-matrix kernels, which the Vulkan plugin "
            "does not have yet",
            name);
    if (precision == TANDEM_PRECISION_Q8 && !context->device.dot)
        return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                                  "%s: precision q8 needs integer dot products, which the driver of %s lacks",
                                  name, context->device.info.name);
    return TANDEM_OK;
}

tandem_status gpu_supports_product(const tandem_context *context, const tandem_weights *weights,
                                   uint32_t matrix, const char *name, uint32_t precision, uint32_t n_used,
                                   uint32_t op_index, tandem_error *error) {
    const tandem_kit_pack *pack = &weights->packs[matrix];
    vk_matmul_plan plan;
    vk_matmul_request request = {.kind = VK_MATMUL_VEC,
                                 .precision = precision,
                                 .n_tok = 1,
                                 .n_row = (uint32_t)pack->n_row,
                                 .experts = n_used ? EXPERTS_ENTRY : EXPERTS_NONE,
                                 .n_used = n_used};
    if (!vk_matmul_plan_make(&plan, pack, &request, &context->device.policy) ||
        !vk_shader_exists(plan.shader))
        return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                                  "%s: no kernel for a matrix of type %s at this precision", name,
                                  tandem_kit_type(pack->type)->name);
    if (plan.grid_x > 65535)
        return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                                  "%s: %llu rows are more than one launch covers", name,
                                  (unsigned long long)pack->n_row);
    return TANDEM_OK;
}
