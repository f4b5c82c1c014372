/* pack.c: a program of the build. Takes the PTX of a file of kernels apart into one module a kernel, lowers
 * its version, and packs what was made of the modules into one file of images (images.h).
 *
 * usage: pack split FILE.ptx FOLDER MAJOR.MINOR
 *            writes FOLDER/KERNEL.ptx for each kernel, prints their names
 *        pack join OUT FOLDER SENTENCE KERNEL...
 *            OUT from FOLDER/KERNEL.fatbin; SENTENCE says what made it
 *        pack show IMAGES FOLDER
 *            writes FOLDER/KERNEL.ptx of a file of images, prints their names
 *
 * Lowering changes the `.version` line and drops the pragma `used_bytes_mask`, a hint that came with PTX 8.3.
 * It proves nothing: ptxas judges each module by the version that the module states, and stops the build
 * where an instruction is newer.
 */
#include "images.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ITEMS = 4096 };

typedef struct text {
    char *at;
    size_t bytes; /* a 0 stands behind them */
} text;

/* A declaration or a function at the top of the module. */
typedef struct item {
    const char *at;
    size_t bytes;
    char name[512];
    int is_entry;
    int needed;
} item;

static void stop(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void stop(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("pack: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static text read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    text t = {0};
    long end = -1;
    if (file && fseek(file, 0, SEEK_END) == 0)
        end = ftell(file);
    if (end < 0 || fseek(file, 0, SEEK_SET) != 0)
        stop("%s cannot be read", path);
    t.bytes = (size_t)end;
    t.at = calloc(1, t.bytes + 1);
    if (!t.at || fread(t.at, 1, t.bytes, file) != t.bytes)
        stop("%s cannot be read", path);
    fclose(file);
    return t;
}

static void write_bytes(FILE *file, const void *data, size_t bytes, const char *path) {
    if (bytes && fwrite(data, 1, bytes, file) != bytes)
        stop("%s cannot be written", path);
}

static void close_file(FILE *file, const char *path) {
    if (fclose(file) != 0)
        stop("%s cannot be written", path);
}

/* ---- split ---- */

static int is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%';
}

/* Behind white space, comments and nothing else. */
static const char *skip_blank(const char *p) {
    for (;;) {
        if (isspace((unsigned char)*p)) {
            p++;
        } else if (p[0] == '/' && p[1] == '/') {
            p += strcspn(p, "\n");
        } else if (p[0] == '/' && p[1] == '*') {
            p = strstr(p, "*/");
            if (!p)
                stop("a comment has no end");
            p += 2;
        } else {
            return p;
        }
    }
}

/* Behind the one character, string or comment at p. */
static const char *skip_one(const char *p) {
    if (*p == '"') {
        p = strchr(p + 1, '"');
        if (!p)
            stop("a string has no end");
        return p + 1;
    }
    return *p == '/' && (p[1] == '/' || p[1] == '*') ? skip_blank(p) : p + 1;
}

/* 1: the text has the directive, such as ".entry", as a word. */
static int has_directive(const char *p, const char *end, const char *directive) {
    size_t n = strlen(directive);
    for (; p + n <= end; p = skip_one(p))
        if (!strncmp(p, directive, n) && !is_word(p[n]))
            return 1;
    return 0;
}

/* The first word that is neither directive nor number, outside parentheses. */
static void find_name(item *it) {
    const char *p = it->at, *end = it->at + it->bytes;
    int depth = 0;
    while (p < end) {
        size_t n = 0;
        while (is_word(p[n]))
            n++;
        if (*p == '.' || (n && (depth > 0 || isdigit((unsigned char)*p)))) {
            p += *p == '.' ? 1 : n;
            while (is_word(*p))
                p++;
        } else if (n) {
            if (n >= sizeof it->name)
                stop("a name is too long: %.80s", p);
            memcpy(it->name, p, n);
            it->name[n] = 0;
            return;
        } else {
            depth += *p == '(' ? 1 : *p == ')' ? -1 : 0;
            p = skip_one(p);
        }
    }
    stop("no name in: %.80s", it->at);
}

/* The item at p: up to the `;` of a declaration, or the `}` of a function's body. */
static const char *take_item(const char *p, item *it) {
    const char *q = p;
    int depth = 0, is_function = 0;
    *it = (item){.at = p};
    for (;; q = skip_one(q)) {
        if (!*q)
            stop("no end of: %.80s", p);
        if (*q == '{' && depth++ == 0)
            is_function = has_directive(p, q, ".entry") || has_directive(p, q, ".func");
        if (*q == '}' && --depth == 0 && is_function)
            break;
        if (*q == ';' && depth == 0)
            break;
    }
    it->bytes = (size_t)(q + 1 - p);
    it->is_entry = is_function && has_directive(p, p + strcspn(p, "{"), ".entry");
    find_name(it);
    return q + 1;
}

/* 1: the name stands in the text as a word. */
static int mentions(const item *it, const char *name) {
    size_t n = strlen(name);
    const char *p = it->at, *end = it->at + it->bytes;
    while ((p = memmem(p, (size_t)(end - p), name, n))) {
        if ((p == it->at || !is_word(p[-1])) && !is_word(p[n]))
            return 1;
        p += n;
    }
    return 0;
}

/* Marks the entry and all that it needs, by way of others too. */
static void mark_needed(item *items, size_t n, size_t entry) {
    int more = 1;
    for (size_t i = 0; i < n; i++)
        items[i].needed = i == entry;
    while (more) {
        more = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n && !items[i].needed && !items[i].is_entry; k++)
                if (items[k].needed && mentions(&items[k], items[i].name))
                    items[i].needed = more = 1;
    }
}

/* An item, less the lines of hints that the lowered version does not have. */
static void write_item(FILE *file, const item *it, const char *path) {
    static const char hint[] = ".pragma \"used_bytes_mask";
    const char *p = it->at, *end = it->at + it->bytes;
    while (p < end) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *next = newline ? newline + 1 : end;
        const char *first = p + strspn(p, " \t");
        if (strncmp(first, hint, sizeof hint - 1) != 0)
            write_bytes(file, p, (size_t)(next - p), path);
        p = next;
    }
    fputs("\n\n", file);
}

/* The lower one of two versions; both as in the text, "8.2". */
static const char *lower_version(const char *a, const char *b) {
    int a_major, a_minor, b_major, b_minor;
    if (sscanf(a, "%d.%d", &a_major, &a_minor) != 2 || sscanf(b, "%d.%d", &b_major, &b_minor) != 2)
        stop("no versions of PTX: %s, %s", a, b);
    return a_major < b_major || (a_major == b_major && a_minor <= b_minor) ? a : b;
}

/* The three directives that a module begins with. */
static const char *read_head(const char *p, char version[16], char target[32]) {
    char bits[8];
    int n = 0;
    p = skip_blank(p);
    if (sscanf(p, ".version %15[0-9.] .target %31[a-z0-9_] .address_size %7[0-9]%n", version, target, bits,
               &n) != 3 ||
        !n || strcmp(bits, "64") != 0)
        stop("no module of 64-bit PTX begins with: %.80s", p);
    return p + n;
}

static void split(const char *path, const char *folder, const char *most) {
    static item items[MAX_ITEMS];
    char version[16], target[32], out[4096];
    size_t n = 0;
    text t = read_file(path);
    const char *p = skip_blank(read_head(t.at, version, target));
    for (; *p; p = skip_blank(p)) {
        if (n == MAX_ITEMS || *p != '.')
            stop("%s: not understood: %.80s", path, p);
        p = take_item(p, &items[n++]);
    }
    for (size_t entry = 0; entry < n; entry++) {
        if (!items[entry].is_entry)
            continue;
        if (strlen(items[entry].name) >= CU_KERNEL_NAME)
            stop("the name of kernel %s is too long", items[entry].name);
        mark_needed(items, n, entry);
        snprintf(out, sizeof out, "%s/%s.ptx", folder, items[entry].name);
        FILE *file = fopen(out, "wb");
        if (!file)
            stop("%s cannot be written", out);
        fprintf(file, ".version %s\n.target %s\n.address_size 64\n\n", lower_version(version, most), target);
        for (size_t i = 0; i < n; i++)
            if (items[i].needed)
                write_item(file, &items[i], out);
        close_file(file, out);
        printf("%s\n", items[entry].name);
    }
    free(t.at);
}

/* ---- join ---- */

/* note: the container that fatbinary writes: a head {magic, version, its bytes, bytes behind it}, then
 * records that begin with {kind, version, their head's bytes, bytes behind it}; kind 1 is PTX, as text with
 * at least one 0 behind it. */
typedef struct fatbin_head {
    uint32_t magic;
    uint16_t version, head_bytes;
    uint64_t bytes;
} fatbin_head;
typedef struct fatbin_record {
    uint16_t kind, version;
    uint32_t head_bytes;
    uint64_t bytes;
} fatbin_record;

/* The kernel's fat binary, and where in it its PTX begins. */
static text read_image(const char *folder, const char *kernel, uint64_t *ptx) {
    char path[4096], entry[80];
    fatbin_head head;
    fatbin_record record;
    snprintf(path, sizeof path, "%s/%s.fatbin", folder, kernel);
    snprintf(entry, sizeof entry, ".entry %s(", kernel);
    text t = read_file(path);
    if (t.bytes < sizeof head)
        stop("%s is no fat binary", path);
    memcpy(&head, t.at, sizeof head);
    if (head.magic != 0xba55ed50u || head.bytes > t.bytes)
        stop("%s is no fat binary", path);
    for (uint64_t at = head.head_bytes; at + sizeof record <= t.bytes;
         at += record.head_bytes + record.bytes) {
        memcpy(&record, t.at + at, sizeof record);
        if (record.bytes > t.bytes - at || record.head_bytes > t.bytes - at - record.bytes)
            stop("%s is cut off", path);
        const char *from = t.at + at + record.head_bytes;
        if (record.kind != 1)
            continue;
        if (!memchr(from, 0, record.bytes) || strncmp(from, ".version ", 9) != 0 || !strstr(from, entry))
            stop("%s does not hold the PTX of its kernel as text that a 0 ends", path);
        *ptx = (uint64_t)(from - t.at);
        return t;
    }
    stop("%s has no PTX", path);
}

static void join(const char *out, const char *folder, const char *made, char **kernels, uint32_t n) {
    static const char zeros[16];
    cu_images head = {.n_image = n};
    cu_image *images = calloc(n, sizeof *images);
    text *fatbins = calloc(n, sizeof *fatbins);
    uint64_t at = sizeof head + n * sizeof *images;
    if (!images || !fatbins)
        stop("no memory");
    if (snprintf(head.made, sizeof head.made, "%s", made) >= (int)sizeof head.made)
        stop("the sentence is too long: %s", made);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t ptx;
        fatbins[i] = read_image(folder, kernels[i], &ptx);
        snprintf(images[i].name, sizeof images[i].name, "%s", kernels[i]);
        at = (at + 15) / 16 * 16;
        images[i].fatbin = at;
        images[i].ptx = at + ptx;
        at += fatbins[i].bytes;
    }
    FILE *file = fopen(out, "wb");
    if (!file)
        stop("%s cannot be written", out);
    write_bytes(file, &head, sizeof head, out);
    write_bytes(file, images, n * sizeof *images, out);
    at = sizeof head + n * sizeof *images;
    for (uint32_t i = 0; i < n; i++) {
        write_bytes(file, zeros, (size_t)(images[i].fatbin - at), out);
        write_bytes(file, fatbins[i].at, fatbins[i].bytes, out);
        at = images[i].fatbin + fatbins[i].bytes;
        free(fatbins[i].at);
    }
    close_file(file, out);
    free(fatbins);
    free(images);
}

/* ---- show ---- */

static void show(const char *path, const char *folder) {
    char out[4096];
    text t = read_file(path);
    cu_images head;
    if (t.bytes < sizeof head)
        stop("%s is no file of images", path);
    memcpy(&head, t.at, sizeof head);
    for (uint32_t i = 0; i < head.n_image; i++) {
        cu_image image;
        if ((t.bytes - sizeof head) / sizeof image <= i)
            stop("%s is cut off", path);
        memcpy(&image, t.at + sizeof head + i * sizeof image, sizeof image);
        if (image.ptx >= t.bytes || !memchr(image.name, 0, sizeof image.name))
            stop("%s is damaged", path);
        snprintf(out, sizeof out, "%s/%s.ptx", folder, image.name);
        FILE *file = fopen(out, "wb");
        if (!file)
            stop("%s cannot be written", out);
        write_bytes(file, t.at + image.ptx, strlen(t.at + image.ptx), out);
        close_file(file, out);
        printf("%s\n", image.name);
    }
    free(t.at);
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "split")) {
        split(argv[2], argv[3], argv[4]);
    } else if (argc == 4 && !strcmp(argv[1], "show")) {
        show(argv[2], argv[3]);
    } else if (argc > 5 && !strcmp(argv[1], "join")) {
        join(argv[2], argv[3], argv[4], argv + 5, (uint32_t)(argc - 5));
    } else {
        fputs("usage: pack split FILE.ptx FOLDER MAJOR.MINOR | pack show IMAGES FOLDER | "
              "pack join OUT FOLDER SENTENCE KERNEL...\n",
              stderr);
        return 2;
    }
    return 0;
}
