/* mov, the packing and unpacking of vectors, and conversions between address spaces. */
#include "decode.h"
#include "lanes.h"

EXEC1(move16, uint16_t, uint16_t, x)
EXEC1(move32, uint32_t, uint32_t, x)
EXEC1(move64, uint64_t, uint64_t, x)

static void move_predicate(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t *value = row(w, in->o[1]); /* a register's lanes, or a constant's */
    predicate_set(w, in->o[0], mask, *value);
}

/* Clocks count what has been executed; they are no measure of time. */
static uint64_t clock_now(const struct warp *w) {
    return w->launch->clock + w->launch->executed;
}
static void move_clock32(struct warp *w, const struct inst *in, uint32_t mask) {
    uint32_t *d = row(w, in->o[0]);
    const uint32_t value = (uint32_t)(clock_now(w) >> in->imm);
    w->launch->executed++;
    WRITE_LANES(d, mask, uint32_t, value);
}
static void move_clock64(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t *d = row(w, in->o[0]);
    const uint64_t value = clock_now(w);
    w->launch->executed++;
    WRITE_LANES(d, mask, uint64_t, value);
}

static void pack2x16(struct warp *w, const struct inst *in, uint32_t mask) {
    uint32_t *d = row(w, in->o[0]);
    const uint16_t *a = row(w, in->v[0]), *b = row(w, in->v[1]);
    WRITE_LANES(d, mask, uint32_t, a[i] | (uint32_t)b[i] << 16);
}
static void pack2x32(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t *d = row(w, in->o[0]);
    const uint32_t *a = row(w, in->v[0]), *b = row(w, in->v[1]);
    WRITE_LANES(d, mask, uint64_t, a[i] | (uint64_t)b[i] << 32);
}
static void pack4x16(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t *d = row(w, in->o[0]);
    const uint16_t *a = row(w, in->v[0]), *b = row(w, in->v[1]), *c = row(w, in->v[2]), *e = row(w, in->v[3]);
    WRITE_LANES(d, mask, uint64_t, a[i] | (uint64_t)b[i] << 16 | (uint64_t)c[i] << 32 | (uint64_t)e[i] << 48);
}
static void unpack2x16(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint32_t *a = row(w, in->o[0]);
    uint16_t *d = row(w, in->v[0]), *e = row(w, in->v[1]);
    WRITE_LANES(d, mask, uint16_t, a[i]);
    WRITE_LANES(e, mask, uint16_t, a[i] >> 16);
}
static void unpack2x32(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint64_t *a = row(w, in->o[0]);
    uint32_t *d = row(w, in->v[0]), *e = row(w, in->v[1]);
    WRITE_LANES(d, mask, uint32_t, a[i]);
    WRITE_LANES(e, mask, uint32_t, a[i] >> 32);
}
static void unpack4x16(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint64_t *a = row(w, in->o[0]);
    for (uint32_t k = 0; k < 4; k++) {
        uint16_t *d = row(w, in->v[k]);
        WRITE_LANES(d, mask, uint16_t, a[i] >> (16 * k));
    }
}

/* mov.b32 d, {a, b} and mov.b32 {d, e}, a: bytes and elements say which. */
static bool bind_vector(struct decoder *d, const struct ptx_inst *from, struct inst *to, bool pack) {
    const struct ptx_operand *vector = &from->operand[pack], *scalar = &from->operand[!pack];
    const uint32_t n = vector->n_element, part = to->bytes / (n ? n : 1);
    if (scalar->kind == OPERAND_VECTOR || (n != 2 && n != 4) || part < 2) {
        decode_fail(d, "this packing is not supported");
        return false;
    }
    uint32_t *v = decode_vector(d, n);
    if (!v)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!(pack ? decode_read(d, &vector->element[i], part, &v[i])
                   : decode_write(d, &vector->element[i], part, &v[i])))
            return false;
    to->fn = pack ? (n == 4      ? pack4x16
                     : part == 2 ? pack2x16
                                 : pack2x32)
                  : (n == 4      ? unpack4x16
                     : part == 2 ? unpack2x16
                                 : unpack2x32);
    return pack ? decode_write(d, scalar, to->bytes, &to->o[0])
                : decode_read(d, scalar, to->bytes, &to->o[0]);
}

static bool bind_move(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    if (!decode_count(d, from, 2, 2))
        return false;
    const struct ptx_operand *source = &from->operand[1];
    if (from->operand[0].kind == OPERAND_VECTOR || source->kind == OPERAND_VECTOR)
        return bind_vector(d, from, to, source->kind == OPERAND_VECTOR);
    if (!decode_write(d, &from->operand[0], to->bytes, &to->o[0]))
        return false;
    if (source->kind == OPERAND_NAME) {
        const bool low = !strcmp(source->name, "%clock") || !strcmp(source->name, "%globaltimer_lo");
        const bool high = !strcmp(source->name, "%clock_hi") || !strcmp(source->name, "%globaltimer_hi");
        if (to->bytes == 4 && (low || high)) {
            to->fn = move_clock32;
            to->imm = high ? 32 : 0;
            return true;
        }
        if (to->bytes == 8 && (!strcmp(source->name, "%clock64") || !strcmp(source->name, "%globaltimer"))) {
            to->fn = move_clock64;
            return true;
        }
    }
    return decode_read(d, source, to->bytes, &to->o[1]);
}

/* ---- address spaces ---- */

static void add_window(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t *d = row(w, in->o[0]);
    const uint64_t *a = row(w, in->o[1]);
    const uint64_t window = (uint64_t)in->imm;
    WRITE_LANES(d, mask, uint64_t, a[i] + window);
}

static uint64_t window_of(uint64_t address) {
    return address & (SHARED_WINDOW | LOCAL_WINDOW | PARAM_WINDOW);
}
static void is_space(struct warp *w, const struct inst *in, uint32_t mask) {
    const uint64_t *a = row(w, in->o[1]);
    uint32_t result = 0;
    for (uint32_t i = 0; i < LANES; i++)
        result |= (uint32_t)(window_of(a[i]) == (uint64_t)in->imm) << i;
    predicate_set(w, in->o[0], mask, result);
}

void opcodes_move(void) {
    static const char *const types[] = {"b16", "u16", "s16", "b32", "u32", "s32",
                                        "f32", "b64", "u64", "s64", "f64"};
    static const struct {
        const char *name;
        uint64_t window;
    } spaces[] = {{"global", 0},
                  {"const", 0},
                  {"shared", SHARED_WINDOW},
                  {"local", LOCAL_WINDOW},
                  {"param", PARAM_WINDOW}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const uint8_t bytes = i < 3 ? 2 : i < 7 ? 4 : 8;
        opcode_add((struct opcode){.fn = bytes == 2   ? move16
                                         : bytes == 4 ? move32
                                                      : move64,
                                   .bind = bind_move,
                                   .bytes = bytes,
                                   .cls = CLASS_MOVE},
                   "mov.%s", types[i]);
    }
    opcode_add((struct opcode){.fn = move_predicate, .signature = "Pq", .cls = CLASS_MOVE}, "mov.pred");
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        opcode_add(
            (struct opcode){
                .fn = add_window, .signature = "Dd", .imm = (int64_t)spaces[i].window, .cls = CLASS_INT},
            "cvta.%s.u64", spaces[i].name);
        opcode_add(
            (struct opcode){
                .fn = add_window, .signature = "Dd", .imm = -(int64_t)spaces[i].window, .cls = CLASS_INT},
            "cvta.to.%s.u64", spaces[i].name);
        if (spaces[i].window || i == 0)
            opcode_add(
                (struct opcode){
                    .fn = is_space, .signature = "Pd", .imm = (int64_t)spaces[i].window, .cls = CLASS_INT},
                "isspacep.%s", spaces[i].name);
    }
}
