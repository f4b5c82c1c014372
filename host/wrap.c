/* host/wrap.c: breaks lines. */
#include "wrap.h"

#include <stdbool.h>
#include <string.h>

void wrap_print(FILE *file, const char *text, uint32_t column, uint32_t indent) {
    bool fresh = true; /* nothing on this line yet */
    while (*text) {
        const size_t n = strcspn(text, " \n");
        if (!fresh && column + 1 + n > WRAP_COLUMNS) {
            fprintf(file, "\n%*s", (int)indent, "");
            column = indent;
            fresh = true;
        }
        fprintf(file, "%s%.*s", fresh ? "" : " ", (int)n, text);
        column += (uint32_t)n + !fresh;
        fresh = false;
        text += n;
        if (*text == '\n') {
            fprintf(file, "\n%*s", (int)indent, "");
            column = indent;
            fresh = true;
        }
        text += *text != 0;
    }
    fputc('\n', file);
}
