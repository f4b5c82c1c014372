/* host/cli.c: plugin and device choice, sessions, talk. */
#include "cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <tandem/message.h>

#include "plugin_call.h"
#include "plugin_choice.h"
#include "plugin_error.h"
#include "plugin_watch.h"
#include "progress.h"

int cli_fail(int code, const char *command, const char *format, ...) {
    char text[768];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tandem_kit_printable(text); /* a plugin's words, or a file's */
    size_t n = strlen(text);
    fprintf(stderr, "tandem %s: %s%s\n", command, text, n && text[n - 1] != '.' ? "." : "");
    return code;
}

int cli_refuse(tandem_status status, const char *command, const tandem_message *message) {
    int code = status == TANDEM_E_INVALID         ? TANDEM_EXIT_USAGE
               : status == TANDEM_E_OUT_OF_MEMORY ? TANDEM_EXIT_NO_MEMORY
               : status == PLUGIN_WRONG_RESULT    ? TANDEM_EXIT_BAD_ANSWER
                                                  : TANDEM_EXIT_ENVIRONMENT;
    return cli_fail(code, command, "%s", message->text);
}

static int output_error;

void cli_flush(void) {
    if ((fflush(stdout) != 0 || ferror(stdout)) && !output_error)
        output_error = errno ? errno : EIO;
}

int cli_output_error(void) {
    return output_error;
}

/* ---- plugin and device ---- */

static void log_to_stderr(void *user, uint32_t level, const char *text) {
    (void)user;
    const char *wanted = getenv("TANDEM_LOG"); /* error, warning, info, debug */
    uint32_t most = !wanted                      ? TANDEM_LOG_WARNING
                    : !strcmp(wanted, "debug")   ? TANDEM_LOG_DEBUG
                    : !strcmp(wanted, "info")    ? TANDEM_LOG_INFO
                    : !strcmp(wanted, "warning") ? TANDEM_LOG_WARNING
                                                 : TANDEM_LOG_ERROR;
    if (level > most)
        return;
    char line[1024];
    snprintf(line, sizeof line, "%s", text ? text : "");
    tandem_kit_printable(line);
    fprintf(stderr, "tandem: %s\n", line);
}

/* $XDG_CACHE_HOME/tandem or ~/.cache/tandem, made if need be; NULL if that cannot be. */
static const char *cache_folder(void) {
    static char folder[1024];
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = base && base[0] == '/' ? snprintf(folder, sizeof folder, "%s", base)
            : home                 ? snprintf(folder, sizeof folder, "%s/.cache", home)
                                   : -1;
    if (n < 0 || (size_t)n + sizeof "/tandem" > sizeof folder)
        return NULL;
    mkdir(folder, 0777);
    strcat(folder, "/tandem");
    return mkdir(folder, 0777) == 0 || errno == EEXIST ? folder : NULL;
}

static const char *plugin_options[CLI_MAX_PLUGIN_OPTIONS];
static bool option_used[CLI_MAX_PLUGIN_OPTIONS];
static uint32_t n_plugin_option;

bool cli_add_plugin_option(const char *text) {
    const char *dot = strchr(text, '.'), *equals = strchr(text, '=');
    if (!dot || !equals || dot == text || equals < dot) {
        fprintf(stderr, "tandem: --plugin-option takes PLUGIN.NAME=VALUE, not '%s'.\n", text);
        return false;
    }
    if (n_plugin_option == CLI_MAX_PLUGIN_OPTIONS) {
        fprintf(stderr, "tandem: at most %d plugin options can be given.\n", CLI_MAX_PLUGIN_OPTIONS);
        return false;
    }
    plugin_options[n_plugin_option++] = text;
    return true;
}

/* Whether PLUGIN of an option is this name, or the file libtandem_PLUGIN.so. */
static bool is_for(const char *text, const char *plugin) {
    const char *slash = strrchr(plugin, '/'), *name = slash ? slash + 1 : plugin;
    if (!strncmp(name, "libtandem_", 10))
        name += 10;
    size_t n = (size_t)(strchr(text, '.') - text);
    return !strncmp(name, text, n) && (name[n] == '\0' || name[n] == '.');
}

uint32_t cli_plugin_options(const char *plugin, const char *options[CLI_MAX_PLUGIN_OPTIONS]) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_plugin_option; i++)
        if (is_for(plugin_options[i], plugin)) {
            options[n++] = plugin_options[i];
            option_used[i] = true;
        }
    return n;
}

void cli_report_unused_options(void) {
    for (uint32_t i = 0; i < n_plugin_option; i++)
        if (!option_used[i])
            fprintf(stderr, "tandem: --plugin-option %s went to no plugin: none of that name was opened.\n",
                    plugin_options[i]);
}

const tandem_host *cli_host(const char *plugin) {
    static tandem_host host;
    static const char *given[CLI_MAX_PLUGIN_OPTIONS];
    if (!host.struct_size) {
        host.log = log_to_stderr;
        host.cache_dir = cache_folder();
        host.struct_size = sizeof host;
    }
    host.options = given;
    host.n_options = cli_plugin_options(plugin, given);
    return &host;
}

const char *device_kind_name(uint32_t kind) {
    static const char *const names[] = {"gpu", "integrated", "software", "simulated"};
    return kind < 4 ? names[kind] : "unknown";
}

void format_uuid(const uint8_t uuid[16], char text[37]) {
    for (uint32_t i = 0, n = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            text[n++] = '-';
        n += (uint32_t)snprintf(text + n, 3, "%02x", uuid[i]);
    }
}

/* Hexadecimal digits of both, dashes ignored. */
bool is_uuid(const char *text, const uint8_t uuid[16]) {
    uint32_t n = 0;
    for (; *text; text++) {
        if (*text == '-')
            continue;
        const char *digits = "0123456789abcdef", *d = strchr(digits, *text | 0x20);
        if (!d || n == 32 || (uint32_t)(d - digits) != (n % 2 ? uuid[n / 2] & 15u : uuid[n / 2] >> 4u))
            return false;
        n++;
    }
    return n == 32;
}

/* gpu, integrated, software, simulated: the order of preference. */
static int choose_device(const char *wanted, const char *command, cli_device *d) {
    tandem_error error = TANDEM_ERROR_INIT;
    tandem_message message;
    uint32_t n = 0, number = 0;
    const char *name = d->backend->descriptor->name;
    tandem_status status = plugin_device_count(d->backend, &n, &error);
    if (status || !n) {
        message_plugin(&message, status ? status : TANDEM_E_NO_DEVICE, &error, "no device");
        return cli_fail(
            TANDEM_EXIT_ENVIRONMENT, command,
            "%s; --plugin reference runs on any processor, and without --plugin the best device is taken",
            message.text);
    }
    bool by_number = wanted && parse_u32(wanted, &number), found = false;
    for (uint32_t i = 0; i < n; i++) {
        tandem_device_info info = {.struct_size = sizeof info};
        status = plugin_device_info(d->backend, i, &info, &error);
        if (status) {
            message_plugin(&message, status, &error, "devices");
            return cli_fail(TANDEM_EXIT_ENVIRONMENT, command, "%s", message.text);
        }
        bool fits = by_number ? i == number : !wanted || is_uuid(wanted, info.uuid);
        if (fits && (!found || info.kind < d->info.kind)) {
            d->index = i;
            d->info = info;
            found = true;
        }
    }
    if (!found)
        return cli_fail(TANDEM_EXIT_ENVIRONMENT, command,
                        "%s has %u device%s and none is '%s' (see tandem devices)", name, n,
                        n == 1 ? "" : "s", wanted);
    return OPTIONS_GO_ON;
}

int cli_open_device(const common_options *common, const char *command, cli_device *d) {
    *d = (cli_device){0};
    tandem_error error = TANDEM_ERROR_INIT;
    const char *name = common->plugin ? common->plugin : plugin_choose(command, common->device);
    if (!name)
        return TANDEM_EXIT_ENVIRONMENT;
    tandem_status status = cli_open_plugin(name, &d->plugin, &error);
    if (status)
        return cli_fail(TANDEM_EXIT_ENVIRONMENT, command, "%s", error.message);
    d->backend = tandem_plugin_backend(d->plugin);
    int code = choose_device(common->device, command, d);
    if (code != OPTIONS_GO_ON) {
        cli_close_device(d);
        return code;
    }
    return OPTIONS_GO_ON;
}

tandem_status cli_open_plugin(const char *name, tandem_plugin **plugin, tandem_error *error) {
    const char *slash = strrchr(name, '/');
    plugin_watch_begin(slash ? slash + 1 : name, PLUGIN_CALL_open);
    const tandem_status status = tandem_plugin_open(name, cli_host(name), plugin, error);
    plugin_watch_end();
    return status;
}

void cli_close_plugin(tandem_plugin *plugin) {
    if (!plugin)
        return;
    cli_flush();
    plugin_watch_begin(tandem_plugin_backend(plugin)->descriptor->name, PLUGIN_CALL_close);
    tandem_plugin_close(plugin);
    plugin_watch_end();
}

void cli_close_session(session *s) {
    cli_flush();
    session_destroy(s);
}

void cli_close_device(cli_device *d) {
    cli_close_plugin(d->plugin);
    *d = (cli_device){0};
}

/* ---- sessions ---- */

uint32_t kv_type_by_name(const char *name) {
    return !strcmp(name, "f32")    ? TANDEM_TYPE_F32
           : !strcmp(name, "q8_0") ? TANDEM_TYPE_Q8_0
                                   : TANDEM_TYPE_F16;
}

uint32_t precision_by_name(const char *name) {
    return !strcmp(name, "f16")  ? TANDEM_PRECISION_F16
           : !strcmp(name, "q8") ? TANDEM_PRECISION_Q8
                                 : TANDEM_PRECISION_EXACT;
}

const char *kv_type_name(uint32_t type) {
    return type == TANDEM_TYPE_F32 ? "f32" : type == TANDEM_TYPE_Q8_0 ? "q8_0" : "f16";
}

const char *precision_name(uint32_t precision) {
    return precision == TANDEM_PRECISION_F16 ? "f16" : precision == TANDEM_PRECISION_Q8 ? "q8" : "exact";
}

static void show_loading(void *user, uint64_t done, uint64_t total) {
    progress *p = user;
    p->total = (double)total;
    progress_show(p, (double)done, NULL);
}

void cli_describe_session(const common_options *common, const session_request *request, session_desc *desc) {
    *desc = (session_desc){
        .n_ctx = common->n_ctx ? common->n_ctx : request->n_ctx,
        .batch = common->batch    ? common->batch
                 : request->batch ? request->batch
                                  : 256,
        .kv_type = kv_type_by_name(common->kv    ? common->kv
                                   : request->kv ? request->kv
                                                 : "f16"),
        .precision = precision_by_name(common->precision ? common->precision : "exact"),
        .n_threads = common->n_threads,
        .memory_cap = common->memory_cap,
        .expert_placement = common->expert_memory && !strcmp(common->expert_memory, "host")
                                ? TANDEM_PLACE_HOST
                                : TANDEM_PLACE_DEVICE,
        .routing = common->routing,
        .routing_seed = common->seed,
        .n_score = request->n_score,
    };
}

int cli_open_session(const common_options *common, const session_request *request, const cli_device *device,
                     const model_source *source, session **s) {
    progress p;
    progress_start(&p, "loading", 1);
    session_desc desc;
    cli_describe_session(common, request, &desc);
    desc.backend = device->backend;
    desc.device = device->index;
    desc.source = source;
    desc.progress = show_loading;
    desc.user = &p;
    tandem_message message;
    int status = session_create(s, &desc, &message);
    progress_end(&p);
    return status ? cli_refuse(status, request->command, &message) : OPTIONS_GO_ON;
}
