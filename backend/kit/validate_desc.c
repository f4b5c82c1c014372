/* validate_desc.c: what objects are made of: contexts, buffers, weights, caches, and ranges of their bytes.
 */
#include <tandem/quants.h>

#include "validate_internal.h"

tandem_status tandem_kit_validate_context(const tandem_context_desc *desc, uint32_t n_device,
                                          tandem_error *error) {
    const check c = {.error = error, .op_index = TANDEM_NONE, .subject = "tandem_context_desc"};
    tandem_context_desc d;
    CHECK_TRY(TANDEM_KIT_TAKE(tandem_context_desc, &d, desc, error));
    if (d.reserved != 0)
        return check_fail(&c, TANDEM_KIT_RULE_RESERVED, "reserved", "%u", d.reserved);
    if (d.device >= n_device)
        return check_fail(&c, TANDEM_KIT_RULE_DEVICE, "device", "%u of %u", d.device, n_device);
    return TANDEM_OK;
}

static tandem_status check_placement(const check *c, uint32_t placement) {
    return placement == TANDEM_PLACE_DEVICE || placement == TANDEM_PLACE_HOST
               ? TANDEM_OK
               : check_fail(c, TANDEM_KIT_RULE_PLACEMENT, "placement", "%u", placement);
}

tandem_status tandem_kit_validate_buffer(const tandem_buffer_desc *desc, tandem_error *error) {
    const check c = {.error = error, .op_index = TANDEM_NONE, .subject = "tandem_buffer_desc"};
    tandem_buffer_desc d;
    CHECK_TRY(TANDEM_KIT_TAKE(tandem_buffer_desc, &d, desc, error));
    CHECK_TRY(check_placement(&c, d.placement));
    return d.bytes > 0 ? TANDEM_OK : check_fail(&c, TANDEM_KIT_RULE_BUFFER_BYTES, "bytes", "0");
}

/* One matrix of a record; its bytes are added to *bytes. */
static tandem_status check_matrix(const check *c, const tandem_matrix_desc *desc, uint32_t n_record,
                                  uint32_t *roles, uint64_t *bytes) {
    tandem_matrix_desc m;
    CHECK_TRY(TANDEM_KIT_TAKE(tandem_matrix_desc, &m, desc, c->error));
    if (m.reserved != 0)
        return check_fail(c, TANDEM_KIT_RULE_RESERVED, "matrices.reserved", "%u", m.reserved);
    if (m.role > TANDEM_ROLE_DOWN || (*roles >> m.role & 1) != 0)
        return check_fail(c, TANDEM_KIT_RULE_MATRIX_ROLE, "matrices.role", "%u", m.role);
    *roles |= 1u << m.role;
    const tandem_type_info *type = tandem_kit_type(m.type);
    if (type == NULL)
        return check_fail(c, TANDEM_KIT_RULE_MATRIX_TYPE, "matrices.type", "%u", m.type);
    if (m.n_row == 0 || m.n_col == 0 || m.n_col % type->block != 0)
        return check_fail(c, TANDEM_KIT_RULE_MATRIX_SHAPE, "matrices", "%llu by %llu of %s, in blocks of %u",
                          (unsigned long long)m.n_row, (unsigned long long)m.n_col, type->name, type->block);
    uint64_t row = tandem_kit_row_bytes(m.type, m.n_col);
    if (row == 0 || m.n_row > UINT64_MAX / row || m.n_row * row > UINT64_MAX / n_record ||
        m.n_row * row * n_record > UINT64_MAX - *bytes)
        return check_fail(c, TANDEM_KIT_RULE_MATRIX_BYTES, "matrices", "%u records of %llu by %llu of %s",
                          n_record, (unsigned long long)m.n_row, (unsigned long long)m.n_col, type->name);
    *bytes += m.n_row * row * n_record;
    return TANDEM_OK;
}

tandem_status tandem_kit_validate_weights(const tandem_weights_desc *desc, tandem_error *error) {
    const check c = {.error = error, .op_index = TANDEM_NONE, .subject = "tandem_weights_desc"};
    tandem_weights_desc d;
    uint32_t roles = 0;
    uint64_t bytes = 0;
    CHECK_TRY(TANDEM_KIT_TAKE(tandem_weights_desc, &d, desc, error));
    if (d.n_record == 0 || d.n_matrix < 1 || d.n_matrix > 4)
        return check_fail(&c, TANDEM_KIT_RULE_WEIGHTS_COUNT, "n_record", "%u records of %u matrices",
                          d.n_record, d.n_matrix);
    CHECK_TRY(check_placement(&c, d.placement));
    if (d.matrices == NULL)
        return check_fail(&c, TANDEM_KIT_RULE_POINTER, "matrices", "NULL");
    for (uint32_t i = 0; i < d.n_matrix; i++)
        CHECK_TRY(check_matrix(&c, d.matrices[i], d.n_record, &roles, &bytes));
    return TANDEM_OK;
}

/* Layer i on its own. */
static tandem_status check_layer(const check *c, uint32_t i, const tandem_kv_layer *layer) {
    if (layer->type != TANDEM_TYPE_F32 && layer->type != TANDEM_TYPE_F16 && layer->type != TANDEM_TYPE_Q8_0)
        return check_fail(c, TANDEM_KIT_RULE_KV_TYPE, "layers", "layer %u has type %u", i, layer->type);
    if (layer->n_kv_head == 0 || layer->head_dim == 0 || layer->head_dim % 2 != 0 || layer->head_dim > 1024 ||
        (layer->type == TANDEM_TYPE_Q8_0 && layer->head_dim % 32 != 0))
        return check_fail(c, TANDEM_KIT_RULE_KV_SHAPE, "layers", "layer %u has %u heads of %u", i,
                          layer->n_kv_head, layer->head_dim);
    if (layer->capacity == 0 || layer->capacity > UINT32_MAX)
        return check_fail(c, TANDEM_KIT_RULE_KV_CAPACITY, "layers", "layer %u has %llu", i,
                          (unsigned long long)layer->capacity);
    return TANDEM_OK;
}

/* The layer whose storage layer i shares. */
static tandem_status check_share(const check *c, const tandem_kv_desc *d, uint32_t i,
                                 const tandem_kv_layer *layer) {
    tandem_kv_layer owner;
    if (layer->share_of >= i)
        return check_fail(c, TANDEM_KIT_RULE_KV_SHARE, "layers", "layer %u shares layer %u", i,
                          layer->share_of);
    CHECK_TRY(TANDEM_KIT_TAKE(tandem_kv_layer, &owner, d->layers[layer->share_of], c->error));
    if (owner.share_of != TANDEM_NONE || owner.n_kv_head != layer->n_kv_head ||
        owner.head_dim != layer->head_dim || owner.type != layer->type || owner.window != layer->window ||
        owner.capacity != layer->capacity)
        return check_fail(c, TANDEM_KIT_RULE_KV_SHARE, "layers", "layer %u shares layer %u, which %s", i,
                          layer->share_of, owner.share_of != TANDEM_NONE ? "shares too" : "differs in shape");
    return TANDEM_OK;
}

/* K and V of all slots in f32, the most a plugin stores, before its padding. */
static int add_layer_bytes(const tandem_kv_desc *d, const tandem_kv_layer *layer, uint64_t *bytes) {
    uint64_t rows =
        layer->window == 0 ? layer->capacity : (uint64_t)layer->window + d->max_chunk; /* below 2^33 */
    uint64_t row = 8 * (uint64_t)layer->head_dim * layer->n_kv_head;                   /* below 2^46 */
    if (rows > UINT64_MAX / d->n_slot || rows * d->n_slot > UINT64_MAX / row ||
        rows * d->n_slot * row > UINT64_MAX - *bytes)
        return 0;
    *bytes += rows * d->n_slot * row;
    return 1;
}

tandem_status tandem_kit_validate_kv(const tandem_kv_desc *desc, tandem_error *error) {
    const check c = {.error = error, .op_index = TANDEM_NONE, .subject = "tandem_kv_desc"};
    tandem_kv_desc d;
    uint64_t bytes = 0;
    CHECK_TRY(TANDEM_KIT_TAKE(tandem_kv_desc, &d, desc, error));
    if (d.reserved != 0)
        return check_fail(&c, TANDEM_KIT_RULE_RESERVED, "reserved", "%u", d.reserved);
    if (d.n_layer == 0 || d.n_slot == 0 || d.max_chunk == 0)
        return check_fail(&c, TANDEM_KIT_RULE_KV_COUNT, "n_layer", "n_layer %u, n_slot %u, max_chunk %u",
                          d.n_layer, d.n_slot, d.max_chunk);
    if (d.layout > TANDEM_KV_LAYOUT_V_ONLY)
        return check_fail(&c, TANDEM_KIT_RULE_KV_LAYOUT, "layout", "%u", d.layout);
    if (d.layers == NULL)
        return check_fail(&c, TANDEM_KIT_RULE_POINTER, "layers", "NULL with %u layers", d.n_layer);
    for (uint32_t i = 0; i < d.n_layer; i++) {
        tandem_kv_layer layer;
        CHECK_TRY(TANDEM_KIT_TAKE(tandem_kv_layer, &layer, d.layers[i], error));
        CHECK_TRY(check_layer(&c, i, &layer));
        if (layer.share_of != TANDEM_NONE)
            CHECK_TRY(check_share(&c, &d, i, &layer));
        else if (!add_layer_bytes(&d, &layer, &bytes))
            return check_fail(&c, TANDEM_KIT_RULE_KV_BYTES, "layers", "up to layer %u, %u slots", i,
                              d.n_slot);
    }
    return TANDEM_OK;
}

tandem_status tandem_kit_validate_range(const char *what, uint64_t bytes, uint64_t offset, uint64_t n,
                                        const void *memory, tandem_error *error) {
    const check c = {.error = error, .op_index = TANDEM_NONE, .subject = what};
    if (offset > bytes || n > bytes - offset)
        return check_fail(&c, TANDEM_KIT_RULE_RANGE, "offset", "%llu bytes at offset %llu of %llu",
                          (unsigned long long)n, (unsigned long long)offset, (unsigned long long)bytes);
    if (memory == NULL && n > 0)
        return check_fail(&c, TANDEM_KIT_RULE_POINTER, "memory", "NULL for %llu bytes",
                          (unsigned long long)n);
    return TANDEM_OK;
}

tandem_status tandem_kit_validate_write(const tandem_matrix_desc *matrix, uint64_t first_row, uint64_t n_row,
                                        const void *source, uint64_t bytes, uint32_t flags,
                                        tandem_error *error) {
    const check c = {.error = error, .op_index = TANDEM_NONE, .subject = "weights_write"};
    if ((flags & ~TANDEM_WRITE_BORROW) != 0)
        return check_fail(&c, TANDEM_KIT_RULE_FLAGS, "flags", "0x%x", flags);
    if (n_row == 0 || first_row > matrix->n_row || n_row > matrix->n_row - first_row)
        return check_fail(&c, TANDEM_KIT_RULE_RANGE, "n_row", "%llu rows from row %llu of %llu",
                          (unsigned long long)n_row, (unsigned long long)first_row,
                          (unsigned long long)matrix->n_row);
    uint64_t row = tandem_kit_row_bytes(matrix->type, matrix->n_col);
    if (row == 0 || bytes / row != n_row || bytes % row != 0)
        return check_fail(&c, TANDEM_KIT_RULE_WRITE_BYTES, "bytes", "%llu for %llu rows of %llu",
                          (unsigned long long)bytes, (unsigned long long)n_row, (unsigned long long)row);
    if (source == NULL)
        return check_fail(&c, TANDEM_KIT_RULE_POINTER, "source", "NULL for %llu bytes",
                          (unsigned long long)bytes);
    return TANDEM_OK;
}
