/* validate_run.c: the arguments of a run. */
#include "validate_internal.h"

tandem_row tandem_kit_run_row(const tandem_run *run, uint32_t i) {
    if (run->rows != NULL)
        return run->rows[i];
    return (tandem_row){.token = run->tokens[i], .position = run->position + i, .slot = 0};
}

tandem_out tandem_kit_run_out(const tandem_run *run, uint32_t i) {
    if (run->out != NULL)
        return run->out[i];
    return (tandem_out){.row = run->n_rows - run->n_out + i, .target = TANDEM_NONE};
}

static tandem_status check_source(const check *c, const tandem_kit_limits *limits, const tandem_run *run,
                                  const tandem_row *next) {
    if (run->source > TANDEM_SOURCE_DEVICE_NEXT)
        return check_fail(c, TANDEM_KIT_RULE_RUN_SOURCE, "source", "%u", run->source);
    if ((run->flags & ~TANDEM_RUN_PROFILE) != 0)
        return check_fail(c, TANDEM_KIT_RULE_FLAGS, "flags", "0x%x", run->flags);
    if (run->n_rows == 0 || run->n_rows > limits->max_tokens)
        return check_fail(c, TANDEM_KIT_RULE_RUN_ROWS, "n_rows", "%u, and a max_tokens of %u", run->n_rows,
                          limits->max_tokens);
    if (run->source == TANDEM_SOURCE_DEVICE_NEXT) {
        if (run->n_rows != 1 || run->rows != NULL || run->tokens != NULL || run->position != 0 ||
            next == NULL)
            return check_fail(c, TANDEM_KIT_RULE_RUN_NEXT, "source",
                              "%u rows, rows %s, tokens %s, position %u, %s", run->n_rows,
                              run->rows != NULL ? "given" : "NULL", run->tokens != NULL ? "given" : "NULL",
                              run->position, next != NULL ? "a TOPK before" : "no TOPK before");
        return TANDEM_OK;
    }
    if ((run->rows == NULL) == (run->tokens == NULL))
        return check_fail(c, TANDEM_KIT_RULE_RUN_ROWS, "rows", "rows and tokens are both %s",
                          run->rows != NULL ? "given" : "NULL");
    if (run->rows != NULL && run->position != 0)
        return check_fail(c, TANDEM_KIT_RULE_RUN_ROWS, "position", "%u beside rows that have their own",
                          run->position);
    if (run->tokens != NULL && run->position > UINT32_MAX - run->n_rows)
        return check_fail(c, TANDEM_KIT_RULE_RUN_CAPACITY, "position", "%u and %u rows", run->position,
                          run->n_rows);
    return TANDEM_OK;
}

/* The position that row i must have if the slot's earlier rows of this run have the right ones. */
static uint32_t expected_position(const tandem_run *run, const uint32_t *lengths, uint32_t i, uint32_t slot) {
    for (uint32_t j = i; j-- > 0;) {
        tandem_row earlier = tandem_kit_run_row(run, j);
        if (earlier.slot == slot)
            return earlier.position + 1;
    }
    return lengths[slot];
}

static tandem_status check_row(const check *c, const tandem_kit_limits *limits, const uint32_t *lengths,
                               uint32_t i, tandem_row row, uint32_t expected) {
    if (row.slot >= limits->max_slots)
        return check_fail(c, TANDEM_KIT_RULE_RUN_SLOT, "rows", "row %u, slot %u of %u", i, row.slot,
                          limits->max_slots);
    if (limits->kv == NULL || lengths == NULL)
        return TANDEM_OK;
    if (row.position != expected)
        return check_fail(c, TANDEM_KIT_RULE_RUN_POSITION, "rows",
                          "row %u of slot %u is at position %u, not %u", i, row.slot, row.position, expected);
    if (row.position >= limits->n_position)
        return check_fail(c, TANDEM_KIT_RULE_RUN_CAPACITY, "rows",
                          "row %u is at position %u, the capacity is %u", i, row.position,
                          limits->n_position);
    if (row.position - lengths[row.slot] >= limits->max_chunk)
        return check_fail(c, TANDEM_KIT_RULE_RUN_CHUNK, "rows",
                          "row %u is the slot's number %u, max_chunk is %u", i,
                          row.position - lengths[row.slot] + 1, limits->max_chunk);
    return TANDEM_OK;
}

static tandem_status check_rows(const check *c, const tandem_kit_limits *limits, const tandem_run *run,
                                const uint32_t *lengths, const tandem_row *next) {
    if (run->source == TANDEM_SOURCE_DEVICE_NEXT) {
        uint32_t expected =
            next->slot < limits->max_slots && lengths != NULL ? lengths[next->slot] : next->position;
        return check_row(c, limits, lengths, 0, *next, expected);
    }
    for (uint32_t i = 0; i < run->n_rows; i++) {
        tandem_row row = tandem_kit_run_row(run, i);
        if (row.token >= limits->n_token)
            return check_fail(c, TANDEM_KIT_RULE_RUN_TOKEN, "rows", "row %u has token %u, the table %u rows",
                              i, row.token, limits->n_token);
        uint32_t expected = row.position;
        if (row.slot < limits->max_slots && lengths != NULL)
            expected = expected_position(run, lengths, i, row.slot);
        CHECK_TRY(check_row(c, limits, lengths, i, row, expected));
    }
    return TANDEM_OK;
}

static tandem_status check_outs(const check *c, const tandem_kit_limits *limits, const tandem_run *run) {
    if (run->n_out > limits->max_out || run->n_out > run->n_rows)
        return check_fail(c, TANDEM_KIT_RULE_RUN_OUT, "n_out", "%u of %u rows, max_out is %u", run->n_out,
                          run->n_rows, limits->max_out);
    for (uint32_t i = 0; run->out != NULL && i < run->n_out; i++) {
        tandem_out out = run->out[i];
        if (out.row >= run->n_rows || (i > 0 && out.row <= run->out[i - 1].row))
            return check_fail(c, TANDEM_KIT_RULE_RUN_OUT, "out", "out[%u] is row %u of %u", i, out.row,
                              run->n_rows);
        if (out.target != TANDEM_NONE && out.target >= limits->n_logit)
            return check_fail(c, TANDEM_KIT_RULE_RUN_TARGET, "out",
                              "out[%u] has target %u, rows have %u logits", i, out.target, limits->n_logit);
    }
    return TANDEM_OK;
}

static tandem_status check_result(const check *c, const tandem_kit_limits *limits, const tandem_run *run) {
    if (run->result == NULL)
        return TANDEM_OK;
    if (limits->n_logit == 0 || run->result_offset % 16 != 0)
        return check_fail(c, TANDEM_KIT_RULE_RUN_RESULT, "result", "%s, offset %llu",
                          limits->n_logit == 0 ? "no TOPK" : "a TOPK",
                          (unsigned long long)run->result_offset);
    tandem_buffer_info info = {.struct_size = sizeof info};
    CHECK_TRY(c->table->buffer_info(run->result, &info, c->error));
    uint64_t n = limits->topk_rows == TANDEM_ROWS_OUT ? run->n_out : run->n_rows;
    if (n == 0)
        return TANDEM_OK;
    uint64_t bytes =
        (n - 1) * limits->topk_stride + limits->topk_row_bytes; /* as long as a view that is in range */
    if (run->result_offset > info.bytes || bytes > info.bytes - run->result_offset)
        return check_fail(c, TANDEM_KIT_RULE_RUN_RESULT, "result",
                          "%llu bytes at offset %llu of a buffer of %llu", (unsigned long long)bytes,
                          (unsigned long long)run->result_offset, (unsigned long long)info.bytes);
    return TANDEM_OK;
}

tandem_status tandem_kit_validate_run(const tandem_backend *table, const tandem_kit_limits *limits,
                                      const tandem_run *run, const uint32_t *lengths, const tandem_row *next,
                                      tandem_error *error) {
    tandem_run r;
    CHECK_TRY(TANDEM_KIT_TAKE(tandem_run, &r, run, error));
    const check c = {.table = table, .error = error, .op_index = TANDEM_NONE, .subject = "tandem_run"};
    CHECK_TRY(check_source(&c, limits, &r, next));
    CHECK_TRY(check_outs(&c, limits, &r));
    CHECK_TRY(check_rows(&c, limits, &r, lengths, next));
    return check_result(&c, limits, &r);
}
