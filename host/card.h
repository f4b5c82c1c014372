/* host/card.h: what the card and the machine do while a cell is measured.
 *
 * The card's own figures come from NVML, opened at run time (libnvidia-ml.so.1); without it, or without a
 * card of that UUID, there are none and nothing is said. Load and free memory of the machine come from /proc.
 *
 * Threads: one caller.
 */
#ifndef TANDEM_HOST_CARD_H
#define TANDEM_HOST_CARD_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct card card;

/* NULL where there is no such card or no NVML. */
card *card_open(const uint8_t uuid[16]);
void card_close(card *c);

/* Reading at both ends of a piece of work; the sums run from card_start on. c may be NULL. */
void card_start(card *c);
void card_begin(card *c);
/* True: at one of the ends the card held its clocks back for heat or for want of power supply. */
bool card_end(card *c);

/* {"name", "sm_mhz", "memory_mhz", "watts", "celsius", "throttle", "pcie", "memory_used", "samples"}: means
 * over the readings, greatest temperature. NULL without readings. */
cJSON *card_json(const card *c);
/* Mean power over the pieces of work by the card's energy counter; 0: unknown. */
double card_watts(const card *c);

/* Busy and whole time of all processors so far, in ticks. */
typedef struct cpu_ticks {
    uint64_t busy, all;
} cpu_ticks;

cpu_ticks machine_ticks(void);
/* {"cpu_load", "memory_available"}: busy share of all processors since `before`, free bytes. */
cJSON *machine_json(cpu_ticks before);

#endif
