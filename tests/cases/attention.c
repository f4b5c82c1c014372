#include "cases.h"

#include "tandem/quants.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tandem_status make_cache(side *s, const op_case *c) {
    tandem_kv_layer layers[3];
    const tandem_kv_layer *list[3];
    for (uint32_t i = 0; i < 3; i++) {
        /* Layer 0 is a decoy of another shape; 1 is the layer; 2 shares it. */
        layers[i] = (tandem_kv_layer){.struct_size = sizeof layers[i],
                                      .n_kv_head = i ? c->u.attention.n_kv_head : 1,
                                      .head_dim = i ? c->u.attention.head_dim : 64,
                                      .type = i ? c->u.attention.type : TANDEM_TYPE_F32,
                                      .window = i ? c->u.attention.window : 8,
                                      .share_of = i == 2 ? 1 : TANDEM_NONE,
                                      .capacity = c->u.attention.position + c->max_tokens + 5};
        list[i] = &layers[i];
    }
    tandem_kv_desc desc = {.struct_size = sizeof desc,
                           .n_layer = 3,
                           .layers = list,
                           .max_chunk = c->u.attention.max_chunk,
                           .n_slot = s->n_slot};
    SIDE_TRY(s->api->kv_create(s->context, &desc, &s->kv, &s->error));
    if (s->n_slot > 1)
        SIDE_TRY(s->api->kv_fill(s->kv, 1, 8, c->u.attention.position / 2, &s->error));
    return s->api->kv_fill(s->kv, 0, 7, c->u.attention.position, &s->error);
}

static tandem_status visible_view(side *s, const op_case *c, tandem_view *view) {
    uint32_t until[SIDE_MAX_ROWS * 4] = {0};
    for (uint32_t i = 0; i < c->n_rows; i++) /* rows 1..half see each other both ways */
        until[4 * i] = i >= 1 && i < c->n_rows / 2 ? c->u.attention.position + c->n_rows / 2 : 0;
    tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = 16ull * c->max_tokens};
    SIDE_TRY(s->api->buffer_create(s->context, &desc, &view->buffer, &s->error));
    s->buffers[s->n_buffer++] = view->buffer;
    view->stride = 16;
    return s->api->buffer_write(view->buffer, 0, until, 16ull * c->n_rows, &s->error);
}

static tandem_status build(side *s, const op_case *c) {
    uint32_t set = c->u.attention.out_set ? TANDEM_ROWS_OUT : TANDEM_ROWS_ALL, dim = c->u.attention.head_dim;
    uint32_t q_width = c->u.attention.n_head * dim, kv_width = c->u.attention.n_kv_head * dim;
    double omega[512];
    for (uint32_t i = 0; i < c->u.attention.n_rope_pair; i++)
        omega[i] = pow(c->u.attention.window ? 1e4 : 1e6, -2.0 * i / dim);
    tandem_op_attention op = {
        .head = {.struct_size = sizeof op, .kind = TANDEM_OP_ATTENTION, .label = "attention"},
        .layer = 1,
        .n_head = c->u.attention.n_head,
        .n_rope_pair = c->u.attention.n_rope_pair,
        .flags = c->u.attention.flags,
        .scale = c->u.attention.no_norm ? 1.0f / sqrtf((float)dim) : 0.25f,
        .eps = 1e-6f,
        .rope_omega = omega};
    s->n_slot = c->u.attention.n_slot;
    SIDE_TRY(make_cache(s, c));
    op.kv = s->kv;
    SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, q_width, c->amplitude, &op.q));
    SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, kv_width, c->amplitude, &op.k));
    if (!(c->u.attention.flags & TANDEM_ATTENTION_K_IS_V))
        SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, kv_width, c->amplitude, &op.v));
    if (!c->u.attention.no_norm) {
        SIDE_TRY(side_vector(s, dim, &op.q_norm));
        SIDE_TRY(side_vector(s, dim, &op.k_norm));
    }
    if (c->u.attention.visible)
        SIDE_TRY(visible_view(s, c, &op.visible_until));
    SIDE_TRY(side_result(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, q_width, "attention", &op.out));
    double *copy = malloc(sizeof omega);
    if (!copy)
        return TANDEM_E_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < 512; i++)
        copy[i] = i < c->u.attention.n_rope_pair ? omega[i] : 0;
    s->op_storage[s->n_storage++] = copy;
    op.rope_omega = copy;
    side_op(s, &op, 1);
    if (c->u.attention.shared) { /* another layer's queries read the same cache, on out rows or all */
        tandem_op_attention second = op;
        second.layer = 2;
        second.head.rows = set;
        second.k = second.v = (tandem_view){0};
        second.k_norm = (tandem_view){0};
        second.flags = 0;
        SIDE_TRY(side_input(s, TANDEM_ROWS_ALL, c->max_tokens, c->n_rows, q_width, c->amplitude, &second.q));
        SIDE_TRY(side_result(s, set, set ? c->n_out : c->max_tokens, set ? c->n_out : c->n_rows, q_width,
                             "shared", &second.out));
        side_op(s, &second, 1);
    }
    side_rows(s, c->n_rows, c->n_out, 1000, c->u.attention.position);
    return TANDEM_OK;
}

static double budget_of(uint32_t type) {
    return type == TANDEM_TYPE_F32 ? 1e-10 : type == TANDEM_TYPE_F16 ? 1e-6 : 1e-5;
}

static op_case *add(case_list *list, uint32_t n_head, uint32_t n_kv_head, uint32_t dim, uint32_t window,
                    uint32_t type, uint32_t position, uint32_t n_rows) {
    op_case *c = case_add(list, (op_case){.build = build,
                                          .n_rows = n_rows,
                                          .max_tokens = n_rows,
                                          .amplitude = 1,
                                          .budget = budget_of(type)});
    c->u.attention.n_head = n_head;
    c->u.attention.n_kv_head = n_kv_head;
    c->u.attention.head_dim = dim;
    c->u.attention.window = window;
    c->u.attention.type = type;
    c->u.attention.position = position;
    c->u.attention.n_rope_pair = dim == 512 ? 64 : dim / 2;
    c->u.attention.max_chunk = n_rows + 3;
    c->u.attention.n_slot = 1;
    snprintf(c->name, sizeof c->name, "attention %u/%u heads of %u, window %u, %s, position %u, %u rows",
             n_head, n_kv_head, dim, window, tandem_kit_type(type)->name, position, n_rows);
    return c;
}

/* At another precision, which prefill may use; decode and caches of f32 stay as they are. */
static void at_precision(op_case *c, uint32_t precision) {
    static const char *const names[] = {"exact", "f16", "q8"};
    size_t n = strlen(c->name);
    c->precision = precision;
    snprintf(c->name + n, sizeof c->name - n, ", precision %s", names[precision]);
}

/* Many queries: several tiles of queries and of keys, ragged ones, windows that leave whole tiles out, splits
 * by the tens, rows of several slots, large numbers. */
static void prefill_cases(case_list *list, uint32_t type) {
    static const float amplitudes[] = {1e3f, 1e5f, 1e7f};
    for (uint32_t precision = TANDEM_PRECISION_EXACT; precision <= TANDEM_PRECISION_Q8; precision++) {
        op_case *cases[] = {add(list, 4, 1, 256, 0, type, 100, 17), add(list, 4, 1, 256, 96, type, 300, 64),
                            add(list, 8, 1, 512, 0, type, 40, 17), add(list, 8, 1, 512, 40, type, 150, 23)};
        for (uint32_t i = 0; i < 4; i++) {
            cases[i]->smoke = i < 3;
            at_precision(cases[i], precision);
        }
    }
    add(list, 4, 1, 256, 0, type, 2400, 16); /* two levels of merging */
    add(list, 8, 1, 512, 0, type, 1500, 4);
    add(list, 4, 2, 256, 70, type, 0, 130);
    add(list, 6, 2, 256, 33, type, 61, 40);
    op_case *c = add(list, 8, 2, 256, 32, type, 90, 40);
    c->u.attention.shared = c->u.attention.out_set = 1;
    c->n_out = 11;
    c = add(list, 8, 1, 512, 48, type, 70, 24);
    c->u.attention.visible = 1;
    snprintf(c->name, sizeof c->name, "attention of an image block in a window, %s",
             tandem_kit_type(type)->name);
    for (uint32_t dim = 256; dim <= 512; dim += 256) {
        c = add(list, 4, 1, dim, 50, type, 90, 40);
        c->u.attention.n_slot = 2;
        snprintf(c->name, sizeof c->name, "attention of two slots, heads of %u, %s", dim,
                 tandem_kit_type(type)->name);
    }
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t precision = TANDEM_PRECISION_EXACT; precision <= TANDEM_PRECISION_F16; precision++) {
            c = add(list, 4, 1, 256, 0, type, 50, 17);
            c->amplitude = amplitudes[i];
            snprintf(c->name, sizeof c->name, "attention amplitude %g, %s, 17 rows", (double)amplitudes[i],
                     tandem_kit_type(type)->name);
            at_precision(c, precision);
        }
}

void attention_cases(case_list *list) {
    static const uint32_t types[] = {TANDEM_TYPE_F32, TANDEM_TYPE_F16, TANDEM_TYPE_Q8_0};
    static const uint32_t counts[] = {1, 2, 17, 64};
    for (uint32_t t = 0; t < 3; t++)
        for (uint32_t n = 0; n < 4; n++) {
            add(list, 4, 1, 256, 0, types[t], 100, counts[n])->smoke = 1;
            add(list, 4, 1, 256, 96, types[t], 300, counts[n])->smoke = 1;
            add(list, 8, 1, 512, 0, types[t], 40, counts[n])->smoke = 1;
        }
    for (uint32_t t = 0; t < 3; t++) {
        add(list, 4, 1, 256, 0, types[t], 0, 1);
        add(list, 4, 1, 256, 512, types[t], 0, 17);
        add(list, 4, 1, 256, 512, types[t], 4095, 1);
        add(list, 4, 1, 256, 0, types[t], 4095, 1);
        add(list, 4, 1, 256, 512, types[t], 100003, 2);
        add(list, 4, 1, 256, 512, types[t], 262143, 1);
        add(list, 16, 2, 512, 0, types[t], 777, 2)->u.attention.flags =
            TANDEM_ATTENTION_K_IS_V | TANDEM_ATTENTION_V_NORM;
        add(list, 16, 8, 256, 64, types[t], 200, 3)->u.attention.flags = TANDEM_ATTENTION_V_NORM;
        op_case *c = add(list, 8, 2, 256, 32, types[t], 90, 5);
        c->u.attention.shared = 1;
        c = add(list, 8, 2, 256, 32, types[t], 90, 17);
        c->u.attention.shared = c->u.attention.out_set = 1;
        c->n_out = 3;
        c = add(list, 4, 1, 256, 0, types[t], 20, 17);
        c->u.attention.visible = 1;
        snprintf(c->name, sizeof c->name, "attention of an image block, %s", tandem_kit_type(types[t])->name);
    }
    add(list, 2, 1, 512, 0, TANDEM_TYPE_F16, 262143, 1);
    add(list, 1, 1, 64, 0, TANDEM_TYPE_F32, 33, 3);
    add(list, 16, 1, 64, 8, TANDEM_TYPE_F32, 33, 9);
    add(list, 32, 16, 256, 16, TANDEM_TYPE_F16, 30, 2);
    add(list, 3, 3, 128, 1, TANDEM_TYPE_F32, 12, 4);
    add(list, 8, 4, 256, 0, TANDEM_TYPE_F16, 0, 130);
    add(list, 4, 1, 256, 40, TANDEM_TYPE_F32, 0, 130);
    op_case *c = add(list, 4, 1, 256, 0, TANDEM_TYPE_F32, 50, 2);
    c->u.attention.no_norm = 1;
    static const float amplitudes[] = {1e3f, 1e5f, 1e7f};
    for (uint32_t i = 0; i < 3; i++) {
        c = add(list, 4, 1, 256, 0, TANDEM_TYPE_F32, 50, 2);
        c->amplitude = amplitudes[i];
        snprintf(c->name, sizeof c->name, "attention amplitude %g, f32", (double)amplitudes[i]);
        c = add(list, 4, 1, 256, 0, TANDEM_TYPE_F16, 50, 2);
        c->amplitude = amplitudes[i];
        snprintf(c->name, sizeof c->name, "attention amplitude %g, f16", (double)amplitudes[i]);
        if (i) /* V beyond f16 is clamped alike everywhere */
            c->u.attention.flags = 0;
    }
    prefill_cases(list, TANDEM_TYPE_F16);
    prefill_cases(list, TANDEM_TYPE_Q8_0);
}
