/* proxy_time.c: waiting, and what runs are said to have taken. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy.h"

#define N_NOTED 512u /* the ABI asks for 64, and a host may have several contexts */

static proxy_run noted[N_NOTED];
static uint64_t n_noted;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static proxy_run *find_run(const tandem_context *context, tandem_ticket ticket) {
    for (uint64_t i = n_noted; i > 0 && i + N_NOTED > n_noted; i--) {
        proxy_run *r = &noted[(i - 1) % N_NOTED];
        if (r->context == context && r->ticket == ticket && r->program)
            return r;
    }
    return NULL;
}

void proxy_forget_program(const proxy_program *program) {
    for (uint32_t i = 0; i < N_NOTED; i++)
        if (noted[i].program == program)
            noted[i] = (proxy_run){0};
}

/* ---- the script ---- */

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Mean 0, deviation 1: the sum of twelve uniform values. */
static double noise(uint64_t a, uint64_t b) {
    double sum = -6;
    for (uint64_t i = 0; i < 12; i++)
        sum += (double)(mix(mix(mix(proxy.seed) ^ a) ^ (12 * b + i)) >> 11) * 0x1p-53;
    return sum;
}

/* A run is `noise` slower or faster than another, and so is a step within it; every fiftieth or so takes a
 * tenth more, as when another process has its turn. */
static uint64_t scripted_step(const proxy_run *r, uint32_t step) {
    tandem_step info = {.struct_size = sizeof info};
    double ns = (double)proxy.base;
    if (proxy_inner.program_step(r->variant->program, step, &info, NULL) == TANDEM_OK &&
        proxy_names(info.label))
        ns *= proxy.factor;
    ns *= 1 + proxy.noise * noise(r->number, 0);
    ns *= 1 + proxy.noise * noise(r->number, step + 1);
    if (proxy.noise > 0 && mix(proxy.seed ^ mix(r->number)) % 50 == 0)
        ns *= 1.1;
    return (uint64_t)fmax(ns, 1);
}

void proxy_note_run(const proxy_program *program, const proxy_variant *variant, int due,
                    tandem_ticket ticket) {
    static uint64_t last_end_ns;
    proxy_run *r = &noted[n_noted % N_NOTED];
    *r = (proxy_run){program->context, ticket, program, variant, due, n_noted, 0, 0};
    n_noted++;
    if (PROXY_MODE != PROXY_SCRIPTED)
        return;
    for (uint32_t i = 0; i < variant->n_step; i++)
        r->device_ns += scripted_step(r, i);
    const uint64_t now = now_ns();
    r->end_ns = (now > last_end_ns ? now : last_end_ns) + r->device_ns;
    last_end_ns = r->end_ns;
}

/* ---- waiting ---- */

static void sleep_until(uint64_t end_ns) {
    const struct timespec t = {.tv_sec = (time_t)(end_ns / 1000000000u),
                               .tv_nsec = (long)(end_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
        ;
}

tandem_status proxy_wait(tandem_context *context, tandem_ticket ticket, uint64_t timeout_ns,
                         tandem_error *error) {
    const proxy_run *r = find_run(context, ticket);
    while (PROXY_MODE == PROXY_HANG && r && r->due)
        pause();
    tandem_status status = proxy_inner.wait(context, ticket, timeout_ns, error);
    const uint64_t now = now_ns();
    if (status != TANDEM_OK || !r || r->end_ns <= now)
        return status;
    if (r->end_ns - now > timeout_ns)
        return TANDEM_E_TIMEOUT;
    sleep_until(r->end_ns);
    return TANDEM_OK;
}

/* ---- times ---- */

tandem_status proxy_times(tandem_context *context, tandem_ticket ticket, tandem_times *times,
                          tandem_error *error) {
    tandem_status status = proxy_inner.times(context, ticket, times, error);
    const proxy_run *r = find_run(context, ticket);
    if (status != TANDEM_OK || !r)
        return status;
    if (PROXY_MODE == PROXY_FALLBACK && proxy.ns) {
        times->device_ns = proxy.ns;
        times->gap_ns = 0;
    }
    if (PROXY_MODE == PROXY_SCRIPTED) {
        times->device_ns = r->device_ns;
        times->gap_ns = 0;
    }
    return TANDEM_OK;
}

/* Times of the steps that ran, at the places of the shown steps with the same labels; 0 for what was left
 * out. */
static tandem_status place_times(const proxy_run *r, uint64_t *ns, uint32_t n_step, tandem_error *error) {
    const proxy_variant *shown = &r->program->shown, *ran = r->variant;
    uint64_t *own = calloc(ran->n_step, sizeof *own);
    uint32_t next = 0;
    if (!own)
        return TANDEM_E_OUT_OF_MEMORY;
    tandem_status status = proxy_inner.step_times(r->context, r->ticket, own, ran->n_step, error);
    for (uint32_t i = 0; i < n_step && status == TANDEM_OK; i++) {
        tandem_step a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
        ns[i] = 0;
        status = proxy_inner.program_step(shown->program, i, &a, error);
        if (status == TANDEM_OK && next < ran->n_step)
            status = proxy_inner.program_step(ran->program, next, &b, error);
        if (status == TANDEM_OK && next < ran->n_step && strcmp(a.label, b.label) == 0)
            ns[i] = own[next++];
    }
    free(own);
    return status;
}

tandem_status proxy_step_times(tandem_context *context, tandem_ticket ticket, uint64_t *ns, uint32_t n_step,
                               tandem_error *error) {
    const proxy_run *r = find_run(context, ticket);
    if (r && r->variant != &r->program->shown)
        return place_times(r, ns, n_step, error);
    tandem_status status = proxy_inner.step_times(context, ticket, ns, n_step, error);
    if (status != TANDEM_OK || !r)
        return status;
    for (uint32_t i = 0; i < n_step; i++) {
        if (PROXY_MODE == PROXY_SCRIPTED)
            ns[i] = scripted_step(r, i);
        if (PROXY_MODE == PROXY_FALLBACK && proxy.ns)
            ns[i] = proxy.ns / n_step;
    }
    return TANDEM_OK;
}
