/* host/sweep_flat.c: rows of a sweep as comma-separated values. */
#include <string.h>

#include "sweep.h"

/* Member `name` of object `of` of the row (NULL: of the row itself). */
typedef struct field {
    const char *heading, *of, *name;
} field;

static const field fields[] = {
    {"model", "model", "name"},
    {"plugin", "plugin", "name"},
    {"plugin_git", "plugin", "git"},
    {"device", "device", "name"},
    {"device_kind", "device", "kind"},
    {"driver", "device", "driver"},
    {"kv", NULL, "kv"},
    {"precision", NULL, "precision"},
    {"batch", NULL, "batch"},
    {"expert_memory", "model", "expert_memory"},
    {"fill", NULL, "fill"},
    {"phase", NULL, "phase"},
    {"depth", NULL, "depth"},
    {"status", NULL, "status"},
    {"tokens_per_s", "rate", "median"},
    {"low", "rate", "low"},
    {"high", "rate", "high"},
    {"samples", "rate", "n"},
    {"memory_bytes", "memory", "total"},
    {"tokens_per_joule", "energy", "tokens_per_joule"},
    {"check", "stamp", "method"},
    {"check_ok", "stamp", "ok"},
    {"reason", NULL, "reason"},
};

static void print_value(const cJSON *item, FILE *file) {
    if (cJSON_IsNumber(item))
        fprintf(file, "%.10g", item->valuedouble);
    else if (cJSON_IsBool(item))
        fprintf(file, "%s", cJSON_IsTrue(item) ? "true" : "false");
    else if (cJSON_IsString(item)) {
        const char *text = item->valuestring;
        const bool quoted = strpbrk(text, ",\"\r\n") != NULL;
        if (quoted)
            fputc('"', file);
        for (; *text; text++)
            if (*text == '"')
                fputs("\"\"", file);
            else
                fputc(*text, file);
        if (quoted)
            fputc('"', file);
    }
}

static void print_row(void *user, const cJSON *row) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const cJSON *of = fields[i].of ? cJSON_GetObjectItem(row, fields[i].of) : row;
        if (i)
            fputc(',', user);
        print_value(of ? cJSON_GetObjectItem(of, fields[i].name) : NULL, user);
    }
    fputc('\n', user);
}

void sweep_print_csv(const sweep_run *run, FILE *file) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        fprintf(file, "%s%s", i ? "," : "", fields[i].heading);
    fputc('\n', file);
    sweep_each_row(run, print_row, file);
}
