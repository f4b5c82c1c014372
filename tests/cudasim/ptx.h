/* PTX as text becomes a tree: modules, variables, kernels, instructions. Names are resolved by decode.c, not
 * here, except registers and labels, whose scopes the parser alone knows. Everything lies in one arena that
 * goes with the module.
 */
#ifndef CUDASIM_PTX_H
#define CUDASIM_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena {
    struct arena_block *first;
};
void *arena_alloc(struct arena *arena, size_t bytes); /* zeroed; NULL when memory is out */
void arena_free(struct arena *arena);

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,
    TOKEN_INTEGER,
    TOKEN_FLOAT32,
    TOKEN_FLOAT64,
    TOKEN_DECIMAL,
    TOKEN_STRING,
    TOKEN_PUNCTUATION,
    TOKEN_BAD
};

struct token {
    uint8_t kind;
    char punctuation;
    uint32_t line;
    const char *text; /* into the source */
    uint32_t length;
    uint64_t bits; /* value of an integer; bits of a float; bits of the double of a decimal */
};

struct lexer {
    const char *at, *end;
    uint32_t line;
};
void lex(struct lexer *lexer, struct token *token);
bool token_is(const struct token *token, const char *text);
/* What stands in the text from `at` to the end of the statement or of the line, made short, for a message. */
enum { QUOTE_BYTES = 112 };
void lex_quote(const char *at, char quote[QUOTE_BYTES]);

enum ptx_space { SPACE_GLOBAL, SPACE_CONST, SPACE_SHARED, SPACE_LOCAL, SPACE_PARAM };

struct ptx_variable {
    struct ptx_variable *next;
    const char *name;
    uint8_t space;
    bool external, public;
    uint32_t align;
    uint64_t bytes;   /* 0 for an array without bound */
    uint8_t *initial; /* or NULL */
    uint32_t line;
    uint32_t scope;  /* of variables of a function */
    uint64_t offset; /* given by decode.c or module.c */
    bool placed;
};

struct ptx_register {
    const char *name; /* with its number */
    uint8_t bytes;    /* 0 for a predicate */
};

enum operand_kind {
    OPERAND_REGISTER,
    OPERAND_INTEGER,
    OPERAND_FLOAT32,
    OPERAND_FLOAT64,
    OPERAND_DECIMAL,
    OPERAND_NAME,
    OPERAND_ADDRESS,
    OPERAND_VECTOR,
    OPERAND_SINK
};

struct ptx_operand {
    uint8_t kind;
    bool negated; /* !p */
    uint32_t reg; /* register, or base of an address when `has_register` */
    bool has_register;
    uint64_t bits;    /* immediate, or offset of a name or an address */
    const char *name; /* symbol, label or special register */
    uint32_t n_element;
    struct ptx_operand *element; /* of a vector */
    struct ptx_operand *second;  /* of a pair d|p */
};

struct ptx_inst {
    const char *opcode;
    const char *text; /* in the module's text, where it starts; NULL for one that is not there */
    uint32_t line, source_line, source_file; /* the last two from .loc, 0 when there is none */
    uint32_t scope;
    bool guarded, guard_negated;
    uint32_t guard;
    uint32_t n_operand;
    struct ptx_operand *operand;
};

struct ptx_label {
    struct ptx_label *next;
    const char *name;
    uint32_t scope, pc;
    uint32_t n_target; /* of .branchtargets */
    const char **target;
};

struct ptx_function {
    struct ptx_function *next;
    const char *name;
    uint32_t line;
    bool defined;
    struct ptx_variable *params; /* in order */
    struct ptx_variable *variables;
    struct ptx_register *registers;
    uint32_t n_register, max_register;
    struct ptx_inst *insts;
    uint32_t n_inst, max_inst;
    struct ptx_label *labels;
    uint32_t *scope_parent;
    uint32_t n_scope, max_scope;
    uint32_t max_threads[3]; /* .maxntid or .reqntid, 0 when not said */
    bool required_threads;
    uint32_t min_blocks, max_registers;
};

struct ptx_file {
    struct ptx_file *next;
    uint32_t number;
    const char *name;
};

struct ptx_module {
    struct arena arena;
    char *text;
    uint32_t version, target; /* 90 for 9.0, 86 for sm_86 */
    uint8_t target_kind;      /* enum pose_target */
    struct ptx_variable *variables;
    struct ptx_function *kernels;
    struct ptx_function *functions;
    struct ptx_file *files;
};

/* Parses. On failure NULL, and the reason with its line in `error`. */
struct ptx_module *ptx_parse(const char *text, size_t length, char *error, size_t error_bytes);
void ptx_free(struct ptx_module *module);

/* Shared by the two halves of the parser. */
struct parser {
    struct lexer lexer;
    struct token token; /* the next one */
    struct ptx_module *module;
    struct ptx_function *function; /* being read, or NULL */
    uint32_t scope;
    uint32_t source_line, source_file;
    struct token statement;    /* the first token of what is being read, for messages */
    struct declared *declared; /* registers in scope, innermost first */
    char *error;
    size_t error_bytes;
    bool failed;
};
void parse_fail(struct parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void parse_next(struct parser *p);
void parse_here(struct parser *p); /* a statement starts with the next token */
bool parse_accept(struct parser *p, char punctuation);
bool parse_expect(struct parser *p, char punctuation);
uint64_t parse_integer(struct parser *p);
const char *parse_copy(struct parser *p, const struct token *token);
const char *parse_name(struct parser *p);
void *parse_alloc(struct parser *p, size_t bytes);
/* .align 4 .b8 name[4] = {...}: what follows the space. NULL after a failure. */
struct ptx_variable *parse_variable(struct parser *p, uint8_t space);
uint32_t type_bytes(const struct token *token); /* 0 for no type, 1 to 16; predicates are UINT32_MAX */
void parse_loc(struct parser *p);
void parse_body(struct parser *p);

#endif
