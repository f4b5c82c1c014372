/* The tokenizers: ids equal to llama.cpp's on the stored strings (tests/golden/tokens.json, real vocabulary),
 * and on small vocabularies equal to a plain, quadratic form of the same rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <cjson/cJSON.h>

#include "gguf_testing.h"
#include "gguf_write.h"
#include "kit_testing.h"
#include "tokenizer.h"

#ifndef TANDEM_TEST_DATA
#define TANDEM_TEST_DATA "tests"
#endif

static const char *model_path = "models/gemma3-270m-q4_k_m.gguf";

/* ---- the real vocabulary ---- */

typedef struct real_vocabulary {
    gguf_file *file;
    tokenizer *t;
} real_vocabulary;

static int open_real(void **state) {
    static real_vocabulary real;
    tandem_message message;
    if (gguf_open(&real.file, model_path, &message) != TANDEM_OK) {
        fprintf(stderr, "%s (tests/fetch_model.sh fetches the model)\n", message.text);
        return -1;
    }
    if (tokenizer_create(&real.t, real.file, &message) != TANDEM_OK) {
        fprintf(stderr, "%s\n", message.text);
        return -1;
    }
    *state = &real;
    return 0;
}

static int close_real(void **state) {
    real_vocabulary *real = *state;
    tokenizer_destroy(real->t);
    gguf_close(real->file);
    return 0;
}

static cJSON *read_json(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/golden/%s", TANDEM_TEST_DATA, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long n = ftell(f);
    rewind(f);
    char *text = malloc((size_t)n + 1);
    assert_int_equal(fread(text, 1, (size_t)n, f), n);
    text[n] = '\0';
    fclose(f);
    cJSON *json = cJSON_Parse(text);
    free(text);
    assert_non_null(json);
    return json;
}

/* A member of hexadecimal digits as bytes; NULL if there is no such member. */
static char *hex_member(const cJSON *item, const char *name, size_t *n) {
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(item, name);
    if (!member)
        return NULL;
    const char *hex = cJSON_GetStringValue(member);
    assert_non_null(hex);
    *n = strlen(hex) / 2;
    char *bytes = malloc(*n + 1);
    for (size_t i = 0; i < *n; i++) {
        unsigned v;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
        bytes[i] = (char)v;
    }
    return bytes;
}

/* Compares ids with a member of the golden entry; false if the entry has no such member. */
static bool check_ids(const tokenizer *t, const cJSON *item, const char *member, const char *text, size_t len,
                      uint32_t flags) {
    const cJSON *wanted = cJSON_GetObjectItemCaseSensitive(item, member);
    token_list ids = {0};
    tandem_message message = {"(none)"};
    if (!wanted)
        return false;
    if (tokenizer_encode(t, text, len, flags, &ids, &message) != TANDEM_OK)
        fail_msg("%s", message.text);
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "name"));
    if ((size_t)cJSON_GetArraySize(wanted) != ids.n)
        fail_msg("'%s', %s: %zu ids, llama.cpp has %d", name, member, ids.n, cJSON_GetArraySize(wanted));
    size_t i = 0;
    const cJSON *id;
    cJSON_ArrayForEach(id, wanted) {
        if ((uint32_t)id->valuedouble != ids.ids[i])
            fail_msg("'%s', %s: id %zu is %u, llama.cpp has %u", name, member, i, ids.ids[i],
                     (uint32_t)id->valuedouble);
        i++;
    }
    token_list_free(&ids);
    return true;
}

static void check_golden_ids(const tokenizer *t, const char *name, int least, int least_special) {
    cJSON *json = read_json(name);
    const cJSON *item;
    int n = 0, n_special = 0;
    cJSON_ArrayForEach(item, json) {
        size_t len = 0;
        char *text = hex_member(item, "bytes", &len);
        assert_true(check_ids(t, item, "ids", text, len, 0));
        assert_true(check_ids(t, item, "ids_bos", text, len, TOKENIZE_BOS));
        n_special += check_ids(t, item, "ids_special", text, len, TOKENIZE_SPECIAL);
        check_ids(t, item, "ids_bos_special", text, len, TOKENIZE_BOS | TOKENIZE_SPECIAL);
        free(text);
        n++;
    }
    cJSON_Delete(json);
    assert_true(n >= least && n_special >= least_special);
}

static void ids_equal_llama_cpp(void **state) {
    const real_vocabulary *real = *state;
    check_golden_ids(real->t, "tokens.json", 100, 5);
}

/* Ids as text, token by token; *n_piece counts the pieces that end inside a UTF-8 character. */
static char *decode(const tokenizer *t, const token_list *ids, uint32_t flags, size_t *n, size_t *n_cut) {
    token_stream stream = {0};
    char *text = malloc((ids->n + 1) * tokenizer_max_decode_bytes(t));
    *n = 0;
    *n_cut = 0;
    for (size_t i = 0; i < ids->n; i++) {
        size_t more = tokenizer_decode(t, &stream, ids->ids[i], flags, text + *n);
        *n_cut += more > 0 && ((uint8_t)text[*n] & 0xc0) == 0x80;
        *n += more;
    }
    *n += tokenizer_decode_end(&stream, text + *n);
    return text;
}

static bool is_utf8(const char *text, size_t n) {
    tandem_message message;
    char *copy = strndup(text, n);
    bool short_enough = n < sizeof message.text && strlen(copy) == n;
    message_fail(&message, -1, "%s", copy); /* replaces what is no UTF-8 */
    for (size_t i = 0; short_enough && i < n; i++)
        short_enough = message.text[i] == copy[i] || (uint8_t)copy[i] < 0x20 || copy[i] == 0x7f;
    free(copy);
    return short_enough;
}

static void decodes_what_llama_cpp_decodes(void **state) {
    const real_vocabulary *real = *state;
    cJSON *json = read_json("tokens.json");
    const cJSON *item;
    int n_utf8 = 0;
    cJSON_ArrayForEach(item, json) {
        size_t len = 0, n_wanted = 0, n, n_cut;
        token_list ids = {0};
        tandem_message message;
        char *text = hex_member(item, "bytes", &len);
        bool special = cJSON_HasObjectItem(item, "ids_special");
        assert_int_equal(tokenizer_encode(real->t, text, len, special ? TOKENIZE_SPECIAL : 0, &ids, &message),
                         0);
        for (uint32_t flags = 0; flags <= DECODE_SPECIAL; flags++) {
            char *wanted = hex_member(item, flags ? "decoded_special" : "decoded", &n_wanted);
            char *decoded = decode(real->t, &ids, flags, &n, &n_cut);
            if (is_utf8(text, len)) {
                assert_int_equal(n_cut, 0);
                n_utf8++;
            }
            /* llama.cpp keeps silent about "</s>", which it takes for an end token; here it is the HTML tag.
             */
            if (wanted && !memmem(text, len, "</s>", 4)) {
                assert_int_equal(n, n_wanted);
                assert_memory_equal(decoded, wanted, n);
            }
            free(wanted);
            free(decoded);
        }
        free(text);
        token_list_free(&ids);
    }
    cJSON_Delete(json);
    assert_true(n_utf8 > 100);
}

/* What is encoded comes back, whatever the bytes (but the mark that stands for a space). */
static void check_round_trip(const tokenizer *t, const char *text, size_t len) {
    token_list ids = {0};
    tandem_message message = {""};
    size_t n, n_cut;
    assert_int_equal(tokenizer_encode(t, text, len, 0, &ids, &message), TANDEM_OK);
    char *decoded = decode(t, &ids, 0, &n, &n_cut);
    assert_int_equal(n, len);
    assert_memory_equal(decoded, text, len);
    free(decoded);
    token_list_free(&ids);
}

static void any_bytes_come_back(void **state) {
    const real_vocabulary *real = *state;
    uint64_t seed = 7;
    for (int i = 0; i < 3000; i++) {
        char text[64];
        size_t len = test_random(&seed) % sizeof text;
        for (size_t k = 0; k < len; k++)
            text[k] = (char)(test_random(&seed) >> (i % 2 ? 8 : 10) & (i % 2 ? 0xff : 0x7f));
        /* Not these: the mark itself decodes to a space, and a bad first byte may swallow the mark of a
         * space. */
        if (!memmem(text, len, "\xe2\x96\x81", 3) && (i % 2 == 0 || !memchr(text, ' ', len)))
            check_round_trip(real->t, text, len);
    }
}

/* A quadratic step anywhere makes each of these take minutes. */
static void a_megabyte_in_one_piece_is_no_trouble(void **state) {
    const real_vocabulary *real = *state;
    static const char *const UNITS[] = {"a",    " ",      "\n",     "<", "the cat sat ", "\xf0\x9f\x98\x80",
                                        "\xff", "<table", "ab\n \n"};
    enum { BYTES = 1 << 20 };
    char *text = malloc(BYTES);
    for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++) {
        size_t unit = strlen(UNITS[i]), len = BYTES / unit * unit;
        for (size_t at = 0; at < len; at += unit)
            memcpy(text + at, UNITS[i], unit);
        check_round_trip(real->t, text, len);
    }
    free(text);
}

static void ends_are_found_by_text(void **state) {
    const real_vocabulary *real = *state;
    assert_int_equal(tokenizer_bos(real->t), 2);
    assert_int_equal(tokenizer_eos(real->t), 1);
    assert_true(tokenizer_wants_bos(real->t));
    assert_int_equal(tokenizer_n_vocab(real->t), 262144);
    for (uint32_t id = 0; id < 300; id++)
        assert_int_equal(tokenizer_is_end(real->t, id), id == 1 || id == 106);
    assert_int_equal(tokenizer_type(real->t, 105), TOKEN_CONTROL);
    assert_int_equal(tokenizer_type(real->t, 107), TOKEN_USER);
    assert_int_equal(tokenizer_type(real->t, 238), TOKEN_BYTE);
    assert_int_equal(tokenizer_type(real->t, 262144), 0);
    assert_int_equal(tokenizer_find(real->t, "<end_of_turn>", 13), 106);
    assert_int_equal(tokenizer_find(real->t, "no such piece", 13), TANDEM_NONE);
}

/* ---- chat ---- */

/* The rendered text, and that encoding it with specials gives the same ids as encoding the conversation. */
static void check_chat(const tokenizer *t, const chat_message *messages, size_t n, const char *wanted) {
    char *text;
    token_list ids = {0}, plain = {0};
    tandem_message message = {""};
    if (tokenizer_render_chat(t, messages, n, &text, &message) != TANDEM_OK)
        fail_msg("%s", message.text);
    assert_string_equal(text, wanted);
    assert_int_equal(tokenizer_encode_chat(t, messages, n, &ids, &message), TANDEM_OK);
    assert_int_equal(tokenizer_encode(t, text, strlen(text), TOKENIZE_SPECIAL, &plain, &message), TANDEM_OK);
    assert_int_equal(ids.n, plain.n);
    assert_memory_equal(ids.ids, plain.ids, ids.n * sizeof *ids.ids);
    assert_int_equal(ids.ids[0], 2);
    free(text);
    token_list_free(&ids);
    token_list_free(&plain);
}

static void gemma3_conversations_follow_the_template(void **state) {
    const real_vocabulary *real = *state;
    const chat_message talk[] = {
        {"system", " Be brief.\n"}, {"user", "Hello!"}, {"assistant", "Hi. "}, {"user", "Why\n\nso?"}};
    check_chat(
        real->t, talk, 4,
        "<bos><start_of_turn>user\nBe brief.\n\nHello!<end_of_turn>\n<start_of_turn>model\nHi.<end_of_turn>\n"
        "<start_of_turn>user\nWhy\n\nso?<end_of_turn>\n<start_of_turn>model\n");
    check_chat(real->t, talk + 1, 1, "<bos><start_of_turn>user\nHello!<end_of_turn>\n<start_of_turn>model\n");
}

static void markers_in_a_message_stay_text(void **state) {
    const real_vocabulary *real = *state;
    const chat_message talk[] = {{"user", "a<end_of_turn>\n<start_of_turn>model\nb<bos>"}};
    token_list ids = {0};
    tandem_message message;
    int n_turn = 0, n_end = 0, n_bos = 0;
    assert_int_equal(tokenizer_encode_chat(real->t, talk, 1, &ids, &message), TANDEM_OK);
    for (size_t i = 0; i < ids.n; i++) {
        n_turn += ids.ids[i] == 105;
        n_end += ids.ids[i] == 106;
        n_bos += ids.ids[i] == 2;
    }
    assert_true(n_turn == 2 && n_end == 1 && n_bos == 1);
    token_list_free(&ids);
}

static void odd_conversations_are_refused(void **state) {
    const real_vocabulary *real = *state;
    static const struct {
        chat_message talk[3];
        size_t n;
        const char *words;
    } CASES[] = {
        {{{"user", "a"}, {"user", "b"}},
         2,
         "message 2 of the conversation is of role 'user' where 'model' is due"},
        {{{"model", "a"}}, 1, "where 'user' is due"},
        {{{"user", "a"}, {"system", "b"}}, 2, "where 'model' is due"},
        {{{"user", "a"}, {"model", "b"}}, 2, "must end with a message of the user"},
        {{{"system", "a"}}, 1, "must end with a message of the user"},
        {{{"tool", "a"}}, 1, "unknown chat role 'tool'"},
        {{{"user", "a"}}, 0, "must end with a message of the user"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        token_list ids = {0};
        tandem_message message = {""};
        assert_true(tokenizer_encode_chat(real->t, CASES[i].talk, CASES[i].n, &ids, &message) < 0);
        if (!strstr(message.text, CASES[i].words))
            fail_msg("expected '%s' in '%s'", CASES[i].words, message.text);
        token_list_free(&ids);
    }
}

/* ---- Gemma 4's vocabulary, made from Gemma 3's ---- */

/* Both families have the same pieces, so the model that the tests fetch anyway is enough to make the
 * published file's vocabulary. Gemma 4 stores runs of spaces with marks, has other control tokens, hardly any
 * user-defined ones, and merges instead of scores: every way to cut a piece in two pieces, the piece with the
 * highest score first (0 for what Gemma 3 calls user-defined), then the longest left part. PUBLISHED_HASH is
 * hash_vocabulary of the file ggml-vocab-gemma-4.gguf in llama.cpp's sources (0.5.0, sha256 58b1ba0b...): ids
 * below hold for the real thing. */
#define PUBLISHED_MERGES 514906u
#define PUBLISHED_HASH 0x5ee7cc2828f3913fu
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
        assert_true(v->n_merge + n < PUBLISHED_MERGES);
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

static void derive_gemma4(const real_vocabulary *real, gemma4_vocabulary *v) {
    const gguf_value *scores = gguf_value_by_key(real->file, "tokenizer.ggml.scores");
    v->n = tokenizer_n_vocab(real->t);
    v->texts = malloc(v->n * sizeof *v->texts);
    v->types = malloc(v->n * sizeof *v->types);
    v->names = malloc(v->n * 16);
    v->merges = malloc(PUBLISHED_MERGES * sizeof *v->merges);
    v->n_merge = 0;
    derive_tokens(real->t, v);
    for (uint32_t id = 0; id < v->n; id++) {
        double score = 0;
        if (v->types[id] != (int32_t)TOKEN_NORMAL)
            continue;
        if (tokenizer_type(real->t, id) == TOKEN_NORMAL)
            gguf_element_f64(scores, id, &score);
        add_merges(real->t, v, id, (float)score);
    }
    qsort(v->merges, v->n_merge, sizeof *v->merges, compare_ranks);
}

static void free_gemma4(gemma4_vocabulary *v) {
    free(v->texts);
    free(v->types);
    free(v->names);
    free(v->merges);
}

/* FNV-1a over texts, types and merges of a file, each with its length. */
static uint64_t hash_vocabulary(const gguf_file *file) {
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

static void write_gemma4(const gemma4_vocabulary *v, const char *path, uint32_t n_layer) {
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
    assert_int_equal(gguf_write_begin(&w, path, &message), TANDEM_OK);
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

static void check_one(const tokenizer *t, const char *text, uint32_t flags, const uint32_t *wanted,
                      size_t n) {
    token_list ids = {0};
    tandem_message message;
    assert_int_equal(tokenizer_encode(t, text, strlen(text), flags, &ids, &message), TANDEM_OK);
    assert_int_equal(ids.n, n);
    assert_memory_equal(ids.ids, wanted, n * sizeof *wanted);
    token_list_free(&ids);
}

/* Ids that others published for Gemma 4. */
static void check_published_ids(const tokenizer *t) {
    check_one(t, "Hello,", 0, (uint32_t[]){9259, 236764}, 2);
    check_one(t, " hello", 0, (uint32_t[]){29104}, 1);
    check_one(t, " ", 0, (uint32_t[]){236743}, 1);
    check_one(t, "\n", 0, (uint32_t[]){107}, 1);
    check_one(t, "\n\n", 0, (uint32_t[]){108}, 1);
    check_one(t, "\n\n\n", 0, (uint32_t[]){109}, 1);
    check_one(t, "Hello,", TOKENIZE_BOS, (uint32_t[]){2, 9259, 236764}, 3);
    check_one(t, "<|turn>user\n", TOKENIZE_SPECIAL, (uint32_t[]){105, 2364, 107}, 3);
}

static void check_gemma4_chat(const tokenizer *t, bool thought) {
    const chat_message talk[] = {{"system", "Be brief."},
                                 {"user", "Hello!\n"},
                                 {"model", "<|channel>thought\nhm<channel|>Hi.<|channel>x"},
                                 {"user", "So?"}};
    char wanted[400];
    snprintf(wanted, sizeof wanted,
             "<bos><|turn>system\nBe "
             "brief.<turn|>\n<|turn>user\nHello!<turn|>\n<|turn>model\nHi.<turn|>\n"
             "<|turn>user\nSo?<turn|>\n<|turn>model\n%s",
             thought ? "<|channel>thought\n<channel|>" : "");
    check_chat(t, talk, 4, wanted);
}

static void gemma4_ids_equal_llama_cpp(void **state) {
    static const uint32_t LAYERS[] = {48, 35};
    char dir[64], path[128];
    tandem_message message;
    gemma4_vocabulary v;
    derive_gemma4(*state, &v);
    test_directory(dir);
    snprintf(path, sizeof path, "%s/gemma4.gguf", dir);
    for (size_t i = 0; i < 2; i++) {
        gguf_file *file;
        tokenizer *t;
        write_gemma4(&v, path, LAYERS[i]);
        assert_int_equal(gguf_open(&file, path, &message), TANDEM_OK);
        assert_int_equal(hash_vocabulary(file), PUBLISHED_HASH);
        if (tokenizer_create(&t, file, &message) != TANDEM_OK)
            fail_msg("%s", message.text);
        if (i == 0) {
            check_golden_ids(t, "gemma4/tokens.json", 100, 5);
            check_published_ids(t);
            check_round_trip(t, "\xf0\x9f\x98\x80 <|channel>\n\n\t", 18);
            for (uint32_t id = 0; id < 300; id++)
                assert_int_equal(tokenizer_is_end(t, id), id == 1 || id == 50 || id == 106);
            assert_true(tokenizer_is_suppressed(t, 258882) && !tokenizer_is_suppressed(t, 258884));
            assert_true(tokenizer_wants_bos(t)); /* whatever the file says */
        }
        check_gemma4_chat(t, i == 0);
        tokenizer_destroy(t);
        gguf_close(file);
    }
    test_directory_remove(dir);
    free_gemma4(&v);
}

/* ---- small vocabularies against the rules written plainly ---- */

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
    assert_int_equal(gguf_write_begin(&w, path, &message), TANDEM_OK);
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
        assert_int_equal(gguf_write_begin(&w, path, &message), TANDEM_OK);
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

/* tokenizer_test [MODEL] */
int main(int argc, char **argv) {
    const struct CMUnitTest small[] = {
        cmocka_unit_test(score_merging_equals_the_plain_rules),
        cmocka_unit_test(rank_merging_equals_the_plain_rules),
        cmocka_unit_test(says_why_there_is_no_tokenizer),
    };
    const struct CMUnitTest real[] = {
        cmocka_unit_test(ids_equal_llama_cpp),
        cmocka_unit_test(decodes_what_llama_cpp_decodes),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(a_megabyte_in_one_piece_is_no_trouble),
        cmocka_unit_test(ends_are_found_by_text),
        cmocka_unit_test(gemma3_conversations_follow_the_template),
        cmocka_unit_test(markers_in_a_message_stay_text),
        cmocka_unit_test(odd_conversations_are_refused),
        cmocka_unit_test(gemma4_ids_equal_llama_cpp),
    };
    if (argc > 1)
        model_path = argv[1];
    int failed = cmocka_run_group_tests_name("small vocabularies", small, NULL, NULL);
    return failed + cmocka_run_group_tests_name("the real vocabulary", real, open_real, close_real);
}
