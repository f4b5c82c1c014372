/* f16 and bf16: arithmetic with one rounding, and conversions for every bit pattern. */
#include "op.h"
#include "ptx_tests.h"

#include <math.h>

/* h:0x1.004p0 is one last place (2^-10) above 1. */
static const struct op_row rows[] = {
    {"add.f16", "H, h, h",
     "h:1 h:2 = h:3; h:2048 h:1 = h:2048; h:2050 h:1 = h:2052; h:65504 h:16 = h:inf; h:inf 0xfc00 = 0x7fff; "
     "0x7c01 h:1 = 0x7fff; "
     "h:0 0x8000 = h:0; 0x8000 0x8000 = 0x8000; 0x0001 0x0001 = 0x0002"},
    {"sub.f16", "H, h, h", "h:1 h:2 = h:-1; h:1 h:1 = h:0; 0x0400 0x0001 = 0x03ff"},
    {"mul.f16", "H, h, h",
     "h:3 h:-2 = h:-6; 0x3c01 0x3c01 = 0x3c02; h:256 h:256 = h:inf; 0x0400 h:0.5 = 0x0200; h:0 h:inf = "
     "0x7fff"},
    {"add.rn.f16", "H, h, h", "h:2048 h:1 = h:2048"},
    {"sub.rn.f16", "H, h, h", "h:1 h:2 = h:-1"},
    {"mul.rn.f16", "H, h, h", "0x3c01 0x3c01 = 0x3c02"},
    {"add.ftz.f16", "H, h, h", "h:1 h:2 = h:3; 0x0001 0x0001 = 0; 0x8001 0x8001 = 0x8000"},
    {"sub.ftz.f16", "H, h, h", "h:1 h:2 = h:-1; 0x0401 0x0400 = 0"},
    {"mul.ftz.f16", "H, h, h", "h:3 h:2 = h:6; 0x0400 h:0.5 = 0; 0x8200 h:2 = 0x8000"},
    {"add.sat.f16", "H, h, h", "h:1 h:2 = h:1; h:0.25 h:0.5 = h:0.75; h:-1 h:0.5 = h:0; 0x7e00 h:1 = h:0"},
    {"sub.sat.f16", "H, h, h", "h:1 h:2 = h:0; h:3 h:1 = h:1"},
    {"mul.sat.f16", "H, h, h", "h:3 h:2 = h:1; h:0.5 h:0.5 = h:0.25"},
    {"min.f16", "H, h, h", "h:1 h:2 = h:1; h:0 0x8000 = 0x8000; 0x7e01 h:2 = h:2; 0x7e01 0x7e02 = 0x7fff"},
    {"max.f16", "H, h, h", "h:1 h:2 = h:2; 0x8000 h:0 = h:0; h:2 0x7e01 = h:2; 0x7e01 0x7e02 = 0x7fff"},
    {"min.ftz.f16", "H, h, h", "h:1 h:2 = h:1; 1 2 = 0"},
    {"max.ftz.f16", "H, h, h", "h:1 h:2 = h:2; 1 2 = 0"},
    {"min.NaN.f16", "H, h, h", "h:1 h:2 = h:1; 0x7e01 h:2 = 0x7fff"},
    {"max.NaN.f16", "H, h, h", "h:1 h:2 = h:2; h:2 0x7e01 = 0x7fff"},
    /* (1 + 3 * 2^-10)^2 - 1 = 6 * 2^-10 + 2.25 * 2^-18; 3 * 683 = 2049 is a tie between 2048 and 2050, which
       2^-24 decides */
    {"fma.rn.f16", "H, h, h, h",
     "0x3c03 0x3c03 0xbc00 = 0x1e02; h:2 h:3 h:4 = h:10; 0x6801 0x3c00 0x0001 = 0x6801; h:2048 h:1 h:1 = "
     "h:2048; "
     "0x3c01 h:2048 0x0001 = 0x6801; h:3 h:683 0x0001 = 0x6801; h:3 h:683 h:0 = 0x6800; h:3 h:683 0x8001 = "
     "0x6800; h:inf h:0 h:1 = 0x7fff"},
    {"fma.rn.ftz.f16", "H, h, h, h", "h:2 h:3 h:4 = h:10; 0x0200 h:2 h:0 = 0; 0x0400 h:0.5 h:0 = 0"},
    {"fma.rn.sat.f16", "H, h, h, h", "h:2 h:3 h:4 = h:1; h:-2 h:3 h:4 = h:0"},
    {"fma.rn.relu.f16", "H, h, h, h", "h:2 h:3 h:4 = h:10; h:-2 h:3 h:4 = h:0; 0x7e01 h:1 h:1 = 0x7fff"},
    {"fma.rn.ftz.relu.f16", "H, h, h, h", "h:-2 h:3 h:4 = h:0; 0x0200 h:2 h:0 = 0"},
    {"neg.f16", "H, h", "h:1 = h:-1; h:0 = 0x8000"},
    {"abs.f16", "H, h", "h:-1 = h:1; 0x8001 = 1"},
    {"neg.ftz.f16", "H, h", "h:1 = h:-1; 1 = 0x8000"},
    {"abs.ftz.f16", "H, h", "h:-1 = h:1; 0x8001 = 0"},
    {"neg.bf16", "H, h", "0x3f80 = 0xbf80"},
    {"abs.bf16", "H, h", "0xbf80 = 0x3f80"},
    /* upper half, lower half */
    {"add.f16x2", "R, r, r", "0x3c004000 0x40003c00 = 0x42004200; 0x68003c00 0x3c003c00 = 0x68004000"},
    {"sub.f16x2", "R, r, r", "0x42004000 0x3c003c00 = 0x40003c00"},
    {"mul.f16x2", "R, r, r", "0x42004000 0xc0003c00 = 0xc6004000"},
    {"add.rn.f16x2", "R, r, r", "0x3c004000 0x40003c00 = 0x42004200"},
    {"sub.rn.f16x2", "R, r, r", "0x42004000 0x3c003c00 = 0x40003c00"},
    {"mul.rn.f16x2", "R, r, r", "0x42004000 0xc0003c00 = 0xc6004000"},
    {"add.ftz.f16x2", "R, r, r", "0x00013c00 0x00013c00 = 0x00004000"},
    {"sub.ftz.f16x2", "R, r, r", "0x04014000 0x04003c00 = 0x00003c00"},
    {"mul.ftz.f16x2", "R, r, r", "0x04004000 0x38003c00 = 0x00004000"},
    {"add.sat.f16x2", "R, r, r", "0x3c003800 0x3c003400 = 0x3c003a00"},
    {"sub.sat.f16x2", "R, r, r", "0x3c004000 0x40003c00 = 0x00003c00"},
    {"mul.sat.f16x2", "R, r, r", "0x40003800 0x40003800 = 0x3c003400"},
    {"min.f16x2", "R, r, r", "0x3c004000 0x40007e01 = 0x3c004000"},
    {"max.f16x2", "R, r, r", "0x3c004000 0x40007e01 = 0x40004000"},
    {"min.ftz.f16x2", "R, r, r", "0x00014000 0x00023c00 = 0x00003c00"},
    {"max.ftz.f16x2", "R, r, r", "0x00014000 0x00023c00 = 0x00004000"},
    {"min.NaN.f16x2", "R, r, r", "0x3c004000 0x40007e01 = 0x3c007fff"},
    {"max.NaN.f16x2", "R, r, r", "0x3c004000 0x40007e01 = 0x40007fff"},
    {"fma.rn.f16x2", "R, r, r, r", "0x3c034000 0x3c034200 0xbc004400 = 0x1e024900"},
    {"fma.rn.ftz.f16x2", "R, r, r, r", "0x02004000 0x40004200 0x00004400 = 0x00004900"},
    {"fma.rn.sat.f16x2", "R, r, r, r", "0x40003800 0x42003800 0x44003800 = 0x3c003a00"},
    {"fma.rn.relu.f16x2", "R, r, r, r", "0xc0004000 0x42004200 0x44004400 = 0x00004900"},
    {"fma.rn.ftz.relu.f16x2", "R, r, r, r", "0xc0000200 0x42004000 0x44000000 = 0"},
    {"neg.f16x2", "R, r", "0x3c000000 = 0xbc008000"},
    {"abs.f16x2", "R, r", "0xbc008001 = 0x3c000001"},
    {"neg.ftz.f16x2", "R, r", "0x3c000001 = 0xbc008000"},
    {"abs.ftz.f16x2", "R, r", "0xbc008001 = 0x3c000000"},
    {"neg.bf16x2", "R, r", "0x3f800000 = 0xbf808000"},
    {"abs.bf16x2", "R, r", "0xbf808000 = 0x3f800000"},
    /* bf16: (1 + 2^-7) * 1.5 is a tie that +-2^-60 decides, more than a double away */
    {"fma.rn.bf16", "H, h, h, h",
     "0x3f81 0x3fc0 0x0000 = 0x3fc2; 0x3f81 0x3fc0 0xa180 = 0x3fc1; 0x3f81 0x3fc0 0x2180 = 0x3fc2; "
     "0x3f81 0x3f81 0x0000 = 0x3f82; 0x4000 0x4040 0x4080 = 0x4120; 0x3f81 0x3f81 0xbf82 = 0x3880; 0x7f80 "
     "0x0000 0x3f80 = 0x7fff"},
    {"fma.rn.relu.bf16", "H, h, h, h", "0xc000 0x4040 0x4080 = 0; 0x4000 0x4040 0x4080 = 0x4120"},
    {"min.bf16", "H, h, h", "0x3f80 0x4000 = 0x3f80; 0x7fc1 0x4000 = 0x4000"},
    {"max.bf16", "H, h, h", "0x3f80 0x4000 = 0x4000; 0x8000 0x0000 = 0"},
    {"min.NaN.bf16", "H, h, h", "0x7fc1 0x4000 = 0x7fff; 0x3f80 0x4000 = 0x3f80"},
    {"max.NaN.bf16", "H, h, h", "0x7fc1 0x4000 = 0x7fff; 0x3f80 0x4000 = 0x4000"},
    {"fma.rn.bf16x2", "R, r, r, r", "0x3f814000 0x3f814040 0x00004080 = 0x3f824120"},
    {"fma.rn.relu.bf16x2", "R, r, r, r", "0xc0004000 0x40404040 0x40804080 = 0x00004120"},
    {"min.bf16x2", "R, r, r", "0x3f804000 0x40003f80 = 0x3f803f80"},
    {"max.bf16x2", "R, r, r", "0x3f804000 0x40003f80 = 0x40004000"},
    {"min.NaN.bf16x2", "R, r, r", "0x7fc14000 0x40003f80 = 0x7fff3f80"},
    {"max.NaN.bf16x2", "R, r, r", "0x7fc14000 0x40003f80 = 0x7fff4000"},
};

static const char each_half[] =
    ".visible .entry widen(.param .u64 from, .param .u64 to) { .reg .b64 %a, %b, %o; .reg .b32 %i, %n, %f; "
    ".reg .b16 %h;\n"
    "ld.param.u64 %a, [from]; ld.param.u64 %b, [to]; mov.u32 %i, %ctaid.x; mov.u32 %n, %ntid.x; mov.u32 %f, "
    "%tid.x; mad.lo.u32 %i, %i, %n, %f;\n"
    "mul.wide.u32 %o, %i, 2; add.s64 %a, %a, %o; add.s64 %b, %b, %o; add.s64 %b, %b, %o;\n"
    "ld.global.u16 %h, [%a]; cvt.f32.f16 %f, %h; st.global.f32 [%b], %f; ret; }";

static void widens_all_halves(void) {
    static uint16_t halves[65536];
    static uint32_t floats[65536];
    for (uint32_t i = 0; i < 65536; i++)
        halves[i] = (uint16_t)i;
    CUdeviceptr from = sim_upload(halves, sizeof halves), to = sim_alloc(sizeof floats);
    CU(sim_run(op_ptx(each_half), 256, 256, 0, PARAMS(&from, &to)));
    sim_download(floats, to, sizeof floats);
    for (uint32_t i = 0; i < 65536; i++) {
        const float expected = sim_from_half((uint16_t)i);
        uint32_t bits;
        memcpy(&bits, &expected, 4);
        bits = expected != expected ? 0x7fffffff : bits;
        if (floats[i] != bits)
            print_error("0x%04x becomes 0x%08x, not 0x%08x\n", i, floats[i], bits);
        assert_int_equal(floats[i], bits);
    }
}

/* Around every boundary between two halves: the tie and its two neighbours in f32, of both signs; and beyond
 * the largest. */
static void narrows_around_all_halves(void) {
    enum { N = 4 * 2 * 31746 };
    static const char text[] =
        ".visible .entry narrow(.param .u64 from, .param .u64 to, .param .u32 count) { .reg .b64 %a, %b, %o; "
        ".reg .b32 %i, %n, %f; .reg .b16 %h; .reg .pred %p;\n"
        "ld.param.u64 %a, [from]; ld.param.u64 %b, [to]; mov.u32 %i, %ctaid.x; mov.u32 %n, %ntid.x; mov.u32 "
        "%f, %tid.x; mad.lo.u32 %i, %i, %n, %f;\n"
        "ld.param.u32 %n, [count]; setp.ge.u32 %p, %i, %n; @%p ret;\n"
        "mul.wide.u32 %o, %i, 2; add.s64 %b, %b, %o; add.s64 %a, %a, %o; add.s64 %a, %a, %o;\n"
        "ld.global.f32 %f, [%a]; cvt.rn.f16.f32 %h, %f; st.global.u16 [%b], %h; ret; }";
    float *x = calloc(N, 4);
    uint16_t *y = calloc(N, 2);
    uint32_t n = 0;
    assert_non_null(x);
    assert_non_null(y);
    for (uint32_t i = 0; i <= 31744; i++) { /* up to infinity */
        const float low = sim_from_half((uint16_t)i),
                    high = i < 31743 ? sim_from_half((uint16_t)(i + 1)) : 65536.0f;
        const float tie = i == 31744 ? 65520.0f : low + (high - low) / 2;
        for (int sign = -1; sign <= 1; sign += 2) {
            x[n++] = (float)sign * (i == 31744 ? INFINITY : low);
            x[n++] = (float)sign * tie;
            x[n++] = (float)sign * nextafterf(tie, 0);
            x[n++] = (float)sign * nextafterf(tie, INFINITY);
        }
    }
    CUdeviceptr from = sim_upload(x, n * 4), to = sim_alloc(n * 2);
    CU(sim_run(op_ptx(text), (n + 255) / 256, 256, 0, PARAMS(&from, &to, &n)));
    sim_download(y, to, n * 2);
    for (uint32_t i = 0; i < n; i++) {
        if (y[i] != sim_half(x[i]))
            print_error("%a becomes 0x%04x, not 0x%04x\n", (double)x[i], y[i], sim_half(x[i]));
        assert_int_equal(y[i], sim_half(x[i]));
    }
    free(x);
    free(y);
}

void computes_with_halves(void **state) {
    (void)state;
    op_table(rows, sizeof rows / sizeof *rows);
}
void converts_all_halves(void **state) {
    (void)state;
    widens_all_halves();
    narrows_around_all_halves();
}
