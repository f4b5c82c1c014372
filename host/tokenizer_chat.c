/* Chat templates of Gemma 3 and Gemma 4: a conversation as a row of segments, the frame with control tokens,
 * the contents as plain text. */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* A growing text. */
typedef struct text_buffer {
    char *data;
    size_t n, capacity;
} text_buffer;

static int text_append(text_buffer *to, const char *text, size_t len, tandem_message *message) {
    if (to->n + len + 1 > to->capacity) {
        size_t wanted = 2 * (to->n + len + 1);
        char *bigger = realloc(to->data, wanted);
        if (!bigger)
            return message_out_of_memory(message, "a conversation", wanted);
        to->data = bigger;
        to->capacity = wanted;
    }
    memcpy(to->data + to->n, text, len);
    to->n += len;
    to->data[to->n] = '\0';
    return TANDEM_OK;
}

/* Where segments go: ids or text. */
typedef struct chat_sink {
    const tokenizer *t;
    token_list *ids; /* or */
    text_buffer *text;
    tandem_message *message;
    int status;
} chat_sink;

static void put(chat_sink *sink, const char *text, size_t len, uint32_t flags) {
    if (sink->status != TANDEM_OK || len == 0)
        return;
    sink->status = sink->ids ? tokenizer_encode(sink->t, text, len, flags, sink->ids, sink->message)
                             : text_append(sink->text, text, len, sink->message);
}

static void put_frame(chat_sink *sink, const char *text) {
    put(sink, text, strlen(text), TOKENIZE_SPECIAL);
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static gguf_string trimmed(const char *text) {
    size_t n = strlen(text);
    while (n > 0 && is_blank(text[n - 1]))
        n--;
    while (n > 0 && is_blank(*text)) {
        text++;
        n--;
    }
    return (gguf_string){text, n};
}

/* "system", "user" or "model"; NULL for another word. */
static const char *role_name(const char *role) {
    if (strcmp(role, "system") == 0)
        return "system";
    if (strcmp(role, "user") == 0)
        return "user";
    return strcmp(role, "model") == 0 || strcmp(role, "assistant") == 0 ? "model" : NULL;
}

/* System first if at all, then user and model in turn, ending with the user. */
static int check_roles(const chat_message *messages, size_t n, tandem_message *message) {
    const char *wanted = "user";
    size_t first = n > 0 && strcmp(messages[0].role, "system") == 0 ? 1 : 0;
    for (size_t i = first; i < n; i++) {
        const char *role = role_name(messages[i].role);
        if (!role)
            return message_fail(message, TANDEM_E_INVALID,
                                "unknown chat role '%s': use system, user or model", messages[i].role);
        if (strcmp(role, wanted) != 0)
            return message_fail(message, TANDEM_E_INVALID,
                                "message %zu of the conversation is of role '%s' where '%s' is due", i + 1,
                                role, wanted);
        wanted = strcmp(role, "user") == 0 ? "model" : "user";
    }
    if (strcmp(wanted, "model") != 0)
        return message_fail(message, TANDEM_E_INVALID, "a conversation must end with a message of the user");
    return TANDEM_OK;
}

static void put_gemma3(chat_sink *sink, const chat_message *messages, size_t n) {
    size_t first = strcmp(messages[0].role, "system") == 0 ? 1 : 0;
    for (size_t i = first; i < n; i++) {
        gguf_string text = trimmed(messages[i].text);
        put_frame(sink, "<start_of_turn>");
        put_frame(sink, role_name(messages[i].role));
        put_frame(sink, "\n");
        gguf_string system = trimmed(messages[0].text);
        if (i == 1 && first == 1 &&
            system.len > 0) { /* no system turn here: its text opens the first message */
            put(sink, system.data, system.len, 0);
            put(sink, "\n\n", 2, 0);
        }
        put(sink, text.data, text.len, 0);
        put_frame(sink, "<end_of_turn>\n");
    }
    put_frame(sink, "<start_of_turn>model\n");
}

/* An earlier model turn without its thoughts, as the template cuts them: of every part that ends at
 * "<channel|>" or with the text, what stands before "<|channel>". */
static void put_without_thoughts(chat_sink *sink, gguf_string text) {
    static const char OPEN[] = "<|channel>", CLOSE[] = "<channel|>";
    const char *at = text.data, *end = text.data + text.len;
    text_buffer kept = {0};
    while (sink->status == TANDEM_OK && at) {
        const char *close = memmem(at, (size_t)(end - at), CLOSE, sizeof CLOSE - 1);
        size_t part = (size_t)((close ? close : end) - at);
        const char *open = memmem(at, part, OPEN, sizeof OPEN - 1);
        sink->status = text_append(&kept, at, open ? (size_t)(open - at) : part, sink->message);
        at = close ? close + sizeof CLOSE - 1 : NULL;
    }
    if (sink->status == TANDEM_OK) {
        gguf_string rest = trimmed(kept.data);
        put(sink, rest.data, rest.len, 0);
    }
    free(kept.data);
}

static void put_gemma4(chat_sink *sink, const chat_message *messages, size_t n) {
    for (size_t i = 0; i < n; i++) {
        gguf_string text = trimmed(messages[i].text);
        const char *role = role_name(messages[i].role);
        put_frame(sink, "<|turn>");
        put_frame(sink, role);
        put_frame(sink, "\n");
        if (strcmp(role, "model") == 0)
            put_without_thoughts(sink, text);
        else
            put(sink, text.data, text.len, 0);
        put_frame(sink, "<turn|>\n");
    }
    put_frame(sink, "<|turn>model\n");
    if (sink->t->empty_thought)
        put_frame(sink, "<|channel>thought\n<channel|>");
}

static int put_chat(chat_sink *sink, const chat_message *messages, size_t n) {
    sink->status = check_roles(messages, n, sink->message);
    if (sink->status != TANDEM_OK)
        return sink->status;
    if (sink->t->bos != TANDEM_NONE && sink->ids)
        sink->status = token_list_push(sink->ids, sink->t->bos, sink->message);
    else if (sink->t->bos != TANDEM_NONE)
        put(sink, sink->t->texts[sink->t->bos].data, sink->t->texts[sink->t->bos].len, 0);
    if (sink->t->turn_marks_gemma4)
        put_gemma4(sink, messages, n);
    else
        put_gemma3(sink, messages, n);
    return sink->status;
}

int tokenizer_encode_chat(const tokenizer *t, const chat_message *messages, size_t n, token_list *out,
                          tandem_message *message) {
    chat_sink sink = {.t = t, .ids = out, .message = message};
    return put_chat(&sink, messages, n);
}

int tokenizer_render_chat(const tokenizer *t, const chat_message *messages, size_t n, char **out,
                          tandem_message *message) {
    text_buffer text = {0};
    chat_sink sink = {.t = t, .text = &text, .message = message};
    int status = put_chat(&sink, messages, n);
    if (status != TANDEM_OK) {
        free(text.data);
        return status;
    }
    *out = text.data;
    return TANDEM_OK;
}
