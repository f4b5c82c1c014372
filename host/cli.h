/* host/cli.h: what the commands share: plugin and device choice, models, sessions, talk.
 *
 * Functions that return an exit code have already printed their sentence on standard error.
 */
#ifndef TANDEM_HOST_CLI_H
#define TANDEM_HOST_CLI_H

#include <stdio.h>

#include "loader.h"
#include "options.h"
#include "output_file.h"
#include "session.h"
#include "tokenizer.h"

/* "tandem COMMAND: <sentence>" on standard error; returns `code`. */
int cli_fail(int code, const char *command, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same with a message, and the exit code of its status: 2 for INVALID, 4 for OUT_OF_MEMORY, 1 for
 * PLUGIN_WRONG_RESULT, else 3. */
int cli_refuse(tandem_status status, const char *command, const tandem_message *message);

/* Paragraph of the help of every command that writes a file. */
#define CLI_OUTPUT_HELP                                                                                      \
    "A file is replaced when the new one is complete, by way of FILE.partial-PID; after a failure or an "    \
    "interruption the old one is there still. Links are followed; FIFOs and character devices are written "  \
    "straight through; folders, sockets, block devices and files that the command reads are refused."

/* Writes what standard output holds back. A failure is kept for cli_output_error. */
void cli_flush(void);
/* errno of the first failure of standard output, or 0. */
int cli_output_error(void);

/* ---- plugin and device ---- */

typedef struct cli_device {
    tandem_plugin *plugin;
    const tandem_backend *backend;
    uint32_t index;
    tandem_device_info info;
} cli_device;

/* Most --plugin-option on a command line. */
#define CLI_MAX_PLUGIN_OPTIONS 16

/* Host services of a plugin, by name or path: log to standard error, a cache folder, its --plugin-option. */
const tandem_host *cli_host(const char *plugin);
/* Keeps PLUGIN.NAME=VALUE for the plugin of that name; false, said on standard error: not of that form, or
 * too many. The text is not copied. */
bool cli_add_plugin_option(const char *text);
/* The kept options of one plugin, by name or path. Returns how many. */
uint32_t cli_plugin_options(const char *plugin, const char *options[CLI_MAX_PLUGIN_OPTIONS]);
/* Says on standard error which kept options went to no plugin. */
void cli_report_unused_options(void);

/* As tandem_plugin_open and _close, with the host services of this program. What was printed is flushed
 * before a plugin's code runs for the last time: if it ends the process, no result is lost. */
tandem_status cli_open_plugin(const char *name, tandem_plugin **plugin, tandem_error *error);
void cli_close_plugin(tandem_plugin *plugin);

/* Opens what --plugin and --device name; without --plugin what plugin_choose finds, which it says. */
int cli_open_device(const common_options *common, const char *command, cli_device *device);
void cli_close_device(cli_device *device);

/* "gpu", "integrated", "software", "simulated" */
const char *device_kind_name(uint32_t kind);
/* "12345678-1234-..."; text [37]. */
void format_uuid(const uint8_t uuid[16], char text[37]);
/* Whether a text is that UUID: hexadecimal digits of either case, dashes ignored. */
bool is_uuid(const char *text, const uint8_t uuid[16]);

/* ---- models ---- */

typedef struct model_options {
    const char *model;
    const char *quant;
    model_overrides overrides;
} model_options;

#define MODEL_MAX_OPTIONS 16

/* Fills `table` [MODEL_MAX_OPTIONS]: -m, --quant, --layers and the other dimensions of presets. */
void options_model(model_options *m, option *table);

int cli_open_model(const model_options *m, uint64_t seed, const char *command, model_source **source);

/* The tokenizer of the model's file; a sentence for models without one. */
int cli_open_tokenizer(const model_source *source, const char *command, tokenizer **tok);

/* "1,2,3", or "@FILE" with numbers separated by commas or white space. */
int cli_read_tokens(const char *text, const model_config *config, const char *command, token_list *tokens);

/* Those ids, or, where `ids` is NULL, the tokens of a text with the begin token. */
int cli_read_prompt(const char *ids, const char *text, const model_source *source, const char *command,
                    token_list *tokens);

/* The whole of a file, or of standard input for "-"; terminated, malloc'd. */
int cli_read_file(const char *path, const char *command, char **text, size_t *n);

/* All that such a command reads: the model's parts, the plugin, --tokens @FILE (or NULL), --routing
 * trace:FILE. */
void cli_add_inputs(const common_options *common, const model_source *source, const cli_device *device,
                    const char *tokens, input_files *inputs);

/* ---- sessions ---- */

typedef struct session_request {
    const char *command;
    uint32_t n_ctx;   /* if --ctx is not given */
    const char *kv;   /* if --kv is not given */
    uint32_t n_score; /* as in session_desc */
    uint32_t batch;   /* if --batch is not given; 0: 256 */
} session_request;

uint32_t kv_type_by_name(const char *name);
uint32_t precision_by_name(const char *name);
const char *kv_type_name(uint32_t type);
const char *precision_name(uint32_t precision);

void cli_describe_session(const common_options *common, const session_request *request, session_desc *desc);
/* Plans, loads (with progress) and compiles. */
int cli_open_session(const common_options *common, const session_request *request, const cli_device *device,
                     const model_source *source, session **s);
/* session_destroy, with what was printed flushed before. Takes NULL. */
void cli_close_session(session *s);

#endif
