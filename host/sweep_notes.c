/* host/sweep_notes.c: what a reader of the figures has to know and would not ask. */
#include <string.h>

#include "sweep.h"

/* ---- what has changed since ---- */

typedef struct changed_part {
    const char *object, *member, *name;
} changed_part;

static const changed_part parts[] = {{"device", "driver", "driver"},
                                     {"plugin", "version", "plugin version"},
                                     {"plugin", "git", "commit"},
                                     {"plugin", "toolchain", "compiler"},
                                     {"plugin", "shaders", "shader compiler"}};

static const char *text_at(const cJSON *row, const char *object, const char *member) {
    return json_text(cJSON_GetObjectItem(row, object), member);
}

/* A cell of the same model, plugin and device under equal settings. */
static bool is_alike(const cJSON *row, const cJSON *identity, const sweep_column *column, const char *fill) {
    return !strcmp(json_text(row, "row"), "cell") &&
           !strcmp(text_at(row, "model", "name"), text_at(identity, "model", "name")) &&
           !strcmp(text_at(row, "plugin", "name"), text_at(identity, "plugin", "name")) &&
           !strcmp(text_at(row, "device", "uuid"), text_at(identity, "device", "uuid")) &&
           !strcmp(json_text(row, "kv"), column->kv) &&
           !strcmp(json_text(row, "precision"), column->precision) && !strcmp(json_text(row, "fill"), fill);
}

void sweep_say_changes(const journal *j, const char *key, const cJSON *identity, const sweep_column *column,
                       const char *fill) {
    const cJSON *before = NULL;
    const size_t n = strlen(key);
    for (uint32_t i = 0; i < j->n_row; i++) {
        if (!strncmp(json_text(j->row[i], "key"), key, n))
            return; /* this one has been measured, and said then */
        if (is_alike(j->row[i], identity, column, fill))
            before = j->row[i];
    }
    for (uint32_t i = 0; before && i < sizeof parts / sizeof *parts; i++) {
        const char *was = text_at(before, parts[i].object, parts[i].member);
        const char *is = text_at(identity, parts[i].object, parts[i].member);
        if (strcmp(was, is))
            fprintf(stderr, "tandem sweep: since %s measured this last, its %s has changed from %s to %s.\n",
                    text_at(identity, "plugin", "name"), parts[i].name, was, is);
    }
}

/* ---- matrix units that stand idle ---- */

void sweep_note_matrix(const cJSON *row, char *text, size_t size) {
    const cJSON *device = cJSON_GetObjectItem(row, "device");
    const uint32_t has = (uint32_t)json_number(device, "matrix_paths"),
                   used = (uint32_t)json_number(device, "matrix_used");
    const uint32_t units = TANDEM_MATRIX_COOPMAT | TANDEM_MATRIX_MMA;
    text[0] = 0;
    if ((has & units) && !(used & units))
        snprintf(text, size,
                 "The device has matrix units and this build of the plugin does not use them (shader "
                 "compiler: %s): its "
                 "prefill says little about the device.",
                 text_at(row, "plugin", "shaders"));
}
