#include "side.h"

#include "tandem/quants.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

float side_random(uint64_t seed, uint64_t index) {
    uint64_t bits = mix(mix(seed) ^ index);
    int32_t sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (int32_t)((bits >> (16 * i)) & 0xffff);
    return (float)(sum - 2 * 65535) * (1.0f / 37837.0f); /* variance of a 16-bit uniform: 18918^2 */
}

void side_open(side *s, const tandem_backend *api, tandem_context *context) {
    memset(s, 0, sizeof *s);
    s->api = api;
    s->context = context;
    s->error.struct_size = sizeof s->error;
    s->seed = 1;
    s->n_slot = 1;
    s->run.struct_size = sizeof s->run;
}

void side_close(side *s) {
    s->api->program_destroy(s->program);
    s->api->kv_destroy(s->kv);
    for (uint32_t i = 0; i < s->n_weights; i++)
        s->api->weights_destroy(s->weights[i]);
    for (uint32_t i = 0; i < s->n_buffer; i++)
        s->api->buffer_destroy(s->buffers[i]);
    for (uint32_t i = 0; i < s->n_storage; i++)
        free(s->op_storage[i]);
    memset(s, 0, sizeof *s);
}

static tandem_status out_of_memory(side *s) {
    snprintf(s->error.message, sizeof s->error.message, "the test itself has no memory");
    return TANDEM_E_OUT_OF_MEMORY;
}

tandem_status side_buffer(side *s, const void *content, uint64_t bytes, tandem_buffer **buffer) {
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .placement = TANDEM_PLACE_DEVICE, .bytes = bytes};
    if (s->n_buffer == SIDE_MAX_OBJECTS)
        return out_of_memory(s);
    SIDE_TRY(s->api->buffer_create(s->context, &desc, buffer, &s->error));
    s->buffers[s->n_buffer++] = *buffer;
    return s->api->buffer_write(*buffer, 0, content, bytes, &s->error);
}

static uint64_t padded_stride(uint64_t n) {
    return (4 * n + 15) / 16 * 16 + 16;
}

tandem_status side_given(side *s, uint32_t kind, uint32_t rows, uint32_t live, uint32_t n,
                         const float *values, tandem_view *view) {
    uint64_t stride = padded_stride(n), bytes = 2 * SIDE_GUARD + rows * stride;
    unsigned char *content = malloc(bytes);
    if (!content)
        return out_of_memory(s);
    for (uint64_t i = 0; i < bytes / 4; i++)
        ((float *)(void *)content)[i] = NAN;
    for (uint32_t r = 0; r < live; r++)
        memcpy(content + SIDE_GUARD + r * stride, values + (uint64_t)r * n, n * sizeof *values);
    *view = (tandem_view){.offset = SIDE_GUARD, .stride = stride, .rows = kind};
    tandem_status status = side_buffer(s, content, bytes, &view->buffer);
    free(content);
    return status;
}

tandem_status side_input(side *s, uint32_t kind, uint32_t rows, uint32_t live, uint32_t n, float amplitude,
                         tandem_view *view) {
    uint64_t count = (uint64_t)live * n, seed = s->seed++;
    float *values = malloc(count * sizeof *values + 1);
    if (!values)
        return out_of_memory(s);
    for (uint64_t i = 0; i < count; i++)
        values[i] = amplitude * side_random(seed, i);
    tandem_status status = side_given(s, kind, rows, live, n, values, view);
    free(values);
    return status;
}

tandem_status side_vector(side *s, uint32_t n, tandem_view *view) {
    float *content = malloc(4 * (uint64_t)n + 32);
    if (!content)
        return out_of_memory(s);
    uint64_t seed = s->seed++;
    for (uint32_t i = 0; i < n + 8; i++)
        content[i] = i < n ? 1.0f + 0.3f * side_random(seed, i) : NAN;
    *view = (tandem_view){.rows = TANDEM_ROWS_CONST};
    tandem_status status = side_buffer(s, content, 4 * (uint64_t)n + 32, &view->buffer);
    free(content);
    return status;
}

static tandem_status guarded(side *s, uint64_t stride, uint32_t kind, uint32_t rows, uint64_t *bytes,
                             tandem_view *view) {
    *bytes = 2 * SIDE_GUARD + rows * stride;
    unsigned char *content = malloc(*bytes);
    if (!content)
        return out_of_memory(s);
    memset(content, 0xa5, *bytes);
    *view = (tandem_view){.offset = SIDE_GUARD, .stride = stride, .rows = kind};
    tandem_status status = side_buffer(s, content, *bytes, &view->buffer);
    free(content);
    return status;
}

static tandem_status add_output(side *s, side_output o, const tandem_view *view) {
    if (s->n_output == SIDE_MAX_OUTPUTS)
        return out_of_memory(s);
    o.view = *view;
    s->outputs[s->n_output++] = o;
    return TANDEM_OK;
}

tandem_status side_result(side *s, uint32_t kind, uint32_t rows, uint32_t live, uint32_t n, const char *name,
                          tandem_view *view) {
    side_output o = {.n = n, .live = live, .name = name};
    SIDE_TRY(guarded(s, padded_stride(n), kind, rows, &o.bytes, view));
    return add_output(s, o, view);
}

tandem_status side_topk_result(side *s, uint32_t rows, uint32_t live, uint32_t k, tandem_view *view) {
    side_output o = {.n = k, .live = live, .topk = 1, .name = "top"};
    SIDE_TRY(guarded(s, padded_stride(2 * k + 2), TANDEM_ROWS_OUT, rows, &o.bytes, view));
    return add_output(s, o, view);
}

tandem_status side_route_result(side *s, uint32_t kind, uint32_t rows, uint32_t live, uint32_t n_used,
                                const double *margin, tandem_view *view) {
    side_output o = {.n = n_used, .live = live, .route = 1, .name = "route", .margin = margin};
    SIDE_TRY(guarded(s, padded_stride(2 * n_used), kind, rows, &o.bytes, view));
    return add_output(s, o, view);
}

tandem_status side_scratch(side *s, uint32_t kind, uint32_t rows, uint32_t n, tandem_view *view) {
    uint64_t bytes;
    return guarded(s, padded_stride(n), kind, rows, &bytes, view);
}

/* Normal values / sqrt(n_col). */
static tandem_status fill_matrix(side *s, const side_matrix *m, uint64_t seed, unsigned char *rows) {
    uint64_t row_bytes = tandem_kit_row_bytes(m->type, m->n_col);
    float *values = malloc(m->n_col * sizeof *values), scale = 1.0f / sqrtf((float)m->n_col);
    if (!values)
        return out_of_memory(s);
    for (uint64_t r = 0; r < m->n_row; r++) {
        for (uint64_t c = 0; c < m->n_col; c++)
            values[c] = scale * side_random(seed, r * m->n_col + c);
        tandem_kit_quantise(m->type, values, rows + r * row_bytes, m->n_col);
    }
    free(values);
    return TANDEM_OK;
}

/* Uneven ranges: one row, then a third, then the rest. */
static tandem_status write_ranges(side *s, tandem_weights *w, uint32_t record, uint32_t index,
                                  const side_matrix *m, const unsigned char *rows) {
    uint64_t row_bytes = tandem_kit_row_bytes(m->type, m->n_col);
    uint64_t first[4] = {0, 1, 1 + (m->n_row - 1) / 3, m->n_row};
    for (int i = 0; i < 3; i++)
        if (first[i + 1] > first[i])
            SIDE_TRY(s->api->weights_write(w, record, index, first[i], first[i + 1] - first[i],
                                           rows + first[i] * row_bytes, (first[i + 1] - first[i]) * row_bytes,
                                           0, &s->error));
    return TANDEM_OK;
}

static tandem_status write_matrix(side *s, tandem_weights *w, uint32_t record, uint32_t index,
                                  const side_matrix *m, int poisoned) {
    uint64_t bytes = m->n_row * tandem_kit_row_bytes(m->type, m->n_col), seed = s->seed++;
    unsigned char *rows = malloc(bytes);
    if (!rows)
        return out_of_memory(s);
    tandem_status status = TANDEM_OK;
    if (poisoned)
        memset(rows, 0xff, bytes);
    else
        status = fill_matrix(s, m, seed, rows);
    if (status == TANDEM_OK)
        status = write_ranges(s, w, record, index, m, rows);
    free(rows);
    return status;
}

static tandem_status create_weights(side *s, uint32_t n_record, uint32_t n_matrix, const side_matrix *m,
                                    tandem_weights **w) {
    tandem_matrix_desc descs[4];
    const tandem_matrix_desc *list[4];
    for (uint32_t i = 0; i < n_matrix; i++) {
        descs[i] = (tandem_matrix_desc){.struct_size = sizeof descs[i],
                                        .role = m[i].role,
                                        .type = m[i].type,
                                        .n_row = m[i].n_row,
                                        .n_col = m[i].n_col};
        list[i] = &descs[i];
    }
    tandem_weights_desc desc = {
        .struct_size = sizeof desc, .n_record = n_record, .n_matrix = n_matrix, .matrices = list};
    SIDE_TRY(s->api->weights_create(s->context, &desc, w, &s->error));
    s->weights[s->n_weights++] = *w;
    return TANDEM_OK;
}

tandem_status side_experts(side *s, uint32_t n_record, uint32_t n_matrix, const side_matrix *m,
                           const unsigned char *poison, tandem_weights **w) {
    SIDE_TRY(create_weights(s, n_record, n_matrix, m, w));
    for (uint32_t r = 0; r < n_record; r++)
        for (uint32_t i = 0; i < n_matrix; i++)
            SIDE_TRY(write_matrix(s, *w, r, i, &m[i], poison && poison[r]));
    return TANDEM_OK;
}

tandem_status side_weights(side *s, uint32_t n_record, uint32_t n_matrix, const side_matrix *m,
                           tandem_weights **w) {
    return side_experts(s, n_record, n_matrix, m, NULL, w);
}

tandem_status side_matrix_given(side *s, const side_matrix *m, const void *rows, tandem_weights **w) {
    SIDE_TRY(create_weights(s, 1, 1, m, w));
    return write_ranges(s, *w, 0, 0, m, rows);
}

static int is_ordinary(uint32_t type, const unsigned char *block, uint32_t n) {
    float values[256], most = 0;
    tandem_kit_dequantise(type, block, values, n);
    for (uint32_t i = 0; i < n; i++)
        if (!(fabsf(values[i]) <= most))
            most = fabsf(values[i]); /* NaN stays */
    return most >= 1e-3f && most <= 1e3f;
}

tandem_status side_any_blocks(side *s, const side_matrix *m, tandem_weights **w) {
    const tandem_type_info *info = tandem_kit_type(m->type);
    uint64_t bytes = m->n_row * tandem_kit_row_bytes(m->type, m->n_col), state = mix(s->seed++);
    unsigned char *rows = malloc(bytes);
    if (!rows)
        return out_of_memory(s);
    for (uint64_t at = 0; at < bytes; at += info->block_bytes)
        do
            for (uint32_t i = 0; i < info->block_bytes; i++)
                rows[at + i] = (unsigned char)((state = mix(state)) >> 32);
        while (!is_ordinary(m->type, rows + at, info->block));
    tandem_status status = side_matrix_given(s, m, rows, w);
    free(rows);
    return status;
}

void *side_memory(side *s, uint64_t bytes) {
    void *memory = calloc(1, bytes);
    if (!memory || s->n_storage == sizeof s->op_storage / sizeof *s->op_storage)
        abort(); /* some megabytes in a test */
    s->op_storage[s->n_storage++] = memory;
    return memory;
}

void *side_op(side *s, const void *op, int listed) {
    uint32_t size = ((const tandem_op *)op)->struct_size;
    void *copy = malloc(size);
    if (!copy)
        abort(); /* a few hundred bytes in a test */
    memcpy(copy, op, size);
    s->op_storage[s->n_storage++] = copy;
    if (listed)
        s->ops[s->n_op++] = copy;
    return copy;
}

void side_rows(side *s, uint32_t n_rows, uint32_t n_out, uint32_t n_vocab, uint32_t position) {
    uint64_t seed = s->seed++;
    uint32_t next[2] = {position, position / 2};
    for (uint32_t i = 0; i < n_rows; i++) {
        uint32_t token = (uint32_t)(mix(seed ^ ((uint64_t)i << 32)) % n_vocab);
        uint32_t slot = s->n_slot > 1 && i % 3 == 2;
        s->rows[i] = (tandem_row){.token = token, .position = next[slot]++, .slot = slot};
    }
    for (uint32_t i = 0; i < n_out; i++) {
        uint32_t row = (uint32_t)((uint64_t)(i + 1) * n_rows / n_out) - 1;
        s->out[i] = (tandem_out){.row = row, .target = TANDEM_NONE};
        if (s->n_op && s->ops[s->n_op - 1]->kind == TANDEM_OP_TOPK && i % 3 != 1)
            s->out[i].target = (uint32_t)(mix(seed + i) % n_vocab);
    }
    s->run.n_rows = n_rows;
    s->run.n_out = n_out;
    s->run.rows = s->rows;
    s->run.out = n_out ? s->out : NULL;
    s->kv_start = position;
}

tandem_status side_compile(side *s) {
    for (uint32_t i = 0; i < s->n_op; i++)
        SIDE_TRY(s->api->supports(s->context, s->ops[i], s->precision, &s->error));
    tandem_program_desc desc = {.struct_size = sizeof desc,
                                .n_op = s->n_op,
                                .ops = s->ops,
                                .max_tokens = s->max_tokens,
                                .max_out = s->max_out,
                                .max_slots = s->n_slot,
                                .precision = s->precision};
    return s->api->program_create(s->context, &desc, &s->program, &s->error);
}

tandem_status side_run(side *s) {
    tandem_ticket ticket = 0;
    for (uint32_t i = 0; s->kv && i < s->n_slot; i++)
        SIDE_TRY(s->api->kv_truncate(s->kv, i, i ? s->kv_start / 2 : s->kv_start, &s->error));
    SIDE_TRY(s->api->run(s->program, &s->run, &ticket, &s->error));
    return s->api->wait(s->context, ticket, 600ull * 1000 * 1000 * 1000, &s->error);
}

unsigned char *side_read(side *s, const side_output *output) {
    unsigned char *bytes = malloc(output->bytes);
    if (!bytes) {
        out_of_memory(s);
        return NULL;
    }
    if (s->api->buffer_read(output->view.buffer, 0, bytes, output->bytes, 0, &s->error) != TANDEM_OK) {
        free(bytes);
        return NULL;
    }
    return bytes;
}
