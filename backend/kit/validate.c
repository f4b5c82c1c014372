/* validate.c: the table of rules, and the rules that all views have in common (contract: tandem/validate.h).
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "validate_internal.h"

typedef struct rule_text {
    const char *name;
    tandem_status status;
    const char *sentence;
} rule_text;

#define RULE_TEXT(id, status, sentence) {#id, TANDEM_E_##status, sentence},
static const rule_text rules[TANDEM_KIT_N_RULE] = {TANDEM_KIT_RULES(RULE_TEXT)};

const char *tandem_kit_rule_name(uint32_t rule) {
    return rule < TANDEM_KIT_N_RULE ? rules[rule].name : NULL;
}

const char *tandem_kit_rule_sentence(uint32_t rule) {
    return rule < TANDEM_KIT_N_RULE ? rules[rule].sentence : NULL;
}

tandem_status check_fail(const check *c, enum tandem_kit_rule rule, const char *member, const char *found,
                         ...) {
    char subject[128], detail[240];
    const rule_text *text = &rules[rule];
    va_list arguments;
    va_start(arguments, found);
    vsnprintf(detail, sizeof detail, found, arguments);
    va_end(arguments);
    if (c->head == NULL)
        snprintf(subject, sizeof subject, "%s", c->subject);
    else if (c->head->label == NULL)
        snprintf(subject, sizeof subject, "op %u (%s)", c->op_index, tandem_kit_op_name(c->head->kind));
    else
        snprintf(subject, sizeof subject, "op %u (%s \"%.64s\")", c->op_index,
                 tandem_kit_op_name(c->head->kind), c->head->label);
    return tandem_kit_fail_op(c->error, text->status, c->op_index, "%s, %s: %s: %s [%s]", subject, member,
                              text->sentence, detail, text->name);
}

uint64_t check_f32_bytes(uint64_t n) {
    return n <= UINT64_MAX / sizeof(float) ? n * sizeof(float) : UINT64_MAX;
}

tandem_status check_finite(const check *c, const char *member, double value) {
    return isfinite(value) ? TANDEM_OK : check_fail(c, TANDEM_KIT_RULE_NOT_FINITE, member, "%g", value);
}

void check_add_view(check *c, const char *name, int index, const tandem_view *view, view_use use,
                    view_need need, uint64_t row_bytes) {
    checked_view *v = &c->views[c->n_view++];
    *v = (checked_view){.view = *view, .use = use, .need = need, .row_bytes = row_bytes};
    if (index < 0)
        snprintf(v->member, sizeof v->member, "%s", name);
    else
        snprintf(v->member, sizeof v->member, "%s[%d]", name, index);
    v->n_row = use == VIEW_VECTOR ? 1 : view->rows == TANDEM_ROWS_OUT ? c->max_out : c->max_all;
}

static const char *rows_name(uint32_t rows) {
    return rows == TANDEM_ROWS_ALL     ? "ALL"
           : rows == TANDEM_ROWS_OUT   ? "OUT"
           : rows == TANDEM_ROWS_CONST ? "CONST"
                                       : "unknown";
}

/* An op on ALL rows reads and writes ALL; on OUT rows it reads either and writes OUT; vectors are CONST. */
static int rows_fit(const checked_view *v, uint32_t op_rows) {
    switch (v->use) {
    case VIEW_VECTOR:
        return v->view.rows == TANDEM_ROWS_CONST;
    case VIEW_OUTPUT:
        return v->view.rows == op_rows;
    default:
        return v->view.rows == TANDEM_ROWS_ALL ||
               (v->view.rows == TANDEM_ROWS_OUT && op_rows == TANDEM_ROWS_OUT);
    }
}

/* Whether row n_row - 1 ends inside the buffer; no product can wrap. */
static int in_range(const checked_view *v) {
    if (v->n_row == 0)
        return 1;
    if (v->row_bytes > v->buffer_bytes || v->view.offset > v->buffer_bytes - v->row_bytes)
        return 0;
    uint64_t room = v->buffer_bytes - v->row_bytes - v->view.offset;
    return v->n_row == 1 || v->view.stride == 0 || v->n_row - 1 <= room / v->view.stride;
}

static tandem_status check_view(const check *c, checked_view *v) {
    if (v->view.buffer == NULL)
        return v->need == VIEW_REQUIRED ? check_fail(c, TANDEM_KIT_RULE_VIEW_MISSING, v->member, "no buffer")
                                        : TANDEM_OK;
    if (v->need == VIEW_ABSENT)
        return check_fail(c, TANDEM_KIT_RULE_VIEW_UNWANTED, v->member, "a buffer is given");
    if (v->view.reserved != 0)
        return check_fail(c, TANDEM_KIT_RULE_RESERVED, v->member, "reserved is %u", v->view.reserved);
    if (!rows_fit(v, c->head->rows))
        return check_fail(c, TANDEM_KIT_RULE_VIEW_ROWS, v->member, "rows %s (%u) in an op on %s rows",
                          rows_name(v->view.rows), v->view.rows, rows_name(c->head->rows));
    uint64_t alignment = v->use == VIEW_VECTOR || v->use == VIEW_INDEX ? 4 : 16;
    int strided = v->use != VIEW_VECTOR; /* the stride of a vector means nothing */
    if (v->view.offset % alignment != 0 || (strided && v->view.stride % alignment != 0))
        return check_fail(c, TANDEM_KIT_RULE_VIEW_ALIGNMENT, v->member,
                          "offset %llu, stride %llu, not multiples of %llu",
                          (unsigned long long)v->view.offset, (unsigned long long)v->view.stride,
                          (unsigned long long)alignment);
    if (strided && v->n_row > 1 && v->view.stride < v->row_bytes)
        return check_fail(c, TANDEM_KIT_RULE_VIEW_STRIDE, v->member, "stride %llu for rows of %llu bytes",
                          (unsigned long long)v->view.stride, (unsigned long long)v->row_bytes);
    tandem_buffer_info info = {.struct_size = sizeof info};
    tandem_status status = c->table->buffer_info(v->view.buffer, &info, c->error);
    if (status != TANDEM_OK)
        return status;
    v->buffer_bytes = info.bytes;
    if (!in_range(v))
        return check_fail(c, TANDEM_KIT_RULE_VIEW_RANGE, v->member,
                          "offset %llu, stride %llu, %llu rows of %llu bytes, buffer of %llu bytes",
                          (unsigned long long)v->view.offset, (unsigned long long)v->view.stride,
                          (unsigned long long)v->n_row, (unsigned long long)v->row_bytes,
                          (unsigned long long)v->buffer_bytes);
    return TANDEM_OK;
}

static uint64_t span_end(const checked_view *v) {
    return v->view.offset + (v->n_row > 1 ? (v->n_row - 1) * v->view.stride : 0) + v->row_bytes;
}

/* Whether two views that are in range may share a byte. Views of one stride may lie side by side, like
 * columns; all others must lie one behind the other. */
static int overlap(const checked_view *a, const checked_view *b) {
    if (a->view.buffer != b->view.buffer || a->n_row == 0 || b->n_row == 0)
        return 0;
    if (span_end(a) <= b->view.offset || span_end(b) <= a->view.offset)
        return 0;
    if (a->n_row == 1 || b->n_row == 1 || a->view.stride != b->view.stride)
        return 1;
    const checked_view *first = a->view.offset <= b->view.offset ? a : b, *second = first == a ? b : a;
    uint64_t shift = (second->view.offset - first->view.offset) % a->view.stride;
    return shift < first->row_bytes || a->view.stride - shift < second->row_bytes;
}

static int same_place(const checked_view *a, const checked_view *b) {
    return a->view.buffer == b->view.buffer && a->view.offset == b->view.offset &&
           a->view.stride == b->view.stride && a->view.rows == b->view.rows;
}

tandem_status check_views(check *c, int out_may_equal_first) {
    for (uint32_t i = 0; i < c->n_view; i++)
        CHECK_TRY(check_view(c, &c->views[i]));
    for (uint32_t i = 0; i < c->n_view; i++) {
        const checked_view *out = &c->views[i];
        if (out->use != VIEW_OUTPUT || out->view.buffer == NULL)
            continue;
        for (uint32_t j = 0; j < c->n_view; j++) {
            const checked_view *other = &c->views[j];
            if (j == i || (other->use == VIEW_OUTPUT && j < i))
                continue;
            if (out_may_equal_first && j == 0 && same_place(out, other))
                continue;
            if (overlap(out, other))
                return check_fail(c, TANDEM_KIT_RULE_VIEW_OVERLAP, out->member,
                                  "bytes %llu to %llu, and %s bytes %llu to %llu",
                                  (unsigned long long)out->view.offset, (unsigned long long)span_end(out),
                                  other->member, (unsigned long long)other->view.offset,
                                  (unsigned long long)span_end(other));
        }
    }
    return TANDEM_OK;
}
