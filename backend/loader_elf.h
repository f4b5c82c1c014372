/* loader_elf.h: a look at a file before the dynamic linker maps it (private to the loader). */
#ifndef TANDEM_LOADER_ELF_H
#define TANDEM_LOADER_ELF_H

/* NULL if the file looks like a whole shared library for this machine, else what is wrong, as the end of a
 * sentence. dlopen maps whatever the program headers say, and reading mapped pages beyond the end of a file
 * that was cut kills the process. */
const char *loader_elf_defect(const char *path);

#endif
