/* The vocabulary: what a GGUF file says about its tokens, made fit for lookups. */
#include "tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define TOOL_RESPONSE "<|tool_response>"
#define MAX_TEXT_BYTES (1u << 30) /* of one call; three times as much must fit 32 bits */

int token_list_push(token_list *list, uint32_t id, tandem_message *message) {
    if (list->n == list->capacity) {
        size_t wanted = list->capacity ? list->capacity * 2 : 64;
        uint32_t *bigger = realloc(list->ids, wanted * sizeof *bigger);
        if (!bigger)
            return message_out_of_memory(message, "token ids", wanted * sizeof *bigger);
        list->ids = bigger;
        list->capacity = wanted;
    }
    list->ids[list->n++] = id;
    return TANDEM_OK;
}

void token_list_free(token_list *list) {
    free(list->ids);
    *list = (token_list){0};
}

uint32_t tokenizer_lookup(const tokenizer *t, const char *text, size_t len) {
    if (len == 0 || len > t->max_text)
        return TANDEM_NONE;
    uint64_t hash = hash_bytes(text, len, t->seed);
    for (uint64_t i = hash;; i++) {
        const text_slot *slot = &t->slots[i & t->slot_mask];
        if (slot->id == TANDEM_NONE)
            return TANDEM_NONE;
        if (slot->tag == hash >> 32 && t->texts[slot->id].len == len &&
            memcmp(t->texts[slot->id].data, text, len) == 0)
            return slot->id;
    }
}

const merge_slot *tokenizer_merge(const tokenizer *t, uint32_t left, uint32_t right) {
    uint64_t pair = (uint64_t)left << 32 | right;
    if (left == TANDEM_NONE || right == TANDEM_NONE)
        return NULL;
    for (uint64_t i = hash_mix(pair ^ t->seed);; i++) {
        const merge_slot *slot = &t->merges[i & t->merge_mask];
        if (slot->pair == pair)
            return slot;
        if (slot->pair == UINT64_MAX)
            return NULL;
    }
}

static uint64_t table_slots(uint64_t n) {
    uint64_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

/* Of equal texts the later id wins, as in llama.cpp. */
static int index_texts(tokenizer *t, tandem_message *message) {
    uint64_t n = table_slots(t->n_vocab);
    t->slots = malloc(n * sizeof *t->slots);
    if (!t->slots)
        return message_out_of_memory(message, "the vocabulary", n * sizeof *t->slots);
    memset(t->slots, 0xff, n * sizeof *t->slots); /* id = TANDEM_NONE */
    t->slot_mask = n - 1;
    t->seed = hash_seed(t->slots);
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        gguf_string text = t->texts[id];
        if (text.len == 0)
            continue;
        if (text.len > t->max_text)
            t->max_text = text.len;
        uint64_t hash = hash_bytes(text.data, text.len, t->seed);
        uint64_t i = hash;
        while (t->slots[i & t->slot_mask].id != TANDEM_NONE) {
            gguf_string there = t->texts[t->slots[i & t->slot_mask].id];
            if (there.len == text.len && memcmp(there.data, text.data, text.len) == 0)
                break;
            i++;
        }
        t->slots[i & t->slot_mask] = (text_slot){(uint32_t)(hash >> 32), id};
    }
    return TANDEM_OK;
}

static int add_merge(tokenizer *t, const gguf_file *file, gguf_string merge, uint32_t rank,
                     tandem_message *message) {
    /* "left right": the pieces hold marked spaces only, so the first space after the first byte divides them.
     */
    const char *space = merge.len > 1 ? memchr(merge.data + 1, ' ', merge.len - 1) : NULL;
    if (!space)
        return message_fail(message, TANDEM_E_INVALID,
                            "%s: merge %u of tokenizer.ggml.merges is not two pieces", gguf_path(file), rank);
    size_t n = (size_t)(space - merge.data), rest = merge.len - n - 1;
    char joined[256];
    if (n + rest > sizeof joined)
        return message_fail(message, TANDEM_E_INVALID,
                            "%s: merge %u of tokenizer.ggml.merges makes %zu bytes", gguf_path(file), rank,
                            n + rest);
    memcpy(joined, merge.data, n);
    memcpy(joined + n, space + 1, rest);
    uint32_t left = tokenizer_lookup(t, merge.data, n), right = tokenizer_lookup(t, space + 1, rest);
    uint32_t whole = tokenizer_lookup(t, joined, n + rest);
    if (left == TANDEM_NONE || right == TANDEM_NONE || whole == TANDEM_NONE)
        return message_fail(
            message, TANDEM_E_INVALID,
            "%s: merge %u of tokenizer.ggml.merges ('%.*s') has a piece that is not in the vocabulary",
            gguf_path(file), rank, merge.len > 100 ? 100 : (int)merge.len, merge.data);
    uint64_t pair = (uint64_t)left << 32 | right, i = hash_mix(pair ^ t->seed);
    while (t->merges[i & t->merge_mask].pair != UINT64_MAX) {
        if (t->merges[i & t->merge_mask].pair == pair)
            return TANDEM_OK; /* the first rank counts */
        i++;
    }
    t->merges[i & t->merge_mask] = (merge_slot){pair, rank, whole};
    return TANDEM_OK;
}

static int index_merges(tokenizer *t, const gguf_file *file, tandem_message *message) {
    const gguf_value *merges;
    int status = gguf_get_array(file, "tokenizer.ggml.merges", GGUF_STRING, &merges, message);
    if (status < 0)
        return status;
    if (status == 0 || merges->count > UINT32_MAX / 4)
        return message_fail(message, TANDEM_E_INVALID, "%s: tokenizer.ggml.merges is missing or too long",
                            gguf_path(file));
    uint64_t n = table_slots(merges->count);
    t->merges = malloc(n * sizeof *t->merges);
    if (!t->merges)
        return message_out_of_memory(message, "the merges", n * sizeof *t->merges);
    memset(t->merges, 0xff, n * sizeof *t->merges);
    t->merge_mask = n - 1;
    status = TANDEM_OK;
    for (uint64_t i = 0; status == TANDEM_OK && i < merges->count; i++) {
        gguf_string merge;
        gguf_element_string(file, merges, i, &merge);
        status = add_merge(t, file, merge, (uint32_t)i, message);
    }
    return status;
}

static int read_texts(tokenizer *t, const gguf_file *file, tandem_message *message) {
    const gguf_value *tokens;
    int status = gguf_get_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, message);
    if (status < 0)
        return status;
    if (status == 0 || tokens->count == 0 || tokens->count > INT32_MAX)
        return message_fail(message, TANDEM_E_INVALID,
                            "%s: tokenizer.ggml.tokens is missing, empty or too long", gguf_path(file));
    t->n_vocab = (uint32_t)tokens->count;
    t->texts = malloc(t->n_vocab * sizeof *t->texts);
    if (!t->texts)
        return message_out_of_memory(message, "the vocabulary", t->n_vocab * sizeof *t->texts);
    for (uint32_t id = 0; id < t->n_vocab; id++)
        gguf_element_string(file, tokens, id, &t->texts[id]);
    return TANDEM_OK;
}

static int read_types(tokenizer *t, const gguf_file *file, tandem_message *message) {
    static const char KEY[] = "tokenizer.ggml.token_type";
    const gguf_value *value = gguf_value_by_key(file, KEY);
    t->types = malloc(t->n_vocab);
    if (!t->types)
        return message_out_of_memory(message, "token types", t->n_vocab);
    memset(t->types, TOKEN_NORMAL, t->n_vocab);
    if (!value)
        return TANDEM_OK;
    if (value->type != GGUF_ARRAY || value->count < t->n_vocab)
        return message_fail(message, TANDEM_E_INVALID,
                            "%s: %s is no array with an entry for each of %u tokens", gguf_path(file), KEY,
                            t->n_vocab);
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        uint64_t type;
        if (!gguf_element_u64(value, id, &type))
            return message_fail(message, TANDEM_E_INVALID, "%s: entry %u of %s is no token type",
                                gguf_path(file), id, KEY);
        t->types[id] = type >= TOKEN_NORMAL && type <= TOKEN_BYTE ? (uint8_t)type : TOKEN_UNUSED;
    }
    return TANDEM_OK;
}

static int read_scores(tokenizer *t, const gguf_file *file, tandem_message *message) {
    static const char KEY[] = "tokenizer.ggml.scores";
    const gguf_value *value = gguf_value_by_key(file, KEY);
    if (!value || value->type != GGUF_ARRAY || value->count < t->n_vocab)
        return message_fail(message, TANDEM_E_INVALID,
                            "%s: %s is no array with a score for each of %u tokens", gguf_path(file), KEY,
                            t->n_vocab);
    t->scores = malloc(t->n_vocab * sizeof *t->scores);
    if (!t->scores)
        return message_out_of_memory(message, "token scores", t->n_vocab * sizeof *t->scores);
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        double score;
        if (!gguf_element_f64(value, id, &score))
            return message_fail(message, TANDEM_E_INVALID, "%s: entry %u of %s is no number", gguf_path(file),
                                id, KEY);
        t->scores[id] = (float)score;
    }
    return TANDEM_OK;
}

/* A special id by its key, else by its usual text. */
static int read_id(const tokenizer *t, const gguf_file *file, const char *key, const char *text, uint32_t *id,
                   tandem_message *message) {
    uint32_t found;
    int status = gguf_get_u32(file, key, &found, message);
    if (status < 0)
        return status;
    if (status == 0)
        found = tokenizer_lookup(t, text, strlen(text));
    else if (found >= t->n_vocab)
        return message_fail(message, TANDEM_E_INVALID, "%s: %s is %u, beyond the %u tokens", gguf_path(file),
                            key, found, t->n_vocab);
    *id = found;
    return TANDEM_OK;
}

static void add_end(tokenizer *t, uint32_t id) {
    for (uint32_t i = 0; i < t->n_end; i++) {
        if (t->ends[i] == id)
            return;
    }
    if (id != TANDEM_NONE && t->n_end < MAX_ENDS)
        t->ends[t->n_end++] = id;
}

/* Files disagree about eos_token_id (1 or 106), so ends go by text; the file's own eos counts as well. Some
 * files call an end normal or user-defined: to llama.cpp, and so here, it is a control token. */
static void find_ends(tokenizer *t) {
    static const char *const TEXTS[] = {"<eos>", "<end_of_turn>", "<turn|>", TOOL_RESPONSE};
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        uint32_t id = tokenizer_lookup(t, TEXTS[i], strlen(TEXTS[i]));
        add_end(t, id);
        if (id != TANDEM_NONE)
            t->types[id] = TOKEN_CONTROL;
    }
    add_end(t, t->eos);
}

static int find_bytes(tokenizer *t, const gguf_file *file, tandem_message *message) {
    static const char HEX[] = "0123456789ABCDEF";
    uint32_t unknown = TANDEM_NONE;
    int status = read_id(t, file, "tokenizer.ggml.unknown_token_id", "<unk>", &unknown, message);
    if (status != TANDEM_OK)
        return status;
    for (uint32_t b = 0; b < 256; b++) {
        char piece[6] = {'<', '0', 'x', HEX[b >> 4], HEX[b & 15], '>'}, byte = (char)b;
        t->byte_ids[b] = tokenizer_lookup(t, piece, sizeof piece);
        if (t->byte_ids[b] == TANDEM_NONE)
            t->byte_ids[b] = tokenizer_lookup(t, &byte, 1);
        if (t->byte_ids[b] == TANDEM_NONE)
            t->byte_ids[b] = unknown;
    }
    return TANDEM_OK;
}

static int read_suppressed(tokenizer *t, const gguf_file *file, tandem_message *message) {
    const gguf_value *value;
    int status = gguf_get_array(file, "tokenizer.ggml.suppress_tokens", GGUF_I32, &value, message);
    if (status <= 0)
        return status;
    t->suppressed = malloc((value->count + 1) * sizeof *t->suppressed);
    if (!t->suppressed)
        return message_out_of_memory(message, "suppressed tokens", value->count * sizeof *t->suppressed);
    for (uint64_t i = 0; i < value->count; i++) {
        uint64_t id;
        if (gguf_element_u64(value, i, &id) && id < t->n_vocab)
            t->suppressed[t->n_suppressed++] = (uint32_t)id;
    }
    return TANDEM_OK;
}

static int read_options(tokenizer *t, const gguf_file *file, tandem_message *message) {
    uint32_t n_layer = 0;
    char key[96], architecture[64] = "";
    int status = read_id(t, file, "tokenizer.ggml.bos_token_id", "<bos>", &t->bos, message);
    if (status == TANDEM_OK)
        status = read_id(t, file, "tokenizer.ggml.eos_token_id", "<eos>", &t->eos, message);
    t->wants_bos = true;
    t->space_prefix = t->kind == TOKENIZER_SCORES;
    if (status >= 0)
        status = gguf_get_bool(file, "tokenizer.ggml.add_space_prefix", &t->space_prefix, message);
    if (status >= 0)
        status = gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &t->wants_bos, message);
    if (status >= 0)
        status = gguf_get_string(file, "general.architecture", architecture, sizeof architecture, message);
    if (status >= 0) {
        snprintf(key, sizeof key, "%s.block_count", architecture);
        status = gguf_get_u32(file, key, &n_layer, message);
    }
    if (status < 0)
        return status;
    if (t->kind == TOKENIZER_RANKS) {
        t->wants_bos = true; /* some Gemma 4 files say false; the model needs it */
        t->space_prefix = false;
    }
    if (t->wants_bos && t->bos == TANDEM_NONE)
        return message_fail(message, TANDEM_E_UNSUPPORTED,
                            "%s: the vocabulary has no begin-of-sequence token", gguf_path(file));
    t->turn_marks_gemma4 = tokenizer_lookup(t, "<|turn>", 7) != TANDEM_NONE;
    /* E2B (35 layers) and E4B (42) leak reasoning when their turn begins with an empty thought; the others
     * need it. */
    t->empty_thought = t->turn_marks_gemma4 && n_layer != 35 && n_layer != 42;
    bool gemma4_ends = tokenizer_lookup(t, TOOL_RESPONSE, strlen(TOOL_RESPONSE)) != TANDEM_NONE;
    t->strike_end = gemma4_ends ? TANDEM_NONE : tokenizer_lookup(t, "</s>", 4);
    find_ends(t);
    return TANDEM_OK;
}

static int read_kind(tokenizer *t, const gguf_file *file, tandem_message *message) {
    char model[64] = "";
    int status = gguf_get_string(file, "tokenizer.ggml.model", model, sizeof model, message);
    if (status < 0)
        return status;
    if (status == 0)
        return message_fail(message, TANDEM_E_UNSUPPORTED,
                            "%s has no tokenizer (tokenizer.ggml.model is missing)", gguf_path(file));
    if (strcmp(model, "none") == 0)
        return message_fail(message, TANDEM_E_UNSUPPORTED,
                            "%s has no vocabulary (a synthetic model): it takes token ids, not text",
                            gguf_path(file));
    if (strcmp(model, "llama") == 0)
        t->kind = TOKENIZER_SCORES;
    else if (strcmp(model, "gemma4") == 0)
        t->kind = TOKENIZER_RANKS;
    else
        return message_fail(message, TANDEM_E_UNSUPPORTED,
                            "%s: tokenizers of kind '%s' are not supported, only 'llama' and 'gemma4'",
                            gguf_path(file), model);
    return TANDEM_OK;
}

int tokenizer_create(tokenizer **out, const gguf_file *file, tandem_message *message) {
    tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return message_out_of_memory(message, "a tokenizer", sizeof *t);
    int status = read_kind(t, file, message);
    if (status == TANDEM_OK)
        status = read_texts(t, file, message);
    if (status == TANDEM_OK)
        status = read_types(t, file, message);
    if (status == TANDEM_OK)
        status = index_texts(t, message);
    if (status == TANDEM_OK)
        status = t->kind == TOKENIZER_SCORES ? read_scores(t, file, message) : index_merges(t, file, message);
    if (status == TANDEM_OK)
        status = find_bytes(t, file, message);
    if (status == TANDEM_OK)
        status = read_options(t, file, message);
    if (status == TANDEM_OK)
        status = read_suppressed(t, file, message);
    if (status == TANDEM_OK)
        status = tokenizer_sort_specials(t, message);
    if (status != TANDEM_OK) {
        tokenizer_destroy(t);
        return status;
    }
    *out = t;
    return TANDEM_OK;
}

void tokenizer_destroy(tokenizer *t) {
    if (!t)
        return;
    free(t->texts);
    free(t->scores);
    free(t->types);
    free(t->slots);
    free(t->merges);
    free(t->specials);
    free(t->suppressed);
    free(t);
}

int tokenizer_encode(const tokenizer *t, const char *text, size_t len, uint32_t flags, token_list *out,
                     tandem_message *message) {
    special_match *matches = NULL;
    merge_scratch scratch = {0};
    uint32_t n = 0;
    size_t pos = 0;
    bool after_special = true;
    int status = TANDEM_OK;
    if (len > MAX_TEXT_BYTES)
        return message_fail(message, TANDEM_E_INVALID, "a text of %zu bytes is too long; %u is the most", len,
                            MAX_TEXT_BYTES);
    if ((flags & TOKENIZE_BOS) && t->wants_bos)
        status = token_list_push(out, t->bos, message);
    if (status == TANDEM_OK)
        status = tokenizer_split(t, text, (uint32_t)len, flags & TOKENIZE_SPECIAL, &matches, &n, message);
    for (uint32_t i = 0; status == TANDEM_OK && i <= n; i++) {
        size_t end = i < n ? matches[i].pos : len;
        if (end > pos) {
            status = tokenizer_merge_text(t, text + pos, end - pos, t->space_prefix && after_special,
                                          &scratch, out, message);
            after_special = false;
        }
        if (status == TANDEM_OK && i < n) {
            status = token_list_push(out, matches[i].id, message);
            after_special = true;
            pos = matches[i].pos + matches[i].len;
        }
    }
    free(matches);
    merge_scratch_free(&scratch);
    return status;
}

uint32_t tokenizer_n_vocab(const tokenizer *t) {
    return t->n_vocab;
}

uint32_t tokenizer_bos(const tokenizer *t) {
    return t->bos;
}

uint32_t tokenizer_eos(const tokenizer *t) {
    return t->eos;
}

bool tokenizer_wants_bos(const tokenizer *t) {
    return t->wants_bos;
}

bool tokenizer_is_end(const tokenizer *t, uint32_t id) {
    for (uint32_t i = 0; i < t->n_end; i++) {
        if (t->ends[i] == id)
            return true;
    }
    return false;
}

bool tokenizer_is_suppressed(const tokenizer *t, uint32_t id) {
    for (uint64_t i = 0; i < t->n_suppressed; i++) {
        if (t->suppressed[i] == id)
            return true;
    }
    return false;
}

uint32_t tokenizer_type(const tokenizer *t, uint32_t id) {
    return id < t->n_vocab ? t->types[id] : 0;
}

gguf_string tokenizer_text(const tokenizer *t, uint32_t id) {
    return id < t->n_vocab ? t->texts[id] : (gguf_string){NULL, 0};
}

uint32_t tokenizer_find(const tokenizer *t, const char *text, size_t len) {
    return tokenizer_lookup(t, text, len);
}
