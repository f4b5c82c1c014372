/* host/plugin_choice.c: the best device found (contract: plugin_choice.h). */
#include "plugin_choice.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "plugin_error.h"
#include "plugin_probe.h"

/* In this order; a device must be of a kind in `kinds`. */
typedef struct choice {
    const char *plugin;
    uint32_t kinds; /* bits 1 << TANDEM_DEVICE_* */
} choice;

#define REAL (1u << TANDEM_DEVICE_GPU | 1u << TANDEM_DEVICE_INTEGRATED)
#define SOFTWARE (1u << TANDEM_DEVICE_SOFTWARE)

static const choice choices[] = {
    {"cuda", REAL}, {"vulkan", REAL}, {"vulkan", SOFTWARE}, {"reference", REAL | SOFTWARE}};

#define N_CHOICE (sizeof choices / sizeof *choices)

/* The best of the devices that are wanted: of the lowest kind. */
static const tandem_device_info *best_of(const plugin_found *f, uint32_t kinds, const char *wanted) {
    const tandem_device_info *best = NULL;
    uint32_t number;
    const bool by_number = wanted && parse_u32(wanted, &number);
    for (uint32_t i = 0; i < f->n; i++) {
        const tandem_device_info *d = &f->device[i];
        const bool fits = !wanted || (by_number ? i == number : is_uuid(wanted, d->uuid));
        if (fits && (kinds >> d->kind & 1u) && (!best || d->kind < best->kind))
            best = d;
    }
    return best;
}

/* A plugin that is there and has no device is a machine without one; one that fails is worth a word. */
static void say_passed_over(const char *command, const choice *c, const plugin_found *f) {
    if (strstr(f->reason, " ended the process ") || strstr(f->reason, " did not come back "))
        fprintf(stderr, "tandem %s: %s is passed over: %s.\n", command, c->plugin, f->reason);
}

static const char *choose(const char *command, const char *device, plugin_found found[N_CHOICE]) {
    for (size_t i = 0; i < N_CHOICE; i++) {
        /* asked once, though it is twice in the list */
        const size_t first = i && !strcmp(choices[i].plugin, choices[i - 1].plugin) ? i - 1 : i;
        if (first == i && !plugin_probe(choices[i].plugin, &found[i]))
            return NULL;
        if (first == i)
            say_passed_over(command, &choices[i], &found[i]);
        const tandem_device_info *d = best_of(&found[first], choices[i].kinds, device);
        if (!d)
            continue;
        if (d->kind >= TANDEM_DEVICE_SOFTWARE)
            fprintf(stderr,
                    "tandem %s: no GPU found; %s runs on the %s device %s (--plugin chooses another).\n",
                    command, choices[i].plugin, device_kind_name(d->kind), d->name);
        else
            fprintf(stderr, "tandem %s: %s runs on %s (--plugin chooses another).\n", command,
                    choices[i].plugin, d->name);
        return choices[i].plugin;
    }
    return NULL;
}

const char *plugin_choose(const char *command, const char *device) {
    plugin_found found[N_CHOICE] = {{0}};
    const char *name = choose(command, device, found);
    bool any = false;
    for (size_t i = 0; i < N_CHOICE; i++) {
        any |= found[i].n > 0;
        plugin_probe_free(&found[i]);
    }
    if (!name && device && any)
        cli_fail(TANDEM_EXIT_ENVIRONMENT, command, "No plugin has a device '%s' (see tandem devices)",
                 device);
    else if (!name)
        plugin_say_none(command, NULL);
    return name;
}

static void list_files(char *text, size_t size) {
    tandem_plugin_file *files = NULL;
    uint32_t n = 0;
    size_t used = 0;
    text[0] = 0;
    if (tandem_plugin_list(&files, &n, NULL))
        return;
    for (uint32_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", files[i].name);
    tandem_plugin_list_free(files, n);
}

int plugin_say_none(const char *command, const char *wanted) {
    char folders[512], files[128];
    tandem_plugin_folders(folders, sizeof folders);
    list_files(files, sizeof files);
    if (wanted)
        return cli_fail(TANDEM_EXIT_ENVIRONMENT, command,
                        "No device was found through %.200s; without --plugin every plugin is asked, and "
                        "reference runs on "
                        "any processor",
                        wanted);
    if (!files[0])
        return cli_fail(
            TANDEM_EXIT_ENVIRONMENT, command,
            "No device was found: there is no plugin libtandem_NAME.so in %s; TANDEM_PLUGIN_PATH names "
            "other folders",
            folders);
    return cli_fail(
        TANDEM_EXIT_ENVIRONMENT, command,
        "No device was found through %s, the plugins in %s; install NVIDIA's driver for cuda, a Vulkan "
        "driver "
        "(on Debian mesa-vulkan-drivers) for vulkan, or the plugin reference, which needs nothing",
        files, folders);
}
