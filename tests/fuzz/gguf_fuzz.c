/* Hostile GGUF files through everything that reads them: header, model shape, vocabulary, encoding, decoding.
 *
 * With libFuzzer: clang -fsanitize=fuzzer,address,undefined -DTANDEM_LIBFUZZER ...
 * Otherwise: gguf_fuzz [ROUNDS [FILE...]] replays the files, then mutates them and four built-in models
 * ROUNDS times (default 20000), the same way every time. Meant to run under the address and
 * undefined-behaviour sanitizers.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../gguf_testing.h"
#include "../kit_testing.h"
#include "gguf.h"
#include "gguf_write.h"
#include "model_config.h"
#include "synth.h"
#include "tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink; /* keeps the reads */

static void read_values(const gguf_file *file) {
    for (uint64_t i = 0; i < gguf_n_values(file); i++) {
        const gguf_value *value = gguf_value_at(file, i);
        uint64_t n = value->count < 300 ? value->count : 300;
        for (uint64_t k = 0; k < n; k++) {
            uint64_t at = k < 150 ? k : value->count - 1 - (k - 150), u;
            double f;
            gguf_string s;
            sink += gguf_element_u64(value, at, &u) ? u : 0;
            sink += gguf_element_f64(value, at, &f);
            if (gguf_element_string(file, value, at, &s) && s.len > 0)
                sink += (uint8_t)s.data[0] + (uint8_t)s.data[s.len - 1];
        }
    }
}

static void read_tensors(const gguf_file *file) {
    for (uint64_t i = 0; i < gguf_n_tensors(file); i++) {
        const gguf_tensor *t = gguf_tensor_at(file, i);
        if (t->bytes > 0)
            sink += t->data[0] + t->data[t->bytes - 1];
        if (gguf_tensor_by_name(file, t->name) != t)
            abort();
    }
}

static void use_tokenizer(const gguf_file *file) {
    static const char TEXT[] = "a <b>\n\nab\xc3\xa9  \xff<bos></s>\t<|turn>ba";
    const chat_message talk[] = {{"system", "ab"}, {"user", TEXT}};
    tandem_message message;
    tokenizer *t;
    token_list ids = {0};
    token_stream stream = {0};
    if (tokenizer_create(&t, file, &message) != TANDEM_OK)
        return;
    int status = tokenizer_encode(t, TEXT, sizeof TEXT, TOKENIZE_BOS, &ids, &message);
    if (status == TANDEM_OK)
        status = tokenizer_encode(t, TEXT, sizeof TEXT, TOKENIZE_SPECIAL, &ids, &message);
    if (status == TANDEM_OK)
        status = tokenizer_encode_chat(t, talk, 2, &ids, &message);
    char *out = malloc(tokenizer_max_decode_bytes(t));
    for (size_t i = 0; out && status == TANDEM_OK && i < ids.n; i++) {
        if (ids.ids[i] >= tokenizer_n_vocab(t))
            abort();
        sink += tokenizer_decode(t, &stream, ids.ids[i], i & 1, out);
    }
    if (out)
        sink += tokenizer_decode_end(&stream, out);
    free(out);
    token_list_free(&ids);
    tokenizer_destroy(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static model_config config;
    gguf_file *file;
    tandem_message message;
    uint8_t *copy = image_exact(data, size); /* reads beyond the end show */
    if (gguf_open_memory(&file, copy, size, &message) == TANDEM_OK) {
        read_values(file);
        read_tensors(file);
        if (model_config_read(&config, file, &message) == TANDEM_OK)
            sink += config.n_layer;
        use_tokenizer(file);
        gguf_close(file);
    }
    free(copy);
    return 0;
}

#ifndef TANDEM_LIBFUZZER

static uint64_t state = 1;

static uint64_t below(uint64_t n) {
    return n ? test_random(&state) % n : 0;
}

/* Numbers that lengths, counts, offsets and types trip over. */
static uint64_t nasty(void) {
    static const uint64_t NUMBERS[] = {0,          1,          2,          7,          8,
                                       9,          13,         31,         32,         33,
                                       255,        256,        0x7fffffff, 0x80000000, 0xffffffff,
                                       1ull << 32, 1ull << 40, INT64_MAX,  1ull << 63, UINT64_MAX};
    uint64_t v = NUMBERS[below(sizeof NUMBERS / sizeof *NUMBERS)];
    return below(4) ? v : v - 1;
}

static void mutate(image *b) {
    size_t head = b->n < 4096 ? b->n : 4096; /* most of what matters is there */
    size_t at = below(below(4) ? head : b->n);
    uint64_t number = nasty();
    switch (below(8)) {
    case 0:
        b->data[at] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        b->data[at] = (uint8_t)below(256);
        break;
    case 2:
    case 3:
        memcpy(b->data + at, &number, b->n - at < 4 ? b->n - at : 4);
        break;
    case 4:
    case 5:
        memcpy(b->data + at, &number, b->n - at < 8 ? b->n - at : 8);
        break;
    case 6: { /* leave out a stretch */
        size_t n = below(b->n - at < 64 ? b->n - at : 64);
        memmove(b->data + at, b->data + at + n, b->n - at - n);
        b->n -= n;
        break;
    }
    default: /* copy a stretch over another place, or cut */
        if (below(2)) {
            b->n = at + 1;
        } else {
            size_t from = below(head), n = below(64);
            n = n < b->n - at ? n : b->n - at;
            n = n < b->n - from ? n : b->n - from;
            memmove(b->data + at, b->data + from, n);
        }
        break;
    }
}

static void read_image(image *b, const char *path) {
    uint8_t buffer[65536];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "gguf_fuzz: cannot open %s\n", path);
        exit(3);
    }
    while ((n = fread(buffer, 1, sizeof buffer, f)) > 0)
        image_raw(b, buffer, n);
    fclose(f);
}

static void require(int status, const tandem_message *message) {
    if (status != TANDEM_OK) {
        fprintf(stderr, "gguf_fuzz: %s\n", message->text);
        exit(3);
    }
}

/* A small vocabulary, by scores or by merges, in a file that also has the metadata of a shape. */
static void write_vocabulary(const char *path, const char *model) {
    gguf_string tokens[] = {{"<pad>", 5}, {"<eos>", 5}, {"<bos>", 5}, {"<unk>", 5},  {"a", 1},
                            {"b", 1},     {"ab", 2},    {"\n", 1},    {"\n\n", 2},   {"<|turn>", 7},
                            {"</s>", 4},  {"<b>", 3},   {"aba", 3},   {"<0xC3>", 6}, {"\xe2\x96\x81", 3}};
    static const gguf_string MERGES[] = {{"a b", 3}, {"ab a", 4}, {"\n \n", 3}};
    static const int32_t TYPES[] = {3, 3, 3, 2, 1, 1, 1, 4, 4, 3, 4, 4, 1, 6, 1};
    float scores[15];
    gguf_writer *w;
    tandem_message message;
    for (int i = 0; i < 15; i++)
        scores[i] = (float)-i;
    if (strcmp(model, "llama") == 0) /* the other chat frame, and "</s>" as llama.cpp treats it */
        tokens[9] = (gguf_string){"<start_of_turn>", 15};
    require(gguf_write_begin(&w, path, NULL, &message), &message);
    gguf_write_string(w, "general.architecture", "gemma4", 6);
    gguf_write_u32(w, "gemma4.block_count", 48);
    gguf_write_string(w, "tokenizer.ggml.model", model, strlen(model));
    gguf_write_strings(w, "tokenizer.ggml.tokens", tokens, 15);
    gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, 15);
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, TYPES, 15);
    gguf_write_strings(w, "tokenizer.ggml.merges", MERGES, 3);
    gguf_write_u32(w, "tokenizer.ggml.unknown_token_id", 3);
    gguf_write_array(w, "tokenizer.ggml.suppress_tokens", GGUF_I32, TYPES, 2);
    require(gguf_write_end(w, &message), &message);
}

static void write_model(const char *path, const char *preset) {
    static const model_overrides TINY = {.n_layer = 6,
                                         .d_model = 32,
                                         .d_ff = 32,
                                         .n_vocab = 8,
                                         .n_head = 2,
                                         .n_kv_head = 1,
                                         .head_dim = 32,
                                         .window = 8};
    static model_config config;
    model_mix mix;
    synth *s;
    tandem_message message;
    require(model_config_preset(&config, preset, &message), &message);
    require(model_config_override(&config, &TINY, &message), &message);
    require(model_mix_by_name(&mix, "Q4_0_PURE", &message), &message);
    require(synth_create(&s, &config, &mix, 1, &message), &message);
    require(synth_write(s, path, NULL, NULL, &message), &message);
    synth_destroy(s);
}

#define N_BUILT_IN 4

int main(int argc, char **argv) {
    char dir[64], path[128];
    uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000;
    size_t n = N_BUILT_IN + (argc > 2 ? (size_t)argc - 2 : 0);
    image *seeds = calloc(n, sizeof *seeds), b = {0};
    test_directory(dir);
    snprintf(path, sizeof path, "%s/seed.gguf", dir);
    write_vocabulary(path, "llama");
    read_image(&seeds[0], path);
    write_vocabulary(path, "gemma4");
    read_image(&seeds[1], path);
    write_model(path, "gemma3-270m");
    read_image(&seeds[2], path);
    write_model(path, "gemma4-e2b");
    read_image(&seeds[3], path);
    test_directory_remove(dir);
    for (size_t i = N_BUILT_IN; i < n; i++)
        read_image(&seeds[i], argv[2 + i - N_BUILT_IN]);
    for (size_t i = 0; i < n; i++)
        LLVMFuzzerTestOneInput(seeds[i].data, seeds[i].n);
    for (uint64_t round = 0; round < rounds; round++) {
        const image *seed = &seeds[below(n)];
        b.n = 0;
        image_raw(&b, seed->data, seed->n);
        for (uint64_t k = 1 + below(6); k > 0 && b.n > 0; k--)
            mutate(&b);
        LLVMFuzzerTestOneInput(b.data, b.n);
    }
    for (size_t i = 0; i < n; i++)
        free(seeds[i].data);
    free(seeds);
    free(b.data);
    printf("%zu files and %llu mutations of them: nothing broke\n", n, (unsigned long long)rounds);
    return 0;
}

#endif
