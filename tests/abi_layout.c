/* abi_layout.c: the layout of the ABI, frozen: at compile time every offset and size, at run time that no
 * struct has a hole that its header does not show, and that the slots of the table are in the order that the
 * loader checks. */
#include <stdio.h>
#include <string.h>

#include <tandem/growth.h>
#include <tandem/negotiate.h>
#include <tandem/tandem.h>

_Static_assert(sizeof(void *) == 8, "the layout is written down for 64-bit machines");
_Static_assert(sizeof(((tandem_view *)0)->buffer) == sizeof(void *), "handles are pointers");

#define STRUCT(type, size) _Static_assert(sizeof(type) == (size), "size of " #type);
#define MEMBER(type, member, offset, size)                                                                   \
    _Static_assert(offsetof(type, member) == (offset), "offset of " #type "." #member);                      \
    _Static_assert(sizeof(((type *)0)->member) == (size), "size of " #type "." #member);
#define CONSTANT(name, value) _Static_assert((name) == (value), "value of " #name);
#include "abi_layout.def"
#undef STRUCT
#undef MEMBER
#undef CONSTANT

/* The first member of a struct that grows, and of an op through its head. */
#define GROWS(type) _Static_assert(offsetof(type, struct_size) == 0, #type " begins with its size");
#define GROWS_OP(type) _Static_assert(offsetof(type, head.struct_size) == 0, #type " begins with its size");
GROWS(tandem_error)
GROWS(tandem_host)
GROWS(tandem_descriptor)
GROWS(tandem_device_info)
GROWS(tandem_context_desc)
GROWS(tandem_memory_info)
GROWS(tandem_buffer_desc)
GROWS(tandem_buffer_info)
GROWS(tandem_matrix_desc)
GROWS(tandem_weights_desc)
GROWS(tandem_weights_info)
GROWS(tandem_kv_layer)
GROWS(tandem_kv_desc)
GROWS(tandem_kv_info)
GROWS(tandem_op)
GROWS_OP(tandem_op_embed)
GROWS_OP(tandem_op_stream)
GROWS_OP(tandem_op_matmul)
GROWS_OP(tandem_op_attention)
GROWS_OP(tandem_op_topk)
GROWS_OP(tandem_op_elementwise)
GROWS_OP(tandem_op_moe_route)
GROWS_OP(tandem_op_moe_ffn)
GROWS(tandem_program_desc)
GROWS(tandem_run)
GROWS(tandem_step)
GROWS(tandem_cost)
GROWS(tandem_times)
GROWS(tandem_backend)

typedef struct line {
    const char *type, *member; /* member NULL: the struct itself */
    size_t offset, size;
} line;

static const line lines[] = {
#define STRUCT(type, size) {#type, NULL, 0, size},
#define MEMBER(type, member, offset, size) {#type, #member, offset, size},
#define CONSTANT(name, value)
#include "abi_layout.def"
#undef STRUCT
#undef MEMBER
#undef CONSTANT
};

enum { N_LINE = sizeof lines / sizeof *lines };

static int check_holes(void) {
    int bad = 0;
    size_t end = 0, size = 0;
    const char *type = "";
    for (size_t i = 0; i <= N_LINE; i++) {
        int is_struct = i == N_LINE || lines[i].member == NULL;
        if (is_struct && end != size) {
            fprintf(stderr, "%s has %zu bytes of padding at its end that no member shows\n", type,
                    size - end);
            bad++;
        }
        if (i == N_LINE)
            break;
        if (is_struct) {
            type = lines[i].type;
            size = lines[i].size;
            end = 0;
            continue;
        }
        if (lines[i].offset != end) {
            fprintf(stderr, "%s has a hole before %s\n", type, lines[i].member);
            bad++;
        }
        end = lines[i].offset + lines[i].size;
    }
    return bad;
}

static int check_slots(void) {
    static const size_t slots[] = {
#define SLOT(name) offsetof(tandem_backend, name),
        TANDEM_KIT_SLOTS(SLOT)
#undef SLOT
    };
    int bad = 0;
    size_t expected = offsetof(tandem_backend, descriptor) + sizeof(void *);
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++, expected += sizeof(void *))
        if (slots[i] != expected) {
            fprintf(stderr, "slot %zu of the loader's list is not the one at offset %zu\n", i, expected);
            bad++;
        }
    if (expected != sizeof(tandem_backend)) {
        fprintf(stderr, "the loader's list ends before the table does\n");
        bad++;
    }
    return bad;
}

int main(void) {
    int bad = check_holes() + check_slots();
    printf("%d lines of layout, %d wrong\n", N_LINE, bad);
    return bad != 0;
}
