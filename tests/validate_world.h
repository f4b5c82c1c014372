/* validate_world.h: a plugin that has objects and nothing else, and a valid program on it: two layers of a
 * small model and its head. The tests of the validator change one thing of it at a time. */
#ifndef TANDEM_TESTS_VALIDATE_WORLD_H
#define TANDEM_TESTS_VALIDATE_WORLD_H

#include <tandem/validate.h>

struct tandem_buffer {
    uint64_t bytes;
};
struct tandem_weights {
    uint32_t n_record, n_matrix;
    tandem_matrix_desc matrices[4];
};
struct tandem_kv {
    uint32_t n_layer, n_slot, max_chunk;
    tandem_kv_layer layers[4];
};

enum { D = 64, N_HEAD = 4, N_KV = 2, HEAD_DIM = 32, D_FF = 96, N_VOCAB = 100, N_TOK = 8, N_OUT = 2 };
enum { N_EXPERT = 6, N_USED = 3 };
enum { EMBED, QKV, ATTEND, OUTPUT, STREAM, GLU, DOWN, ROUTE, EXPERTS, ATTEND_SHARED, ADD, HEAD, TOPK, N_OP };

typedef struct world {
    tandem_buffer h[2], q, k, v, mixed, branch, normed, glu, sum, logits, top, vectors, result, route,
        probabilities, imposed, moe;
    tandem_weights embed, qkv, output, gate_up, joined, down, router, experts;
    tandem_kv kv, other_kv;
    double omega[HEAD_DIM / 2];
    tandem_op_embed embed_op;
    tandem_op_stream prologue, stream_op;
    tandem_op_matmul qkv_op, output_op, glu_op, down_op, head_op;
    tandem_op_attention attend_op, shared_op;
    tandem_op_elementwise add_op;
    tandem_op_topk topk_op;
    tandem_op_moe_route route_op;
    tandem_op_moe_ffn experts_op;
    const tandem_op *ops[N_OP];
    tandem_program_desc desc;

    tandem_kit_limits limits;
    uint32_t tokens[N_TOK];
    tandem_row rows[N_TOK];
    tandem_out outs[N_OUT];
    uint32_t lengths[2];
    tandem_row next;
    int has_next;
    tandem_run run;
} world;

/* The functions that the validator calls. */
extern const tandem_backend world_table;

/* Makes everything anew. */
void world_build(world *w);

/* The same with a valid run of the program: 4 rows at positions 5.. of slot 0, the last two wanted. Returns
 * the status of tandem_kit_program_limits. */
tandem_status world_build_run(world *w, tandem_error *error);

tandem_matrix_desc world_matrix(uint32_t role, uint64_t n_row, uint64_t n_col);

#endif
