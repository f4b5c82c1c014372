/* model_config.h: the shape of a model (Gemma 3 or Gemma 4), from a GGUF file or a preset, and the tensors it
 * has.
 *
 * One plain struct, copyable, without pointers. Loader, graph builder, `inspect` and synthetic weights all
 * work from it and from the one list of tensors derived from it.
 *
 * Threads: pure functions, any thread.
 */
#ifndef TANDEM_HOST_MODEL_CONFIG_H
#define TANDEM_HOST_MODEL_CONFIG_H

#include "gguf.h"

#define MODEL_MAX_LAYERS 256u
#define MODEL_MAX_ROPE_PAIRS 512u

#define MODEL_GEMMA3 3u
#define MODEL_GEMMA4 4u

/* One decoder layer. */
typedef struct model_layer {
    uint32_t window; /* visible positions, the query's own included; 0: all (a global layer) */
    uint32_t n_head;
    uint32_t n_kv_head;
    uint32_t head_dim;
    uint32_t d_ff;        /* width of the dense feed-forward part */
    uint32_t kv_layer;    /* the layer whose cache it reads: itself, or an earlier one (then it has only q) */
    uint32_t n_rope_pair; /* rotating pairs, <= head_dim / 2; pair i is components i and i + head_dim / 2 */
    bool k_is_v;          /* no attn_v: v is the raw k */
    bool has_scale;       /* layer_output_scale is there (else 1) */
    bool has_unused_kv;   /* the file has K/V tensors for a layer that reads another's cache */
    double rope_base;
    double rope_scale; /* multiplies the frequencies (1 but for linear scaling) */
} model_layer;

typedef struct model_config {
    uint32_t family; /* MODEL_GEMMA3, MODEL_GEMMA4 */
    char name[64];   /* preset, or general.name */
    uint32_t n_layer;
    uint32_t d_model;
    uint32_t n_vocab;
    uint32_t n_ctx;    /* trained context length */
    uint32_t window;   /* of the sliding layers; 0: there are none */
    uint32_t n_expert; /* 0: dense model */
    uint32_t n_used;
    uint32_t d_expert;    /* width of one expert */
    uint32_t d_ple;       /* per-layer input width; 0: none */
    uint32_t n_shared_kv; /* last layers that read another layer's cache */
    float norm_eps;
    float attention_scale;  /* multiplies q.k */
    float embed_scale;      /* multiplies the embedding row */
    float softcap;          /* of the logits; 0: none */
    bool v_norm;            /* v is RMS-normed without a weight */
    bool has_output;        /* output.weight exists; else the head is token_embd.weight */
    bool split_gate_up;     /* experts as ffn_gate_exps and ffn_up_exps; else fused ffn_gate_up_exps */
    bool has_expert_scale;  /* ffn_down_exps.scale is there (else 1) */
    uint32_t n_rope_factor; /* elements below; 0: none */
    float rope_factor[MODEL_MAX_ROPE_PAIRS]; /* rope_freqs.weight: divides the frequencies of global layers */
    model_layer layers[MODEL_MAX_LAYERS];
} model_config;

/* Reads and validates the metadata and the shape of every tensor the model needs; one sentence names the key
 * or tensor at fault. */
int model_config_read(model_config *config, const gguf_file *file, tandem_message *message);

/* gemma4-e2b, gemma4-e4b, gemma4-12b, gemma4-26b-a4b, gemma4-31b, gemma3-270m (any case). */
int model_config_preset(model_config *config, const char *preset, tandem_message *message);
const char *model_preset_at(uint32_t index); /* NULL: no more */

/* Changes to a preset; 0 means unchanged. Layers keep the preset's pattern of windows, widths and sharing. */
typedef struct model_overrides {
    uint32_t n_layer;
    uint32_t d_model;
    uint32_t d_ff;
    uint32_t n_vocab;
    uint32_t n_head;
    uint32_t n_kv_head; /* sliding layers; global ones keep their ratio, at least 1 */
    uint32_t head_dim;  /* sliding layers; global ones keep their ratio */
    uint32_t window;
    uint32_t n_expert;
    uint32_t n_used;
    uint32_t d_expert;
    uint32_t n_ctx;
} model_overrides;

int model_config_override(model_config *config, const model_overrides *overrides, tandem_message *message);

/* Radians per position of each rotating pair of a layer: omega[n_rope_pair]. */
void model_config_rope(const model_config *config, uint32_t layer, double *omega);

/* Roles of tensors. Those above MODEL_T_LAYER_FIRST exist once per layer. */
#define MODEL_T_TOKEN_EMBD 0u
#define MODEL_T_OUTPUT_NORM 1u
#define MODEL_T_OUTPUT 2u
#define MODEL_T_ROPE_FREQS 3u
#define MODEL_T_PLE_TOKEN_EMBD 4u
#define MODEL_T_PLE_MODEL_PROJ 5u
#define MODEL_T_PLE_PROJ_NORM 6u
#define MODEL_T_LAYER_FIRST 7u
#define MODEL_T_ATTN_NORM 7u
#define MODEL_T_ATTN_Q 8u
#define MODEL_T_ATTN_K 9u
#define MODEL_T_ATTN_V 10u
#define MODEL_T_ATTN_OUTPUT 11u
#define MODEL_T_ATTN_Q_NORM 12u
#define MODEL_T_ATTN_K_NORM 13u
#define MODEL_T_POST_ATTENTION_NORM 14u
#define MODEL_T_FFN_NORM 15u
#define MODEL_T_FFN_GATE 16u
#define MODEL_T_FFN_UP 17u
#define MODEL_T_FFN_DOWN 18u
#define MODEL_T_POST_FFW_NORM 19u
#define MODEL_T_LAYER_SCALE 20u
#define MODEL_T_PLE_INP_GATE 21u
#define MODEL_T_PLE_PROJ 22u
#define MODEL_T_PLE_POST_NORM 23u
#define MODEL_T_ROUTER 24u
#define MODEL_T_ROUTER_SCALE 25u
#define MODEL_T_GATE_UP_EXPS 26u
#define MODEL_T_GATE_EXPS 27u
#define MODEL_T_UP_EXPS 28u
#define MODEL_T_DOWN_EXPS 29u
#define MODEL_T_DOWN_EXPS_SCALE 30u
#define MODEL_T_PRE_FFW_NORM_2 31u
#define MODEL_T_POST_FFW_NORM_1 32u
#define MODEL_T_POST_FFW_NORM_2 33u
#define MODEL_N_ROLE 34u

typedef struct model_tensor {
    char name[GGUF_MAX_NAME];
    uint32_t role;
    uint32_t layer; /* TANDEM_NONE: not of a layer */
    uint32_t type;  /* by the mix asked for */
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* fastest first; 1 beyond n_dims */
    bool optional;                /* a file may lack it */
    bool used;                    /* false: may be in files, never read */
} model_tensor;

/* "blk.3.attn_q.weight". `layer` is ignored for tensors that exist once. */
void model_tensor_name(uint32_t role, uint32_t layer, char name[GGUF_MAX_NAME]);

/* A quant mix, as llama.cpp's tool makes it under that name: F32, F16, BF16, Q8_0, Q6_K; Q4_0, Q4_1, Q5_0,
 * Q5_1 (with a Q6_K embedding); Q4_K_M, Q5_K_M (with Q6_K where it matters most). Q4_0_PURE and the like, or
 * just Q4_K, Q5_K, Q2_K, Q3_K, IQ4_NL, IQ4_XS, MXFP4: one type for every matrix, the embedding too. Rows that
 * are not whole blocks fall back as there (Q4_K to Q5_0, ...). */
typedef struct model_mix {
    char name[16];
    uint32_t base;      /* type of matrices */
    uint32_t embedding; /* type of embedding tables */
    uint32_t more_bits; /* type of attn_v and ffn_down on the layers that get more bits */
    uint32_t file_type; /* general.file_type */
} model_mix;

int model_mix_by_name(model_mix *mix, const char *name, tandem_message *message);
const char *model_mix_at(uint32_t index); /* names for help texts; NULL: no more */

/* The tensors of a model in file order, types by the mix (NULL: F32). *out is malloc'd. */
int model_tensor_list(const model_config *config, const model_mix *mix, model_tensor **out, uint32_t *n,
                      tandem_message *message);

#endif
