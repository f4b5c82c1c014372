/* loops.c: loop iterations of the shaders, by their `loops` lines. */
#include "loops.h"

#include <tandem/quants.h>

#include <string.h>

static uint64_t divide_up(uint64_t n, uint64_t by) {
    return (n + by - 1) / by;
}

static int begins(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static uint64_t of_prepare(const tandem_program *program, const prepare_push *push) {
    return program->limits.max_tokens / 64 + program->limits.max_out / 64 + push->n_rule / 64 + 3 + 3 * 4;
}

uint64_t vk_loop_iterations(const tandem_program *program, uint32_t index) {
    const vk_dispatch *dispatch = VK_AT(program->dispatches, vk_dispatch, index);
    const vk_pipeline *pipeline = &program->context->pipelines->items[dispatch->pipeline];
    const char *shader = pipeline->shader->name;
    if (begins(shader, "prepare"))
        return of_prepare(program, (const prepare_push *)(const void *)dispatch->push);
    if (begins(shader, "finish"))
        return 34;
    if (begins(shader, "matmul_")) {
        const matmul_push *push = (const matmul_push *)(const void *)dispatch->push;
        return 2 * divide_up(push->n_col, 32) + 8; /* chunks of at least one block */
    }
    if (begins(shader, "embed_") || begins(shader, "quantise_q8"))
        return 0;
    return UINT64_MAX;
}
