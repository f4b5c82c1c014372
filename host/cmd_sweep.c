/* host/cmd_sweep.c: tandem sweep. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "plugin_choice.h"
#include "sweep.h"

const char sweep_command[] = "sweep";

static const command_usage usage = {
    "sweep", "-m MODEL [options]",
    "Measures decode and prefill at growing depths, for every combination of the lists given, and checks "
    "each "
    "combination against the reference plugin. Results go to a journal as they come; a rerun goes on where "
    "it stopped.",
    "Lists have commas: --depth 0,1024,4096 --kv f16,q8_0. Every combination of model, plugin, cache type "
    "and precision "
    "runs in a process of its own; a crash or a cell out of memory is a row, and the sweep goes on.\n"
    "decode runs the head for every token, prefill never; decode-no-head is for comparing the two.\n"
    "Exit code 1: a result was wrong or unchecked, a cell failed, or depth 0, run once more at the end, had "
    "changed by "
    "more than 5 % (on a GPU: a software device shares its machine, and its drift is only said)."};

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

static bool parse_depths(sweep_options *o) {
    for (uint32_t i = 0; i < o->depth_texts.n; i++)
        if (!sweep_add_depths(o->depth_texts.text[i], o->depth, &o->n_depth, SWEEP_MAX_DEPTHS))
            return false;
    return true;
}

static bool parse_batches(const sweep_options *o) {
    for (uint32_t i = 0; i < o->batches.n; i++) {
        uint32_t n;
        if (!parse_u32(o->batches.text[i], &n) || n < 1 || n > 4096)
            return false;
    }
    return true;
}

/* device, host, or a share of the experts of each layer. */
static bool parse_experts(const sweep_options *o) {
    for (uint32_t i = 0; i < o->experts.n; i++) {
        const char *text = o->experts.text[i];
        float share;
        if (strcmp(text, "device") && strcmp(text, "host") &&
            (!parse_float(text, &share) || share < 0 || share > 1))
            return false;
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
    if (o->images) {
        char tokens[] = "70,140,280,560,1120";
        if (o->batches.n || o->phase_texts.n)
            return cli_fail(TANDEM_EXIT_USAGE, usage.name, "--images stands for --phase prefill --batch %s",
                            tokens);
        for (char *text = strtok(tokens, ","); text; text = strtok(NULL, ","))
            if ((o->batches.text[o->batches.n] = strdup(text)))
                o->batches.n++;
        o->phase[o->n_phase++] = PHASE_PREFILL;
    }
    set_default(&o->kvs, "f16");
    set_default(&o->precisions, "exact");
    set_default(&o->batches, "256");
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
        return cli_fail(TANDEM_EXIT_USAGE, usage.name,
                        "Depths are numbers up to 1024K, or ranges: 1K-256K*4, 0-32K+8K; at most %u",
                        SWEEP_MAX_DEPTHS);
    if (!parse_batches(o))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "Prefill chunks are 1 to 4096 tokens");
    if (!parse_experts(o))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name,
                        "Experts lie in device or host memory, or a share of them in host memory: 0 to 1");
    if (!o->n_depth)
        o->depth[o->n_depth++] = 0;
    for (uint32_t i = 0; i < o->devices.n; i++)
        if (o->plugins.n > 1 && strlen(o->devices.text[i]) < 36)
            return cli_fail(TANDEM_EXIT_USAGE, usage.name,
                            "--device %s is a number of one plugin, and there are %u: name a UUID",
                            o->devices.text[i], o->plugins.n);
    if (o->common.json)
        o->format = "json";
    if (o->column) { /* a child: one of each */
        o->common.batch = (uint32_t)atoi(o->batches.text[0]);
        o->common.device = o->devices.n ? o->devices.text[0] : NULL;
        o->common.expert_memory = o->experts.n ? o->experts.text[0] : NULL;
    }
    return OPTIONS_GO_ON;
}

static int parse(sweep_options *o, int argc, char **argv) {
    *o = (sweep_options){.common = {.seed = 1},
                         .fill = "real",
                         .n_sample = 16,
                         .n_chunk = 3,
                         .n_round = 4,
                         .target = 2,
                         .format = "table",
                         .timeout_s = 3600,
                         .peaks_seconds = 5,
                         .stamp_seconds = 5,
                         .journal = "sweep.jsonl"};
    option shared[COMMON_MAX_OPTIONS], model[MODEL_MAX_OPTIONS];
    options_common(&o->common, COMMON_SEED | COMMON_JSON, shared);
    options_model(&o->shape, model);
    const option own[] = {
        option_list("model", 'm', &o->models, "LIST", "GGUF files or presets"),
        option_list("plugin", 0, &o->plugins, "LIST", "plugins (default: that of the best device)"),
        option_list("depth", 'd', &o->depth_texts, "LIST",
                    "positions before the measured ones: 0,4K,32K or 1K-256K*4 (default 0)"),
        option_list("kv", 0, &o->kvs, "LIST", "cache types: f32, f16, q8_0 (default f16)"),
        option_list("precision", 0, &o->precisions, "LIST", "exact, f16, q8 (default exact)"),
        option_list("phase", 0, &o->phase_texts, "LIST",
                    "decode, prefill, decode-no-head (default the first two)"),
        option_list("device", 0, &o->devices, "LIST", "numbers or UUIDs (default: the plugin's best)"),
        option_u32("threads", 0, &o->common.n_threads, 1, 1024, "threads of a CPU plugin"),
        option_bytes("memory-cap", &o->common.memory_cap, "most memory to allocate"),
        option_list("batch", 0, &o->batches, "LIST", "tokens of a prefill chunk (default 256)"),
        option_text("routing", 0, &o->common.routing, "HOW",
                    "experts of a token: model (default), uniform, zipf[:S], trace:FILE"),
        option_list("expert-memory", 0, &o->experts, "LIST",
                    "device, host, or the share of experts in host memory: 0.25"),
        option_u32("samples", 0, &o->n_sample, 1, 1024, "tokens decoded in a round (default 16)"),
        option_u32("chunks", 0, &o->n_chunk, 1, 1024, "prefill chunks of a round (default 3)"),
        option_u32("rounds", 0, &o->n_round, 1, 64, "most rounds of a cell (default 4)"),
        option_float("target", &o->target, 0, 100, "no further round below +- X % of the median (default 2)"),
        option_float("price-kwh", &o->price_kwh, 0, 1e6, "price of a kWh: what a million tokens cost"),
        option_float(
            "peaks-seconds", &o->peaks_seconds, 0, 3600,
            "what measuring the device's peaks may take, once a journal (default 5; 0: not measured)"),
        option_float(
            "stamp-seconds", &o->stamp_seconds, 0, 3600,
            "what the check at a cell's depth may take, if 5 % of the cell are not more (default 5)"),
        option_choice("format", &o->format, "table|markdown|csv|json", "of the results (default table)"),
        option_choice("fill", &o->fill, "real|synthetic", "how the cache gets to a depth (default real)"),
        option_u32("timeout", 0, &o->timeout_s, 1, 1u << 24, "seconds that one cell may take (default 3600)"),
        option_text("journal", 'j', &o->journal, "FILE", "the journal (default sweep.jsonl)"),
        option_flag("images", 0, &o->images, "what an image costs: prefill of 70 to 1120 tokens at once"),
        option_flag("again", 0, &o->again, "finished cells too, and those out of memory"),
        {0},
    };
    /* Not in the help: this process is a child of a sweep. */
    const option hidden[] = {option_choice("column", &o->column, "cells|reference|peaks", NULL), {0}};
    bool is_child = argc > 1 && !strcmp(argv[1], "--column");
    uint32_t n_free;
    const option *const tables[] = {own, model + 1, shared, hidden};
    int code = options_parse(&usage, tables, is_child ? 4 : 3, argc, argv, NULL, 0, &n_free);
    return code == OPTIONS_GO_ON ? check_lists(o) : code;
}

static void free_options(sweep_options *o) {
    options_free_texts(&o->models);
    options_free_texts(&o->plugins);
    options_free_texts(&o->devices);
    options_free_texts(&o->batches);
    options_free_texts(&o->experts);
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

static uint32_t n_column(const sweep_options *o) {
    const uint32_t n_device = o->devices.n ? o->devices.n : 1, n_experts = o->experts.n ? o->experts.n : 1;
    return o->models.n * o->plugins.n * n_device * o->kvs.n * o->precisions.n * o->batches.n * n_experts;
}

static double all_units(const sweep_options *o) {
    double column = 0;
    for (uint32_t p = 0; p < o->n_phase; p++)
        column += o->n_depth * sweep_units(o, o->phase[p]);
    column += sweep_drift_units(o);
    if (!strcmp(o->fill, "real"))
        column += o->depth[o->n_depth - 1];
    return column * n_column(o);
}

/* Takes the list's next index off a number that counts combinations; NULL for an empty list. */
static const char *take(uint32_t *index, const option_texts *list) {
    if (!list->n)
        return NULL;
    const char *text = list->text[*index % list->n];
    *index /= list->n;
    return text;
}

/* Every combination in turn, the last option fastest. Returns the first exit code that is no success, or
 * OPTIONS_GO_ON. */
static int run_columns(sweep_run *run) {
    const sweep_options *o = run->options;
    int first = OPTIONS_GO_ON;
    for (uint32_t i = 0; i < n_column(o) && !sweep_interrupted; i++) {
        uint32_t index = i;
        sweep_column column = {.experts = take(&index, &o->experts)};
        column.batch = take(&index, &o->batches);
        column.precision = take(&index, &o->precisions);
        column.kv = take(&index, &o->kvs);
        column.device = take(&index, &o->devices);
        column.plugin = take(&index, &o->plugins);
        column.model = take(&index, &o->models);
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
        code = sweep_print(&run);
        fprintf(stderr, "tandem sweep: the journal is %s.\n", o->journal);
    }
    options_free_texts(&run.keys);
    options_free_texts(&run.peaks_tried);
    journal_close(&j);
    if (sweep_interrupted) {
        fprintf(stderr, "tandem sweep: interrupted; the same command goes on where it stopped.\n");
        fflush(stdout);
        raise(SIGINT);
    }
    return failed != OPTIONS_GO_ON ? failed : code;
}

/* The best device's, where none is named. */
static int choose_plugin(sweep_options *o) {
    if (o->plugins.n)
        return OPTIONS_GO_ON;
    const char *name = plugin_choose(usage.name, o->devices.n ? o->devices.text[0] : NULL);
    if (name)
        set_default(&o->plugins, name);
    return o->plugins.n ? OPTIONS_GO_ON : TANDEM_EXIT_ENVIRONMENT;
}

int cmd_sweep(int argc, char **argv) {
    sweep_options o;
    int code = parse(&o, argc, argv);
    if (code == OPTIONS_GO_ON)
        code = choose_plugin(&o);
    if (code == OPTIONS_GO_ON)
        code = o.column ? sweep_child(&o) : run_sweep(&o);
    free_options(&o);
    return code;
}
