/* loader_search.h: where plugins are looked for (private to the loader). */
#ifndef TANDEM_LOADER_SEARCH_H
#define TANDEM_LOADER_SEARCH_H

#include <limits.h>
#include <stddef.h>

/* Folder number `index` of the search order, without a slash at its end. Returns 0 past the last one. A
 * folder that cannot be named (too long, the program's path unknown) comes out as an empty string. */
int loader_folder(unsigned index, char folder[PATH_MAX]);

#endif
