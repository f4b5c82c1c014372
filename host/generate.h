/* host/generate.h: text generation on a session. */
#ifndef TANDEM_HOST_GENERATE_H
#define TANDEM_HOST_GENERATE_H

#include "sampler.h"
#include "session.h"
#include "tokenizer.h"

typedef struct generate_options {
    uint32_t n; /* most tokens to make */
    sampler sampler;
    const tokenizer *tokenizer; /* for end and suppressed tokens; NULL: neither */
} generate_options;

#define GENERATE_STOP_COUNT 0u   /* n tokens made */
#define GENERATE_STOP_END 1u     /* the model ended its turn */
#define GENERATE_STOP_CONTEXT 2u /* the cache is full */
#define GENERATE_STOP_CALLER 3u  /* the callback asked for it */

typedef struct generate_stats {
    uint32_t n_prompt, n_made;
    uint32_t stop; /* GENERATE_STOP_* */
    run_times prompt, decode;
} generate_stats;

/* Called for every token made, the end token not among them. A return other than 0 stops. */
typedef int (*generate_token)(void *user, uint32_t token);

/* Feeds the prompt (n_prompt >= 1) and makes tokens. Greedy choice stays on the device, several runs ahead;
 * sampling with top-k up to 64 reads 64 candidates a token, top_k = 0 reads all logits. Afterwards the
 * session holds the prompt and every token made but the last. */
int session_generate(session *s, const uint32_t *prompt, uint32_t n_prompt, const generate_options *options,
                     generate_token callback, void *user, generate_stats *stats, tandem_message *message);

#endif
