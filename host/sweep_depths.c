/* host/sweep_depths.c: lists and ranges of depths. */
#include <string.h>

#include "sweep.h"

#define MOST_DEPTH (1u << 20)

static bool add_depth(uint64_t depth, uint32_t *list, uint32_t *n, uint32_t max) {
    uint32_t at = 0;
    while (at < *n && list[at] < depth)
        at++;
    if (at < *n && list[at] == depth)
        return true;
    if (*n == max)
        return false;
    memmove(&list[at + 1], &list[at], (*n - at) * sizeof *list);
    list[at] = (uint32_t)depth;
    (*n)++;
    return true;
}

/* The number between two places of a text. */
static bool parse_part(const char *from, const char *to, uint64_t *value) {
    char part[24];
    const size_t n = (size_t)(to - from);
    if (n >= sizeof part)
        return false;
    memcpy(part, from, n);
    part[n] = 0;
    return parse_bytes(part, value) && *value <= MOST_DEPTH;
}

bool sweep_add_depths(const char *text, uint32_t *depth, uint32_t *n_depth, uint32_t max_depth) {
    const char *end = text + strlen(text), *dash = strchr(text, '-');
    uint64_t first, last, step;
    if (!dash)
        return parse_part(text, end, &first) && add_depth(first, depth, n_depth, max_depth);
    const char *sign = strpbrk(dash, "*+");
    if (!sign || !parse_part(text, dash, &first) || !parse_part(dash + 1, sign, &last) ||
        !parse_part(sign + 1, end, &step) || last < first)
        return false;
    if (*sign == '*' ? step < 2 || first == 0 : step == 0)
        return false;
    for (uint64_t d = first; d <= last; d = *sign == '*' ? d * step : d + step)
        if (!add_depth(d, depth, n_depth, max_depth))
            return false;
    return true;
}
