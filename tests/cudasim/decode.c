/* Kernels are decoded once, when their module is loaded, by the exact opcode string. Anything unknown is an
 * error that names the line.
 */
#include "decode.h"
#include "lanes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ptx_label *find_label(struct decoder *d, const char *name, uint32_t scope) {
    for (; scope != UINT32_MAX; scope = d->function->scope_parent[scope])
        for (const struct ptx_label *l = d->function->labels; l; l = l->next)
            if (l->scope == scope && !strcmp(l->name, name))
                return l;
    decode_fail(d, "no label '%s' in scope", name);
    return NULL;
}

bool decode_label(struct decoder *d, const char *name, uint32_t scope, int64_t *pc) {
    const struct ptx_label *l = find_label(d, name, scope);
    if (!l)
        return false;
    if (l->n_target)
        decode_fail(d, "'%s' names a table of targets", name);
    *pc = l->pc;
    return !d->failed;
}

bool decode_branch_table(struct decoder *d, const struct ptx_operand *o, uint32_t scope, struct inst *to) {
    if (o->kind != OPERAND_NAME) {
        decode_fail(d, "a table of targets expected");
        return false;
    }
    const struct ptx_label *l = find_label(d, o->name, scope);
    if (!l)
        return false;
    struct branch_table *table = arena_alloc(&d->kernel->arena, sizeof *table + 4u * l->n_target);
    if (!table || !l->n_target) {
        decode_fail(d, table ? "'%s' is not a table of targets" : "out of memory", o->name);
        return false;
    }
    table->n = l->n_target;
    for (uint32_t i = 0; i < l->n_target; i++) {
        int64_t pc;
        if (!decode_label(d, l->target[i], scope, &pc))
            return false;
        table->pc[i] = (uint32_t)pc;
    }
    to->aux = table;
    return true;
}

static uint32_t letter_bytes(char letter) {
    switch (letter) {
    case 'h':
    case 'H':
        return 2;
    case 'r':
    case 'R':
        return 4;
    case 'd':
    case 'D':
        return 8;
    default:
        return 0; /* a predicate */
    }
}

/* One vector operand: its elements go to v from *n_v on. */
static bool decode_elements(struct decoder *d, const struct ptx_operand *o, char letter, uint32_t count,
                            uint32_t *v) {
    if (count == 1 && o->kind != OPERAND_VECTOR)
        return letter >= 'a' ? decode_read(d, o, letter_bytes(letter), v)
                             : decode_write(d, o, letter_bytes(letter), v);
    if (o->kind != OPERAND_VECTOR || o->n_element != count) {
        decode_fail(d, "a vector of %u expected", count);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const bool good = letter >= 'a' ? decode_read(d, &o->element[i], letter_bytes(letter), &v[i])
                                        : decode_write(d, &o->element[i], letter_bytes(letter), &v[i]);
        if (!good)
            return false;
    }
    return true;
}

static uint32_t vector_elements(const char *signature) {
    uint32_t n = 0;
    for (; *signature; signature++)
        n += *signature >= '1' && *signature <= '9' ? (uint32_t)(*signature - '0') : 0;
    return n;
}

static bool decode_operand(struct decoder *d, const struct ptx_inst *from, struct inst *to, char letter,
                           const struct ptx_operand *o, uint32_t *slot) {
    const struct ptx_operand first = {
        .kind = o->kind, .reg = o->reg, .negated = o->negated, .name = o->name, .bits = o->bits};
    switch (letter) {
    case 'i':
        if (o->kind != OPERAND_INTEGER)
            decode_fail(d, "a whole number expected");
        to->imm = (int64_t)o->bits;
        return !d->failed;
    case 'L':
        if (o->kind != OPERAND_NAME)
            decode_fail(d, "a label expected");
        return !d->failed && decode_label(d, o->name, from->scope, &to->imm);
    case 'q':
        if (o->kind == OPERAND_INTEGER)
            return decode_constant(d, o->bits ? 0xffffffffu : 0, 4, slot);
        return decode_read(d, o, 0, slot);
    case 'P':
    case 'H':
    case 'R':
    case 'D':
        return decode_write(d, &first, letter_bytes(letter), slot);
    default:
        return decode_read(d, o, letter_bytes(letter), slot);
    }
}

bool decode_signature(struct decoder *d, const struct ptx_inst *from, struct inst *to,
                      const char *signature) {
    uint32_t n = 0, slot = 0, n_v = 0;
    bool optional = false;
    uint32_t *v = NULL;
    const uint32_t elements = vector_elements(signature);
    if (elements && !(v = decode_vector(d, elements)))
        return false;
    for (const char *s = signature; *s; s++) {
        if (*s == '?') {
            optional = true;
            continue;
        }
        if (*s == 'Q') { /* belongs to the operand before */
            const struct ptx_operand *second = from->operand[n - 1].second;
            if (second && !decode_write(d, second, 0, &to->o[slot]))
                return false;
            slot++;
            continue;
        }
        if (n == from->n_operand && optional)
            return true;
        if (n == from->n_operand) {
            decode_fail(d, "%u operands are too few", n);
            return false;
        }
        const struct ptx_operand *o = &from->operand[n++];
        if (o->second && s[1] != 'Q') {
            decode_fail(d, "a pair of results where one is known");
            return false;
        }
        if (s[1] >= '1' && s[1] <= '9') {
            if (!decode_elements(d, o, *s, (uint32_t)(s[1] - '0'), v + n_v))
                return false;
            n_v += (uint32_t)(s[1] - '0');
            s++;
        } else if (*s == 'a') {
            if (!decode_address(d, o, to, slot++))
                return false;
        } else {
            const bool takes_slot = *s != 'i' && *s != 'L';
            if (!decode_operand(d, from, to, *s, o, &to->o[slot]))
                return false;
            slot += takes_slot;
        }
    }
    return decode_count(d, from, n, n);
}

uint32_t control_successors(const struct kernel *kernel, uint32_t pc, uint32_t *next, uint32_t most) {
    const struct inst *in = &kernel->code[pc];
    uint32_t n = 0;
    if (!(in->flags & (FLAG_BRANCH | FLAG_END | FLAG_TABLE)) || in->guard)
        next[n++] = pc + 1;
    if (in->flags & FLAG_BRANCH)
        next[n++] = (uint32_t)in->imm;
    if (in->flags & FLAG_TABLE) {
        const struct branch_table *table = in->aux;
        for (uint32_t i = 0; i < table->n && n < most; i++)
            next[n++] = table->pc[i];
    }
    return n;
}

static bool decode_one(struct decoder *d, const struct ptx_inst *from, struct inst *to) {
    uint32_t index;
    const struct opcode *op = opcode_find(from->opcode, &index);
    d->at = from;
    d->to = to;
    if (!strcmp(from->opcode, "call") || !strncmp(from->opcode, "call.", 5)) {
        decode_fail(d, "functions are not called here; make them __forceinline__");
        return false;
    }
    if (!op) {
        decode_fail(d, "unknown instruction");
        return false;
    }
    *to = (struct inst){.fn = op->fn,
                        .aux = op->aux,
                        .imm = op->imm,
                        .line = from->line,
                        .opcode = index,
                        .cls = op->cls,
                        .bytes = op->bytes,
                        .n = op->n,
                        .width = op->width,
                        .space = op->space,
                        .flags = op->flags};
    if (from->guarded) {
        if (d->function->registers[from->guard].bytes) {
            decode_fail(d, "the guard is not a predicate");
            return false;
        }
        if (!decode_use(d, from->guard, &to->guard, false, from->guard_negated))
            return false;
        to->guard = 1; /* so that it is seen; rows_assign writes the real one */
    }
    if (op->bind ? !op->bind(d, from, to) : !decode_signature(d, from, to, op->signature))
        return false;
    if (to->flags & FLAG_BRANCH && (uint64_t)to->imm > d->function->n_inst)
        decode_fail(d, "a branch out of the kernel");
    return !d->failed;
}

static void reserve_specials(struct kernel *k) {
    uint32_t at = 256; /* behind the sink */
    for (int i = 0; i < N_SPECIAL; i++) {
        k->special[i] = at;
        at += i == SPECIAL_GRIDID ? 8 * LANES : 4 * LANES;
    }
    k->register_bytes = at;
}

static bool copy_params(struct decoder *d) {
    struct kernel *k = d->kernel;
    for (const struct ptx_variable *v = d->function->params; v; v = v->next)
        k->n_param++;
    k->params = arena_alloc(&k->arena, k->n_param * sizeof *k->params + 1);
    if (!k->params)
        return false;
    uint32_t i = 0;
    for (const struct ptx_variable *v = d->function->params; v; v = v->next) {
        k->params[i++] = (struct param){(uint32_t)v->offset, (uint32_t)v->bytes};
        k->param_bytes = (uint32_t)(v->offset + v->bytes);
    }
    return true;
}

/* The file's name without its folders, in the kernel's arena; NULL when memory is out. */
static const char *file_name(struct decoder *d, uint32_t number) {
    for (const struct ptx_file *f = d->ptx->files; f; f = f->next) {
        if (f->number != number)
            continue;
        const char *slash = strrchr(f->name, '/'), *base = slash ? slash + 1 : f->name;
        char *copy = arena_alloc(&d->kernel->arena, strlen(base) + 1);
        return copy ? strcpy(copy, base) : NULL;
    }
    return "source";
}

static bool copy_sources(struct decoder *d) {
    struct kernel *k = d->kernel;
    uint32_t last = 0;
    const char *name = NULL;
    k->source = arena_alloc(&k->arena, k->n_inst * sizeof *k->source);
    k->source_file = arena_alloc(&k->arena, k->n_inst * sizeof *k->source_file);
    if (!k->source || !k->source_file)
        return false;
    for (uint32_t i = 0; i + 1 < k->n_inst; i++) {
        const struct ptx_inst *from = &d->function->insts[i];
        k->source[i] = from->source_line;
        if (from->source_line && (!name || from->source_file != last)) {
            name = file_name(d, last = from->source_file);
            if (!name)
                return false;
        }
        k->source_file[i] = name;
    }
    return true;
}

static bool give_sites(struct kernel *k) {
    for (uint32_t i = 0; i < k->n_inst; i++)
        k->n_site += (k->code[i].flags & FLAG_SITE) != 0;
    k->sites = arena_alloc(&k->arena, k->n_site * sizeof *k->sites + 1);
    if (!k->sites)
        return false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < k->n_inst; i++)
        if (k->code[i].flags & FLAG_SITE)
            k->code[i].site = &k->sites[n++];
    return true;
}

static bool decode_body(struct decoder *d) {
    const struct ptx_function *f = d->function;
    struct kernel *k = d->kernel;
    k->n_inst = f->n_inst + 1; /* a last ret, for code that falls off the end and labels behind it */
    k->code = calloc(k->n_inst, sizeof *k->code);
    if (!k->code)
        return false;
    for (uint32_t i = 0; i < f->n_inst; i++)
        if (!decode_one(d, &f->insts[i], &k->code[i]))
            return false;
    const struct ptx_inst last = {.opcode = "ret",
                                  .line = f->n_inst ? f->insts[f->n_inst - 1].line : f->line};
    return decode_one(d, &last, &k->code[f->n_inst]);
}

/* Dynamic shared memory starts behind the static variables, which are known only after all code has been
 * read. */
static bool decode_rounds(struct decoder *d) {
    for (int round = 0; round < 2; round++) {
        struct kernel *k = d->kernel;
        free(k->code);
        k->code = NULL;
        k->row_bytes = 0;
        d->n_constant = 0;
        d->uses.n = 0;
        const uint32_t align = d->extern_align ? d->extern_align : 1;
        d->shared_used = (k->static_shared + align - 1) & ~(align - 1);
        if (!decode_body(d))
            return false;
    }
    return true;
}

struct kernel *kernel_decode(const struct ptx_module *ptx, const struct ptx_function *f, char *error,
                             size_t error_bytes) {
    struct kernel *k = calloc(1, sizeof *k);
    struct decoder d = {.ptx = ptx, .function = f, .kernel = k, .error = error, .error_bytes = error_bytes};
    snprintf(error, error_bytes, "out of memory");
    if (!k || !(k->name = strdup(f->name)))
        goto fail;
    reserve_specials(k);
    for (const struct ptx_variable *v = ptx->variables; v; v = v->next)
        if (v->space == SPACE_SHARED)
            ((struct ptx_variable *)(uintptr_t)v)->placed =
                false; /* each kernel lays out those that it uses */
    memcpy(k->max_threads, f->max_threads, sizeof k->max_threads);
    k->max_registers = f->max_registers;
    k->required_threads = f->required_threads;
    if (!copy_params(&d) || !decode_rounds(&d) || !copy_sources(&d) || !give_sites(k) ||
        !rows_assign(k, f->registers, f->n_register, &d.uses))
        goto fail;
    k->static_shared = d.extern_align ? d.shared_used : k->static_shared;
    k->local_bytes = (k->local_bytes + 15) & ~15u;
    free(d.uses.use);
    free(d.constants);
    return k;
fail:
    free(d.uses.use);
    free(d.constants);
    kernel_free(k);
    return NULL;
}

void kernel_free(struct kernel *k) {
    if (!k)
        return;
    for (uint32_t i = 0; k->code && i < k->n_inst; i++)
        opcode_at(k->code[i].opcode)->count += k->code[i].n_warp;
    arena_free(&k->arena);
    free(k->code);
    free(k->rows);
    free(k->name);
    free(k);
}
