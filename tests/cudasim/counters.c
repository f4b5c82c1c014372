/* What was executed, as JSON. Each instruction counts how often warps and threads ran it; a kernel's numbers
 * are sums over its instructions, so they cost nothing until somebody asks.
 */
#include "driver.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct copy_stats copy_stats;

/* Kernels of modules that are gone. */
struct kept {
    struct kept *next;
    char *name;
    struct kernel_stats stats;
    uint32_t registers, static_shared, local_bytes;
};
static struct kept *kept;

struct launch_row {
    char name[96];
    uint32_t grid[3], threads[3], shared_bytes;
    uint64_t executed;
};
static struct launch_row *rows;
static uint32_t n_row, max_row;

static const char *const class_names[N_CLASS] = {
    [CLASS_FP32] = "fp32",
    [CLASS_FP64] = "fp64",
    [CLASS_F16] = "f16",
    [CLASS_INT] = "int",
    [CLASS_DP4A] = "dp4a",
    [CLASS_CONVERT] = "convert",
    [CLASS_SPECIAL] = "special_function",
    [CLASS_MOVE] = "move",
    [CLASS_COMPARE] = "compare",
    [CLASS_MMA] = "mma",
    [CLASS_LDMATRIX] = "ldmatrix",
    [CLASS_LD_GLOBAL] = "ld_global",
    [CLASS_ST_GLOBAL] = "st_global",
    [CLASS_LD_SHARED] = "ld_shared",
    [CLASS_ST_SHARED] = "st_shared",
    [CLASS_LD_OTHER] = "ld_other",
    [CLASS_ST_OTHER] = "st_other",
    [CLASS_ASYNC_COPY] = "cp_async",
    [CLASS_ATOMIC] = "atomic",
    [CLASS_BARRIER] = "barrier",
    [CLASS_FENCE] = "fence",
    [CLASS_SHUFFLE] = "shuffle",
    [CLASS_CONTROL] = "control",
};

/* ---- collecting ---- */

void counters_launch(const struct launch *l) {
    struct kernel_stats *s = &l->kernel->stats;
    s->launches++;
    s->blocks += (uint64_t)l->grid[0] * l->grid[1] * l->grid[2];
    s->threads +=
        (uint64_t)l->grid[0] * l->grid[1] * l->grid[2] * l->threads[0] * l->threads[1] * l->threads[2];
    if (n_row >= options.launches)
        return;
    if (n_row == max_row) {
        const uint32_t max = max_row ? 2 * max_row : 256;
        struct launch_row *bigger = realloc(rows, max * sizeof *bigger);
        if (!bigger)
            return;
        rows = bigger;
        max_row = max;
    }
    struct launch_row *row = &rows[n_row++];
    snprintf(row->name, sizeof row->name, "%s", l->kernel->name);
    memcpy(row->grid, l->grid, sizeof row->grid);
    memcpy(row->threads, l->threads, sizeof row->threads);
    row->shared_bytes = l->shared_bytes;
    row->executed = l->executed;
}

static void add_stats(struct mem_stats *to, const struct mem_stats *from) {
    to->requests += from->requests;
    to->bytes += from->bytes;
    to->sectors += from->sectors;
    to->min_sectors += from->min_sectors;
    to->conflicts += from->conflicts;
}

/* Instructions that may touch either space count where their class says. */
static void sum_up(const struct kernel *k, struct kernel_stats *s) {
    *s = k->stats;
    for (uint32_t i = 0; i < k->n_inst; i++) {
        const struct inst *in = &k->code[i];
        s->class_warp[in->cls] += in->n_warp;
        s->class_thread[in->cls] += in->n_thread;
        if (!in->site)
            continue;
        switch (in->cls) {
        case CLASS_LD_GLOBAL:
            add_stats(&s->global_ld, &in->site->stats);
            break;
        case CLASS_ASYNC_COPY:
            add_stats(&s->global_ld, &in->site->stats);
            break;
        case CLASS_ST_GLOBAL:
            add_stats(&s->global_st, &in->site->stats);
            break;
        case CLASS_LD_SHARED:
        case CLASS_LDMATRIX:
            add_stats(&s->shared_ld, &in->site->stats);
            break;
        case CLASS_ST_SHARED:
            add_stats(&s->shared_st, &in->site->stats);
            break;
        default:
            break;
        }
    }
}

static void add_kernel(struct kernel_stats *to, const struct kernel_stats *from) {
    to->launches += from->launches;
    to->blocks += from->blocks;
    to->threads += from->threads;
    to->divergent += from->divergent;
    for (int i = 0; i < N_CLASS; i++) {
        to->class_warp[i] += from->class_warp[i];
        to->class_thread[i] += from->class_thread[i];
    }
    add_stats(&to->global_ld, &from->global_ld);
    add_stats(&to->global_st, &from->global_st);
    add_stats(&to->shared_ld, &from->shared_ld);
    add_stats(&to->shared_st, &from->shared_st);
}

static void reset_kernel(struct kernel *k) {
    memset(&k->stats, 0, sizeof k->stats);
    for (uint32_t i = 0; i < k->n_inst; i++) {
        opcode_at(k->code[i].opcode)->count += k->code[i].n_warp;
        k->code[i].n_warp = k->code[i].n_thread = 0;
    }
    for (uint32_t i = 0; i < k->n_site; i++)
        memset(&k->sites[i].stats, 0, sizeof k->sites[i].stats);
}

void counters_keep(struct kernel *k) {
    struct kernel_stats s;
    struct kept *at = kept;
    if (!k->stats.launches)
        return;
    sum_up(k, &s);
    while (at && strcmp(at->name, k->name))
        at = at->next;
    if (!at) {
        at = calloc(1, sizeof *at);
        if (!at || !(at->name = strdup(k->name))) {
            free(at);
            return;
        }
        at->registers = k->registers;
        at->static_shared = k->static_shared;
        at->local_bytes = k->local_bytes;
        at->next = kept;
        kept = at;
    }
    add_kernel(&at->stats, &s);
}

/* ---- writing ---- */

struct text {
    char *data;
    size_t used, max;
    bool failed;
};
static void put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *t, const char *format, ...) {
    va_list arguments;
    for (int attempt = 0; attempt < 2 && !t->failed; attempt++) {
        va_start(arguments, format);
        const int n = vsnprintf(t->data + t->used, t->max - t->used, format, arguments);
        va_end(arguments);
        if (n >= 0 && (size_t)n < t->max - t->used) {
            t->used += (size_t)n;
            return;
        }
        const size_t max = 2 * t->max + (n > 0 ? (size_t)n : 0);
        char *bigger = realloc(t->data, max);
        t->failed = !bigger || n < 0;
        if (bigger) {
            t->data = bigger;
            t->max = max;
        }
    }
}

static void put_memory(struct text *t, const char *name, const struct mem_stats *s, bool global) {
    put(t, ", \"%s\": {\"requests\": %llu, \"bytes\": %llu, ", name, (unsigned long long)s->requests,
        (unsigned long long)s->bytes);
    if (global)
        put(t, "\"sectors\": %llu, \"min_sectors\": %llu}", (unsigned long long)s->sectors,
            (unsigned long long)s->min_sectors);
    else
        put(t, "\"conflicts\": %llu}", (unsigned long long)s->conflicts);
}

static void put_kernel(struct text *t, const char *name, const struct kernel_stats *s, uint32_t registers,
                       uint32_t shared, uint32_t local) {
    uint64_t warps = 0, threads = 0;
    for (int i = 0; i < N_CLASS; i++) {
        warps += s->class_warp[i];
        threads += s->class_thread[i];
    }
    put(t, "{\"name\": \"%s\", \"launches\": %llu, \"blocks\": %llu, \"threads\": %llu, \"registers\": %u, ",
        name, (unsigned long long)s->launches, (unsigned long long)s->blocks, (unsigned long long)s->threads,
        registers);
    put(t, "\"static_shared_bytes\": %u, \"local_bytes\": %u, ", shared, local);
    put(t, "\"warp_instructions\": %llu, \"thread_instructions\": %llu, \"divergent_branches\": %llu, ",
        (unsigned long long)warps, (unsigned long long)threads, (unsigned long long)s->divergent);
    put(t, "\"warp\": {");
    for (int i = 0; i < N_CLASS; i++)
        put(t, "%s\"%s\": %llu", i ? ", " : "", class_names[i], (unsigned long long)s->class_warp[i]);
    put(t, "}, \"thread\": {");
    for (int i = 0; i < N_CLASS; i++)
        put(t, "%s\"%s\": %llu", i ? ", " : "", class_names[i], (unsigned long long)s->class_thread[i]);
    put(t, "}");
    put_memory(t, "global_load", &s->global_ld, true);
    put_memory(t, "global_store", &s->global_st, true);
    put_memory(t, "shared_load", &s->shared_ld, false);
    put_memory(t, "shared_store", &s->shared_st, false);
}

/* The most executed lines of a kernel that is still loaded. */
static void put_lines(struct text *t, const struct kernel *k) {
    uint64_t limit = UINT64_MAX;
    uint32_t told = 0;
    put(t, ", \"lines\": [");
    while (told < options.lines) {
        uint64_t most = 0;
        for (uint32_t i = 0; i < k->n_inst; i++)
            if (k->code[i].n_warp < limit && k->code[i].n_warp > most)
                most = k->code[i].n_warp;
        if (!most)
            break;
        for (uint32_t i = 0; i < k->n_inst && told < options.lines; i++)
            if (k->code[i].n_warp == most) {
                const struct inst *in = &k->code[i];
                put(t, "%s{\"line\": %u, \"opcode\": \"%s\", \"warp\": %llu, \"thread\": %llu",
                    told++ ? ", " : "", in->line, opcode_at(in->opcode)->name, (unsigned long long)in->n_warp,
                    (unsigned long long)in->n_thread);
                if (in->site)
                    put(t, ", \"sectors\": %llu, \"min_sectors\": %llu, \"conflicts\": %llu",
                        (unsigned long long)in->site->stats.sectors,
                        (unsigned long long)in->site->stats.min_sectors,
                        (unsigned long long)in->site->stats.conflicts);
                put(t, "}");
            }
        limit = most;
    }
    put(t, "]");
}

static void put_kernels(struct text *t) {
    bool first = true;
    put(t, "\"kernels\": [");
    for (struct context *c = context_list(); c; c = c->next)
        for (struct module *m = c->modules; m; m = m->next)
            for (struct kernel *k = m->kernels; k; k = k->next) {
                struct kernel_stats s;
                if (!k->stats.launches)
                    continue;
                sum_up(k, &s);
                put(t, "%s\n  ", first ? "" : ",");
                put_kernel(t, k->name, &s, k->registers, k->static_shared, k->local_bytes);
                if (options.lines)
                    put_lines(t, k);
                put(t, "}");
                first = false;
            }
    for (const struct kept *k = kept; k; k = k->next) {
        put(t, "%s\n  ", first ? "" : ",");
        put_kernel(t, k->name, &k->stats, k->registers, k->static_shared, k->local_bytes);
        put(t, "}");
        first = false;
    }
    put(t, "]");
}

static void put_allocations(struct text *t) {
    static const char *const kinds[] = {"device", "pinned", "registered", "variable"};
    put(t, ",\n\"allocations\": [");
    const struct allocation *a;
    for (uint32_t i = 0; (a = memory_at(i)); i++) {
        put(t, "%s\n  {\"id\": %llu, \"kind\": \"%s\", \"bytes\": %llu, ", i ? "," : "",
            (unsigned long long)a->id, kinds[a->kind], (unsigned long long)a->bytes);
        put(t, "\"read_bytes\": %llu, \"read_sector_bytes\": %llu, \"written_bytes\": %llu}",
            (unsigned long long)a->read_bytes, 32ull * a->read_sectors, (unsigned long long)a->written_bytes);
    }
    put(t, "]");
}

static void put_rest(struct text *t) {
    put(t, ",\n\"copies\": {\"host_to_device_bytes\": %llu, \"host_to_device\": %llu, ",
        (unsigned long long)copy_stats.to_device, (unsigned long long)copy_stats.calls_to_device);
    put(t, "\"device_to_host_bytes\": %llu, \"device_to_host\": %llu, \"on_device_bytes\": %llu},\n",
        (unsigned long long)copy_stats.to_host, (unsigned long long)copy_stats.calls_to_host,
        (unsigned long long)copy_stats.on_device);
    put(t, "\"graph_launches\": %llu,\n\"calls\": {", (unsigned long long)graph_launches);
    for (uint32_t i = 0; i < fail_names(); i++) {
        uint64_t count;
        const char *name = fail_name(i, &count);
        put(t, "%s\"%s\": %llu", i ? ", " : "", name, (unsigned long long)count);
    }
    put(t, "},\n\"launches\": [");
    for (uint32_t i = 0; i < n_row; i++)
        put(t,
            "%s\n  {\"kernel\": \"%s\", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], \"shared_bytes\": "
            "%u, \"warp_instructions\": %llu}",
            i ? "," : "", rows[i].name, rows[i].grid[0], rows[i].grid[1], rows[i].grid[2], rows[i].threads[0],
            rows[i].threads[1], rows[i].threads[2], rows[i].shared_bytes,
            (unsigned long long)rows[i].executed);
    put(t, "]");
}

static char *write_all(void) {
    struct text t = {.data = malloc(1 << 16), .max = 1 << 16};
    if (!t.data)
        return NULL;
    put(&t, "{\"simulated\": true, \"note\": \"counts of work, no measure of time\",\n");
    put_kernels(&t);
    put_allocations(&t);
    put_rest(&t);
    put(&t, "\n}\n");
    if (!t.failed)
        return t.data;
    free(t.data);
    return NULL;
}

/* ---- for tests ---- */

char *cudasim_counters(void) {
    api_lock();
    char *text = write_all();
    api_unlock();
    return text;
}

void cudasim_counters_reset(void) {
    api_lock();
    for (struct context *c = context_list(); c; c = c->next)
        for (struct module *m = c->modules; m; m = m->next)
            for (struct kernel *k = m->kernels; k; k = k->next)
                reset_kernel(k);
    while (kept) {
        struct kept *gone = kept;
        kept = gone->next;
        free(gone->name);
        free(gone);
    }
    struct allocation *a;
    for (uint32_t i = 0; (a = memory_at(i)); i++)
        a->read_bytes = a->read_sectors = a->written_bytes = 0;
    memset(&copy_stats, 0, sizeof copy_stats);
    graph_launches = 0;
    n_row = 0;
    fail_reset_counts();
    api_unlock();
}

int cudasim_traffic(uint64_t address, uint64_t *requested_bytes, uint64_t *sector_bytes) {
    api_lock();
    const struct allocation *a = memory_find(address);
    if (a) {
        *requested_bytes = a->read_bytes;
        *sector_bytes = 32 * a->read_sectors;
    }
    api_unlock();
    return a ? 0 : -1;
}

uint64_t cudasim_calls(const char *name) {
    return fail_calls(name);
}
const char *cudasim_message(void) {
    return message_last();
}
uint32_t cudasim_opcodes(void) {
    return opcode_number();
}
const char *cudasim_opcode_name(uint32_t index) {
    const uint32_t n = opcode_number();
    return index < n ? opcode_at(index)->name : NULL;
}
uint64_t cudasim_opcode_count(uint32_t index) {
    uint64_t count = 0;
    if (index >= opcode_number())
        return 0;
    api_lock();
    count = opcode_at(index)->count;
    for (struct context *c = context_list(); c; c = c->next)
        for (struct module *m = c->modules; m; m = m->next)
            for (struct kernel *k = m->kernels; k; k = k->next)
                for (uint32_t i = 0; i < k->n_inst; i++)
                    count += k->code[i].opcode == index ? k->code[i].n_warp : 0;
    api_unlock();
    return count;
}

static void write_file(void) {
    if (!*options.counters)
        return;
    FILE *file = fopen(options.counters, "w");
    char *text = file ? cudasim_counters() : NULL;
    if (text)
        fputs(text, file);
    free(text);
    if (file)
        fclose(file);
}
void counters_write_at_exit(void) {
    atexit(write_file);
}
