/* host/cmd_sweep.c: tandem sweep. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "sweep.h"

const char sweep_command[] = "sweep";

static const command_usage usage = {
    "sweep", "-m MODEL [options]",
    "Measures decode and prefill at growing depths, for every combination of the lists given, and checks "
    "each\n"
    "combination against the reference plugin. Results go to a journal as they come; a rerun goes on where "
    "it stopped.",
    "Lists have commas: --depth 0,1024,4096 --kv f16,q8_0. Every combination of model, plugin, cache type "
    "and precision\n"
    "runs in a process of its own; a crash or a cell out of memory is a row, and the sweep goes on.\n"
    "decode runs the head for every token, prefill never; decode-no-head is for comparing the two.\n"
    "Exit code 1: a result was wrong or unchecked, or a cell failed."};

static const char *const phase_names[SWEEP_MAX_PHASES] = {
    [PHASE_DECODE] = "decode", [PHASE_PREFILL] = "prefill", [PHASE_DECODE_NO_HEAD] = "decode-no-head"};

const char *phase_name(uint32_t phase) {
    return phase_names[phase];
}

bool phase_by_name(const char *name, uint32_t *phase) {
    for (uint32_t i = 0; i < SWEEP_MAX_PHASES; i++)
        if (!strcmp(name, phase_names[i])) {
            *phase = i;
            return true;
        }
    return false;
}

/* ---- options ---- */

static void set_default(option_texts *list, const char *text) {
    if (!list->n && (list->text[0] = strdup(text)))
        list->n = 1;
}

static bool all_named(const option_texts *list, const char *const *names, uint32_t n_name) {
    for (uint32_t i = 0; i < list->n; i++) {
        bool found = false;
        for (uint32_t k = 0; k < n_name && !found; k++)
            found = !strcmp(list->text[i], names[k]);
        if (!found)
            return false;
    }
    return true;
}

/* Numbers with K for 1024, sorted, each once. */
static bool parse_depths(sweep_options *o) {
    for (uint32_t i = 0; i < o->depth_texts.n; i++) {
        uint64_t depth;
        if (!parse_bytes(o->depth_texts.text[i], &depth) || depth > 1u << 20)
            return false;
        uint32_t at = 0;
        while (at < o->n_depth && o->depth[at] < depth)
            at++;
        if (at < o->n_depth && o->depth[at] == depth)
            continue;
        memmove(&o->depth[at + 1], &o->depth[at], (o->n_depth - at) * sizeof *o->depth);
        o->depth[at] = (uint32_t)depth;
        o->n_depth++;
    }
    return true;
}

static bool parse_phases(sweep_options *o) {
    for (uint32_t i = 0; i < o->phase_texts.n; i++) {
        uint32_t phase;
        if (!phase_by_name(o->phase_texts.text[i], &phase))
            return false;
        bool known = false;
        for (uint32_t k = 0; k < o->n_phase; k++)
            known |= o->phase[k] == phase;
        if (!known)
            o->phase[o->n_phase++] = phase;
    }
    return true;
}

static int check_lists(sweep_options *o) {
    static const char *const kv[] = {"f32", "f16", "q8_0"}, *const precision[] = {"exact", "f16", "q8"};
    set_default(&o->plugins, "vulkan");
    set_default(&o->kvs, "f16");
    set_default(&o->precisions, "exact");
    if (!parse_phases(o))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "Phases are decode, prefill and decode-no-head");
    if (!o->n_phase) {
        o->phase[o->n_phase++] = PHASE_DECODE;
        o->phase[o->n_phase++] = PHASE_PREFILL;
    }
    if (!o->models.n)
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "-m MODEL is needed: a GGUF file or a preset");
    if (!all_named(&o->kvs, kv, 3))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "Cache types are f32, f16 and q8_0");
    if (!all_named(&o->precisions, precision, 3))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "Precisions are exact, f16 and q8");
    if (!parse_depths(o))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "Depths are numbers up to 1024K");
    if (!o->n_depth)
        o->depth[o->n_depth++] = 0;
    if (o->plugins.n > 1 && o->common.device)
        return cli_fail(TANDEM_EXIT_USAGE, usage.name,
                        "--device names a device of one plugin, and there are %u", o->plugins.n);
    return OPTIONS_GO_ON;
}

static int parse(sweep_options *o, int argc, char **argv) {
    *o = (sweep_options){.common = {.seed = 1, .batch = 256},
                         .fill = "real",
                         .n_sample = 16,
                         .n_chunk = 3,
                         .timeout_s = 3600,
                         .journal = "sweep.jsonl"};
    option shared[COMMON_MAX_OPTIONS], model[MODEL_MAX_OPTIONS];
    options_common(&o->common, COMMON_SEED | COMMON_JSON, shared);
    options_model(&o->shape, model);
    const option own[] = {
        option_list("model", 'm', &o->models, "LIST", "GGUF files or presets"),
        option_list("plugin", 0, &o->plugins, "LIST", "plugins (default vulkan)"),
        option_list("depth", 'd', &o->depth_texts, "LIST",
                    "positions before the measured ones, K for 1024 (default 0)"),
        option_list("kv", 0, &o->kvs, "LIST", "cache types: f32, f16, q8_0 (default f16)"),
        option_list("precision", 0, &o->precisions, "LIST", "exact, f16, q8 (default exact)"),
        option_list("phase", 0, &o->phase_texts, "LIST",
                    "decode, prefill, decode-no-head (default the first two)"),
        option_text("device", 0, &o->common.device, "N|UUID", "device of the plugin (default: its best)"),
        option_u32("threads", 0, &o->common.n_threads, 1, 1024, "threads of a CPU plugin"),
        option_bytes("memory-cap", &o->common.memory_cap, "most memory to allocate"),
        option_u32("batch", 0, &o->common.batch, 1, 4096, "tokens of a prefill chunk (default 256)"),
        option_text("routing", 0, &o->common.routing, "HOW",
                    "experts of a token: model (default), uniform, zipf[:S], trace:FILE"),
        option_choice("expert-memory", &o->common.expert_memory, "device|host",
                      "where routed experts lie (default device)"),
        option_u32("samples", 0, &o->n_sample, 1, 4096, "decoded tokens measured (default 16)"),
        option_u32("chunks", 0, &o->n_chunk, 1, 4096, "prefill chunks measured (default 3)"),
        option_choice("fill", &o->fill, "real|synthetic", "how the cache gets to a depth (default real)"),
        option_u32("timeout", 0, &o->timeout_s, 1, 1u << 24, "seconds that one cell may take (default 3600)"),
        option_text("journal", 'j', &o->journal, "FILE", "the journal (default sweep.jsonl)"),
        option_flag("again", 0, &o->again, "measure finished cells again"),
        {0},
    };
    /* Not in the help: this process is a child of a sweep. */
    const option hidden[] = {option_choice("column", &o->column, "cells|reference", NULL), {0}};
    bool is_child = argc > 1 && !strcmp(argv[1], "--column");
    uint32_t n_free;
    const option *const tables[] = {own, model + 1, shared, hidden};
    int code = options_parse(&usage, tables, is_child ? 4 : 3, argc, argv, NULL, 0, &n_free);
    return code == OPTIONS_GO_ON ? check_lists(o) : code;
}

static void free_options(sweep_options *o) {
    options_free_texts(&o->models);
    options_free_texts(&o->plugins);
    options_free_texts(&o->kvs);
    options_free_texts(&o->precisions);
    options_free_texts(&o->depth_texts);
    options_free_texts(&o->phase_texts);
}

/* ---- the sweep ---- */

static void interrupt(int number) {
    (void)number;
    sweep_interrupted = 1;
}

static void catch_interrupts(void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a dead child is noticed by its pipe */
}

static double all_units(const sweep_options *o) {
    double column = 0;
    for (uint32_t p = 0; p < o->n_phase; p++)
        column += o->n_depth * sweep_units(o, o->phase[p]);
    if (!strcmp(o->fill, "real"))
        column += o->depth[o->n_depth - 1];
    return column * o->models.n * o->plugins.n * o->kvs.n * o->precisions.n;
}

/* Every combination in turn. Returns the first exit code that is no success, or OPTIONS_GO_ON. */
static int run_columns(sweep_run *run) {
    const sweep_options *o = run->options;
    int first = OPTIONS_GO_ON;
    for (uint32_t m = 0; m < o->models.n; m++)
        for (uint32_t p = 0; p < o->plugins.n; p++)
            for (uint32_t k = 0; k < o->kvs.n; k++)
                for (uint32_t r = 0; r < o->precisions.n; r++) {
                    sweep_column column = {.model = o->models.text[m],
                                           .plugin = o->plugins.text[p],
                                           .kv = o->kvs.text[k],
                                           .precision = o->precisions.text[r]};
                    if (sweep_interrupted)
                        return first;
                    int code = sweep_run_column(run, &column);
                    first = first == OPTIONS_GO_ON ? code : first;
                }
    return first;
}

static int run_sweep(const sweep_options *o) {
    journal j;
    tandem_message message;
    int status = journal_open(&j, o->journal, &message);
    if (status)
        return cli_refuse(status, usage.name, &message);
    if (j.n_broken)
        fprintf(stderr, "tandem sweep: %s has %u lines that are no rows; they are left alone.\n", o->journal,
                j.n_broken);
    sweep_run run = {.options = o, .journal = &j};
    progress_start(&run.progress, "sweep", all_units(o));
    catch_interrupts(interrupt);
    int failed = run_columns(&run);
    catch_interrupts(SIG_DFL);
    progress_end(&run.progress);
    int code = failed;
    if (run.keys.n && j.n_row) {
        code = o->common.json ? sweep_print_json(&run) : sweep_print_table(&run, stdout);
        fprintf(stderr, "tandem sweep: the journal is %s.\n", o->journal);
    }
    options_free_texts(&run.keys);
    journal_close(&j);
    if (sweep_interrupted) {
        fprintf(stderr, "tandem sweep: interrupted; the same command goes on where it stopped.\n");
        fflush(stdout);
        raise(SIGINT);
    }
    return failed != OPTIONS_GO_ON ? failed : code;
}

int cmd_sweep(int argc, char **argv) {
    sweep_options o;
    int code = parse(&o, argc, argv);
    if (code == OPTIONS_GO_ON)
        code = o.column ? sweep_child(&o) : run_sweep(&o);
    free_options(&o);
    return code;
}
