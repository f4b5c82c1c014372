/* What the simulated driver offers a test beyond the driver API: options, injected failures, counters, and
 * the sentence behind the last error. Exported by the same libcuda.so.1; nothing here exists in a real
 * driver, so a program that must also run on a real card looks these names up with dlsym.
 *
 * Every function may be called from any thread; cudasim_option while no other thread is inside the driver.
 */
#ifndef CUDASIM_H
#define CUDASIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The sentence of the last refusal or fault, "" when there was none. Valid until the calling thread's next
 * call. */
const char *cudasim_message(void);

/* Sets an option as the environment variable CUDASIM_<NAME> would; the README lists them. 0 when it was
 * taken, -1 with a message when the name or the value means nothing. MEMORY, ARCH and SMS hold from the next
 * cuInit on a process without contexts; the others from the next call. */
int cudasim_option(const char *name, const char *value);

/* Arms failures, in the words of CUDASIM_FAIL (README); NULL or "" disarms all. Counts of calls start again
 * at zero. */
int cudasim_fail(const char *spec);

/* How often an entry point was called since cuInit, cudasim_fail or cudasim_counters_reset, under its
 * unversioned name
 * ("cuMemAlloc"); "launch" counts kernels executed. */
uint64_t cudasim_calls(const char *name);

/* All counters as one JSON object, allocated with malloc. NULL when memory ran out. */
char *cudasim_counters(void);
void cudasim_counters_reset(void);

/* Bytes that kernels read from the allocation that holds `address`: as their threads asked for them, and in
 * sectors of 32 bytes as the memory would have delivered them, each request by itself. 0, or -1 when nothing
 * is allocated there. */
int cudasim_traffic(uint64_t address, uint64_t *requested_bytes, uint64_t *sector_bytes);

/* The table of opcodes: its length, a name, and how many warp instructions of that name have executed in this
 * process. */
uint32_t cudasim_opcodes(void);
const char *cudasim_opcode_name(uint32_t index);
uint64_t cudasim_opcode_count(uint32_t index);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
