/* host/cmd_quantize.c: tandem quantize. */
#include <stdio.h>

#include "cli.h"
#include "commands.h"
#include "parallel.h"
#include "progress.h"
#include "quantize.h"

static int show_progress(void *user, uint64_t done, uint64_t total) {
    progress *p = user;
    p->total = (double)total;
    progress_show(p, (double)done, NULL);
    return 0;
}

/* "Types: a, b." for the help. */
static const char *list_types(char *text, size_t size) {
    size_t n = (size_t)snprintf(text, size, "Types:");
    for (uint32_t i = 0; model_mix_at(i) && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s %s", i ? "," : "", model_mix_at(i));
    if (n < size)
        snprintf(text + n, size - n,
                 ".\nA name alone is the mix that llama.cpp makes under it. Names that end in _PURE are one "
                 "type for "
                 "every\nmatrix; the ending may be left out where no mix has the bare name. Rows that are "
                 "not whole "
                 "blocks fall\nback as there.\n" CLI_OUTPUT_HELP);
    return text;
}

static int quantise(const quantize_desc *desc, progress *p) {
    tandem_message message;
    quantize_result r;
    progress_start(p, "quantising", 1);
    int status = quantize_file(desc, &r, &message);
    progress_end(p);
    if (status)
        return cli_fail(status == TANDEM_E_OUT_OF_MEMORY ? TANDEM_EXIT_NO_MEMORY : TANDEM_EXIT_ENVIRONMENT,
                        "quantize", "%s", message.text);
    char before[32], after[32];
    printf("%s: %s, %u tensors changed, %u kept; %s before\n", desc->out,
           format_bytes(r.bytes_out, after, sizeof after), r.n_changed, r.n_kept,
           format_bytes(r.bytes_in, before, sizeof before));
    if (r.n_again)
        fprintf(stderr,
                "tandem quantize: %u of the changed tensors were quantised before; they keep that loss.\n",
                r.n_again);
    return TANDEM_EXIT_GOOD;
}

int cmd_quantize(int argc, char **argv) {
    char types[2048];
    common_options common = {0};
    const char *arguments[3];
    option shared[COMMON_MAX_OPTIONS];
    options_common(&common, 0, shared);
    const option own[] = {
        option_u32("threads", 0, &common.n_threads, 1, 64, "threads (default: all cores)"),
        {0},
    };
    const command_usage usage = {"quantize", "IN.gguf OUT.gguf TYPE [options]",
                                 "Writes a model with its matrices in another format; the rest is copied.",
                                 list_types(types, sizeof types)};
    uint32_t n_free;
    int code =
        options_parse(&usage, (const option *const[]){own, shared}, 2, argc, argv, arguments, 3, &n_free);
    if (code != OPTIONS_GO_ON)
        return code;
    if (n_free != 3)
        return cli_fail(TANDEM_EXIT_USAGE, usage.name,
                        "IN.gguf, OUT.gguf and TYPE are needed (see tandem quantize --help)");
    model_mix mix;
    tandem_message message;
    if (model_mix_by_name(&mix, arguments[2], &message))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "%s", message.text);
    progress p;
    quantize_desc desc = {.in = arguments[0],
                          .out = arguments[1],
                          .mix = &mix,
                          .n_thread = common.n_threads ? common.n_threads : parallel_default(),
                          .progress = show_progress,
                          .user = &p};
    return quantise(&desc, &p);
}
