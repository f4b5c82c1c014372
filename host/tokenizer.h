/* tokenizer.h: text to token ids and back, from the vocabulary of a GGUF file.
 *
 * Two encoders: score-driven merging (tokenizer.ggml.model = llama: Gemma 3) and rank-driven merging
 * (gemma4). Both give the ids llama.cpp gives, invalid UTF-8 included. A file with tokenizer.ggml.model =
 * none has ids only: it makes no tokenizer, with a sentence.
 *
 * Threads: everything takes a const tokenizer and may be called from any thread; a token_list or token_stream
 * belongs to one caller.
 */
#ifndef TANDEM_HOST_TOKENIZER_H
#define TANDEM_HOST_TOKENIZER_H

#include "gguf.h"

typedef struct tokenizer tokenizer;

/* Token types, as in GGUF. */
#define TOKEN_NORMAL 1u
#define TOKEN_UNKNOWN 2u
#define TOKEN_CONTROL 3u
#define TOKEN_USER 4u
#define TOKEN_UNUSED 5u
#define TOKEN_BYTE 6u

/* A growing array of ids; zero-initialise, then token_list_free. */
typedef struct token_list {
    uint32_t *ids;
    size_t n;
    size_t capacity;
} token_list;

int token_list_push(token_list *list, uint32_t id, tandem_message *message);
void token_list_free(token_list *list);

/* Texts stay in the file's mapping: `file` must outlive the tokenizer. UNSUPPORTED for a vocabulary of
 * another kind. */
int tokenizer_create(tokenizer **out, const gguf_file *file, tandem_message *message);
void tokenizer_destroy(tokenizer *tokenizer); /* NULL is fine */

#define TOKENIZE_BOS 1u     /* begin with the begin-of-sequence token if the vocabulary wants one */
#define TOKENIZE_SPECIAL 2u /* control tokens written out in the text ("<bos>") become those tokens */

/* Appends the ids of text[len] to *out. Time is O(len log len) whatever the text. */
int tokenizer_encode(const tokenizer *tokenizer, const char *text, size_t len, uint32_t flags,
                     token_list *out, tandem_message *message);

uint32_t tokenizer_n_vocab(const tokenizer *tokenizer);
uint32_t tokenizer_bos(const tokenizer *tokenizer); /* TANDEM_NONE: none */
uint32_t tokenizer_eos(const tokenizer *tokenizer); /* TANDEM_NONE: none */
bool tokenizer_wants_bos(const tokenizer *tokenizer);
bool tokenizer_is_end(const tokenizer *tokenizer, uint32_t id); /* generation stops here; decided by text */
bool tokenizer_is_suppressed(const tokenizer *tokenizer, uint32_t id); /* must never be sampled */
uint32_t tokenizer_type(const tokenizer *tokenizer, uint32_t id);      /* TOKEN_*; 0: no such id */
gguf_string tokenizer_text(const tokenizer *tokenizer, uint32_t id);   /* as stored; NULL data: no such id */
uint32_t tokenizer_find(const tokenizer *tokenizer, const char *text,
                        size_t len); /* id of a stored text, or NONE */

/* Decoding. Bytes of an unfinished UTF-8 sequence wait in the stream until it is complete or cannot become
 * so; zero-initialise. Bytes that are no UTF-8 pass unchanged: what was encoded comes back. */
typedef struct token_stream {
    uint8_t held[4];
    uint32_t n_held;
} token_stream;

#define DECODE_SPECIAL 1u /* write control and unknown tokens by their text; else they are silent */

/* Bytes that a buffer for the two calls below must have. */
size_t tokenizer_max_decode_bytes(const tokenizer *tokenizer);

/* Writes the bytes that token `id` releases; returns how many (not terminated). An id beyond the vocabulary
 * is silent. */
size_t tokenizer_decode(const tokenizer *tokenizer, token_stream *stream, uint32_t id, uint32_t flags,
                        char *out);
/* Whatever is still held, at the end. */
size_t tokenizer_decode_end(token_stream *stream, char *out);

/* Chat. Roles: "system", "user", "model" ("assistant" means model). */
typedef struct chat_message {
    const char *role;
    const char *text;
} chat_message;

/* Appends the ids of a conversation, the begin-of-sequence token first, ready for the model's next turn. Only
 * the frame is written with control tokens: markers inside a message stay text. INVALID: unknown role, or
 * roles in an order that the template does not have. */
int tokenizer_encode_chat(const tokenizer *tokenizer, const chat_message *messages, size_t n, token_list *out,
                          tandem_message *message);

/* The same as one text (malloc'd, terminated), begin-of-sequence marker included, for display and tests. */
int tokenizer_render_chat(const tokenizer *tokenizer, const chat_message *messages, size_t n, char **out,
                          tandem_message *message);

#endif
