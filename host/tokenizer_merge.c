/* Plain text to ids: characters become symbols, and adjacent symbols merge, best pair first, until no pair is
 * a piece.
 *
 * Symbols form a linked list, candidate pairs a heap ordered by (score or rank, position); a pair whose
 * symbols have changed since is recognised by its total length and dropped. O(n log n). */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#define END UINT32_MAX

typedef struct symbol {
    uint32_t start, n;   /* bytes of the text; n == 0: merged into its left neighbour */
    uint32_t prev, next; /* END: none */
    uint32_t id;         /* TANDEM_NONE: no such piece */
} symbol;

int heap_push(heap *h, uint64_t key, uint32_t size, tandem_message *message) {
    if (h->n == h->capacity) {
        size_t wanted = h->capacity ? h->capacity * 2 : 256;
        heap_entry *bigger = realloc(h->entries, wanted * sizeof *bigger);
        if (!bigger)
            return message_out_of_memory(message, "the tokenizer", wanted * sizeof *bigger);
        h->entries = bigger;
        h->capacity = wanted;
    }
    size_t i = h->n++;
    while (i > 0 && h->entries[(i - 1) / 2].key > key) {
        h->entries[i] = h->entries[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->entries[i] = (heap_entry){key, size, 0};
    return TANDEM_OK;
}

bool heap_pop(heap *h, heap_entry *out) {
    if (h->n == 0)
        return false;
    *out = h->entries[0];
    heap_entry last = h->entries[--h->n];
    size_t i = 0;
    for (size_t child = 1; child < h->n; child = 2 * i + 1) {
        if (child + 1 < h->n && h->entries[child + 1].key < h->entries[child].key)
            child++;
        if (h->entries[child].key >= last.key)
            break;
        h->entries[i] = h->entries[child];
        i = child;
    }
    h->entries[i] = last;
    return true;
}

/* Bytes of a character by its first byte alone: invalid UTF-8 is cut as llama.cpp cuts it. */
static uint32_t character_bytes(uint8_t first) {
    static const uint8_t BY_HIGH_NIBBLE[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 4};
    return BY_HIGH_NIBBLE[first >> 4];
}

/* Scores in ascending order as unsigned numbers, highest score first. */
static uint32_t score_order(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 and 0 are one score */
    memcpy(&bits, &score, sizeof bits);
    return (bits & 0x80000000u) ? bits : 0x7fffffffu - bits;
}

/* Queues the pair that begins at symbol `left` if it is a piece. */
static int queue_pair(const tokenizer *t, merge_scratch *s, const char *text, uint32_t left,
                      tandem_message *message) {
    uint32_t order;
    if (left == END || s->symbols[left].next == END)
        return TANDEM_OK;
    const symbol *a = &s->symbols[left], *b = &s->symbols[a->next];
    if (t->kind == TOKENIZER_SCORES) {
        uint32_t id = tokenizer_lookup(t, text + a->start, a->n + b->n);
        if (id == TANDEM_NONE)
            return TANDEM_OK;
        order = score_order(t->scores[id]);
    } else {
        const merge_slot *merge = tokenizer_merge(t, a->id, b->id);
        if (!merge)
            return TANDEM_OK;
        order = merge->rank;
    }
    return heap_push(&s->queue, (uint64_t)order << 32 | left, a->n + b->n, message);
}

static uint32_t cut_into_symbols(const tokenizer *t, merge_scratch *s, const char *text, uint32_t len) {
    uint32_t n = 0;
    for (uint32_t pos = 0; pos < len; n++) {
        uint32_t bytes = character_bytes((uint8_t)text[pos]);
        if (bytes > len - pos)
            bytes = len - pos;
        s->symbols[n] =
            (symbol){pos, bytes, n == 0 ? END : n - 1, n + 1, tokenizer_lookup(t, text + pos, bytes)};
        pos += bytes;
    }
    s->symbols[n - 1].next = END;
    return n;
}

static int merge_symbols(const tokenizer *t, merge_scratch *s, const char *text, tandem_message *message) {
    heap_entry entry;
    while (heap_pop(&s->queue, &entry)) {
        uint32_t left = (uint32_t)entry.key;
        symbol *a = &s->symbols[left];
        if (a->n == 0 || a->next == END || a->n + s->symbols[a->next].n != entry.size)
            continue; /* one of the two has merged with another since */
        symbol *b = &s->symbols[a->next];
        if (t->kind == TOKENIZER_SCORES)
            a->id = tokenizer_lookup(t, text + a->start, entry.size);
        else
            a->id = tokenizer_merge(t, a->id, b->id)->joined;
        a->n = entry.size;
        b->n = 0;
        a->next = b->next;
        if (a->next != END)
            s->symbols[a->next].prev = left;
        int status = queue_pair(t, s, text, a->prev, message);
        if (status == TANDEM_OK)
            status = queue_pair(t, s, text, left, message);
        if (status != TANDEM_OK)
            return status;
    }
    return TANDEM_OK;
}

static int emit(const tokenizer *t, const char *text, const symbol *s, token_list *out,
                tandem_message *message) {
    int status = TANDEM_OK;
    if (s->id != TANDEM_NONE)
        return token_list_push(out, s->id, message);
    for (uint32_t i = 0; status == TANDEM_OK && i < s->n; i++) {
        uint32_t id = t->byte_ids[(uint8_t)text[s->start + i]];
        if (id == TANDEM_NONE)
            return message_fail(message, TANDEM_E_INVALID,
                                "the vocabulary has no token for the byte 0x%02X and no unknown token",
                                (uint8_t)text[s->start + i]);
        status = token_list_push(out, id, message);
    }
    return status;
}

/* One stretch of text within which merges are allowed. */
static int merge_run(const tokenizer *t, merge_scratch *s, const char *text, uint32_t len, token_list *out,
                     tandem_message *message) {
    if (len == 0)
        return TANDEM_OK;
    if (len > s->symbol_capacity) {
        symbol *bigger = realloc(s->symbols, (size_t)len * sizeof *bigger);
        if (!bigger)
            return message_out_of_memory(message, "the tokenizer", (uint64_t)len * sizeof *bigger);
        s->symbols = bigger;
        s->symbol_capacity = len;
    }
    s->queue.n = 0;
    uint32_t n = cut_into_symbols(t, s, text, len);
    int status = TANDEM_OK;
    for (uint32_t i = 0; status == TANDEM_OK && i + 1 < n; i++)
        status = queue_pair(t, s, text, i, message);
    if (status == TANDEM_OK)
        status = merge_symbols(t, s, text, message);
    for (uint32_t i = 0; status == TANDEM_OK && i != END; i = s->symbols[i].next)
        status = emit(t, text, &s->symbols[i], out, message);
    return status;
}

/* llama.cpp decodes and re-encodes text before rank merging: bytes that are no UTF-8 become U+FFFD each,
 * overlong forms their shortest form. Reads one character; returns the bytes read. */
static uint32_t decode_character(const uint8_t *s, size_t left, uint32_t *code) {
    uint32_t n = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf8 ? 4 : 0;
    *code = n == 1 ? s[0] : n == 0 ? 0 : s[0] & (0x7fu >> n);
    for (uint32_t i = 1; i < n; i++) {
        if (i >= left || (s[i] & 0xc0) != 0x80) {
            n = 0;
            break;
        }
        *code = *code << 6 | (s[i] & 0x3f);
    }
    if (n == 0 || *code > 0x10ffff) {
        *code = 0xfffd;
        return 1;
    }
    return n;
}

static uint32_t encode_character(uint32_t code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    uint32_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (uint32_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)((0xf00u >> n & 0xff) | code);
    return n;
}

/* The text with spaces marked, and for rank merging repaired. Every byte grows to three at most. */
static size_t prepare(const tokenizer *t, const char *text, size_t len, bool space_before, char *out) {
    size_t n = 0;
    if (space_before) {
        memcpy(out, SPACE_MARK, SPACE_MARK_BYTES);
        n = SPACE_MARK_BYTES;
    }
    for (size_t i = 0; i < len;) {
        uint32_t code;
        if (text[i] == ' ') {
            memcpy(out + n, SPACE_MARK, SPACE_MARK_BYTES);
            n += SPACE_MARK_BYTES;
            i++;
        } else if (t->kind == TOKENIZER_RANKS && (uint8_t)text[i] >= 0x80) {
            i += decode_character((const uint8_t *)text + i, len - i, &code);
            n += encode_character(code, out + n);
        } else {
            out[n++] = text[i++];
        }
    }
    return n;
}

/* Rank merging stops at newlines: runs of newlines and runs without any are merged apart. */
static int merge_lines(const tokenizer *t, merge_scratch *s, const char *text, size_t len, token_list *out,
                       tandem_message *message) {
    int status = TANDEM_OK;
    for (size_t start = 0; status == TANDEM_OK && start < len;) {
        bool newline = text[start] == '\n';
        size_t end = start + 1;
        while (end < len && (text[end] == '\n') == newline)
            end++;
        uint32_t id = newline ? tokenizer_lookup(t, text + start, end - start) : TANDEM_NONE;
        status = id != TANDEM_NONE ? token_list_push(out, id, message)
                                   : merge_run(t, s, text + start, (uint32_t)(end - start), out, message);
        start = end;
    }
    return status;
}

int tokenizer_merge_text(const tokenizer *t, const char *text, size_t len, bool space_before,
                         merge_scratch *s, token_list *out, tandem_message *message) {
    size_t most = (len + 1) * SPACE_MARK_BYTES;
    if (most > s->text_capacity) {
        char *bigger = realloc(s->text, most);
        if (!bigger)
            return message_out_of_memory(message, "the tokenizer", most);
        s->text = bigger;
        s->text_capacity = most;
    }
    size_t n = prepare(t, text, len, space_before, s->text);
    if (t->kind == TOKENIZER_RANKS)
        return merge_lines(t, s, s->text, n, out, message);
    return merge_run(t, s, s->text, (uint32_t)n, out, message);
}

void merge_scratch_free(merge_scratch *s) {
    free(s->symbols);
    free(s->text);
    free(s->queue.entries);
}
