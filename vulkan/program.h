/* program.h: programs as recorded command buffers. */
#ifndef VK_PROGRAM_H
#define VK_PROGRAM_H

#include "pipeline.h"

/* Where the launch rules and the commands that they become lie in the workspace, from its start. */
uint64_t vk_indirect_offset(const tandem_program *program);
uint64_t vk_rules_offset(const tandem_program *program);

#endif
