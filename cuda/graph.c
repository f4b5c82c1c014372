/* graph.c: a program as a CUDA graph, made once: a node for each launch, an edge exactly where ranges
 * conflict and no other path orders the two. */
#include "kernel.h"

#include <string.h>

/* What the builder of one graph holds. before: for each launch the set of those that come before it, a bit
 * each. */
typedef struct graph_job {
    tandem_program *program;
    CUgraphNode *nodes;
    CUgraphNode *waits; /* dependences of the node being added */
    uint64_t *before;
    uint32_t n_word;
} graph_job;

/* The launches that launch d must wait for, less those that others of them wait for already. */
static uint32_t find_waits(graph_job *job, uint32_t d) {
    uint64_t *mine = job->before + (size_t)d * job->n_word;
    uint32_t n = 0;
    for (uint32_t a = d; a-- > 0;) {
        const uint64_t *theirs = job->before + (size_t)a * job->n_word;
        if ((mine[a / 64] >> (a % 64) & 1) || !gpu_launches_conflict(job->program, a, d))
            continue;
        for (uint32_t w = 0; w < job->n_word; w++)
            mine[w] |= theirs[w];
        mine[a / 64] |= (uint64_t)1 << (a % 64);
        job->waits[n++] = job->nodes[a];
    }
    return n;
}

static tandem_status add_node(graph_job *job, uint32_t d, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_program *program = job->program;
    const gpu_launch *launch = GPU_AT(program->launches, gpu_launch, d);
    void *params[1] = {launch->params};
    const CUDA_KERNEL_NODE_PARAMS node = {.func = launch->api.kernel->function,
                                          .gridDimX = launch->api.grid[0],
                                          .gridDimY = launch->api.grid[1],
                                          .gridDimZ = launch->api.grid[2],
                                          .blockDimX = launch->api.block,
                                          .blockDimY = 1,
                                          .blockDimZ = 1,
                                          .sharedMemBytes = launch->api.shared_bytes,
                                          .kernelParams = params};
    uint32_t n = find_waits(job, d);
    CU_TRY(program->context, GraphAddKernelNode, &job->nodes[d], program->api.graph, job->waits, n, &node);
    program->api.n_edge += n;
fail:
    return status;
}

static tandem_status add_nodes(graph_job *job, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_program *program = job->program;
    CU_TRY(program->context, GraphCreate, &program->api.graph, 0);
    for (uint32_t d = 0; d < program->launches.n && status == TANDEM_OK; d++)
        status = add_node(job, d, error);
    if (status == TANDEM_OK)
        CU_TRY(program->context, GraphInstantiate, &program->api.exec, program->api.graph, 0);
fail:
    return status;
}

tandem_status gpu_program_record(tandem_program *program, tandem_error *error) {
    uint32_t n = program->launches.n;
    graph_job job = {.program = program, .n_word = (n + 63) / 64};
    tandem_status status;
    job.nodes = gpu_alloc(n * sizeof *job.nodes);
    job.waits = gpu_alloc(n * sizeof *job.waits);
    job.before = gpu_alloc((uint64_t)n * job.n_word * sizeof *job.before);
    if (job.nodes && job.waits && job.before)
        status = add_nodes(&job, error);
    else
        status =
            tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for a graph of %u launches", n);
    gpu_free(job.nodes);
    gpu_free(job.waits);
    gpu_free(job.before);
    return status;
}

/* Nothing of the plugin's stays in the workspace. */
uint64_t gpu_program_plan(tandem_program *program) {
    (void)program;
    return 0;
}

tandem_status gpu_program_upload(tandem_program *program, tandem_error *error) {
    (void)program;
    (void)error;
    return TANDEM_OK;
}

void gpu_program_release(tandem_program *program) {
    const cu_driver *cu = program->context->api.cu;
    if (program->api.exec)
        cu->GraphExecDestroy(program->api.exec);
    if (program->api.graph)
        cu->GraphDestroy(program->api.graph);
    for (uint32_t i = 0; program->api.profile_events && i <= program->steps.n; i++)
        if (program->api.profile_events[i])
            cu->EventDestroy(program->api.profile_events[i]);
    gpu_free(program->api.profile_events);
}
