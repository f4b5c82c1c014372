/* host/sweep_asks.c: what a column needs besides its cells, from the journal or from a child of its own: the
 * reference's prefix, and the device's peaks. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "peaks.h"
#include "sweep_column.h"
#include "sweep_process.h"

/* Runs `task` for a column to its end. *answer: the message of that name, or NULL with the reason. */
static int ask_child(column_state *c, const sweep_column *column, const char *task, cJSON **answer,
                     char why[320], tandem_message *message) {
    column_state state = {.run = c->run, .column = column, .known = true, .asked = task};
    child_process child;
    int status = process_start(c->run->options, column, task, &child, message);
    if (status)
        return status;
    bool timed_out = false;
    state.identity = cJSON_CreateObject();
    status = column_listen(&state, &child, &timed_out, message);
    int ended = process_end(&child, status || timed_out || sweep_interrupted);
    cJSON_Delete(state.identity);
    *answer = state.answer;
    if (timed_out && !child.overdue)
        snprintf(why, 320, "it took too long");
    else
        process_describe_end(&child, ended, why, 320);
    process_forget(&child);
    if (*answer)
        cJSON_DeleteItemFromObject(*answer, "msg");
    return status;
}

int column_ask_reference(column_state *c, tandem_message *message) {
    char key[128], why[320];
    snprintf(key, sizeof key, "%s|%s|%s", c->model_key, c->column->kv, c->column->precision);
    const cJSON *row = journal_find(c->run->journal, "reference", key);
    if (row) {
        c->reference = cJSON_Duplicate(row, true);
        return TANDEM_OK;
    }
    sweep_column column = *c->column;
    column.plugin = "reference";
    cJSON *answer = NULL;
    int status = ask_child(c, &column, "reference", &answer, why, message);
    if (status || sweep_interrupted || !answer) {
        cJSON_Delete(answer);
        if (!status && !sweep_interrupted)
            fprintf(stderr, "tandem sweep: no reference for %s (%s); its rows will say so.\n",
                    c->column->model, why);
        return status;
    }
    c->reference = cJSON_Duplicate(answer, true);
    cJSON_AddStringToObject(answer, "row", "reference");
    cJSON_AddStringToObject(answer, "key", key);
    return journal_append(c->run->journal, answer, message);
}

/* One try a device and sweep: what failed once would again. */
static bool has_tried(sweep_run *run, const char *key) {
    for (uint32_t i = 0; i < run->peaks_tried.n; i++)
        if (!strcmp(run->peaks_tried.text[i], key))
            return true;
    option_texts *tried = &run->peaks_tried;
    if (tried->n < OPTION_MAX_TEXTS && (tried->text[tried->n] = strdup(key)))
        tried->n++;
    return false;
}

int column_ask_peaks(column_state *c, tandem_message *message) {
    const cJSON *plugin = cJSON_GetObjectItem(c->identity, "plugin");
    const cJSON *device = cJSON_GetObjectItem(c->identity, "device");
    char key[512], why[320];
    peaks_key(plugin, device, key, sizeof key);
    if (!(c->run->options->peaks_seconds > 0) || !strcmp(json_text(device, "kind"), "simulated") ||
        journal_find(c->run->journal, "peaks", key) || has_tried(c->run, key))
        return TANDEM_OK;
    cJSON *answer = NULL;
    int status = ask_child(c, c->column, "peaks", &answer, why, message);
    if (status || sweep_interrupted || !answer) {
        cJSON_Delete(answer);
        if (!status && !sweep_interrupted)
            fprintf(stderr, "tandem sweep: no peaks of %s on %s (%s); there will be no roofline.\n",
                    c->column->plugin, json_text(device, "name"), why);
        return status;
    }
    cJSON_AddStringToObject(answer, "row", "peaks");
    cJSON_AddStringToObject(answer, "key", key);
    cJSON_AddItemToObject(answer, "plugin", cJSON_Duplicate(plugin, true));
    cJSON_AddItemToObject(answer, "device", cJSON_Duplicate(device, true));
    return journal_append(c->run->journal, answer, message);
}
