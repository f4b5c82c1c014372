/* host/options.h: one parser for the options of every command.
 *
 * A command hands over tables of options; the same tables make its `--help`. A bad option, value or number is
 * one sentence on standard error and exit code 2. Options may be written `--name VALUE`, `--name=VALUE` and
 * `-x VALUE`.
 */
#ifndef TANDEM_HOST_OPTIONS_H
#define TANDEM_HOST_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes of the program. */
#define TANDEM_EXIT_GOOD 0
#define TANDEM_EXIT_BAD_ANSWER 1 /* a check failed */
#define TANDEM_EXIT_USAGE 2
#define TANDEM_EXIT_ENVIRONMENT 3 /* file, device, driver, plugin */
#define TANDEM_EXIT_NO_MEMORY 4

/* Returned by options_parse where the command should go on. */
#define OPTIONS_GO_ON (-1)

typedef enum option_kind {
    OPTION_FLAG,   /* bool: set to true */
    OPTION_TEXT,   /* const char *: points into argv */
    OPTION_TEXTS,  /* option_texts: may be given several times, or as a list with commas */
    OPTION_U32,    /* uint32_t, within [low, high] */
    OPTION_FLOAT,  /* float, within [low, high], finite */
    OPTION_BYTES,  /* uint64_t with an optional suffix K, M or G (powers of 1024) */
    OPTION_CHOICE, /* const char *: one of `choices`, separated by '|' */
} option_kind;

#define OPTION_MAX_TEXTS 32

typedef struct option_texts {
    uint32_t n;
    char *text[OPTION_MAX_TEXTS]; /* owned: options_free_texts */
} option_texts;

typedef struct option {
    const char *name; /* without dashes; NULL ends a table */
    char letter;      /* 0: none */
    option_kind kind;
    void *target;
    const char *value; /* placeholder in the help; NULL for flags and choices */
    const char *help;
    const char *choices;
    double low, high; /* both 0: no limits but those of the type */
} option;

/* One call an entry. letter 0: none; value: placeholder in the help. */
static inline option option_flag(const char *name, char letter, bool *target, const char *help) {
    return (option){.name = name, .letter = letter, .kind = OPTION_FLAG, .target = target, .help = help};
}

static inline option option_text(const char *name, char letter, const char **target, const char *value,
                                 const char *help) {
    return (option){
        .name = name, .letter = letter, .kind = OPTION_TEXT, .target = target, .value = value, .help = help};
}

static inline option option_list(const char *name, char letter, option_texts *target, const char *value,
                                 const char *help) {
    return (option){
        .name = name, .letter = letter, .kind = OPTION_TEXTS, .target = target, .value = value, .help = help};
}

static inline option option_choice(const char *name, const char **target, const char *choices,
                                   const char *help) {
    return (option){.name = name, .kind = OPTION_CHOICE, .target = target, .choices = choices, .help = help};
}

static inline option option_bytes(const char *name, uint64_t *target, const char *help) {
    return (option){.name = name, .kind = OPTION_BYTES, .target = target, .value = "BYTES", .help = help};
}

static inline option option_u32(const char *name, char letter, uint32_t *target, uint32_t low, uint32_t high,
                                const char *help) {
    return (option){.name = name,
                    .letter = letter,
                    .kind = OPTION_U32,
                    .target = target,
                    .value = "N",
                    .help = help,
                    .low = low,
                    .high = high};
}

static inline option option_float(const char *name, float *target, double low, double high,
                                  const char *help) {
    return (option){.name = name,
                    .kind = OPTION_FLOAT,
                    .target = target,
                    .value = "X",
                    .help = help,
                    .low = low,
                    .high = high};
}

/* What most commands share. Zero or NULL: not given. */
typedef struct common_options {
    const char *plugin; /* name or path; NULL: chosen by plugin_choose */
    const char *device; /* index or UUID */
    uint32_t n_ctx;
    const char *kv;        /* f32, f16 or q8_0 */
    const char *precision; /* exact, f16 or q8 */
    uint32_t batch;
    const char *routing;       /* model, uniform, zipf[:S], trace:FILE */
    const char *expert_memory; /* device or host */
    uint32_t seed;
    uint32_t n_threads;
    uint64_t memory_cap;
    bool json;
    bool help;
} common_options;

/* Which of the common options a command takes. */
#define COMMON_PLUGIN 1u  /* --plugin --device --threads --memory-cap */
#define COMMON_SESSION 2u /* --ctx --kv --precision --batch --routing --expert-memory */
#define COMMON_SEED 4u
#define COMMON_JSON 8u

#define COMMON_MAX_OPTIONS 16

/* Fills `table` [COMMON_MAX_OPTIONS] with the options named by `which`; their targets are members of
 * `common`. */
void options_common(common_options *common, uint32_t which, option *table);

typedef struct command_usage {
    const char *name;      /* "generate" */
    const char *arguments; /* "-m MODEL -p TEXT [options]" */
    const char *summary;   /* a sentence or two */
    const char *details;   /* further paragraphs of the help, or NULL */
} command_usage;

/* Parses argv[1..]. Arguments that are no options go to `free_arguments`, of which there may be `max_free`.
 * Returns OPTIONS_GO_ON, or an exit code: 0 after --help, 2 after a sentence. */
int options_parse(const command_usage *usage, const option *const *tables, uint32_t n_table, int argc,
                  char **argv, const char **free_arguments, uint32_t max_free, uint32_t *n_free);

void options_free_texts(option_texts *texts);

/* Strict numbers: the whole text, no sign, no blanks. */
bool parse_u64(const char *text, uint64_t *value);
bool parse_u32(const char *text, uint32_t *value);
bool parse_bytes(const char *text, uint64_t *value);
bool parse_float(const char *text, float *value);

#endif
