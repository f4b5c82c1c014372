#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gemma4_vocabulary.h"
#include "gguf_write.h"

#define FIRST_SPACE_RUN 138u /* two spaces; 31 is the longest */

static const struct {
    uint32_t id;
    const char *text;
    uint32_t type;
} GEMMA4_TOKENS[] = {
    {46, "<|tool>", TOKEN_CONTROL},       {47, "<tool|>", TOKEN_CONTROL},
    {48, "<|tool_call>", TOKEN_USER},     {49, "<tool_call|>", TOKEN_USER},
    {50, "<|tool_response>", TOKEN_USER}, {51, "<tool_response|>", TOKEN_USER},
    {52, "<|\"|>", TOKEN_USER},           {98, "<|think|>", TOKEN_CONTROL},
    {100, "<|channel>", TOKEN_USER},      {101, "<channel|>", TOKEN_USER},
    {105, "<|turn>", TOKEN_CONTROL},      {106, "<turn|>", TOKEN_CONTROL},
    {255999, "<|image>", TOKEN_CONTROL},  {256000, "<|audio>", TOKEN_CONTROL},
    {258880, "<|image|>", TOKEN_CONTROL}, {258881, "<|audio|>", TOKEN_CONTROL},
    {258882, "<image|>", TOKEN_CONTROL},  {258883, "<audio|>", TOKEN_CONTROL},
    {258884, "<|video|>", TOKEN_CONTROL},
};

static int compare_parts(const void *a, const void *b) {
    const gemma4_merge *x = a, *y = b;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

static int compare_ranks(const void *a, const void *b) {
    const gemma4_merge *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->left_chars != y->left_chars)
        return x->left_chars > y->left_chars ? -1 : 1;
    if (x->right_chars != y->right_chars)
        return x->right_chars > y->right_chars ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static uint32_t count_chars(const char *text, size_t len) {
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((uint8_t)text[i] & 0xc0) != 0x80;
    return n;
}

/* The id of a piece as Gemma 4 stores it. */
static uint32_t find_piece(const tokenizer *t, const char *text, size_t len) {
    size_t marks = 0;
    while (3 * marks < len && memcmp(text + 3 * marks, "\xe2\x96\x81", 3) == 0)
        marks++;
    if (3 * marks == len && marks >= 2 && marks <= 31)
        return FIRST_SPACE_RUN + (uint32_t)marks - 2;
    return tokenizer_find(t, text, len);
}

static void add_merges(const tokenizer *t, gemma4_vocabulary *v, uint32_t id, float score) {
    gguf_string text = v->texts[id];
    gemma4_merge *first = v->merges + v->n_merge;
    uint32_t n = 0;
    for (size_t at = 1; at < text.len; at++) {
        if (((uint8_t)text.data[at] & 0xc0) == 0x80)
            continue;
        uint32_t left = find_piece(t, text.data, at), right = find_piece(t, text.data + at, text.len - at);
        if (left == TANDEM_NONE || right == TANDEM_NONE || v->types[left] != (int32_t)TOKEN_NORMAL ||
            v->types[right] != (int32_t)TOKEN_NORMAL)
            continue;
        assert_true(v->n_merge + n < GEMMA4_PUBLISHED_MERGES);
        first[n++] = (gemma4_merge){
            left, right, score, count_chars(text.data, at), count_chars(text.data + at, text.len - at), 0};
    }
    qsort(first, n, sizeof *first, compare_parts);
    for (uint32_t i = 0; i < n; i++)
        first[i].order = v->n_merge + i;
    v->n_merge += n;
}

static void derive_tokens(const tokenizer *t, gemma4_vocabulary *v) {
    static char spaces[31 * 3];
    uint32_t n_unused = 0;
    for (uint32_t i = 0; i < 31; i++)
        memcpy(spaces + 3 * i, "\xe2\x96\x81", 3);
    for (uint32_t id = 0; id < v->n; id++) {
        v->texts[id] = tokenizer_text(t, id);
        v->types[id] = id <= 4 ? (int32_t)TOKEN_CONTROL
                               : (int32_t)(tokenizer_type(t, id) == TOKEN_BYTE ? TOKEN_BYTE : TOKEN_NORMAL);
        if (id >= FIRST_SPACE_RUN && id < FIRST_SPACE_RUN + 30)
            v->texts[id] = (gguf_string){spaces, 3 * (id - FIRST_SPACE_RUN + 2)};
    }
    for (size_t i = 0; i < sizeof GEMMA4_TOKENS / sizeof *GEMMA4_TOKENS; i++) {
        v->texts[GEMMA4_TOKENS[i].id] = (gguf_string){GEMMA4_TOKENS[i].text, strlen(GEMMA4_TOKENS[i].text)};
        v->types[GEMMA4_TOKENS[i].id] = (int32_t)GEMMA4_TOKENS[i].type;
    }
    for (uint32_t id = 0; id < v->n; id++) { /* what is still unused is numbered anew */
        if (v->texts[id].len < 9 || memcmp(v->texts[id].data, "<unused", 7) != 0)
            continue;
        char *name = v->names + 16 * n_unused;
        v->texts[id] = (gguf_string){name, (uint64_t)snprintf(name, 16, "<unused%u>", n_unused)};
        n_unused++;
    }
}

void gemma4_derive(gemma4_vocabulary *v, const gguf_file *file, const tokenizer *t) {
    const gguf_value *scores = gguf_value_by_key(file, "tokenizer.ggml.scores");
    v->n = tokenizer_n_vocab(t);
    v->texts = malloc(v->n * sizeof *v->texts);
    v->types = malloc(v->n * sizeof *v->types);
    v->names = malloc(v->n * 16);
    v->merges = malloc(GEMMA4_PUBLISHED_MERGES * sizeof *v->merges);
    v->n_merge = 0;
    derive_tokens(t, v);
    for (uint32_t id = 0; id < v->n; id++) {
        double score = 0;
        if (v->types[id] != (int32_t)TOKEN_NORMAL)
            continue;
        if (tokenizer_type(t, id) == TOKEN_NORMAL)
            gguf_element_f64(scores, id, &score);
        add_merges(t, v, id, (float)score);
    }
    qsort(v->merges, v->n_merge, sizeof *v->merges, compare_ranks);
}

void gemma4_free(gemma4_vocabulary *v) {
    free(v->texts);
    free(v->types);
    free(v->names);
    free(v->merges);
}

uint64_t gemma4_hash(const gguf_file *file) {
    static const char *const KEYS[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"};
    uint64_t h = 0xcbf29ce484222325u, type;
    gguf_string s;
    for (size_t k = 0; k < 2; k++) {
        const gguf_value *value = gguf_value_by_key(file, KEYS[k]);
        for (uint64_t i = 0; i < value->count; i++) {
            assert_true(gguf_element_string(file, value, i, &s));
            for (uint64_t c = 0; c < s.len; c++)
                h = (h ^ (uint8_t)s.data[c]) * 0x100000001b3u;
            h = (h ^ s.len) * 0x100000001b3u;
        }
    }
    const gguf_value *types = gguf_value_by_key(file, "tokenizer.ggml.token_type");
    for (uint64_t i = 0; i < types->count; i++) {
        assert_true(gguf_element_u64(types, i, &type));
        h = (h ^ type) * 0x100000001b3u;
    }
    return h;
}

void gemma4_write(const gemma4_vocabulary *v, const char *path, uint32_t n_layer) {
    static const int32_t SUPPRESSED[2] = {258883, 258882};
    gguf_string *merges = malloc(v->n_merge * sizeof *merges);
    char *text = malloc((size_t)v->n_merge * 128), *at = text;
    gguf_writer *w;
    tandem_message message;
    for (uint32_t i = 0; i < v->n_merge; i++) {
        gguf_string left = v->texts[v->merges[i].left], right = v->texts[v->merges[i].right];
        merges[i] = (gguf_string){at, left.len + 1 + right.len};
        assert_true(merges[i].len <= 128);
        memcpy(at, left.data, left.len);
        at[left.len] = ' ';
        memcpy(at + left.len + 1, right.data, right.len);
        at += merges[i].len;
    }
    assert_int_equal(gguf_write_begin(&w, path, NULL, &message), TANDEM_OK);
    gguf_write_string(w, "general.architecture", "gemma4", 6);
    gguf_write_u32(w, "gemma4.block_count", n_layer);
    gguf_write_string(w, "tokenizer.ggml.model", "gemma4", 6);
    gguf_write_strings(w, "tokenizer.ggml.tokens", v->texts, v->n);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, v->types, v->n);
    gguf_write_strings(w, "tokenizer.ggml.merges", merges, v->n_merge);
    gguf_write_array(w, "tokenizer.ggml.suppress_tokens", GGUF_I32, SUPPRESSED, 2);
    gguf_write_u32(w, "tokenizer.ggml.bos_token_id", 2);
    gguf_write_u32(w, "tokenizer.ggml.eos_token_id", 106);
    gguf_write_bool(w, "tokenizer.ggml.add_bos_token", false); /* as some published files have it */
    assert_int_equal(gguf_write_end(w, &message), TANDEM_OK);
    free(merges);
    free(text);
}
