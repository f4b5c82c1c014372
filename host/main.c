/* host/main.c: the program `tandem`: finds the command and leaves the rest to it. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "mapped_file.h"
#include "options.h"
#include "supervise.h"
#include "wrap.h"

#ifndef TANDEM_VERSION
#define TANDEM_VERSION "unknown"
#endif
#ifndef TANDEM_GIT
#define TANDEM_GIT "unknown"
#endif

typedef struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
    bool uses_plugins; /* in its own process; devices and sweep do so in children of theirs */
} command;

static const command commands[] = {
    {"devices", cmd_devices, "devices of every plugin, and what each can do", false},
    {"inspect", cmd_inspect, "shape, tensors and memory of a model; the steps of a plugin's program", true},
    {"generate", cmd_generate, "text from a prompt", true},
    {"eval", cmd_eval, "logits of every position of a token list", true},
    {"tokenize", cmd_tokenize, "token ids of standard input, and back", false},
    {"perplexity", cmd_perplexity,
     "perplexity of a text; divergence from another model, plugin or cache type", true},
    {"synth", cmd_synth, "a GGUF file with synthetic weights", false},
    {"quantize", cmd_quantize, "a GGUF file with its weights in another format", false},
    {"trace", cmd_trace, "which experts the tokens of a text are sent to", true},
    {"sweep", cmd_sweep, "throughput by context length, plugin, cache type and precision", false},
    {"compare", cmd_compare, "is one plugin faster than another, by how much, and why", true},
    {"peaks", cmd_peaks, "bandwidths, product rates and launch costs of a device, for rooflines", true},
};

static bool is_parent; /* of the process that ran the command */

#define N_COMMAND (sizeof commands / sizeof commands[0])

static void print_usage(FILE *file) {
    fprintf(file, "usage: tandem COMMAND [options]\n\n");
    wrap_print(file, "Runs Gemma models on pluggable GPU backends and measures them.", 0, 0);
    fprintf(file, "\n");
    for (size_t i = 0; i < N_COMMAND; i++) {
        fprintf(file, "  %-12s ", commands[i].name);
        wrap_print(file, commands[i].summary, 15, 15);
    }
    fprintf(file, "\n");
    wrap_print(
        file,
        "Before or behind a command: --plugin-option PLUGIN.NAME=VALUE, a setting of one plugin, such as "
        "cuda.library=PATH, the CUDA driver to open, and --plugin-timeout S, after how many seconds a call "
        "of a "
        "plugin is given up (default 60 where it says what devices there are, else 3660; 0: never).\n\n"
        "`tandem COMMAND --help` explains a command. Exit codes: 0 good, 1 a check failed, 2 usage, "
        "3 environment (file, device, driver, plugin), 4 out of memory.",
        0, 0);
}

/* In a child where plugins come in; the parent has nothing left to say. */
static int start(const command *c, int argc, char **argv) {
    const int code = c->uses_plugins ? supervise_run(c->name) : -1;
    if (code >= 0) {
        is_parent = true;
        return code;
    }
    return c->run(argc, argv);
}

static int run_command(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stderr);
        return TANDEM_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_usage(stdout);
        return TANDEM_EXIT_GOOD;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("tandem %s (%s)\n", TANDEM_VERSION, TANDEM_GIT);
        return TANDEM_EXIT_GOOD;
    }
    for (size_t i = 0; i < N_COMMAND; i++)
        if (!strcmp(argv[1], commands[i].name))
            return start(&commands[i], argc - 1, argv + 1);
    fprintf(stderr, "tandem: there is no command '%s' (see tandem --help).\n", argv[1]);
    return TANDEM_EXIT_USAGE;
}

/* Takes every --plugin-option and --plugin-timeout out of argv. */
static int take_plugin_options(int *argc, char **argv) {
    int n = 0;
    for (int i = 0; i < *argc; i++) {
        const char *value = NULL;
        if (!strncmp(argv[i], "--plugin-option=", 16))
            value = argv[i] + 16;
        else if (!strcmp(argv[i], "--plugin-option"))
            value = i + 1 < *argc ? argv[++i] : "";
        if (!value && !strncmp(argv[i], "--plugin-timeout", 16) && (!argv[i][16] || argv[i][16] == '=')) {
            const char *seconds = argv[i][16] ? argv[i] + 17 : i + 1 < *argc ? argv[++i] : "";
            if (!parse_u32(seconds, &supervise_timeout_s)) {
                fprintf(stderr, "tandem: --plugin-timeout takes seconds, not '%s'.\n", seconds);
                return TANDEM_EXIT_USAGE;
            }
            supervise_timeout_given = true;
        } else if (!value)
            argv[n++] = argv[i];
        else if (!cli_add_plugin_option(value))
            return TANDEM_EXIT_USAGE;
    }
    argv[n] = NULL;
    *argc = n;
    return TANDEM_EXIT_GOOD;
}

/* The file's fault, and no longer that of the plugin that reads it. */
static void before_fault_ends(void) {
    output_files_remove_temporaries();
    plugin_watch_end();
}

int main(int argc, char **argv) {
    int code = take_plugin_options(&argc, argv);
    output_files_catch_signals();
    mapped_files_catch_faults(argc > 1 ? argv[1] : "", TANDEM_EXIT_ENVIRONMENT, before_fault_ends);
    if (code == TANDEM_EXIT_GOOD) {
        code = run_command(argc, argv);
        if (!is_parent)
            cli_report_unused_options();
    }
    cli_flush();
    if (cli_output_error()) {
        fprintf(stderr, "tandem: standard output cannot be written: %s.\n", strerror(cli_output_error()));
        return code ? code : TANDEM_EXIT_ENVIRONMENT;
    }
    return code;
}
