/* host/cmd_compare.c: tandem compare. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "compare.h"

const char compare_command[] = "compare";

static const command_usage usage = {
    "compare", "-m MODEL --plugin-a A --plugin-b B [options]",
    "Is plugin B faster than plugin A on this device, by how much, and why? Both run\n"
    "the same tokens in one process, in turns A B B A and B A A B.",
    "Verdicts are about B: faster, slower, no difference (with the smallest effect\n"
    "that would have been seen), or not comparable, with the reason: other outputs,\n"
    "another precision than asked for, work done on the processor, a clock that\n"
    "cannot be right, outputs that change from run to run. Without --device-a and\n"
    "--device-b both run on a device of one UUID. Where both models do not fit, only\n"
    "one is resident at a time. On a simulated device outputs are compared, no times.\n"
    "Exit code 1: slower or not comparable."};

/* ---- options ---- */

static bool parse_phases(compare_options *o) {
    for (uint32_t i = 0; i < o->phase_texts.n; i++) {
        uint32_t phase;
        if (!phase_by_name(o->phase_texts.text[i], &phase) || phase == PHASE_DECODE_NO_HEAD)
            return false;
        if (!o->n_phase || o->phase[0] != phase)
            o->phase[o->n_phase++ % 2] = phase;
    }
    return o->n_phase <= 2;
}

static int check(compare_options *o) {
    if (!o->plugin[SIDE_A] || !o->plugin[SIDE_B])
        return cli_fail(TANDEM_EXIT_USAGE, usage.name,
                        "--plugin-a and --plugin-b are needed: names or files of plugins");
    if (!parse_phases(o))
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "Phases are decode and prefill, each once");
    if (!o->n_phase) {
        o->phase[o->n_phase++] = PHASE_DECODE;
        o->phase[o->n_phase++] = PHASE_PREFILL;
    }
    for (uint32_t i = 0; i < o->depth_texts.n; i++)
        if (!sweep_add_depths(o->depth_texts.text[i], o->depth, &o->n_depth, SWEEP_MAX_DEPTHS))
            return cli_fail(TANDEM_EXIT_USAGE, usage.name,
                            "Depths are numbers up to 1024K, or ranges: 1K-256K*4, 0-32K+8K; at most %u",
                            SWEEP_MAX_DEPTHS);
    if (!o->n_depth)
        o->depth[o->n_depth++] = 0;
    if (o->n_block % 2)
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "Blocks run in both orders: --blocks must be even");
    if (o->common.batch > 4096)
        return cli_fail(TANDEM_EXIT_USAGE, usage.name, "Prefill chunks are 1 to 4096 tokens");
    return OPTIONS_GO_ON;
}

static int parse(compare_options *o, int argc, char **argv) {
    *o = (compare_options){
        .common = {.seed = 1}, .fill = "real", .n_block = 24, .n_run = 6, .n_chunk = 3, .max_seconds = 300};
    option shared[COMMON_MAX_OPTIONS], model[MODEL_MAX_OPTIONS];
    options_common(&o->common, COMMON_SEED | COMMON_JSON, shared);
    options_model(&o->shape, model);
    const option own[] = {
        option_text("plugin-a", 0, &o->plugin[SIDE_A], "PLUGIN", "what B is measured against: name or file"),
        option_text("plugin-b", 0, &o->plugin[SIDE_B], "PLUGIN", "what the verdict is about"),
        option_text("device-a", 0, &o->device[SIDE_A], "N|UUID", "default: the best that both have"),
        option_text("device-b", 0, &o->device[SIDE_B], "N|UUID", "likewise"),
        option_list("depth", 'd', &o->depth_texts, "LIST", "positions before the measured: 0,4K,32K"),
        option_list("phase", 0, &o->phase_texts, "LIST", "decode, prefill (default both)"),
        option_choice("kv", &o->common.kv, "f32|f16|q8_0", "cache type (default f16)"),
        option_choice("precision", &o->common.precision, "exact|f16|q8", "(default exact)"),
        option_u32("batch", 0, &o->common.batch, 1, 4096, "tokens of a prefill chunk (default 256)"),
        option_text("routing", 0, &o->common.routing, "HOW",
                    "experts: uniform (default), zipf[:S],\n"
                    "                              trace:FILE"),
        option_choice("expert-memory", &o->common.expert_memory, "device|host", "where experts lie"),
        option_choice("fill", &o->fill, "real|synthetic", "how caches get to a depth"),
        option_u32("threads", 0, &o->common.n_threads, 1, 1024, "threads of a CPU plugin"),
        option_bytes("memory-cap", &o->common.memory_cap, "most memory of each side"),
        option_flag("swap", 0, &o->swap, "one side resident at a time even if both fit"),
        option_u32("blocks", 0, &o->n_block, 2, COMPARE_MOST_BLOCKS, "of each kind, even (default 24)"),
        option_u32("runs", 0, &o->n_run, 2, COMPARE_MOST_RUNS - 1, "tokens of a turn (default 6)"),
        option_u32("chunks", 0, &o->n_chunk, 1, COMPARE_MOST_RUNS - 1,
                   "prefill chunks of a turn (default 3)"),
        option_u32("max-seconds", 0, &o->max_seconds, 1, 1u << 24, "for the blocks of a cell (default 300)"),
        option_text("peaks", 0, &o->peaks, "FILE", "journal of `tandem peaks`: shares of the roofline"),
        option_text("journal", 'j', &o->journal, "FILE", "add rows to this journal of sweeps"),
        {0},
    };
    uint32_t n_free;
    const option *const tables[] = {own, model, shared};
    int code = options_parse(&usage, tables, 3, argc, argv, NULL, 0, &n_free);
    return code == OPTIONS_GO_ON ? check(o) : code;
}

/* ---- cells ---- */

static void free_cell(compare_cell *cell) {
    for (uint32_t i = 0; i < N_SIDE; i++) {
        free(cell->side[i].logits);
        cJSON_Delete(cell->side[i].profile);
        cJSON_Delete(cell->side[i].path);
    }
    free(cell);
}

/* Prints the row, or adds it to the journal, or both. */
static int report_cell(const compare *c, const compare_cell *cell, journal *j) {
    tandem_message message;
    if (!c->options->common.json)
        compare_print_cell(c, cell);
    if (!c->options->common.json && !c->options->journal)
        return TANDEM_EXIT_GOOD;
    cJSON *row = compare_json(c, cell);
    if (!row)
        return cli_fail(TANDEM_EXIT_NO_MEMORY, usage.name, "Out of memory for a row");
    journal_stamp(row);
    if (c->options->common.json) {
        char *text = cJSON_PrintUnformatted(row);
        printf("%s\n", text ? text : "");
        fflush(stdout);
        cJSON_free(text);
    }
    if (!c->options->journal) {
        cJSON_Delete(row);
        return TANDEM_EXIT_GOOD;
    }
    int status = journal_append(j, row, &message);
    return status ? cli_refuse(status, usage.name, &message) : TANDEM_EXIT_GOOD;
}

/* What already forbids a comparison is not measured. */
static int run_cell(compare *c, uint32_t phase, uint32_t depth, journal *j) {
    tandem_message message;
    compare_cell *cell = calloc(1, sizeof *cell);
    if (!cell)
        return cli_fail(TANDEM_EXIT_NO_MEMORY, usage.name, "Out of memory for a cell");
    cell->phase = phase;
    cell->depth = depth;
    int status = c->doubts.n ? TANDEM_OK : compare_measure(c, cell, &message);
    if (!status && cell->n_block >= STATS_LEAST)
        status = compare_profile(c, cell, &message);
    int code = status ? cli_refuse(status, usage.name, &message) : TANDEM_EXIT_GOOD;
    if (!status) {
        compare_judge(c, cell);
        code = report_cell(c, cell, j);
        if (code == TANDEM_EXIT_GOOD)
            code = compare_exit_code(cell);
    }
    free_cell(cell);
    return code;
}

static int run_cells(compare *c, journal *j) {
    const compare_options *o = c->options;
    int worst = TANDEM_EXIT_GOOD;
    for (uint32_t d = 0; d < o->n_depth; d++)
        for (uint32_t p = 0; p < o->n_phase; p++) {
            int code = run_cell(c, o->phase[p], o->depth[d], j);
            if (code > TANDEM_EXIT_BAD_ANSWER)
                return code;
            worst = code > worst ? code : worst;
        }
    return worst;
}

static int run_compare(compare *c) {
    tandem_message message;
    journal j = {.fd = -1};
    int code = compare_read_peaks(c);
    if (code != OPTIONS_GO_ON)
        return code;
    int status = c->options->journal ? journal_open(&j, c->options->journal, &message) : TANDEM_OK;
    if (!status)
        status = compare_check_reference(c, &j, &message);
    if (!status)
        status = compare_check_sides(c, &message);
    if (status) {
        code = cli_refuse(status, usage.name, &message);
    } else {
        if (!c->options->common.json)
            compare_print_head(c);
        code = run_cells(c, &j);
    }
    journal_close(&j);
    return code;
}

static int open_and_run(const compare_options *o) {
    compare c = {0};
    int code = compare_open(&c, o);
    if (code == OPTIONS_GO_ON)
        code = run_compare(&c);
    compare_close(&c);
    return code;
}

int cmd_compare(int argc, char **argv) {
    compare_options o;
    int code = parse(&o, argc, argv);
    if (code == OPTIONS_GO_ON)
        code = open_and_run(&o);
    options_free_texts(&o.depth_texts);
    options_free_texts(&o.phase_texts);
    return code;
}
