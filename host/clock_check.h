/* host/clock_check.h: whether a GPU's times can be what they are said to be.
 *
 * A plugin that works on the processor and calls itself a GPU, or one whose timestamps are read in the wrong
 * unit, gives figures that contradict the host's clock, or keeps processors of this process busy while the
 * device works. Software devices are labelled as what they are, and are not asked. Threads: one caller.
 */
#ifndef TANDEM_HOST_CLOCK_CHECK_H
#define TANDEM_HOST_CLOCK_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sums over runs, nanoseconds. */
typedef struct clock_record {
    double device_ns;    /* run and idle time by the device's clock */
    double wall_ns;      /* of the same runs */
    double other_cpu_ns; /* processor time of this process's other threads meanwhile */
    uint32_t n_wait;     /* how often the host waited for a run with nothing queued behind it */
} clock_record;

/* Processor time so far of all threads of this process but the caller. */
uint64_t clock_other_cpu_ns(void);

/* True: nothing speaks against the device. False: `why` is a sentence. kind: TANDEM_DEVICE_*. */
bool clock_is_plausible(const clock_record *c, uint32_t kind, char *why, size_t size);

#endif
