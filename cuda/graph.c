/* graph.c: a program as a CUDA graph, made once: a node for each launch, an edge exactly where ranges
 * conflict and no other path orders the two. */
#include "program.h"

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
    const CUDA_KERNEL_NODE_PARAMS node = {.func = launch->kernel->function,
                                          .gridDimX = launch->grid[0],
                                          .gridDimY = launch->grid[1],
                                          .gridDimZ = launch->grid[2],
                                          .blockDimX = launch->block,
                                          .blockDimY = 1,
                                          .blockDimZ = 1,
                                          .sharedMemBytes = launch->shared_bytes,
                                          .kernelParams = params};
    uint32_t n = find_waits(job, d);
    CU_TRY(program->context, GraphAddKernelNode, &job->nodes[d], program->graph, job->waits, n, &node);
    program->n_edge += n;
fail:
    return status;
}

static tandem_status add_nodes(graph_job *job, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    tandem_program *program = job->program;
    CU_TRY(program->context, GraphCreate, &program->graph, 0);
    for (uint32_t d = 0; d < program->launches.n && status == TANDEM_OK; d++)
        status = add_node(job, d, error);
    if (status == TANDEM_OK)
        CU_TRY(program->context, GraphInstantiate, &program->exec, program->graph, 0);
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

/* ---- profile runs ---- */

static tandem_status create_events(tandem_program *program, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    uint32_t n = program->steps.n + 1;
    if (!program->profile_events)
        program->profile_events = gpu_alloc(n * sizeof *program->profile_events);
    if (!program->profile_events)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for the events of %u steps",
                               program->steps.n);
    for (uint32_t i = 0; i < n; i++)
        if (!program->profile_events[i])
            CU_TRY(program->context, EventCreate, &program->profile_events[i], CU_EVENT_DEFAULT);
fail:
    return status;
}

static tandem_status launch_one(tandem_program *program, uint32_t d, tandem_error *error) {
    tandem_status status = TANDEM_OK;
    const gpu_launch *launch = GPU_AT(program->launches, gpu_launch, d);
    void *params[1] = {launch->params};
    CU_TRY(program->context, LaunchKernel, launch->kernel->function, launch->grid[0], launch->grid[1],
           launch->grid[2], launch->block, 1, 1, launch->shared_bytes, program->context->stream, params,
           NULL);
fail:
    return status;
}

tandem_status cu_program_launch_profiled(tandem_program *program, tandem_error *error) {
    tandem_context *context = program->context;
    tandem_status status = create_events(program, error);
    if (status == TANDEM_OK)
        status = launch_one(program, 0, error);
    if (status != TANDEM_OK)
        return status;
    program->n_run++; /* prepare has counted it, whatever becomes of the rest */
    CU_TRY(context, EventRecord, program->profile_events[0], context->stream);
    for (uint32_t s = 0; s < program->steps.n; s++) {
        const gpu_step *step = GPU_AT(program->steps, gpu_step, s);
        for (uint32_t i = 0; i < step->n_launch && status == TANDEM_OK; i++)
            status = launch_one(program, step->first_launch + i, error);
        if (status != TANDEM_OK)
            return status;
        CU_TRY(context, EventRecord, program->profile_events[s + 1], context->stream);
    }
fail:
    return status;
}

void cu_program_release(tandem_program *program) {
    const cu_driver *cu = program->context->cu;
    if (program->exec)
        cu->GraphExecDestroy(program->exec);
    if (program->graph)
        cu->GraphDestroy(program->graph);
    for (uint32_t i = 0; program->profile_events && i <= program->steps.n; i++)
        if (program->profile_events[i])
            cu->EventDestroy(program->profile_events[i]);
    gpu_free(program->profile_events);
}
