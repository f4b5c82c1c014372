/* host/cmd_tokenize.c: tandem tokenize. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "commands.h"

static const command_usage usage = {
    "tokenize", "-m MODEL [options] < TEXT",
    "Token ids of standard input, one line of ids for each line of text (without its newline).",
    "--whole takes all of standard input as one text, newlines included. --decode goes back: ids in, text "
    "out."};

typedef struct tokenize_command {
    common_options common;
    const char *model;
    bool decode, whole, no_bos, special;
} tokenize_command;

static int print_ids(const tokenize_command *t, const tokenizer *tok, const char *text, size_t n) {
    token_list ids = {0};
    tandem_message message;
    uint32_t flags = (t->no_bos ? 0 : TOKENIZE_BOS) | (t->special ? TOKENIZE_SPECIAL : 0);
    int status = tokenizer_encode(tok, text, n, flags, &ids, &message);
    if (!status) {
        for (size_t i = 0; i < ids.n; i++)
            printf(i ? ",%u" : "%u", ids.ids[i]);
        putchar('\n');
    }
    token_list_free(&ids);
    return status ? cli_refuse(status, usage.name, &message) : OPTIONS_GO_ON;
}

static int encode(const tokenize_command *t, const tokenizer *tok, const char *text, size_t n) {
    if (t->whole)
        return print_ids(t, tok, text, n);
    int code = OPTIONS_GO_ON;
    while (n && code == OPTIONS_GO_ON) {
        const char *end = memchr(text, '\n', n);
        size_t length = end ? (size_t)(end - text) : n;
        code = print_ids(t, tok, text, length);
        size_t used = length + (end ? 1 : 0);
        text += used;
        n -= used;
    }
    return code;
}

/* One line of ids becomes one text. */
static int decode_line(const tokenize_command *t, const tokenizer *tok, char *line, char *bytes) {
    token_stream stream = {0};
    char *rest = NULL;
    for (char *word = strtok_r(line, ", \t\r", &rest); word; word = strtok_r(NULL, ", \t\r", &rest)) {
        uint32_t id;
        if (!parse_u32(word, &id) || id >= tokenizer_n_vocab(tok))
            return cli_fail(TANDEM_EXIT_USAGE, usage.name, "'%.40s' is no token id below %u", word,
                            tokenizer_n_vocab(tok));
        size_t n = tokenizer_decode(tok, &stream, id, t->special ? DECODE_SPECIAL : 0, bytes);
        fwrite(bytes, 1, n, stdout);
    }
    fwrite(bytes, 1, tokenizer_decode_end(&stream, bytes), stdout);
    return OPTIONS_GO_ON;
}

static int decode(const tokenize_command *t, const tokenizer *tok, char *text) {
    char *bytes = malloc(tokenizer_max_decode_bytes(tok));
    if (!bytes)
        return cli_fail(TANDEM_EXIT_NO_MEMORY, usage.name, "Out of memory");
    int code = OPTIONS_GO_ON;
    while (*text && code == OPTIONS_GO_ON) {
        char *end = strchr(text, '\n'), *next = end ? end + 1 : text + strlen(text);
        if (end)
            *end = 0;
        code = decode_line(t, tok, text, bytes);
        if (!t->whole)
            putchar('\n');
        text = next;
    }
    free(bytes);
    return code;
}

int cmd_tokenize(int argc, char **argv) {
    tokenize_command t = {0};
    option shared[COMMON_MAX_OPTIONS];
    options_common(&t.common, 0, shared);
    const option own[] = {
        option_text("model", 'm', &t.model, "FILE", "GGUF file with the vocabulary"),
        option_flag("decode", 0, &t.decode, "from ids to text"),
        option_flag("whole", 0, &t.whole, "all of standard input is one text"),
        option_flag("no-bos", 0, &t.no_bos, "no begin-of-sequence token"),
        option_flag("special", 0, &t.special, "control tokens are read from and written as text"),
        {0},
    };
    uint32_t n_free;
    int code = options_parse(&usage, (const option *const[]){own, shared}, 2, argc, argv, NULL, 0, &n_free);
    if (code == OPTIONS_GO_ON && !t.model)
        code = cli_fail(TANDEM_EXIT_USAGE, usage.name, "-m FILE is needed");
    if (code != OPTIONS_GO_ON)
        return code;
    gguf_file *file = NULL;
    tokenizer *tok = NULL;
    char *text = NULL;
    size_t n = 0;
    tandem_message message;
    int status = gguf_open(&file, t.model, &message);
    if (!status)
        status = tokenizer_create(&tok, file, &message);
    if (status)
        code = cli_fail(status == TANDEM_E_OUT_OF_MEMORY ? TANDEM_EXIT_NO_MEMORY : TANDEM_EXIT_ENVIRONMENT,
                        usage.name, "%s", message.text);
    if (code == OPTIONS_GO_ON)
        code = cli_read_file("-", usage.name, &text, &n);
    if (code == OPTIONS_GO_ON)
        code = t.decode ? decode(&t, tok, text) : encode(&t, tok, text, n);
    free(text);
    tokenizer_destroy(tok);
    gguf_close(file);
    return code == OPTIONS_GO_ON ? TANDEM_EXIT_GOOD : code;
}
