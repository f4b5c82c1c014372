/* growth_test.c: the growth rule of tandem/base.h at a loaded plugin, in both directions: structs of an older
 * and of a newer host go in and come out. usage: growth_test PLUGIN (cmocka's own options come from its
 * environment) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <tandem/growth.h>

#include "loader.h"

enum { NEWS = 16 }; /* bytes that a newer version has at the end of a struct */

static struct {
    const char *name;
    tandem_plugin *plugin;
    const tandem_backend *backend;
    tandem_context *context;
} shared;

#define GOOD(call)                                                                                           \
    do {                                                                                                     \
        tandem_error error = {.struct_size = sizeof error};                                                  \
        if ((call) != TANDEM_OK)                                                                             \
            fail_msg("line %d: %s", __LINE__, error.message);                                                \
    } while (0)

#define ANSWERS(wanted, words, call)                                                                         \
    do {                                                                                                     \
        tandem_error error = {.struct_size = sizeof error};                                                  \
        assert_int_equal(call, wanted);                                                                      \
        if (strstr(error.message, words) == NULL)                                                            \
            fail_msg("line %d: no \"%s\" in: %s", __LINE__, words, error.message);                           \
        assert_int_equal(error.status, wanted);                                                              \
    } while (0)

static int open_plugin(void **state) {
    (void)state;
    tandem_error error = {.struct_size = sizeof error};
    if (tandem_plugin_open(shared.name, NULL, &shared.plugin, &error) != TANDEM_OK) {
        print_error("%s\n", error.message);
        return -1;
    }
    shared.backend = tandem_plugin_backend(shared.plugin);
    tandem_context_desc desc = {.struct_size = sizeof desc};
    if (shared.backend->context_create(&desc, &shared.context, &error) != TANDEM_OK) {
        print_error("%s\n", error.message);
        return -1;
    }
    return 0;
}

static int close_plugin(void **state) {
    (void)state;
    shared.backend->context_destroy(shared.context);
    tandem_plugin_close(shared.plugin);
    return 0;
}

/* A description that a newer host would pass: the news are zero, then not. */
static void inputs_of_a_newer_host(void **state) {
    (void)state;
    const tandem_backend *b = shared.backend;
    union {
        tandem_buffer_desc desc;
        unsigned char bytes[sizeof(tandem_buffer_desc) + NEWS];
    } buffer = {.desc = {.struct_size = sizeof buffer, .bytes = 64}};
    tandem_buffer *made = NULL;
    GOOD(b->buffer_create(shared.context, &buffer.desc, &made, &error));
    b->buffer_destroy(made);
    made = NULL;
    for (size_t at = sizeof(tandem_buffer_desc); at < sizeof buffer;
         at += NEWS - 1) { /* first and last new byte */
        char words[32];
        buffer.bytes[at] = 1;
        snprintf(words, sizeof words, "offset %zu", at);
        ANSWERS(TANDEM_E_UNSUPPORTED, words, b->buffer_create(shared.context, &buffer.desc, &made, &error));
        assert_null(made);
        buffer.bytes[at] = 0;
    }
}

static void inputs_of_an_older_host(void **state) {
    (void)state;
    const tandem_backend *b = shared.backend;
    tandem_buffer *made = NULL;
    tandem_buffer_desc desc = {.struct_size = TANDEM_KIT_MIN_tandem_buffer_desc,
                               .bytes = 64,
                               .label =
                                   (const char *)(uintptr_t)1}; /* beyond the size: must not be looked at */
    GOOD(b->buffer_create(shared.context, &desc, &made, &error));
    b->buffer_destroy(made);
    tandem_context_desc context_desc = {.struct_size = TANDEM_KIT_MIN_tandem_context_desc, .memory_cap = 1};
    tandem_context *context = NULL; /* a cap of one byte would let nothing be made */
    GOOD(b->context_create(&context_desc, &context, &error));
    made = NULL;
    desc.struct_size = sizeof desc;
    desc.label = NULL;
    GOOD(b->buffer_create(context, &desc, &made, &error));
    b->buffer_destroy(made);
    b->context_destroy(context);
}

static void inputs_without_a_size(void **state) {
    (void)state;
    const tandem_backend *b = shared.backend;
    tandem_buffer *made = NULL;
    tandem_context *context = NULL;
    tandem_kv *kv = NULL;
    tandem_weights *weights = NULL;
    tandem_program *program = NULL;
    const tandem_buffer_desc buffer = {.bytes = 64};
    const tandem_context_desc context_desc = {0};
    const tandem_kv_desc kv_desc = {.n_layer = 1};
    const tandem_weights_desc weights_desc = {.n_record = 1};
    const tandem_program_desc program_desc = {.n_op = 1};
    ANSWERS(TANDEM_E_INVALID, "tandem_buffer_desc", b->buffer_create(shared.context, &buffer, &made, &error));
    ANSWERS(TANDEM_E_INVALID, "tandem_context_desc", b->context_create(&context_desc, &context, &error));
    ANSWERS(TANDEM_E_INVALID, "tandem_kv_desc", b->kv_create(shared.context, &kv_desc, &kv, &error));
    ANSWERS(TANDEM_E_INVALID, "tandem_weights_desc",
            b->weights_create(shared.context, &weights_desc, &weights, &error));
    ANSWERS(TANDEM_E_INVALID, "tandem_program_desc",
            b->program_create(shared.context, &program_desc, &program, &error));
    ANSWERS(TANDEM_E_INVALID, "tandem_buffer_desc is NULL",
            b->buffer_create(shared.context, NULL, &made, &error));
    assert_null(made);
    assert_null(context);
    assert_null(kv);
    assert_null(weights);
    assert_null(program);
}

/* Structs inside structs grow too: layers, matrices and ops are given by pointer. */
static void inputs_inside_inputs(void **state) {
    (void)state;
    const tandem_backend *b = shared.backend;
    struct {
        tandem_kv_layer layer;
        uint32_t news[4];
    } newer = {.layer = {sizeof newer, 1, 64, TANDEM_TYPE_F32, 0, TANDEM_NONE, 16}};
    const tandem_kv_layer *layers[] = {&newer.layer};
    const tandem_kv_desc desc = {
        .struct_size = sizeof desc, .n_layer = 1, .layers = layers, .max_chunk = 1, .n_slot = 1};
    tandem_kv *kv = NULL;
    GOOD(b->kv_create(shared.context, &desc, &kv, &error));
    b->kv_destroy(kv);
    kv = NULL;
    newer.news[2] = 1;
    ANSWERS(TANDEM_E_UNSUPPORTED, "tandem_kv_layer has a value at offset",
            b->kv_create(shared.context, &desc, &kv, &error));
    assert_null(kv);
    struct {
        tandem_matrix_desc matrix;
        uint32_t news[4];
    } big = {.matrix = {sizeof big, TANDEM_ROLE_SINGLE, TANDEM_TYPE_F32, 0, 4, 4}, .news = {0, 0, 0, 1}};
    const tandem_matrix_desc *matrices[] = {&big.matrix};
    const tandem_weights_desc weights_desc = {
        .struct_size = sizeof weights_desc, .n_record = 1, .n_matrix = 1, .matrices = matrices};
    tandem_weights *weights = NULL;
    ANSWERS(TANDEM_E_UNSUPPORTED, "tandem_matrix_desc has a value at offset",
            b->weights_create(shared.context, &weights_desc, &weights, &error));
    assert_null(weights);
}

/* An output struct at every size: nothing is written beyond it, and the size filled is stored. */
static void check_output(uint32_t known, uint32_t minimum,
                         tandem_status (*fill)(void *out, tandem_error *error)) {
    unsigned char bytes[2048];
    for (uint32_t size = minimum; size <= known + NEWS; size += 4) {
        memset(bytes, 0xa5, sizeof bytes);
        memcpy(bytes, &size, sizeof size);
        GOOD(fill(bytes, &error));
        uint32_t filled, most = size < known ? size : known;
        memcpy(&filled, bytes, sizeof filled);
        assert_int_equal(filled, most);
        for (size_t i = most; i < sizeof bytes; i++)
            assert_int_equal(bytes[i], 0xa5);
    }
    memset(bytes, 0, sizeof bytes);
    tandem_error error = {.struct_size = sizeof error};
    assert_int_equal(fill(bytes, &error), TANDEM_E_INVALID);
}

static tandem_status fill_device(void *out, tandem_error *error) {
    return shared.backend->device_info(0, out, error);
}

static tandem_status fill_memory(void *out, tandem_error *error) {
    return shared.backend->context_memory(shared.context, out, error);
}

static tandem_status fill_buffer(void *out, tandem_error *error) {
    const tandem_buffer_desc desc = {.struct_size = sizeof desc, .bytes = 64};
    tandem_buffer *buffer;
    tandem_status status = shared.backend->buffer_create(shared.context, &desc, &buffer, error);
    if (status != TANDEM_OK)
        return status;
    status = shared.backend->buffer_info(buffer, out, error);
    shared.backend->buffer_destroy(buffer);
    return status;
}

static void outputs_of_every_size(void **state) {
    (void)state;
    check_output(sizeof(tandem_device_info), sizeof(tandem_device_info), fill_device);
    check_output(sizeof(tandem_memory_info), TANDEM_KIT_MIN_tandem_memory_info, fill_memory);
    check_output(sizeof(tandem_buffer_info), TANDEM_KIT_MIN_tandem_buffer_info, fill_buffer);
}

static void errors_of_every_size(void **state) {
    (void)state;
    const tandem_buffer_desc desc = {.struct_size = sizeof desc}; /* no bytes: refused */
    for (uint32_t size = 0; size <= sizeof(tandem_error) + NEWS; size += 4) {
        union {
            tandem_error error;
            unsigned char bytes[sizeof(tandem_error) + 2 * NEWS];
        } u;
        memset(&u, 0xa5, sizeof u);
        u.error.struct_size = size;
        tandem_buffer *made = NULL;
        assert_int_equal(shared.backend->buffer_create(shared.context, &desc, &made, &u.error),
                         TANDEM_E_INVALID);
        size_t most = size < sizeof u.error ? size : sizeof u.error;
        for (size_t i = most < 4 ? 4 : most; i < sizeof u; i++)
            assert_int_equal(u.bytes[i], 0xa5);
    }
    assert_int_equal(shared.backend->buffer_create(shared.context, &desc, &(tandem_buffer *){NULL}, NULL),
                     TANDEM_E_INVALID);
}

static void unknown_interfaces_are_null(void **state) {
    (void)state;
    assert_null(shared.backend->get_interface("no_such_thing/1"));
    assert_null(shared.backend->get_interface(""));
    assert_null(shared.backend->get_interface(NULL));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_of_a_newer_host),      cmocka_unit_test(inputs_of_an_older_host),
        cmocka_unit_test(inputs_without_a_size),       cmocka_unit_test(inputs_inside_inputs),
        cmocka_unit_test(outputs_of_every_size),       cmocka_unit_test(errors_of_every_size),
        cmocka_unit_test(unknown_interfaces_are_null),
    };
    if (argc != 2) {
        fprintf(stderr, "usage: growth_test PLUGIN\n");
        return 2;
    }
    shared.name = argv[1];
    return cmocka_run_group_tests(tests, open_plugin, close_plugin);
}
