/* The fatbin container and the few facts that a cubin adds. The layouts are those of nvcc 13: a header
 * {magic, version, header size, total size}, then records {kind, version, header size, payload size,
 * compressed size, ..., architecture, ..., flags}; kind 1 is PTX, kind 2 an ELF with SASS.
 */
#include "fatbin.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

enum { WRAPPER_MAGIC = 0x466243b1, KIND_PTX = 1, KIND_ELF = 2 };
#define FATBIN_MAGIC 0xba55ed50u
enum { COMPRESSED_LZ4 = 0x2000, COMPRESSED_ZSTD = 0x8000 };

struct wrapper {
    uint32_t magic, version;
    const void *data, *file;
};
struct header {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes;
};
struct record {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes;
    uint32_t compressed_bytes, options;
    uint16_t minor, major;
    uint32_t arch, name_offset, name_bytes;
    uint64_t flags, reserved, plain_bytes;
};

static bool read_records(const uint8_t *data, const struct header *h, uint32_t arch, struct image *image,
                         char *error, size_t error_bytes) {
    bool compressed = false;
    for (uint64_t at = 0; at + sizeof(struct record) - 8 <= h->bytes;) {
        struct record r = {0};
        const uint8_t *here = data + h->header_bytes + at;
        const uint64_t left = h->bytes - at;
        memcpy(&r, here, left < sizeof r ? left : sizeof r);
        if (r.header_bytes < 48 || r.header_bytes > left || r.bytes > left - r.header_bytes) {
            snprintf(error, error_bytes, "the fatbin is damaged: a record of %llu bytes in %llu",
                     (unsigned long long)r.bytes, (unsigned long long)left);
            return false;
        }
        const bool packed = r.flags & (COMPRESSED_LZ4 | COMPRESSED_ZSTD);
        if (r.kind == KIND_PTX && r.arch <= arch && (!image->ptx || r.arch > image->ptx_arch)) {
            compressed |= packed;
            if (!packed) {
                image->ptx = (const char *)here + r.header_bytes;
                image->ptx_bytes = strnlen(image->ptx, r.bytes);
                image->ptx_arch = r.arch;
            }
        }
        if (r.kind == KIND_ELF && r.arch == arch && !packed) {
            image->cubin = here + r.header_bytes;
            image->cubin_bytes = r.bytes;
        }
        at += r.header_bytes + r.bytes;
    }
    if (!image->ptx)
        snprintf(
            error, error_bytes,
            compressed
                ? "the fatbin's PTX is compressed; build it with nvcc --no-compress"
                : "the fatbin holds no PTX for compute_%u or older, and machine code cannot be executed here",
            arch);
    return image->ptx != NULL;
}

bool image_read(const void *data, uint32_t arch, struct image *image, char *error, size_t error_bytes) {
    struct wrapper w;
    struct header h;
    uint32_t magic;
    memset(image, 0, sizeof *image);
    memcpy(&magic, data, 4);
    if (magic == WRAPPER_MAGIC) {
        memcpy(&w, data, sizeof w);
        data = w.data;
        memcpy(&magic, data, 4);
    }
    if (magic == FATBIN_MAGIC) {
        memcpy(&h, data, sizeof h);
        if (h.header_bytes < sizeof h) {
            snprintf(error, error_bytes, "the fatbin is damaged: a header of %u bytes", h.header_bytes);
            return false;
        }
        return read_records(data, &h, arch, image, error, error_bytes);
    }
    if (!memcmp(data, ELFMAG, SELFMAG)) {
        snprintf(error, error_bytes,
                 "the image is a cubin, and machine code cannot be executed here; load the fatbin");
        return false;
    }
    image->ptx = data;
    image->ptx_bytes = strlen(data);
    return true;
}

/* ---- cubins ---- */

enum { EIFMT_SVAL = 4, EIATTR_FRAME_SIZE = 0x11, EIATTR_MIN_STACK_SIZE = 0x12, EIATTR_REGCOUNT = 0x2f };

struct elf {
    const uint8_t *data;
    size_t bytes;
    const Elf64_Ehdr *header;
};

static bool section(const struct elf *e, uint32_t index, Elf64_Shdr *s) {
    const uint64_t at = e->header->e_shoff + (uint64_t)index * sizeof *s;
    if (index >= e->header->e_shnum || e->header->e_shentsize != sizeof *s || at > e->bytes ||
        e->bytes - at < sizeof *s)
        return false;
    memcpy(s, e->data + at, sizeof *s);
    return s->sh_type == SHT_NOBITS || (s->sh_offset <= e->bytes && s->sh_size <= e->bytes - s->sh_offset);
}

static const char *string_at(const struct elf *e, const Elf64_Shdr *table, uint32_t offset) {
    if (offset >= table->sh_size || !memchr(e->data + table->sh_offset + offset, 0, table->sh_size - offset))
        return "";
    return (const char *)e->data + table->sh_offset + offset;
}

static bool find_section(const struct elf *e, const char *name, Elf64_Shdr *found) {
    Elf64_Shdr names;
    if (!section(e, e->header->e_shstrndx, &names))
        return false;
    for (uint32_t i = 1; i < e->header->e_shnum; i++)
        if (section(e, i, found) && !strcmp(string_at(e, &names, found->sh_name), name))
            return true;
    return false;
}

/* The index of a symbol by name. */
static bool find_symbol(const struct elf *e, const char *name, uint32_t *index) {
    Elf64_Shdr symbols, names;
    if (!find_section(e, ".symtab", &symbols) || !section(e, symbols.sh_link, &names))
        return false;
    for (uint32_t i = 0; (i + 1ull) * sizeof(Elf64_Sym) <= symbols.sh_size; i++) {
        Elf64_Sym s;
        memcpy(&s, e->data + symbols.sh_offset + i * sizeof s, sizeof s);
        if (!strcmp(string_at(e, &names, s.st_name), name)) {
            *index = i;
            return true;
        }
    }
    return false;
}

bool cubin_facts(const uint8_t *cubin, size_t bytes, const char *kernel, uint32_t *registers,
                 uint32_t *stack_bytes) {
    Elf64_Ehdr header;
    Elf64_Shdr info;
    uint32_t symbol;
    bool found = false;
    if (bytes < sizeof header)
        return false;
    memcpy(&header, cubin, sizeof header);
    const struct elf e = {cubin, bytes, &header};
    if (memcmp(cubin, ELFMAG, SELFMAG) || !find_symbol(&e, kernel, &symbol) ||
        !find_section(&e, ".nv.info", &info))
        return false;
    /* Entries {format, attribute, size or value}; those of format SVAL carry {symbol, value}. */
    for (uint64_t at = 0; at + 4 <= info.sh_size;) {
        const uint8_t *p = cubin + info.sh_offset + at;
        const uint32_t size = p[0] == EIFMT_SVAL ? (uint32_t)(p[2] | p[3] << 8) : 0;
        if (p[0] == EIFMT_SVAL && size == 8 && at + 12 <= info.sh_size) {
            uint32_t pair[2];
            memcpy(pair, p + 4, 8);
            if (pair[0] == symbol && p[1] == EIATTR_REGCOUNT) {
                *registers = pair[1];
                found = true;
            }
            if (pair[0] == symbol && (p[1] == EIATTR_FRAME_SIZE || p[1] == EIATTR_MIN_STACK_SIZE))
                *stack_bytes = pair[1];
        }
        at += 4 + size;
    }
    return found;
}
