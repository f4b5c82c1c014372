/* reference_test.c: what the ABI promises of a plugin, on the reference: negotiation, memory, order, tickets,
 * runs, steps and costs. */
#include "reference_model.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- negotiation ---- */

static void refuses_other_versions_and_options(void **state) {
    (void)state;
    tandem_backend table = {.struct_size = sizeof table};
    tandem_host host = plain_host();
    host.abi_minor = TANDEM_ABI_MINOR + 1;
    REFUSED(fx.query(&host, &table), TANDEM_E_VERSION, "0.2");
    host.abi_major = TANDEM_ABI_MAJOR + 1;
    assert_int_equal(fx.query(&host, &table), TANDEM_E_VERSION);
    assert_int_equal(table.abi_minor, TANDEM_ABI_MINOR); /* what the host needs for its own sentence */
    assert_null(table.run);

    const char *const options[] = {"rope=exact", "speed=high"};
    host = plain_host();
    host.n_options = 2;
    host.options = options;
    REFUSED(fx.query(&host, &table), TANDEM_E_UNSUPPORTED, "speed=high");
    host.n_options = 1;
    OK(fx.query(&host, &table));
    assert_string_equal(table.descriptor->name, "reference");
    table.struct_size = offsetof(tandem_backend, run); /* a host without all mandatory slots is none */
    REFUSED(fx.query(&host, &table), TANDEM_E_INVALID, "tandem_backend");
    assert_int_equal(fx.query(NULL, &table), TANDEM_E_INVALID);
    assert_int_equal(fx.query(&host, NULL), TANDEM_E_INVALID);
    assert_null(fx.api.get_interface("expert_cache/1"));
}

static void describes_its_one_device(void **state) {
    (void)state;
    uint32_t n = 0;
    tandem_device_info a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    OK(fx.api.device_count(&n, &fx.error));
    assert_int_equal(n, 1);
    OK(fx.api.device_info(0, &a, &fx.error));
    OK(fx.api.device_info(0, &b, &fx.error));
    assert_int_equal(a.kind, TANDEM_DEVICE_SOFTWARE);
    assert_int_equal(a.matrix_paths, TANDEM_MATRIX_FMA);
    assert_true(a.memory_total >= a.memory_free && a.memory_free > 0 && strlen(a.name) > 0);
    assert_memory_equal(a.uuid, b.uuid, 16);
    REFUSED(fx.api.device_info(9, &a, &fx.error), TANDEM_E_INVALID, "device 9");
    tandem_context_desc desc = {.struct_size = sizeof desc, .device = 9};
    tandem_context *none = NULL;
    REFUSED(fx.api.context_create(&desc, &none, &fx.error), TANDEM_E_INVALID, "device");
    desc = (tandem_context_desc){.struct_size = sizeof desc, .n_threads = 100000};
    REFUSED(fx.api.context_create(&desc, &none, &fx.error), TANDEM_E_UNSUPPORTED, "100000 threads");
    assert_null(none);
}

static void structs_grow_in_both_directions(void **state) {
    (void)state;
    struct {
        tandem_buffer_desc desc;
        uint32_t more[4];
    } newer = {.desc = {.struct_size = sizeof newer, .bytes = 64}};
    tandem_buffer *buffer = NULL;
    OK(fx.api.buffer_create(fx.context, &newer.desc, &buffer, &fx.error));
    fx.api.buffer_destroy(buffer);
    newer.more[1] = 5;
    REFUSED(fx.api.buffer_create(fx.context, &newer.desc, &buffer, &fx.error), TANDEM_E_UNSUPPORTED,
            "offset 28");

    tandem_memory_info info;
    memset(&info, 0x77, sizeof info);
    info.struct_size = offsetof(tandem_memory_info, peak); /* an older host */
    OK(fx.api.context_memory(fx.context, &info, &fx.error));
    assert_int_equal(info.struct_size, offsetof(tandem_memory_info, peak));
    assert_int_equal(info.peak, 0x7777777777777777u);
    assert_true(info.total > 0 && info.total != info.peak);
}

/* ---- memory ---- */

static void counts_every_byte_and_gives_it_back(void **state) {
    (void)state;
    uint64_t before = memory_now().total;
    model m;
    make_model(&m);
    tandem_memory_info info = memory_now();
    assert_true(info.kv > 2 * 14 * 64 * 4 && info.buffers > 2 * MAX_ROWS * N_COL * 4 &&
                info.workspace > before);
    assert_true(info.weights_device < m.table.n_row * 64); /* borrowed rows are not counted */
    uint64_t full = info.total;
    const uint32_t token = 1;
    next_token(&m, &token, 1, 0);
    assert_int_equal(memory_now().total, full); /* a run allocates nothing */
    fx.api.program_destroy(m.program);
    fx.api.kv_destroy(m.kv);
    for (; fx.n_buffer > 0; fx.n_buffer--)
        fx.api.buffer_destroy(fx.buffers[fx.n_buffer - 1]);
    for (; fx.n_weights > 0; fx.n_weights--)
        fx.api.weights_destroy(fx.weights[fx.n_weights - 1]);
    info = memory_now();
    assert_int_equal(info.total, before);
    assert_int_equal(info.peak, full);
    free_matrix(&m.table);
}

static void the_cap_refuses_and_leaves_everything_usable(void **state) {
    (void)state;
    uint64_t own = memory_now().total;
    clear();
    tandem_context_desc desc = {.struct_size = sizeof desc, .n_threads = 2, .memory_cap = own - 1};
    REFUSED(fx.api.context_create(&desc, &fx.context, &fx.error), TANDEM_E_OUT_OF_MEMORY, "cap");
    open_context(2, own + 4096);
    tandem_buffer_desc big = {.struct_size = sizeof big, .bytes = 8000, .label = "logits"};
    tandem_buffer *buffer = NULL;
    REFUSED(fx.api.buffer_create(fx.context, &big, &buffer, &fx.error), TANDEM_E_OUT_OF_MEMORY,
            "'logits' takes 8000 bytes");
    big.bytes = UINT64_MAX;
    REFUSED(fx.api.buffer_create(fx.context, &big, &buffer, &fx.error), TANDEM_E_OUT_OF_MEMORY, "may use");
    assert_null(buffer);
    assert_int_equal(memory_now().total, own);
    assert_int_equal(memory_now().cap, own + 4096);
    made_matrix m;
    make_matrix(&m, TANDEM_ROLE_SINGLE, TANDEM_TYPE_F32, 40, 64);
    tandem_weights *w = create_weights(&m, 1, 1);
    REFUSED(write_rows(w, 0, 0, &m, 0, 40, 0), TANDEM_E_OUT_OF_MEMORY, "10240 bytes");
    OK(write_rows(w, 0, 0, &m, 0, 40, TANDEM_WRITE_BORROW));
    buffer_of(NULL, 256);
    free_matrix(&m);

    clear();
    open_context(1, 0);
    big.bytes = UINT64_MAX / 2;
    REFUSED(fx.api.buffer_create(fx.context, &big, &buffer, &fx.error), TANDEM_E_OUT_OF_MEMORY,
            "the machine has");
}

/* A host's allocator that gives out memory full of rubbish, until it refuses. */
static struct { uint64_t n_left, n_live; } allocator;

static void *scarce_alloc(void *user, uint64_t bytes, uint64_t alignment) {
    (void)user;
    if (allocator.n_left == 0)
        return NULL;
    allocator.n_left--;
    void *memory = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (memory) {
        memset(memory, 0xee, bytes);
        allocator.n_live++;
    }
    return memory;
}

static void scarce_free(void *user, void *memory) {
    (void)user;
    allocator.n_live -= memory != NULL;
    free(memory);
}

/* Makes everything there is; the first refusal ends it. Leaves nothing behind. */
static tandem_status everything(const made_matrix *table) {
    tandem_context_desc context_desc = {.struct_size = sizeof context_desc, .n_threads = 2};
    tandem_buffer *buffers[2] = {NULL};
    model m = {0};
    fx.context = NULL;
    tandem_status status = fx.api.context_create(&context_desc, &fx.context, &fx.error);
    if (status != TANDEM_OK)
        return status;
    tandem_matrix_desc matrix = {
        .struct_size = sizeof matrix, .type = table->type, .n_row = N_VOCAB, .n_col = N_COL};
    const tandem_matrix_desc *const matrices[] = {&matrix};
    tandem_weights_desc weights_desc = {
        .struct_size = sizeof weights_desc, .n_record = 1, .n_matrix = 1, .matrices = matrices};
    tandem_kv_layer layer = {.struct_size = sizeof layer,
                             .n_kv_head = 1,
                             .head_dim = N_COL,
                             .share_of = TANDEM_NONE,
                             .capacity = 9};
    const tandem_kv_layer *const layers[] = {&layer};
    tandem_kv_desc kv_desc = {
        .struct_size = sizeof kv_desc, .n_layer = 1, .layers = layers, .max_chunk = 4, .n_slot = 1};
    tandem_buffer_desc buffer_desc = {.struct_size = sizeof buffer_desc, .bytes = 4 * MAX_ROWS * N_COL};
    tandem_program_desc program_desc = {.struct_size = sizeof program_desc,
                                        .n_op = 4,
                                        .ops = m.ops,
                                        .max_tokens = 2,
                                        .max_out = 2,
                                        .max_slots = 1};
    status = fx.api.weights_create(fx.context, &weights_desc, &m.weights, &fx.error);
    if (status == TANDEM_OK)
        status = write_rows(m.weights, 0, 0, table, 0, N_VOCAB, 0);
    if (status == TANDEM_OK)
        status = fx.api.kv_create(fx.context, &kv_desc, &m.kv, &fx.error);
    for (int i = 0; i < 2 && status == TANDEM_OK; i++)
        status = fx.api.buffer_create(fx.context, &buffer_desc, &buffers[i], &fx.error);
    if (status == TANDEM_OK) {
        tandem_view a = {.buffer = buffers[0], .stride = 4 * N_COL}, b = a, c = a, d = a;
        b.buffer = d.buffer = buffers[1];
        c.offset = d.offset = 2 * a.stride;
        c.rows = d.rows = TANDEM_ROWS_OUT;
        describe_model(&m);
        connect_model(&m, a, b, c, d);
        status = fx.api.program_create(fx.context, &program_desc, &m.program, &fx.error);
    }
    if (status == TANDEM_OK) {
        const uint32_t tokens[] = {1, 2};
        tandem_run run = run_of(tokens, 2, 0);
        OK(fx.api.run(m.program, &run, NULL, &fx.error));
    }
    fx.api.program_destroy(m.program);
    fx.api.kv_destroy(m.kv);
    fx.api.weights_destroy(m.weights);
    for (int i = 0; i < 2; i++)
        fx.api.buffer_destroy(buffers[i]);
    fx.api.context_destroy(fx.context);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    made_matrix table;
    tandem_host host = plain_host();
    host.alloc = scarce_alloc;
    REFUSED(fx.query(&host, &fx.api), TANDEM_E_INVALID, "alloc and free");
    host.free = scarce_free;
    clear();
    OK(fx.query(&host, &fx.api));
    make_matrix(&table, TANDEM_ROLE_SINGLE, TANDEM_TYPE_F16, N_VOCAB, N_COL);
    uint64_t n = 0;
    for (tandem_status status = TANDEM_E_OUT_OF_MEMORY; status != TANDEM_OK; n++) {
        allocator.n_left = n;
        status = everything(&table);
        assert_true(status == TANDEM_OK || status == TANDEM_E_OUT_OF_MEMORY);
        assert_int_equal(allocator.n_live, 0);
        if (n >= 100)
            fail_msg("never enough memory");
    }
    assert_true(n > 8);
    free_matrix(&table);
    host = plain_host();
    OK(fx.query(&host, &fx.api));
    open_context(1, 0);
}

/* ---- order and tickets ---- */

/* A clock that stands still for the plugin's executor while the gate is shut, so that runs stay pending. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    int shut;
    pthread_t caller;
} gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static uint64_t gated_clock(void *user) {
    (void)user;
    static _Atomic uint64_t ticks = 1000;
    pthread_mutex_lock(&gate.mutex);
    while (gate.shut && !pthread_equal(pthread_self(), gate.caller))
        pthread_cond_wait(&gate.cond, &gate.mutex);
    pthread_mutex_unlock(&gate.mutex);
    return atomic_fetch_add(&ticks, 1000);
}

static void set_gate(int shut) {
    pthread_mutex_lock(&gate.mutex);
    gate.shut = shut;
    pthread_cond_broadcast(&gate.cond);
    pthread_mutex_unlock(&gate.mutex);
}

static int gated_setup(void **state) {
    (void)state;
    tandem_host host = plain_host();
    host.clock_ns = gated_clock;
    gate.caller = pthread_self();
    fx.seed = 7;
    OK(fx.query(&host, &fx.api));
    open_context(2, 0);
    return 0;
}

static int gated_teardown(void **state) {
    tandem_host host = plain_host();
    set_gate(0);
    context_teardown(state);
    return fx.query(&host, &fx.api);
}

static void pending_runs_are_busy_and_finish_in_order(void **state) {
    (void)state;
    model m;
    make_model(&m);
    const uint32_t token = 5;
    tandem_ticket tickets[64], ticket = 0;
    uint32_t n = 0, length;
    set_gate(1);
    for (tandem_status status = TANDEM_OK; status == TANDEM_OK && n < 60; n += status == TANDEM_OK) {
        tandem_run run = run_of(&token, 1, n);
        status = fx.api.run(m.program, &run, &tickets[n], &fx.error);
        assert_true(status == TANDEM_OK || status == TANDEM_E_BUSY);
    }
    assert_true(n >= 4 && n < 60);
    OK(fx.api.kv_length(m.kv, 0, &length, &fx.error));
    assert_int_equal(length, n); /* as of the last submission; the refused run left no trace */
    REFUSED(fx.api.wait(fx.context, tickets[0], 0, &fx.error), TANDEM_E_TIMEOUT, "not finished");
    REFUSED(fx.api.wait(fx.context, tickets[n - 1], 1000000, &fx.error), TANDEM_E_TIMEOUT, "not finished");
    REFUSED(fx.api.weights_place(m.weights, 0, TANDEM_PLACE_HOST, &ticket, &fx.error), TANDEM_E_BUSY,
            "pending");
    tandem_times times = {.struct_size = sizeof times};
    REFUSED(fx.api.times(fx.context, tickets[0], &times, &fx.error), TANDEM_E_INVALID, "not finished");
    set_gate(0);
    OK(fx.api.wait(fx.context, tickets[n - 1], UINT64_MAX, &fx.error));
    for (uint32_t i = 0; i < n; i++) {
        OK(fx.api.wait(fx.context, tickets[i], 0, &fx.error));
        assert_int_equal(tickets[i], i + 1);
    }
    OK(fx.api.wait(fx.context, TANDEM_TICKET_ALL, 0, &fx.error));
    REFUSED(fx.api.wait(fx.context, n + 1, 0, &fx.error), TANDEM_E_INVALID, "never issued");
    REFUSED(fx.api.wait(fx.context, 0, 0, &fx.error), TANDEM_E_INVALID, "never issued");
    free_model(&m);
}

static void *open_gate_later(void *unused) {
    struct timespec t = {.tv_nsec = 20000000};
    nanosleep(&t, NULL);
    set_gate(0);
    return unused;
}

/* A write between two runs is seen by the second only, and objects in use outlive the runs that use them. */
static void calls_take_effect_in_order(void **state) {
    (void)state;
    pthread_t thread;
    float x = 1, y = 2, seen[2];
    const uint32_t token = 0;
    tandem_op_elementwise op = {.head = head_of(sizeof op, TANDEM_OP_COPY, TANDEM_ROWS_ALL, NULL), .n = 1};
    op.a = rows_view(&x, 1, 1, TANDEM_ROWS_ALL);
    op.out = rows_view(NULL, 1, 1, TANDEM_ROWS_ALL);
    tandem_op_elementwise second = op;
    second.out = rows_view(NULL, 1, 1, TANDEM_ROWS_ALL);
    const tandem_op *first_ops[] = {&op.head}, *second_ops[] = {&second.head};
    tandem_program *a = compile(first_ops, 1, 1, 0, 0), *b = compile(second_ops, 1, 1, 0, 0);
    tandem_run run = run_of(&token, 1, 0);
    run.n_out = 0;
    set_gate(1);
    OK(fx.api.run(a, &run, NULL, &fx.error));
    OK(fx.api.buffer_read(op.out.buffer, 0, seen, 4, TANDEM_READ_NOW, &fx.error));
    assert_true(seen[0] == 0);
    pthread_create(&thread, NULL, open_gate_later, NULL);
    OK(fx.api.buffer_write(op.a.buffer, 0, &y, sizeof y, &fx.error));
    pthread_join(thread, NULL);
    set_gate(1);
    OK(fx.api.run(b, &run, NULL, &fx.error));
    pthread_create(&thread, NULL, open_gate_later, NULL);
    fx.api.program_destroy(b); /* waits */
    pthread_join(thread, NULL);
    OK(fx.api.buffer_read(op.out.buffer, 0, &seen[0], 4, 0, &fx.error));
    OK(fx.api.buffer_read(second.out.buffer, 0, &seen[1], 4, TANDEM_READ_NOW, &fx.error));
    assert_true(seen[0] == 1 && seen[1] == 2);
    REFUSED(fx.api.buffer_read(op.out.buffer, 0, seen, 4, 8, &fx.error), TANDEM_E_INVALID, "flags");
    REFUSED(fx.api.buffer_read(op.out.buffer, 13, seen, 4, 0, &fx.error), TANDEM_E_INVALID, "beyond");
    REFUSED(fx.api.buffer_write(op.out.buffer, UINT64_MAX, seen, 4, &fx.error), TANDEM_E_INVALID, "beyond");
    fx.api.program_destroy(a);
}

static void weights_change_behind_the_runs_before(void **state) {
    (void)state;
    model m;
    pthread_t thread;
    uint32_t token = 5, id;
    make_model(&m);
    uint32_t expected = next_token(&m, &token, 1, 0);
    made_matrix zero = m.table;
    zero.bytes = calloc(N_VOCAB, N_COL * 2);
    assert_int_not_equal(expected, 0); /* what zeros give */
    tandem_run run = run_of(&token, 1, 1);
    set_gate(1);
    OK(fx.api.run(m.program, &run, NULL, &fx.error));
    pthread_create(&thread, NULL, open_gate_later, NULL);
    OK(write_rows(m.weights, 0, 0, &zero, 0, N_VOCAB, TANDEM_WRITE_BORROW));
    pthread_join(thread, NULL);
    OK(fx.api.buffer_read(m.top.out.buffer, 0, &id, sizeof id, 0, &fx.error));
    assert_int_not_equal(id, 0);
    assert_int_equal(next_token(&m, &token, 1, 2), 0);
    free_model(&m);
    free(zero.bytes);
}

static void device_next_continues_on_its_own(void **state) {
    enum { N = 20 };
    (void)state;
    model m;
    uint32_t stepped[N], prompt[] = {4, 17, 31}, ids[N];
    make_model(&m);
    tandem_run next = {
        .struct_size = sizeof next, .source = TANDEM_SOURCE_DEVICE_NEXT, .n_rows = 1, .n_out = 1};
    REFUSED(fx.api.run(m.program, &next, NULL, &fx.error), TANDEM_E_INVALID, "DEVICE_NEXT");
    uint32_t token = next_token(&m, prompt, 3, 0);
    for (uint32_t i = 0; i < N; i++)
        stepped[i] = token = next_token(&m, &token, 1, 3 + i);

    OK(fx.api.kv_truncate(m.kv, 0, 0, &fx.error));
    next_token(&m, prompt, 3, 0);
    next.result = buffer_of(NULL, N * 32);
    for (uint32_t i = 0; i < N; i++) {
        next.result_offset = i * 32;
        while (fx.api.run(m.program, &next, NULL, &fx.error) == TANDEM_E_BUSY)
            OK(fx.api.wait(fx.context, TANDEM_TICKET_ALL, UINT64_MAX, &fx.error));
    }
    for (uint32_t i = 0; i < N; i++)
        OK(fx.api.buffer_read(next.result, i * 32, &ids[i], 4, 0, &fx.error));
    assert_memory_equal(ids, stepped, sizeof ids);
    free_model(&m);
}

static void bad_runs_leave_no_trace(void **state) {
    (void)state;
    model m;
    const uint32_t tokens[MAX_ROWS + 1] = {1}, outside[] = {N_VOCAB};
    uint32_t length;
    make_model(&m);
    tandem_run run = run_of(tokens, MAX_ROWS + 1, 0);
    REFUSED(fx.api.run(m.program, &run, NULL, &fx.error), TANDEM_E_INVALID, "RUN_ROWS");
    run = run_of(outside, 1, 0);
    REFUSED(fx.api.run(m.program, &run, NULL, &fx.error), TANDEM_E_INVALID, "RUN_TOKEN");
    run = run_of(tokens, 1, 1);
    REFUSED(fx.api.run(m.program, &run, NULL, &fx.error), TANDEM_E_INVALID, "RUN_POSITION");
    tandem_out far = {.row = 1};
    run = run_of(tokens, 1, 0);
    run.out = &far;
    REFUSED(fx.api.run(m.program, &run, NULL, &fx.error), TANDEM_E_INVALID, "RUN_OUT");
    OK(fx.api.kv_length(m.kv, 0, &length, &fx.error));
    assert_int_equal(length, 0);
    free_model(&m);
}

/* ---- programs ---- */

static void steps_costs_and_times_add_up(void **state) {
    (void)state;
    model m;
    make_model(&m);
    uint32_t n = 0;
    const uint32_t tokens[] = {5, 6, 5};
    tandem_cost costs[4], *list[4];
    tandem_step step = {.struct_size = sizeof step};
    tandem_ticket ticket;
    uint64_t ns[4], sum = 0;
    OK(fx.api.program_step_count(m.program, &n, &fx.error));
    assert_int_equal(n, 4);
    OK(fx.api.program_step(m.program, 2, &step, &fx.error));
    assert_string_equal(step.kernel, "matmul_f16_exact");
    assert_string_equal(step.label, "head");
    assert_true(step.n_op == 1 && step.ops[0] == 2);
    REFUSED(fx.api.program_step(m.program, 4, &step, &fx.error), TANDEM_E_INVALID, "step 4");

    for (int i = 0; i < 4; i++) {
        costs[i] = (tandem_cost){.struct_size = sizeof costs[i]};
        list[i] = &costs[i];
    }
    OK(fx.api.kv_fill(m.kv, 0, 1, 10, &fx.error));
    tandem_run run = run_of(tokens, 3, 10);
    OK(fx.api.program_cost(m.program, &run, list, 4, &fx.error));
    assert_int_equal(costs[0].weight_bytes_min, 2 * N_COL * 2); /* tokens 5 and 6 */
    assert_int_equal(costs[0].weight_bytes, 3 * N_COL * 2);
    /* Rows 10..12 see 5..12 together, and three rows are appended: K and V of 64 f32. */
    assert_int_equal(costs[1].kv_bytes_min, (8 + 3) * 2 * 64 * 4);
    assert_int_equal(costs[1].flops, 4 * 3 * 6 * 64);
    assert_int_equal(costs[2].weight_bytes_min, N_VOCAB * N_COL * 2);
    assert_int_equal(costs[2].flops, 2 * N_VOCAB * N_COL);
    REFUSED(fx.api.program_cost(m.program, &run, list, 3, &fx.error), TANDEM_E_INVALID, "4 steps");

    run.flags = TANDEM_RUN_PROFILE;
    tandem_times times = {.struct_size = sizeof times};
    OK(fx.api.run(m.program, &run, &ticket, &fx.error));
    OK(fx.api.wait(fx.context, ticket, UINT64_MAX, &fx.error));
    OK(fx.api.times(fx.context, ticket, &times, &fx.error));
    OK(fx.api.step_times(fx.context, ticket, ns, 4, &fx.error));
    for (int i = 0; i < 4; i++)
        sum += ns[i];
    assert_true(times.n_step == 4 && sum > 0 && sum <= times.device_ns);
    assert_int_equal(times.upload_bytes, 3 * sizeof(tandem_row) + sizeof(tandem_out));
    for (uint32_t i = 0; i < 63; i++) {
        OK(fx.api.weights_place(m.weights, 0, TANDEM_PLACE_DEVICE, NULL, &fx.error));
        OK(fx.api.wait(fx.context, TANDEM_TICKET_ALL, UINT64_MAX, &fx.error));
    }
    OK(fx.api.times(fx.context, ticket, &times, &fx.error)); /* the last 64 are kept */
    REFUSED(fx.api.step_times(fx.context, ticket + 1, ns, 4, &fx.error), TANDEM_E_INVALID, "PROFILE");
    fx.api.program_destroy(m.program);
    m.program = NULL;
    REFUSED(fx.api.step_times(fx.context, ticket, ns, 4, &fx.error), TANDEM_E_INVALID, "destroyed");
    OK(fx.api.times(fx.context, ticket, &times, &fx.error));
    free_model(&m);
}

static void refuses_objects_of_another_context(void **state) {
    (void)state;
    model m;
    make_model(&m);
    tandem_context *mine = fx.context, *other;
    open_context(1, 0);
    other = fx.context;
    tandem_program_desc desc = {
        .struct_size = sizeof desc, .n_op = 4, .ops = m.ops, .max_tokens = 1, .max_out = 1, .max_slots = 1};
    tandem_program *none = NULL;
    uint64_t total = memory_now().total;
    REFUSED(fx.api.program_create(other, &desc, &none, &fx.error), TANDEM_E_INVALID, "another context");
    REFUSED(fx.api.supports(other, m.ops[1], 0, &fx.error), TANDEM_E_INVALID, "another context");
    assert_int_equal(memory_now().total, total);
    fx.context = mine;
    OK(fx.api.supports(mine, m.ops[1], 0, &fx.error));
    m.top.k = 65;
    REFUSED(fx.api.supports(mine, m.ops[3], 0, &fx.error), TANDEM_E_INVALID, "TOPK_K");
    fx.api.context_destroy(other);
    free_model(&m);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, context_setup, context_teardown)
#define GATED(name) cmocka_unit_test_setup_teardown(name, gated_setup, gated_teardown)
    const struct CMUnitTest tests[] = {
        TEST(refuses_other_versions_and_options),
        TEST(describes_its_one_device),
        TEST(structs_grow_in_both_directions),
        TEST(counts_every_byte_and_gives_it_back),
        TEST(the_cap_refuses_and_leaves_everything_usable),
        TEST(every_allocation_may_fail),
        GATED(pending_runs_are_busy_and_finish_in_order),
        GATED(calls_take_effect_in_order),
        GATED(weights_change_behind_the_runs_before),
        TEST(device_next_continues_on_its_own),
        TEST(bad_runs_leave_no_trace),
        TEST(steps_costs_and_times_add_up),
        TEST(refuses_objects_of_another_context),
    };
    return cmocka_run_group_tests_name("the reference plugin", tests, fixture_open, fixture_close);
}
