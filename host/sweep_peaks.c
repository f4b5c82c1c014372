/* host/sweep_peaks.c: peaks of a column's device, measured in a process of their own. */
#include <string.h>

#include "card.h"
#include "peaks.h"
#include "sweep_child.h"

int sweep_child_peaks(const sweep_options *o) {
    common_options common = o->common;
    cli_device device;
    tandem_message message;
    common.plugin = o->plugins.text[0];
    int code = cli_open_device(&common, sweep_command, &device);
    if (code != OPTIONS_GO_ON)
        return code;
    const peaks_desc desc = {.backend = device.backend,
                             .device = device.index,
                             .info = device.info,
                             .n_threads = common.n_threads,
                             .memory_cap = common.memory_cap,
                             .seconds = (double)o->peaks_seconds,
                             .seed = common.seed};
    peaks p;
    const cpu_ticks ticks = machine_ticks();
    card *figures = card_open(device.info.uuid);
    card_start(figures);
    card_begin(figures);
    int status = peaks_measure(&desc, &p, &message);
    if (card_end(figures) && !status)
        status = message_fail(&message, TANDEM_E_INTERNAL,
                              "the card held its clocks back while they were measured");
    if (!status) {
        cJSON *j = child_message("peaks"), *card_figures = card_json(figures);
        peaks_json(&p, j);
        cJSON_AddItemToObject(j, "host", machine_json(ticks));
        if (card_figures)
            cJSON_AddItemToObject(j, "card", card_figures);
        child_send(j);
        child_send(child_message("end"));
    }
    card_close(figures);
    cli_close_device(&device);
    return status ? cli_refuse(status, sweep_command, &message) : TANDEM_EXIT_GOOD;
}
