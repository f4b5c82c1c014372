/* program.c: compiles ops into a program, and ends it. */
#include "hooks.h"

#include <stdio.h>
#include <string.h>

/* The ops of a program, taken from the caller's structs. */
typedef struct op_list {
    tandem_kit_op *ops;
    tandem_op_stream *prologues; /* one for each op, used by those that have one */
    uint32_t n;
} op_list;

static tandem_status take_ops(tandem_context *context, const tandem_program_desc *desc, op_list *list,
                              tandem_error *error) {
    list->n = desc->n_op;
    list->ops = gpu_alloc((uint64_t)list->n * sizeof *list->ops);
    list->prologues = gpu_alloc((uint64_t)list->n * sizeof *list->prologues);
    if (!list->ops || !list->prologues)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for %u ops", list->n);
    for (uint32_t i = 0; i < list->n; i++) {
        tandem_status status = gpu_take_op(&list->ops[i], &list->prologues[i], desc->ops[i], i, error);
        if (status == TANDEM_OK)
            status = gpu_supports_op(context, &list->ops[i], desc->precision, i, error);
        if (status != TANDEM_OK)
            return status;
    }
    return TANDEM_OK;
}

static void free_ops(op_list *list) {
    gpu_free(list->ops);
    gpu_free(list->prologues);
}

/* One pass of the builder over all ops. */
static tandem_status lower_all(gpu_builder *builder, const op_list *list) {
    const tandem_op_topk *first_topk = NULL;
    builder->op_index = TANDEM_NONE;
    GPU_DO(gpu_lower_prepare(builder));
    for (uint32_t i = 0; i < list->n; i++) {
        const tandem_kit_op *op = &list->ops[i];
        builder->op_index = i;
        builder->op_label = op->head.label;
        if (op->head.kind == TANDEM_OP_TOPK && !first_topk)
            first_topk = &op->topk;
        GPU_DO(gpu_lower(builder, &op->head));
    }
    if (first_topk && !(first_topk->head.rows == TANDEM_ROWS_OUT && builder->program->limits.max_out == 0)) {
        builder->op_label = first_topk->head.label;
        builder->op_index = (uint32_t)((const tandem_kit_op *)first_topk - list->ops);
        GPU_DO(gpu_lower_finish(builder, first_topk));
    }
    return TANDEM_OK;
}

static void clear_launches(tandem_program *program) {
    for (uint32_t i = 0; i < program->launches.n; i++)
        gpu_free(GPU_AT(program->launches, gpu_launch, i)->params);
    gpu_list_clear(&program->launches, sizeof(gpu_launch));
}

/* For the second pass: gpu_list_add promises zeroed items. */
static void clear_lists(tandem_program *program) {
    clear_launches(program);
    gpu_list_clear(&program->ranges, sizeof(gpu_range));
    gpu_list_clear(&program->steps, sizeof(gpu_step));
    gpu_list_clear(&program->uses, sizeof(gpu_weight_use));
}

static uint64_t align(uint64_t n) {
    return (n + GPU_MEMORY_ALIGNMENT - 1) & ~(uint64_t)(GPU_MEMORY_ALIGNMENT - 1);
}

/* The places of all parts, after the pass that learned their sizes. */
static gpu_layout make_layout(const gpu_builder *builder) {
    tandem_program *program = builder->program;
    gpu_layout layout = {0};
    layout.commands = align(RUN_BLOCK_BYTES((uint64_t)program->limits.max_tokens, program->limits.max_out));
    layout.constants = align(layout.commands + gpu_program_plan(program));
    layout.scratch = align(layout.constants + builder->n_constant);
    layout.end = layout.scratch + builder->scratch_end;
    return layout;
}

/* Sends to the workspace what runs leave alone. */
static tandem_status upload_constants(gpu_builder *builder) {
    tandem_program *program = builder->program;
    GPU_DO(gpu_program_upload(program, builder->error));
    if (builder->n_constant == 0)
        return TANDEM_OK;
    return gpu_upload(builder->context, &program->workspace, program->layout.constants, builder->constants,
                      builder->n_constant, builder->error);
}

/* Both passes: sizes, memory, launches with real addresses, barriers. */
static tandem_status build(tandem_program *program, const op_list *list, tandem_error *error) {
    tandem_context *context = program->context;
    /* note: made-up addresses must not be 0, which says "absent". */
    gpu_builder size = {.context = context, .program = program, .error = error, .base = GPU_MEMORY_ALIGNMENT};
    GPU_DO(lower_all(&size, list));
    program->layout = make_layout(&size);
    GPU_DO(gpu_memory_allocate(context, GPU_CLASS_WORKSPACE, TANDEM_PLACE_DEVICE, program->layout.end,
                               &program->workspace, error));
    gpu_builder real = {.context = context,
                        .program = program,
                        .error = error,
                        .layout = program->layout,
                        .base = program->workspace.address,
                        .constants = gpu_alloc(size.n_constant)};
    if (!real.constants)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY,
                               "No host memory for the constants of a program");
    clear_lists(program);
    tandem_status status = lower_all(&real, list);
    if (status == TANDEM_OK)
        status = upload_constants(&real);
    gpu_free(real.constants);
    if (status == TANDEM_OK)
        status = gpu_schedule(program, error);
    if (status == TANDEM_OK)
        status = gpu_place_barriers(program, error);
    return status;
}

static tandem_status create_tables(tandem_program *program, tandem_error *error) {
    const tandem_kit_limits *limits = &program->limits;
    program->table_bytes = align(RUN_BLOCK_BYTES((uint64_t)limits->max_tokens, limits->max_out));
    return gpu_memory_allocate(program->context, GPU_CLASS_WORKSPACE, TANDEM_PLACE_HOST,
                               GPU_N_PENDING * program->table_bytes, &program->tables, error);
}

tandem_status gpu_program_create(tandem_context *context, const tandem_program_desc *desc,
                                 tandem_program **result, tandem_error *error) {
    tandem_program_desc taken;
    tandem_kit_limits limits;
    op_list list = {0};
    tandem_status status = gpu_context_check(context, error);
    if (status == TANDEM_OK)
        status = tandem_kit_program_limits(&gpu_backend, desc, &limits, error);
    if (status == TANDEM_OK)
        status = TANDEM_KIT_TAKE(tandem_program_desc, &taken, desc, error);
    if (status != TANDEM_OK)
        return status;
    if (!result)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "program_create: the place for the handle is NULL");
    if (taken.max_tokens > GPU_MAX_ROWS)
        return tandem_kit_fail(error, TANDEM_E_UNSUPPORTED, "max_tokens of %u: a launch covers %u rows",
                               taken.max_tokens, GPU_MAX_ROWS);
    tandem_program *program = gpu_alloc(sizeof *program);
    if (!program)
        return tandem_kit_fail(error, TANDEM_E_OUT_OF_MEMORY, "No host memory for a program");
    context->n_object++;
    program->context = context;
    program->limits = limits;
    program->precision = taken.precision;
    program->kv = limits.kv;
    /* A rotation table ends where the cache does, also where every layer is a ring. */
    if (program->kv && program->limits.n_position > program->kv->max_position)
        program->limits.n_position = program->kv->max_position;
    gpu_memory_collect(context, 0);
    status = take_ops(context, &taken, &list, error);
    if (status == TANDEM_OK)
        status = create_tables(program, error);
    if (status == TANDEM_OK)
        status = build(program, &list, error);
    if (status == TANDEM_OK)
        status = gpu_program_record(program, error);
    free_ops(&list);
    if (status != TANDEM_OK) {
        gpu_program_destroy(program);
        return status;
    }
    *result = program;
    return TANDEM_OK;
}

void gpu_program_destroy(tandem_program *program) {
    if (!program)
        return;
    tandem_context *context = program->context;
    if (!gpu_is_done(context, context->serial))
        gpu_drain(context);
    gpu_program_release(program);
    gpu_memory_free(context, &program->workspace);
    gpu_memory_free(context, &program->tables);
    clear_launches(program);
    gpu_free(program->launches.items);
    gpu_free(program->ranges.items);
    gpu_free(program->steps.items);
    gpu_free(program->uses.items);
    gpu_free(program);
    context->n_object--;
}

static tandem_status check_program(const tandem_program *program, tandem_error *error) {
    if (!program)
        return tandem_kit_fail(error, TANDEM_E_INVALID, "The program is NULL");
    return gpu_context_check(program->context, error);
}

tandem_status gpu_program_step_count(const tandem_program *program, uint32_t *n, tandem_error *error) {
    tandem_status status = check_program(program, error);
    if (status == TANDEM_OK && !n)
        status =
            tandem_kit_fail(error, TANDEM_E_INVALID, "program_step_count: the place for the count is NULL");
    if (status == TANDEM_OK)
        *n = program->steps.n;
    return status;
}

tandem_status gpu_program_step(const tandem_program *program, uint32_t index, tandem_step *info,
                               tandem_error *error) {
    tandem_status status = check_program(program, error);
    if (status == TANDEM_OK && index >= program->steps.n)
        status =
            tandem_kit_fail(error, TANDEM_E_INVALID, "Step %u of a program with %u", index, program->steps.n);
    if (status != TANDEM_OK)
        return status;
    const gpu_step *step = GPU_AT(program->steps, gpu_step, index);
    tandem_step filled = {
        .n_op = step->n_op, .n_dispatch = step->n_launch, .barrier_before = step->barrier_before};
    for (uint32_t i = 0; i < 8; i++)
        filled.ops[i] = i < step->n_op ? step->ops[i] : 0;
    memcpy(filled.kernel, step->kernel, sizeof filled.kernel);
    memcpy(filled.label, step->label, sizeof filled.label);
    return TANDEM_KIT_GIVE(tandem_step, info, &filled, error);
}
