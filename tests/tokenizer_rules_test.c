/* The tokenizers on small vocabularies: ids equal to a plain, quadratic form of the same rules, and what is
 * wrong with a file that has no usable vocabulary. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_testing.h"
#include "gguf_write.h"
#include "kit_testing.h"
#include "tokenizer.h"

typedef struct word {
    char text[16];
    uint32_t len;
    float score;
    int32_t type;
} word;

typedef struct vocabulary {
    uint32_t kind; /* of the words below: merging by score, or by rank */
    word words[400];
    uint32_t n;
    struct {
        uint32_t left, right, joined;
    } merges[300];
    uint32_t n_merge;
} vocabulary;

#define BY_SCORE 1u
#define BY_RANK 2u

static uint32_t find_word(const vocabulary *v, const char *text, size_t len) {
    for (uint32_t i = v->n; i > 0; i--) {
        if (v->words[i - 1].len == len && memcmp(v->words[i - 1].text, text, len) == 0)
            return i - 1;
    }
    return TANDEM_NONE;
}

/* Adds a word unless it is there. */
static uint32_t add_word(vocabulary *v, const char *text, size_t len, float score, int32_t type) {
    uint32_t there = find_word(v, text, len);
    if (there != TANDEM_NONE)
        return there;
    assert_true(v->n < 400 && len < sizeof v->words->text);
    word *w = &v->words[v->n];
    memcpy(w->text, text, len);
    w->len = (uint32_t)len;
    w->score = score;
    w->type = type;
    return v->n++;
}

static const char *const LETTERS[] = {"a", "b", "c", "<", ">", "\n", "\xe2\x96\x81", "\xc3\xa9"};
#define N_LETTER 8u

static void start_vocabulary(vocabulary *v, uint32_t kind) {
    memset(v, 0, sizeof *v);
    v->kind = kind;
    add_word(v, "<pad>", 5, 0, TOKEN_CONTROL);
    add_word(v, "<eos>", 5, 0, TOKEN_CONTROL);
    add_word(v, "<bos>", 5, 0, TOKEN_CONTROL);
    add_word(v, "<unk>", 5, 0, TOKEN_UNKNOWN);
    for (uint32_t b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b);
        add_word(v, text, 6, 0, TOKEN_BYTE);
    }
    for (uint32_t i = 0; i + 1 < N_LETTER; i++) /* the last letter only comes as bytes */
        add_word(v, LETTERS[i], strlen(LETTERS[i]), 0, TOKEN_NORMAL);
}

/* Pieces joined at random from what is there, some of them special; scores and ranks with many ties. */
static void grow_vocabulary(vocabulary *v, uint64_t *seed) {
    for (uint32_t i = 0; i < 60; i++) {
        uint32_t first = 260 + (uint32_t)(test_random(seed) % (v->n - 260));
        uint32_t second = 260 + (uint32_t)(test_random(seed) % (v->n - 260));
        char text[32];
        uint32_t len = v->words[first].len + v->words[second].len;
        if (len > 12)
            continue;
        memcpy(text, v->words[first].text, v->words[first].len);
        memcpy(text + v->words[first].len, v->words[second].text, v->words[second].len);
        uint32_t r = (uint32_t)(test_random(seed) % 8);
        int32_t type = r == 0 ? TOKEN_USER : r == 1 ? TOKEN_CONTROL : TOKEN_NORMAL;
        uint32_t joined = add_word(v, text, len, (float)(int)(test_random(seed) % 5) - 2, type);
        v->merges[v->n_merge].left = first;
        v->merges[v->n_merge].right = second;
        v->merges[v->n_merge++].joined = joined;
    }
}

static void write_vocabulary(const vocabulary *v, const char *path) {
    gguf_writer *w;
    tandem_message message;
    gguf_string texts[400], merges[300];
    float scores[400];
    int32_t types[400];
    char joined[300][40];
    assert_int_equal(gguf_write_begin(&w, path, NULL, &message), TANDEM_OK);
    for (uint32_t i = 0; i < v->n; i++) {
        texts[i] = (gguf_string){v->words[i].text, v->words[i].len};
        scores[i] = v->words[i].score;
        types[i] = v->words[i].type;
    }
    for (uint32_t i = 0; i < v->n_merge; i++) {
        const word *a = &v->words[v->merges[i].left], *b = &v->words[v->merges[i].right];
        memcpy(joined[i], a->text, a->len);
        joined[i][a->len] = ' ';
        memcpy(joined[i] + a->len + 1, b->text, b->len);
        merges[i] = (gguf_string){joined[i], a->len + 1 + b->len};
    }
    const char *model = v->kind == BY_SCORE ? "llama" : "gemma4";
    gguf_write_string(w, "tokenizer.ggml.model", model, strlen(model));
    gguf_write_strings(w, "tokenizer.ggml.tokens", texts, v->n);
    gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, v->n);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, types, v->n);
    if (v->kind == BY_RANK)
        gguf_write_strings(w, "tokenizer.ggml.merges", merges, v->n_merge);
    gguf_write_bool(w, "tokenizer.ggml.add_space_prefix", false);
    assert_int_equal(gguf_write_end(w, &message), TANDEM_OK);
}

/* Merges text[len] the plain way: look through all pairs for the best, join it, start over. */
static void plain_merge(const vocabulary *v, const char *text, uint32_t len, token_list *out) {
    static const uint8_t BYTES[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    uint32_t start[600], n = 0;
    for (uint32_t at = 0; at < len; at += BYTES[(uint8_t)text[at] >> 4])
        start[n++] = at;
    start[n] = len;
    for (;;) {
        uint32_t best = TANDEM_NONE;
        double best_order = 0;
        for (uint32_t i = 0; i + 1 < n; i++) {
            uint32_t left = find_word(v, text + start[i], start[i + 1] - start[i]);
            uint32_t right = find_word(v, text + start[i + 1], start[i + 2] - start[i + 1]);
            uint32_t whole = find_word(v, text + start[i], start[i + 2] - start[i]);
            double order = 1e9;
            if (v->kind == BY_SCORE && whole != TANDEM_NONE)
                order = -v->words[whole].score;
            for (uint32_t m = 0; v->kind == BY_RANK && m < v->n_merge && order == 1e9; m++) {
                if (v->merges[m].left == left && v->merges[m].right == right)
                    order = m;
            }
            if (order < 1e9 && (best == TANDEM_NONE || order < best_order)) {
                best = i;
                best_order = order;
            }
        }
        if (best == TANDEM_NONE)
            break;
        memmove(start + best + 1, start + best + 2, (n - best - 1) * sizeof *start);
        n--;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id = find_word(v, text + start[i], start[i + 1] - start[i]);
        if (id != TANDEM_NONE)
            token_list_push(out, id, NULL);
        for (uint32_t at = start[i]; id == TANDEM_NONE && at < start[i + 1]; at++)
            token_list_push(out, 4 + (uint8_t)text[at], NULL); /* byte tokens are 4..259 */
    }
}

static void plain_text(const vocabulary *v, const char *text, uint32_t len, token_list *out) {
    char marked[600];
    uint32_t n = 0;
    for (uint32_t i = 0; i < len; i++) {
        uint32_t k = text[i] == ' ' ? 3 : 1;
        memcpy(marked + n, text[i] == ' ' ? "\xe2\x96\x81" : text + i, k);
        n += k;
    }
    if (v->kind == BY_SCORE) {
        plain_merge(v, marked, n, out);
        return;
    }
    for (uint32_t from = 0, to; from < n; from = to) {
        to = from + 1;
        while (to < n && (marked[to] == '\n') == (marked[from] == '\n'))
            to++;
        uint32_t id = marked[from] == '\n' ? find_word(v, marked + from, to - from) : TANDEM_NONE;
        if (id != TANDEM_NONE)
            token_list_push(out, id, NULL);
        else
            plain_merge(v, marked + from, to - from, out);
    }
}

/* Specials one length after another, longest first, left to right in what is still free. */
static void plain_encode(const vocabulary *v, const char *text, uint32_t len, bool control, token_list *out) {
    uint32_t at_id[600];
    uint8_t taken[600] = {0};
    memset(at_id, 0xff, sizeof at_id);
    for (uint32_t size = 15; size > 0; size--) {
        for (uint32_t at = 0; at + size <= len; at++) {
            uint32_t id = find_word(v, text + at, size);
            int32_t type = id == TANDEM_NONE ? (int32_t)TOKEN_NORMAL : v->words[id].type;
            if (type != (int32_t)TOKEN_USER && !(control && (type == TOKEN_CONTROL || type == TOKEN_UNKNOWN)))
                continue;
            if (memchr(taken + at, 1, size))
                continue;
            memset(taken + at, 1, size);
            at_id[at] = id;
        }
    }
    for (uint32_t at = 0; at < len;) {
        uint32_t end = at;
        while (end < len && !taken[end])
            end++;
        plain_text(v, text + at, end - at, out);
        if (end < len) {
            token_list_push(out, at_id[end], NULL);
            end += v->words[at_id[end]].len;
        }
        at = end;
    }
}

static void equals_the_plain_rules(uint32_t kind) {
    char dir[64], path[128];
    uint64_t seed = kind;
    tandem_message message = {""};
    test_directory(dir);
    snprintf(path, sizeof path, "%s/vocabulary.gguf", dir);
    for (int round = 0; round < 12; round++) {
        static vocabulary v;
        gguf_file *file;
        tokenizer *t;
        start_vocabulary(&v, kind);
        grow_vocabulary(&v, &seed);
        write_vocabulary(&v, path);
        assert_int_equal(gguf_open(&file, path, &message), TANDEM_OK);
        if (tokenizer_create(&t, file, &message) != TANDEM_OK)
            fail_msg("%s", message.text);
        for (int k = 0; k < 400; k++) {
            char text[200];
            uint32_t len = 0, n = (uint32_t)(test_random(&seed) % 40);
            token_list ids = {0}, plain = {0};
            bool control = test_random(&seed) & 1;
            for (uint32_t i = 0; i < n; i++) {
                const char *letter =
                    test_random(&seed) % 9 == 0 ? " " : LETTERS[test_random(&seed) % N_LETTER];
                memcpy(text + len, letter, strlen(letter));
                len += (uint32_t)strlen(letter);
            }
            plain_encode(&v, text, len, control, &plain);
            assert_int_equal(tokenizer_encode(t, text, len, control ? TOKENIZE_SPECIAL : 0, &ids, &message),
                             0);
            assert_int_equal(ids.n, plain.n);
            if (ids.n > 0)
                assert_memory_equal(ids.ids, plain.ids, ids.n * sizeof *ids.ids);
            token_list_free(&ids);
            token_list_free(&plain);
        }
        tokenizer_destroy(t);
        gguf_close(file);
    }
    test_directory_remove(dir);
}

static void score_merging_equals_the_plain_rules(void **state) {
    (void)state;
    equals_the_plain_rules(BY_SCORE);
}

static void rank_merging_equals_the_plain_rules(void **state) {
    (void)state;
    equals_the_plain_rules(BY_RANK);
}

/* ---- files without a usable vocabulary ---- */

static const gguf_string FEW[] = {{"<unk>", 5}, {"a", 1}, {"b", 1}, {"ab", 2}, {"<bos>", 5}};

static void few_tokens(gguf_writer *w, const char *model) {
    gguf_write_string(w, "tokenizer.ggml.model", model, strlen(model));
    gguf_write_strings(w, "tokenizer.ggml.tokens", FEW, 5);
}

static void no_vocabulary(gguf_writer *w) {
    gguf_write_string(w, "tokenizer.ggml.model", "none", 4);
}

static void no_model(gguf_writer *w) {
    gguf_write_strings(w, "tokenizer.ggml.tokens", FEW, 5);
}

static void other_model(gguf_writer *w) {
    few_tokens(w, "gpt2");
}

static void no_scores(gguf_writer *w) {
    few_tokens(w, "llama");
}

static void few_scores(gguf_writer *w) {
    few_tokens(w, "llama");
    gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, (float[4]){0}, 4);
}

static void texts_as_types(gguf_writer *w) {
    few_tokens(w, "llama");
    gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, (float[5]){0}, 5);
    gguf_write_strings(w, "tokenizer.ggml.token_type", FEW, 5);
}

static void distant_bos(gguf_writer *w) {
    few_tokens(w, "llama");
    gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, (float[5]){0}, 5);
    gguf_write_u32(w, "tokenizer.ggml.bos_token_id", 5);
}

static void no_merges(gguf_writer *w) {
    few_tokens(w, "gemma4");
}

static void unknown_piece(gguf_writer *w) {
    few_tokens(w, "gemma4");
    gguf_write_strings(w, "tokenizer.ggml.merges", &(gguf_string){"a c", 3}, 1);
}

static void one_piece(gguf_writer *w) {
    few_tokens(w, "gemma4");
    gguf_write_strings(w, "tokenizer.ggml.merges", &(gguf_string){" ab", 3}, 1);
}

static void says_why_there_is_no_tokenizer(void **state) {
    (void)state;
    static const struct {
        void (*write)(gguf_writer *);
        int status;
        const char *words;
    } CASES[] = {
        {no_vocabulary, TANDEM_E_UNSUPPORTED, "takes token ids, not text"},
        {no_model, TANDEM_E_UNSUPPORTED, "has no tokenizer"},
        {other_model, TANDEM_E_UNSUPPORTED, "kind 'gpt2'"},
        {no_scores, TANDEM_E_INVALID, "tokenizer.ggml.scores is no array with a score for each of 5"},
        {few_scores, TANDEM_E_INVALID, "tokenizer.ggml.scores is no array with a score for each of 5"},
        {texts_as_types, TANDEM_E_INVALID, "entry 0 of tokenizer.ggml.token_type"},
        {distant_bos, TANDEM_E_INVALID, "bos_token_id is 5, beyond the 5 tokens"},
        {no_merges, TANDEM_E_INVALID, "tokenizer.ggml.merges is missing"},
        {unknown_piece, TANDEM_E_INVALID, "'a c') has a piece that is not in the vocabulary"},
        {one_piece, TANDEM_E_INVALID, "is not two pieces"},
    };
    char dir[64], path[128];
    test_directory(dir);
    snprintf(path, sizeof path, "%s/v.gguf", dir);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        gguf_writer *w;
        gguf_file *file;
        tokenizer *t = NULL;
        tandem_message message = {""};
        assert_int_equal(gguf_write_begin(&w, path, NULL, &message), TANDEM_OK);
        CASES[i].write(w);
        assert_int_equal(gguf_write_end(w, &message), TANDEM_OK);
        assert_int_equal(gguf_open(&file, path, &message), TANDEM_OK);
        int status = tokenizer_create(&t, file, &message);
        if (status != CASES[i].status || !strstr(message.text, CASES[i].words))
            fail_msg("case %zu: status %d, '%s'", i, status, message.text);
        assert_null(t);
        gguf_close(file);
    }
    test_directory_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(score_merging_equals_the_plain_rules),
        cmocka_unit_test(rank_merging_equals_the_plain_rules),
        cmocka_unit_test(says_why_there_is_no_tokenizer),
    };
    return cmocka_run_group_tests_name("tokenizer rules", tests, NULL, NULL);
}
