/* Operands of an instruction become slots: registers, immediates, addresses of variables, special registers.
 */
#include "decode.h"
#include "lanes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void decode_fail(struct decoder *d, const char *format, ...) {
    char place[96];
    if (d->failed)
        return;
    d->failed = true;
    snprintf(place, sizeof place, "PTX line %u: %s: ", d->at ? d->at->line : d->function->line,
             d->at ? d->at->opcode : d->function->name);
    int n = snprintf(d->error, d->error_bytes, "%s", place);
    va_list arguments;
    va_start(arguments, format);
    if (n >= 0 && (size_t)n < d->error_bytes)
        n += vsnprintf(d->error + n, d->error_bytes - (size_t)n, format, arguments);
    va_end(arguments);
    if (d->at && d->at->text && n >= 0 && (size_t)n < d->error_bytes) {
        char quote[QUOTE_BYTES];
        lex_quote(d->at->text, quote);
        snprintf(d->error + n, d->error_bytes - (size_t)n, ", in \"%s\"", quote);
    }
}

bool decode_count(struct decoder *d, const struct ptx_inst *from, uint32_t least, uint32_t most) {
    if (from->n_operand >= least && from->n_operand <= most)
        return true;
    decode_fail(d, "%u operands, where %u%s are known", from->n_operand, least,
                most > least ? " or more" : "");
    return false;
}

bool decode_use(struct decoder *d, uint32_t reg, uint32_t *slot, bool written, uint8_t keep) {
    struct use_list *l = &d->uses;
    if (l->n == l->max) {
        const uint32_t max = l->max ? 2 * l->max : 1024;
        struct use *bigger = realloc(l->use, max * sizeof *bigger);
        if (!bigger) {
            decode_fail(d, "out of memory");
            return false;
        }
        l->use = bigger;
        l->max = max;
    }
    l->use[l->n++] = (struct use){reg, (uint32_t)(d->to - d->kernel->code), slot, written, keep};
    return true;
}

static bool more_rows(struct decoder *d, uint32_t bytes) {
    struct kernel *k = d->kernel;
    if (k->row_bytes + bytes <= k->max_row_bytes)
        return true;
    const uint32_t max = k->max_row_bytes ? 2 * k->max_row_bytes : 1u << 14;
    uint8_t *bigger = aligned_alloc(64, max);
    if (!bigger) {
        decode_fail(d, "out of memory");
        return false;
    }
    if (k->rows)
        memcpy(bigger, k->rows, k->row_bytes);
    free(k->rows);
    k->rows = bigger;
    k->max_row_bytes = max;
    return true;
}

bool decode_constant(struct decoder *d, uint64_t bits, uint32_t bytes, uint32_t *slot) {
    if (bytes < 8)
        bits &= (1ull << (8 * bytes)) - 1;
    for (uint32_t i = 0; i < d->n_constant; i++)
        if (d->constants[i].bits == bits && d->constants[i].bytes == bytes) {
            *slot = d->constants[i].slot;
            return true;
        }
    if (d->n_constant == d->max_constant) {
        const uint32_t max = d->max_constant ? 2 * d->max_constant : 64;
        struct constant *bigger = realloc(d->constants, max * sizeof *bigger);
        if (!bigger) {
            decode_fail(d, "out of memory");
            return false;
        }
        d->constants = bigger;
        d->max_constant = max;
    }
    if (!more_rows(d, bytes * LANES))
        return false;
    const uint32_t at = d->kernel->row_bytes;
    for (uint32_t i = 0; i < LANES; i++)
        memcpy(d->kernel->rows + at + i * bytes, &bits, bytes);
    d->kernel->row_bytes += bytes * LANES;
    *slot = at | 0x80000000u;
    d->constants[d->n_constant++] = (struct constant){bits, bytes, *slot};
    return true;
}

/* ---- special registers ---- */

static const struct {
    const char *name;
    uint8_t bytes;
    uint8_t which;
} special_names[] = {
    {"%tid.x", 4, SPECIAL_TID_X},
    {"%tid.y", 4, SPECIAL_TID_Y},
    {"%tid.z", 4, SPECIAL_TID_Z},
    {"%ntid.x", 4, SPECIAL_NTID_X},
    {"%ntid.y", 4, SPECIAL_NTID_Y},
    {"%ntid.z", 4, SPECIAL_NTID_Z},
    {"%ctaid.x", 4, SPECIAL_CTAID_X},
    {"%ctaid.y", 4, SPECIAL_CTAID_Y},
    {"%ctaid.z", 4, SPECIAL_CTAID_Z},
    {"%nctaid.x", 4, SPECIAL_NCTAID_X},
    {"%nctaid.y", 4, SPECIAL_NCTAID_Y},
    {"%nctaid.z", 4, SPECIAL_NCTAID_Z},
    {"%warpid", 4, SPECIAL_WARPID},
    {"%nwarpid", 4, SPECIAL_NWARPID},
    {"%smid", 4, SPECIAL_SMID},
    {"%nsmid", 4, SPECIAL_NSMID},
    {"%gridid", 8, SPECIAL_GRIDID},
    {"%dynamic_smem_size", 4, SPECIAL_DYNAMIC_SMEM},
    {"%total_smem_size", 4, SPECIAL_TOTAL_SMEM},
    {"%envreg1", 4, SPECIAL_WORKSPACE_HIGH},
    {"%envreg2", 4, SPECIAL_WORKSPACE_LOW},
};

/* Rows that are the same in every warp: lane numbers and masks. */
static bool lane_row(struct decoder *d, const char *name, uint32_t *slot) {
    static const char *const names[] = {"%laneid",      "%lanemask_eq", "%lanemask_le",
                                        "%lanemask_lt", "%lanemask_ge", "%lanemask_gt"};
    for (uint32_t k = 0; k < sizeof names / sizeof *names; k++) {
        if (strcmp(name, names[k]))
            continue;
        if (!more_rows(d, 4 * LANES))
            return false;
        const uint32_t at = d->kernel->row_bytes;
        for (uint32_t i = 0; i < LANES; i++) {
            const uint32_t eq = 1u << i;
            const uint32_t value[] = {i, eq, eq | (eq - 1), eq - 1, ~(eq - 1), ~(eq | (eq - 1))};
            memcpy(d->kernel->rows + at + 4 * i, &value[k], 4);
        }
        d->kernel->row_bytes += 4 * LANES;
        *slot = at | 0x80000000u;
        return true;
    }
    return false;
}

bool decode_special(struct decoder *d, const char *name, uint32_t bytes, uint32_t *slot) {
    for (size_t i = 0; i < sizeof special_names / sizeof *special_names; i++) {
        if (strcmp(name, special_names[i].name))
            continue;
        if (bytes != special_names[i].bytes) {
            decode_fail(d, "%s has %u bits", name, 8u * special_names[i].bytes);
            return false;
        }
        *slot = d->kernel->special[special_names[i].which];
        d->kernel->wants_workspace |= special_names[i].which >= SPECIAL_WORKSPACE_HIGH;
        return true;
    }
    if (bytes == 4 && lane_row(d, name, slot))
        return true;
    if (bytes == 4 && !strcmp(name, "WARP_SZ"))
        return decode_constant(d, LANES, 4, slot);
    return false;
}

/* ---- variables ---- */

static const struct ptx_variable *find_variable(const struct decoder *d, const char *name) {
    for (uint32_t scope = d->at->scope; scope != UINT32_MAX; scope = d->function->scope_parent[scope])
        for (const struct ptx_variable *v = d->function->variables; v; v = v->next)
            if (v->scope == scope && !strcmp(v->name, name))
                return v;
    for (const struct ptx_variable *v = d->function->params; v; v = v->next)
        if (!strcmp(v->name, name))
            return v;
    for (const struct ptx_variable *v = d->ptx->variables; v; v = v->next)
        if (!strcmp(v->name, name))
            return v;
    return NULL;
}

/* Static shared variables lie one behind the other; all without bound start together behind them, so their
 * place is known only when the whole kernel has been read: kernel_decode does two rounds. */
static void place(struct decoder *d, struct ptx_variable *v) {
    struct kernel *k = d->kernel;
    if (v->space == SPACE_LOCAL) {
        const uint32_t at = (k->local_bytes + v->align - 1) & ~(v->align - 1);
        v->offset = LOCAL_BASE + at;
        k->local_bytes = at + (uint32_t)v->bytes;
    } else {
        const uint32_t at = (k->static_shared + v->align - 1) & ~(v->align - 1);
        v->offset = SHARED_BASE + at;
        k->static_shared = at + (uint32_t)v->bytes;
    }
    v->placed = true;
}

bool decode_symbol(struct decoder *d, const char *name, uint64_t *address, uint8_t *space) {
    const struct ptx_variable *found = find_variable(d, name);
    if (!found) {
        decode_fail(d, "nothing is named '%s'", name);
        return false;
    }
    struct ptx_variable *v = (struct ptx_variable *)(uintptr_t)found;
    if (v->space == SPACE_SHARED && v->external && !v->bytes) {
        if (v->align > d->extern_align)
            d->extern_align = v->align;
        v->offset = SHARED_BASE + d->shared_used;
    } else if (!v->placed) {
        place(d, v);
    }
    if (v->space == SPACE_SHARED && d->kernel->static_shared > 49152)
        decode_fail(d, "the kernel's static shared variables take %u bytes, and 49152 are allowed",
                    d->kernel->static_shared);
    *address = v->offset;
    *space = v->space;
    return !d->failed;
}

/* ---- registers and immediates ---- */

static bool immediate(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint32_t *slot) {
    uint64_t bits = o->bits, address;
    uint8_t space;
    switch (o->kind) {
    case OPERAND_INTEGER:
        break;
    case OPERAND_FLOAT32:
    case OPERAND_FLOAT64:
        if (bytes != (o->kind == OPERAND_FLOAT32 ? 4u : 8u)) {
            decode_fail(d, "a float of another size than the operand's %u bits", 8 * bytes);
            return false;
        }
        break;
    case OPERAND_DECIMAL:
        if (bytes == 4)
            bits = bits_of((float)double_of(bits));
        else if (bytes != 8)
            decode_fail(d, "a decimal fraction as an operand of %u bits", 8 * bytes);
        break;
    case OPERAND_NAME:
        if (decode_special(d, o->name, bytes, slot))
            return true;
        if (*o->name == '%')
            decode_fail(d, "special register %s is not supported here", o->name);
        if (d->failed || !decode_symbol(d, o->name, &address, &space))
            return false;
        if (bytes < 4 || (bytes < 8 && space != SPACE_SHARED && space != SPACE_LOCAL)) {
            decode_fail(d, "the address of %s does not fit %u bits", o->name, 8 * bytes);
            return false;
        }
        bits += address;
        break;
    default:
        decode_fail(d, "an address or a vector where a register or a number is known");
    }
    return !d->failed && decode_constant(d, bits, bytes, slot);
}

static bool check_register(struct decoder *d, const struct ptx_operand *o, uint32_t bytes) {
    const struct ptx_register *r = &d->function->registers[o->reg];
    if (r->bytes == bytes)
        return true;
    if (!r->bytes || !bytes)
        decode_fail(d, "%s is %sa predicate", r->name, r->bytes ? "not " : "");
    else
        decode_fail(d, "register %s has %u bits, and the operand %u", r->name, 8u * r->bytes, 8 * bytes);
    return false;
}

bool decode_read(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint32_t *slot) {
    if (o->second || o->negated) {
        decode_fail(d, "a pair or a negated operand where neither is known");
        return false;
    }
    if (o->kind == OPERAND_REGISTER)
        return check_register(d, o, bytes) && decode_use(d, o->reg, slot, false, 0);
    if (!bytes) {
        decode_fail(d, "a predicate register expected");
        return false;
    }
    return immediate(d, o, bytes, slot);
}

bool decode_write(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint32_t *slot) {
    if (o->kind == OPERAND_SINK) {
        *slot = 0;
        return true;
    }
    if (o->kind != OPERAND_REGISTER || o->negated) {
        decode_fail(d, "the result must be a register");
        return false;
    }
    return check_register(d, o, bytes) && decode_use(d, o->reg, slot, true, 0);
}

static bool wide_enough(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint8_t *width) {
    const struct ptx_register *r = &d->function->registers[o->reg];
    *width = r->bytes;
    if (r->bytes >= bytes)
        return true;
    decode_fail(d, "register %s has %u bits, and the type %u", r->name, 8u * r->bytes, 8 * bytes);
    return false;
}

bool decode_read_wide(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint32_t *slot,
                      uint8_t *width) {
    if (o->kind == OPERAND_REGISTER && !o->negated && !o->second)
        return wide_enough(d, o, bytes, width) && decode_use(d, o->reg, slot, false, 0);
    *width = (uint8_t)(bytes < 2 ? 2 : bytes);
    return decode_read(d, o, *width, slot);
}

bool decode_write_wide(struct decoder *d, const struct ptx_operand *o, uint32_t bytes, uint32_t *slot,
                       uint8_t *width) {
    if (o->kind == OPERAND_REGISTER && !o->negated)
        return wide_enough(d, o, bytes, width) && decode_use(d, o->reg, slot, true, 0);
    *width = (uint8_t)(bytes < 2 ? 2 : bytes);
    return decode_write(d, o, *width, slot);
}

bool decode_address(struct decoder *d, const struct ptx_operand *o, struct inst *to, uint32_t index) {
    uint64_t address = 0;
    uint8_t space;
    if (o->kind != OPERAND_ADDRESS) {
        decode_fail(d, "an address in brackets expected");
        return false;
    }
    to->imm = (int64_t)o->bits;
    if (o->has_register) {
        const struct ptx_register *r = &d->function->registers[o->reg];
        if (r->bytes != 8 && r->bytes != 4) {
            decode_fail(d, "%s does not hold an address", r->name);
            return false;
        }
        to->wide = r->bytes == 8;
        return decode_use(d, o->reg, &to->o[index], false, 0);
    }
    to->wide = 1;
    if (o->name) {
        if (!decode_symbol(d, o->name, &address, &space))
            return false;
        const bool same = space == to->space || (to->space == SPACE_GENERIC && space != SPACE_PARAM &&
                                                 space != SPACE_SHARED && space != SPACE_LOCAL);
        if (!same) {
            decode_fail(d, "%s does not lie in the space of the instruction", o->name);
            return false;
        }
    }
    return decode_constant(d, address, 8, &to->o[index]);
}

bool decode_is_predicate(const struct decoder *d, const struct ptx_operand *o) {
    return d->function->registers[o->reg].bytes == 0;
}

uint32_t *decode_vector(struct decoder *d, uint32_t n) {
    uint32_t *v = arena_alloc(&d->kernel->arena, n * sizeof *v);
    if (!v)
        decode_fail(d, "out of memory");
    d->to->v = v;
    return v;
}
