/* host/parallel.h: one loop over several threads. */
#ifndef TANDEM_HOST_PARALLEL_H
#define TANDEM_HOST_PARALLEL_H

#include <stdint.h>

/* Works on items [first, first + n). `worker` is below the number of threads asked for and differs between
 * calls that run at the same time. */
typedef void (*parallel_work)(void *user, uint32_t worker, uint64_t first, uint64_t n);

/* Deals [0, n) out to up to n_thread threads (the caller is one of them), one slice each, and waits. Where a
 * thread cannot be started, the caller does its work. */
void parallel_run(uint32_t n_thread, uint64_t n, parallel_work work, void *user);

/* Cores that this process may use. */
uint32_t parallel_default(void);

#endif
