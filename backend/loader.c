/* loader.c: loads plugins and negotiates with them (contract: loader.h). */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <tandem/growth.h>
#include <tandem/message.h>
#include <tandem/negotiate.h>

#include "loader.h"
#include "loader_elf.h"
#include "loader_search.h"

/* Bytes kept of each string of a descriptor. */
#define WORD_BYTES 1024

struct tandem_plugin {
    tandem_plugin *next;
    void *library;
    uint32_t n_open;
    tandem_host host; /* given to the plugin, which may keep the pointer */
    tandem_backend backend;
    tandem_descriptor descriptor; /* the plugin's, with the strings below for its own */
    char words[7][WORD_BYTES];
    char path[PATH_MAX];
    char *texts; /* copies of the host's strings, and before them of its list of options */
};

/* The loaded plugins of the process, those without an open included that cannot be unloaded. A library is
 * loaded once however often it is opened, so its query must be called once; that makes this list the one
 * global of the loader. Opening and closing hold the lock from end to end. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tandem_plugin *loaded;

static int is_path(const char *name) {
    size_t n = strlen(name);
    return strchr(name, '/') != NULL || (n > 3 && strcmp(name + n - 3, ".so") == 0);
}

/* Finds the file of a name; `found` is its absolute path. */
static tandem_status find_by_name(const char *name, char found[PATH_MAX], tandem_error *error) {
    char folder[PATH_MAX], file[PATH_MAX], looked[1024] = "";
    for (unsigned index = 0; loader_folder(index, folder); index++) {
        if (folder[0] == '\0')
            continue;
        int n = snprintf(file, sizeof file, "%s/libtandem_%s.so", folder, name);
        if (n > 0 && n < (int)sizeof file && realpath(file, found) != NULL)
            return TANDEM_OK;
        size_t used = strlen(looked);
        if (used < 400) /* more does not fit into a message */
            snprintf(looked + used, sizeof looked - used, "%s%.400s", used > 0 ? ", " : "", folder);
    }
    return tandem_kit_fail(error, TANDEM_E_NO_DEVICE, "there is no plugin %.60s: no libtandem_%.60s.so in %s",
                           name, name, looked);
}

static tandem_status find_file(const char *name, char found[PATH_MAX], tandem_error *error) {
    if (name == NULL || name[0] == '\0')
        return tandem_kit_fail(error, TANDEM_E_INVALID, "a plugin needs a name or a path");
    if (!is_path(name))
        return find_by_name(name, found, error);
    if (realpath(name, found) == NULL) {
        int code = errno;
        return tandem_kit_fail_driver(error, TANDEM_E_NO_DEVICE, code,
                                      "the plugin file %.300s cannot be opened: %s", name, strerror(code));
    }
    struct stat status;
    if (stat(found, &status) != 0 || !S_ISREG(status.st_mode))
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "%.300s is not a plugin: it is not a file", name);
    return TANDEM_OK;
}

static int same_text(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static int same_services(const tandem_host *a, const tandem_host *b) {
    if (a->user != b->user || a->log != b->log || a->alloc != b->alloc || a->free != b->free ||
        a->clock_ns != b->clock_ns || a->n_options != b->n_options || !same_text(a->cache_dir, b->cache_dir))
        return 0;
    for (uint32_t i = 0; i < a->n_options; i++)
        if (!same_text(a->options[i], b->options[i]))
            return 0;
    return 1;
}

/* Copies host services with their strings. Returns 0 when memory is out. */
static int copy_services(tandem_plugin *plugin, const tandem_host *from) {
    size_t list_bytes = from->n_options * sizeof *from->options, bytes = list_bytes;
    for (uint32_t i = 0; i < from->n_options; i++)
        bytes += strlen(from->options[i]) + 1;
    bytes += from->cache_dir != NULL ? strlen(from->cache_dir) + 1 : 0;
    plugin->host = *from;
    if (bytes == 0)
        return 1;
    plugin->texts = malloc(bytes);
    if (plugin->texts == NULL)
        return 0;
    const char **options = (const char **)(void *)plugin->texts;
    char *text = plugin->texts + list_bytes;
    for (uint32_t i = 0; i < from->n_options; i++) {
        options[i] = text;
        text = stpcpy(text, from->options[i]) + 1;
    }
    plugin->host.options = from->n_options > 0 ? options : NULL;
    if (from->cache_dir != NULL) {
        plugin->host.cache_dir = text;
        stpcpy(text, from->cache_dir);
    }
    return 1;
}

/* The descriptor as the host sees it: a copy, so that it cannot change, with strings that may be printed. */
static void copy_descriptor(tandem_plugin *plugin) {
    const tandem_descriptor *from = plugin->backend.descriptor;
    tandem_descriptor *d = &plugin->descriptor;
    memcpy(d, from, from->struct_size < sizeof *d ? from->struct_size : sizeof *d);
    d->struct_size = sizeof *d;
    const char **strings[] = {&d->name,    &d->version, &d->git,  &d->toolchain,
                              &d->targets, &d->shaders, &d->needs};
    _Static_assert(sizeof strings / sizeof *strings == sizeof plugin->words / sizeof *plugin->words,
                   "a place for each string");
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++) {
        snprintf(plugin->words[i], WORD_BYTES, "%s", *strings[i]);
        tandem_kit_printable(plugin->words[i]); /* a character that was cut becomes '?' too */
        *strings[i] = plugin->words[i];
    }
    plugin->backend.descriptor = d;
}

/* Calls the plugin's query and checks what came back. */
static tandem_status negotiate(tandem_plugin *plugin, tandem_backend_query_fn query, tandem_error *error) {
    tandem_error why = {.struct_size = sizeof why};
    tandem_backend *table = &plugin->backend;
    plugin->host.error = &why;
    table->struct_size = sizeof *table;
    tandem_status status = query(&plugin->host, table);
    plugin->host.error = NULL;
    why.message[sizeof why.message - 1] = '\0';
    if (status == TANDEM_OK) {
        status = tandem_kit_check_backend(table, sizeof *table, &why);
        if (status != TANDEM_OK)
            tandem_kit_fail(error, status, "the plugin %.160s cannot be used: %s", plugin->path, why.message);
        else
            copy_descriptor(plugin);
        return status;
    }
    if (status > 0 || !tandem_kit_status_known(status))
        status = TANDEM_E_INTERNAL;
    if (why.message[0] == '\0' &&
        status == TANDEM_E_VERSION) /* it could not trust the host struct: say it here */
        tandem_kit_check_backend(table, sizeof *table, &why);
    tandem_kit_fail_driver(error, status, why.driver_code, "the plugin %.160s refuses: %s", plugin->path,
                           why.message[0] != '\0' ? why.message : tandem_kit_status_sentence(status));
    return status;
}

/* dlsym returns an object pointer; POSIX promises that it converts. */
static tandem_backend_query_fn query_of(void *library) {
    void *symbol = dlsym(library, TANDEM_QUERY_SYMBOL);
    tandem_backend_query_fn query;
    memcpy(&query, &symbol, sizeof query);
    return query;
}

/* Loads the file of plugin->path. On failure nothing stays loaded. */
static tandem_status load(tandem_plugin *plugin, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    const char *defect = loader_elf_defect(plugin->path);
    if (defect != NULL)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "%.300s is not a plugin: %s", plugin->path, defect);
    plugin->library = dlopen(plugin->path, RTLD_NOW | RTLD_LOCAL);
    if (plugin->library == NULL) {
        const char *why = dlerror();
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                               "%.160s is not a plugin: it does not load here (%s)",
                               plugin->path, why != NULL ? why : "no reason given");
    }
    tandem_backend_query_fn query = query_of(plugin->library);
    if (query == NULL)
        status =
            tandem_kit_fail(error, TANDEM_E_UNSUPPORTED,
                            "%.300s is not a plugin: it has no function " TANDEM_QUERY_SYMBOL, plugin->path);
    else
        status = negotiate(plugin, query, error);
    if (status != TANDEM_OK)
        dlclose(plugin->library);
    return status;
}

/* With the lock held. */
static tandem_status open_locked(const char *path, const tandem_host *services, tandem_plugin **result,
                                 tandem_error *error) {
    for (tandem_plugin *p = loaded; p != NULL; p = p->next) {
        if (strcmp(p->path, path) != 0)
            continue;
        if (!same_services(&p->host, services))
            return tandem_kit_fail(error, TANDEM_E_INVALID,
                                   "the plugin %.300s is loaded already, with other services or options",
                                   path);
        p->n_open++;
        *result = p;
        return TANDEM_OK;
    }
    tandem_plugin *plugin = calloc(1, sizeof *plugin);
    if (plugin == NULL || !copy_services(plugin, services)) {
        free(plugin);
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "no memory to open the plugin %.300s", path);
    }
    plugin->n_open = 1;
    memcpy(plugin->path, path, strlen(path) + 1);
    tandem_status status = load(plugin, error);
    if (status != TANDEM_OK) {
        free(plugin->texts);
        free(plugin);
        return status;
    }
    plugin->next = loaded;
    loaded = plugin;
    *result = plugin;
    return TANDEM_OK;
}

tandem_status tandem_plugin_open(const char *name_or_path, const tandem_host *services,
                                 tandem_plugin **plugin, tandem_error *error) {
    tandem_host host = {0};
    char path[PATH_MAX];
    tandem_status status = TANDEM_OK;
    if (services != NULL)
        status = TANDEM_KIT_TAKE(tandem_host, &host, services, error);
    if (status == TANDEM_OK && host.n_options > 0 && host.options == NULL)
        status = tandem_kit_fail(error, TANDEM_E_INVALID, "tandem_host.options is NULL with n_options %u",
                                 host.n_options);
    for (uint32_t i = 0; status == TANDEM_OK && i < host.n_options; i++)
        if (host.options[i] == NULL)
            status = tandem_kit_fail(error, TANDEM_E_INVALID, "tandem_host.options[%u] is NULL", i);
    if (status == TANDEM_OK)
        status = find_file(name_or_path, path, error);
    if (status != TANDEM_OK)
        return status;
    host.struct_size = sizeof host;
    host.abi_major = TANDEM_ABI_MAJOR;
    host.abi_minor = TANDEM_ABI_MINOR;
    host.error = NULL;
    pthread_mutex_lock(&lock);
    status = open_locked(path, &host, plugin, error);
    pthread_mutex_unlock(&lock);
    return status;
}

void tandem_plugin_close(tandem_plugin *plugin) {
    if (plugin == NULL)
        return;
    pthread_mutex_lock(&lock);
    if (--plugin->n_open == 0 && (plugin->backend.descriptor->flags & TANDEM_PLUGIN_UNLOADABLE) != 0) {
        tandem_plugin **link = &loaded;
        while (*link != plugin)
            link = &(*link)->next;
        *link = plugin->next;
        dlclose(plugin->library);
        free(plugin->texts);
        free(plugin);
    }
    pthread_mutex_unlock(&lock);
}

const tandem_backend *tandem_plugin_backend(const tandem_plugin *plugin) {
    return &plugin->backend;
}

const char *tandem_plugin_path(const tandem_plugin *plugin) {
    return plugin->path;
}
