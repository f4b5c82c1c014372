/* loops.h: how many loop iterations a subgroup of a dispatch can make.
 *
 * lavapipe gives a subgroup about 65534 in all its loops together; beyond that every loop body runs once and
 * the shader goes on, with wrong results and no message. Tests compare every dispatch with that budget.
 */
#ifndef VK_LOOPS_H
#define VK_LOOPS_H

#include "program.h"

/* At most, at the limits of the program; by the `loops` line at the head of each shader. UINT64_MAX: no
 * formula. */
uint64_t vk_loop_iterations(const tandem_program *program, uint32_t dispatch);

#endif
