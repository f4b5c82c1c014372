/* hazard.c: dependences from declared ranges: steps that must wait for earlier ones, edges of the graph, and
 * the proof that no wait is missing or idle. */
#include "program.h"

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

tandem_status gpu_place_barriers(tandem_program *program, tandem_error *error) {
    uint32_t since = 0; /* first launch that no barrier has followed */
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
        if (step->barrier_before)
            since = step->first_launch;
    }
    return TANDEM_OK;
}
