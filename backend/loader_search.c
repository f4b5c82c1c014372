/* loader_search.c: the folders of plugins, and what lies in them (contract: loader.h). */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tandem/message.h>

#include "loader.h"
#include "loader_search.h"

#define FILE_PREFIX "libtandem_"
#define FILE_SUFFIX ".so"

/* Entry `index` of a list separated by colons; empty entries do not count. */
static int list_entry(const char *list, unsigned *index, char folder[PATH_MAX]) {
    for (; list != NULL; list = *list != '\0' ? list + 1 : NULL) {
        size_t n = strcspn(list, ":");
        const char *entry = list;
        list += n;
        if (n == 0)
            continue;
        if (*index == 0) {
            int written = snprintf(folder, PATH_MAX, "%.*s", n < PATH_MAX ? (int)n : 0, entry);
            if (written < 0)
                folder[0] = '\0';
            return 1;
        }
        --*index;
    }
    return 0;
}

/* A folder relative to the program's own. */
static void beside_program(const char *relative, char folder[PATH_MAX]) {
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    folder[0] = '\0';
    if (n <= 0)
        return;
    program[n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash == NULL)
        return;
    *slash = '\0';
    int written = snprintf(folder, PATH_MAX, "%s%s", program, relative);
    if (written < 0 || written >= PATH_MAX)
        folder[0] = '\0';
}

int loader_folder(unsigned index, char folder[PATH_MAX]) {
    /* note: TANDEM_PLUGIN_RELATIVE and TANDEM_PLUGIN_FOLDER come from the build: the installed plugin folder
     * seen from the installed program, and as an absolute path for programs that stand elsewhere. */
    static const char *const relative[] = {"", "/../lib", TANDEM_PLUGIN_RELATIVE};
    if (list_entry(secure_getenv("TANDEM_PLUGIN_PATH"), &index, folder))
        return 1;
    if (index < sizeof relative / sizeof *relative) {
        beside_program(relative[index], folder);
        return 1;
    }
    if (index == sizeof relative / sizeof *relative) {
        snprintf(folder, PATH_MAX, "%s", TANDEM_PLUGIN_FOLDER);
        return 1;
    }
    return 0;
}

void tandem_plugin_folders(char *text, uint64_t room) {
    char folder[PATH_MAX];
    uint64_t used = 0;
    text[0] = '\0';
    for (unsigned index = 0; loader_folder(index, folder); index++) {
        const uint64_t n = strlen(folder) + (used > 0 ? 2 : 0);
        if (folder[0] == '\0' || used + n >= room)
            continue;
        used += (uint64_t)snprintf(text + used, room - used, "%s%s", used > 0 ? ", " : "", folder);
    }
}

/* The length of NAME in libtandem_NAME.so, or 0. */
static size_t name_length(const char *file) {
    size_t n = strlen(file), prefix = strlen(FILE_PREFIX), suffix = strlen(FILE_SUFFIX);
    if (n <= prefix + suffix || strncmp(file, FILE_PREFIX, prefix) != 0 ||
        strcmp(file + n - suffix, FILE_SUFFIX) != 0)
        return 0;
    return n - prefix - suffix;
}

static int has_name(const tandem_plugin_file *files, uint32_t n_file, const char *name, size_t length) {
    for (uint32_t i = 0; i < n_file; i++)
        if (strncmp(files[i].name, name, length) == 0 && files[i].name[length] == '\0')
            return 1;
    return 0;
}

/* Appends libtandem_NAME.so of a folder. Returns 0 when memory is out. */
static int append(tandem_plugin_file **files, uint32_t *n_file, const char *folder, const char *file,
                  size_t length) {
    tandem_plugin_file *grown = realloc(*files, (*n_file + 1) * sizeof **files);
    if (grown == NULL)
        return 0;
    *files = grown;
    char relative[PATH_MAX], absolute[PATH_MAX];
    int written = snprintf(relative, sizeof relative, "%s/%s", folder, file);
    if (written < 0 || written >= (int)sizeof relative || realpath(relative, absolute) == NULL)
        return 1; /* gone, or a dangling link: no file */
    tandem_plugin_file entry = {strndup(file + strlen(FILE_PREFIX), length), strdup(absolute)};
    if (entry.name == NULL || entry.path == NULL) {
        free(entry.name);
        free(entry.path);
        return 0;
    }
    grown[(*n_file)++] = entry;
    return 1;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const tandem_plugin_file *)a)->name, ((const tandem_plugin_file *)b)->name);
}

tandem_status tandem_plugin_list(tandem_plugin_file **files, uint32_t *n_file, tandem_error *error) {
    tandem_plugin_file *found = NULL;
    uint32_t n_found = 0;
    char folder[PATH_MAX];
    for (unsigned index = 0; loader_folder(index, folder); index++) {
        DIR *dir = folder[0] != '\0' ? opendir(folder) : NULL;
        if (dir == NULL)
            continue;
        int ok = 1;
        for (struct dirent *entry; ok && (entry = readdir(dir)) != NULL;) {
            size_t length = name_length(entry->d_name);
            if (length > 0 && !has_name(found, n_found, entry->d_name + strlen(FILE_PREFIX), length))
                ok = append(&found, &n_found, folder, entry->d_name, length);
        }
        closedir(dir);
        if (!ok) {
            tandem_plugin_list_free(found, n_found);
            return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "no memory for the list of plugins");
        }
    }
    if (n_found > 0)
        qsort(found, n_found, sizeof *found, by_name);
    *files = found;
    *n_file = n_found;
    return TANDEM_OK;
}

void tandem_plugin_list_free(tandem_plugin_file *files, uint32_t n_file) {
    for (uint32_t i = 0; i < n_file; i++) {
        free(files[i].name);
        free(files[i].path);
    }
    free(files);
}
