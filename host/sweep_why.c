/* host/sweep_why.c: what the samples add to a stamp, and why one is not ok. */
#include <string.h>

#include "clock_check.h"
#include "sweep.h"

/* Whether the device's times fit the host's. The samples are all runs but the first of each round of decode.
 */
void sweep_add_clock(const cell_samples *s, uint32_t kind, cJSON *stamp) {
    char why[256] = "";
    double sum = 0;
    for (uint32_t i = 0; i < s->n; i++)
        sum += (double)s->device_ns[i] + (double)s->gap_ns[i];
    const clock_record record = {.device_ns = s->n ? sum / s->n * s->wall_tokens / s->n_token : 0,
                                 .wall_ns = (double)s->wall_ns,
                                 .other_cpu_ns = (double)s->other_cpu_ns,
                                 .n_wait = s->n_wait};
    const bool good = clock_is_plausible(&record, kind, why, sizeof why);
    cJSON *clock = cJSON_AddObjectToObject(stamp, "clock");
    cJSON_AddNumberToObject(clock, "device_ns", record.device_ns);
    cJSON_AddNumberToObject(clock, "wall_ns", record.wall_ns);
    cJSON_AddNumberToObject(clock, "other_cpu_ns", record.other_cpu_ns);
    cJSON_AddBoolToObject(clock, "ok", good);
    if (good)
        return;
    cJSON_AddStringToObject(clock, "why", why);
    cJSON_ReplaceItemInObject(stamp, "ok", cJSON_CreateFalse());
}

void sweep_add_hash(const cell_samples *s, cJSON *stamp) {
    char text[24];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)s->hash);
    cJSON *hash = cJSON_AddObjectToObject(stamp, "hash");
    cJSON_AddStringToObject(hash, "top_k", text);
    cJSON_AddNumberToObject(hash, "n", s->n_hash);
    cJSON_AddNumberToObject(hash, "unequal", s->n_unequal);
    if (s->n_unequal)
        cJSON_ReplaceItemInObject(stamp, "ok", cJSON_CreateFalse());
}

/* The first probe that failed; one that fits another precision before all others. */
static const cJSON *failed_probe(const cJSON *stamp) {
    const cJSON *item, *first = NULL;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(stamp, "probe")) {
        if (json_true(item, "ok"))
            continue;
        if (json_text(item, "instead")[0])
            return item;
        first = first ? first : item;
    }
    return first;
}

void sweep_why(const cJSON *stamp, char *text, size_t size) {
    const cJSON *probe = failed_probe(stamp), *hash = cJSON_GetObjectItem(stamp, "hash");
    const cJSON *clock = cJSON_GetObjectItem(stamp, "clock");
    const char *instead = json_text(probe, "instead");
    text[0] = 0;
    if (instead[0])
        snprintf(text, size,
                 "products are computed at precision %s (%s of layer %.0f fit it), which was not asked for",
                 instead, json_text(probe, "what"), json_number(probe, "layer"));
    else if (probe && json_number(probe, "error") > 10)
        snprintf(text, size, "'%s' of layer %.0f has nothing to do with what it should be at this depth",
                 json_text(probe, "what"), json_number(probe, "layer"));
    else if (probe)
        snprintf(text, size, "'%s' of layer %.0f is off by %.0e at this depth, and %.0e is allowed",
                 json_text(probe, "what"), json_number(probe, "layer"), json_number(probe, "error"),
                 json_number(probe, "budget"));
    else if (json_number(hash, "unequal"))
        snprintf(text, size, "%.0f of %.0f runs that were to give the same ids did not",
                 json_number(hash, "unequal"), json_number(hash, "n"));
    else if (clock && !json_true(clock, "ok"))
        snprintf(text, size, "%s", json_text(clock, "why"));
    else if (json_number(stamp, "late_error") > 0)
        snprintf(
            text, size,
            "the first %.0f positions, run again after the last cell, are off by %.0e from what they were",
            json_number(stamp, "n"), json_number(stamp, "late_error"));
    else if (!strcmp(json_text(stamp, "method"), "prefix"))
        snprintf(text, size,
                 "the first %.0f positions are off by %.0e from the reference, and %.0e is allowed; at %.0f "
                 "of them the "
                 "likeliest token is the reference's",
                 json_number(stamp, "n"), json_number(stamp, "worst_error"), json_number(stamp, "budget"),
                 json_number(stamp, "top1_equal"));
}
