#include "op.h"

#include <math.h>

enum { MAX_LETTER = 12, MAX_OP = 400, CASES = 32 };

struct op {
    char opcode[128], operands[128], letters[MAX_LETTER + 1];
    uint32_t n_letter, n_case;
    bool whole;
    uint64_t values[CASES][MAX_LETTER];
};
static struct op *ops;
static uint32_t n_op;

const char *op_dump;

void op_dump_text(const char *text) {
    static unsigned number;
    char path[512];
    if (!op_dump)
        return;
    snprintf(path, sizeof path, "%s%u.ptx", op_dump, number++);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%s%s", strstr(text, ".version") ? "" : ".version 9.0\n.target sm_86\n.address_size 64\n",
            text);
    fclose(f);
}

CUfunction op_ptx(const char *text) {
    op_dump_text(text);
    return sim_ptx(text);
}

/* ---- building ---- */

static bool is_letter(const char *text, size_t at) {
    static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_%$.";
    return strchr("PHRDphrd", text[at]) && (at == 0 || !strchr(word, text[at - 1])) &&
           (!text[at + 1] || !strchr(word, text[at + 1]));
}

void op_add(const char *opcode, const char *operands, uint32_t n_case, const uint64_t *values) {
    if (!ops)
        ops = calloc(MAX_OP, sizeof *ops);
    assert_non_null(ops);
    if (n_op == MAX_OP)
        op_run();
    struct op *o = &ops[n_op++];
    memset(o, 0, sizeof *o);
    snprintf(o->opcode, sizeof o->opcode, "%s", opcode);
    snprintf(o->operands, sizeof o->operands, "%s", operands);
    for (size_t i = 0; operands[i]; i++)
        if (is_letter(operands, i)) {
            assert_true(o->n_letter < MAX_LETTER);
            o->letters[o->n_letter++] = operands[i];
        }
    assert_true(n_case >= 1 && n_case <= CASES);
    o->n_case = n_case;
    for (uint32_t i = 0; i < n_case; i++)
        memcpy(o->values[i], values + i * o->n_letter, o->n_letter * 8);
}

void text_put(struct text *t, const char *format, ...) {
    va_list arguments;
    if (t->max - t->used < 1024) {
        t->max = 2 * t->max + 4096;
        t->data = realloc(t->data, t->max);
        assert_non_null(t->data);
    }
    va_start(arguments, format);
    t->used += (size_t)vsnprintf(t->data + t->used, t->max - t->used, format, arguments);
    va_end(arguments);
}

void op_add_whole(const char *opcode, const char *operands, uint32_t n_case, const uint64_t *values) {
    op_add(opcode, operands, n_case, values);
    ops[n_op - 1].whole = true;
}

static bool is_result(char letter) {
    return letter < 'a';
}
static int bits_of_letter(char letter) {
    return strchr("Hh", letter) ? 16 : strchr("Dd", letter) ? 64 : 32; /* predicates travel as 32 */
}

/* Slots of 8 bytes, one a letter, of each lane. Results start as what the slot holds. */
static void put_kernel(struct text *t, const struct op *o, uint32_t index, bool guarded) {
    text_put(t,
             ".visible .entry k%u%s(.param .u64 buffer)\n{\n.reg .b64 %%at, %%o;\n.reg .b32 %%lane, "
             "%%odd;\n.reg .pred %%g;\n",
             index, guarded ? "g" : "");
    for (uint32_t i = 0; i < o->n_letter; i++) {
        const bool p = strchr("Pp", o->letters[i]) != NULL;
        text_put(t, ".reg .b%d %%v%u;\n", bits_of_letter(o->letters[i]), i);
        if (p)
            text_put(t, ".reg .pred %%p%u;\n", i);
    }
    text_put(t,
             "ld.param.u64 %%at, [buffer];\nmov.u32 %%lane, %%tid.x;\nmul.wide.u32 %%o, %%lane, %u;\nadd.s64 "
             "%%at, %%at, %%o;\n",
             8 * o->n_letter);
    text_put(t, "and.b32 %%odd, %%lane, 1;\nsetp.ne.s32 %%g, %%odd, 0;\n");
    for (uint32_t i = 0; i < o->n_letter; i++) {
        text_put(t, "ld.global.b%d %%v%u, [%%at+%u];\n", bits_of_letter(o->letters[i]), i, 8 * i);
        if (strchr("Pp", o->letters[i]))
            text_put(t, "setp.ne.s32 %%p%u, %%v%u, 0;\n", i, i);
    }
    text_put(t, "%s%s ", guarded ? "@%g " : "", o->opcode);
    uint32_t letter = 0;
    for (size_t i = 0; o->operands[i]; i++) {
        if (!is_letter(o->operands, i)) {
            text_put(t, "%c", o->operands[i]);
            continue;
        }
        text_put(t, strchr("Pp", o->operands[i]) ? "%%p%u" : "%%v%u", letter);
        letter++;
    }
    text_put(t, ";\n");
    for (uint32_t i = 0; i < o->n_letter; i++) {
        if (!is_result(o->letters[i]))
            continue;
        if (o->letters[i] == 'P')
            text_put(t, "selp.b32 %%v%u, 1, 0, %%p%u;\n", i, i);
        text_put(t, "st.global.b%d [%%at+%u], %%v%u;\n", bits_of_letter(o->letters[i]), 8 * i, i);
    }
    text_put(t, "ret;\n}\n");
}

/* ---- running ---- */

static uint64_t masked(uint64_t value, char letter) {
    return letter == 'P'                  ? value & 1
           : bits_of_letter(letter) == 64 ? value
                                          : value & ((1ull << bits_of_letter(letter)) - 1);
}

static void check(const struct op *o, CUmodule module, uint32_t index, bool guarded) {
    const uint64_t before = 0x5555555555555555ull; /* as a predicate: true */
    uint64_t buffer[CASES][MAX_LETTER];
    char name[32];
    CUfunction f;
    const size_t bytes = sizeof(uint64_t) * CASES * o->n_letter;
    uint64_t *flat = &buffer[0][0];
    for (uint32_t lane = 0; lane < CASES; lane++)
        for (uint32_t i = 0; i < o->n_letter; i++)
            flat[lane * o->n_letter + i] = is_result(o->letters[i]) ? before : o->values[lane % o->n_case][i];
    snprintf(name, sizeof name, "k%u%s", index, guarded ? "g" : "");
    CU(cuModuleGetFunction(&f, module, name));
    CUdeviceptr p = sim_upload(buffer, bytes);
    CU(sim_run(f, 1, CASES, 0, PARAMS(&p)));
    sim_download(buffer, p, bytes);
    CU(cuMemFree(p));
    for (uint32_t lane = 0; lane < CASES; lane++)
        for (uint32_t i = 0; i < o->n_letter; i++) {
            const uint64_t kept = o->letters[i] == 'P' ? 1 : before;
            if (!is_result(o->letters[i]))
                continue;
            const uint64_t expected =
                masked(guarded && !(lane & 1) ? kept : o->values[lane % o->n_case][i], o->letters[i]);
            const uint64_t got = masked(flat[lane * o->n_letter + i], o->letters[i]);
            if (got != expected) {
                print_error("%s %s: case %u%s, result %u: 0x%llx, not 0x%llx, from", o->opcode, o->operands,
                            lane % o->n_case, guarded ? " (guarded)" : "", i, (unsigned long long)got,
                            (unsigned long long)expected);
                for (uint32_t k = 0; k < o->n_letter; k++)
                    if (!is_result(o->letters[k]))
                        print_error(" 0x%llx", (unsigned long long)o->values[lane % o->n_case][k]);
                print_error("\n");
            }
            assert_true(got == expected);
        }
}

void op_run(void) {
    struct text t = {0};
    CUmodule module;
    if (!n_op)
        return;
    text_put(&t, ".version 9.0\n.target sm_86\n.address_size 64\n");
    for (uint32_t i = 0; i < n_op; i++) {
        put_kernel(&t, &ops[i], i, false);
        if (!ops[i].whole)
            put_kernel(&t, &ops[i], i, true);
    }
    op_dump_text(t.data);
    CU(cuModuleLoadData(&module, t.data));
    free(t.data);
    const uint32_t n = n_op;
    n_op = 0;
    for (uint32_t i = 0; i < n; i++) {
        check(&ops[i], module, i, false);
        if (!ops[i].whole)
            check(&ops[i], module, i, true);
    }
    CU(cuModuleUnload(module));
}

/* ---- text ---- */

static uint64_t parse_value(const char **text) {
    char *end;
    uint64_t bits = 0;
    const char kind = (*text)[1] == ':' ? **text : 0;
    if (!kind) {
        bits = **text == '-' ? (uint64_t)strtoll(*text, &end, 0) : strtoull(*text, &end, 0);
    } else if (kind == 'd') {
        const double x = strtod(*text + 2, &end);
        memcpy(&bits, &x, 8);
    } else {
        const float x = strtof(*text + 2, &end);
        memcpy(&bits, &x, 4);
        bits = kind == 'h' ? sim_half(x) : isnan(x) ? 0x7fffffff : bits;
    }
    if (end == *text)
        print_error("'%s' is no value\n", *text);
    assert_true(end != *text);
    *text = end;
    return bits;
}

static const char *blanks(const char *text) {
    return text + strspn(text, " \n");
}

void op_table(const struct op_row *rows, size_t n) {
    for (size_t r = 0; r < n; r++) {
        uint64_t values[CASES * MAX_LETTER];
        char letters[MAX_LETTER + 1] = "";
        uint32_t n_letter = 0, n_case = 0;
        for (size_t i = 0; rows[r].operands[i]; i++)
            if (is_letter(rows[r].operands, i))
                letters[n_letter++] = rows[r].operands[i];
        for (const char *at = blanks(rows[r].cases); *at; n_case++) {
            assert_true(n_case < CASES);
            for (int results = 0; results < 2; results++) {
                for (uint32_t i = 0; i < n_letter; i++)
                    if (is_result(letters[i]) == (results == 1)) {
                        at = blanks(at);
                        values[n_case * n_letter + i] = parse_value(&at);
                    }
                at = blanks(at);
                if (!results) {
                    if (*at != '=')
                        print_error("%s: '=' expected before '%s'\n", rows[r].opcode, at);
                    assert_int_equal(*at++, '=');
                }
            }
            if (*at && *at != ';')
                print_error("%s: ';' expected before '%s'\n", rows[r].opcode, at);
            assert_true(!*at || *at == ';');
            at = blanks(*at ? at + 1 : at);
        }
        op_add(rows[r].opcode, rows[r].operands, n_case, values);
    }
    op_run();
}
