/* Opening GGUF files: mapping, the parts of a split model, lookups. */
#include "gguf_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_PARTS 99999u /* five digits in the file name */

static int map_part(gguf_part *part, const char *path, tandem_message *message) {
    int status = TANDEM_E_INVALID;
    struct stat info;
    /* Before it is opened, and without waiting: opening a FIFO waits for its writer, and devices have side
     * effects. */
    if (stat(path, &info) != 0)
        return message_fail(message, status, "cannot open %s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return message_fail(message, status, "%s is %s, not a regular file", path,
                            file_kind_name(info.st_mode));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return message_fail(message, status, "cannot open %s: %s", path, strerror(errno));
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        message_fail(message, status, "cannot read %s: %s", path, strerror(errno));
        goto done;
    }
    if (info.st_size == 0) {
        message_fail(message, status, "%s: this is not a GGUF file: it is empty", path);
        goto done;
    }
    void *bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        status = errno == ENOMEM ? TANDEM_E_OUT_OF_MEMORY : TANDEM_E_INVALID;
        message_fail(message, status, "cannot map %s: %s", path, strerror(errno));
        goto done;
    }
    part->bytes = bytes;
    part->size = (uint64_t)info.st_size;
    part->mapped = true;
    part->mapping = mapped_file_add(bytes, part->size, path);
    part->device = info.st_dev;
    part->inode = info.st_ino;
    part->modified_s = info.st_mtim.tv_sec;
    part->modified_ns = info.st_mtim.tv_nsec;
    part->path = strdup(path);
    status = part->path ? TANDEM_OK : message_out_of_memory(message, "a path", strlen(path));
done:
    close(fd);
    return status;
}

static int index_tensors(gguf_file *file, tandem_message *message) {
    const gguf_header *h = &file->header;
    int status = name_table_create(&file->tensor_names, h->n_tensors, message);
    for (uint64_t i = 0; status == TANDEM_OK && i < h->n_tensors; i++) {
        if (name_table_add(&file->tensor_names, h->tensors, gguf_tensor_name, i) != UINT64_MAX)
            status = message_fail(message, TANDEM_E_INVALID, "%s: the tensor name '%s' occurs twice",
                                  gguf_path(file), h->tensors[i].name);
    }
    return status;
}

/* The path of part `index` of `count`: the digits of "-00001-of-0000N.gguf" replaced. */
static int part_path(const char *first, uint32_t index, uint32_t count, char **out, tandem_message *message) {
    char suffix[32], expected[32];
    size_t len = strlen(first);
    size_t n = (size_t)snprintf(expected, sizeof expected, "-00001-of-%05u.gguf", count);
    if (len <= n || strcmp(first + len - n, expected) != 0)
        return message_fail(
            message, TANDEM_E_INVALID,
            "%s is a model in %u parts, but its name does not end in %s, so the others cannot be found",
            first, count, expected);
    snprintf(suffix, sizeof suffix, "-%05u-of-%05u.gguf", index + 1, count);
    *out = malloc(len + 1);
    if (!*out)
        return message_out_of_memory(message, "a path", len + 1);
    memcpy(*out, first, len - n);
    memcpy(*out + len - n, suffix, n + 1);
    return TANDEM_OK;
}

static int check_part(const gguf_file *part, uint32_t index, uint32_t count, tandem_message *message) {
    uint32_t no = UINT32_MAX, claimed = UINT32_MAX;
    int status = gguf_get_u32(part, "split.no", &no, message);
    if (status >= 0)
        status = gguf_get_u32(part, "split.count", &claimed, message);
    if (status < 0)
        return status;
    if (no != index || claimed != count)
        return message_fail(message, TANDEM_E_INVALID, "%s does not say that it is part %u of %u",
                            gguf_path(part), index + 1, count);
    return TANDEM_OK;
}

static int open_one(gguf_file **out, const char *path, tandem_message *message);

/* Opens part `index` and moves its tensors and its mapping into `file`. */
static int append_part(gguf_file *file, uint32_t index, uint32_t count, tandem_message *message) {
    char *path = NULL;
    gguf_file *part = NULL;
    int status = part_path(file->path, index, count, &path, message);
    if (status == TANDEM_OK)
        status = open_one(&part, path, message);
    if (status == TANDEM_OK)
        status = check_part(part, index, count, message);
    if (status == TANDEM_OK) {
        uint64_t total = file->header.n_tensors + part->header.n_tensors;
        gguf_tensor *all =
            total < UINT32_MAX ? realloc(file->header.tensors, (total + 1) * sizeof *all) : NULL;
        if (all) {
            file->header.tensors = all;
            for (uint64_t i = 0; i < part->header.n_tensors; i++) {
                all[file->header.n_tensors + i] = part->header.tensors[i];
                all[file->header.n_tensors + i].part = index;
            }
            file->header.n_tensors = total;
            file->parts[file->n_parts++] = part->parts[0];
            part->parts[0] = (gguf_part){0}; /* now file's */
        } else {
            status = message_out_of_memory(message, "the tensor list", (total + 1) * sizeof *all);
        }
    }
    gguf_close(part);
    free(path);
    return status;
}

static int append_parts(gguf_file *file, uint32_t count, tandem_message *message) {
    uint32_t n_tensors = 0;
    gguf_part *parts;
    int status = check_part(file, 0, count, message);
    if (status != TANDEM_OK)
        return status;
    if (count > MAX_PARTS)
        return message_fail(message, TANDEM_E_INVALID, "%s claims to be in %u parts", file->path, count);
    parts = realloc(file->parts, count * sizeof *parts);
    if (!parts)
        return message_out_of_memory(message, "the list of parts", count * sizeof *parts);
    file->parts = parts;
    for (uint32_t i = 1; i < count; i++) {
        status = append_part(file, i, count, message);
        if (status != TANDEM_OK)
            return status;
    }
    status = gguf_get_u32(file, "split.tensors.count", &n_tensors, message);
    if (status < 0)
        return status;
    if (status == 1 && n_tensors != file->header.n_tensors)
        return message_fail(message, TANDEM_E_INVALID,
                            "%s: the %u parts have %llu tensors together, not the %u promised", file->path,
                            count, (unsigned long long)file->header.n_tensors, n_tensors);
    return TANDEM_OK;
}

static int parse_first(gguf_file *file, const char *name, tandem_message *message) {
    return gguf_parse_header(&file->header, file->parts[0].bytes, file->parts[0].size, name, message);
}

static gguf_file *file_create(const char *path, tandem_message *message) {
    gguf_file *file = calloc(1, sizeof *file);
    if (file) {
        file->parts = calloc(1, sizeof *file->parts);
        file->path = strdup(path);
    }
    if (file && file->parts && file->path) {
        file->n_parts = 1;
        return file;
    }
    gguf_close(file);
    message_out_of_memory(message, "a file", sizeof *file);
    return NULL;
}

static int open_one(gguf_file **out, const char *path, tandem_message *message) {
    gguf_file *file = file_create(path, message);
    if (!file)
        return TANDEM_E_OUT_OF_MEMORY;
    int status = map_part(&file->parts[0], path, message);
    if (status == TANDEM_OK)
        status = parse_first(file, path, message);
    if (status != TANDEM_OK) {
        gguf_close(file);
        return status;
    }
    *out = file;
    return TANDEM_OK;
}

int gguf_open(gguf_file **out, const char *path, tandem_message *message) {
    gguf_file *file = NULL;
    uint32_t count = 1, no = 0;
    int status = open_one(&file, path, message);
    if (status != TANDEM_OK)
        return status;
    status = gguf_get_u32(file, "split.count", &count, message);
    if (status >= 0)
        status = gguf_get_u32(file, "split.no", &no, message);
    if (status < 0)
        goto fail;
    status = TANDEM_OK;
    if (count > 1 && no != 0) {
        status = message_fail(message, TANDEM_E_INVALID, "%s is part %u of %u: open the first part", path,
                              no == UINT32_MAX ? no : no + 1, count);
        goto fail;
    }
    if (count > 1)
        status = append_parts(file, count, message);
    if (status == TANDEM_OK)
        status = index_tensors(file, message);
    if (status != TANDEM_OK)
        goto fail;
    *out = file;
    return TANDEM_OK;
fail:
    gguf_close(file);
    return status;
}

int gguf_open_memory(gguf_file **out, const void *data, uint64_t size, tandem_message *message) {
    uint32_t count = 1;
    gguf_file *file = file_create("", message);
    if (!file)
        return TANDEM_E_OUT_OF_MEMORY;
    file->parts[0].bytes = data;
    file->parts[0].size = size;
    int status = parse_first(file, "GGUF data", message);
    if (status == TANDEM_OK)
        status = gguf_get_u32(file, "split.count", &count, message);
    if (status >= 0)
        status = count > 1 ? message_fail(message, TANDEM_E_INVALID, "GGUF data: one part of a split model")
                           : index_tensors(file, message);
    if (status != TANDEM_OK) {
        gguf_close(file);
        return status;
    }
    *out = file;
    return TANDEM_OK;
}

void gguf_close(gguf_file *file) {
    if (!file)
        return;
    for (uint32_t i = 0; file->parts && i < file->n_parts; i++) {
        mapped_file_remove(file->parts[i].mapping);
        if (file->parts[i].mapped)
            munmap((void *)(uintptr_t)file->parts[i].bytes, file->parts[i].size);
        free(file->parts[i].path);
    }
    gguf_free_header(&file->header);
    name_table_free(&file->tensor_names);
    free(file->parts);
    free(file->path);
    free(file);
}

int gguf_check_unchanged(const gguf_file *file, tandem_message *message) {
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const gguf_part *p = &file->parts[i];
        struct stat now;
        if (!p->mapped || stat(p->path, &now) != 0 || now.st_dev != p->device || now.st_ino != p->inode)
            continue;
        if ((uint64_t)now.st_size != p->size || now.st_mtim.tv_sec != p->modified_s ||
            now.st_mtim.tv_nsec != p->modified_ns)
            return message_fail(message, TANDEM_E_UNSUPPORTED, "%s: the file changed while it was read",
                                p->path);
    }
    return TANDEM_OK;
}

void gguf_add_inputs(const gguf_file *file, input_files *inputs) {
    for (uint32_t i = 0; i < file->n_parts; i++)
        if (file->parts[i].mapped)
            input_files_add_id(inputs, file->parts[i].device, file->parts[i].inode);
}

const char *gguf_path(const gguf_file *file) {
    return file->path;
}

uint32_t gguf_version(const gguf_file *file) {
    return file->header.version;
}

uint64_t gguf_alignment(const gguf_file *file) {
    return file->header.alignment;
}

uint64_t gguf_file_bytes(const gguf_file *file) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < file->n_parts; i++)
        bytes += file->parts[i].size;
    return bytes;
}

uint32_t gguf_n_parts(const gguf_file *file) {
    return file->n_parts;
}

uint64_t gguf_n_values(const gguf_file *file) {
    return file->header.n_values;
}

const gguf_value *gguf_value_at(const gguf_file *file, uint64_t index) {
    return &file->header.values[index];
}

const gguf_value *gguf_value_by_key(const gguf_file *file, const char *key) {
    uint64_t i =
        name_table_find(&file->header.keys, file->header.values, gguf_value_name, gguf_string_of(key));
    return i == UINT64_MAX ? NULL : &file->header.values[i];
}

uint64_t gguf_n_tensors(const gguf_file *file) {
    return file->header.n_tensors;
}

const gguf_tensor *gguf_tensor_at(const gguf_file *file, uint64_t index) {
    return &file->header.tensors[index];
}

const gguf_tensor *gguf_tensor_by_name(const gguf_file *file, const char *name) {
    uint64_t i =
        name_table_find(&file->tensor_names, file->header.tensors, gguf_tensor_name, gguf_string_of(name));
    return i == UINT64_MAX ? NULL : &file->header.tensors[i];
}

void gguf_drop_pages(const gguf_file *file, const gguf_tensor *tensor) {
    const gguf_part *part = &file->parts[tensor->part];
    if (!part->mapped || tensor->bytes == 0)
        return;
    /* Whole pages only; the two shared with neighbours at the ends stay. Failure costs memory, nothing else.
     */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)tensor->data + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)tensor->data + tensor->bytes) & ~(page - 1);
    if (end > first)
        (void)madvise((void *)first, end - first, MADV_DONTNEED);
}
