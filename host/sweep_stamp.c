/* host/sweep_stamp.c: no number without its stamp: a short prefix, compared with the reference plugin.
 *
 * For each of 16 positions the reference keeps its likeliest id, the logits of 64 columns (its 8 likeliest
 * and 56 drawn by a hash) and the variance of the whole row. The error of a row is the mean of (a - b)^2 over
 * those columns divided by the variance: an estimate of sum (a - b)^2 / sum (b - mean b)^2 over the whole
 * row.
 */
#include <math.h>
#include <stdlib.h>

#include "hash.h"
#include "sweep.h"

#define STAMP_LIKELIEST 8u

/* What any right program may differ by: only the order of sums. */
#define BUDGET_LEAST 1e-8
/* An error of 1 is noise; no rounding excuses a tenth of it. */
#define BUDGET_MOST 1e-1

/* Where values are rounded on the way (cache types, precisions), a difference in the last bit flips a
 * rounding here and there, and flips make further flips: two right programs are as far from each other as
 * each is from the unrounded truth. That distance, `rounding`, is measured on the reference. */
double sweep_budget(double rounding) {
    return fmin(fmax(10 * rounding, BUDGET_LEAST), BUDGET_MOST);
}

typedef struct prefix_rows {
    const sweep_walk *walk;
    const cJSON *reference; /* whose columns are read; NULL: this is the reference */
    cJSON *top, *columns, *logits, *variance;
} prefix_rows;

/* The columns of a row: those of the reference, or new ones. */
static void choose_columns(const prefix_rows *rows, uint32_t index, const topk_row *row,
                           uint32_t columns[STAMP_COLUMNS]) {
    const cJSON *list = cJSON_GetArrayItem(cJSON_GetObjectItem(rows->reference, "columns"), (int)index);
    for (uint32_t i = 0; i < STAMP_COLUMNS; i++) {
        const cJSON *item = cJSON_GetArrayItem(list, (int)i);
        if (cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < rows->walk->n_vocab)
            columns[i] = (uint32_t)item->valuedouble;
        else if (i < STAMP_LIKELIEST && i < row->n)
            columns[i] = row->id[i];
        else
            columns[i] = (uint32_t)(hash_mix(index * STAMP_COLUMNS + i + 1) % rows->walk->n_vocab);
    }
}

static double variance_of(const float *x, uint32_t n) {
    double mean = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        mean += x[i];
    mean /= n;
    for (uint32_t i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum / n;
}

static int take_row(void *user, uint32_t index, const topk_row *row, const float *logits) {
    const prefix_rows *rows = user;
    uint32_t columns[STAMP_COLUMNS];
    choose_columns(rows, index, row, columns);
    cJSON_AddItemToArray(rows->top, cJSON_CreateNumber(row->id[0]));
    cJSON_AddItemToArray(rows->variance, cJSON_CreateNumber(variance_of(logits, rows->walk->n_vocab)));
    cJSON *names = cJSON_CreateArray(), *values = cJSON_CreateArray();
    for (uint32_t i = 0; i < STAMP_COLUMNS; i++) {
        cJSON_AddItemToArray(names, cJSON_CreateNumber(columns[i]));
        cJSON_AddItemToArray(values, cJSON_CreateNumber(logits[columns[i]]));
    }
    cJSON_AddItemToArray(rows->columns, names);
    cJSON_AddItemToArray(rows->logits, values);
    return TANDEM_OK;
}

/* Trained models are judged on words: gibberish drives them where every rounding is magnified. */
static const char prefix_text[] =
    "In the morning the wind had turned to the north, and the ships lay still in the harbour "
    "while the town slept under the first snow of the year.";

static void prefix_tokens(const sweep_walk *w, uint32_t tokens[STAMP_TOKENS]) {
    const gguf_file *file = model_source_gguf(session_description(w->s)->source);
    tokenizer *tok = NULL;
    token_list list = {0};
    bool words =
        file && tokenizer_create(&tok, file, NULL) == TANDEM_OK &&
        tokenizer_encode(tok, prefix_text, sizeof prefix_text - 1, TOKENIZE_BOS, &list, NULL) == TANDEM_OK &&
        list.n >= STAMP_TOKENS;
    for (uint32_t i = 0; i < STAMP_TOKENS; i++)
        tokens[i] = words ? list.ids[i] : sweep_token(w, i);
    token_list_free(&list);
    tokenizer_destroy(tok);
}

int sweep_prefix(sweep_walk *w, const cJSON *reference, cJSON **prefix, tandem_message *message) {
    uint32_t tokens[STAMP_TOKENS];
    prefix_tokens(w, tokens);
    cJSON *p = cJSON_CreateObject();
    prefix_rows rows = {.walk = w, .reference = reference};
    rows.top = cJSON_AddArrayToObject(p, "top");
    rows.columns = cJSON_AddArrayToObject(p, "columns");
    rows.logits = cJSON_AddArrayToObject(p, "logits");
    rows.variance = cJSON_AddArrayToObject(p, "variance");
    int status = session_score(w->s, tokens, NULL, STAMP_TOKENS, true, take_row, &rows, message);
    if (!status)
        status = session_truncate(w->s, 0, message);
    if (status) {
        cJSON_Delete(p);
        return status;
    }
    *prefix = p;
    return TANDEM_OK;
}

/* ---- comparison ---- */

static double number_at(const cJSON *array, int index) {
    const cJSON *item = cJSON_GetArrayItem(array, index);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

/* Error of one row by the estimate above, and the largest absolute difference. NaN where something is
 * missing. */
static double row_error(const cJSON *a, const cJSON *b, double variance, double *largest) {
    double sum = 0;
    *largest = 0;
    for (int i = 0; i < (int)STAMP_COLUMNS; i++) {
        double difference = number_at(a, i) - number_at(b, i);
        sum += difference * difference;
        *largest = fmax(*largest, fabs(difference));
    }
    return sum / STAMP_COLUMNS / variance;
}

/* Equal, or the reference's two best so close that the differences seen can swap them. */
static bool same_top(double ours, double theirs, const cJSON *their_logits, double largest) {
    double best = -INFINITY, second = -INFINITY;
    for (int i = 0; i < (int)STAMP_LIKELIEST; i++) {
        double x = number_at(their_logits, i);
        second = fmax(second, fmin(x, best));
        best = fmax(best, x);
    }
    return ours == theirs || best - second <= 2 * largest;
}

double sweep_prefix_error(const cJSON *prefix, const cJSON *reference, uint32_t *n_equal) {
    const cJSON *top = cJSON_GetObjectItem(prefix, "top"), *their_top = cJSON_GetObjectItem(reference, "top");
    const cJSON *logits = cJSON_GetObjectItem(prefix, "logits");
    const cJSON *their_logits = cJSON_GetObjectItem(reference, "logits");
    const cJSON *variance = cJSON_GetObjectItem(reference, "variance");
    double worst = 0;
    *n_equal = 0;
    for (int i = 0; i < (int)STAMP_TOKENS && !isnan(worst); i++) {
        const cJSON *theirs = cJSON_GetArrayItem(their_logits, i);
        double largest,
            error = row_error(cJSON_GetArrayItem(logits, i), theirs, number_at(variance, i), &largest);
        /* What is beyond any budget is no rounding, and excuses no swap. */
        *n_equal +=
            same_top(number_at(top, i), number_at(their_top, i), theirs, error <= BUDGET_MOST ? largest : 0);
        if (!(error <= worst)) /* NaN too */
            worst = error;
    }
    return worst;
}

cJSON *sweep_stamp(const cJSON *prefix, const cJSON *reference) {
    uint32_t n_equal;
    const double rounding = json_number(reference, "rounding"), budget = sweep_budget(rounding);
    const double worst = sweep_prefix_error(prefix, reference, &n_equal);
    cJSON *stamp = cJSON_CreateObject();
    cJSON_AddStringToObject(stamp, "method", "prefix");
    cJSON_AddBoolToObject(stamp, "ok", worst <= budget && n_equal == STAMP_TOKENS);
    cJSON_AddNumberToObject(stamp, "n", STAMP_TOKENS);
    cJSON_AddNumberToObject(stamp, "top1_equal", n_equal);
    cJSON_AddNumberToObject(stamp, "worst_error", worst);
    cJSON_AddNumberToObject(stamp, "rounding", rounding);
    cJSON_AddNumberToObject(stamp, "budget", budget);
    return stamp;
}
