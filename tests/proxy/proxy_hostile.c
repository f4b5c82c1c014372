/* proxy_hostile.c: every slot of the table goes wrong in the way the options say. */
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tandem/negotiate.h>

#include "proxy.h"

enum { DO_NOTHING, DO_STATUS, DO_CRASH, DO_EXIT, DO_HANG, DO_ABSURD, DO_NAN, DO_IDS, DO_NAME };

/* What to do, by its name in the options. */
static int wanted(void) {
    static const char *const names[] = {"nothing", "status", "crash", "exit", "hang",
                                        "absurd",  "nan",    "ids",   "name"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (!strcmp(proxy.action, names[i]))
            return i;
    return DO_NOTHING;
}

/* Whether this call goes wrong; those that end or stop the process do so here. */
static int is_due(const char *slot) {
    static uint64_t n_call;
    if (strcmp(proxy.slot, slot) || n_call++ < proxy.after)
        return 0;
    switch (wanted()) {
    case DO_CRASH:
        raise(SIGSEGV);
        return 1;
    case DO_EXIT:
        exit((int)proxy.status);
    case DO_HANG:
        for (;;)
            pause();
    default:
        return 1;
    }
}

int proxy_hostile(const char *slot) {
    return PROXY_MODE == PROXY_HOSTILE && is_due(slot);
}

/* The members of a struct behind its size, all ones. */
static void fill(void *output) {
    uint32_t bytes;
    memcpy(&bytes, output, sizeof bytes);
    memset((char *)output + sizeof bytes, 0xff, bytes - sizeof bytes);
}

/* A name that clears the screen, is no UTF-8 and does not end. */
static void misname(char *text, size_t room) {
    static const char bad[] = "\x1b[2J\a\r\xff\xc2\x9b"
                              "31m\xed\xa0\x80 bad name ";
    for (size_t i = 0; i < room; i++)
        text[i] = bad[i % (sizeof bad - 1)];
}

/* A read's bytes: the last four floats no numbers, or ids that no vocabulary has. */
static void spoil(void *target, uint64_t bytes) {
    const float nan = NAN;
    const uint32_t id = 0x00ffffff;
    if (wanted() == DO_IDS && bytes >= sizeof id)
        memcpy(target, &id, sizeof id);
    for (uint64_t at = bytes - bytes % 4; wanted() == DO_NAN && at >= 4 && bytes - at < 16; at -= 4)
        memcpy((char *)target + at - 4, &nan, sizeof nan);
    if (wanted() == DO_ABSURD)
        memset(target, 0xff, bytes);
}

/* A call that is not due goes through. `good` runs first where what comes out is to be spoilt, else not at
 * all. */
#define SLOT(name, parameters, arguments, absurd)                                                            \
    static tandem_status hostile_##name parameters {                                                         \
        if (!is_due(#name))                                                                                  \
            return proxy_inner.name arguments;                                                               \
        if (wanted() == DO_STATUS)                                                                           \
            return (tandem_status)proxy.status;                                                              \
        if (wanted() == DO_NOTHING)                                                                          \
            return TANDEM_OK;                                                                                \
        tandem_status status = proxy_inner.name arguments;                                                   \
        if (status == TANDEM_OK) {                                                                           \
            absurd;                                                                                          \
        }                                                                                                    \
        return status;                                                                                       \
    }
#define DESTROY(name, type)                                                                                  \
    static void hostile_##name(type *object) {                                                               \
        if (!is_due(#name))                                                                                  \
            proxy_inner.name(object);                                                                        \
    }
#define LAST tandem_error *error

static void spoil_info(tandem_device_info *info) {
    if (wanted() == DO_ABSURD) {
        info->kind = 77;
        info->memory_total = info->memory_free = info->max_allocation = UINT64_MAX;
        info->subgroup_size = info->n_units = UINT32_MAX;
    } else {
        misname(info->name, sizeof info->name);
        misname(info->driver, sizeof info->driver);
        misname(info->abilities, sizeof info->abilities);
    }
}

static void spoil_step(tandem_step *info) {
    info->n_op = info->n_dispatch = UINT32_MAX;
    memset(info->ops, 0xff, sizeof info->ops);
    if (wanted() == DO_NAME) {
        info->n_dispatch = 1;
        misname(info->kernel, sizeof info->kernel);
        misname(info->label, sizeof info->label);
    }
}

static void spoil_costs(tandem_cost *const *costs, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        fill(costs[i]);
}

SLOT(device_count, (uint32_t * n, LAST), (n, error), *n = 4000000000u)
SLOT(device_info, (uint32_t device, tandem_device_info *info, LAST), (device, info, error), spoil_info(info))
SLOT(context_create, (const tandem_context_desc *desc, tandem_context **context, LAST),
     (desc, context, error), *context = NULL)
SLOT(context_memory, (tandem_context * context, tandem_memory_info *info, LAST), (context, info, error),
     fill(info))
SLOT(supports, (tandem_context * context, const tandem_op *op, uint32_t precision, LAST),
     (context, op, precision, error), status = INT_MAX)
SLOT(buffer_create, (tandem_context * context, const tandem_buffer_desc *desc, tandem_buffer **buffer, LAST),
     (context, desc, buffer, error), *buffer = NULL)
SLOT(buffer_info, (const tandem_buffer *buffer, tandem_buffer_info *info, LAST), (buffer, info, error),
     fill(info))
SLOT(buffer_write, (tandem_buffer * buffer, uint64_t offset, const void *source, uint64_t bytes, LAST),
     (buffer, offset, source, bytes, error), status = INT_MAX)
SLOT(buffer_read,
     (tandem_buffer * buffer, uint64_t offset, void *target, uint64_t bytes, uint32_t flags, LAST),
     (buffer, offset, target, bytes, flags, error), spoil(target, bytes))
SLOT(weights_create,
     (tandem_context * context, const tandem_weights_desc *desc, tandem_weights **weights, LAST),
     (context, desc, weights, error), *weights = NULL)
SLOT(weights_info, (const tandem_weights *weights, tandem_weights_info *info, LAST), (weights, info, error),
     fill(info))
SLOT(weights_matrix, (const tandem_weights *weights, uint32_t matrix, tandem_matrix_desc *desc, LAST),
     (weights, matrix, desc, error), fill(desc))
SLOT(weights_write,
     (tandem_weights * weights, uint32_t record, uint32_t matrix, uint64_t first_row, uint64_t n_row,
      const void *source, uint64_t bytes, uint32_t flags, LAST),
     (weights, record, matrix, first_row, n_row, source, bytes, flags, error), status = INT_MAX)
SLOT(weights_place,
     (tandem_weights * weights, uint32_t record, uint32_t placement, tandem_ticket *ticket, LAST),
     (weights, record, placement, ticket, error), *ticket = UINT64_MAX)
SLOT(kv_create, (tandem_context * context, const tandem_kv_desc *desc, tandem_kv **kv, LAST),
     (context, desc, kv, error), *kv = NULL)
SLOT(kv_info, (const tandem_kv *kv, tandem_kv_info *info, LAST), (kv, info, error), fill(info))
SLOT(kv_layer, (const tandem_kv *kv, uint32_t layer, tandem_kv_layer *info, LAST), (kv, layer, info, error),
     fill(info))
SLOT(kv_length, (const tandem_kv *kv, uint32_t slot, uint32_t *length, LAST), (kv, slot, length, error),
     *length = UINT32_MAX)
SLOT(kv_truncate, (tandem_kv * kv, uint32_t slot, uint32_t length, LAST), (kv, slot, length, error),
     status = INT_MAX)
SLOT(kv_copy_slot, (tandem_kv * kv, uint32_t from, uint32_t to, LAST), (kv, from, to, error),
     status = INT_MAX)
SLOT(kv_fill, (tandem_kv * kv, uint32_t slot, uint32_t seed, uint32_t length, LAST),
     (kv, slot, seed, length, error), status = INT_MAX)
SLOT(kv_export_bytes, (tandem_kv * kv, uint32_t slot, uint64_t *bytes, LAST), (kv, slot, bytes, error),
     *bytes = UINT64_MAX)
SLOT(kv_export, (tandem_kv * kv, uint32_t slot, void *target, uint64_t bytes, LAST),
     (kv, slot, target, bytes, error), spoil(target, bytes))
SLOT(kv_import, (tandem_kv * kv, uint32_t slot, const void *source, uint64_t bytes, LAST),
     (kv, slot, source, bytes, error), status = INT_MAX)
SLOT(kv_read,
     (tandem_kv * kv, uint32_t layer, uint32_t slot, uint32_t which, uint32_t first, uint32_t n_row,
      float *target, LAST),
     (kv, layer, slot, which, first, n_row, target, error), target[0] = NAN)
SLOT(program_create,
     (tandem_context * context, const tandem_program_desc *desc, tandem_program **program, LAST),
     (context, desc, program, error), *program = NULL)
SLOT(program_step_count, (const tandem_program *program, uint32_t *n, LAST), (program, n, error),
     *n = 4000000000u)
SLOT(program_step, (const tandem_program *program, uint32_t step, tandem_step *info, LAST),
     (program, step, info, error), spoil_step(info))
SLOT(program_cost,
     (const tandem_program *program, const tandem_run *run, tandem_cost *const *costs, uint32_t n_step, LAST),
     (program, run, costs, n_step, error), spoil_costs(costs, n_step))
SLOT(run, (tandem_program * program, const tandem_run *run, tandem_ticket *ticket, LAST),
     (program, run, ticket, error), *ticket = 12345678901u)
SLOT(wait, (tandem_context * context, tandem_ticket ticket, uint64_t timeout_ns, LAST),
     (context, ticket, timeout_ns, error), status = INT_MAX)
SLOT(times, (tandem_context * context, tandem_ticket ticket, tandem_times *times, LAST),
     (context, ticket, times, error), fill(times))
SLOT(step_times, (tandem_context * context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step, LAST),
     (context, ticket, ns, n_step, error), memset(ns, 0xff, n_step * sizeof *ns))
DESTROY(context_destroy, tandem_context)
DESTROY(buffer_destroy, tandem_buffer)
DESTROY(weights_destroy, tandem_weights)
DESTROY(kv_destroy, tandem_kv)
DESTROY(program_destroy, tandem_program)

static const void *hostile_get_interface(const char *name) {
    return is_due("get_interface") ? NULL : proxy_inner.get_interface(name);
}

void proxy_make_hostile(tandem_backend *backend, tandem_descriptor *descriptor) {
    static char name[256];
#define TAKE(slot) backend->slot = hostile_##slot;
    TANDEM_KIT_SLOTS(TAKE)
#undef TAKE
    if (is_due("descriptor")) {
        misname(name, sizeof name - 1);
        memcpy(name, "proxy_hostile", 13); /* who it is can still be read */
        descriptor->name = name;
        descriptor->version = descriptor->git = descriptor->toolchain = descriptor->targets =
            descriptor->shaders = descriptor->needs = name + 13;
    }
}
