/* The groups of ptx_test. */
#ifndef CUDASIM_TESTS_PTX_TESTS_H
#define CUDASIM_TESTS_PTX_TESTS_H

void computes_with_integers(void **state);
void carries_as_the_machine_code_does(void **state);
void moves_bits(void **state);
void computes_with_floats(void **state);
void approximates_functions(void **state);
void computes_with_halves(void **state);
void converts_all_halves(void **state);
void converts_types(void **state);
void compares(void **state);
void loads_and_stores(void **state);
void orders_memory(void **state);
void copies_asynchronously(void **state);
void converts_addresses(void **state);
void works_atomically(void **state);
void contends(void **state);
void works_together(void **state);
void waits_at_barriers(void **state);
void follows_control(void **state);
void multiplies_matrices(void **state);

#endif
