/* host/options.c: command-line parsing and help from one table. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wrap.h"

#define HELP_COLUMN 26

static bool is_digits(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return n > 0;
}

bool parse_u64(const char *text, uint64_t *value) {
    if (!is_digits(text, strlen(text)))
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, NULL, 10);
    if (errno)
        return false;
    *value = v;
    return true;
}

bool parse_u32(const char *text, uint32_t *value) {
    uint64_t v;
    if (!parse_u64(text, &v) || v > UINT32_MAX)
        return false;
    *value = (uint32_t)v;
    return true;
}

bool parse_bytes(const char *text, uint64_t *value) {
    static const char suffixes[] = "KMGkmg";
    size_t n = strlen(text);
    const char *suffix = n ? strchr(suffixes, text[n - 1]) : NULL;
    uint32_t shift = suffix ? 10 * ((uint32_t)(suffix - suffixes) % 3 + 1) : 0;
    if (!is_digits(text, suffix ? n - 1 : n))
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, NULL, 10);
    if (errno || v > UINT64_MAX >> shift)
        return false;
    *value = (uint64_t)v << shift;
    return true;
}

bool parse_float(const char *text, float *value) {
    char *end;
    if (!text[0] || strspn(text, "0123456789.eE+-") != strlen(text))
        return false;
    float v = strtof(text, &end);
    if (*end || !isfinite(v))
        return false;
    *value = v;
    return true;
}

void options_common(common_options *c, uint32_t which, option *t) {
    if (which & COMMON_PLUGIN) {
        *t++ = option_text("plugin", 0, &c->plugin, "NAME|PATH", "plugin (default: that of the best device)");
        *t++ = option_text("device", 0, &c->device, "N|UUID", "device of the plugin (default: its best)");
        *t++ =
            option_u32("threads", 0, &c->n_threads, 1, 1024, "threads of a CPU plugin (default: all cores)");
        *t++ = option_bytes("memory-cap", &c->memory_cap, "most memory to allocate; K, M, G count in 1024s");
    }
    if (which & COMMON_SESSION) {
        *t++ = option_u32("ctx", 0, &c->n_ctx, 1, 1u << 20, "positions that the cache holds");
        *t++ = option_choice("kv", &c->kv, "f32|f16|q8_0", "storage of the cache (default f16)");
        *t++ = option_choice("precision", &c->precision, "exact|f16|q8",
                             "rounding of activations before a matrix product (default exact)");
        *t++ = option_u32("batch", 0, &c->batch, 1, 4096, "prompt tokens in one run (default 256)");
        *t++ = option_text("routing", 0, &c->routing, "HOW",
                           "experts of a token: model (default), uniform, zipf[:S], trace:FILE");
        *t++ = option_choice("expert-memory", &c->expert_memory, "device|host",
                             "where routed experts lie (default device)");
    }
    if (which & COMMON_SEED)
        *t++ = option_u32("seed", 0, &c->seed, 0, UINT32_MAX, "seed of everything random (default 1)");
    if (which & COMMON_JSON)
        *t++ = option_flag("json", 0, &c->json, "results as JSON");
    *t++ = option_flag("help", 'h', &c->help, "this text");
    *t = (option){0};
}

static void print_option(const option *o) {
    char left[128], letter[8] = "   ";
    const char *value = o->kind == OPTION_CHOICE ? o->choices : o->value;
    if (o->letter)
        snprintf(letter, sizeof letter, "-%c,", o->letter);
    int n =
        snprintf(left, sizeof left, "  %s --%s%s%s", letter, o->name, value ? " " : "", value ? value : "");
    if (n <= HELP_COLUMN)
        printf("%-*s  ", HELP_COLUMN, left);
    else
        printf("%s\n%*s  ", left, HELP_COLUMN, "");
    wrap_print(stdout, o->help, HELP_COLUMN + 2, HELP_COLUMN + 2);
}

static void print_help(const command_usage *usage, const option *const *tables, uint32_t n_table) {
    printf("usage: tandem %s ", usage->name);
    const uint32_t column = 15 + (uint32_t)strlen(usage->name);
    wrap_print(stdout, usage->arguments, column, column);
    printf("\n");
    wrap_print(stdout, usage->summary, 0, 0);
    printf("\n");
    for (uint32_t i = 0; i < n_table; i++)
        for (const option *o = tables[i]; o->name; o++)
            print_option(o);
    if (usage->details) {
        printf("\n");
        wrap_print(stdout, usage->details, 0, 0);
    }
}

static const option *find_option(const option *const *tables, uint32_t n_table, const char *name,
                                 size_t length, char letter) {
    for (uint32_t i = 0; i < n_table; i++)
        for (const option *o = tables[i]; o->name; o++) {
            if (letter ? o->letter == letter : strlen(o->name) == length && !strncmp(o->name, name, length))
                return o;
        }
    return NULL;
}

static bool is_choice(const char *choices, const char *text) {
    size_t n = strlen(text);
    for (const char *c = choices; *c; c += strcspn(c, "|"), c += *c == '|')
        if (strcspn(c, "|") == n && !strncmp(c, text, n))
            return true;
    return false;
}

static bool add_texts(option_texts *texts, const char *list) {
    while (true) {
        size_t n = strcspn(list, ",");
        if (n == 0 || texts->n == OPTION_MAX_TEXTS || !(texts->text[texts->n] = strndup(list, n)))
            return false;
        texts->n++;
        if (!list[n])
            return true;
        list += n + 1;
    }
}

static bool in_limits(const option *o, double value) {
    return (o->low == 0 && o->high == 0) || (value >= o->low && value <= o->high);
}

static bool set_value(const option *o, const char *text) {
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)o->target = true;
        return true;
    case OPTION_TEXT:
        *(const char **)o->target = text;
        return text[0] != 0;
    case OPTION_TEXTS:
        return add_texts(o->target, text);
    case OPTION_U32:
        return parse_u32(text, o->target) && in_limits(o, *(uint32_t *)o->target);
    case OPTION_FLOAT:
        return parse_float(text, o->target) && in_limits(o, *(float *)o->target);
    case OPTION_BYTES:
        return parse_bytes(text, o->target) && *(uint64_t *)o->target > 0;
    case OPTION_CHOICE:
        *(const char **)o->target = text;
        return is_choice(o->choices, text);
    }
    return false;
}

/* One sentence: which value, of which option, and what would be good. */
static int refuse_value(const command_usage *usage, const option *o, const char *text) {
    fprintf(stderr, "tandem %s: '%s' is no value for --%s", usage->name, text, o->name);
    if (o->kind == OPTION_CHOICE)
        fprintf(stderr, " (%s)", o->choices);
    else if (o->low != 0 || o->high != 0)
        fprintf(stderr, " (%.10g to %.10g)", o->low, o->high);
    fprintf(stderr, ".\n");
    return TANDEM_EXIT_USAGE;
}

static bool help_wanted(const option *const *tables, uint32_t n_table) {
    const option *help = find_option(tables, n_table, "help", 4, 0);
    return help && *(bool *)help->target;
}

int options_parse(const command_usage *usage, const option *const *tables, uint32_t n_table, int argc,
                  char **argv, const char **free_arguments, uint32_t max_free, uint32_t *n_free) {
    uint32_t n = 0;
    bool only_free = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (only_free || a[0] != '-' || !a[1]) {
            if (n == max_free) {
                fprintf(stderr, "tandem %s: '%s' is one argument too many (see tandem %s --help).\n",
                        usage->name, a, usage->name);
                return TANDEM_EXIT_USAGE;
            }
            free_arguments[n++] = a;
            continue;
        }
        if (!strcmp(a, "--")) {
            only_free = true;
            continue;
        }
        bool is_long = a[1] == '-';
        size_t length = is_long ? strcspn(a + 2, "=") : 0;
        const option *o = is_long ? find_option(tables, n_table, a + 2, length, 0)
                          : a[2]  ? NULL
                                  : find_option(tables, n_table, NULL, 0, a[1]);
        if (!o) {
            fprintf(stderr, "tandem %s: there is no option '%s' (see tandem %s --help).\n", usage->name, a,
                    usage->name);
            return TANDEM_EXIT_USAGE;
        }
        const char *inline_value = is_long && a[2 + length] == '=' ? a + 3 + length : NULL;
        if (o->kind == OPTION_FLAG) {
            if (inline_value)
                return refuse_value(usage, o, inline_value);
            set_value(o, NULL);
            continue;
        }
        if (!inline_value && i + 1 == argc) {
            fprintf(stderr, "tandem %s: --%s needs a value.\n", usage->name, o->name);
            return TANDEM_EXIT_USAGE;
        }
        const char *value = inline_value ? inline_value : argv[++i];
        if (!set_value(o, value))
            return refuse_value(usage, o, value);
    }
    if (help_wanted(tables, n_table)) {
        print_help(usage, tables, n_table);
        return TANDEM_EXIT_GOOD;
    }
    *n_free = n;
    return OPTIONS_GO_ON;
}

void options_free_texts(option_texts *texts) {
    for (uint32_t i = 0; i < texts->n; i++)
        free(texts->text[i]);
    texts->n = 0;
}
