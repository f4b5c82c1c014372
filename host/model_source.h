/* model_source.h: where a model's weights come from: a GGUF file, or a preset whose weights are made on
 * demand.
 *
 * Threads: opening and closing belong to one caller; every const function may be called from any thread.
 */
#ifndef TANDEM_HOST_MODEL_SOURCE_H
#define TANDEM_HOST_MODEL_SOURCE_H

#include "model_config.h"

typedef struct model_source model_source;

typedef struct source_tensor {
    const char *name;
    uint32_t type; /* TANDEM_TYPE_*, always one that tandem-kit knows */
    uint32_t n_dims;
    uint64_t dims[GGUF_MAX_DIMS]; /* fastest first; 1 beyond n_dims */
    uint64_t row_bytes;           /* of dims[0] elements */
    uint64_t n_row;               /* dims[1] * dims[2] * dims[3] */
    uint64_t bytes;               /* row_bytes * n_row */
    const void *data; /* all rows, valid until the source is closed; NULL: made on demand (synthetic) */
} source_tensor;

/* What `-m` takes. Zero or NULL members mean default. */
typedef struct model_source_desc {
    const char *model; /* path of a GGUF file, or a preset name */
    /* Presets only; given with a file they are refused. */
    const char *quant; /* mix name; NULL: Q4_0 */
    uint64_t seed;
    model_overrides overrides;
} model_source_desc;

int model_source_open(model_source **out, const model_source_desc *desc, tandem_message *message);
void model_source_close(model_source *source); /* NULL is fine */

/* gguf_check_unchanged of its file; a synthetic model never changes. */
int model_source_check_unchanged(const model_source *source, tandem_message *message);

const model_config *model_source_config(const model_source *source);
const gguf_file *model_source_gguf(const model_source *source); /* NULL: synthetic */
const model_mix *model_source_mix(const model_source *source);  /* NULL: from a file */
uint64_t model_source_bytes(const model_source *source);        /* of the tensors that the model uses */

/* One line for tables and journals: "gemma3-270m-q4_k_m.gguf", or "gemma3-270m (synthetic, Q4_0, seed 1)". */
const char *model_source_label(const model_source *source);

/* 1: found and filled; 0: there is no such tensor; negative: it is of a type that tandem does not read. */
int model_source_tensor(const model_source *source, const char *name, source_tensor *out,
                        tandem_message *message);
/* The same by role (MODEL_T_*) and layer. */
int model_source_role(const model_source *source, uint32_t role, uint32_t layer, source_tensor *out,
                      tandem_message *message);

/* Rows [first, first + n) as bytes: a pointer into the mapping, or into `scratch` (n * row_bytes) after
 * making them. scratch may be NULL if tensor->data is not. INVALID: rows beyond the tensor. */
int model_source_rows(const model_source *source, const source_tensor *tensor, uint64_t first, uint64_t n,
                      void *scratch, const void **out, tandem_message *message);

/* All elements as f32: dst [n], n = dims[0] * n_row. For norms, scales and other small tensors. */
int model_source_read_f32(const model_source *source, const source_tensor *tensor, float *dst, uint64_t n,
                          tandem_message *message);

/* The rows will not be needed again soon: lets go of the mapping's pages. */
void model_source_drop(const model_source *source, const source_tensor *tensor);

#endif
