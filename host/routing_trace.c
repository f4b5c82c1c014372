/* host/routing_trace.c: recorded routes as text. */
#include "routing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "tandem-routing 1"
#define MAX_ROWS (1u << 20) /* more positions than any context has */

typedef struct trace_reader {
    const char *path;
    uint32_t line;
    const char *at; /* rest of the line */
    tandem_message *message;
} trace_reader;

static int refuse(const trace_reader *r, const char *why) {
    return message_fail(r->message, TANDEM_E_UNSUPPORTED, "%s, line %u: %s.", r->path, r->line, why);
}

/* A number and what must follow it; false: something else is there. */
static bool take_number(trace_reader *r, char end, uint32_t *value) {
    uint64_t v = 0;
    const char *start = r->at;
    while (*r->at >= '0' && *r->at <= '9' && v <= UINT32_MAX)
        v = v * 10 + (uint64_t)(*r->at++ - '0');
    if (r->at == start || v > UINT32_MAX || *r->at != end)
        return false;
    r->at += end != 0;
    *value = (uint32_t)v;
    return true;
}

static int take_header(trace_reader *r, routing_trace *t, const model_config *c) {
    const size_t n = strlen(MAGIC);
    bool good = !strncmp(r->at, MAGIC " ", n + 1);
    if (good) {
        r->at += n + 1;
        good = take_number(r, ' ', &t->n_layer) && take_number(r, ' ', &t->n_expert) &&
               take_number(r, 0, &t->n_used);
    }
    if (!good)
        return refuse(r, "a trace begins with '" MAGIC " LAYERS EXPERTS USED'");
    if (t->n_layer != c->n_layer || t->n_expert != c->n_expert || t->n_used != c->n_used)
        return message_fail(r->message, TANDEM_E_UNSUPPORTED,
                            "%s is of a model of %u layers with %u of %u experts, %s has %u with %u of %u.",
                            r->path, t->n_layer, t->n_used, t->n_expert, c->name, c->n_layer, c->n_used,
                            c->n_expert);
    return TANDEM_OK;
}

static int take_row(trace_reader *r, const routing_trace *t, uint32_t *ids) {
    uint32_t token;
    if (!take_number(r, ' ', &token))
        return refuse(r, "a token id and a blank must come first");
    for (uint32_t l = 0; l < t->n_layer; l++, ids += t->n_used)
        for (uint32_t k = 0; k < t->n_used; k++) {
            char end = k + 1 < t->n_used ? ',' : l + 1 < t->n_layer ? ' ' : 0;
            if (!take_number(r, end, &ids[k]) || ids[k] >= t->n_expert)
                return refuse(r, "the experts of every layer are expected, numbers separated by commas");
            for (uint32_t i = 0; i < k; i++)
                if (ids[i] == ids[k])
                    return refuse(r, "an expert is named twice for one layer");
        }
    return TANDEM_OK;
}

static int grow(routing_trace *t, uint32_t *room, tandem_message *message) {
    if (t->n_row < *room)
        return TANDEM_OK;
    const uint64_t row_bytes = (uint64_t)t->n_layer * t->n_used * sizeof *t->ids;
    *room = *room ? *room * 2 : 64;
    uint32_t *ids = realloc(t->ids, *room * row_bytes);
    if (!ids)
        return message_out_of_memory(message, "a trace", *room * row_bytes);
    t->ids = ids;
    return TANDEM_OK;
}

static int take_lines(trace_reader *r, FILE *file, routing_trace *t, const model_config *c) {
    char *text = NULL;
    size_t size = 0;
    ssize_t n;
    uint32_t room = 0;
    int status = TANDEM_OK;
    while (!status && (n = getline(&text, &size, file)) > 0) {
        r->line++;
        if (text[n - 1] == '\n')
            text[--n] = 0;
        r->at = text;
        if (strlen(text) != (size_t)n)
            status = refuse(r, "a zero byte is no text");
        else if (r->line == 1)
            status = take_header(r, t, c);
        else if (t->n_row == MAX_ROWS)
            status = refuse(r, "the trace is too long");
        else if ((status = grow(t, &room, r->message)) == TANDEM_OK)
            status = take_row(r, t, t->ids + (size_t)t->n_row++ * t->n_layer * t->n_used);
    }
    if (!status && ferror(file))
        status =
            message_fail(r->message, TANDEM_E_UNSUPPORTED, "%s cannot be read: %s", r->path, strerror(errno));
    if (!status && !t->n_row)
        status = refuse(r, "no token's experts follow");
    free(text);
    return status;
}

int routing_trace_read(routing_trace *trace, const char *path, const model_config *c,
                       tandem_message *message) {
    *trace = (routing_trace){0};
    trace_reader r = {.path = path, .message = message};
    FILE *file = fopen(path, "r");
    if (!file)
        return message_fail(message, TANDEM_E_UNSUPPORTED, "%s cannot be opened: %s", path, strerror(errno));
    int status = take_lines(&r, file, trace, c);
    fclose(file);
    if (status)
        routing_trace_free(trace);
    return status;
}

void routing_trace_free(routing_trace *trace) {
    free(trace->ids);
    *trace = (routing_trace){0};
}

int routing_trace_begin(output_file *file, const model_config *c) {
    return output_file_printf(file, MAGIC " %u %u %u\n", c->n_layer, c->n_expert, c->n_used);
}

int routing_trace_write(output_file *file, const model_config *c, uint32_t token, const uint32_t *ids) {
    output_file_printf(file, "%u", token);
    for (uint32_t l = 0; l < c->n_layer; l++)
        for (uint32_t k = 0; k < c->n_used; k++)
            output_file_printf(file, "%c%u", k ? ',' : ' ', *ids++);
    return output_file_printf(file, "\n");
}
