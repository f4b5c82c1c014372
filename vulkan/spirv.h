/* spirv.h: SPIR-V modules with what only some devices offer. */
#ifndef VK_SPIRV_H
#define VK_SPIRV_H

#include <stdint.h>

#define VK_SPIRV_MORE_WORDS 14u /* most that vk_spirv_uniform_control_flow adds */

/* Copies a module of n words to `out` (room for VK_SPIRV_MORE_WORDS more) and asks in it for subgroup-uniform
 * control flow (SPV_KHR_subgroup_uniform_control_flow): lanes that went apart come together again where the
 * source does, so that all are there at the next shuffle. Without it a compiler may join them later. For
 * devices with the feature alone. Returns the words of `out`. */
uint32_t vk_spirv_uniform_control_flow(const uint32_t *words, uint32_t n, uint32_t *out);

#endif
