/* host/cmd_devices.c: tandem devices. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include <tandem/message.h>

#include "cli.h"
#include "commands.h"
#include "plugin_call.h"
#include "plugin_choice.h"
#include "plugin_error.h"
#include "plugin_probe.h"
#include "progress.h"
#include "wrap.h"

typedef struct found_plugin {
    const char *name; /* of its file */
    plugin_found found;
} found_plugin;

typedef struct found_device {
    const char *plugin; /* name in the list of plugin files */
    uint32_t index;
    tandem_device_info info;
} found_device;

typedef struct device_list {
    found_plugin *plugin;
    uint32_t n_plugin;
    found_device *device;
    uint32_t n;
} device_list;

static bool add_device(device_list *list, const char *plugin, uint32_t index,
                       const tandem_device_info *info) {
    found_device *more = realloc(list->device, (list->n + 1) * sizeof *more);
    if (!more)
        return false;
    list->device = more;
    more[list->n++] = (found_device){.plugin = plugin, .index = index, .info = *info};
    return true;
}

/* The plugin and its devices into the list. False: memory is out. */
static bool list_plugin(const tandem_plugin_file *file, device_list *list) {
    found_plugin *p = &list->plugin[list->n_plugin++];
    tandem_kit_printable(file->name); /* of a file: it may be anything */
    p->name = file->name;
    if (!plugin_probe(file->path, &p->found))
        return false;
    for (uint32_t i = 0; i < p->found.n; i++)
        if (!add_device(list, file->name, i, &p->found.device[i]))
            return false;
    return true;
}

static void matrix_paths(uint32_t set, char text[64]) {
    static const struct {
        uint32_t bit;
        const char *name;
    } paths[] = {{TANDEM_MATRIX_FMA, "fma"},
                 {TANDEM_MATRIX_DOT, "dot"},
                 {TANDEM_MATRIX_COOPMAT, "coopmat"},
                 {TANDEM_MATRIX_MMA, "mma"}};
    text[0] = 0;
    for (uint32_t i = 0; i < 4; i++)
        if (set & paths[i].bit) {
            strcat(text, text[0] ? " " : "");
            strcat(text, paths[i].name);
        }
    if (!text[0])
        strcpy(text, "none");
}

static bool is_null_uuid(const uint8_t uuid[16]) {
    static const uint8_t null[16];
    return !memcmp(uuid, null, 16);
}

static bool same_card(const found_device *a, const found_device *b) {
    return strcmp(a->plugin, b->plugin) && !is_null_uuid(a->info.uuid) &&
           !memcmp(a->info.uuid, b->info.uuid, 16);
}

static void print_field(const char *name, const char *text) {
    printf("    %-9s  ", name);
    wrap_print(stdout, text, 15, 15);
}

static void print_device(const device_list *list, const found_device *d) {
    char total[32], free_now[32], most[32], uuid[37], has[64], used[64];
    format_uuid(d->info.uuid, uuid);
    matrix_paths(d->info.matrix_paths, has);
    matrix_paths(d->info.matrix_used, used);
    printf("%s %u: %s [%s]\n", d->plugin, d->index, d->info.name, device_kind_name(d->info.kind));
    printf("    memory     %s, %s free, at most %s in one piece\n",
           format_bytes(d->info.memory_total, total, sizeof total),
           d->info.memory_free ? format_bytes(d->info.memory_free, free_now, sizeof free_now) : "unknown",
           format_bytes(d->info.max_allocation, most, sizeof most));
    printf("    matrices   %s; kernels use %s\n", has, used);
    printf("    lanes      %u, units %u\n", d->info.subgroup_size, d->info.n_units);
    if (d->info.pci_domain != TANDEM_NONE)
        printf("    PCI        %04x:%02x:%02x.%x (%04x:%04x)\n", d->info.pci_domain, d->info.pci_bus,
               d->info.pci_device, d->info.pci_function, d->info.vendor_id, d->info.device_id);
    print_field("UUID", is_null_uuid(d->info.uuid) ? "none" : uuid);
    print_field("driver", d->info.driver);
    if (d->info.abilities[0])
        print_field("abilities", d->info.abilities);
    for (uint32_t i = 0; i < list->n; i++)
        if (same_card(d, &list->device[i]))
            printf("    same card  %s %u\n", list->device[i].plugin, list->device[i].index);
}

static void print_plugin(const found_plugin *found) {
    const plugin_found *p = &found->found;
    if (p->opened) {
        printf("%s plugin %s (git %s), %s\n", found->name, p->version, p->git, p->toolchain);
        print_field("targets", p->targets);
        print_field("shaders", p->shaders);
        print_field("needs", p->needs);
    }
    if (p->reason[0]) {
        printf("%s: ", found->name);
        wrap_print(stdout, p->reason, (uint32_t)strlen(found->name) + 2, 4);
    }
}

static cJSON *plugin_json(const found_plugin *found) {
    const plugin_found *p = &found->found;
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "plugin", found->name);
    cJSON_AddStringToObject(j, "version", p->version);
    cJSON_AddStringToObject(j, "git", p->git);
    cJSON_AddStringToObject(j, "toolchain", p->toolchain);
    cJSON_AddStringToObject(j, "targets", p->targets);
    cJSON_AddStringToObject(j, "shaders", p->shaders);
    cJSON_AddStringToObject(j, "needs", p->needs);
    cJSON_AddStringToObject(j, "reason", p->reason);
    return j;
}

static cJSON *device_json(const device_list *list, const found_device *d) {
    char uuid[37], has[64], used[64];
    format_uuid(d->info.uuid, uuid);
    matrix_paths(d->info.matrix_paths, has);
    matrix_paths(d->info.matrix_used, used);
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "plugin", d->plugin);
    cJSON_AddNumberToObject(j, "device", d->index);
    cJSON_AddStringToObject(j, "name", d->info.name);
    cJSON_AddStringToObject(j, "kind", device_kind_name(d->info.kind));
    cJSON_AddStringToObject(j, "uuid", uuid);
    cJSON_AddStringToObject(j, "driver", d->info.driver);
    cJSON_AddStringToObject(j, "abilities", d->info.abilities);
    cJSON_AddStringToObject(j, "matrix_paths", has);
    cJSON_AddStringToObject(j, "matrix_used", used);
    cJSON_AddNumberToObject(j, "memory_total", (double)d->info.memory_total);
    cJSON_AddNumberToObject(j, "memory_free", (double)d->info.memory_free);
    cJSON_AddNumberToObject(j, "max_allocation", (double)d->info.max_allocation);
    cJSON_AddNumberToObject(j, "subgroup_size", d->info.subgroup_size);
    cJSON_AddNumberToObject(j, "n_units", d->info.n_units);
    cJSON *same = cJSON_AddArrayToObject(j, "same_card");
    for (uint32_t i = 0; i < list->n; i++)
        if (same_card(d, &list->device[i]))
            cJSON_AddItemToArray(same, cJSON_CreateString(list->device[i].plugin));
    return j;
}

static void print_json(cJSON *json) {
    char *text = cJSON_Print(json);
    printf("%s\n", text ? text : "{}");
    cJSON_free(text);
    cJSON_Delete(json);
}

/* Lists what --plugin names, or every plugin file there is. */
static int find_files(const char *wanted, tandem_plugin_file **files, uint32_t *n, tandem_error *error) {
    if (!wanted)
        return tandem_plugin_list(files, n, error);
    *files = calloc(1, sizeof **files);
    if (!*files)
        return TANDEM_E_OUT_OF_MEMORY;
    (*files)->name = strdup(wanted);
    (*files)->path = strdup(wanted);
    *n = 1;
    return (*files)->name && (*files)->path ? TANDEM_OK : TANDEM_E_OUT_OF_MEMORY;
}

static void free_files(const char *wanted, tandem_plugin_file *files, uint32_t n) {
    if (!wanted) {
        tandem_plugin_list_free(files, n);
        return;
    }
    free(files->name);
    free(files->path);
    free(files);
}

static void print_list(const device_list *list) {
    for (uint32_t p = 0; p < list->n_plugin; p++) {
        print_plugin(&list->plugin[p]);
        for (uint32_t i = 0; i < list->n; i++)
            if (list->device[i].plugin == list->plugin[p].name)
                print_device(list, &list->device[i]);
    }
}

static void print_list_json(const device_list *list) {
    cJSON *json = cJSON_CreateObject();
    cJSON *plugins = cJSON_AddArrayToObject(json, "plugins"),
          *devices = cJSON_AddArrayToObject(json, "devices");
    for (uint32_t p = 0; p < list->n_plugin; p++)
        cJSON_AddItemToArray(plugins, plugin_json(&list->plugin[p]));
    for (uint32_t i = 0; i < list->n; i++)
        cJSON_AddItemToArray(devices, device_json(list, &list->device[i]));
    print_json(json);
}

int cmd_devices(int argc, char **argv) {
    common_options common = {0};
    option shared[COMMON_MAX_OPTIONS];
    options_common(&common, COMMON_JSON, shared);
    const option own[] = {option_text("plugin", 0, &common.plugin, "NAME|PATH", "only this plugin"), {0}};
    const command_usage usage = {
        "devices", "[options]",
        "Lists plugins and their devices, which of them are one card, and why a plugin has none.\n"
        "Exit code 3 if no device was found.",
        NULL};
    uint32_t n_free, n_file = 0;
    int code = options_parse(&usage, (const option *const[]){own, shared}, 2, argc, argv, NULL, 0, &n_free);
    if (code != OPTIONS_GO_ON)
        return code;

    tandem_plugin_file *files = NULL;
    tandem_error error = TANDEM_ERROR_INIT;
    if (find_files(common.plugin, &files, &n_file, &error))
        return cli_fail(TANDEM_EXIT_ENVIRONMENT, usage.name, "%s", error.message);
    device_list list = {.plugin = calloc(n_file + 1, sizeof *list.plugin)};
    if (!list.plugin)
        return cli_fail(TANDEM_EXIT_NO_MEMORY, usage.name, "Out of memory");
    bool whole = true;
    for (uint32_t i = 0; i < n_file && whole; i++)
        whole = list_plugin(&files[i], &list);
    if (common.json)
        print_list_json(&list);
    else
        print_list(&list);
    code = !whole   ? cli_fail(TANDEM_EXIT_NO_MEMORY, usage.name, "Out of memory")
           : list.n ? TANDEM_EXIT_GOOD
                    : plugin_say_none(usage.name, common.plugin);
    for (uint32_t i = 0; i < list.n_plugin; i++)
        plugin_probe_free(&list.plugin[i].found);
    free(list.plugin);
    free(list.device);
    free_files(common.plugin, files, n_file);
    return code;
}
