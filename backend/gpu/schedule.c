/* schedule.c: puts steps that do not depend on each other side by side.
 *
 * Ops are lowered one after another, but many wait for nothing that stands just before them: a router for the
 * dense gate and up, the rounding of one input for the product of another. A step goes with the first steps
 * that it may go with, so that a program has as many steps as its longest chain of dependences.
 */
#include "program.h"

#include <string.h>

static int steps_conflict(const tandem_program *program, const gpu_step *a, const gpu_step *b) {
    for (uint32_t i = a->first_launch; i < a->first_launch + a->n_launch; i++)
        for (uint32_t k = b->first_launch; k < b->first_launch + b->n_launch; k++)
            if (gpu_launches_conflict(program, i, k))
                return 1;
    return 0;
}

/* The place of each step in the new order; returns how many there are. highest[i]: of the steps up to i. */
static uint32_t find_places(const tandem_program *program, uint32_t *place, uint32_t *highest) {
    uint32_t n_place = 0;
    for (uint32_t s = 0; s < program->steps.n; s++) {
        const gpu_step *step = GPU_AT(program->steps, gpu_step, s);
        place[s] = 0;
        for (uint32_t t = s; t-- > 0 && place[s] <= highest[t];)
            if (place[t] >= place[s] && steps_conflict(program, GPU_AT(program->steps, gpu_step, t), step))
                place[s] = place[t] + 1;
        highest[s] = s > 0 && highest[s - 1] > place[s] ? highest[s - 1] : place[s];
        n_place = highest[s] + 1;
    }
    return n_place;
}

static uint64_t weight_bytes(const tandem_program *program, const gpu_step *step) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < step->n_launch; i++) {
        const gpu_traffic *traffic = &GPU_AT(program->launches, gpu_launch, step->first_launch + i)->traffic;
        bytes += traffic->weight_bytes * (traffic->n_used ? traffic->n_used : 1);
    }
    return bytes;
}

/* Ops of both, ascending. note: a step names the first eight of its ops only. */
static void join_ops(gpu_step *to, const gpu_step *from) {
    const uint32_t room = sizeof to->ops / sizeof *to->ops;
    for (uint32_t i = 0; i < from->n_op && i < room; i++) {
        uint32_t n = to->n_op < room ? to->n_op : room, at = n;
        while (at > 0 && to->ops[at - 1] > from->ops[i])
            at--;
        if (at > 0 && to->ops[at - 1] == from->ops[i])
            continue;
        for (uint32_t k = n < room ? n : room - 1; k > at; k--)
            to->ops[k] = to->ops[k - 1];
        if (at < room)
            to->ops[at] = from->ops[i];
        to->n_op++;
    }
    if (from->n_op > room)
        to->n_op += from->n_op - room;
}

typedef struct merged {
    gpu_step *steps;
    gpu_launch *launches;
    uint32_t n_launch;
} merged;

/* Adds the steps of one place as one; it is called by the one that reads most. */
static void merge_place(const tandem_program *program, const uint32_t *place, uint32_t p, merged *m) {
    gpu_step *to = &m->steps[p];
    uint64_t most = 0;
    to->first_launch = m->n_launch;
    for (uint32_t s = 0; s < program->steps.n; s++) {
        const gpu_step *from = GPU_AT(program->steps, gpu_step, s);
        uint64_t bytes = weight_bytes(program, from);
        if (place[s] != p)
            continue;
        if (to->n_op == 0 || bytes > most) {
            memcpy(to->kernel, from->kernel, sizeof to->kernel);
            memcpy(to->label, from->label, sizeof to->label);
            most = bytes;
        }
        join_ops(to, from);
        for (uint32_t i = 0; i < from->n_launch; i++) {
            gpu_launch *launch = &m->launches[m->n_launch++];
            *launch = *GPU_AT(program->launches, gpu_launch, from->first_launch + i);
            launch->step = p;
        }
        to->n_launch += from->n_launch;
    }
}

tandem_status gpu_schedule(tandem_program *program, tandem_error *error) {
    uint32_t n_step = program->steps.n, n_place;
    uint32_t *place = gpu_alloc((2ull * n_step + 1) * sizeof *place);
    merged m = {.steps = gpu_alloc((n_step + 1ull) * sizeof *m.steps),
                .launches = gpu_alloc(program->launches.capacity * sizeof *m.launches),
                .n_launch = 1};
    tandem_status status = TANDEM_OK;
    if (!place || !m.steps || !m.launches) {
        status = tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory to order %u steps", n_step);
        goto done;
    }
    m.launches[0] = *GPU_AT(program->launches, gpu_launch, 0); /* prepare, outside the steps */
    n_place = find_places(program, place, place + n_step);
    for (uint32_t p = 0; p < n_place; p++)
        merge_place(program, place, p, &m);
    memcpy(program->steps.items, m.steps, n_place * sizeof *m.steps);
    memcpy(program->launches.items, m.launches, m.n_launch * sizeof *m.launches);
    program->steps.n = n_place;
done:
    gpu_free(place);
    gpu_free(m.steps);
    gpu_free(m.launches);
    return status;
}
