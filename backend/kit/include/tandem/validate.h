/* tandem/validate.h: the rules of tandem/op.h, program.h, memory.h, kv.h and OPS.md, checked.
 *
 * Part of tandem-kit. Host and plugins call the same functions, so that a refusal reads the same everywhere:
 *     op 3 (MATMUL "blk.0.attn_qkv"), y[1]: the view ends beyond its buffer: offset 0, ... [VIEW_RANGE]
 * Every rule is one line of TANDEM_KIT_RULES. What only a plugin can know stays with it: formats, sizes and
 * devices it has no kernel for, whether a handle belongs to the context, whether records are written, what is
 * pending.
 *
 * All functions are [context] where they take handles, else [any-thread]. They allocate nothing, trust no
 * number, and read handles through the given table only. Structs of any version may come in
 * (tandem/growth.h).
 */
#ifndef TANDEM_VALIDATE_H
#define TANDEM_VALIDATE_H

#include <tandem/tandem.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(id, status, sentence) */
#define TANDEM_KIT_RULES(X)                                                                                  \
    X(RESERVED, UNSUPPORTED, "a reserved member is not zero")                                                \
    X(FLAGS, UNSUPPORTED, "a flag is set that this version does not have")                                   \
    X(POINTER, INVALID, "a mandatory pointer is NULL")                                                       \
    X(NOT_FINITE, INVALID, "a factor is infinite or not a number")                                           \
    X(DEVICE, INVALID, "there is no such device")                                                            \
    X(PLACEMENT, INVALID, "a placement is neither DEVICE nor HOST")                                          \
    X(BUFFER_BYTES, INVALID, "a buffer needs at least one byte")                                             \
    X(RANGE, INVALID, "the range ends beyond the object")                                                    \
    X(WEIGHTS_COUNT, INVALID, "weights need at least one record of 1 to 4 matrices")                         \
    X(MATRIX_ROLE, INVALID, "the role of a matrix is unknown, or taken by another of the record")            \
    X(MATRIX_TYPE, INVALID, "the element type of a matrix is unknown")                                       \
    X(MATRIX_SHAPE, INVALID, "a matrix needs rows, and columns that are a multiple of the type's block")     \
    X(MATRIX_BYTES, INVALID, "the weights are larger than 64 bits can count")                                \
    X(MATRIX_INDEX, INVALID, "there is no such record or matrix")                                            \
    X(WRITE_BYTES, INVALID, "the source bytes are not those of the rows")                                    \
    X(KV_COUNT, INVALID, "a cache needs at least one layer, one slot and a chunk of one row")                \
    X(KV_LAYOUT, INVALID, "the layout of the cache is unknown")                                              \
    X(KV_TYPE, INVALID, "a cache layer stores F32, F16 or Q8_0")                                             \
    X(KV_SHAPE, INVALID,                                                                                     \
      "a cache layer needs KV heads, an even head size up to 1024, in groups of 32 for Q8_0")                \
    X(KV_CAPACITY, INVALID,                                                                                  \
      "a cache layer needs a capacity that is positive and countable in 32-bit positions")                   \
    X(KV_SHARE, INVALID,                                                                                     \
      "a layer may share the storage of an earlier layer only that owns it and has the same shape")          \
    X(KV_BYTES, INVALID, "the cache is larger than 64 bits can count")                                       \
    X(KV_LAYER, INVALID, "the cache has no such layer")                                                      \
    X(PROGRAM_OPS, INVALID, "a program needs at least one op")                                               \
    X(PROGRAM_LIMITS, INVALID, "a program needs max_tokens >= 1, max_out <= max_tokens and max_slots >= 1")  \
    X(PRECISION, INVALID, "the precision is unknown")                                                        \
    X(OP_ROWS, INVALID, "an op works on ALL or on OUT rows")                                                 \
    X(VIEW_MISSING, INVALID, "a mandatory view is absent")                                                   \
    X(VIEW_UNWANTED, INVALID, "a view is present that must be absent here")                                  \
    X(VIEW_ROWS, INVALID, "the row set of the view does not fit the op")                                     \
    X(VIEW_ALIGNMENT, INVALID, "offset or stride is not aligned")                                            \
    X(VIEW_STRIDE, INVALID, "the stride is shorter than a row")                                              \
    X(VIEW_RANGE, INVALID, "the view ends beyond its buffer")                                                \
    X(VIEW_OVERLAP, INVALID, "an output overlaps another view of the op")                                    \
    X(STREAM_SHAPE, INVALID, "a stream needs slices of at least one element and at most three outputs")      \
    X(STREAM_BRANCH, INVALID, "a branch or a norm vector has no branch to belong to")                        \
    X(STREAM_IDLE, INVALID, "a stream that stands alone needs an output")                                    \
    X(EPS, INVALID, "eps is negative, infinite or not a number")                                             \
    X(MATMUL_COUNT, INVALID, "a product has 1 to 3 matrices of one record")                                  \
    X(MATMUL_ACTIVATION, INVALID, "the activation is unknown")                                               \
    X(MATMUL_GLU, INVALID,                                                                                   \
      "a GLU needs gate and up of one shape, or one GATE_UP with an even number of rows")                    \
    X(MATMUL_SOFTCAP, INVALID, "softcap is negative, not finite, or together with a GLU")                    \
    X(PROLOGUE_KIND, INVALID, "a prologue is a STREAM on the rows of its op")                                \
    X(PROLOGUE_OUTPUT, INVALID, "a matrix reads an output that the prologue does not have")                  \
    X(PROLOGUE_WIDTH, INVALID, "the prologue's rows are not as wide as the matrix")                          \
    X(ATTENTION_HEADS, INVALID, "n_head must be a positive multiple of the layer's n_kv_head")               \
    X(ATTENTION_ROPE, INVALID, "at most half of a head's elements can be the first of a rotated pair")       \
    X(ATTENTION_APPEND, INVALID,                                                                             \
      "only ALL rows of a layer that owns its storage bring k and v, once in a program")                     \
    X(ATTENTION_KV_PAIR, INVALID, "k and v come together, and K_IS_V stands for v")                          \
    X(ATTENTION_EARLY, INVALID,                                                                              \
      "the layer is read before an op of the program appends this run's rows to it")                         \
    X(ATTENTION_CACHE, INVALID,                                                                              \
      "all ATTENTION ops of a program name one cache, with as many slots as the program")                    \
    X(TOPK_K, INVALID, "k must be 1 to 64 and at most n")                                                    \
    X(ELEMENTS, INVALID, "a row needs at least one element")                                                 \
    X(MOE_USED, INVALID, "a row uses 1 to all of the experts, and a router has at most 1024")                \
    X(MOE_MATRICES, INVALID,                                                                                 \
      "an expert is GATE_UP and DOWN, or GATE, UP and DOWN, and down takes what gate and up yield")          \
    X(RUN_SOURCE, INVALID, "the source of the rows is unknown")                                              \
    X(RUN_ROWS, INVALID, "a run has 1 to max_tokens rows, given as rows or as tokens")                       \
    X(RUN_NEXT, INVALID, "DEVICE_NEXT is one row after a run with a TOPK, without rows, tokens or position") \
    X(RUN_TOKEN, INVALID, "a token is beyond the embedding table")                                           \
    X(RUN_SLOT, INVALID, "a row names a slot that the program does not have")                                \
    X(RUN_POSITION, INVALID, "the positions of a slot must follow on the cache's length")                    \
    X(RUN_CAPACITY, INVALID, "a position is beyond the capacity of the cache")                               \
    X(RUN_CHUNK, INVALID, "a slot has more rows than the cache's max_chunk")                                 \
    X(RUN_OUT, INVALID, "wanted outputs are at most max_out rows of the run, ascending")                     \
    X(RUN_TARGET, INVALID, "a target is beyond the logits, or there are no logits")                          \
    X(RUN_RESULT, INVALID, "a result needs a TOPK, an aligned offset and room in its buffer")

#define TANDEM_KIT_RULE_ID(id, status, sentence) TANDEM_KIT_RULE_##id,
enum tandem_kit_rule { TANDEM_KIT_RULES(TANDEM_KIT_RULE_ID) TANDEM_KIT_N_RULE };
#undef TANDEM_KIT_RULE_ID

/* "VIEW_RANGE" and its sentence; NULL beyond the last rule. */
const char *tandem_kit_rule_name(uint32_t rule);
const char *tandem_kit_rule_sentence(uint32_t rule);

/* ---- objects ---- */

tandem_status tandem_kit_validate_context(const tandem_context_desc *desc, uint32_t n_device,
                                          tandem_error *error);
tandem_status tandem_kit_validate_buffer(const tandem_buffer_desc *desc, tandem_error *error);
tandem_status tandem_kit_validate_weights(const tandem_weights_desc *desc, tandem_error *error);
tandem_status tandem_kit_validate_kv(const tandem_kv_desc *desc, tandem_error *error);

/* n bytes at offset of an object of `bytes`, to or from `memory`, which may be NULL for n = 0. `what` names
 * the object. */
tandem_status tandem_kit_validate_range(const char *what, uint64_t bytes, uint64_t offset, uint64_t n,
                                        const void *memory, tandem_error *error);

/* The arguments of weights_write, for the matrix that they name. That ranges follow one another is the
 * plugin's to say. */
tandem_status tandem_kit_validate_write(const tandem_matrix_desc *matrix, uint64_t first_row, uint64_t n_row,
                                        const void *source, uint64_t bytes, uint32_t flags,
                                        tandem_error *error);

/* ---- programs ---- */

/* One op, as for `supports`: as in a program of one row, alone. */
tandem_status tandem_kit_validate_op(const tandem_backend *table, const tandem_op *op, uint32_t precision,
                                     tandem_error *error);

/* A whole program. Errors carry the op's index. */
tandem_status tandem_kit_validate_program(const tandem_backend *table, const tandem_program_desc *desc,
                                          tandem_error *error);

/* What a run of a program must keep to. */
typedef struct tandem_kit_limits {
    uint32_t max_tokens;
    uint32_t max_out;
    uint32_t max_slots;
    uint32_t n_token;        /* tokens are below this; UINT32_MAX: no EMBED, any token */
    uint32_t n_logit;        /* targets are below this; 0: no TOPK */
    uint32_t topk_rows;      /* TANDEM_ROWS_* of the first TOPK */
    uint64_t topk_stride;    /* of its out view */
    uint64_t topk_row_bytes; /* 8 k + 8 */
    tandem_kv *kv;           /* the program's cache, or NULL */
    uint32_t max_chunk;      /* of the cache */
    uint32_t n_position;     /* positions are below this: the least capacity of its layers without a window */
} tandem_kit_limits;

/* Validates like tandem_kit_validate_program and fills the limits. */
tandem_status tandem_kit_program_limits(const tandem_backend *table, const tandem_program_desc *desc,
                                        tandem_kit_limits *limits, tandem_error *error);

/* ---- runs ---- */

/* A run of a program with these limits. lengths: [max_slots] the cache's present lengths, NULL without a
 * cache. next: position and slot that DEVICE_NEXT would take (the last TOPK row's position + 1), NULL: there
 * was no such run. */
tandem_status tandem_kit_validate_run(const tandem_backend *table, const tandem_kit_limits *limits,
                                      const tandem_run *run, const uint32_t *lengths, const tandem_row *next,
                                      tandem_error *error);

/* Row i and wanted output i of a valid run, whichever way they were given (not for DEVICE_NEXT's rows). */
tandem_row tandem_kit_run_row(const tandem_run *run, uint32_t i);
tandem_out tandem_kit_run_out(const tandem_run *run, uint32_t i);

#ifdef __cplusplus
}
#endif
#endif
