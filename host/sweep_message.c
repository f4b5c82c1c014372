/* host/sweep_message.c: lines to the parent. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sweep_child.h"

void child_send(cJSON *message) {
    char *text = cJSON_PrintUnformatted(message);
    cJSON_Delete(message);
    if (!text || dprintf(SWEEP_MESSAGE_FD, "%s\n", text) < 0)
        exit(TANDEM_EXIT_ENVIRONMENT);
    cJSON_free(text);
}

cJSON *child_message(const char *kind) {
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "msg", kind);
    return j;
}

cJSON *child_cell_message(const char *kind, sweep_cell cell) {
    cJSON *j = child_message(kind);
    cJSON_AddStringToObject(j, "phase", phase_name(cell.phase));
    cJSON_AddNumberToObject(j, "depth", cell.depth);
    return j;
}

void child_refuse(sweep_cell cell, tandem_status status, const char *reason) {
    cJSON *j = child_cell_message("cell", cell);
    cJSON_AddStringToObject(j, "status",
                            status == TANDEM_E_OUT_OF_MEMORY ? "out_of_memory"
                            : status == TANDEM_E_UNSUPPORTED ? "unsupported"
                                                             : "failed");
    cJSON_AddStringToObject(j, "reason", reason);
    child_send(j);
}
