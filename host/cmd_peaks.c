/* host/cmd_peaks.c: tandem peaks. */
#include <stdlib.h>
#include <string.h>

#include "card.h"
#include "cli.h"
#include "commands.h"
#include "identity.h"
#include "journal.h"
#include "peaks.h"
#include "progress.h"
#include "wrap.h"

static const command_usage usage = {
    "peaks", "[options]",
    "Measures what a device does at best through a plugin: read and copy bandwidth, rates of f32, f16 and q8 "
    "products, and what launches and runs cost. Rooflines are drawn from these figures.",
    "Small matrices fit a cache and show its plateau; the largest counts. Every result is checked. A "
    "simulated "
    "device has no figures, and is refused with exit code 3. With --journal the figures become a row that "
    "bench/report.py and `tandem compare --peaks FILE` read; `tandem sweep` measures them itself."};

typedef struct peaks_command {
    common_options common;
    uint64_t max_bytes;
    float seconds;
    const char *journal;
} peaks_command;

/* ---- text ---- */

static void print_range(stats_interval value, double scale, uint32_t n) {
    if (value.low > 0)
        printf("  %.4g..%.4g", value.low * scale, value.high * scale);
    else
        printf("  (%u samples: no interval)", n);
}

static void print_bandwidth(const char *what, const peak_ladder *ladder) {
    printf("\n%s, GB/s\n", what);
    for (uint32_t i = 0; i < ladder->n; i++) {
        char size[32];
        const peak_point *p = &ladder->point[i];
        printf("  %10s  %8.4g", format_bytes(p->size, size, sizeof size), p->rate.median * 1e-9);
        print_range(p->rate, 1e-9, p->n);
        printf("  %s%s\n", p->kernel, i == ladder->best ? "  *" : "");
    }
    if (ladder->reason[0]) {
        printf("  %s: ", ladder->n ? "no larger one" : "not measured");
        wrap_print(stdout, ladder->reason, 17, 4);
    }
}

static void print_product(const char *name, const peak_ladder *ladder) {
    if (!ladder->n) {
        printf("  %-4s not supported: ", name);
        wrap_print(stdout, ladder->reason, 22, 7);
        return;
    }
    const peak_point *p = &ladder->point[ladder->best];
    printf("  %-4s %8.4g", name, p->rate.median * 1e-9);
    print_range(p->rate, 1e-9, p->n);
    printf("  %u x %u  %s\n", (unsigned)p->size, (unsigned)p->size, p->kernel);
}

static void print_cost(const char *what, const peak_cost *cost) {
    printf("  %-40s", what);
    if (cost->ns.median > 0) {
        printf(" %8.4g", cost->ns.median * 1e-3);
        print_range(cost->ns, 1e-3, cost->n);
        printf("\n");
    } else {
        printf(" %8s  (%s)\n", "none",
               cost->n ? "noise hides it, or there is none" : "one launch does it all");
    }
}

static void print_text(const cli_device *d, const peaks *p) {
    static const char *const names[] = {"f32", "f16", "q8"};
    printf("%s on %.60s [%s]\n", d->backend->descriptor->name, d->info.name, device_kind_name(d->info.kind));
    if (d->info.kind == TANDEM_DEVICE_SOFTWARE)
        printf("A SOFTWARE DEVICE: these figures say nothing about a GPU.\n");
    print_bandwidth("read: one-row f32 products by size of the matrix", &p->read);
    print_bandwidth("copy: bytes read and written together", &p->copy);
    printf("\nproducts of many rows, Gflop/s (at the size that is fastest)\n");
    for (uint32_t i = 0; i < PEAKS_N_PRECISION; i++)
        print_product(names[i], &p->product[i]);
    printf("\ncosts, microseconds\n");
    print_cost("an empty launch beside others", &p->dispatch);
    print_cost("a launch that waits for the one before", &p->step);
    print_cost("a run of one launch, wall time", &p->submit);
    print_cost("idle time of the device before it", &p->gap);
    printf("\nMedians and 95 %% intervals by the device's clock, runs by the host's; * counts.\n"
           "All results were checked. It took %.1f s.\n",
           p->seconds);
}

/* ---- row ---- */

static cJSON *make_row(const cli_device *d, const peaks *p, const card *c, cpu_ticks before) {
    char key[512];
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "row", "peaks");
    cJSON *plugin = identity_plugin(d->backend->descriptor), *device = identity_device(&d->info);
    peaks_key(plugin, device, key, sizeof key);
    cJSON_AddStringToObject(row, "key", key);
    cJSON_AddItemToObject(row, "plugin", plugin);
    cJSON_AddItemToObject(row, "device", device);
    peaks_json(p, row);
    cJSON_AddItemToObject(row, "host", machine_json(before));
    cJSON *figures = card_json(c);
    if (figures)
        cJSON_AddItemToObject(row, "card", figures);
    return row;
}

static void print_json(const cJSON *row) {
    char *text = cJSON_Print(row);
    printf("%s\n", text ? text : "{}");
    cJSON_free(text);
}

/* ---- command ---- */

typedef struct show {
    progress progress;
    float seconds;
} show;

static void show_part(void *user, const char *what) {
    char note[64];
    show *s = user;
    snprintf(note, sizeof note, " | %s", what);
    progress_show(&s->progress, (double)(now_ns() - s->progress.start_ns) * 1e-9, note);
}

/* j: where the row goes; NULL: nowhere. */
static int run_peaks(const peaks_command *c, const cli_device *d, journal *j) {
    show s = {.seconds = c->seconds};
    peaks_desc desc = {.backend = d->backend,
                       .device = d->index,
                       .info = d->info,
                       .n_threads = c->common.n_threads,
                       .memory_cap = c->common.memory_cap,
                       .max_bytes = c->max_bytes,
                       .seconds = (double)c->seconds,
                       .seed = c->common.seed,
                       .begins = show_part,
                       .user = &s};
    peaks p;
    tandem_message message;
    const cpu_ticks ticks = machine_ticks();
    card *figures = card_open(d->info.uuid);
    card_start(figures);
    card_begin(figures);
    progress_start(&s.progress, "peaks", (double)c->seconds);
    int status = peaks_measure(&desc, &p, &message);
    progress_end(&s.progress);
    const bool throttled = card_end(figures);
    int code = status ? cli_refuse(status, usage.name, &message) : TANDEM_EXIT_GOOD;
    if (!status) {
        cJSON *row = make_row(d, &p, figures, ticks);
        if (c->common.json)
            print_json(row);
        else
            print_text(d, &p);
        if (throttled)
            code = cli_fail(TANDEM_EXIT_BAD_ANSWER, usage.name, "The card held its clocks back: no peaks");
        if (j && !throttled)
            status = journal_append(j, row, &message); /* takes the row */
        else
            cJSON_Delete(row);
        code = status ? cli_refuse(status, usage.name, &message) : code;
    }
    card_close(figures);
    return code;
}

/* A journal that cannot be written is no reason to measure first. */
static int run_with_journal(const peaks_command *c, const cli_device *d) {
    journal j;
    tandem_message message;
    if (!c->journal)
        return run_peaks(c, d, NULL);
    int status = peaks_check_device(&d->info, &message); /* before a file is made for nothing */
    if (status)
        return cli_refuse(status, usage.name, &message);
    status = journal_open(&j, c->journal, &message);
    int code = status ? cli_refuse(status, usage.name, &message) : run_peaks(c, d, &j);
    journal_close(&j);
    return code;
}

int cmd_peaks(int argc, char **argv) {
    peaks_command c = {.common = {.seed = 1}, .seconds = 10};
    option shared[COMMON_MAX_OPTIONS];
    options_common(&c.common, COMMON_PLUGIN | COMMON_SEED | COMMON_JSON, shared);
    const option own[] = {
        option_float("seconds", &c.seconds, 0.1, 3600, "what all of it may take, about (default 10)"),
        option_bytes("max-bytes", &c.max_bytes, "the largest matrix (default 1G; software devices 64M)"),
        option_text("journal", 'j', &c.journal, "FILE", "append a row of kind peaks to this journal"),
        {0},
    };
    uint32_t n_free;
    int code = options_parse(&usage, (const option *const[]){own, shared}, 2, argc, argv, NULL, 0, &n_free);
    if (code != OPTIONS_GO_ON)
        return code;
    cli_device device;
    code = cli_open_device(&c.common, usage.name, &device);
    if (code == OPTIONS_GO_ON) {
        code = run_with_journal(&c, &device);
        cli_close_device(&device);
    }
    return code;
}
