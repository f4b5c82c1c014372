/* Kernels that nvcc compiled, with one instruction of their PTX taken out or changed: each such mutant must
 * be caught, by a report or by bits that differ from the right ones in some order of execution. */
#ifndef CUDASIM_TESTS_MUTATE_H
#define CUDASIM_TESTS_MUTATE_H

#include "sim.h"

/* Runs the kernel and gives back its output; the same inputs each time. */
typedef CUresult (*run_fn)(CUfunction f, void *out);

/* Each occurrence of `instruction` in the kernel, on lines that begin with `first`, becomes the replacement
 * in turn. fatbin: a file that holds PTX uncompressed; expected: how many occurrences there are. */
void mutate(const char *fatbin, const char *kernel, const char *first, const char *instruction,
            const char *replacement, unsigned expected, run_fn run, size_t bytes);

/* The same of a kernel of which the run takes one way among several: at least so many of them are caught. */
void mutate_some(const char *fatbin, const char *kernel, const char *first, const char *instruction,
                 const char *replacement, unsigned least, run_fn run, size_t bytes);

#endif
