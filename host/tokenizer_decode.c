/* Ids to text, as a stream: a character whose bytes come in several tokens appears when it is complete. */
#include "tokenizer_internal.h"

#include <string.h>

size_t tokenizer_max_decode_bytes(const tokenizer *t) {
    return t->max_text + sizeof((token_stream *)0)->held;
}

/* Bytes at the end of s[n] that begin a UTF-8 sequence and could still become one. */
static size_t unfinished_bytes(const uint8_t *s, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        uint8_t b = s[n - back];
        if ((b & 0xc0) == 0x80)
            continue; /* a continuation: look for its start */
        size_t whole = b >= 0xf0 && b <= 0xf4 ? 4 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xc2 && b < 0xe0 ? 2 : 1;
        return whole > back ? back : 0;
    }
    return 0;
}

static uint32_t hex_digit(char c) {
    return c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
           : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10u
                                  : 16u;
}

/* The value of "<0x41>", or 256. */
static uint32_t byte_of(gguf_string text) {
    if (text.len != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>')
        return 256;
    uint32_t high = hex_digit(text.data[3]), low = hex_digit(text.data[4]);
    return high > 15 || low > 15 ? 256 : high << 4 | low;
}

static size_t unmark_spaces(gguf_string text, char *out) {
    size_t n = 0;
    for (uint64_t i = 0; i < text.len;) {
        if (text.len - i >= SPACE_MARK_BYTES && memcmp(text.data + i, SPACE_MARK, SPACE_MARK_BYTES) == 0) {
            out[n++] = ' ';
            i += SPACE_MARK_BYTES;
        } else {
            out[n++] = text.data[i++];
        }
    }
    return n;
}

static size_t piece(const tokenizer *t, uint32_t id, uint32_t flags, char *out) {
    gguf_string text = t->texts[id];
    uint32_t byte;
    switch (t->types[id]) {
    case TOKEN_NORMAL:
        return unmark_spaces(text, out);
    case TOKEN_BYTE:
        byte = byte_of(text);
        if (byte < 256) {
            out[0] = (char)byte;
            return 1;
        }
        break;
    case TOKEN_USER:
        break;
    case TOKEN_CONTROL:
    case TOKEN_UNKNOWN:
        if (flags & DECODE_SPECIAL)
            break;
        return 0;
    default:
        return 0;
    }
    memcpy(out, text.data, text.len);
    return text.len;
}

size_t tokenizer_decode(const tokenizer *t, token_stream *stream, uint32_t id, uint32_t flags, char *out) {
    size_t n = stream->n_held;
    if (id >= t->n_vocab)
        return 0;
    memcpy(out, stream->held, n);
    n += piece(t, id, flags, out + n);
    stream->n_held = (uint32_t)unfinished_bytes((const uint8_t *)out, n);
    n -= stream->n_held;
    memcpy(stream->held, out + n, stream->n_held);
    return n;
}

size_t tokenizer_decode_end(token_stream *stream, char *out) {
    size_t n = stream->n_held;
    memcpy(out, stream->held, n);
    stream->n_held = 0;
    return n;
}
