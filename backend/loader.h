/* loader.h: finds, loads and checks plugins; the host's side of tandem/backend.h.
 *
 * A plugin is opened by name ("vulkan") or by path. A name is looked for as libtandem_NAME.so in, in this
 * order, the folders of the environment variable TANDEM_PLUGIN_PATH (separated by colons), the program's
 * folder, ../lib beside it, and the plugin folder of the installation; the first file found is taken, and no
 * other is tried when it fails. A path holds a slash or ends in ".so".
 *
 * Loading is local (no symbol of one plugin is seen by another) and immediate. Whoever opens a plugin that is
 * open gets the same one; each open wants its close, and the last close unloads it if its descriptor allows
 * that, else it stays for the next open. A plugin that refuses, or that does not fit, is unloaded at once.
 * All functions are [any-thread].
 */
#ifndef TANDEM_LOADER_H
#define TANDEM_LOADER_H

#include <tandem/tandem.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tandem_plugin tandem_plugin;

/* Opens a plugin. services: host services and options, or NULL. The struct and its strings are copied; `user`
 * and the functions must stay valid until the plugin is unloaded, so for good where a plugin does not allow
 * that. The loader gives the ABI version and `error` itself. Errors, each with a sentence that names the
 * file: NO_DEVICE     no such file, or not in any of the folders (they are listed) UNSUPPORTED   not a shared
 * library for this machine, or one without tandem_backend_query; a mandatory function or string is missing
 * (named) VERSION       built for an ABI that does not fit; both versions are named INVALID       no name; a
 * host struct that breaks a rule; loaded already with other services or options as answered   the plugin
 * refused: its status and its sentence */
tandem_status tandem_plugin_open(const char *name_or_path, const tandem_host *services,
                                 tandem_plugin **plugin, tandem_error *error);

/* Takes NULL. Every context of the plugin must have been destroyed before the last close. */
void tandem_plugin_close(tandem_plugin *plugin);

/* The checked table; every slot of this version is there. The strings of its descriptor are copies that may be printed:
 * UTF-8 without control characters, at most 1023 bytes. Valid until the close. */
const tandem_backend *tandem_plugin_backend(const tandem_plugin *plugin);

/* Absolute path of the file. Valid until the close. */
const char *tandem_plugin_path(const tandem_plugin *plugin);

/* The folders where names are looked for, in order, with ", " between them; what does not fit is left out. */
void tandem_plugin_folders(char *text, uint64_t room);

/* A plugin file that could be opened by name. */
typedef struct tandem_plugin_file {
    char *name; /* "vulkan" */
    char *path; /* absolute */
} tandem_plugin_file;

/* Files of all folders, by ascending name; of two with one name the one that tandem_plugin_open would take.
 * None is not an error. OUT_OF_MEMORY. */
tandem_status tandem_plugin_list(tandem_plugin_file **files, uint32_t *n_file, tandem_error *error);
void tandem_plugin_list_free(tandem_plugin_file *files, uint32_t n_file);

#ifdef __cplusplus
}
#endif
#endif
