/* growth.c: structs that grow (contract: tandem/growth.h). */
#include <string.h>

#include <tandem/growth.h>
#include <tandem/message.h>

/* Reads struct_size without trusting the pointer's type. */
static tandem_status check_size(const void *given, uint32_t minimum, uint32_t *size, tandem_error *error,
                                const char *name) {
    if (given == NULL)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "%s is NULL", name);
    memcpy(size, given, sizeof *size);
    if (*size < minimum)
        return tandem_kit_fail(
            error, TANDEM_E_INVALID,
            "%s.struct_size is %u, which leaves out members of its first version (%u bytes)", name, *size,
            minimum);
    if (*size > TANDEM_KIT_MAX_STRUCT)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "%s.struct_size is %u, more than any version has",
                               name, *size);
    return TANDEM_OK;
}

tandem_status tandem_kit_take(void *local, uint32_t local_bytes, uint32_t minimum, const void *input,
                              tandem_error *error, const char *name) {
    uint32_t size = 0;
    memset(local, 0, local_bytes);
    tandem_status status = check_size(input, minimum, &size, error, name);
    if (status != TANDEM_OK)
        return status;
    const unsigned char *bytes = input;
    for (uint32_t i = local_bytes; i < size; i++)
        if (bytes[i] != 0)
            return tandem_kit_fail(
                error, TANDEM_E_UNSUPPORTED,
                "%s has a value at offset %u, in a member that this side does not know (it knows %u bytes)",
                name, i, local_bytes);
    memcpy(local, input, size < local_bytes ? size : local_bytes);
    memcpy(local, &local_bytes, sizeof local_bytes);
    return TANDEM_OK;
}

tandem_status tandem_kit_give(void *output, const void *local, uint32_t local_bytes, uint32_t minimum,
                              tandem_error *error, const char *name) {
    uint32_t size = 0;
    tandem_status status = check_size(output, minimum, &size, error, name);
    if (status != TANDEM_OK)
        return status;
    size = size < local_bytes ? size : local_bytes;
    memcpy(output, local, size);
    memcpy(output, &size, sizeof size);
    return TANDEM_OK;
}

typedef struct op_shape {
    uint32_t kind;
    uint32_t bytes;
    uint32_t minimum;
    const char *name;
    const char *type;
} op_shape;

#define SHAPE(KIND, type)                                                                                    \
    { TANDEM_OP_##KIND, (uint32_t)sizeof(type), TANDEM_KIT_MIN_##type, #KIND, #type }

static const op_shape shapes[] = {
    SHAPE(EMBED, tandem_op_embed),      SHAPE(STREAM, tandem_op_stream),
    SHAPE(MATMUL, tandem_op_matmul),    SHAPE(ATTENTION, tandem_op_attention),
    SHAPE(TOPK, tandem_op_topk),        SHAPE(GLU, tandem_op_elementwise),
    SHAPE(ADD, tandem_op_elementwise),  SHAPE(SCALE, tandem_op_elementwise),
    SHAPE(COPY, tandem_op_elementwise), SHAPE(MOE_ROUTE, tandem_op_moe_route),
    SHAPE(MOE_FFN, tandem_op_moe_ffn),
};

static const op_shape *find(uint32_t kind) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (shapes[i].kind == kind)
            return &shapes[i];
    return NULL;
}

const char *tandem_kit_op_name(uint32_t kind) {
    const op_shape *shape = find(kind);
    return shape != NULL ? shape->name : "unknown";
}

tandem_status tandem_kit_take_op(tandem_kit_op *local, const tandem_op *op, uint32_t op_index,
                                 tandem_error *error) {
    memset(local, 0, sizeof *local);
    if (op == NULL)
        return tandem_kit_fail_op(error, TANDEM_E_INVALID, op_index, "op %u is NULL", op_index);
    uint32_t size = 0;
    memcpy(&size, op, sizeof size);
    if (size < sizeof *op)
        return tandem_kit_fail_op(error, TANDEM_E_INVALID, op_index,
                                  "op %u has a struct_size of %u, less than its head", op_index, size);
    const op_shape *shape = find(op->kind);
    if (shape == NULL)
        return tandem_kit_fail_op(error, TANDEM_E_UNSUPPORTED, op_index,
                                  "op %u is of kind %u, which this side does not know", op_index, op->kind);
    tandem_status status = tandem_kit_take(local, shape->bytes, shape->minimum, op, error, shape->type);
    if (status != TANDEM_OK && error != NULL && error->struct_size >= TANDEM_KIT_END(tandem_error, op_index))
        error->op_index = op_index;
    return status;
}
