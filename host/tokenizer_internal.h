/* tokenizer_internal.h: what the parts of the tokenizer share. */
#ifndef TANDEM_HOST_TOKENIZER_INTERNAL_H
#define TANDEM_HOST_TOKENIZER_INTERNAL_H

#include "tokenizer.h"

#define TOKENIZER_SCORES 1u /* merge the pair with the highest score (SentencePiece) */
#define TOKENIZER_RANKS 2u  /* merge the pair with the lowest rank (BPE) */

#define MAX_ENDS 8u
#define SPACE_MARK "\xe2\x96\x81" /* U+2581, stands for a space inside pieces */
#define SPACE_MARK_BYTES 3u

typedef struct text_slot {
    uint32_t tag; /* high half of the hash */
    uint32_t id;  /* TANDEM_NONE: empty */
} text_slot;

/* (left, right) -> rank and the id of the joined text. */
typedef struct merge_slot {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: empty */
    uint32_t rank;
    uint32_t joined;
} merge_slot;

struct tokenizer {
    uint32_t kind;
    uint32_t n_vocab;
    gguf_string *texts; /* [n_vocab] */
    float *scores;      /* [n_vocab]; NULL for ranks */
    uint8_t *types;     /* [n_vocab] TOKEN_* */
    text_slot *slots;
    uint64_t slot_mask;
    uint64_t seed;
    size_t max_text; /* bytes of the longest text */
    merge_slot *merges;
    uint64_t merge_mask;
    uint32_t byte_ids[256]; /* "<0x41>", else the byte itself, else unknown; TANDEM_NONE: none of them */

    /* Texts that are cut out of the input before anything else, sorted by bytes. */
    uint32_t *specials;
    uint32_t n_special;
    uint32_t special_first[257]; /* those beginning with byte b are [first[b], first[b + 1]) */
    uint32_t max_special;        /* bytes of the longest */
    uint32_t strike_end;         /* id of "</s>", which is only cut out on request; see tokenizer_special.c */

    uint32_t bos, eos;
    bool wants_bos;
    bool space_prefix;
    uint32_t ends[MAX_ENDS];
    uint32_t n_end;
    uint32_t *suppressed;
    uint64_t n_suppressed;
    bool turn_marks_gemma4; /* <|turn> frames, else <start_of_turn> */
    bool empty_thought;     /* the model's turn begins with a closed, empty thought */
};

/* Id of a text, or TANDEM_NONE. */
uint32_t tokenizer_lookup(const tokenizer *tokenizer, const char *text, size_t len);
const merge_slot *tokenizer_merge(const tokenizer *tokenizer, uint32_t left, uint32_t right);

/* A special text in the input: ids[id] stands at [pos, pos + len). */
typedef struct special_match {
    uint32_t pos, len, id;
} special_match;

/* Finds the special texts of the input, in order of position. *out is malloc'd; NULL if there are none. */
int tokenizer_split(const tokenizer *tokenizer, const char *text, uint32_t len, bool control,
                    special_match **out, uint32_t *n, tandem_message *message);
int tokenizer_sort_specials(tokenizer *tokenizer, tandem_message *message);

/* A binary heap of 64-bit keys with a payload, smallest key first. */
typedef struct heap_entry {
    uint64_t key;
    uint32_t size;
    uint32_t reserved;
} heap_entry;

typedef struct heap {
    heap_entry *entries;
    size_t n, capacity;
} heap;

int heap_push(heap *h, uint64_t key, uint32_t size, tandem_message *message);
bool heap_pop(heap *h, heap_entry *out); /* false: empty */

/* Buffers of one call of tokenizer_encode, reused from piece to piece. */
typedef struct merge_scratch {
    struct symbol *symbols;
    size_t symbol_capacity;
    char *text;
    size_t text_capacity;
    heap queue;
} merge_scratch;

/* Appends the ids of plain text without special texts in it. */
int tokenizer_merge_text(const tokenizer *tokenizer, const char *text, size_t len, bool space_before,
                         merge_scratch *scratch, token_list *out, tandem_message *message);
void merge_scratch_free(merge_scratch *scratch);

#endif
