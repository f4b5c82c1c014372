/* validate_internal.h: how the rules of one op are checked.
 *
 * A check collects the op's views while the op's own rules are looked at; check_views then applies the rules
 * that all views have in common, and looks for overlaps.
 */
#ifndef TANDEM_KIT_VALIDATE_INTERNAL_H
#define TANDEM_KIT_VALIDATE_INTERNAL_H

#include <tandem/growth.h>
#include <tandem/message.h>
#include <tandem/validate.h>

enum { CHECK_MAX_VIEWS = 20 }; /* a MATMUL with a prologue has 19 */

/* What a view is to its op. */
typedef enum view_use {
    VIEW_INPUT,  /* f32 rows */
    VIEW_INDEX,  /* uint32 rows, aligned to 4 */
    VIEW_VECTOR, /* one f32 row for all, aligned to 4 */
    VIEW_OUTPUT, /* f32 rows */
} view_use;

typedef enum view_need { VIEW_OPTIONAL, VIEW_REQUIRED, VIEW_ABSENT } view_need;

typedef struct checked_view {
    char member[24]; /* "prologue.out_w[2]" */
    tandem_view view;
    view_use use;
    view_need need;
    uint64_t row_bytes;
    uint64_t n_row;        /* rows that a run may use at most */
    uint64_t buffer_bytes; /* filled by check_views */
} checked_view;

typedef struct check {
    const tandem_backend *table;
    tandem_error *error;
    uint32_t op_index; /* TANDEM_NONE: no op, `subject` says what */
    const char *subject;
    const tandem_op *head;
    uint32_t max_all, max_out;
    uint32_t n_view;
    checked_view views[CHECK_MAX_VIEWS];
} check;

/* Refuses by a rule: the sentence from the table, the member, and what was found there. */
tandem_status check_fail(const check *c, enum tandem_kit_rule rule, const char *member, const char *found,
                         ...) TANDEM_KIT_PRINTF(4, 5);

#define CHECK_TRY(call)                                                                                      \
    do {                                                                                                     \
        tandem_status check_status = (call);                                                                 \
        if (check_status != TANDEM_OK)                                                                       \
            return check_status;                                                                             \
    } while (0)

/* Adds a view; index < 0: `name` is the whole member. row_bytes counts for present views only. */
void check_add_view(check *c, const char *name, int index, const tandem_view *view, view_use use,
                    view_need need, uint64_t row_bytes);

/* Presence, row sets, alignment, stride, range, overlaps. out_may_equal_first: view "out" may be exactly view
 * 0. */
tandem_status check_views(check *c, int out_may_equal_first);

/* n f32 in bytes, or UINT64_MAX, which no buffer has. */
uint64_t check_f32_bytes(uint64_t n);

tandem_status check_finite(const check *c, const char *member, double value);

/* One op without looking at others. `op` is the taken copy. */
tandem_status check_op(check *c, const tandem_kit_op *op);

#endif
