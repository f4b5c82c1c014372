/* host/wrap.h: text for a terminal of 80 columns. */
#ifndef TANDEM_HOST_WRAP_H
#define TANDEM_HOST_WRAP_H

#include <stdint.h>
#include <stdio.h>

#define WRAP_COLUMNS 80u

/* Prints text whose first word stands at `column`, breaking at blanks before WRAP_COLUMNS; new lines begin at
 * `indent`. A newline in the text begins a new line too; a longer word stays whole. Ends in a newline. */
void wrap_print(FILE *file, const char *text, uint32_t column, uint32_t indent);

#endif
