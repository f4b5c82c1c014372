/* The body of a kernel: registers, variables, labels, instructions, and the scopes they live in. */
#include "ptx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Registers declared together: %r<8> is %r0 to %r7, or one name. */
struct declared {
    struct declared *next;
    const char *name;
    uint32_t length, first, count; /* count 0: the name alone */
    uint32_t scope;
};

/* Makes room for one more entry in an arena array. NULL when memory is out. */
static void *grow(struct parser *p, void *array, uint32_t n, uint32_t *max, size_t entry) {
    if (n < *max)
        return array;
    const uint32_t wanted = *max ? 2 * *max : 64;
    void *bigger = parse_alloc(p, wanted * entry);
    if (!bigger)
        return NULL;
    if (n)
        memcpy(bigger, array, n * entry);
    *max = wanted;
    return bigger;
}

static uint32_t add_register(struct parser *p, const char *name, uint32_t bytes) {
    struct ptx_function *f = p->function;
    struct ptx_register *all = grow(p, f->registers, f->n_register, &f->max_register, sizeof *all);
    if (!all)
        return 0;
    f->registers = all;
    all[f->n_register] = (struct ptx_register){name, bytes == UINT32_MAX ? 0 : (uint8_t)bytes};
    return f->n_register++;
}

/* .reg .b32 %r<8>, a, b; */
static void parse_registers(struct parser *p) {
    const uint32_t bytes = type_bytes(&p->token);
    if (!bytes || bytes == 1) {
        parse_fail(p, "registers of type '%.*s' are not supported", (int)p->token.length, p->token.text);
        return;
    }
    parse_next(p);
    do {
        struct declared *d = parse_alloc(p, sizeof *d);
        const struct token token = p->token;
        const char *name = parse_name(p);
        if (p->failed)
            return;
        *d = (struct declared){p->declared, name, token.length, p->function->n_register, 0, p->scope};
        p->declared = d;
        if (!parse_accept(p, '<')) {
            add_register(p, name, bytes);
            continue;
        }
        const uint64_t count = parse_integer(p);
        if (count > 1000000) {
            parse_fail(p, "%llu registers", (unsigned long long)count);
            return;
        }
        d->count = (uint32_t)count;
        for (uint32_t i = 0; i < count && !p->failed; i++) {
            char *numbered = parse_alloc(p, token.length + 12u);
            if (numbered)
                snprintf(numbered, token.length + 12u, "%s%u", name, i);
            add_register(p, numbered, bytes);
        }
        parse_expect(p, '>');
    } while (parse_accept(p, ','));
    parse_expect(p, ';');
}

/* Finds a register in scope. */
static bool find_register(const struct parser *p, const struct token *t, uint32_t *reg) {
    uint32_t digits = 0, number = 0;
    while (digits < t->length && t->text[t->length - 1 - digits] >= '0' &&
           t->text[t->length - 1 - digits] <= '9')
        digits++;
    if (digits < 9)
        for (uint32_t i = t->length - digits; i < t->length; i++)
            number = number * 10 + (uint32_t)(t->text[i] - '0');
    for (const struct declared *d = p->declared; d; d = d->next) {
        if (d->length == t->length && !memcmp(d->name, t->text, t->length) && !d->count) {
            *reg = d->first;
            return true;
        }
        if (digits && d->length == t->length - digits && number < d->count &&
            !memcmp(d->name, t->text, d->length) && (digits == 1 || t->text[t->length - digits] != '0')) {
            *reg = d->first + number;
            return true;
        }
    }
    return false;
}

/* [ base + offset ]: base a register, a variable, or nothing. */
static void parse_address(struct parser *p, struct ptx_operand *o) {
    o->kind = OPERAND_ADDRESS;
    if (p->token.kind == TOKEN_NAME) {
        if (find_register(p, &p->token, &o->reg)) {
            o->has_register = true;
            parse_next(p);
        } else {
            o->name = parse_name(p);
        }
        if (parse_accept(p, '+'))
            o->bits = parse_integer(p);
        else if (p->token.kind == TOKEN_PUNCTUATION && p->token.punctuation == '-')
            o->bits = parse_integer(p);
    } else {
        o->bits = parse_integer(p);
    }
    parse_expect(p, ']');
}

static void parse_operand(struct parser *p, struct ptx_operand *o);

static void parse_vector(struct parser *p, struct ptx_operand *o) {
    struct ptx_operand elements[8];
    o->kind = OPERAND_VECTOR;
    memset(elements, 0, sizeof elements);
    do {
        if (o->n_element == 8) {
            parse_fail(p, "a vector of more than 8 elements");
            return;
        }
        parse_operand(p, &elements[o->n_element++]);
    } while (parse_accept(p, ','));
    parse_expect(p, '}');
    o->element = parse_alloc(p, o->n_element * sizeof *o->element);
    if (o->element)
        memcpy(o->element, elements, o->n_element * sizeof *elements);
}

static void parse_immediate(struct parser *p, struct ptx_operand *o) {
    const bool negative = parse_accept(p, '-');
    o->bits = p->token.bits;
    switch (p->token.kind) {
    case TOKEN_INTEGER:
        o->kind = OPERAND_INTEGER;
        o->bits = negative ? 0 - o->bits : o->bits;
        break;
    case TOKEN_FLOAT32:
        o->kind = OPERAND_FLOAT32;
        o->bits ^= negative ? 1ull << 31 : 0;
        break;
    case TOKEN_FLOAT64:
    case TOKEN_DECIMAL:
        o->kind = p->token.kind == TOKEN_DECIMAL ? OPERAND_DECIMAL : OPERAND_FLOAT64;
        o->bits ^= negative ? 1ull << 63 : 0;
        break;
    default:
        parse_fail(p, "an operand expected before '%.*s'", (int)(p->token.length > 40 ? 40 : p->token.length),
                   p->token.text);
    }
    parse_next(p);
}

static void parse_operand(struct parser *p, struct ptx_operand *o) {
    memset(o, 0, sizeof *o);
    if (parse_accept(p, '{')) {
        parse_vector(p, o);
        return;
    }
    if (parse_accept(p, '[')) {
        parse_address(p, o);
        return;
    }
    o->negated = parse_accept(p, '!');
    if (p->token.kind != TOKEN_NAME) {
        parse_immediate(p, o);
        return;
    }
    if (token_is(&p->token, "_")) {
        o->kind = OPERAND_SINK;
        parse_next(p);
    } else if (find_register(p, &p->token, &o->reg)) {
        o->kind = OPERAND_REGISTER;
        parse_next(p);
    } else {
        o->kind = OPERAND_NAME;
        o->name = parse_name(p);
        if (parse_accept(p, '+'))
            o->bits = parse_integer(p);
    }
}

static void parse_instruction(struct parser *p, bool guarded, bool negated, uint32_t guard) {
    struct ptx_function *f = p->function;
    struct ptx_operand operands[8];
    uint32_t n = 0;
    struct ptx_inst *all = grow(p, f->insts, f->n_inst, &f->max_inst, sizeof *all);
    if (!all)
        return;
    f->insts = all;
    struct ptx_inst *inst = &all[f->n_inst];
    *inst = (struct ptx_inst){.line = p->token.line,
                              .text = p->token.text,
                              .source_line = p->source_line,
                              .source_file = p->source_file,
                              .scope = p->scope,
                              .guarded = guarded,
                              .guard_negated = negated,
                              .guard = guard};
    inst->opcode = parse_name(p);
    const bool none = parse_accept(p, ';');
    while (!p->failed && !none) {
        if (n == 8) {
            parse_fail(p, "more than 8 operands of %s", inst->opcode);
            return;
        }
        if (p->token.kind == TOKEN_PUNCTUATION && p->token.punctuation == '(') {
            parse_fail(p, "'%s' calls a function, and only inlined code is executed (__forceinline__)",
                       inst->opcode);
            return;
        }
        parse_operand(p, &operands[n]);
        if (parse_accept(p, '|')) {
            operands[n].second = parse_alloc(p, sizeof *operands);
            if (operands[n].second)
                parse_operand(p, operands[n].second);
        }
        n++;
        if (!parse_accept(p, ',')) {
            parse_expect(p, ';');
            break;
        }
    }
    inst->n_operand = n;
    inst->operand = n ? parse_alloc(p, n * sizeof *operands) : NULL;
    if (inst->operand)
        memcpy(inst->operand, operands, n * sizeof *operands);
    f->n_inst++;
}

/* name: or name: .branchtargets a, b; */
static void parse_label(struct parser *p, const char *name) {
    struct ptx_label *label = parse_alloc(p, sizeof *label);
    const char *targets[1024];
    if (!label)
        return;
    *label = (struct ptx_label){
        .next = p->function->labels, .name = name, .scope = p->scope, .pc = p->function->n_inst};
    p->function->labels = label;
    if (!token_is(&p->token, ".branchtargets"))
        return;
    parse_next(p);
    do {
        if (label->n_target == 1024) {
            parse_fail(p, "more than 1024 branch targets");
            return;
        }
        targets[label->n_target++] = parse_name(p);
    } while (parse_accept(p, ','));
    parse_expect(p, ';');
    label->target = parse_alloc(p, label->n_target * sizeof *targets);
    if (label->target)
        memcpy(label->target, targets, label->n_target * sizeof *targets);
}

void parse_loc(struct parser *p) {
    p->source_file = (uint32_t)parse_integer(p);
    p->source_line = (uint32_t)parse_integer(p);
    parse_integer(p); /* column */
    if (!parse_accept(p, ','))
        return;
    /* , function_name $info+offset, inlined_at file line column */
    while (!p->failed && !token_is(&p->token, "inlined_at")) {
        if (p->token.kind == TOKEN_END)
            parse_fail(p, "a .loc does not end");
        parse_next(p);
    }
    parse_next(p);
    parse_integer(p);
    parse_integer(p);
    parse_integer(p);
}

static void open_scope(struct parser *p) {
    struct ptx_function *f = p->function;
    uint32_t *all = grow(p, f->scope_parent, f->n_scope, &f->max_scope, sizeof *all);
    if (!all)
        return;
    f->scope_parent = all;
    all[f->n_scope] = p->scope;
    p->scope = f->n_scope++;
}

static void close_scope(struct parser *p) {
    while (p->declared && p->declared->scope == p->scope)
        p->declared = p->declared->next;
    p->scope = p->function->scope_parent[p->scope];
}

static void parse_body_directive(struct parser *p) {
    const struct token t = p->token;
    parse_next(p);
    if (token_is(&t, ".reg")) {
        parse_registers(p);
    } else if (token_is(&t, ".local") || token_is(&t, ".shared") || token_is(&t, ".const")) {
        struct ptx_variable *v = parse_variable(p, token_is(&t, ".local")    ? SPACE_LOCAL
                                                   : token_is(&t, ".shared") ? SPACE_SHARED
                                                                             : SPACE_CONST);
        if (v && v->space == SPACE_CONST)
            parse_fail(p, "constant %s inside a kernel is not supported", v->name);
        if (!v || !parse_expect(p, ';'))
            return;
        v->next = p->function->variables;
        p->function->variables = v;
    } else if (token_is(&t, ".loc")) {
        parse_loc(p);
    } else if (token_is(&t, ".pragma")) {
        parse_next(p);
        parse_expect(p, ';');
    } else {
        parse_fail(p, "'%.*s' in a kernel is not supported", (int)(t.length > 40 ? 40 : t.length), t.text);
    }
}

static void parse_statement(struct parser *p) {
    parse_here(p);
    if (p->token.kind == TOKEN_NAME && *p->token.text == '.') {
        parse_body_directive(p);
    } else if (parse_accept(p, '@')) {
        const bool negated = parse_accept(p, '!');
        uint32_t guard = 0;
        if (p->token.kind != TOKEN_NAME || !find_register(p, &p->token, &guard)) {
            parse_fail(p, "a predicate expected before '%.*s'", (int)p->token.length, p->token.text);
            return;
        }
        parse_next(p);
        parse_instruction(p, true, negated, guard);
    } else if (p->token.kind == TOKEN_NAME) {
        const struct lexer before = p->lexer;
        const struct token name = p->token;
        parse_next(p);
        if (parse_accept(p, ':')) {
            parse_label(p, parse_copy(p, &name));
            return;
        }
        p->lexer = before;
        p->token = name;
        parse_instruction(p, false, false, 0);
    } else if (!parse_accept(p, ';')) {
        parse_fail(p, "'%.*s' where an instruction should be",
                   (int)(p->token.length > 40 ? 40 : p->token.length), p->token.text);
    }
}

void parse_body(struct parser *p) {
    if (!parse_expect(p, '{'))
        return;
    p->declared = NULL;
    p->scope = 0;
    open_scope(p);
    p->function->scope_parent[0] = UINT32_MAX;
    while (!p->failed) {
        if (parse_accept(p, '{')) {
            open_scope(p);
        } else if (p->token.kind == TOKEN_PUNCTUATION && p->token.punctuation == '}') {
            close_scope(p);
            if (p->scope == UINT32_MAX) {
                p->scope = 0;
                parse_next(p);
                return;
            }
            parse_next(p);
        } else if (p->token.kind == TOKEN_END) {
            parse_fail(p, "kernel %s does not end", p->function->name);
        } else {
            parse_statement(p);
        }
    }
}
