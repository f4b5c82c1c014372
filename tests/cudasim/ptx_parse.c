/* PTX at module level: directives, variables, the heads of functions. Bodies are read in ptx_body.c. */
#include "ptx.h"
#include "pose.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void parse_here(struct parser *p) {
    p->statement = p->token;
}

void parse_fail(struct parser *p, const char *format, ...) {
    if (p->failed)
        return;
    p->failed = true;
    const struct token *at = p->statement.text ? &p->statement : &p->token;
    char quote[QUOTE_BYTES];
    int n = snprintf(p->error, p->error_bytes, "PTX line %u: ", at->line);
    va_list arguments;
    va_start(arguments, format);
    if (n >= 0 && (size_t)n < p->error_bytes)
        n += vsnprintf(p->error + n, p->error_bytes - (size_t)n, format, arguments);
    va_end(arguments);
    lex_quote(at->text, quote);
    if (*quote && n >= 0 && (size_t)n < p->error_bytes)
        snprintf(p->error + n, p->error_bytes - (size_t)n, ", in \"%s\"", quote);
}

void parse_next(struct parser *p) {
    lex(&p->lexer, &p->token);
    if (p->token.kind == TOKEN_BAD)
        parse_fail(p, "'%.*s' is not a PTX token", (int)(p->token.length > 40 ? 40 : p->token.length),
                   p->token.text);
}

bool parse_accept(struct parser *p, char punctuation) {
    if (p->failed || p->token.kind != TOKEN_PUNCTUATION || p->token.punctuation != punctuation)
        return false;
    parse_next(p);
    return true;
}

bool parse_expect(struct parser *p, char punctuation) {
    if (parse_accept(p, punctuation))
        return true;
    parse_fail(p, "'%c' expected before '%.*s'", punctuation,
               (int)(p->token.length > 40 ? 40 : p->token.length), p->token.text);
    return false;
}

void *parse_alloc(struct parser *p, size_t bytes) {
    void *result = arena_alloc(&p->module->arena, bytes);
    if (!result)
        parse_fail(p, "out of memory");
    return result;
}

const char *parse_copy(struct parser *p, const struct token *token) {
    char *copy = parse_alloc(p, token->length + 1u);
    if (copy)
        memcpy(copy, token->text, token->length);
    return copy;
}

const char *parse_name(struct parser *p) {
    if (p->token.kind != TOKEN_NAME) {
        parse_fail(p, "a name expected before '%.*s'", (int)(p->token.length > 40 ? 40 : p->token.length),
                   p->token.text);
        return NULL;
    }
    const char *name = parse_copy(p, &p->token);
    parse_next(p);
    return name;
}

uint64_t parse_integer(struct parser *p) {
    const bool negative = parse_accept(p, '-');
    const uint64_t value = p->token.bits;
    if (p->token.kind != TOKEN_INTEGER) {
        parse_fail(p, "a whole number expected before '%.*s'",
                   (int)(p->token.length > 40 ? 40 : p->token.length), p->token.text);
        return 0;
    }
    parse_next(p);
    return negative ? 0 - value : value;
}

uint32_t type_bytes(const struct token *token) {
    static const struct {
        const char *name;
        uint32_t bytes;
    } types[] = {{".b8", 1},  {".u8", 1},    {".s8", 1},     {".b16", 2},          {".u16", 2},
                 {".s16", 2}, {".f16", 2},   {".b32", 4},    {".u32", 4},          {".s32", 4},
                 {".f32", 4}, {".f16x2", 4}, {".b64", 8},    {".u64", 8},          {".s64", 8},
                 {".f64", 8}, {".bf16", 2},  {".bf16x2", 4}, {".pred", UINT32_MAX}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (token_is(token, types[i].name))
            return types[i].bytes;
    return 0;
}

/* { 1, {2, 3}, 0f00000000 }: fills the variable's bytes from *at on. */
static void parse_initial(struct parser *p, struct ptx_variable *v, uint32_t element, uint64_t *at) {
    if (parse_accept(p, '{')) {
        while (!p->failed && !parse_accept(p, '}')) {
            parse_initial(p, v, element, at);
            if (!parse_accept(p, ',')) {
                parse_expect(p, '}');
                return;
            }
        }
        return;
    }
    uint64_t bits = p->token.bits;
    if (p->token.kind == TOKEN_NAME) {
        parse_fail(p, "variable %s starts with the address of '%.*s', which is not supported", v->name,
                   (int)p->token.length, p->token.text);
        return;
    }
    if (p->token.kind == TOKEN_FLOAT32 || p->token.kind == TOKEN_FLOAT64) {
        if ((p->token.kind == TOKEN_FLOAT32) != (element == 4))
            parse_fail(p, "a float of another size in the initial value of %s", v->name);
        parse_next(p);
    } else if (p->token.kind == TOKEN_DECIMAL) {
        parse_fail(p, "a decimal fraction in the initial value of %s; write its bits", v->name);
    } else {
        bits = parse_integer(p);
    }
    if (p->failed)
        return;
    if (*at + element > v->bytes) {
        parse_fail(p, "more initial values than %s has room for", v->name);
        return;
    }
    memcpy(v->initial + *at, &bits, element);
    *at += element;
}

static void parse_bounds(struct parser *p, struct ptx_variable *v, uint64_t element) {
    uint64_t count = 1;
    while (parse_accept(p, '[')) {
        if (parse_accept(p, ']')) {
            count = 0;
            continue;
        }
        const uint64_t n = parse_integer(p);
        if (n && count > (1ull << 32) / n)
            parse_fail(p, "array %s is too large", v->name);
        count *= n;
        parse_expect(p, ']');
    }
    v->bytes = count * element;
}

struct ptx_variable *parse_variable(struct parser *p, uint8_t space) {
    struct ptx_variable *v = parse_alloc(p, sizeof *v);
    uint32_t element = 0, vector = 1;
    if (!v)
        return NULL;
    v->space = space;
    v->line = p->token.line;
    v->scope = p->scope;
    while (!p->failed && p->token.kind == TOKEN_NAME && *p->token.text == '.') {
        if (token_is(&p->token, ".align")) {
            parse_next(p);
            const uint64_t align = parse_integer(p);
            if (!align || align > 4096 || align & (align - 1))
                parse_fail(p, "alignment %llu", (unsigned long long)align);
            v->align = (uint32_t)align;
            continue;
        }
        if (token_is(&p->token, ".v2") || token_is(&p->token, ".v4"))
            vector = (uint32_t)(p->token.text[2] - '0');
        else if (token_is(&p->token, ".ptr") || token_is(&p->token, ".global") ||
                 token_is(&p->token, ".const") || token_is(&p->token, ".shared") ||
                 token_is(&p->token, ".local"))
            ; /* a promise about a pointer parameter: its value is an address all the same */
        else if (type_bytes(&p->token) && type_bytes(&p->token) <= 8)
            element = type_bytes(&p->token);
        else
            parse_fail(p, "'%.*s' in a declaration is not supported", (int)p->token.length, p->token.text);
        parse_next(p);
    }
    if (!element)
        parse_fail(p, "a type expected before '%.*s'", (int)p->token.length, p->token.text);
    v->name = parse_name(p);
    if (p->failed)
        return NULL;
    parse_bounds(p, v, (uint64_t)element * vector);
    if (!v->align)
        v->align = element * vector;
    if (parse_accept(p, '=')) {
        uint64_t at = 0;
        v->initial = parse_alloc(p, v->bytes + 1);
        if (v->initial)
            parse_initial(p, v, element, &at);
    }
    return p->failed ? NULL : v;
}

/* { ... }, whatever is inside. */
static void skip_braces(struct parser *p) {
    int depth = 0;
    do {
        if (p->token.kind == TOKEN_END)
            parse_fail(p, "a brace is not closed");
        depth += p->token.punctuation == '{' && p->token.kind == TOKEN_PUNCTUATION;
        depth -= p->token.punctuation == '}' && p->token.kind == TOKEN_PUNCTUATION;
        parse_next(p);
    } while (depth > 0 && !p->failed);
}

static void parse_params(struct parser *p, struct ptx_function *f) {
    struct ptx_variable **last = &f->params;
    uint64_t offset = 0;
    if (!parse_accept(p, '('))
        return;
    while (!p->failed && !parse_accept(p, ')')) {
        parse_here(p);
        if (!token_is(&p->token, ".param")) {
            parse_fail(p, "'.param' expected before '%.*s'", (int)p->token.length, p->token.text);
            return;
        }
        parse_next(p);
        struct ptx_variable *v = parse_variable(p, SPACE_PARAM);
        if (!v)
            return;
        offset = (offset + v->align - 1) & ~(uint64_t)(v->align - 1);
        v->offset = offset;
        v->placed = true;
        offset += v->bytes;
        *last = v;
        last = &v->next;
        if (offset > 32764)
            parse_fail(p, "the parameters of %s take more than 32764 bytes", f->name);
        if (!parse_accept(p, ',')) {
            parse_expect(p, ')');
            return;
        }
    }
}

/* .maxntid 128, 1, 1 */
static void parse_triple(struct parser *p, uint32_t *value) {
    parse_next(p);
    for (int i = 0; i < 3; i++) {
        value[i] = i == 0 || parse_accept(p, ',') ? (uint32_t)parse_integer(p) : 1;
    }
}

static void parse_performance(struct parser *p, struct ptx_function *f) {
    while (!p->failed && p->token.kind == TOKEN_NAME) {
        parse_here(p);
        if (token_is(&p->token, ".maxntid")) {
            parse_triple(p, f->max_threads);
        } else if (token_is(&p->token, ".reqntid")) {
            parse_triple(p, f->max_threads);
            f->required_threads = true;
        } else if (token_is(&p->token, ".minnctapersm")) {
            parse_next(p);
            f->min_blocks = (uint32_t)parse_integer(p);
        } else if (token_is(&p->token, ".maxnreg")) {
            parse_next(p);
            f->max_registers = (uint32_t)parse_integer(p);
        } else if (token_is(&p->token, ".pragma")) {
            parse_next(p);
            parse_next(p);
            parse_expect(p, ';');
        } else {
            parse_fail(p, "'%.*s' of a kernel is not supported", (int)p->token.length, p->token.text);
        }
    }
}

static void parse_entry(struct parser *p) {
    struct ptx_function *f = parse_alloc(p, sizeof *f), **last = &p->module->kernels;
    if (!f)
        return;
    f->line = p->token.line;
    f->name = parse_name(p);
    if (p->failed)
        return;
    for (; *last; last = &(*last)->next)
        if (!strcmp((*last)->name, f->name)) {
            parse_fail(p, "kernel %s is there twice", f->name);
            return;
        }
    *last = f;
    parse_params(p, f);
    parse_performance(p, f);
    if (parse_accept(p, ';'))
        return; /* a declaration; the definition follows or is never used */
    f->defined = true;
    p->function = f;
    parse_body(p);
    p->function = NULL;
}

/* Device functions are remembered by name only: calls are refused where they stand. */
static void parse_function(struct parser *p) {
    struct ptx_function *f = parse_alloc(p, sizeof *f);
    if (!f)
        return;
    while (!p->failed && p->token.kind == TOKEN_PUNCTUATION)
        parse_next(p); /* the parenthesis of ( .param .b32 result ) */
    while (!p->failed && p->token.kind == TOKEN_NAME && *p->token.text == '.')
        parse_next(p);
    while (!p->failed && p->token.kind != TOKEN_END &&
           !(p->token.kind == TOKEN_PUNCTUATION &&
             (p->token.punctuation == '{' || p->token.punctuation == ';'))) {
        if (p->token.kind == TOKEN_NAME && *p->token.text != '.' && !f->name)
            f->name = parse_copy(p, &p->token);
        parse_next(p);
    }
    f->next = p->module->functions;
    p->module->functions = f;
    if (!parse_accept(p, ';'))
        skip_braces(p);
}

static void parse_file(struct parser *p) {
    struct ptx_file *file = parse_alloc(p, sizeof *file);
    if (!file)
        return;
    file->number = (uint32_t)parse_integer(p);
    if (p->token.kind != TOKEN_STRING)
        parse_fail(p, "a file name expected");
    file->name = parse_copy(p, &p->token);
    parse_next(p);
    while (parse_accept(p, ','))
        parse_integer(p);
    file->next = p->module->files;
    p->module->files = file;
}

static void parse_version(struct parser *p) {
    double version = 0;
    if (p->token.kind == TOKEN_DECIMAL)
        memcpy(&version, &p->token.bits, 8);
    else
        parse_fail(p, "a version expected");
    p->module->version = (uint32_t)(version * 10 + 0.5);
    parse_next(p);
}

static void parse_target(struct parser *p) {
    unsigned arch = 0;
    do {
        char name[32] = "";
        int used = 0;
        if (p->token.kind == TOKEN_NAME)
            snprintf(name, sizeof name, "%.*s", (int)(p->token.length > 31 ? 31 : p->token.length),
                     p->token.text);
        const bool is_arch = sscanf(name, "sm_%u%n", &arch, &used) == 1;
        const char *suffix = name + used;
        if (is_arch && (!*suffix || !strcmp(suffix, "a") || !strcmp(suffix, "f"))) {
            p->module->target = arch;
            p->module->target_kind = *suffix == 'a'   ? TARGET_ARCH
                                     : *suffix == 'f' ? TARGET_FAMILY
                                                      : TARGET_PLAIN;
        } else if (strcmp(name, "debug"))
            parse_fail(p, "target '%s' is not supported", name);
        parse_next(p);
    } while (parse_accept(p, ','));
}

static void add_variable(struct parser *p, uint8_t space, bool external, bool public) {
    struct ptx_variable *v = parse_variable(p, space);
    if (!v)
        return;
    v->external = external;
    v->public = public;
    v->next = p->module->variables;
    p->module->variables = v;
    if (external && space != SPACE_SHARED)
        parse_fail(p, "variable %s is defined in another module, and modules are not linked", v->name);
    parse_expect(p, ';');
}

static void parse_directive(struct parser *p) {
    bool external = false, public = false;
    parse_here(p);
    while (token_is(&p->token, ".visible") || token_is(&p->token, ".extern") ||
           token_is(&p->token, ".weak") || token_is(&p->token, ".common")) {
        external |= token_is(&p->token, ".extern");
        public |= !token_is(&p->token, ".extern");
        parse_next(p);
    }
    const struct token t = p->token;
    parse_next(p);
    if (token_is(&t, ".version"))
        parse_version(p);
    else if (token_is(&t, ".target"))
        parse_target(p);
    else if (token_is(&t, ".address_size")) {
        if (parse_integer(p) != 64)
            parse_fail(p, "addresses of another size than 64 bits");
    } else if (token_is(&t, ".entry"))
        parse_entry(p);
    else if (token_is(&t, ".func"))
        parse_function(p);
    else if (token_is(&t, ".global"))
        add_variable(p, SPACE_GLOBAL, external, public);
    else if (token_is(&t, ".const"))
        add_variable(p, SPACE_CONST, external, public);
    else if (token_is(&t, ".shared"))
        add_variable(p, SPACE_SHARED, external, public);
    else if (token_is(&t, ".file"))
        parse_file(p);
    else if (token_is(&t, ".loc"))
        parse_loc(p);
    else if (token_is(&t, ".section")) {
        parse_next(p);
        skip_braces(p);
    } else if (token_is(&t, ".pragma")) {
        parse_next(p);
        parse_expect(p, ';');
    } else
        parse_fail(p, "'%.*s' is not supported", (int)(t.length > 40 ? 40 : t.length), t.text);
}

struct ptx_module *ptx_parse(const char *text, size_t length, char *error, size_t error_bytes) {
    struct ptx_module *module = calloc(1, sizeof *module);
    struct parser parser = {.module = module, .error = error, .error_bytes = error_bytes};
    if (!module || !(module->text = malloc(length + 1))) {
        snprintf(error, error_bytes, "out of memory");
        free(module);
        return NULL;
    }
    memcpy(module->text, text, length);
    module->text[length] = 0;
    parser.lexer = (struct lexer){.at = module->text, .end = module->text + length, .line = 1};
    parse_next(&parser);
    while (!parser.failed && parser.token.kind != TOKEN_END)
        parse_directive(&parser);
    if (!parser.failed && !module->version)
        parse_fail(&parser, "no .version: this is not PTX");
    if (!parser.failed)
        return module;
    ptx_free(module);
    return NULL;
}

void ptx_free(struct ptx_module *module) {
    if (!module)
        return;
    arena_free(&module->arena);
    free(module->text);
    free(module);
}
