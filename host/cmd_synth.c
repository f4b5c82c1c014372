/* host/cmd_synth.c: tandem synth. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "plugin_error.h"
#include "progress.h"
#include "synth.h"

static int show_writing(void *user, uint64_t done, uint64_t total) {
    progress *p = user;
    p->total = (double)total;
    progress_show(p, (double)done, NULL);
    return 0;
}

/* "Presets: a, b. Mixes: c, d." for the help. */
static const char *list_names(char *text, size_t size) {
    size_t n = (size_t)snprintf(text, size, "Presets:");
    for (uint32_t i = 0; model_preset_at(i) && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s %s", i ? "," : "", model_preset_at(i));
    if (n < size)
        n += (size_t)snprintf(text + n, size - n, ".\nMixes for --quant:");
    for (uint32_t i = 0; model_mix_at(i) && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s %s", i ? "," : "", model_mix_at(i));
    if (n < size)
        snprintf(text + n, size - n, ".\n" CLI_OUTPUT_HELP);
    return text;
}

static int write_model(const model_options *m, uint64_t seed, const char *path) {
    model_config config;
    model_mix mix;
    synth *weights = NULL;
    tandem_message message;
    int status = model_config_preset(&config, m->model, &message);
    if (!status)
        status = model_config_override(&config, &m->overrides, &message);
    if (!status)
        status = model_mix_by_name(&mix, m->quant ? m->quant : "Q4_0", &message);
    if (status)
        return cli_fail(status == TANDEM_E_OUT_OF_MEMORY ? TANDEM_EXIT_NO_MEMORY : TANDEM_EXIT_USAGE, "synth",
                        "%s", message.text);
    status = synth_create(&weights, &config, &mix, seed, &message);
    if (status)
        return cli_refuse(status, "synth", &message);
    progress p;
    progress_start(&p, "writing", 1);
    status = synth_write(weights, path, show_writing, &p, &message);
    progress_end(&p);
    synth_destroy(weights);
    if (!status)
        return TANDEM_EXIT_GOOD;
    return cli_fail(status == TANDEM_E_OUT_OF_MEMORY ? TANDEM_EXIT_NO_MEMORY : TANDEM_EXIT_ENVIRONMENT,
                    "synth", "%s", message.text);
}

int cmd_synth(int argc, char **argv) {
    char names[2048];
    common_options common = {.seed = 1};
    model_options model = {0};
    const char *path = NULL, *preset = NULL;
    option shared[COMMON_MAX_OPTIONS], shape[MODEL_MAX_OPTIONS];
    options_common(&common, COMMON_SEED, shared);
    options_model(&model, shape);
    const option own[] = {option_text("output", 'o', &path, "FILE.gguf", "the file to write"), {0}};
    const command_usage usage = {
        "synth", "PRESET -o FILE.gguf [options]",
        "Writes seeded synthetic weights in the shape of a preset; same seed, same bytes.",
        list_names(names, sizeof names)};
    uint32_t n_free;
    /* The preset is an argument of its own here: leave out -m. */
    int code = options_parse(&usage, (const option *const[]){own, shape + 1, shared}, 3, argc, argv, &preset,
                             1, &n_free);
    if (code != OPTIONS_GO_ON)
        return code;
    if (!n_free || !path)
        return cli_fail(TANDEM_EXIT_USAGE, usage.name,
                        "A preset and -o FILE.gguf are needed (see tandem synth --help)");
    model.model = preset;
    return write_model(&model, common.seed, path);
}
