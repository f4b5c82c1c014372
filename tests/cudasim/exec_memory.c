/* ld, st, prefetch. The spelled-out opcodes combine space, order, cache hints, vectors and types; hints
 * change nothing here but their place in the counters' opcode names.
 */
#include "lanes.h"
#include "reach.h"

#include <cuda.h>
#include <immintrin.h>
#include <stdio.h>

/* flags of a row beside FLAG_SITE */
enum {
    FLAG_STRONG = 16,
    FLAG_ORDERED = 32,
    FLAG_SIGNED = 64,
    FLAG_POLICY = 128
}; /* ORDERED: acquire, release */

/* ---- loads ---- */

/* Four words from each of 32 places into four rows: eight 4 x 4 transpositions. */
static void gather_4x32(uint8_t *const *at, uint32_t *d0, uint32_t *d1, uint32_t *d2, uint32_t *d3) {
    for (uint32_t i = 0; i < LANES; i += 4) {
        __m128 a = _mm_loadu_ps((const float *)(const void *)at[i]),
               b = _mm_loadu_ps((const float *)(const void *)at[i + 1]);
        __m128 c = _mm_loadu_ps((const float *)(const void *)at[i + 2]),
               d = _mm_loadu_ps((const float *)(const void *)at[i + 3]);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        _mm_storeu_ps((float *)(void *)(d0 + i), a);
        _mm_storeu_ps((float *)(void *)(d1 + i), b);
        _mm_storeu_ps((float *)(void *)(d2 + i), c);
        _mm_storeu_ps((float *)(void *)(d3 + i), d);
    }
}

static void gather_words(struct warp *w, const struct inst *in, const struct request *r) {
    uint32_t t[4][LANES];
    if (r->mask == FULL && in->n == 4) {
        gather_4x32(r->at, row(w, in->v[0]), row(w, in->v[1]), row(w, in->v[2]), row(w, in->v[3]));
        return;
    }
    if (r->stream && in->n == 1) {
        memcpy(row(w, in->v[0]), r->at[0], 4 * LANES);
        return;
    }
    for (uint32_t e = 0; e < in->n; e++) {
        uint32_t *d = row(w, in->v[e]);
        for (uint32_t i = 0; i < LANES; i++)
            memcpy(&t[e][i], r->at[i] + 4 * e, 4);
        WRITE_LANES(d, r->mask, uint32_t, t[e][i]);
    }
}

static uint64_t fetch(const uint8_t *at, uint32_t bytes, bool with_sign) {
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    const unsigned unused = 64 - 8 * bytes;
    return with_sign ? (uint64_t)((int64_t)(value << unused) >> unused) : value;
}

static void gather_any(struct warp *w, const struct inst *in, const struct request *r) {
    for (uint32_t e = 0; e < in->n; e++) {
        uint64_t t[LANES];
        void *to = row(w, in->v[e]);
        for (uint32_t i = 0; i < LANES; i++)
            t[i] = fetch(r->at[i] + in->bytes * e, in->bytes, in->flags & FLAG_SIGNED);
        if (in->width == 2) {
            uint16_t *d = to;
            WRITE_LANES(d, r->mask, uint16_t, t[i]);
        } else if (in->width == 4) {
            uint32_t *d = to;
            WRITE_LANES(d, r->mask, uint32_t, t[i]);
        } else {
            uint64_t *d = to;
            WRITE_LANES(d, r->mask, uint64_t, t[i]);
        }
    }
}

static void load(struct warp *w, const struct inst *in, uint32_t mask) {
    struct request r;
    request_begin(&r, w, in, mask, in->o[0], in->imm, in->wide, in->bytes * in->n,
                  in->flags & FLAG_STRONG ? ACCESS_STRONG_READ : ACCESS_READ);
    if (in->flags & FLAG_STRONG)
        warp_spins(w);
    if (!reach(&r, w, in, in->space))
        return;
    if (in->flags & FLAG_STRONG && w->block->n_clock) {
        EACH_LANE(i, mask) {
            order_read(w, i, r.at[i], in->flags & FLAG_ORDERED);
        }
    }
    if (in->bytes == 4 && in->width == 4)
        gather_words(w, in, &r);
    else
        gather_any(w, in, &r);
}

/* ---- stores: where lanes write to one place, PTX lets any of them win ---- */

static void store_lane(const struct warp *w, const struct inst *in, uint8_t *at, uint32_t lane) {
    for (uint32_t e = 0; e < in->n; e++) {
        const uint8_t *from = row(w, in->v[e]);
        memcpy(at + in->bytes * e, from + (size_t)lane * in->width, in->bytes);
    }
}

static void store(struct warp *w, const struct inst *in, uint32_t mask) {
    struct request r;
    request_begin(&r, w, in, mask, in->o[0], in->imm, in->wide, in->bytes * in->n,
                  in->flags & FLAG_STRONG ? ACCESS_STRONG_WRITE : ACCESS_WRITE);
    if (!reach(&r, w, in, in->space))
        return;
    if (in->flags & FLAG_STRONG) {
        EACH_LANE(i, mask) {
            if (!order_write(w, i, r.at[i], in->flags & FLAG_ORDERED, false)) {
                launch_fault(w, in, (int)i, CUDA_ERROR_OUT_OF_MEMORY, "no memory for what it releases");
                return;
            }
        }
    }
    if (w->launch->adversarial && random_next(&w->launch->random) & 1) {
        for (uint32_t i = LANES; i-- > 0;)
            if (mask >> i & 1)
                store_lane(w, in, r.at[i], i);
    } else if (r.stream && in->n == 1 && in->width == in->bytes) {
        memcpy(r.at[0], row(w, in->v[0]), (size_t)LANES * in->bytes);
    } else {
        EACH_LANE(i, mask) {
            store_lane(w, in, r.at[i], i);
        }
    }
    if (in->space == SPACE_GLOBAL || in->space == SPACE_GENERIC)
        request_written(&r, w);
    else
        launch_changed(w->launch);
}

/* A prefetch of any address is allowed and does nothing. */
static void prefetch(struct warp *w, const struct inst *in, uint32_t mask) {
    (void)w;
    (void)in;
    (void)mask;
}
/* A cache policy is an opaque number. */
static void create_policy(struct warp *w, const struct inst *in, uint32_t mask) {
    uint64_t *d = row(w, in->o[0]);
    WRITE_LANES(d, mask, uint64_t, 0x12f0000000000000ull);
}
static bool bind_policy(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    return decode_count(d, from, 1, 2) && decode_write(d, &from->operand[0], 8, &to->o[0]);
}

/* ---- decoding ---- */

static bool bind_data(struct decoder *d, const struct ptx_operand *o, struct inst *to, bool write) {
    uint32_t *v = decode_vector(d, to->n);
    if (!v)
        return false;
    if (to->n == 1 ? o->kind == OPERAND_VECTOR : o->kind != OPERAND_VECTOR || o->n_element != to->n) {
        decode_fail(d, "%s expected",
                    to->n == 1 ? "one register" : "a vector of as many elements as the opcode says");
        return false;
    }
    uint8_t width = 0;
    for (uint32_t e = 0; e < to->n; e++) {
        const struct ptx_operand *element = to->n == 1 ? o : &o->element[e];
        const bool sink = element->kind == OPERAND_SINK;
        if (!(write ? decode_write_wide(d, element, to->bytes, &v[e], &width)
                    : decode_read_wide(d, element, to->bytes, &v[e], &width)))
            return false;
        if (!sink && to->width && to->width != width) {
            decode_fail(d, "the registers of the vector have different sizes");
            return false;
        }
        to->width = sink && to->width ? to->width : width;
    }
    return true;
}

static bool bind_memory(struct decoder *d, const struct ptx_inst *from, struct inst *to, bool is_load) {
    const uint32_t operands = to->flags & FLAG_POLICY ? 3 : 2;
    if (!decode_count(d, from, operands, operands) || !decode_address(d, &from->operand[is_load], to, 0))
        return false;
    if (to->flags & FLAG_POLICY && !decode_read(d, &from->operand[2], 8, &to->o[5]))
        return false;
    to->flags &= (uint8_t)~FLAG_POLICY;
    return bind_data(d, &from->operand[!is_load], to, is_load);
}
static bool bind_load(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    return bind_memory(d, from, to, true);
}
static bool bind_store(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    return bind_memory(d, from, to, false);
}

/* ---- the rows ---- */

static const struct {
    const char *name;
    uint8_t bytes;
    bool with_sign;
} types[] = {{"b8", 1, false},  {"u8", 1, false},  {"s8", 1, true},   {"b16", 2, false}, {"u16", 2, false},
             {"s16", 2, true},  {"b32", 4, false}, {"u32", 4, false}, {"s32", 4, true},  {"f32", 4, false},
             {"b64", 8, false}, {"u64", 8, false}, {"s64", 8, true},  {"f64", 8, false}};

/* All types and vectors of one beginning, such as "ld.global.nc". */
static void add_accesses(const char *beginning, bool is_load, uint8_t space, uint8_t flags, bool vectors) {
    static const uint8_t load_class[] = {[SPACE_GLOBAL] = CLASS_LD_GLOBAL,
                                         [SPACE_SHARED] = CLASS_LD_SHARED,
                                         [SPACE_GENERIC] = CLASS_LD_GLOBAL};
    static const uint8_t store_class[] = {[SPACE_GLOBAL] = CLASS_ST_GLOBAL,
                                          [SPACE_SHARED] = CLASS_ST_SHARED,
                                          [SPACE_GENERIC] = CLASS_ST_GLOBAL};
    const uint8_t known = is_load ? load_class[space] : store_class[space];
    const bool other = space == SPACE_CONST || space == SPACE_LOCAL || space == SPACE_PARAM;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (uint8_t n = 1; n <= (vectors ? 4 : 1) && n * types[t].bytes <= 16; n = (uint8_t)(2 * n))
            opcode_add(
                (struct opcode){
                    .fn = is_load ? load : store,
                    .bind = is_load ? bind_load : bind_store,
                    .bytes = types[t].bytes,
                    .n = n,
                    .space = space,
                    .flags = (uint8_t)(flags | FLAG_SITE | (types[t].with_sign ? FLAG_SIGNED : 0)),
                    .cls = (uint8_t)(other ? (is_load ? CLASS_LD_OTHER : CLASS_ST_OTHER) : known)},
                "%s%s.%s", beginning,
                n == 1   ? ""
                : n == 2 ? ".v2"
                         : ".v4",
                types[t].name);
}

static const char *const eviction[] = {"",
                                       ".L1::evict_normal",
                                       ".L1::evict_unchanged",
                                       ".L1::evict_first",
                                       ".L1::evict_last",
                                       ".L1::no_allocate"};
static const char *const prefetch_size[] = {"", ".L2::64B", ".L2::128B", ".L2::256B"};

static void add_global_loads(void) {
    static const char *const cops[] = {".ca", ".cg", ".cs", ".lu", ".cv"};
    char name[80];
    for (int nc = 0; nc < 2; nc++) {
        for (int e = 0; e < 6; e++)
            for (int p = 0; p < 4; p++) {
                snprintf(name, sizeof name, "ld.global%s%s%s", nc ? ".nc" : "", eviction[e],
                         prefetch_size[p]);
                add_accesses(name, true, SPACE_GLOBAL, 0, true);
            }
        for (int e = 0; e < 6; e++) {
            snprintf(name, sizeof name, "ld.global%s%s.L2::cache_hint", nc ? ".nc" : "", eviction[e]);
            add_accesses(name, true, SPACE_GLOBAL, FLAG_POLICY, true);
        }
    }
    for (int c = 0; c < 5; c++) {
        snprintf(name, sizeof name, "ld.global%s", cops[c]);
        add_accesses(name, true, SPACE_GLOBAL, c == 4 ? FLAG_STRONG : 0, true);
        if (c < 3) {
            snprintf(name, sizeof name, "ld.global%s.nc", cops[c]);
            add_accesses(name, true, SPACE_GLOBAL, 0, true);
        }
    }
}

static void add_global_stores(void) {
    static const char *const cops[] = {".wb", ".cg", ".cs", ".wt"};
    char name[80];
    for (int e = 0; e < 6; e++) {
        snprintf(name, sizeof name, "st.global%s", eviction[e]);
        add_accesses(name, false, SPACE_GLOBAL, 0, true);
        snprintf(name, sizeof name, "st.global%s.L2::cache_hint", eviction[e]);
        add_accesses(name, false, SPACE_GLOBAL, FLAG_POLICY, true);
    }
    for (int c = 0; c < 4; c++) {
        snprintf(name, sizeof name, "st.global%s", cops[c]);
        add_accesses(name, false, SPACE_GLOBAL, 0, true);
    }
}

/* volatile, relaxed, acquire and release, of the spaces that threads share. */
static void add_strong(void) {
    static const char *const spaces[] = {".global", ".shared", ""}, *const scopes[] = {"cta", "gpu", "sys"};
    static const uint8_t space[] = {SPACE_GLOBAL, SPACE_SHARED, SPACE_GENERIC};
    char name[80];
    for (int s = 0; s < 3; s++) {
        snprintf(name, sizeof name, "ld.volatile%s", spaces[s]);
        add_accesses(name, true, space[s], FLAG_STRONG, true);
        snprintf(name, sizeof name, "st.volatile%s", spaces[s]);
        add_accesses(name, false, space[s], FLAG_STRONG, true);
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "ld.relaxed.%s%s", scopes[k], spaces[s]);
            add_accesses(name, true, space[s], FLAG_STRONG, false);
            snprintf(name, sizeof name, "ld.acquire.%s%s", scopes[k], spaces[s]);
            add_accesses(name, true, space[s], FLAG_STRONG | FLAG_ORDERED, false);
            snprintf(name, sizeof name, "st.relaxed.%s%s", scopes[k], spaces[s]);
            add_accesses(name, false, space[s], FLAG_STRONG, false);
            snprintf(name, sizeof name, "st.release.%s%s", scopes[k], spaces[s]);
            add_accesses(name, false, space[s], FLAG_STRONG | FLAG_ORDERED, false);
        }
    }
}

void opcodes_memory(void) {
    static const char *const policies[] = {"evict_first", "evict_last", "evict_normal", "evict_unchanged"};
    add_global_loads();
    add_global_stores();
    add_accesses("ld", true, SPACE_GENERIC, 0, true);
    add_accesses("st", false, SPACE_GENERIC, 0, true);
    add_accesses("ld.shared", true, SPACE_SHARED, 0, true);
    add_accesses("st.shared", false, SPACE_SHARED, 0, true);
    add_accesses("ld.shared::cta", true, SPACE_SHARED, 0, true);
    add_accesses("st.shared::cta", false, SPACE_SHARED, 0, true);
    add_accesses("ld.local", true, SPACE_LOCAL, 0, true);
    add_accesses("st.local", false, SPACE_LOCAL, 0, true);
    add_accesses("ld.const", true, SPACE_CONST, 0, true);
    add_accesses("ld.param", true, SPACE_PARAM, 0, true);
    add_strong();
    for (int level = 1; level <= 2; level++) {
        opcode_add(
            (struct opcode){.fn = prefetch, .signature = "a", .space = SPACE_GLOBAL, .cls = CLASS_FENCE},
            "prefetch.global.L%d", level);
        opcode_add(
            (struct opcode){.fn = prefetch, .signature = "a", .space = SPACE_GENERIC, .cls = CLASS_FENCE},
            "prefetch.L%d", level);
    }
    opcode_add((struct opcode){.fn = prefetch, .signature = "a", .space = SPACE_GENERIC, .cls = CLASS_FENCE},
               "prefetchu.L1");
    for (int i = 0; i < 4; i++)
        opcode_add((struct opcode){.fn = create_policy, .bind = bind_policy, .cls = CLASS_FENCE},
                   "createpolicy.fractional.L2::%s.b64", policies[i]);
}
