/* Synthetic weights: the magnitude of every tensor, and filling any part of it. */
#include "synth_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/quants.h>

/* What the magnitudes aim at.
 *
 * Matrices keep the rms of their input (standard deviation 1 / sqrt(n_col)). Scores q.k have a standard
 * deviation of 2, as measured on a trained Gemma 4 12B, whose head norms are 1.0234 and 0.1221 at 256
 * elements. Logits have a standard deviation of 3. The embedding is tied to the head, so what is left of the
 * input token in the final stream would raise that token's own logit by d times the share of its energy:
 * branches are made large enough to push that to two standard deviations. Layer scales lie between 0.93 and
 * 0.99: with 0.85, sixty layers amplify the 8-bit rounding of activations ten times as much (0.17 instead of
 * 0.014 of the logits' energy in llama.cpp). */
#define SCORE_DEVIATION 2.0f
#define LOGIT_DEVIATION 3.0f
#define OWN_LOGIT_DEVIATIONS 2.0f
#define LEAST_BRANCH 0.2f
#define Q_NORM 1.0234f
#define LEAST_LAYER_SCALE 0.93f
#define LAYER_SCALE_RANGE 0.06f
#define NORM_SPREAD 0.2f
#define HEAD_NORM_SPREAD 0.1f
#define ROUTER_DEVIATION 2.0f

static uint64_t tensor_key(const synth *s, const char *name) {
    return hash_bytes(name, strlen(name), hash_mix(s->seed + SYNTH_GOLDEN));
}

/* Chooses layer scales and branches, and follows the rms of the stream through the layers. */
static void plan_magnitudes(synth *s) {
    const model_config *c = &s->config;
    float input = 1, added = 0; /* energy left of the embedding; energy of branches of rms 1 */
    float branches = c->d_ple ? 3 : 2;
    for (uint32_t l = 0; l < c->n_layer; l++) {
        char name[GGUF_MAX_NAME];
        model_tensor_name(MODEL_T_LAYER_SCALE, l, name);
        float uniform = (float)(hash_mix(tensor_key(s, name)) >> 40) * 0x1p-24f;
        float scale = c->layers[l].has_scale ? LEAST_LAYER_SCALE + LAYER_SCALE_RANGE * uniform : 1;
        s->layer_scale[l] = scale;
        input *= scale * scale;
        added = (added + branches) * scale * scale;
    }
    float share = OWN_LOGIT_DEVIATIONS * OWN_LOGIT_DEVIATIONS / (float)c->d_model;
    s->branch = share < 1 ? sqrtf(input * (1 / share - 1) / added) : LEAST_BRANCH;
    if (s->branch < LEAST_BRANCH)
        s->branch = LEAST_BRANCH;
    float energy = 1;
    for (uint32_t l = 0; l < c->n_layer; l++) {
        s->stream[l] = sqrtf(energy);
        energy = (energy + branches * s->branch * s->branch) * s->layer_scale[l] * s->layer_scale[l];
    }
}

static int create_pools(synth *s, tandem_message *message) {
    for (uint32_t i = 0; i < s->n_tensors; i++) {
        uint32_t type = s->tensors[i].type, p = 0;
        while (p < s->n_pools && s->pools[p].type != type)
            p++;
        if (p < s->n_pools || !block_pool_has_type(type))
            continue;
        int status = block_pool_create(&s->pools[s->n_pools++], type, s->seed, message);
        if (status != TANDEM_OK)
            return status;
    }
    return TANDEM_OK;
}

int synth_create(synth **out, const model_config *config, const model_mix *mix, uint64_t seed,
                 tandem_message *message) {
    synth *s = calloc(1, sizeof *s);
    if (!s)
        return message_out_of_memory(message, "synthetic weights", sizeof *s);
    s->config = *config;
    s->mix = *mix;
    s->seed = seed;
    plan_magnitudes(s);
    int status = model_tensor_list(config, mix, &s->tensors, &s->n_tensors, message);
    if (status == TANDEM_OK)
        status = create_pools(s, message);
    if (status != TANDEM_OK) {
        synth_destroy(s);
        return status;
    }
    *out = s;
    return TANDEM_OK;
}

void synth_destroy(synth *s) {
    if (!s)
        return;
    for (uint32_t i = 0; i < s->n_pools; i++)
        free(s->pools[i].blocks);
    free(s->tensors);
    free(s);
}

const model_config *synth_config(const synth *s) {
    return &s->config;
}

const model_tensor *synth_tensors(const synth *s, uint32_t *n) {
    *n = s->n_tensors;
    return s->tensors;
}

/* A vector's elements are mean * (1 + spread * normal). */
static void vector_magnitude(const synth *s, const model_tensor *t, float *mean, float *spread) {
    const model_config *c = &s->config;
    *mean = 1;
    *spread = NORM_SPREAD;
    switch (t->role) {
    case MODEL_T_OUTPUT_NORM:
        *mean = LOGIT_DEVIATION;
        break;
    case MODEL_T_ATTN_Q_NORM:
        *mean = Q_NORM;
        *spread = HEAD_NORM_SPREAD;
        break;
    case MODEL_T_ATTN_K_NORM:
        /* q.k sums head_dim products of deviation Q_NORM * mean */
        *mean = SCORE_DEVIATION / (sqrtf((float)t->dims[0]) * Q_NORM * c->attention_scale);
        *spread = HEAD_NORM_SPREAD;
        break;
    case MODEL_T_POST_ATTENTION_NORM:
    case MODEL_T_POST_FFW_NORM:
    case MODEL_T_PLE_POST_NORM:
        *mean = s->branch;
        break;
    case MODEL_T_LAYER_SCALE:
        *mean = s->layer_scale[t->layer];
        *spread = 0;
        break;
    case MODEL_T_ROUTER_SCALE:
        *mean = sqrtf((float)c->d_model); /* undoes the router's own d^-1/2 */
        break;
    default:
        break;
    }
}

static float matrix_deviation(const synth *s, const model_tensor *t) {
    float d = (float)s->config.d_model;
    switch (t->role) {
    case MODEL_T_PLE_TOKEN_EMBD: /* multiplied by sqrt(d_ple) */
        return 1 / sqrtf((float)s->config.d_ple);
    case MODEL_T_PLE_MODEL_PROJ: /* multiplied by d^-1/2 */
        return 1;
    case MODEL_T_PLE_INP_GATE: /* reads the stream as it is, without a norm */
        return 1 / (sqrtf(d) * s->stream[t->layer]);
    case MODEL_T_ROUTER:
        return ROUTER_DEVIATION / sqrtf(d);
    default:
        return 1 / sqrtf((float)t->dims[0]);
    }
}

static void fill_floats(uint32_t type, uint64_t key, float mean, float deviation, uint64_t first, uint64_t n,
                        uint8_t *dst) {
    for (uint64_t i = 0; i < n; i++) {
        float x = mean + deviation * synth_normal(key, first + i);
        if (type == TANDEM_TYPE_F32) {
            memcpy(dst + 4 * i, &x, sizeof x);
        } else {
            uint16_t half = type == TANDEM_TYPE_F16 ? tandem_kit_f32_to_f16(x) : tandem_kit_f32_to_bf16(x);
            memcpy(dst + 2 * i, &half, sizeof half);
        }
    }
}

/* Formats without a pool: microseconds a block. */
static void fill_quantised(uint32_t type, uint64_t key, float deviation, uint64_t first, uint64_t n,
                           uint8_t *dst) {
    const tandem_type_info *info = tandem_kit_type(type);
    float x[256];
    for (uint64_t b = first; b < first + n; b++, dst += info->block_bytes) {
        for (uint32_t i = 0; i < info->block; i++)
            x[i] = deviation * synth_normal(key, b * info->block + i);
        tandem_kit_quantise(type, x, dst, info->block);
    }
}

void synth_fill(const synth *s, const model_tensor *t, uint64_t first, uint64_t n, void *dst) {
    uint64_t key = tensor_key(s, t->name), n_col = t->dims[0];
    float mean = 0, deviation;
    if (t->role == MODEL_T_ROPE_FREQS) {
        memcpy(dst, s->config.rope_factor, n * n_col * sizeof *s->config.rope_factor);
        return;
    }
    if (t->n_dims > 1) {
        deviation = matrix_deviation(s, t);
    } else {
        vector_magnitude(s, t, &mean, &deviation);
        deviation *= mean;
    }
    uint64_t blocks = n_col / tandem_kit_type(t->type)->block;
    for (uint32_t p = 0; p < s->n_pools; p++) {
        if (s->pools[p].type == t->type) {
            block_pool_fill(&s->pools[p], key, deviation, first * blocks, n * blocks, dst);
            return;
        }
    }
    if (blocks < n_col)
        fill_quantised(t->type, key, deviation, first * blocks, n * blocks, dst);
    else
        fill_floats(t->type, key, mean, deviation, first * n_col, n * n_col, dst);
}
