/* atom and red. Lanes take their turns in rising order, in adversarial mode in any. */
#include "lanes.h"
#include "half.h"
#include "reach.h"

#include <cuda.h>
#include <stdio.h>

enum {
    OP_ADD,
    OP_INC,
    OP_DEC,
    OP_MIN_U,
    OP_MAX_U,
    OP_MIN_S,
    OP_MAX_S,
    OP_AND,
    OP_OR,
    OP_XOR,
    OP_EXCH,
    OP_CAS,
    OP_ADD_F32,
    OP_ADD_F64,
    OP_ADD_F16,
    OP_ADD_F16X2
};
enum { FLAG_RESULT = 16, FLAG_ACQUIRE = 32, FLAG_RELEASE = 64 };

static uint16_t add_half(uint16_t a, uint16_t b) {
    return f16_from_float(f16_to_float(a) + f16_to_float(b));
}

/* `old` and the operands are zero-extended from `bits` bits. */
static uint64_t combine(int64_t op, unsigned bits, uint64_t old, uint64_t b, uint64_t c) {
    const unsigned unused = 64 - bits;
    const int64_t so = (int64_t)(old << unused) >> unused, sb = (int64_t)(b << unused) >> unused;
    switch (op) {
    case OP_ADD:
        return old + b;
    case OP_INC:
        return old >= b ? 0 : old + 1;
    case OP_DEC:
        return old == 0 || old > b ? b : old - 1;
    case OP_MIN_U:
        return old < b ? old : b;
    case OP_MAX_U:
        return old > b ? old : b;
    case OP_MIN_S:
        return so < sb ? old : b;
    case OP_MAX_S:
        return so > sb ? old : b;
    case OP_AND:
        return old & b;
    case OP_OR:
        return old | b;
    case OP_XOR:
        return old ^ b;
    case OP_EXCH:
        return b;
    case OP_CAS:
        return old == b ? c : old;
    case OP_ADD_F32:
        return bits_of(canonical(float_of((uint32_t)old) + float_of((uint32_t)b)));
    case OP_ADD_F64:
        return bits_of_double(double_of(old) + double_of(b));
    case OP_ADD_F16:
        return add_half((uint16_t)old, (uint16_t)b);
    default:
        return add_half((uint16_t)old, (uint16_t)b) |
               (uint64_t)add_half((uint16_t)(old >> 16), (uint16_t)(b >> 16)) << 16;
    }
}

static uint64_t lane_of(const struct warp *w, uint32_t slot, uint32_t lane, uint32_t bytes) {
    uint64_t value = 0;
    memcpy(&value, (const uint8_t *)row(w, slot) + (size_t)lane * bytes, bytes);
    return value;
}

static void one_lane(struct warp *w, const struct inst *in, uint8_t *at, uint32_t lane, uint64_t *results) {
    uint64_t old = 0;
    memcpy(&old, at, in->bytes);
    const uint64_t b = lane_of(w, in->o[1], lane, in->bytes);
    const uint64_t c = in->imm == OP_CAS ? lane_of(w, in->o[2], lane, in->bytes) : 0;
    uint64_t value = combine(in->imm, 8u * in->bytes, old, b, c);
    memcpy(at, &value, in->bytes);
    if (memcmp(&value, &old, in->bytes))
        launch_changed(w->launch);
    results[lane] = old;
    order_read(w, lane, at, in->flags & FLAG_ACQUIRE);
    const bool writes = in->imm != OP_CAS || old == b;
    if (writes && !order_write(w, lane, at, in->flags & FLAG_RELEASE, true))
        launch_fault(w, in, (int)lane, CUDA_ERROR_OUT_OF_MEMORY, "no memory for what it releases");
}

static void atomic(struct warp *w, const struct inst *in, uint32_t mask) {
    struct request r;
    uint64_t results[LANES];
    const int64_t offset = in->v ? (int64_t)(int32_t)in->v[0] : 0;
    request_begin(&r, w, in, mask, in->o[0], offset, in->wide, in->bytes, ACCESS_ATOMIC);
    if (!reach(&r, w, in, in->space))
        return;
    warp_spins(w);
    const uint32_t first = w->launch->adversarial ? random_below(&w->launch->random, LANES) : 0;
    for (uint32_t k = 0; k < LANES; k++) {
        const uint32_t lane = (first + k) % LANES;
        if (mask >> lane & 1)
            one_lane(w, in, r.at[lane], lane, results);
    }
    if (!(in->flags & FLAG_RESULT))
        return;
    void *to = row(w, in->o[3]);
    uint16_t *h = to;
    uint32_t *d = to;
    uint64_t *q = to;
    EACH_LANE(i, mask) {
        if (in->bytes == 2)
            h[i] = (uint16_t)results[i];
        else if (in->bytes == 4)
            d[i] = (uint32_t)results[i];
        else
            q[i] = results[i];
    }
}

/* atom d, [a], b{, c}; red [a], b. o: a, b, c, d; the offset of the address in v[0], since imm is the
 * operation. */
static bool bind_atomic(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    const bool result = to->flags & FLAG_RESULT;
    const uint32_t operands = (to->imm == OP_CAS ? 3u : 2u) + result;
    const int64_t op = to->imm;
    if (!decode_count(d, from, operands, operands) || !decode_address(d, &from->operand[result], to, 0))
        return false;
    uint32_t *v = decode_vector(d, 1);
    if (!v)
        return false;
    if (to->imm != (int32_t)to->imm) {
        decode_fail(d, "the offset does not fit 32 bits");
        return false;
    }
    v[0] = (uint32_t)to->imm;
    to->imm = op;
    return decode_read(d, &from->operand[result + 1], to->bytes, &to->o[1]) &&
           (op != OP_CAS || decode_read(d, &from->operand[result + 2], to->bytes, &to->o[2])) &&
           (!result || decode_write(d, &from->operand[0], to->bytes, &to->o[3]));
}

static const struct {
    const char *op, *type;
    int64_t what;
    uint8_t bytes;
    bool only_atom;
} operations[] = {
    {"add", "u32", OP_ADD, 4, false},
    {"add", "s32", OP_ADD, 4, false},
    {"add", "u64", OP_ADD, 8, false},
    {"add", "f32", OP_ADD_F32, 4, false},
    {"add", "f64", OP_ADD_F64, 8, false},
    {"add.noftz", "f16", OP_ADD_F16, 2, false},
    {"add.noftz", "f16x2", OP_ADD_F16X2, 4, false},
    {"inc", "u32", OP_INC, 4, false},
    {"dec", "u32", OP_DEC, 4, false},
    {"min", "u32", OP_MIN_U, 4, false},
    {"max", "u32", OP_MAX_U, 4, false},
    {"min", "s32", OP_MIN_S, 4, false},
    {"max", "s32", OP_MAX_S, 4, false},
    {"min", "u64", OP_MIN_U, 8, false},
    {"max", "u64", OP_MAX_U, 8, false},
    {"min", "s64", OP_MIN_S, 8, false},
    {"max", "s64", OP_MAX_S, 8, false},
    {"and", "b32", OP_AND, 4, false},
    {"or", "b32", OP_OR, 4, false},
    {"xor", "b32", OP_XOR, 4, false},
    {"and", "b64", OP_AND, 8, false},
    {"or", "b64", OP_OR, 8, false},
    {"xor", "b64", OP_XOR, 8, false},
    {"exch", "b32", OP_EXCH, 4, true},
    {"exch", "b64", OP_EXCH, 8, true},
    {"cas", "b32", OP_CAS, 4, true},
    {"cas", "b64", OP_CAS, 8, true},
    {"cas", "b16", OP_CAS, 2, true},
};

/* middle: what stands between "atom" and the operation, or after it when `behind`. */
static void add_all(bool atom, const char *before, const char *after, uint8_t space, uint8_t flags) {
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (atom || !operations[i].only_atom)
            opcode_add((struct opcode){.fn = atomic,
                                       .bind = bind_atomic,
                                       .imm = operations[i].what,
                                       .bytes = operations[i].bytes,
                                       .space = space,
                                       .flags = (uint8_t)(flags | FLAG_SITE | (atom ? FLAG_RESULT : 0)),
                                       .cls = CLASS_ATOMIC},
                       "%s%s.%s%s.%s", atom ? "atom" : "red", before, operations[i].op, after,
                       operations[i].type);
}

/* ptxas takes order and scope before the space, behind it, or behind the operation; nvcc and its headers use
 * all three. */
static void add_orders(bool atom, const char *space_name, uint8_t space) {
    static const char *const orders[] = {"", ".relaxed", ".acquire", ".release", ".acq_rel"},
                             *const scopes[] = {"cta", "gpu", "sys"};
    char before[64], after[64];
    add_all(atom, space_name, "", space, 0);
    for (int o = 0; o < 5; o++)
        for (int s = 0; s < 3; s++) {
            const uint8_t flags =
                (uint8_t)((o == 2 || o == 4 ? FLAG_ACQUIRE : 0) | (o == 3 || o == 4 ? FLAG_RELEASE : 0));
            if (!atom && (o == 2 || o == 4))
                continue;
            snprintf(before, sizeof before, "%s.%s%s", orders[o], scopes[s], space_name);
            add_all(atom, before, "", space, flags);
            if (*space_name) {
                snprintf(before, sizeof before, "%s%s.%s", space_name, orders[o], scopes[s]);
                add_all(atom, before, "", space, flags);
            } else {
                snprintf(after, sizeof after, "%s.%s", orders[o], scopes[s]);
                add_all(atom, "", after, space, flags);
            }
        }
}

void opcodes_atomic(void) {
    for (int atom = 0; atom < 2; atom++) {
        add_orders(atom, ".global", SPACE_GLOBAL);
        add_orders(atom, ".shared", SPACE_SHARED);
        add_orders(atom, "", SPACE_GENERIC);
    }
}
