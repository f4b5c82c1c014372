/* host/probe_whole.c: the programs that cells run, whole, against each other (contract: sweep_probe.h). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sweep_probe.h"

#define BUDGET_NOTHING_KNOWN 0.1 /* noise has an error of about 2 */

typedef struct first_row {
    float *logits; /* [n] */
    uint32_t n;
} first_row;

static int keep_first(void *user, uint32_t index, const topk_row *row, const float *logits) {
    first_row *first = user;
    (void)row;
    if (index == 0)
        memcpy(first->logits, logits, first->n * sizeof *logits);
    return TANDEM_OK;
}

static double difference(const float *a, const float *b, uint32_t n) {
    double mean = 0, sum = 0, spread = 0;
    for (uint32_t i = 0; i < n; i++)
        mean += (double)b[i] / n;
    for (uint32_t i = 0; i < n; i++) {
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        spread += (b[i] - mean) * (b[i] - mean);
    }
    return spread > 0 ? sum / spread : sum > 0 ? INFINITY : sum; /* NaN stays NaN */
}

/* The token by the program of decode. */
static int decode_one(probe *p, uint32_t token, float *logits, tandem_message *message) {
    const uint32_t start = p->s->length;
    int status = session_decode(p->s, token, true, message);
    if (!status)
        status = session_collect(p->s, NULL, NULL, message);
    if (!status)
        status = session_read_logits(p->s, logits, message);
    return status ? status : session_truncate(p->s, start, message);
}

/* The same as the first of a chunk. */
static int score_chunk(probe *p, const uint32_t *tokens, uint32_t n, float *logits, tandem_message *message) {
    first_row first = {logits, p->s->config->n_vocab};
    return session_score(p->s, tokens, NULL, n, true, keep_first, &first, message);
}

int probe_agreement(probe *p, const uint32_t *tokens, double budget, tandem_message *message) {
    const uint32_t n = p->s->config->n_vocab, pair[2] = {tokens[0], tokens[0]};
    if (p->s->desc.batch < 2 || !p->s->desc.n_score)
        return TANDEM_OK;
    float *a = malloc(2 * n * sizeof *a), *b = a + n;
    if (!a)
        return message_out_of_memory(message, "logits", 2ull * n * sizeof *a);
    int status = decode_one(p, tokens[0], a, message);
    if (!status)
        status = p->n_rows > 1 ? score_chunk(p, tokens, p->n_rows, b, message)
                               : score_chunk(p, pair, 2, b, message);
    if (!status)
        probe_add(p, "agreement", p->s->config->n_layer, difference(a, b, n),
                  budget > 0 ? budget : BUDGET_NOTHING_KNOWN);
    free(a);
    return status;
}
