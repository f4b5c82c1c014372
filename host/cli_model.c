/* host/cli_model.c: models, tokenizers, token lists and files named on the command line. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugin_error.h"

void options_model(model_options *m, option *t) {
    model_overrides *o = &m->overrides;
    *t++ = option_text("model", 'm', &m->model, "FILE|PRESET", "GGUF file, or synthetic weights of a preset");
    *t++ = option_text("quant", 0, &m->quant, "MIX", "preset: formats of its tensors (default Q4_0)");
    *t++ = option_u32("layers", 0, &o->n_layer, 1, MODEL_MAX_LAYERS, "preset: number of layers");
    *t++ = option_u32("vocab", 0, &o->n_vocab, 1, 1u << 24, "preset: size of the vocabulary");
    *t++ = option_u32("d-model", 0, &o->d_model, 1, 1u << 20, "preset: width of the residual stream");
    *t++ = option_u32("d-ff", 0, &o->d_ff, 1, 1u << 20, "preset: width of the feed-forward part");
    *t++ = option_u32("heads", 0, &o->n_head, 1, 4096, "preset: query heads");
    *t++ = option_u32("kv-heads", 0, &o->n_kv_head, 1, 4096, "preset: key/value heads");
    *t++ = option_u32("head-dim", 0, &o->head_dim, 1, 4096, "preset: size of a head");
    *t++ = option_u32("window", 0, &o->window, 1, 1u << 24, "preset: window of the sliding layers");
    *t++ = option_u32("experts", 0, &o->n_expert, 1, 65536, "preset: experts of a layer");
    *t++ = option_u32("experts-used", 0, &o->n_used, 1, 65536, "preset: experts that a token uses");
    *t++ = option_u32("d-expert", 0, &o->d_expert, 1, 1u << 20, "preset: width of an expert");
    *t = (option){0};
}

static bool is_preset(const char *name) {
    for (uint32_t i = 0; model_preset_at(i); i++)
        if (!strcasecmp(name, model_preset_at(i)))
            return true;
    return false;
}

int cli_open_model(const model_options *m, uint64_t seed, const char *command, model_source **source) {
    if (!m->model)
        return cli_fail(TANDEM_EXIT_USAGE, command,
                        "-m MODEL is needed: a GGUF file or a preset (see tandem %s --help)", command);
    model_source_desc desc = {.model = m->model, .quant = m->quant, .seed = seed, .overrides = m->overrides};
    tandem_message message;
    int status = model_source_open(source, &desc, &message);
    if (!status)
        return OPTIONS_GO_ON;
    if (status == TANDEM_E_OUT_OF_MEMORY)
        return cli_refuse(status, command, &message);
    /* A file that is no model is the environment's fault; a preset with impossible dimensions the
     * caller's. */
    static const model_overrides none;
    const bool shaped = m->quant || memcmp(&m->overrides, &none, sizeof none);
    bool usage = is_preset(m->model) || (shaped && status == TANDEM_E_INVALID && access(m->model, F_OK) == 0);
    return cli_fail(usage ? TANDEM_EXIT_USAGE : TANDEM_EXIT_ENVIRONMENT, command, "%s", message.text);
}

int cli_open_tokenizer(const model_source *source, const char *command, tokenizer **tok) {
    const gguf_file *file = model_source_gguf(source);
    if (!file)
        return cli_fail(TANDEM_EXIT_USAGE, command, "A synthetic model has no vocabulary; give --tokens");
    tandem_message message;
    int status = tokenizer_create(tok, file, &message);
    return status
               ? cli_fail(status == TANDEM_E_OUT_OF_MEMORY ? TANDEM_EXIT_NO_MEMORY : TANDEM_EXIT_ENVIRONMENT,
                          command, "%s", message.text)
               : OPTIONS_GO_ON;
}

int cli_read_file(const char *path, const char *command, char **text, size_t *n) {
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!file)
        return cli_fail(TANDEM_EXIT_ENVIRONMENT, command, "%s cannot be opened: %s", path, strerror(errno));
    size_t room = 1u << 16, used = 0;
    char *bytes = malloc(room);
    while (bytes) {
        used += fread(bytes + used, 1, room - 1 - used, file);
        if (used < room - 1)
            break;
        char *more = realloc(bytes, room *= 2);
        if (!more)
            free(bytes);
        bytes = more;
    }
    int code = ferror(file) ? errno : 0;
    if (file != stdin)
        fclose(file);
    if (!bytes)
        return cli_fail(TANDEM_EXIT_NO_MEMORY, command, "Out of memory reading %s", path);
    if (code) {
        free(bytes);
        return cli_fail(TANDEM_EXIT_ENVIRONMENT, command, "%s cannot be read: %s", path, strerror(code));
    }
    bytes[used] = 0;
    *text = bytes;
    *n = used;
    return OPTIONS_GO_ON;
}

/* Whether a comma has no number before it or behind it. */
static bool has_empty_place(const char *text) {
    bool number = false, comma = false;
    for (; *text; text++) {
        if (*text == ',') {
            if (!number)
                return true;
            number = false;
            comma = true;
        } else if (!strchr(" \t\r\n", *text)) {
            number = true;
            comma = false;
        }
    }
    return comma;
}

/* Numbers separated by white space or by one comma each. */
static int parse_tokens(char *text, const model_config *config, const char *command, token_list *tokens) {
    if (has_empty_place(text))
        return cli_fail(TANDEM_EXIT_USAGE, command, "A token id is missing beside a comma");
    char *rest = NULL;
    for (char *word = strtok_r(text, ", \t\r\n", &rest); word; word = strtok_r(NULL, ", \t\r\n", &rest)) {
        uint32_t id;
        if (!parse_u32(word, &id) || id >= config->n_vocab)
            return cli_fail(TANDEM_EXIT_USAGE, command, "'%.40s' is no token id below %u", word,
                            config->n_vocab);
        tandem_message message;
        int status = token_list_push(tokens, id, &message);
        if (status)
            return cli_refuse(status, command, &message);
    }
    if (!tokens->n)
        return cli_fail(TANDEM_EXIT_USAGE, command, "No token ids were given");
    return OPTIONS_GO_ON;
}

int cli_read_tokens(const char *text, const model_config *config, const char *command, token_list *tokens) {
    char *copy = NULL;
    size_t n;
    if (text[0] == '@') {
        int code = cli_read_file(text + 1, command, &copy, &n);
        if (code != OPTIONS_GO_ON)
            return code;
        if (strlen(copy) != n) {
            free(copy);
            return cli_fail(TANDEM_EXIT_USAGE, command, "%s is no list of token ids", text + 1);
        }
    } else if (!(copy = strdup(text))) {
        return cli_fail(TANDEM_EXIT_NO_MEMORY, command, "Out of memory");
    }
    int code = parse_tokens(copy, config, command, tokens);
    free(copy);
    return code;
}

int cli_read_prompt(const char *ids, const char *text, const model_source *source, const char *command,
                    token_list *tokens) {
    if (ids)
        return cli_read_tokens(ids, model_source_config(source), command, tokens);
    tokenizer *tok = NULL;
    int code = cli_open_tokenizer(source, command, &tok);
    if (code != OPTIONS_GO_ON)
        return code;
    tandem_message message;
    int status = tokenizer_encode(tok, text, strlen(text), TOKENIZE_BOS, tokens, &message);
    tokenizer_destroy(tok);
    if (status)
        return cli_refuse(status, command, &message);
    return tokens->n ? OPTIONS_GO_ON : cli_fail(TANDEM_EXIT_USAGE, command, "The prompt is empty");
}

void cli_add_inputs(const common_options *common, const model_source *source, const cli_device *device,
                    const char *tokens, input_files *inputs) {
    if (source && model_source_gguf(source))
        gguf_add_inputs(model_source_gguf(source), inputs);
    if (device->plugin)
        input_files_add(inputs, tandem_plugin_path(device->plugin));
    if (tokens && tokens[0] == '@')
        input_files_add(inputs, tokens + 1);
    if (common->routing && !strncmp(common->routing, "trace:", 6))
        input_files_add(inputs, common->routing + 6);
}
