/* host/sweep_stamp.c: no number without its stamp: a short prefix, compared with the reference plugin.
 *
 * Compared are, for each of 16 positions, the likeliest id and the 32 largest logits in order. The error of a
 * row is sum (a - b)^2 / sum (b - mean b)^2 over those logits. They lie closer together than all logits of a
 * row do, so the same deviation weighs some hundred times more here than in an error over the whole row; the
 * budgets allow for that.
 */
#include <math.h>

#include "sweep.h"

/* Both sides round alike, so only the order of sums differs with an f32 cache and exact activations. Where
 * values are rounded on the way (f16, 8 bit), a difference in the last bit may flip a rounding. */
#define BUDGET_EXACT 1e-6
#define BUDGET_ROUNDED 1e-3

typedef struct prefix_rows {
    cJSON *top, *logits;
} prefix_rows;

static int take_row(void *user, uint32_t index, const topk_row *row, const float *logits) {
    (void)index;
    (void)logits;
    prefix_rows *rows = user;
    cJSON_AddItemToArray(rows->top, cJSON_CreateNumber(row->id[0]));
    cJSON *values = cJSON_CreateArray();
    for (uint32_t i = 0; i < STAMP_TOP && i < row->n; i++)
        cJSON_AddItemToArray(values, cJSON_CreateNumber(row->logit[i]));
    cJSON_AddItemToArray(rows->logits, values);
    return TANDEM_OK;
}

int sweep_prefix(sweep_walk *w, cJSON **prefix, tandem_message *message) {
    uint32_t tokens[STAMP_TOKENS];
    for (uint32_t i = 0; i < STAMP_TOKENS; i++)
        tokens[i] = sweep_token(w, i);
    cJSON *p = cJSON_CreateObject();
    prefix_rows rows = {.top = cJSON_AddArrayToObject(p, "top"),
                        .logits = cJSON_AddArrayToObject(p, "logits")};
    int status = session_score(w->s, tokens, NULL, STAMP_TOKENS, false, take_row, &rows, message);
    if (!status)
        status = session_truncate(w->s, 0, message);
    if (status) {
        cJSON_Delete(p);
        return status;
    }
    *prefix = p;
    return TANDEM_OK;
}

/* Error of one row, and the largest absolute difference. NaN where the rows are no match. */
static double row_error(const cJSON *a, const cJSON *b, double *largest) {
    int n = cJSON_GetArraySize(b);
    *largest = 0;
    if (n == 0 || cJSON_GetArraySize(a) != n)
        return NAN;
    double mean = 0, error = 0, spread = 0;
    for (int i = 0; i < n; i++)
        mean += cJSON_GetArrayItem(b, i)->valuedouble / n;
    for (int i = 0; i < n; i++) {
        double x = cJSON_GetArrayItem(a, i)->valuedouble, y = cJSON_GetArrayItem(b, i)->valuedouble;
        error += (x - y) * (x - y);
        spread += (y - mean) * (y - mean);
        *largest = fmax(*largest, fabs(x - y));
    }
    return spread > 0 ? error / spread : error > 0 ? INFINITY : 0;
}

/* Equal, or so close on the reference that the differences seen can swap them. */
static bool same_top(const cJSON *a, const cJSON *b, const cJSON *b_logits, double largest) {
    if (a->valuedouble == b->valuedouble)
        return true;
    if (cJSON_GetArraySize(b_logits) < 2)
        return false;
    double gap = cJSON_GetArrayItem(b_logits, 0)->valuedouble - cJSON_GetArrayItem(b_logits, 1)->valuedouble;
    return gap <= 2 * largest;
}

cJSON *sweep_stamp(const cJSON *prefix, const cJSON *reference, uint32_t kv_type, uint32_t precision) {
    cJSON *stamp = cJSON_CreateObject();
    const bool exact = kv_type == TANDEM_TYPE_F32 && precision == TANDEM_PRECISION_EXACT;
    const double budget = exact ? BUDGET_EXACT : BUDGET_ROUNDED;
    const cJSON *top = cJSON_GetObjectItem(prefix, "top"), *logits = cJSON_GetObjectItem(prefix, "logits");
    const cJSON *ref_top = cJSON_GetObjectItem(reference, "top"),
                *ref_logits = cJSON_GetObjectItem(reference, "logits");
    int n = cJSON_GetArraySize(ref_top), n_equal = 0;
    double worst = 0;
    bool good = n == (int)STAMP_TOKENS && cJSON_GetArraySize(top) == n && cJSON_GetArraySize(logits) == n &&
                cJSON_GetArraySize(ref_logits) == n;
    for (int i = 0; i < n && good; i++) {
        double largest,
            error = row_error(cJSON_GetArrayItem(logits, i), cJSON_GetArrayItem(ref_logits, i), &largest);
        n_equal += same_top(cJSON_GetArrayItem(top, i), cJSON_GetArrayItem(ref_top, i),
                            cJSON_GetArrayItem(ref_logits, i), largest);
        if (!(error <= worst)) /* NaN too */
            worst = error;
        if (isnan(error))
            break;
    }
    good = good && worst <= budget && n_equal == n;
    cJSON_AddStringToObject(stamp, "method", "prefix");
    cJSON_AddBoolToObject(stamp, "ok", good);
    cJSON_AddNumberToObject(stamp, "n", n);
    cJSON_AddNumberToObject(stamp, "top1_equal", n_equal);
    cJSON_AddNumberToObject(stamp, "worst_error", worst);
    cJSON_AddNumberToObject(stamp, "budget", budget);
    return stamp;
}
