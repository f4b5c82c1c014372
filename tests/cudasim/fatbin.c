/* The fatbin container and the few facts that a cubin adds. The layouts are those of nvcc 13: a header
 * {magic, version, header size, total size}, then records {kind, version, header size, payload size,
 * compressed size, ..., architecture, ..., flags}; kind 1 is PTX, kind 2 an ELF with SASS.
 */
#include "fatbin.h"
#include "fault.h"
#include "pose.h"
#include "ptx.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

enum { WRAPPER_MAGIC = 0x466243b1, KIND_PTX = 1, KIND_ELF = 2 };
#define FATBIN_MAGIC 0xba55ed50u
enum { COMPRESSED_LZ4 = 0x2000, COMPRESSED_ZSTD = 0x8000 };
enum { TARGET_IS_ARCH = 0x100000, TARGET_IS_FAMILY = 0x200000 }; /* sm_90a, sm_100f */

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

/* ---- whether a driver runs a cubin ----
 *
 * ptxas up to CUDA 12 writes the ELF ABI 7, with its version of CUDA in e_version and the architecture in the
 * low byte of e_flags. From CUDA 13 on (and for compute capability 10 and later from 12.8 on) it is ABI 8,
 * with the architecture in the second byte, and the version in the note .note.nv.cuinfo. Either is ten times
 * the version: 122, 130.
 */

enum { CUBIN_ABI_OLD = 7, CUBIN_ABI_NEW = 8, NOTE_CUINFO = 1000 };

static uint32_t cubin_arch(const Elf64_Ehdr *header) {
    return header->e_ident[EI_ABIVERSION] <= CUBIN_ABI_OLD ? header->e_flags & 255
                                                           : header->e_flags >> 8 & 255;
}

/* The version of CUDA whose ptxas made a cubin, 130 for 13.0; 0 when it does not tell. */
static uint32_t cubin_version(const struct elf *e) {
    Elf64_Shdr note;
    struct {
        uint32_t name_bytes, bytes, type;
        char name[12];
        uint16_t version, arch;
        uint32_t toolkit;
    } info;
    if (e->header->e_ident[EI_ABIVERSION] <= CUBIN_ABI_OLD)
        return e->header->e_version;
    if (!find_section(e, ".note.nv.cuinfo", &note) || note.sh_size < sizeof info)
        return 0;
    memcpy(&info, e->data + note.sh_offset, sizeof info);
    return info.type == NOTE_CUINFO && info.bytes >= 8 ? info.toolkit : 0;
}

/* Minor versions run each other's machine code; newer major ones are refused. */
static bool cubin_accepted(const uint8_t *cubin, size_t bytes, char *why, size_t why_bytes) {
    Elf64_Ehdr header;
    if (bytes < sizeof header || memcmp(cubin, ELFMAG, SELFMAG)) {
        snprintf(why, why_bytes, "the cubin is damaged");
        return false;
    }
    memcpy(&header, cubin, sizeof header);
    if (header.e_machine != EM_CUDA) {
        snprintf(why, why_bytes, "the image is an ELF file of machine %u, and no cubin", header.e_machine);
        return false;
    }
    const struct elf e = {cubin, bytes, &header};
    const uint32_t driver = options.driver_version / 10, abi = header.e_ident[EI_ABIVERSION],
                   version = cubin_version(&e);
    if (abi > CUBIN_ABI_NEW || (abi == CUBIN_ABI_NEW && driver < 1208)) {
        snprintf(why, why_bytes, "the cubin is of ELF ABI %u, which a driver of CUDA %u.%u does not know",
                 abi, driver / 100, driver % 100);
        return false;
    }
    if (version / 10 > driver / 100) {
        snprintf(why, why_bytes,
                 "the cubin was made by CUDA %u.%u, and a driver of CUDA %u.%u does not run it", version / 10,
                 version % 10, driver / 100, driver % 100);
        return false;
    }
    return true;
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

/* ---- images ---- */

/* The PTX version that a text declares in its first directive, 82 for 8.2; 0 when it does not. */
static uint32_t text_version(const char *text, size_t bytes) {
    struct lexer lexer = {.at = text, .end = text + bytes, .line = 1};
    struct token token;
    double version;
    lex(&lexer, &token);
    if (!token_is(&token, ".version"))
        return 0;
    lex(&lexer, &token);
    if (token.kind != TOKEN_DECIMAL)
        return 0;
    memcpy(&version, &token.bits, sizeof version);
    return (uint32_t)(version * 10 + 0.5);
}

/* What the records of a fatbin offer to one device and one driver. */
struct offer {
    struct image compiled, newest; /* the PTX that the driver compiles, and the PTX of whatever version */
    const uint8_t *cubin, *refused;
    size_t cubin_bytes, refused_bytes;
    uint32_t cubin_arch, refused_arch, newest_version;
    bool compressed;
    char why[256]; /* the cubin is refused */
};

static void offer_ptx(struct offer *o, const struct record *r, const uint8_t *data) {
    const char *text = (const char *)data;
    const struct image image = {.ptx = text, .ptx_bytes = strnlen(text, r->bytes), .ptx_arch = r->arch};
    const uint32_t version = text_version(text, image.ptx_bytes);
    if (!o->newest.ptx || r->arch > o->newest.ptx_arch) {
        o->newest = image;
        o->newest_version = version;
    }
    if (version <= pose_ptx(options.driver_version) && (!o->compiled.ptx || r->arch > o->compiled.ptx_arch))
        o->compiled = image;
}

static void offer_cubin(struct offer *o, const struct record *r, const uint8_t *data) {
    char why[sizeof o->why];
    if (!cubin_accepted(data, r->bytes, why, sizeof why)) {
        if (!o->refused || r->arch > o->refused_arch) {
            o->refused = data;
            o->refused_bytes = r->bytes;
            o->refused_arch = r->arch;
            memcpy(o->why, why, sizeof why);
        }
    } else if (!o->cubin || r->arch > o->cubin_arch) {
        o->cubin = data;
        o->cubin_bytes = r->bytes;
        o->cubin_arch = r->arch;
    }
}

static CUresult read_records(const uint8_t *data, const struct header *h, struct offer *o, char *error,
                             size_t error_bytes) {
    for (uint64_t at = 0; at + sizeof(struct record) - 8 <= h->bytes;) {
        struct record r = {0};
        const uint8_t *here = data + h->header_bytes + at;
        const uint64_t left = h->bytes - at;
        memcpy(&r, here, left < sizeof r ? left : sizeof r);
        if (r.header_bytes < 48 || r.header_bytes > left || r.bytes > left - r.header_bytes) {
            snprintf(error, error_bytes, "the fatbin is damaged: a record of %llu bytes in %llu",
                     (unsigned long long)r.bytes, (unsigned long long)left);
            return CUDA_ERROR_NO_BINARY_FOR_GPU;
        }
        const bool packed = r.flags & (COMPRESSED_LZ4 | COMPRESSED_ZSTD);
        const enum pose_target target = r.flags & TARGET_IS_ARCH     ? TARGET_ARCH
                                        : r.flags & TARGET_IS_FAMILY ? TARGET_FAMILY
                                                                     : TARGET_PLAIN;
        if (r.kind == KIND_PTX && pose_runs_ptx(options.arch, r.arch, target)) {
            o->compressed |= packed;
            if (!packed)
                offer_ptx(o, &r, here + r.header_bytes);
        }
        if (r.kind == KIND_ELF && pose_runs_cubin(options.arch, r.arch, target) && !packed)
            offer_cubin(o, &r, here + r.header_bytes);
        at += r.header_bytes + r.bytes;
    }
    return CUDA_SUCCESS;
}

static void say_too_new(uint32_t version, char *error, size_t error_bytes) {
    const uint32_t known = pose_ptx(options.driver_version);
    snprintf(error, error_bytes, "the PTX is of version %u.%u, and a driver of CUDA %u.%u knows up to %u.%u",
             version / 10, version % 10, options.driver_version / 1000, options.driver_version % 1000 / 10,
             known / 10, known % 10);
}

/* A cubin that the driver runs goes before PTX, as hardware has it; here its PTX is executed, of whatever
 * version. Without one the PTX must be such as the driver compiles; a cubin of the same architecture that is
 * refused still tells about as many registers as the driver's compiler would use. */
static CUresult choose(const struct offer *o, struct image *image, char *error, size_t error_bytes) {
    *image = o->cubin ? o->newest : o->compiled;
    image->by_cubin = o->cubin != NULL;
    image->cubin = o->cubin ? o->cubin : o->refused;
    image->cubin_bytes = o->cubin ? o->cubin_bytes : o->refused_bytes;
    image->cubin_arch = o->cubin ? o->cubin_arch : o->refused_arch;
    if (image->ptx)
        return CUDA_SUCCESS;
    if (o->newest.ptx) {
        if (o->refused)
            snprintf(error, error_bytes, "%s, and ", o->why);
        say_too_new(o->newest_version, error + strlen(error), error_bytes - strlen(error));
        return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    }
    if (o->refused && !o->compressed) {
        snprintf(error, error_bytes, "%s, and the fatbin holds no PTX", o->why);
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (o->compressed)
        snprintf(error, error_bytes, "the fatbin's PTX is compressed; build it with nvcc --no-compress");
    else
        snprintf(error, error_bytes,
                 "the fatbin holds no PTX for compute_%u or older, and machine code cannot be executed here",
                 options.arch);
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

static CUresult read_cubin(const uint8_t *data, char *error, size_t error_bytes) {
    Elf64_Ehdr header;
    memcpy(&header, data, sizeof header);
    /* it carries no length, but its tables lie behind the sections */
    const uint64_t sections = header.e_shoff + (uint64_t)header.e_shnum * header.e_shentsize,
                   segments = header.e_phoff + (uint64_t)header.e_phnum * header.e_phentsize,
                   tables = sections > segments ? sections : segments,
                   bytes = tables > sizeof header ? tables : sizeof header;
    const uint32_t arch = cubin_arch(&header);
    if (!cubin_accepted(data, bytes, error, error_bytes))
        return CUDA_ERROR_INVALID_IMAGE;
    if (!pose_runs_cubin(options.arch, arch, TARGET_PLAIN))
        snprintf(error, error_bytes, "the cubin is for sm_%u, and the device is an sm_%u", arch,
                 options.arch);
    else
        snprintf(error, error_bytes,
                 "the image is a cubin, and machine code cannot be executed here; load the fatbin");
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}

CUresult image_read(const void *data, struct image *image, char *error, size_t error_bytes) {
    struct wrapper w;
    struct header h;
    struct offer offer;
    uint32_t magic;
    memset(image, 0, sizeof *image);
    memset(&offer, 0, sizeof offer);
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
            return CUDA_ERROR_NO_BINARY_FOR_GPU;
        }
        const CUresult r = read_records(data, &h, &offer, error, error_bytes);
        return r ? r : choose(&offer, image, error, error_bytes);
    }
    if (!memcmp(data, ELFMAG, SELFMAG))
        return read_cubin(data, error, error_bytes);
    image->ptx = data;
    image->ptx_bytes = strlen(data);
    const uint32_t version = text_version(image->ptx, image->ptx_bytes);
    if (version <= pose_ptx(options.driver_version))
        return CUDA_SUCCESS;
    say_too_new(version, error, error_bytes);
    return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
}
