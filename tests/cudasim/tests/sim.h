/* What the simulator's tests share: a context, memory, modules from files or text, launches. */
#ifndef CUDASIM_TESTS_SIM_H
#define CUDASIM_TESTS_SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <cuda.h>

#include "cudasim.h"

/* A real driver has none of these. Tests that also make sense on a card ask sim_simulated first. */
#pragma weak cudasim_message
#pragma weak cudasim_option
#pragma weak cudasim_fail
#pragma weak cudasim_counters
#pragma weak cudasim_counters_reset
#pragma weak cudasim_calls
#pragma weak cudasim_traffic
#pragma weak cudasim_opcodes
#pragma weak cudasim_opcode_name
#pragma weak cudasim_opcode_count
bool sim_simulated(void);
const char *sim_message(void);                        /* "" on a card */
void sim_option(const char *name, const char *value); /* nothing on a card */

/* Fails the test with the call, the code and the simulator's sentence. */
#define CU(call) sim_check((call), #call, __FILE__, __LINE__)
void sim_check(CUresult result, const char *call, const char *file, int line);
/* The call answers with this code. */
#define CU_IS(code, call) sim_is((call), (code), #call, __FILE__, __LINE__)
void sim_is(CUresult result, CUresult expected, const char *call, const char *file, int line);
/* The simulator's last sentence contains this. */
#define SAYS(text) sim_says((text), __FILE__, __LINE__)
void sim_says(const char *text, const char *file, int line);

/* A context for the test, current; sim_close drops it with all that is in it, also after a fault. */
void sim_open(void);
void sim_close(void);
int sim_setup(void **state);
int sim_teardown(void **state);

CUdeviceptr sim_alloc(size_t bytes);
CUdeviceptr sim_upload(const void *data, size_t bytes);
void sim_download(void *to, CUdeviceptr from, size_t bytes);

/* The fatbin of kernels.cu. */
CUfunction sim_kernel(const char *name);
/* The only kernel of this PTX; text without a .version gets a head. */
CUfunction sim_ptx(const char *text);
/* Its error, instead; a copy of the message is kept for SAYS. */
CUresult sim_ptx_fails(const char *text);

/* Launches and waits. */
CUresult sim_run(CUfunction f, unsigned grid, unsigned threads, unsigned dynamic_bytes, void **params);
CUresult sim_run3(CUfunction f, unsigned gx, unsigned gy, unsigned threads, unsigned dynamic_bytes,
                  void **params);
#define PARAMS(...) ((void *[]){__VA_ARGS__})

char *sim_read_file(const char *path, size_t *bytes);

/* A number of a counter's JSON, by a path such as "kernels/saxpy/warp/fp32". */
double sim_counter(const char *path);

/* Small reproducible numbers. */
uint32_t sim_random(uint32_t *state);
float sim_random_float(uint32_t *state); /* in [-1, 1) */
uint16_t sim_half(float x);
float sim_from_half(uint16_t x);

#endif
