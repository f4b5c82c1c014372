/* The special split: which stretches of the input are special tokens as they stand.
 *
 * The rule of llama.cpp: special texts are searched one after another, longer ones first, each from left to
 * right in what the earlier ones left over. Its cost is texts x input. The same result comes from one pass
 * over the input and a heap: every position starts with its longest special text; positions are taken longest
 * first, leftmost first; one that collides with an earlier choice falls back to its next shorter text. */
#include "tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

/* Shorter first, then by bytes as strings: a prefix sorts before what it begins. */
static int compare_texts(gguf_string a, gguf_string b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = memcmp(a.data, b.data, n);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

typedef struct sort_item {
    gguf_string text;
    uint32_t id;
} sort_item;

static int compare_items(const void *a, const void *b) {
    const sort_item *x = a, *y = b;
    int order = compare_texts(x->text, y->text);
    return order != 0 ? order : (x->id > y->id) - (x->id < y->id);
}

static bool is_special(uint32_t type) {
    return type == TOKEN_CONTROL || type == TOKEN_USER || type == TOKEN_UNKNOWN;
}

int tokenizer_sort_specials(tokenizer *t, tandem_message *message) {
    uint32_t n = 0;
    for (uint32_t id = 0; id < t->n_vocab; id++)
        n += is_special(t->types[id]) && t->texts[id].len > 0;
    sort_item *items = malloc(((size_t)n + 1) * sizeof *items);
    t->specials = malloc(((size_t)n + 1) * sizeof *t->specials);
    if (!items || !t->specials) {
        free(items);
        return message_out_of_memory(message, "the special tokens", ((uint64_t)n + 1) * sizeof *items);
    }
    n = 0;
    for (uint32_t id = 0; id < t->n_vocab; id++) {
        if (is_special(t->types[id]) && t->texts[id].len > 0)
            items[n++] = (sort_item){t->texts[id], id};
    }
    qsort(items, n, sizeof *items, compare_items);
    uint32_t filled = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = (uint8_t)items[i].text.data[0];
        while (filled <= first)
            t->special_first[filled++] = i;
        t->specials[i] = items[i].id;
        if (items[i].text.len > t->max_special)
            t->max_special = (uint32_t)items[i].text.len;
    }
    while (filled <= 256)
        t->special_first[filled++] = n;
    t->n_special = n;
    free(items);
    return TANDEM_OK;
}

/* User-defined tokens always count, control and unknown ones on request. llama.cpp takes any "</s>" for an
 * end token and therefore for a control token (but in Gemma 4), although Gemma uses it as the HTML tag; ids
 * are to be equal. */
static bool counts(const tokenizer *t, uint32_t id, bool control) {
    return control || (t->types[id] == TOKEN_USER && id != t->strike_end);
}

/* The longest special text of at most `most` bytes at text[pos]; returns its length, 0: none. The candidates
 * are a range of the sorted list that narrows with every byte. */
static uint32_t longest_at(const tokenizer *t, const char *text, uint32_t pos, uint32_t most, bool control,
                           uint32_t *id) {
    uint32_t low = t->special_first[(uint8_t)text[pos]], high = t->special_first[(uint8_t)text[pos] + 1];
    uint32_t best = 0;
    for (uint32_t depth = 1; low < high; depth++) {
        /* All in [low, high) agree with the text on `depth` bytes; those that end here come first. */
        while (low < high && t->texts[t->specials[low]].len == depth) {
            if (counts(t, t->specials[low], control)) {
                best = depth;
                *id = t->specials[low];
            }
            low++;
        }
        if (depth >= most)
            break;
        uint8_t next = (uint8_t)text[pos + depth];
        for (uint32_t end = high; low < end;) { /* first with byte >= next */
            uint32_t middle = low + (end - low) / 2;
            if ((uint8_t)t->texts[t->specials[middle]].data[depth] < next)
                low = middle + 1;
            else
                end = middle;
        }
        for (uint32_t begin = low; begin < high;) { /* first with byte > next */
            uint32_t middle = begin + (high - begin) / 2;
            if ((uint8_t)t->texts[t->specials[middle]].data[depth] > next)
                high = middle;
            else
                begin = middle + 1;
        }
    }
    return best;
}

static uint64_t split_key(uint32_t len, uint32_t pos) {
    return (uint64_t)(UINT32_MAX - len) << 32 | pos;
}

static int compare_matches(const void *a, const void *b) {
    const special_match *x = a, *y = b;
    return (x->pos > y->pos) - (x->pos < y->pos);
}

/* Fills the heap with the longest special text of every position. */
static int find_candidates(const tokenizer *t, const char *text, uint32_t len, bool control, heap *queue,
                           tandem_message *message) {
    uint32_t id;
    for (uint32_t pos = 0; pos < len; pos++) {
        uint8_t first = (uint8_t)text[pos];
        if (t->special_first[first] == t->special_first[first + 1])
            continue;
        uint32_t n = longest_at(t, text, pos, len - pos, control, &id);
        if (n > 0) {
            int status = heap_push(queue, split_key(n, pos), n, message);
            if (status != TANDEM_OK)
                return status;
        }
    }
    return TANDEM_OK;
}

int tokenizer_split(const tokenizer *t, const char *text, uint32_t len, bool control, special_match **out,
                    uint32_t *n_out, tandem_message *message) {
    heap queue = {0};
    uint8_t *taken = NULL;
    special_match *matches = NULL;
    uint32_t n = 0;
    heap_entry entry;
    *out = NULL;
    *n_out = 0;
    int status = find_candidates(t, text, len, control, &queue, message);
    if (status != TANDEM_OK || queue.n == 0)
        goto done;
    taken = calloc(len, 1);
    matches = malloc(queue.n * sizeof *matches);
    if (!taken || !matches) {
        status = message_out_of_memory(message, "special tokens", queue.n * sizeof *matches + len);
        goto done;
    }
    while (heap_pop(&queue, &entry)) {
        uint32_t pos = (uint32_t)entry.key, size = entry.size, id = 0;
        if (taken[pos])
            continue;
        /* Earlier choices are at least as long, so one that overlaps covers an end of this one. */
        bool blocked = taken[pos + size - 1];
        uint32_t found = longest_at(t, text, pos, blocked ? size - 1 : size, control, &id);
        if (!blocked) {
            memset(taken + pos, 1, size);
            matches[n++] = (special_match){pos, size, id};
        } else if (size > 1 && found > 0) {
            status = heap_push(&queue, split_key(found, pos), found, message);
            if (status != TANDEM_OK)
                goto done;
        }
    }
    qsort(matches, n, sizeof *matches, compare_matches);
    *out = matches;
    *n_out = n;
    matches = NULL;
done:
    free(queue.entries);
    free(taken);
    free(matches);
    return status;
}
