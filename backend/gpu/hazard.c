/* hazard.c: what must wait for what, from declared ranges, and the proof that it is right.
 *
 * Neither validation layers nor drivers see accesses through device addresses, so this is the only check of
 * barriers and of the edges of a graph that there is.
 */
#include "program.h"

#include <stdio.h>

gpu_range gpu_range_resolve(const gpu_range *range) {
    gpu_range resolved = *range;
    if (!range->weights)
        return resolved;
    resolved.address =
        gpu_weights_segment(range->weights, range->record, range->segment, &resolved.row_bytes);
    resolved.stride = resolved.row_bytes;
    resolved.n_row = 1;
    return resolved;
}

static uint64_t end_of(const gpu_range *range) {
    return range->address + (range->n_row - 1) * range->stride + range->row_bytes;
}

/* 1: [address, address + bytes) meets a piece of the range. */
static int piece_meets(const gpu_range *range, uint64_t address, uint64_t bytes) {
    uint64_t end = address + bytes;
    if (end <= range->address || end_of(range) <= address)
        return 0;
    /* The last piece that starts before `end`: if it does not reach `address`, no earlier one does. */
    uint64_t last = range->n_row == 1 ? 0 : (end - 1 - range->address) / range->stride;
    if (last >= range->n_row)
        last = range->n_row - 1;
    return range->address + last * range->stride + range->row_bytes > address;
}

int gpu_ranges_overlap(const gpu_range *a, const gpu_range *b) {
    if (a->n_row == 0 || b->n_row == 0 || a->row_bytes == 0 || b->row_bytes == 0)
        return 0;
    if (end_of(a) <= b->address || end_of(b) <= a->address)
        return 0;
    const gpu_range *few = a->n_row <= b->n_row ? a : b;
    const gpu_range *many = few == a ? b : a;
    for (uint64_t i = 0; i < few->n_row; i++)
        if (piece_meets(many, few->address + i * few->stride, few->row_bytes))
            return 1;
    return 0;
}

int gpu_launches_conflict(const tandem_program *program, uint32_t a, uint32_t b) {
    const gpu_launch *first = GPU_AT(program->launches, gpu_launch, a);
    const gpu_launch *second = GPU_AT(program->launches, gpu_launch, b);
    for (uint32_t i = 0; i < first->n_range; i++) {
        const gpu_range *x = GPU_AT(program->ranges, gpu_range, first->first_range + i);
        /* note: weights are read-only to programs; moving them is ordered by the queue (weights_place.c). */
        if (x->weights)
            continue;
        for (uint32_t j = 0; j < second->n_range; j++) {
            const gpu_range *y = GPU_AT(program->ranges, gpu_range, second->first_range + j);
            int apart = x->write && y->write && x->apart && x->apart == y->apart;
            if ((x->write || y->write) && !y->weights && !apart && gpu_ranges_overlap(x, y))
                return 1;
        }
    }
    return 0;
}

static int conflicts_with_any(const tandem_program *program, uint32_t from, uint32_t to, uint32_t launch) {
    for (uint32_t i = from; i < to; i++)
        if (gpu_launches_conflict(program, i, launch))
            return 1;
    return 0;
}

/* The launch arguments that launch d reads from memory; NULL: it has a fixed grid. */
static const gpu_range *arguments_of(const tandem_program *program, uint32_t d) {
    const gpu_launch *launch = GPU_AT(program->launches, gpu_launch, d);
    for (uint32_t i = 0; i < launch->n_range; i++) {
        const gpu_range *range = GPU_AT(program->ranges, gpu_range, launch->first_range + i);
        if (range->indirect)
            return range;
    }
    return NULL;
}

/* The launch before d that wrote its launch arguments last. */
static uint32_t writer_of_arguments(const tandem_program *program, const gpu_range *arguments, uint32_t d) {
    while (--d > 0) {
        const gpu_launch *writer = GPU_AT(program->launches, gpu_launch, d);
        for (uint32_t i = 0; i < writer->n_range; i++) {
            const gpu_range *range = GPU_AT(program->ranges, gpu_range, writer->first_range + i);
            if (range->write && gpu_ranges_overlap(range, arguments))
                return d;
        }
    }
    return 0;
}

tandem_status gpu_place_barriers(tandem_program *program, tandem_error *error) {
    uint32_t since = 0;   /* first launch that no barrier has followed */
    uint32_t last = 0;    /* step of the last barrier */
    uint32_t covered = 0; /* launch arguments that earlier launches wrote are seen */
    for (uint32_t s = 0; s < program->steps.n; s++) {
        gpu_step *step = GPU_AT(program->steps, gpu_step, s);
        uint32_t end = step->first_launch + step->n_launch;
        step->barrier_before = 0;
        for (uint32_t d = step->first_launch; d < end; d++) {
            if (conflicts_with_any(program, step->first_launch, d, d))
                return tandem_kit_fail(error, TANDEM_E_INTERNAL,
                                       "Step %u (%s %s) holds launches that depend on each other", s,
                                       step->kernel, step->label);
            if (!step->barrier_before && conflicts_with_any(program, since, step->first_launch, d))
                step->barrier_before = 1;
        }
        if (step->barrier_before) {
            since = step->first_launch;
            last = s;
        }
        for (uint32_t d = step->first_launch; d < end; d++) {
            const gpu_range *arguments = arguments_of(program, d);
            if (!arguments || writer_of_arguments(program, arguments, d) < covered)
                continue;
            GPU_AT(program->steps, gpu_step, last)->barrier_indirect = 1;
            covered = since;
        }
    }
    return TANDEM_OK;
}

/* The step of a launch as the checker counts: prepare comes before step 0. */
static int64_t step_of(const tandem_program *program, uint32_t launch) {
    return launch == 0 ? -1 : (int64_t)GPU_AT(program->launches, gpu_launch, launch)->step;
}

static void report(uint32_t n_fault, char *sentence, size_t room, const tandem_program *program, int64_t from,
                   int64_t to, const char *what) {
    if (n_fault > 0 || room == 0)
        return;
    const char *first = from < 0 ? "prepare" : GPU_AT(program->steps, gpu_step, from)->kernel;
    const char *second = GPU_AT(program->steps, gpu_step, to)->kernel;
    snprintf(sentence, room, "%s: step %lld (%s) and step %lld (%s)", what, (long long)from, first,
             (long long)to, second);
}

/* Launch arguments must be covered by a barrier for them, somewhere behind their writer. */
static uint32_t check_arguments(const tandem_program *program, const uint8_t *barrier, char *sentence,
                                size_t room) {
    uint32_t n_fault = 0;
    for (uint32_t d = 1; d < program->launches.n; d++) {
        const gpu_range *arguments = arguments_of(program, d);
        if (!arguments)
            continue;
        int64_t from = step_of(program, writer_of_arguments(program, arguments, d)), to = step_of(program, d);
        int64_t s = from + 1;
        while (s <= to && !(barrier[s] && GPU_AT(program->steps, gpu_step, s)->barrier_indirect))
            s++;
        if (s > to)
            report(n_fault++, sentence, room, program, from, to, "No barrier for launch arguments separates");
    }
    return n_fault;
}

uint32_t gpu_check_barriers(const tandem_program *program, const uint8_t *barrier, char *sentence,
                            size_t room) {
    uint32_t n_fault = check_arguments(program, barrier, sentence, room);
    uint32_t n_step = program->steps.n;
    uint32_t *count = gpu_alloc((n_step + 1) * sizeof *count); /* barriers before steps 0..i-1 */
    uint8_t *needed = gpu_alloc(n_step + 1ull);                /* the only barrier between some pair */
    if (!count || !needed) {
        gpu_free(count);
        gpu_free(needed);
        snprintf(sentence, room, "No host memory to check barriers");
        return 1;
    }
    for (uint32_t i = 0; i < n_step; i++)
        count[i + 1] = count[i] + (barrier[i] != 0);
    for (uint32_t b = 1; b < program->launches.n; b++) {
        for (uint32_t a = 0; a < b; a++) {
            int64_t from = step_of(program, a), to = step_of(program, b);
            /* Barriers before steps from + 1 .. to stand between. */
            uint32_t n_between = count[to + 1] - count[from + 1];
            if (n_between > 1 || !gpu_launches_conflict(program, a, b))
                continue;
            if (n_between == 0)
                report(n_fault++, sentence, room, program, from, to, "No barrier separates");
            for (int64_t s = from + 1; s <= to && n_between == 1; s++)
                needed[s] |= barrier[s];
        }
    }
    for (uint32_t s = 0; s < n_step; s++)
        if (barrier[s] && !needed[s])
            report(n_fault++, sentence, room, program, (int64_t)s - 1, s,
                   "Nothing needs the barrier between");
    gpu_free(count);
    gpu_free(needed);
    return n_fault;
}
