/* host/peaks_json.c: peaks as members of a journal row. */
#include <stdio.h>
#include <string.h>

#include "journal.h"
#include "peaks.h"

static void add_interval(cJSON *to, const char *name, stats_interval value, uint32_t n) {
    cJSON *j = cJSON_AddObjectToObject(to, name);
    cJSON_AddNumberToObject(j, "median", value.median);
    if (value.low > 0) { /* not where too few samples make an interval */
        cJSON_AddNumberToObject(j, "low", value.low);
        cJSON_AddNumberToObject(j, "high", value.high);
    }
    cJSON_AddNumberToObject(j, "n", n);
}

static void add_ladder(cJSON *row, const char *name, const char *rate, const peak_ladder *ladder) {
    cJSON *j = cJSON_AddObjectToObject(row, name), *points = cJSON_AddArrayToObject(j, "sizes");
    for (uint32_t i = 0; i < ladder->n; i++) {
        const peak_point *p = &ladder->point[i];
        cJSON *point = cJSON_CreateObject();
        cJSON_AddNumberToObject(point, "size", (double)p->size);
        add_interval(point, "rate", p->rate, p->n);
        cJSON_AddStringToObject(point, "kernel", p->kernel);
        cJSON_AddNumberToObject(point, "error", p->error);
        cJSON_AddItemToArray(points, point);
    }
    if (ladder->reason[0])
        cJSON_AddStringToObject(j, "reason", ladder->reason);
    if (ladder->n)
        cJSON_AddNumberToObject(row, rate, peaks_rate(ladder));
}

static void add_cost(cJSON *row, cJSON *costs, const char *name, const char *ns, const peak_cost *cost) {
    if (!(cost->ns.median > 0))
        return;
    cJSON_AddNumberToObject(row, ns, cost->ns.median);
    add_interval(costs, name, cost->ns, cost->n);
}

void peaks_json(const peaks *p, cJSON *row) {
    static const char *const names[] = {"f32", "f16", "q8"};
    static const char *const rates[] = {"f32_flops_per_s", "f16_flops_per_s", "q8_flops_per_s"};
    add_ladder(row, "read", "read_bytes_per_s", &p->read);
    add_ladder(row, "copy", "copy_bytes_per_s", &p->copy);
    for (uint32_t i = 0; i < PEAKS_N_PRECISION; i++)
        add_ladder(row, names[i], rates[i], &p->product[i]);
    cJSON *costs = cJSON_AddObjectToObject(row, "costs");
    add_cost(row, costs, "dispatch", "dispatch_ns", &p->dispatch);
    add_cost(row, costs, "step", "step_ns", &p->step);
    add_cost(row, costs, "submit", "submit_ns", &p->submit);
    add_cost(row, costs, "gap", "gap_ns", &p->gap);
    cJSON_AddNumberToObject(row, "seconds", p->seconds);
}

void peaks_key(const cJSON *plugin, const cJSON *device, char *key, uint32_t size) {
    snprintf(key, size, "%s@%s|%s|%.128s", json_text(plugin, "name"), json_text(plugin, "git"),
             json_text(device, "uuid"), json_text(device, "driver"));
}
