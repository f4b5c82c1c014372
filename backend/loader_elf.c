/* loader_elf.c: whether a file is a whole ELF library (contract: loader_elf.h). */
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader_elf.h"

/* A cut file, and not a failed read, is what a short count means: the file was just opened. */
static int read_at(int file, void *target, size_t n, uint64_t offset) {
    return pread(file, target, n, (off_t)offset) == (ssize_t)n;
}

/* The header of a library for the kind of machine that this code is compiled for. */
static const char *check_header(const ElfW(Ehdr) * header) {
    static const unsigned char class = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
    static const unsigned char order = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
    if (header->e_ident[EI_CLASS] != class || header->e_ident[EI_DATA] != order)
        return "it is built for another kind of machine";
    if (header->e_type != ET_DYN)
        return "it is no shared library";
    if (header->e_phentsize != sizeof(ElfW(Phdr)) || header->e_phnum == 0)
        return "its program headers are damaged";
    return NULL;
}

static const char *check_file(int file, uint64_t bytes) {
    ElfW(Ehdr) header;
    if (!read_at(file, &header, sizeof header, 0) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        return "it is no shared library";
    const char *defect = check_header(&header);
    for (unsigned i = 0; defect == NULL && i < header.e_phnum; i++) {
        ElfW(Phdr) part;
        if (header.e_phoff > bytes || !read_at(file, &part, sizeof part, header.e_phoff + i * sizeof part))
            return "the file is cut short";
        if (part.p_type != PT_LOAD && part.p_type != PT_DYNAMIC)
            continue;
        if (part.p_offset > bytes || part.p_filesz > bytes - part.p_offset)
            return "the file is cut short";
    }
    return defect;
}

const char *loader_elf_defect(const char *path) {
    struct stat status;
    const char *defect = "it cannot be read";
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0 && fstat(file, &status) == 0)
        defect = check_file(file, (uint64_t)status.st_size);
    if (file >= 0)
        close(file);
    return defect;
}
