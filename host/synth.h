/* synth.h: seeded synthetic weights for any model shape.
 *
 * Every byte is a function of (seed, tensor name, position), so tensors and row ranges may be made in any
 * order, by any number of threads, with the same result. Magnitudes are such that the model behaves like a
 * trained one where it matters to numerics: attention neither uniform nor one-hot, no branch drowned by the
 * residual stream, logits with a spread of a few units that do not just repeat the input token.
 *
 * Threads: a synth is immutable after creation; any thread.
 */
#ifndef TANDEM_HOST_SYNTH_H
#define TANDEM_HOST_SYNTH_H

#include "model_config.h"

typedef struct synth synth;

int synth_create(synth **out, const model_config *config, const model_mix *mix, uint64_t seed,
                 tandem_message *message);
void synth_destroy(synth *synth); /* NULL is fine */

const model_config *synth_config(const synth *synth);
const model_tensor *synth_tensors(const synth *synth, uint32_t *n);

/* Fills dst with rows [first, first + n) of a tensor of synth_tensors; a row is dims[0] elements, and
 * dims 1..3 count as one. dst: n * row bytes, any alignment. */
void synth_fill(const synth *synth, const model_tensor *tensor, uint64_t first, uint64_t n, void *dst);

/* Called now and then while a file is written; a return other than 0 stops it with that status. */
typedef int (*synth_progress)(void *user, uint64_t bytes_done, uint64_t bytes_total);

/* Writes the model as a GGUF that llama.cpp loads (token ids only: tokenizer model `none`). */
int synth_write(const synth *synth, const char *path, synth_progress progress, void *user,
                tandem_message *message);

#endif
