/* host/probe_math.c: attention, products and norms in double, for the probe (contract: sweep_probe.h). */
#include <math.h>
#include <stdlib.h>

#include <tandem/quants.h>

#include "sweep_probe.h"

double probe_error(const double *a, const double *b, uint32_t n) {
    double sum = 0, scale = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (a[i] - b[i]) * (a[i] - b[i]);
        scale += b[i] * b[i];
    }
    return scale > 0 ? sum / scale : sum > 0 ? INFINITY : sum; /* NaN stays NaN */
}

void probe_norm_rotate(const float *x, const float *w, uint32_t n, double eps, const double *omega,
                       uint32_t n_pair, uint32_t position, double *y) {
    double mean = 0;
    for (uint32_t i = 0; i < n; i++)
        mean += (double)x[i] * x[i] / n;
    const double scale = eps < 0 ? 1 : 1 / sqrt(mean + eps);
    for (uint32_t i = 0; i < n; i++)
        y[i] = x[i] * scale * (w ? w[i] : 1);
    for (uint32_t i = 0; i < n_pair; i++) {
        const double angle = position * omega[i], a = y[i], b = y[i + n / 2];
        y[i] = a * cos(angle) - b * sin(angle);
        y[i + n / 2] = a * sin(angle) + b * cos(angle);
    }
}

/* Online: what has been summed is scaled down when a greater score comes. */
void probe_softmax_add(probe_softmax *s, const float *k, const float *v, uint32_t n_row, uint32_t stride) {
    for (uint32_t r = 0; r < n_row; r++, k += stride, v += stride) {
        double score = 0;
        for (uint32_t i = 0; i < s->n; i++)
            score += s->q[i] * k[i];
        score *= s->scale;
        if (score > s->most) {
            const double shrink = exp(s->most - score);
            s->most = score;
            s->sum *= shrink;
            for (uint32_t i = 0; i < s->n; i++)
                s->acc[i] *= shrink;
        }
        const double weight = exp(score - s->most);
        s->sum += weight;
        for (uint32_t i = 0; i < s->n; i++)
            s->acc[i] += weight * v[i];
    }
}

int probe_rows(const model_source *source, const source_tensor *t, const uint64_t *row, uint32_t n_row,
               const float *x, double *y, tandem_message *message) {
    const uint64_t n = t->dims[0];
    float *w = malloc(n * sizeof *w);
    void *scratch = malloc(t->row_bytes);
    int status = w && scratch ? TANDEM_OK : message_out_of_memory(message, "a row", t->row_bytes);
    for (uint32_t i = 0; i < n_row && !status; i++) {
        const void *bytes;
        status = model_source_rows(source, t, row[i], 1, scratch, &bytes, message);
        if (!status && tandem_kit_dequantise(t->type, bytes, w, n))
            status = message_fail(message, TANDEM_E_INTERNAL, "%s cannot be read.", t->name);
        y[i] = 0;
        for (uint64_t k = 0; k < n && !status; k++)
            y[i] += (double)w[k] * x[k];
    }
    free(w);
    free(scratch);
    return status;
}

double probe_gelu(double x) {
    return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}
