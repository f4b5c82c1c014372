/* host/peaks.h: what a device does at best through a plugin, measured over the ABI alone.
 *
 * Rates are medians over runs by the device's clock. Every point is checked: products against the same sums
 * in double, copies byte by byte at both ends and in the middle, chains of additions exactly; a wrong one
 * ends the measurement. Costs are slopes: a chain of many additions against one of few, in turns, so that
 * what a run costs whatever is in it falls out. Bounded by a share of the device's memory and by a time.
 *
 * Threads: one caller.
 */
#ifndef TANDEM_HOST_PEAKS_H
#define TANDEM_HOST_PEAKS_H

#include <cjson/cJSON.h>

#include <tandem/tandem.h>

#include "message.h"
#include "stats.h"

typedef struct peaks_desc {
    const tandem_backend *backend;
    uint32_t device;
    tandem_device_info info; /* of that device */
    uint32_t n_threads;      /* CPU plugins; 0: their choice */
    uint64_t memory_cap;     /* 0: none */
    uint64_t max_bytes;      /* of the largest matrix; 0: 1 GiB, on software devices 64 MiB */
    double seconds;          /* all of it, about; > 0 */
    uint64_t seed;           /* of the intervals' draws */
    void (*begins)(void *user, const char *what); /* may be NULL */
    void *user;
} peaks_desc;

#define PEAKS_MAX_POINTS 8u
#define PEAKS_REASON 200u

/* One size of a ladder. */
typedef struct peak_point {
    uint64_t size;       /* bytes of the matrix, bytes copied, or rows and columns of a product */
    stats_interval rate; /* bytes or floating point operations a second; no interval below STATS_LEAST */
    uint32_t n;          /* samples */
    char kernel[64];
    double error; /* worst row, sum (a - b)^2 / sum b^2 */
} peak_point;

/* Growing sizes of one thing. */
typedef struct peak_ladder {
    uint32_t n;
    peak_point point[PEAKS_MAX_POINTS];
    uint32_t best; /* the point that counts: the largest for bandwidths, the fastest for products */
    char reason[PEAKS_REASON]; /* why there is no point, or no larger one; "": the last is the largest asked
                                  for */
} peak_ladder;

/* Nanoseconds. */
typedef struct peak_cost {
    stats_interval ns; /* median 0: noise hid it */
    uint32_t n;
} peak_cost;

#define PEAKS_N_PRECISION 3u /* TANDEM_PRECISION_EXACT, _F16, _Q8, with f32, f16 and Q8_0 weights */

typedef struct peaks {
    peak_ladder read; /* one-row f32 products: the matrix is read once a product */
    peak_ladder copy; /* COPY: bytes read and written together */
    peak_ladder product[PEAKS_N_PRECISION];
    peak_cost dispatch; /* one more launch beside others */
    peak_cost step;     /* one more launch that waits for the one before */
    peak_cost submit;   /* wall time of a run of one launch, four always queued */
    peak_cost gap;      /* idle time of the device before such a run */
    double seconds;     /* what all of it took */
} peaks;

/* UNSUPPORTED for simulated devices, whose times say nothing. */
int peaks_check_device(const tandem_device_info *info, tandem_message *message);
/* The same for them; INTERNAL where a result is wrong. */
int peaks_measure(const peaks_desc *desc, peaks *out, tandem_message *message);

/* The rate of the point that counts; 0 without one. */
double peaks_rate(const peak_ladder *ladder);

/* Adds the members of a journal row of kind "peaks" (bench/SCHEMA.md) to `row`. */
void peaks_json(const peaks *p, cJSON *row);

/* "PLUGIN@GIT|UUID|DRIVER" from the objects `plugin` and `device` of a row. */
void peaks_key(const cJSON *plugin, const cJSON *device, char *key, uint32_t size);

#endif
