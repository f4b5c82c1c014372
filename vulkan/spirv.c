/* spirv.c: inserts an extension and an execution mode. */
#include "spirv.h"

#include <string.h>

enum {
    HEADER_WORDS = 5,
    OP_EXTENSION = 10,
    OP_ENTRY_POINT = 15,
    OP_EXECUTION_MODE = 16,
    OP_CAPABILITY = 17,
    MODE_SUBGROUP_UNIFORM_CONTROL_FLOW = 4421,
    NAME_WORDS = 10,
};

/* Padded with zeros to whole words; one zero ends it. */
static const char name[NAME_WORDS * 4] = "SPV_KHR_subgroup_uniform_control_flow";

_Static_assert(1 + NAME_WORDS + 3 == VK_SPIRV_MORE_WORDS, "an extension and an execution mode");

static uint32_t first_word(uint32_t n_word, uint32_t opcode) {
    return n_word << 16 | opcode;
}

/* note: a module has its capabilities first, then extensions, and its execution modes after the entry point.
 */
uint32_t vk_spirv_uniform_control_flow(const uint32_t *words, uint32_t n, uint32_t *out) {
    uint32_t to = HEADER_WORDS, named = 0;
    memcpy(out, words, HEADER_WORDS * sizeof *words);
    for (uint32_t at = HEADER_WORDS, length; at < n; at += length) {
        uint32_t opcode = words[at] & 0xffffu;
        length = words[at] >> 16;
        if (opcode != OP_CAPABILITY && !named) {
            out[to++] = first_word(1 + NAME_WORDS, OP_EXTENSION);
            memcpy(&out[to], name, sizeof name);
            to += NAME_WORDS;
            named = 1;
        }
        memcpy(&out[to], &words[at], length * sizeof *words);
        to += length;
        if (opcode == OP_ENTRY_POINT) {
            out[to++] = first_word(3, OP_EXECUTION_MODE);
            out[to++] = words[at + 2]; /* the entry point's function */
            out[to++] = MODE_SUBGROUP_UNIFORM_CONTROL_FLOW;
        }
    }
    return to;
}
