/* loops.h: how many loop iterations a subgroup of a dispatch can make.
 *
 * lavapipe gives a subgroup about 65534 in all its loops together; beyond that every loop body runs once and
 * the shader goes on, with wrong results and no message. Plans keep to the policy's loop budget, and a
 * program whose launches could leave it is refused.
 */
#ifndef VK_LOOPS_H
#define VK_LOOPS_H

#include "program.h"

/* At most, at the limits of the program; by the `loops` line at the head of each shader. UINT64_MAX: no
 * formula. */
uint64_t vk_loop_iterations(const tandem_program *program, uint32_t dispatch);

/* Of moe_group. */
uint64_t vk_moe_group_iterations(uint64_t n_expert, uint64_t n_entry, uint64_t tall_rows,
                                 uint64_t local_size);

/* UNSUPPORTED, naming the shader: a launch of the program can leave the driver's loop budget. */
tandem_status vk_loops_check(const tandem_program *program, tandem_error *error);

#endif
