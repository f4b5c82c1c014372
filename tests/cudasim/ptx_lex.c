/* PTX tokens, and the arena that the tree lies in. */
#include "ptx.h"

#include <stdlib.h>
#include <string.h>

struct arena_block {
    struct arena_block *next;
    size_t used, bytes;
    _Alignas(16) unsigned char data[];
};

void *arena_alloc(struct arena *arena, size_t bytes) {
    struct arena_block *block = arena->first;
    bytes = (bytes + 15) & ~(size_t)15;
    if (!block || block->bytes - block->used < bytes) {
        const size_t size = bytes > (1u << 18) ? bytes : 1u << 18;
        block = calloc(1, sizeof *block + size);
        if (!block)
            return NULL;
        block->bytes = size;
        block->next = arena->first;
        arena->first = block;
    }
    void *result = block->data + block->used;
    block->used += bytes;
    return result;
}

void arena_free(struct arena *arena) {
    while (arena->first) {
        struct arena_block *block = arena->first;
        arena->first = block->next;
        free(block);
    }
}

bool token_is(const struct token *token, const char *text) {
    return token->kind == TOKEN_NAME && strlen(text) == token->length &&
           !memcmp(token->text, text, token->length);
}

void lex_quote(const char *at, char quote[QUOTE_BYTES]) {
    const size_t length = strcspn(at, ";\n"), most = QUOTE_BYTES - 4;
    size_t n = 0;
    for (size_t i = 0; i < length && n < most; i++) {
        const char c = at[i] == '\t' || at[i] == '\r' ? ' ' : at[i];
        if (c != ' ' || (n && quote[n - 1] != ' ')) /* columns become single spaces */
            quote[n++] = c >= ' ' && c < 127 ? c : '?';
    }
    while (n && quote[n - 1] == ' ')
        n--;
    memcpy(quote + n, "...", 4);
    if (n < most)
        quote[n] = 0;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int hex_value(char c) {
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool starts_name(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '%' || c == '.';
}

static bool in_name(char c) {
    return (starts_name(c) && c != '.') || is_digit(c);
}

/* Skips spaces and comments. False at an unfinished comment. */
static bool skip_space(struct lexer *lx) {
    while (lx->at < lx->end) {
        const char c = *lx->at;
        const bool pair = lx->at + 1 < lx->end;
        if (c == '\n') {
            lx->line++;
            lx->at++;
        } else if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v' || c == '\0') {
            lx->at++;
        } else if (pair && c == '/' && lx->at[1] == '/') {
            while (lx->at < lx->end && *lx->at != '\n')
                lx->at++;
        } else if (pair && c == '/' && lx->at[1] == '*') {
            for (lx->at += 2; lx->at + 1 < lx->end && !(lx->at[0] == '*' && lx->at[1] == '/'); lx->at++)
                lx->line += *lx->at == '\n';
            if (lx->at + 1 >= lx->end)
                return false;
            lx->at += 2;
        } else {
            return true;
        }
    }
    return true;
}

/* 0f3F800000 and 0d3FF0000000000000: the bits themselves. */
static void lex_bits(struct lexer *lx, struct token *token, unsigned digits, uint8_t kind) {
    const char *s = lx->at + 2;
    uint64_t bits = 0;
    for (unsigned i = 0; i < digits; i++) {
        const int v = s + i < lx->end ? hex_value(s[i]) : -1;
        if (v < 0) {
            token->kind = TOKEN_BAD;
            return;
        }
        bits = bits << 4 | (unsigned)v;
    }
    lx->at = s + digits;
    token->kind = kind;
    token->bits = bits;
}

/* 1.5, 2e-3: the number as a double. */
static bool lex_decimal(struct lexer *lx, struct token *token) {
    const char *s = lx->at;
    char copy[64];
    while (s < lx->end && is_digit(*s))
        s++;
    if (s >= lx->end || (*s != '.' && *s != 'e' && *s != 'E'))
        return false;
    while (s < lx->end && (is_digit(*s) || *s == '.' || *s == 'e' || *s == 'E' ||
                           ((*s == '+' || *s == '-') && (s[-1] == 'e' || s[-1] == 'E'))))
        s++;
    if ((size_t)(s - lx->at) >= sizeof copy)
        return false;
    memcpy(copy, lx->at, (size_t)(s - lx->at));
    copy[s - lx->at] = 0;
    char *end;
    const double value = strtod(copy, &end);
    token->kind = *end ? TOKEN_BAD : TOKEN_DECIMAL;
    memcpy(&token->bits, &value, 8);
    lx->at = s;
    return true;
}

static void lex_number(struct lexer *lx, struct token *token) {
    const char second = lx->at + 1 < lx->end ? lx->at[1] : 0;
    unsigned base = 10;
    if (*lx->at == '0' && (second == 'f' || second == 'F')) {
        lex_bits(lx, token, 8, TOKEN_FLOAT32);
        return;
    }
    if (*lx->at == '0' && (second == 'd' || second == 'D')) {
        lex_bits(lx, token, 16, TOKEN_FLOAT64);
        return;
    }
    if (*lx->at == '0' && (second == 'x' || second == 'X')) {
        base = 16;
        lx->at += 2;
    } else if (*lx->at == '0' && (second == 'b' || second == 'B')) {
        base = 2;
        lx->at += 2;
    } else if (lex_decimal(lx, token)) {
        return;
    } else if (*lx->at == '0') {
        base = 8;
    }
    token->kind = TOKEN_INTEGER;
    const char *start = lx->at;
    for (; lx->at < lx->end; lx->at++) {
        const int v = hex_value(*lx->at);
        if (v < 0 || (unsigned)v >= base)
            break;
        if (token->bits > (UINT64_MAX - (unsigned)v) / base)
            token->kind = TOKEN_BAD;
        token->bits = token->bits * base + (unsigned)v;
    }
    if (lx->at == start || (lx->at < lx->end && *lx->at != 'U' && in_name(*lx->at)))
        token->kind = TOKEN_BAD;
    else if (lx->at < lx->end && *lx->at == 'U')
        lx->at++;
}

/* A whole opcode is one name, ld.global.u32; a directive ends at the next dot, so that .reg.b32 are two. */
static void lex_name(struct lexer *lx, struct token *token) {
    const bool directive = *lx->at == '.';
    token->kind = TOKEN_NAME;
    lx->at++;
    while (lx->at < lx->end) {
        const char next = lx->at + 1 < lx->end ? lx->at[1] : 0;
        if (in_name(*lx->at) || (*lx->at == '.' && !directive && in_name(next)))
            lx->at++;
        else if (*lx->at == ':' && next == ':' && lx->at + 2 < lx->end && in_name(lx->at[2]))
            lx->at += 2;
        else
            break;
    }
}

void lex(struct lexer *lx, struct token *token) {
    memset(token, 0, sizeof *token);
    const bool good = skip_space(lx);
    token->line = lx->line;
    token->text = lx->at;
    if (!good) {
        token->kind = TOKEN_BAD;
        lx->at = lx->end;
    } else if (lx->at >= lx->end) {
        token->kind = TOKEN_END;
    } else if (is_digit(*lx->at)) {
        lex_number(lx, token);
    } else if (starts_name(*lx->at)) {
        lex_name(lx, token);
    } else if (*lx->at == '"') {
        const char *s = lx->at + 1;
        while (s < lx->end && *s != '"' && *s != '\n')
            s++;
        token->kind = s < lx->end && *s == '"' ? TOKEN_STRING : TOKEN_BAD;
        token->text = lx->at + 1;
        token->length = (uint32_t)(s - token->text);
        lx->at = s < lx->end ? s + 1 : s;
        return;
    } else {
        token->kind = strchr("{}()[]<>,;:@!|+-=&*/~^", *lx->at) ? TOKEN_PUNCTUATION : TOKEN_BAD;
        token->punctuation = *lx->at++;
    }
    token->length = (uint32_t)(lx->at - token->text);
}
