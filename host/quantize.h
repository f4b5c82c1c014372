/* host/quantize.h: the weights of a GGUF file in other formats. */
#ifndef TANDEM_HOST_QUANTIZE_H
#define TANDEM_HOST_QUANTIZE_H

#include "model_config.h"

/* Called now and then; a return other than 0 stops with that status. */
typedef int (*quantize_progress)(void *user, uint64_t bytes_done, uint64_t bytes_total);

typedef struct quantize_desc {
    const char *in, *out;
    const model_mix *mix;
    uint32_t n_thread; /* >= 1 */
    quantize_progress progress;
    void *user;
} quantize_desc;

typedef struct quantize_result {
    uint32_t n_changed, n_kept;   /* tensors */
    uint32_t n_again;             /* of the changed ones: those that were quantised already */
    uint64_t bytes_in, bytes_out; /* of all tensors */
} quantize_result;

/* Writes `out` with the matrices of the model in the formats of the mix, by llama.cpp's rules: vectors, the
 * router, the projection of per-layer embeddings and tensors that are no part of the model (vision, audio)
 * stay as they are; so does all metadata but general.file_type and general.quantization_version. A file in
 * parts becomes one. Rows stream through 16 MiB; the file appears when it is complete. */
int quantize_file(const quantize_desc *desc, quantize_result *result, tandem_message *message);

#endif
