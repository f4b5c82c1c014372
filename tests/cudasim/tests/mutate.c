#include "mutate.h"

enum { ORDERS = 8 };

/* The module that has the kernel, of a file with several modules as text. */
static char *read_ptx(const char *fatbin, const char *kernel) {
    size_t bytes;
    char *data = sim_read_file(fatbin, &bytes), *start = NULL, head[64];
    const size_t n = (size_t)snprintf(head, sizeof head, ".entry %s(", kernel);
    const char *entry = memmem(data, bytes, head, n);
    assert_non_null(entry);
    for (char *p = data; (p = memmem(p, (size_t)(entry - p), ".version", 8)); p += 8)
        start = p;
    assert_non_null(start);
    char *text = strdup(start);
    free(data);
    assert_non_null(text);
    return text;
}

/* The n-th `instruction` inside the kernel, on lines that begin with `first`; NULL behind the last. */
static char *find_line(char *ptx, const char *kernel, const char *first, const char *instruction,
                       unsigned n) {
    char head[64];
    snprintf(head, sizeof head, ".entry %s(", kernel);
    char *at = strstr(ptx, head), *end = at ? strstr(at, "\n}") : NULL;
    assert_non_null(end);
    for (; (at = strstr(at, instruction)) && at < end; at++) {
        const char *line = at;
        while (line[-1] != '\n')
            line--;
        if (!strncmp(line, first, strlen(first)) && n-- == 0)
            return at;
    }
    return NULL;
}

static CUfunction load(const char *ptx, const char *kernel) {
    CUmodule m;
    CUfunction f;
    CU(cuModuleLoadData(&m, ptx));
    CU(cuModuleGetFunction(&f, m, kernel));
    return f;
}

/* By what the last mutant was caught. */
static char how[256];

static bool caught(const char *ptx, const char *kernel, run_fn run, const void *right, size_t bytes) {
    void *out = malloc(bytes);
    bool found = false;
    assert_non_null(out);
    for (int seed = 0; seed < ORDERS && !found; seed++) {
        char text[16];
        snprintf(text, sizeof text, "%d", seed);
        cudasim_option("SEED", text);
        const CUresult r = run(load(ptx, kernel), out);
        found = r != CUDA_SUCCESS || memcmp(out, right, bytes);
        snprintf(how, sizeof how, "%s%.200s, in order %d", r ? "the simulator: " : "other bits",
                 r ? cudasim_message() : "", seed);
        if (r) { /* the fault sticks to its context */
            sim_close();
            sim_open();
        }
    }
    cudasim_option("SEED", "0");
    free(out);
    return found;
}

/* Makes each mutant in turn; returns how many there are. */
static unsigned mutate_each(const char *fatbin, const char *kernel, const char *first,
                            const char *instruction, const char *replacement, bool all, unsigned *n_caught,
                            run_fn run, size_t bytes) {
    void *right = malloc(bytes);
    char *ptx = read_ptx(fatbin, kernel), *mutant = malloc(strlen(ptx) + 256);
    unsigned n = 0;
    assert_non_null(right);
    assert_non_null(mutant);
    CU(run(load(ptx, kernel), right));
    assert_false(caught(ptx, kernel, run, right, bytes));
    *n_caught = 0;
    for (const char *at; (at = find_line(ptx, kernel, first, instruction, n)); n++) {
        sprintf(mutant, "%.*s%s%s", (int)(at - ptx), ptx, replacement, at + strlen(instruction));
        const bool found = caught(mutant, kernel, run, right, bytes);
        *n_caught += found;
        if (found)
            print_message("%s: occurrence %u of '%s' replaced by '%s': %s\n", kernel, n, instruction,
                          replacement, how);
        else if (all)
            print_error("%s: occurrence %u of '%s' replaced by '%s' was not caught\n", kernel, n, instruction,
                        replacement);
    }
    free(right);
    free(mutant);
    free(ptx);
    return n;
}

void mutate(const char *fatbin, const char *kernel, const char *first, const char *instruction,
            const char *replacement, unsigned expected, run_fn run, size_t bytes) {
    unsigned n_caught,
        n = mutate_each(fatbin, kernel, first, instruction, replacement, true, &n_caught, run, bytes);
    assert_int_equal(n, expected);
    assert_int_equal(n_caught, n);
}

void mutate_some(const char *fatbin, const char *kernel, const char *first, const char *instruction,
                 const char *replacement, unsigned least, run_fn run, size_t bytes) {
    unsigned n_caught;
    mutate_each(fatbin, kernel, first, instruction, replacement, false, &n_caught, run, bytes);
    assert_true(n_caught >= least);
}
