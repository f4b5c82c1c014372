/* The tensors of a model, and which format each gets in the usual mixes. */
#include "model_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <tandem/quants.h>

static const char *const ROLE_NAMES[MODEL_N_ROLE] = {
    [MODEL_T_TOKEN_EMBD] = "token_embd.weight",
    [MODEL_T_OUTPUT_NORM] = "output_norm.weight",
    [MODEL_T_OUTPUT] = "output.weight",
    [MODEL_T_ROPE_FREQS] = "rope_freqs.weight",
    [MODEL_T_PLE_TOKEN_EMBD] = "per_layer_token_embd.weight",
    [MODEL_T_PLE_MODEL_PROJ] = "per_layer_model_proj.weight",
    [MODEL_T_PLE_PROJ_NORM] = "per_layer_proj_norm.weight",
    [MODEL_T_ATTN_NORM] = "attn_norm.weight",
    [MODEL_T_ATTN_Q] = "attn_q.weight",
    [MODEL_T_ATTN_K] = "attn_k.weight",
    [MODEL_T_ATTN_V] = "attn_v.weight",
    [MODEL_T_ATTN_OUTPUT] = "attn_output.weight",
    [MODEL_T_ATTN_Q_NORM] = "attn_q_norm.weight",
    [MODEL_T_ATTN_K_NORM] = "attn_k_norm.weight",
    [MODEL_T_POST_ATTENTION_NORM] = "post_attention_norm.weight",
    [MODEL_T_FFN_NORM] = "ffn_norm.weight",
    [MODEL_T_FFN_GATE] = "ffn_gate.weight",
    [MODEL_T_FFN_UP] = "ffn_up.weight",
    [MODEL_T_FFN_DOWN] = "ffn_down.weight",
    [MODEL_T_POST_FFW_NORM] = "post_ffw_norm.weight",
    [MODEL_T_LAYER_SCALE] = "layer_output_scale.weight",
    [MODEL_T_PLE_INP_GATE] = "inp_gate.weight",
    [MODEL_T_PLE_PROJ] = "proj.weight",
    [MODEL_T_PLE_POST_NORM] = "post_norm.weight",
    [MODEL_T_ROUTER] = "ffn_gate_inp.weight",
    [MODEL_T_ROUTER_SCALE] = "ffn_gate_inp.scale",
    [MODEL_T_GATE_UP_EXPS] = "ffn_gate_up_exps.weight",
    [MODEL_T_GATE_EXPS] = "ffn_gate_exps.weight",
    [MODEL_T_UP_EXPS] = "ffn_up_exps.weight",
    [MODEL_T_DOWN_EXPS] = "ffn_down_exps.weight",
    [MODEL_T_DOWN_EXPS_SCALE] = "ffn_down_exps.scale",
    [MODEL_T_PRE_FFW_NORM_2] = "pre_ffw_norm_2.weight",
    [MODEL_T_POST_FFW_NORM_1] = "post_ffw_norm_1.weight",
    [MODEL_T_POST_FFW_NORM_2] = "post_ffw_norm_2.weight",
};

/* general.file_type numbers are llama.cpp's. The embedding of Q4_* to Q5_* files is Q6_K there. */
static const model_mix MIXES[] = {
    {"F32", TANDEM_TYPE_F32, TANDEM_TYPE_F32, TANDEM_TYPE_F32, 0},
    {"F16", TANDEM_TYPE_F16, TANDEM_TYPE_F16, TANDEM_TYPE_F16, 1},
    {"BF16", TANDEM_TYPE_BF16, TANDEM_TYPE_BF16, TANDEM_TYPE_BF16, 32},
    {"Q4_0", TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q6_K, TANDEM_TYPE_Q4_0, 2},
    {"Q4_1", TANDEM_TYPE_Q4_1, TANDEM_TYPE_Q6_K, TANDEM_TYPE_Q4_1, 3},
    {"Q5_0", TANDEM_TYPE_Q5_0, TANDEM_TYPE_Q6_K, TANDEM_TYPE_Q5_0, 8},
    {"Q5_1", TANDEM_TYPE_Q5_1, TANDEM_TYPE_Q6_K, TANDEM_TYPE_Q5_1, 9},
    {"Q8_0", TANDEM_TYPE_Q8_0, TANDEM_TYPE_Q8_0, TANDEM_TYPE_Q8_0, 7},
    {"Q4_K_M", TANDEM_TYPE_Q4_K, TANDEM_TYPE_Q6_K, TANDEM_TYPE_Q6_K, 15},
    {"Q5_K_M", TANDEM_TYPE_Q5_K, TANDEM_TYPE_Q6_K, TANDEM_TYPE_Q6_K, 17},
    {"Q6_K", TANDEM_TYPE_Q6_K, TANDEM_TYPE_Q6_K, TANDEM_TYPE_Q6_K, 18},
    {"Q4_0_PURE", TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q4_0, TANDEM_TYPE_Q4_0, 2},
    {"Q4_1_PURE", TANDEM_TYPE_Q4_1, TANDEM_TYPE_Q4_1, TANDEM_TYPE_Q4_1, 3},
    {"Q5_0_PURE", TANDEM_TYPE_Q5_0, TANDEM_TYPE_Q5_0, TANDEM_TYPE_Q5_0, 8},
    {"Q5_1_PURE", TANDEM_TYPE_Q5_1, TANDEM_TYPE_Q5_1, TANDEM_TYPE_Q5_1, 9},
    {"Q4_K_PURE", TANDEM_TYPE_Q4_K, TANDEM_TYPE_Q4_K, TANDEM_TYPE_Q4_K, 14},
    {"Q5_K_PURE", TANDEM_TYPE_Q5_K, TANDEM_TYPE_Q5_K, TANDEM_TYPE_Q5_K, 16},
    {"Q2_K_PURE", TANDEM_TYPE_Q2_K, TANDEM_TYPE_Q2_K, TANDEM_TYPE_Q2_K, 10},
    {"Q3_K_PURE", TANDEM_TYPE_Q3_K, TANDEM_TYPE_Q3_K, TANDEM_TYPE_Q3_K, 11},
    {"IQ4_NL_PURE", TANDEM_TYPE_IQ4_NL, TANDEM_TYPE_IQ4_NL, TANDEM_TYPE_IQ4_NL, 25},
    {"IQ4_XS_PURE", TANDEM_TYPE_IQ4_XS, TANDEM_TYPE_IQ4_XS, TANDEM_TYPE_IQ4_XS, 30},
    {"MXFP4_PURE", TANDEM_TYPE_MXFP4, TANDEM_TYPE_MXFP4, TANDEM_TYPE_MXFP4, 38},
};
#define N_MIX (sizeof MIXES / sizeof *MIXES)

const char *model_mix_at(uint32_t index) {
    return index < N_MIX ? MIXES[index].name : NULL;
}

int model_mix_by_name(model_mix *mix, const char *name, tandem_message *message) {
    char list[320] = "", pure[32];
    snprintf(pure, sizeof pure, "%.16s_PURE", name);
    for (size_t i = 0; i < N_MIX; i++) {
        if (strcasecmp(MIXES[i].name, name) == 0 || strcasecmp(MIXES[i].name, pure) == 0) {
            *mix = MIXES[i];
            return TANDEM_OK;
        }
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", MIXES[i].name);
    }
    return message_fail(message, TANDEM_E_INVALID, "'%s' is no quant mix; there are %s", name, list);
}

void model_tensor_name(uint32_t role, uint32_t layer, char name[GGUF_MAX_NAME]) {
    if (role < MODEL_T_LAYER_FIRST)
        snprintf(name, GGUF_MAX_NAME, "%s", ROLE_NAMES[role]);
    else
        snprintf(name, GGUF_MAX_NAME, "blk.%u.%s", layer, ROLE_NAMES[role]);
}

/* The format used where rows are not whole blocks of the wanted one. */
static uint32_t fallback(uint32_t type, uint64_t n_col) {
    const tandem_type_info *info = tandem_kit_type(type);
    if (n_col % info->block == 0)
        return type;
    switch (type) {
    case TANDEM_TYPE_Q2_K:
    case TANDEM_TYPE_Q3_K:
    case TANDEM_TYPE_IQ4_XS:
        return fallback(TANDEM_TYPE_IQ4_NL, n_col);
    case TANDEM_TYPE_Q4_K:
        return fallback(TANDEM_TYPE_Q5_0, n_col);
    case TANDEM_TYPE_Q5_K:
        return fallback(TANDEM_TYPE_Q5_1, n_col);
    case TANDEM_TYPE_Q6_K:
        return fallback(TANDEM_TYPE_Q8_0, n_col);
    default:
        return TANDEM_TYPE_F16;
    }
}

/* The layers that a "_M" mix gives more bits: the first and last eighth and every third between. */
static bool gets_more_bits(uint32_t i, uint32_t n) {
    return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
}

typedef struct list_builder {
    const model_config *c;
    const model_mix *mix;
    model_tensor *list;
    uint32_t n, capacity;
    uint32_t n_v, v; /* attn_v tensors in all, and so far */
    int status;
    tandem_message *message;
} list_builder;

static uint32_t choose_type(list_builder *b, uint32_t role, uint32_t layer, uint64_t n_col) {
    uint32_t type = b->mix->base;
    switch (role) {
    case MODEL_T_TOKEN_EMBD:
        type = b->c->has_output ? b->mix->base : b->mix->embedding;
        break;
    case MODEL_T_OUTPUT:
    case MODEL_T_PLE_TOKEN_EMBD:
        type = b->mix->embedding;
        break;
    case MODEL_T_PLE_MODEL_PROJ: /* llama.cpp's tool never quantises it */
        type = type == TANDEM_TYPE_F32 || type == TANDEM_TYPE_F16 ? type : TANDEM_TYPE_BF16;
        break;
    case MODEL_T_ROUTER:
        type = TANDEM_TYPE_F32;
        break;
    case MODEL_T_ATTN_V:
        if (gets_more_bits(b->v++, b->n_v))
            type = b->mix->more_bits;
        break;
    case MODEL_T_FFN_DOWN:
    case MODEL_T_DOWN_EXPS:
        if (gets_more_bits(layer, b->c->n_layer))
            type = b->mix->more_bits;
        break;
    default:
        break;
    }
    return fallback(type, n_col);
}

#define OPTIONAL 1u /* files may lack it */
#define UNUSED 2u   /* files may have it, nothing reads it */

/* A dimension of 0 ends the shape. */
static void add(list_builder *b, uint32_t role, uint32_t layer, uint32_t flags, uint64_t d0, uint64_t d1,
                uint64_t d2) {
    if (b->status == TANDEM_OK && b->n == b->capacity) {
        uint32_t wanted = b->capacity ? b->capacity * 2 : 256;
        model_tensor *bigger = realloc(b->list, wanted * sizeof *bigger);
        if (!bigger) {
            b->status = message_out_of_memory(b->message, "the tensor list", wanted * sizeof *bigger);
            return;
        }
        b->list = bigger;
        b->capacity = wanted;
    }
    if (b->status != TANDEM_OK)
        return;
    model_tensor *t = &b->list[b->n++];
    memset(t, 0, sizeof *t);
    model_tensor_name(role, layer, t->name);
    t->role = role;
    t->layer = role < MODEL_T_LAYER_FIRST ? TANDEM_NONE : layer;
    t->n_dims = d2 ? 3 : d1 ? 2 : 1;
    t->dims[0] = d0;
    t->dims[1] = d1 ? d1 : 1;
    t->dims[2] = d2 ? d2 : 1;
    t->dims[3] = 1;
    t->type = d1 ? choose_type(b, role, layer, d0) : TANDEM_TYPE_F32;
    t->optional = (flags & OPTIONAL) != 0;
    t->used = (flags & UNUSED) == 0;
}

static void add_global(list_builder *b) {
    const model_config *c = b->c;
    uint64_t ple = (uint64_t)c->d_ple * c->n_layer;
    add(b, MODEL_T_TOKEN_EMBD, 0, 0, c->d_model, c->n_vocab, 0);
    if (c->has_output)
        add(b, MODEL_T_OUTPUT, 0, OPTIONAL, c->d_model, c->n_vocab, 0);
    add(b, MODEL_T_OUTPUT_NORM, 0, 0, c->d_model, 0, 0);
    if (c->n_rope_factor)
        add(b, MODEL_T_ROPE_FREQS, 0, 0, c->n_rope_factor, 0, 0);
    if (c->d_ple) {
        add(b, MODEL_T_PLE_TOKEN_EMBD, 0, 0, ple, c->n_vocab, 0);
        add(b, MODEL_T_PLE_MODEL_PROJ, 0, 0, c->d_model, ple, 0);
        add(b, MODEL_T_PLE_PROJ_NORM, 0, 0, c->d_ple, 0, 0);
    }
}

static void add_attention(list_builder *b, uint32_t l) {
    const model_config *c = b->c;
    const model_layer *layer = &c->layers[l];
    uint64_t d_q = (uint64_t)layer->n_head * layer->head_dim,
             d_kv = (uint64_t)layer->n_kv_head * layer->head_dim;
    bool owner = layer->kv_layer == l;
    uint32_t kv_flags = owner ? 0 : UNUSED | OPTIONAL;
    add(b, MODEL_T_ATTN_NORM, l, 0, c->d_model, 0, 0);
    add(b, MODEL_T_ATTN_Q, l, 0, c->d_model, d_q, 0);
    add(b, MODEL_T_ATTN_Q_NORM, l, 0, layer->head_dim, 0, 0);
    if (owner || layer->has_unused_kv) {
        add(b, MODEL_T_ATTN_K, l, kv_flags, c->d_model, d_kv, 0);
        if (!layer->k_is_v)
            add(b, MODEL_T_ATTN_V, l, kv_flags, c->d_model, d_kv, 0);
        add(b, MODEL_T_ATTN_K_NORM, l, kv_flags, layer->head_dim, 0, 0);
    }
    add(b, MODEL_T_ATTN_OUTPUT, l, 0, d_q, c->d_model, 0);
    add(b, MODEL_T_POST_ATTENTION_NORM, l, 0, c->d_model, 0, 0);
}

static void add_experts(list_builder *b, uint32_t l) {
    const model_config *c = b->c;
    add(b, MODEL_T_ROUTER, l, 0, c->d_model, c->n_expert, 0);
    add(b, MODEL_T_ROUTER_SCALE, l, 0, c->d_model, 0, 0);
    if (c->split_gate_up) {
        add(b, MODEL_T_GATE_EXPS, l, 0, c->d_model, c->d_expert, c->n_expert);
        add(b, MODEL_T_UP_EXPS, l, 0, c->d_model, c->d_expert, c->n_expert);
    } else {
        add(b, MODEL_T_GATE_UP_EXPS, l, 0, c->d_model, 2 * (uint64_t)c->d_expert, c->n_expert);
    }
    add(b, MODEL_T_DOWN_EXPS, l, 0, c->d_expert, c->d_model, c->n_expert);
    if (c->has_expert_scale)
        add(b, MODEL_T_DOWN_EXPS_SCALE, l, OPTIONAL, c->n_expert, 0, 0);
    add(b, MODEL_T_PRE_FFW_NORM_2, l, 0, c->d_model, 0, 0);
    add(b, MODEL_T_POST_FFW_NORM_1, l, 0, c->d_model, 0, 0);
    add(b, MODEL_T_POST_FFW_NORM_2, l, 0, c->d_model, 0, 0);
}

static void add_layer(list_builder *b, uint32_t l) {
    const model_config *c = b->c;
    const model_layer *layer = &c->layers[l];
    add_attention(b, l);
    add(b, MODEL_T_FFN_NORM, l, 0, c->d_model, 0, 0);
    add(b, MODEL_T_FFN_GATE, l, 0, c->d_model, layer->d_ff, 0);
    add(b, MODEL_T_FFN_UP, l, 0, c->d_model, layer->d_ff, 0);
    add(b, MODEL_T_FFN_DOWN, l, 0, layer->d_ff, c->d_model, 0);
    add(b, MODEL_T_POST_FFW_NORM, l, 0, c->d_model, 0, 0);
    if (c->n_expert)
        add_experts(b, l);
    if (c->d_ple) {
        add(b, MODEL_T_PLE_INP_GATE, l, 0, c->d_model, c->d_ple, 0);
        add(b, MODEL_T_PLE_PROJ, l, 0, c->d_ple, c->d_model, 0);
        add(b, MODEL_T_PLE_POST_NORM, l, 0, c->d_model, 0, 0);
    }
    if (layer->has_scale)
        add(b, MODEL_T_LAYER_SCALE, l, OPTIONAL, 1, 0, 0);
}

int model_tensor_list(const model_config *c, const model_mix *mix, model_tensor **out, uint32_t *n,
                      tandem_message *message) {
    list_builder b = {.c = c, .mix = mix ? mix : &MIXES[0], .message = message};
    for (uint32_t l = 0; l < c->n_layer; l++) {
        const model_layer *layer = &c->layers[l];
        b.n_v += (layer->kv_layer == l || layer->has_unused_kv) && !layer->k_is_v;
    }
    add_global(&b);
    for (uint32_t l = 0; l < c->n_layer; l++)
        add_layer(&b, l);
    if (b.status != TANDEM_OK) {
        free(b.list);
        return b.status;
    }
    *out = b.list;
    *n = b.n;
    return TANDEM_OK;
}
