/* host/clock_check.c (contract: clock_check.h). */
#include "clock_check.h"

#include <stdio.h>
#include <time.h>

#include <tandem/device.h>

/* Pipelined runs leave no time between device and host; what is waited for one by one pays for a submission
 * and a wake-up each. */
#define WAIT_NS 1e6
#define MOST_WALL 1.5   /* times the device's time */
#define MOST_DEVICE 1.1 /* times the wall time: no device works longer than the host waits */
/* Assumed, for want of a card to see it on: a driver's own threads do next to nothing. A thread that computes
 * keeps a processor busy, or, on a machine that has other work too, its share of one. */
#define MOST_BUSY 0.2
#define LEAST_BUSY_NS 5e6 /* below it processor time is too coarse */

static uint64_t cpu_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_other_cpu_ns(void) {
    const uint64_t own = cpu_ns(CLOCK_THREAD_CPUTIME_ID), all = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    return all > own ? all - own : 0;
}

bool clock_is_plausible(const clock_record *c, uint32_t kind, char *why, size_t size) {
    const double slack = WAIT_NS * c->n_wait;
    if (kind != TANDEM_DEVICE_GPU && kind != TANDEM_DEVICE_INTEGRATED)
        return true;
    if (c->other_cpu_ns > LEAST_BUSY_NS && c->other_cpu_ns > MOST_BUSY * c->wall_ns)
        snprintf(why, size,
                 "%.1f processors of this process were busy while the GPU was said to work: the plugin "
                 "computes on the CPU",
                 c->other_cpu_ns / c->wall_ns);
    else if (c->wall_ns > MOST_WALL * c->device_ns + slack)
        snprintf(why, size,
                 "the runs took %.3g ms by the host's clock and %.3g ms by the device's: its times are not "
                 "those of the work",
                 c->wall_ns * 1e-6, c->device_ns * 1e-6);
    else if (c->device_ns > MOST_DEVICE * c->wall_ns + slack)
        snprintf(why, size,
                 "the device says that it worked for %.3g ms, and the host waited for %.3g ms: its clock "
                 "runs too fast",
                 c->device_ns * 1e-6, c->wall_ns * 1e-6);
    else
        return true;
    return false;
}
