/* gpu_model.h: a plugin, a context, and a small model of two layers with everything a real one has, for
 * the tests of the GPU plugins. It is built through the ABI alone, so the reference can build the same one.
 */
#ifndef TANDEM_TESTS_GPU_MODEL_H
#define TANDEM_TESTS_GPU_MODEL_H

#include "loader.h"

#include "gpu/test_interface.h"

#include "../vulkan/test_interface.h"

#define MODEL_LAYERS 2u
#define MODEL_MAX_OPS 24u
#define MODEL_TOPK 4u

/* Where the tests run: opened by main, with the options of the command line. */
typedef struct fixture {
    tandem_plugin *plugin;
    const tandem_backend *api;
    const gpu_test_interface *inside; /* NULL: not a GPU plugin */
    const vk_test_interface *vulkan;  /* NULL: not the Vulkan plugin */
    tandem_context *context;
    tandem_error error;
    uint32_t device;
    unsigned n_log_error; /* messages at error level so far, such as those of validation */
} fixture;

/* Takes [--plugin NAME] (instead of `plugin`) [--option NAME=VALUE]... [--cache DIRECTORY]; exits with a
 * sentence if the plugin or the device is missing. */
void fixture_open(fixture *f, const char *plugin, int n_argument, char **arguments);
void fixture_close(fixture *f);
/* Whether the device has what this precision needs: q8 on Vulkan is built on integer dot products. */
int fixture_offers(const fixture *f, uint32_t precision);
tandem_context *fixture_context(fixture *f, uint64_t memory_cap);

typedef struct model_weights {
    tandem_weights *qkv, *out, *gate_up, *down;
    tandem_weights *router, *experts; /* NULL: a dense layer */
} model_weights;

/* Two layers: a sliding one and a global one. */
typedef struct model_shape {
    uint32_t d, ff, n_head, n_kv_head, head_dim, window, n_vocab, n_ctx;
    uint32_t chunk;   /* most rows of a run */
    uint32_t n_out;   /* most wanted rows of a run */
    uint32_t kv_type; /* TANDEM_TYPE_* */
    uint32_t n_slot;
    uint32_t n_expert, n_used, d_expert; /* beside the dense part; 0: none */
    uint32_t empty; /* 1: weights are never written and k is 64: for programs that do not run */
} model_shape;

/* 128 wide, 4 heads of 32 on one KV head, window 16, 256 positions, 1100 tokens (several segments by option
 * vulkan.max_segment=131072), chunks of 24. */
extern const model_shape model_small;
/* The same with 8 experts, of which a token uses 2. */
extern const model_shape model_experts;
/* As wide and long as models get: 262144 tokens and positions, heads of 512, 128 experts. Empty. */
extern const model_shape model_wide;

typedef struct model {
    model_shape shape;
    const tandem_backend *api;
    tandem_context *context;
    tandem_error error;
    tandem_weights *table;
    model_weights layers[MODEL_LAYERS];
    tandem_kv *kv;
    tandem_buffer *vectors;     /* norm vectors, one after another */
    tandem_buffer *activations; /* all rows */
    tandem_buffer *result;      /* host-visible */
    double rope_omega[256];
    tandem_op_embed embed;
    tandem_op_stream streams[2 * MODEL_LAYERS + 1];
    tandem_op_matmul matmuls[4 * MODEL_LAYERS + 1];
    tandem_op_attention attentions[MODEL_LAYERS];
    tandem_op_moe_route routes[MODEL_LAYERS];
    tandem_op_moe_ffn experts[MODEL_LAYERS];
    tandem_op_topk topk;
    const tandem_op *ops[MODEL_MAX_OPS];
    uint32_t n_op;
} model;

/* Creates everything but programs; the first status that is not OK. model_close frees what there is. */
tandem_status model_open(model *m, const tandem_backend *api, tandem_context *context,
                         const model_shape *shape);
void model_close(model *m);

tandem_status model_program(model *m, uint32_t max_tokens, uint32_t max_out, uint32_t precision,
                            tandem_program **program);

/* Bytes between the TOPK rows, also of the result. */
uint64_t model_result_stride(void);

/* Runs tokens at the cache's length in slot 0, with the last row's TOPK in `result` at row `result_row`. */
tandem_status model_run(model *m, tandem_program *program, const uint32_t *tokens, uint32_t n,
                        uint32_t position, uint32_t result_row, tandem_ticket *ticket);

/* The TOPK row as floats and ids after the run has ended. */
typedef struct model_top {
    uint32_t id[MODEL_TOPK];
    float value[MODEL_TOPK];
    float logsumexp;
    float target;
} model_top;

tandem_status model_result(model *m, uint32_t result_row, model_top *top);

#endif
