/* host.c: the smallest host: opens a plugin, multiplies a row of numbers by two on its first device, checks
 * the answer. usage: host PLUGIN|PATH     exit: 0 right, 1 wrong, 3 no plugin or device */
#include <stdio.h>

#include <tandem/loader.h>

enum { N = 8, ROW_BYTES = N * sizeof(float) };

static int say(const char *what, const tandem_error *error) {
    fprintf(stderr, "%s: %s\n", what, error->message);
    return 3;
}

static void log_line(void *user, uint32_t level, const char *message) {
    (void)user;
    if (level <= TANDEM_LOG_WARNING)
        fprintf(stderr, "plugin: %s\n", message);
}

/* Runs out = 2 * in as a program of one op, for one row. */
static int multiply(const tandem_backend *b, tandem_context *context, tandem_buffer *in, tandem_buffer *out,
                    tandem_error *error) {
    const tandem_op_elementwise scale = {
        .head = {.struct_size = sizeof scale,
                 .kind = TANDEM_OP_SCALE,
                 .rows = TANDEM_ROWS_ALL,
                 .label = "twice"},
        .n = N,
        .scale = 2,
        .a = {.buffer = in, .stride = ROW_BYTES},
        .out = {.buffer = out, .stride = ROW_BYTES},
    };
    const tandem_op *ops[] = {&scale.head};
    const tandem_program_desc desc = {
        .struct_size = sizeof desc, .n_op = 1, .ops = ops, .max_tokens = 1, .max_slots = 1};
    const uint32_t token = 0;
    const tandem_run run = {.struct_size = sizeof run, .n_rows = 1, .tokens = &token};
    tandem_program *program = NULL;
    tandem_ticket ticket = 0;
    int result = 0;
    if (b->program_create(context, &desc, &program, error) != TANDEM_OK)
        return say("program_create", error);
    if (b->run(program, &run, &ticket, error) != TANDEM_OK)
        result = say("run", error);
    else if (b->wait(context, ticket, 1000000000u, error) != TANDEM_OK)
        result = say("wait", error);
    b->program_destroy(program);
    return result;
}

static int work(const tandem_backend *b, tandem_context *context, tandem_error *error) {
    const tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = ROW_BYTES};
    tandem_buffer *in = NULL, *out = NULL;
    float numbers[N], twice[N] = {0};
    int result = 3;
    for (int i = 0; i < N; i++)
        numbers[i] = (float)i + 0.25f;
    if (b->buffer_create(context, &desc, &in, error) != TANDEM_OK ||
        b->buffer_create(context, &desc, &out, error) != TANDEM_OK ||
        b->buffer_write(in, 0, numbers, ROW_BYTES, error) != TANDEM_OK)
        say("buffers", error);
    else if (multiply(b, context, in, out, error) == 0) {
        if (b->buffer_read(out, 0, twice, ROW_BYTES, 0, error) != TANDEM_OK)
            say("buffer_read", error);
        else
            result = 0;
    }
    for (int i = 0; result == 0 && i < N; i++)
        if (twice[i] != 2 * numbers[i])
            result = 1;
    b->buffer_destroy(out);
    b->buffer_destroy(in);
    return result;
}

int main(int argc, char **argv) {
    tandem_error error = {.struct_size = sizeof error};
    const tandem_host services = {.struct_size = sizeof services, .log = log_line};
    const tandem_context_desc desc = {.struct_size = sizeof desc};
    tandem_device_info device = {.struct_size = sizeof device};
    tandem_plugin *plugin = NULL;
    tandem_context *context = NULL;
    if (argc != 2)
        return fprintf(stderr, "usage: host PLUGIN|PATH\n"), 2;
    if (tandem_plugin_open(argv[1], &services, &plugin, &error) != TANDEM_OK)
        return say("open", &error);
    const tandem_backend *b = tandem_plugin_backend(plugin);
    int result = 3;
    if (b->device_info(0, &device, &error) != TANDEM_OK ||
        b->context_create(&desc, &context, &error) != TANDEM_OK)
        say("device 0", &error);
    else
        result = work(b, context, &error);
    b->context_destroy(context);
    printf("%s on %s: %s\n", b->descriptor->name, device.name, result == 0 ? "right" : "wrong");
    tandem_plugin_close(plugin);
    return result;
}
