/* validate_program.c: whole programs: their limits, and the rules that tie ops together. */
#include "validate_internal.h"

tandem_status tandem_kit_validate_op(const tandem_backend *table, const tandem_op *op, uint32_t precision,
                                     tandem_error *error) {
    check c = {.table = table, .error = error, .subject = "the op", .max_all = 1, .max_out = 1};
    tandem_kit_op taken;
    if (precision > TANDEM_PRECISION_Q8)
        return check_fail(&c, TANDEM_KIT_RULE_PRECISION, "precision", "%u", precision);
    CHECK_TRY(tandem_kit_take_op(&taken, op, 0, error));
    return check_op(&c, &taken);
}

static tandem_status check_desc(check *c, const tandem_program_desc *desc) {
    if (desc->n_op == 0)
        return check_fail(c, TANDEM_KIT_RULE_PROGRAM_OPS, "n_op", "0");
    if (desc->ops == NULL)
        return check_fail(c, TANDEM_KIT_RULE_POINTER, "ops", "NULL with %u ops", desc->n_op);
    if (desc->max_tokens == 0 || desc->max_out > desc->max_tokens || desc->max_slots == 0)
        return check_fail(c, TANDEM_KIT_RULE_PROGRAM_LIMITS, "max_tokens",
                          "max_tokens %u, max_out %u, max_slots %u", desc->max_tokens, desc->max_out,
                          desc->max_slots);
    if (desc->precision > TANDEM_PRECISION_Q8)
        return check_fail(c, TANDEM_KIT_RULE_PRECISION, "precision", "%u", desc->precision);
    return TANDEM_OK;
}

/* The layer that owns the storage an ATTENTION op reads. */
static tandem_status owner_of(const check *c, tandem_kv *kv, uint32_t layer, uint32_t *owner) {
    tandem_kv_layer info = {.struct_size = sizeof info};
    CHECK_TRY(c->table->kv_layer(kv, layer, &info, c->error));
    *owner = info.share_of == TANDEM_NONE ? layer : info.share_of;
    return TANDEM_OK;
}

/* One cache for all; at most one append to a layer; no read before the append. `index`: of this op. The ops
 * before it have passed, so their members up to kv, layer and k are there. */
static tandem_status check_cache_use(const check *c, const tandem_program_desc *desc, uint32_t index,
                                     const tandem_op_attention *op, tandem_kit_limits *limits) {
    uint32_t owner;
    CHECK_TRY(owner_of(c, op->kv, op->layer, &owner));
    if (limits->kv == NULL) {
        tandem_kv_info info = {.struct_size = sizeof info};
        CHECK_TRY(c->table->kv_info(op->kv, &info, c->error));
        if (info.n_slot < desc->max_slots)
            return check_fail(c, TANDEM_KIT_RULE_ATTENTION_CACHE, "kv", "%u slots, and %u of the program",
                              info.n_slot, desc->max_slots);
        limits->kv = op->kv;
        limits->max_chunk = info.max_chunk;
    } else if (limits->kv != op->kv) {
        return check_fail(c, TANDEM_KIT_RULE_ATTENTION_CACHE, "kv", "not the cache of the ops before");
    }
    int appended = op->k.buffer != NULL;
    for (uint32_t i = 0; i < index; i++) {
        if (desc->ops[i]->kind != TANDEM_OP_ATTENTION)
            continue;
        const tandem_op_attention *earlier = (const tandem_op_attention *)(const void *)desc->ops[i];
        if (earlier->k.buffer == NULL || earlier->layer != owner)
            continue;
        if (op->k.buffer != NULL)
            return check_fail(c, TANDEM_KIT_RULE_ATTENTION_APPEND, "k", "op %u appends to layer %u already",
                              i, owner);
        appended = 1;
    }
    if (!appended)
        return check_fail(c, TANDEM_KIT_RULE_ATTENTION_EARLY, "layer", "layer %u, whose rows are in layer %u",
                          op->layer, owner);
    tandem_kv_layer layer = {.struct_size = sizeof layer};
    CHECK_TRY(c->table->kv_layer(op->kv, owner, &layer, c->error));
    if (layer.window == 0 && layer.capacity < limits->n_position)
        limits->n_position = (uint32_t)layer.capacity;
    return TANDEM_OK;
}

/* What the op means for runs. */
static tandem_status note_limits(const check *c, const tandem_kit_op *op, tandem_kit_limits *limits) {
    if (op->head.kind == TANDEM_OP_EMBED) {
        tandem_matrix_desc table = {.struct_size = sizeof table};
        CHECK_TRY(c->table->weights_matrix(op->embed.table, op->embed.matrix, &table, c->error));
        if (table.n_row < limits->n_token)
            limits->n_token = (uint32_t)table.n_row;
    }
    if (op->head.kind == TANDEM_OP_TOPK) {
        if (limits->n_logit == 0) {
            limits->topk_rows = op->head.rows;
            limits->topk_stride = op->topk.out.stride;
            limits->topk_row_bytes = 8 * (uint64_t)op->topk.k + 8;
            limits->n_logit = op->topk.n;
        }
        limits->n_logit = op->topk.n < limits->n_logit ? op->topk.n : limits->n_logit;
    }
    return TANDEM_OK;
}

tandem_status tandem_kit_program_limits(const tandem_backend *table, const tandem_program_desc *desc,
                                        tandem_kit_limits *limits, tandem_error *error) {
    tandem_program_desc d;
    CHECK_TRY(TANDEM_KIT_TAKE(tandem_program_desc, &d, desc, error));
    check c = {.table = table, .error = error, .op_index = TANDEM_NONE, .subject = "tandem_program_desc"};
    CHECK_TRY(check_desc(&c, &d));
    tandem_kit_limits found = {.max_tokens = d.max_tokens,
                               .max_out = d.max_out,
                               .max_slots = d.max_slots,
                               .n_token = UINT32_MAX,
                               .n_position = UINT32_MAX};
    c.max_all = d.max_tokens;
    c.max_out = d.max_out;
    for (uint32_t i = 0; i < d.n_op; i++) {
        tandem_kit_op op;
        c.op_index = i;
        CHECK_TRY(tandem_kit_take_op(&op, d.ops[i], i, error));
        CHECK_TRY(check_op(&c, &op));
        if (op.head.kind == TANDEM_OP_ATTENTION)
            CHECK_TRY(check_cache_use(&c, &d, i, &op.attention, &found));
        CHECK_TRY(note_limits(&c, &op, &found));
    }
    if (limits != NULL)
        *limits = found;
    return TANDEM_OK;
}

tandem_status tandem_kit_validate_program(const tandem_backend *table, const tandem_program_desc *desc,
                                          tandem_error *error) {
    return tandem_kit_program_limits(table, desc, NULL, error);
}
