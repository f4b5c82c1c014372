/* What is not executed is refused when it is loaded, with its line; damaged text and images do no harm. */
#include "sim.h"

#define KERNEL(body)                                                                                         \
    ".visible .entry k(.param .u64 p)\n{\n.reg .b64 %d<4>; .reg .b32 %r<8>; .reg .b16 %h<4>; .reg .pred "    \
    "%p<4>;\n" body "\nret;\n}\n"

static void refuses(const char *text, const char *sentence) {
    CU_IS(CUDA_ERROR_INVALID_PTX, sim_ptx_fails(text));
    SAYS(sentence);
}

static void names_what_it_does_not_know(void **state) {
    (void)state;
    /* the head that sim_ptx puts before the text has three lines */
    refuses(KERNEL("add.f16.s32 %r1, %r2, %r3;"), "PTX line 7: add.f16.s32: unknown instruction");
    refuses(KERNEL("add.s32.approx %r1, %r2, %r3;"), "unknown instruction");
    refuses(KERNEL("ld.global.volatile.L3::evict.u32 %r1, [%d1];"),
            "ld.global.volatile.L3::evict.u32: unknown instruction");
    refuses(KERNEL("tex.1d.v4.s32.s32 {%r1,%r2,%r3,%r4}, [%d1, {%r1}];"), "PTX line 7");
    refuses(KERNEL("call.uni (%r1), helper, (%r2);"), "only inlined code is executed");
    refuses(KERNEL("call.uni helper;"), "functions are not called here");
    refuses(KERNEL("mov.u32 %r1, %envreg7;"), "special register %envreg7 is not supported");
    refuses(KERNEL("mov.u32 %r1, nobody;"), "nothing is named 'nobody'");
    refuses(KERNEL("bra nowhere;"), "no label 'nowhere'");
    refuses(KERNEL("wgmma.fence.sync.aligned;"), "unknown instruction");
    refuses(".visible .entry k() { .reg .b128 %q; ret; }", "registers of type '.b128'");
    refuses(".visible .entry k() .explicitcluster { ret; }", "'.explicitcluster' of a kernel");
    refuses(".extern .global .u32 elsewhere;", "defined in another module");
    refuses(".global .u64 pointer = other;", "address of 'other'");
    refuses(".global .attribute(.managed) .u32 x;", "'.attribute' in a declaration");
    refuses(".tex .u64 t;", "'.tex' is not supported");
}

/* One thing a line, so that the number tells; line 1 is that of .version. */
#define LINES(line7, line8)                                                                                  \
    ".visible .entry k(.param .u64 p)\n{\n.reg .b32 %%r<8>; .reg .b64 %%d<4>; .reg .pred %%p<4>;\n" line7    \
    "\n"                                                                                                     \
    "mov.u32 %%r1,\n   %%r2;\n" line8 "\nret;\n}\n"

static void quotes_the_line_that_it_refuses(void **state) {
    static const struct {
        const char *line, *what;
    } cases[] = {
        /* an opcode, a modifier, a type */
        {"frobnicate.b32 %r1, %r2;", "frobnicate.b32: unknown instruction"},
        {"add.rounded.s32 %r1, %r2, %r3;", "add.rounded.s32: unknown instruction"},
        {"ld.global.L9::often.u32 %r1, [%d1];", "ld.global.L9::often.u32: unknown instruction"},
        {"add.s31 %r1, %r2, %r3;", "add.s31: unknown instruction"},
        /* directives */
        {".frobnicate 3;", "'.frobnicate' in a kernel is not supported"},
        {".param .b32 x;", "'.param' in a kernel is not supported"},
        {".reg .b99 %x;", "registers of type '.b99' are not supported"},
        {".shared .weird .b32 x;", "'.weird' in a declaration is not supported"},
        /* special registers, names, operands, calls */
        {"mov.u32 %r1, %envreg3;", "mov.u32: special register %envreg3 is not supported here"},
        {"mov.u32 %r1, %clusterid.x;", "special register %clusterid.x is not supported here"},
        {"mov.u32 %r1, nobody;", "nothing is named 'nobody'"},
        {"add.s32 %r1, %r2;", "2 operands are too few"},
        {"@%r1 bra L;", "the guard is not a predicate"},
        {"@nobody bra L;", "a predicate expected before 'nobody'"},
        {"call.uni (%r1), helper, (%r2);", "only inlined code is executed"},
        {"mov.u32 %r1 %r2;", "';' expected before '%r2'"},
    };
    char text[1024], number[40], quote[200];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int late = 0; late < 2; late++) {
            snprintf(text, sizeof text, LINES("%s", "%s"), late ? "" : cases[i].line,
                     late ? cases[i].line : "");
            snprintf(number, sizeof number, "PTX line %d: ", late ? 10 : 7);
            const char *from =
                *cases[i].line == '@' && strstr(cases[i].what, "guard") ? "bra L;" : cases[i].line;
            snprintf(quote, sizeof quote, ", in \"%.*s\"", (int)strlen(from) - 1, from);
            refuses(text, number);
            SAYS(cases[i].what);
            SAYS(quote);
        }
    refuses(".visible .entry k(.param .u64 p,\n.param .weird x) { ret; }", "PTX line 5: '.weird'");
    SAYS(", in \".param .weird x) { ret\"");
    refuses(".global .u32 a;\n\n.tex .u64 t;", "PTX line 6: '.tex' is not supported, in \".tex .u64 t\"");
    /* what is long is cut */
    refuses(KERNEL("frobnicate.b32 %r1, %r1, %r1, %r1, %r1, %r1, %r1, %r1, %r1,        %r1, %r1, %r1, %r1, "
                   "%r1, %r1, "
                   "%r1, %r1, %r1, %r1, %r1, %r1, %r1;"),
            "PTX line 7");
}

/* As inline assembly of the toolkit's headers has it. */
static void reads_directives_without_spaces(void **state) {
    static const char text[] =
        ".visible .entry k(.param.u64 p) { .reg.b64 %p; .reg.b32 %r<3>,low; .reg.pred %q; .shared.align 16 "
        ".b8 "
        "s[64];\n"
        "ld.param.u64 %p,[p];{.reg.b32 low;mov.u32 low,7;st.global.u32[%p],low;}\n"
        "{.reg.b16 a,b;mov.b32{a,b},0x30004;mov.b32 %r1,{b,a};}st.global.u32[%p+4],%r1;ret;}";
    uint32_t out[2];
    (void)state;
    CUdeviceptr p = sim_alloc(8);
    CU(sim_run(sim_ptx(text), 1, 1, 0, PARAMS(&p)));
    sim_download(out, p, 8);
    assert_true(out[0] == 7 && out[1] == 0x40003);
}

static void checks_operands(void **state) {
    (void)state;
    refuses(KERNEL("add.s32 %r1, %r2;"), "are too few");
    refuses(KERNEL("add.s32 %r1, %r2, %r3, %r4;"), "4 operands");
    refuses(KERNEL("add.s32 %d1, %r2, %r3;"), "register %d1 has 64 bits, and the operand 32");
    refuses(KERNEL("add.s32 %p1, %r2, %r3;"), "%p1 is a predicate");
    refuses(KERNEL("setp.eq.s32 %r1, %r2, %r3;"), "%r1 is not a predicate");
    refuses(KERNEL("add.s32 5, %r2, %r3;"), "the result must be a register");
    refuses(KERNEL("add.s32 %r1, [%d1], %r3;"), "an address or a vector");
    refuses(KERNEL("add.s32 %r1|%p1, %r2, %r3;"), "a pair of results");
    refuses(KERNEL("add.s32 %r1, !%r2, %r3;"), "negated operand");
    refuses(KERNEL("add.f32 %r1, %r2, 0d3ff0000000000000;"), "a float of another size");
    refuses(KERNEL("mov.b16 %h1, 1.5;"), "a decimal fraction");
    refuses(KERNEL("ld.global.u64 %r1, [%d1];"), "register %r1 has 32 bits, and the type 64");
    refuses(KERNEL("ld.global.v2.u32 %r1, [%d1];"), "a vector of as many elements");
    refuses(KERNEL("ld.global.v2.u32 {%r1, %r2, %r3}, [%d1];"), "a vector of as many elements");
    refuses(KERNEL("ld.global.u32 %r1, %d1;"), "an address in brackets");
    refuses(KERNEL("ld.global.u32 %r1, [%h1];"), "%h1 does not hold an address");
    refuses(KERNEL("ld.shared.u32 %r1, [p];"), "does not lie in the space");
    refuses(KERNEL("cp.async.cg.shared.global [%r1], [%d1], 8;"), "copies of this size");
    refuses(KERNEL("cp.async.ca.shared.global [%r1], [%r2], 16;"), "needs 64 bits");
    refuses(KERNEL("lop3.b32 %r1, %r2, %r3, %r4, %r5;"), "a whole number expected");
    refuses(KERNEL("@%r1 bra L; L:"), "the guard is not a predicate");
    refuses(KERNEL("bra L; { L: }"), "no label 'L' in scope");
    refuses(KERNEL("{ .reg .b32 inner; } mov.u32 inner, 1;"), "the result must be a register");
    refuses(KERNEL("T: .branchtargets A, B; A: B: bra T;"), "names a table of targets");
    refuses(KERNEL("A: brx.idx %r1, A;"), "is not a table");
    refuses(KERNEL("mov.b64 %d1, {%r1, %r2, %r3, %r4};"), "register %r1 has 32 bits");
    refuses(KERNEL("setp.eq.f16 %p1|%p2, %h1, %h2;"), "one result only");
    refuses(KERNEL("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2}, [%r3];"), "a vector of 4");
}

static void checks_grammar(void **state) {
    (void)state;
    refuses("hello", "'hello' is not supported");
    refuses(KERNEL("add.s32 %r1 %r2 %r3;"), "';' expected");
    refuses(KERNEL("add.s32 %r1, %r2, ;"), "an operand expected");
    refuses(KERNEL("mov.u32 %r1, 0xg;"), "is not a PTX token");
    refuses(KERNEL("mov.u32 %r1, 99999999999999999999999;"), "is not a PTX token");
    refuses(KERNEL("mov.f32 %r1, 0f3f8;"), "is not a PTX token");
    refuses(".visible .entry k() {", "does not end");
    refuses(".visible .entry k() { { ret; }", "does not end");
    refuses("/* never closed", "is not a PTX token");
    refuses(".visible .entry k() { ret; } .visible .entry k() { ret; }", "is there twice");
    refuses(".visible .entry k(.param .align 4 .b8 big[40000]) { ret; }", "take more than 32764 bytes");
    refuses(".global .align 3 .b8 x[4];", "alignment 3");
    refuses(".global .b8 x[2] = {1, 2, 3};", "more initial values");
    refuses(".visible .entry k() { .reg .b32 %r<99999999>; ret; }", "registers");
    refuses(".func (.param .b32 r) helper(", "is not closed");
    CUmodule m;
    CU_IS(CUDA_ERROR_INVALID_PTX, cuModuleLoadData(&m, ".target sm_86\n"));
    SAYS("no .version");
}

/* Functions that nobody calls, debug sections and all that a kernel may carry along. */
static void skips_what_does_not_matter(void **state) {
    static const char text[] =
        ".version 9.0\n.target sm_86, debug\n.address_size 64\n.file 1 \"somewhere/kernel.cu\", 123, 456\n"
        ".visible .func (.param .b32 r) helper(.param .b32 a) { .reg .b32 %r<2>; { ret; } }\n.extern .func "
        "other(.param .b64 x);\n"
        ".visible .entry late(.param .u64 p);\n"
        ".visible .entry k(.param .u64 .ptr .global .align 16 p, .param .align 8 .b8 s[24]) .maxntid 128, 1, "
        "1 .minnctapersm 2 .maxnreg 64\n"
        "{ .pragma \"nounroll\"; .loc 1 5 3\n .loc 1 6 4, function_name $L__info, inlined_at 1 5 3\n ret; }\n"
        ".section .debug_info { .b8 1, 2; $label: .b32 3; }\n";
    CUmodule m;
    CUfunction f;
    size_t offset, bytes;
    unsigned n;
    (void)state;
    CU(cuModuleLoadData(&m, text));
    CU(cuModuleGetFunctionCount(&n, m));
    assert_int_equal(n, 1);
    CU(cuModuleGetFunction(&f, m, "k"));
    CU(cuFuncGetParamInfo(f, 1, &offset, &bytes));
    assert_true(offset == 8 && bytes == 24);
    CU_IS(CUDA_ERROR_INVALID_VALUE, cuFuncGetParamInfo(f, 2, &offset, &bytes));
}

/* Damage: cut off, bytes changed, pieces taken out or doubled. */
static void survives_damaged_text(void **state) {
    size_t bytes;
    char *fatbin = sim_read_file(CUDASIM_FATBIN, &bytes), *ptx = NULL;
    uint32_t seed = 4711, loaded = 0;
    (void)state;
    for (size_t i = 0; i + 8 < bytes && !ptx; i++)
        if (!memcmp(fatbin + i, ".version", 8))
            ptx = fatbin + i;
    assert_non_null(ptx);
    const size_t length = strlen(ptx);
    char *damaged = malloc(2 * length + 1);
    assert_non_null(damaged);
    for (int round = 0; round < 400; round++) {
        CUmodule m;
        memcpy(damaged, ptx, length + 1);
        const size_t at = sim_random(&seed) % length, piece = sim_random(&seed) % 40 + 1;
        switch (round % 4) {
        case 0:
            damaged[at] = 0;
            break;
        case 1:
            damaged[at] = (char)(sim_random(&seed) % 96 + 32);
            break;
        case 2:
            memmove(damaged + at, damaged + (at + piece < length ? at + piece : length),
                    length - (at + piece < length ? at + piece : length) + 1);
            break;
        default:
            memmove(damaged + at + piece, damaged + at, length - at + 1);
            break;
        }
        if (cuModuleLoadData(&m, damaged) == CUDA_SUCCESS) {
            loaded++;
            CU(cuModuleUnload(m));
        }
    }
    assert_true(loaded > 0 && loaded < 400);
    free(damaged);
    free(fatbin);
}

/* Images: records whose sizes lie, cubins that are cut or changed. The damage stays inside the length the
 * header claims. */
static void survives_damaged_images(void **state) {
    size_t bytes;
    char *fatbin = sim_read_file(CUDASIM_FATBIN, &bytes), *damaged = calloc(1, bytes + 64);
    uint32_t seed = 815;
    (void)state;
    assert_non_null(damaged);
    for (int round = 0; round < 300; round++) {
        CUmodule m;
        memcpy(damaged, fatbin, bytes);
        for (int k = 0; k < 3; k++) {
            /* half of it in the headers, half anywhere behind the fatbin's own */
            const size_t at = round % 2 ? 16 + sim_random(&seed) % 64 : 16 + sim_random(&seed) % (bytes - 16);
            damaged[at] = (char)sim_random(&seed);
        }
        if (cuModuleLoadData(&m, damaged) == CUDA_SUCCESS)
            CU(cuModuleUnload(m));
    }
    free(damaged);
    free(fatbin);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, sim_setup, sim_teardown)
        TEST(names_what_it_does_not_know),
        TEST(quotes_the_line_that_it_refuses),
        TEST(reads_directives_without_spaces),
        TEST(checks_operands),
        TEST(checks_grammar),
        TEST(skips_what_does_not_matter),
        TEST(survives_damaged_text),
        TEST(survives_damaged_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
