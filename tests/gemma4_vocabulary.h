/* gemma4_vocabulary.h: the published vocabulary of Gemma 4, made from that of Gemma 3.
 *
 * Both families have the same pieces, so the model that the tests fetch anyway is enough to make the
 * published file's vocabulary. Gemma 4 stores runs of spaces with marks, has other control tokens, hardly any
 * user-defined ones, and merges instead of scores: every way to cut a piece in two pieces, the piece with the
 * highest score first (0 for what Gemma 3 calls user-defined), then the longest left part.
 * GEMMA4_PUBLISHED_HASH is gemma4_hash of the file ggml-vocab-gemma-4.gguf in llama.cpp's sources (0.5.0,
 * sha256 58b1ba0b...): ids below hold for the real thing.
 */
#ifndef TANDEM_TESTS_GEMMA4_VOCABULARY_H
#define TANDEM_TESTS_GEMMA4_VOCABULARY_H

#include "tokenizer.h"

#define GEMMA4_PUBLISHED_MERGES 514906u
#define GEMMA4_PUBLISHED_HASH 0x5ee7cc2828f3913fu

typedef struct gemma4_merge {
    uint32_t left, right;
    float score; /* of the whole */
    uint32_t left_chars, right_chars;
    uint32_t order; /* as found: by whole, left, right */
} gemma4_merge;

typedef struct gemma4_vocabulary {
    gguf_string *texts;
    int32_t *types;
    uint32_t n;
    gemma4_merge *merges;
    uint32_t n_merge;
    char *names; /* of the unused tokens, 16 bytes each */
} gemma4_vocabulary;

/* `file` and `t` are the trained Gemma 3's and must outlive *v. */
void gemma4_derive(gemma4_vocabulary *v, const gguf_file *file, const tokenizer *t);
void gemma4_free(gemma4_vocabulary *v);

/* A file with the vocabulary and the number of layers, nothing else of a model. */
void gemma4_write(const gemma4_vocabulary *v, const char *path, uint32_t n_layer);

/* FNV-1a over texts, merges and types of a file. */
uint64_t gemma4_hash(const gguf_file *file);

#endif
