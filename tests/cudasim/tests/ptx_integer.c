/* Integer arithmetic, logic and bit fields, worked out from the PTX ISA. */
#include "op.h"
#include "ptx_tests.h"

static const struct op_row arithmetic[] = {
    {"add.u16", "H, h, h", "1 2 = 3; 0xffff 1 = 0; 0x8000 0x8000 = 0"},
    {"add.s16", "H, h, h", "-1 -2 = -3; 0x7fff 1 = 0x8000"},
    {"add.u32", "R, r, r", "1 2 = 3; 0xffffffff 1 = 0"},
    {"add.s32", "R, r, r", "-5 3 = -2; 0x7fffffff 1 = 0x80000000"},
    {"add.u64", "D, d, d", "0xffffffff 1 = 0x100000000; 0xffffffffffffffff 2 = 1"},
    {"add.s64", "D, d, d", "-5 3 = -2; 0x7fffffffffffffff 1 = 0x8000000000000000"},
    {"sub.u16", "H, h, h", "1 2 = 0xffff; 9 4 = 5"},
    {"sub.s16", "H, h, h", "-1 -2 = 1; -32768 1 = 0x7fff"},
    {"sub.u32", "R, r, r", "1 2 = 0xffffffff; 9 4 = 5"},
    {"sub.s32", "R, r, r", "-1 -2 = 1; 0x80000000 1 = 0x7fffffff"},
    {"sub.u64", "D, d, d", "0 1 = 0xffffffffffffffff; 0x100000000 1 = 0xffffffff"},
    {"sub.s64", "D, d, d", "-5 -7 = 2; 3 9 = -6"},
    {"add.sat.s32", "R, r, r", "0x7fffffff 1 = 0x7fffffff; 0x80000000 -1 = 0x80000000; 5 -7 = -2"},
    {"sub.sat.s32", "R, r, r", "0x7fffffff -1 = 0x7fffffff; 0x80000000 1 = 0x80000000; 5 7 = -2"},
    {"mul.lo.u16", "H, h, h", "300 300 = 0x5f90; 7 6 = 42"},
    {"mul.lo.s16", "H, h, h", "-3 7 = -21; -200 200 = 0x63c0"},
    {"mul.lo.u32", "R, r, r", "0x10000 0x10001 = 0x10000; 7 6 = 42"},
    {"mul.lo.s32", "R, r, r", "-3 7 = -21; 0x12345678 16 = 0x23456780"},
    {"mul.lo.u64", "D, d, d", "0x100000001 0x100000001 = 0x200000001; 7 6 = 42"},
    {"mul.lo.s64", "D, d, d", "-3 7 = -21; -1 -1 = 1"},
    {"mul.hi.u16", "H, h, h", "0xffff 0xffff = 0xfffe; 300 300 = 1"},
    {"mul.hi.s16", "H, h, h", "-1 1 = -1; 0x4000 4 = 1; 0x8000 0x8000 = 0x4000"},
    {"mul.hi.u32", "R, r, r", "0xffffffff 0xffffffff = 0xfffffffe; 0x10000 0x30000 = 3"},
    {"mul.hi.s32", "R, r, r", "-1 1 = -1; 0x80000000 0x80000000 = 0x40000000; 0x40000000 8 = 2"},
    {"mul.hi.u64", "D, d, d",
     "0xffffffffffffffff 0xffffffffffffffff = 0xfffffffffffffffe; 0x100000000 0x500000000 = 5"},
    {"mul.hi.s64", "D, d, d", "-1 1 = -1; 0x8000000000000000 2 = -1; 0x4000000000000000 8 = 2"},
    {"mul.wide.u16", "R, h, h", "0xffff 0xffff = 0xfffe0001"},
    {"mul.wide.s16", "R, h, h", "-2 3 = -6; 0x8000 0x8000 = 0x40000000"},
    {"mul.wide.u32", "D, r, r", "0xffffffff 0xffffffff = 0xfffffffe00000001"},
    {"mul.wide.s32", "D, r, r", "-2 3 = -6; 0x80000000 0x80000000 = 0x4000000000000000"},
    {"mad.lo.u16", "H, h, h, h", "300 300 5 = 0x5f95"},
    {"mad.lo.s16", "H, h, h, h", "-3 7 1 = -20"},
    {"mad.lo.u32", "R, r, r, r", "7 6 0xffffffff = 41"},
    {"mad.lo.s32", "R, r, r, r", "-3 7 1 = -20"},
    {"mad.lo.u64", "D, d, d, d", "7 6 -1 = 41"},
    {"mad.lo.s64", "D, d, d, d", "-3 7 1 = -20"},
    {"mad.hi.u16", "H, h, h, h", "0xffff 0xffff 3 = 1"},
    {"mad.hi.s16", "H, h, h, h", "-1 1 5 = 4"},
    {"mad.hi.u32", "R, r, r, r", "0xffffffff 0xffffffff 3 = 1"},
    {"mad.hi.s32", "R, r, r, r", "-1 1 5 = 4; 0x40000000 8 1 = 3"},
    {"mad.hi.u64", "D, d, d, d", "0xffffffffffffffff 0xffffffffffffffff 3 = 1"},
    {"mad.hi.s64", "D, d, d, d", "-1 1 5 = 4"},
    {"mad.wide.u16", "R, h, h, r", "0xffff 0xffff 0x20000 = 1"},
    {"mad.wide.s16", "R, h, h, r", "-2 3 10 = 4"},
    {"mad.wide.u32", "D, r, r, d", "0xffffffff 0xffffffff 0x200000000 = 1"},
    {"mad.wide.s32", "D, r, r, d", "-2 3 10 = 4; -1 1 0x100000000 = 0xffffffff"},
    {"mul24.lo.u32", "R, r, r", "0xff000003 0x01000005 = 15; 0xffffff 0xffffff = 0xfe000001"},
    {"mul24.lo.s32", "R, r, r", "0xffffff 3 = -3; 0x7fffff 2 = 0xfffffe"},
    {"mad24.lo.u32", "R, r, r, r", "0xff000003 5 2 = 17"},
    {"mad24.lo.s32", "R, r, r, r", "0xffffff 3 10 = 7"},
    {"div.u16", "H, h, h", "7 2 = 3; 0xffff 0x10 = 0xfff"},
    {"div.s16", "H, h, h", "-7 2 = -3; 7 -2 = -3"},
    {"div.u32", "R, r, r", "7 2 = 3; 0xffffffff 0x10 = 0xfffffff"},
    {"div.s32", "R, r, r", "-7 2 = -3; 7 -2 = -3; -8 -2 = 4"},
    {"div.u64", "D, d, d", "0x1000000000 3 = 0x555555555"},
    {"div.s64", "D, d, d", "-7 2 = -3; 7 -1 = -7"},
    {"rem.u16", "H, h, h", "7 4 = 3; 0xffff 0x10 = 15"},
    {"rem.s16", "H, h, h", "-7 4 = -3; 7 -4 = 3"},
    {"rem.u32", "R, r, r", "7 4 = 3; 0xffffffff 0x10 = 15"},
    {"rem.s32", "R, r, r", "-7 4 = -3; 7 -4 = 3; 5 -1 = 0"},
    {"rem.u64", "D, d, d", "0x1000000000 3 = 1"},
    {"rem.s64", "D, d, d", "-7 4 = -3; 7 -4 = 3"},
    {"abs.s16", "H, h", "-5 = 5; 5 = 5; 0 = 0"},
    {"abs.s32", "R, r", "-5 = 5; 0x7fffffff = 0x7fffffff"},
    {"abs.s64", "D, d", "-5 = 5; 5 = 5"},
    {"neg.s16", "H, h", "-5 = 5; 7 = -7"},
    {"neg.s32", "R, r", "-5 = 5; 7 = -7; 0 = 0"},
    {"neg.s64", "D, d", "-5 = 5; 7 = -7"},
    {"min.u16", "H, h, h", "1 0xffff = 1"},
    {"min.s16", "H, h, h", "1 0xffff = 0xffff"},
    {"min.u32", "R, r, r", "1 0xffffffff = 1; 9 4 = 4"},
    {"min.s32", "R, r, r", "1 0xffffffff = 0xffffffff; 9 4 = 4"},
    {"min.u64", "D, d, d", "1 -1 = 1"},
    {"min.s64", "D, d, d", "1 -1 = -1"},
    {"max.u16", "H, h, h", "1 0xffff = 0xffff"},
    {"max.s16", "H, h, h", "1 0xffff = 1"},
    {"max.u32", "R, r, r", "1 0xffffffff = 0xffffffff; 9 4 = 9"},
    {"max.s32", "R, r, r", "1 0xffffffff = 1; 9 4 = 9"},
    {"max.u64", "D, d, d", "1 -1 = -1"},
    {"max.s64", "D, d, d", "1 -1 = 1"},
    {"sad.u16", "H, h, h, h", "3 10 1 = 8; 10 3 1 = 8"},
    {"sad.s16", "H, h, h, h", "-3 10 1 = 14"},
    {"sad.u32", "R, r, r, r", "3 10 1 = 8; 10 3 1 = 8; 0 0xffffffff 0 = 0xffffffff"},
    {"sad.s32", "R, r, r, r", "-3 10 1 = 14; 10 -3 1 = 14"},
    {"sad.u64", "D, d, d, d", "3 10 1 = 8"},
    {"sad.s64", "D, d, d, d", "-3 10 1 = 14"},
    {"vabsdiff4.u32.u32.u32", "R, r, r, r", "0x01ff8005 0x03018010 7 = 0x02fe000b"},
    {"vabsdiff4.u32.u32.u32.add", "R, r, r, r", "0x01ff8005 0x03018010 7 = 274"},
    {"dp4a.u32.u32", "R, r, r, r", "0x01020304 0x05060708 100 = 170; 0xff000000 0xff000000 0 = 65025"},
    {"dp4a.u32.s32", "R, r, r, r", "0xff000000 0xff000000 0 = -255; 0x01020304 0x050607f8 1 = 7"},
    {"dp4a.s32.u32", "R, r, r, r", "0xff000000 0xff000000 0 = -255; 0x010203fc 0x05060708 1 = 7"},
    {"dp4a.s32.s32", "R, r, r, r",
     "0xff000000 0xff000000 0 = 1; 0x80808080 0x80808080 -1 = 65535; 0x01020304 0x05060708 -71 = -1"},
    {"dp2a.lo.u32.u32", "R, r, r, r", "0x00020003 0x0000ff05 1 = 526"},
    {"dp2a.lo.u32.s32", "R, r, r, r", "0x00020003 0x0000ff05 1 = 14"},
    {"dp2a.lo.s32.u32", "R, r, r, r", "0xfffe0003 0x0000ff05 1 = -494"},
    {"dp2a.lo.s32.s32", "R, r, r, r", "0xfffe0003 0x0000ff05 1 = 18"},
    {"dp2a.hi.u32.u32", "R, r, r, r", "0x00020003 0xff050000 1 = 526"},
    {"dp2a.hi.u32.s32", "R, r, r, r", "0x00020003 0xff050000 1 = 14"},
    {"dp2a.hi.s32.u32", "R, r, r, r", "0xfffe0003 0xff050000 1 = -494"},
    {"dp2a.hi.s32.s32", "R, r, r, r", "0xfffe0003 0xff050000 1 = 18"},
};

static const struct op_row bits[] = {
    {"and.b16", "H, h, h", "0xff0f 0x0ff0 = 0x0f00"},
    {"and.b32", "R, r, r", "0xff0ff00f 0x0ff0ffff = 0x0f00f00f"},
    {"and.b64", "D, d, d", "0xff0ff00f00000000 0x0ff0ffff12345678 = 0x0f00f00f00000000"},
    {"or.b16", "H, h, h", "0xf000 0x000f = 0xf00f"},
    {"or.b32", "R, r, r", "0xf0000000 0x0000000f = 0xf000000f"},
    {"or.b64", "D, d, d", "0xf000000000000000 0xf = 0xf00000000000000f"},
    {"xor.b16", "H, h, h", "0xffff 0x0f0f = 0xf0f0"},
    {"xor.b32", "R, r, r", "0xffffffff 0x0f0f0f0f = 0xf0f0f0f0"},
    {"xor.b64", "D, d, d", "0xffffffffffffffff 0x0f0f0f0f0f0f0f0f = 0xf0f0f0f0f0f0f0f0"},
    {"not.b16", "H, h", "0x00ff = 0xff00"},
    {"not.b32", "R, r", "0x00ff00ff = 0xff00ff00"},
    {"not.b64", "D, d", "0 = 0xffffffffffffffff"},
    {"cnot.b16", "H, h", "0 = 1; 5 = 0"},
    {"cnot.b32", "R, r", "0 = 1; 5 = 0"},
    {"cnot.b64", "D, d", "0 = 1; 0x100000000 = 0"},
    {"and.pred", "P, p, p", "1 1 = 1; 1 0 = 0; 0 1 = 0; 0 0 = 0"},
    {"or.pred", "P, p, p", "1 1 = 1; 1 0 = 1; 0 1 = 1; 0 0 = 0"},
    {"xor.pred", "P, p, p", "1 1 = 0; 1 0 = 1; 0 1 = 1; 0 0 = 0"},
    {"not.pred", "P, p", "1 = 0; 0 = 1"},
    {"mov.pred", "P, p", "1 = 1; 0 = 0"},
    {"mov.pred", "P, -1", "= 1; = 1"},
    {"mov.pred", "P, 0", "= 0; = 0"},
    {"shl.b16", "H, h, r", "0x1234 4 = 0x2340; 1 15 = 0x8000; 1 16 = 0; 1 0xffffffff = 0"},
    {"shl.b32", "R, r, r", "0x12345678 4 = 0x23456780; 1 31 = 0x80000000; 1 32 = 0; 1 0xffffffff = 0"},
    {"shl.b64", "D, d, r", "1 63 = 0x8000000000000000; 1 64 = 0; 0x12 60 = 0x2000000000000000"},
    {"shr.b16", "H, h, r", "0x8000 15 = 1; 0x8000 16 = 0"},
    {"shr.u16", "H, h, r", "0x8000 15 = 1; 0x8000 16 = 0"},
    {"shr.s16", "H, h, r", "0x8000 15 = 0xffff; 0x8000 99 = 0xffff; 0x4000 4 = 0x400"},
    {"shr.b32", "R, r, r", "0x80000000 31 = 1; 0x80000000 32 = 0"},
    {"shr.u32", "R, r, r", "0x80000000 31 = 1; 0x80000000 32 = 0; 0x80000000 0x80000001 = 0"},
    {"shr.s32", "R, r, r", "0x80000000 31 = -1; 0x80000000 32 = -1; 0x40000000 40 = 0; -16 2 = -4"},
    {"shr.b64", "D, d, r", "0x8000000000000000 63 = 1; 0x8000000000000000 64 = 0"},
    {"shr.u64", "D, d, r", "0x8000000000000000 63 = 1; 0x8000000000000000 64 = 0"},
    {"shr.s64", "D, d, r", "0x8000000000000000 63 = -1; 0x8000000000000000 64 = -1; -16 2 = -4"},
    /* the table's bit for a=0xf0, b=0xcc, c=0xaa taken together */
    {"lop3.b32", "R, r, r, r, 0xe8", "0xf0 0xcc 0xaa = 0xe8; 0xffffffff 0 0xff = 0xff"},
    {"lop3.b32", "R, r, r, r, 0x96", "0xf0 0xcc 0xaa = 0x96; 0x12345678 0x0f0f0f0f 0xffff0000 = 0xe2c45977"},
    {"lop3.b32", "R, r, r, r, 0x01", "0xf0 0xcc 0xaa = 0xffffff01"},
    {"lop3.b32", "R, r, r, r, 0xd8", "0xf0 0xcc 0xaa = 0xd8"},
    {"shf.l.wrap.b32", "R, r, r, r",
     "0x80000001 0x12345678 4 = 0x23456788; 0xdeadbeef 0x12345678 32 = 0x12345678; 0x80000000 0 33 = 1"},
    {"shf.l.clamp.b32", "R, r, r, r",
     "0x80000001 0x12345678 4 = 0x23456788; 0xdeadbeef 0x12345678 32 = 0xdeadbeef; 0xdeadbeef 0 99 = "
     "0xdeadbeef"},
    {"shf.r.wrap.b32", "R, r, r, r",
     "0x80000001 0x12345678 4 = 0x88000000; 0xdeadbeef 0x12345678 32 = 0xdeadbeef"},
    {"shf.r.clamp.b32", "R, r, r, r",
     "0x80000001 0x12345678 4 = 0x88000000; 0xdeadbeef 0x12345678 32 = 0x12345678; 1 0x12345678 77 = "
     "0x12345678"},
    {"bfe.u32", "R, r, r, r",
     "0x12345678 8 12 = 0x456; 0x12345678 28 8 = 1; 0x12345678 0 0 = 0; 0x80000000 40 4 = 0; 0xffffffff 0 32 "
     "= 0xffffffff; "
     "0xffffffff 0 200 = 0xffffffff"},
    {"bfe.s32", "R, r, r, r",
     "0x12345678 8 12 = 0x456; 0x000f0000 16 4 = -1; 0x80000000 28 8 = 0xfffffff8; 0x80000000 40 4 = "
     "0xffffffff; "
     "0x12345678 0 0 = 0; 0x80000000 31 0 = 0"},
    {"bfe.u64", "D, d, r, r", "0x123456789abcdef0 32 16 = 0x5678; 0x123456789abcdef0 60 8 = 1"},
    {"bfe.s64", "D, d, r, r", "0x8000000000000000 60 8 = 0xfffffffffffffff8; 0xf00000000 32 4 = -1"},
    {"bfi.b32", "R, r, r, r, r",
     "0xabc 0x12345678 8 12 = 0x123abc78; 0xff 0 28 8 = 0xf0000000; 0xff 7 32 4 = 7; 0xff 7 0 0 = 7; 0x11 "
     "0x22 0 32 = 0x11"},
    {"bfi.b64", "D, d, d, r, r", "0xabc 0x123456789abcdef0 32 12 = 0x12345abc9abcdef0; 0xff 7 64 4 = 7"},
    {"clz.b32", "R, r", "0 = 32; 1 = 31; 0x80000000 = 0; 0x00f00000 = 8"},
    {"clz.b64", "R, d", "0 = 64; 1 = 63; 0x8000000000000000 = 0"},
    {"popc.b32", "R, r", "0 = 0; 0xffffffff = 32; 0x80000001 = 2"},
    {"popc.b64", "R, d", "0 = 0; 0xffffffffffffffff = 64; 0x8000000100000001 = 3"},
    {"brev.b32", "R, r", "1 = 0x80000000; 0x12345678 = 0x1e6a2c48"},
    {"brev.b64", "D, d", "1 = 0x8000000000000000; 0x12345678 = 0x1e6a2c4800000000"},
    {"bfind.u32", "R, r", "0 = 0xffffffff; 1 = 0; 0x80000000 = 31; 0x00f00000 = 23"},
    {"bfind.s32", "R, r", "0 = 0xffffffff; -1 = 0xffffffff; 1 = 0; 0x80000000 = 30; -2 = 0"},
    {"bfind.u64", "R, d", "0 = 0xffffffff; 0x8000000000000000 = 63; 1 = 0"},
    {"bfind.s64", "R, d", "-1 = 0xffffffff; 0x8000000000000000 = 62; 1 = 0"},
    {"bfind.shiftamt.u32", "R, r", "0 = 0xffffffff; 1 = 31; 0x80000000 = 0"},
    {"bfind.shiftamt.s32", "R, r", "-1 = 0xffffffff; 0x80000000 = 1; 1 = 31"},
    {"bfind.shiftamt.u64", "R, d", "0 = 0xffffffff; 1 = 63; 0x8000000000000000 = 0"},
    {"bfind.shiftamt.s64", "R, d", "-1 = 0xffffffff; 0x8000000000000000 = 1"},
    {"fns.b32", "R, r, r, r",
     "0xf0 0 1 = 4; 0xf0 0 3 = 6; 0xf0 7 -2 = 6; 0xf0 5 0 = 5; 0xf0 3 0 = 0xffffffff; 0xf0 0 9 = 0xffffffff; "
     "0xf0 6 1 = 6"},
    /* bytes of {b, a} are 7 to 0; bit 3 of a selector spreads the sign of its byte */
    {"prmt.b32", "R, r, r, r",
     "0x33221100 0x77665544 0x3210 = 0x33221100; 0x33221100 0x77665544 0x7654 = 0x77665544; "
     "0x33221100 0x77665544 0x0527 = 0x00552277; 0x80221180 0x77665544 0xb8a9 = 0xffff0000; 0x83 0xf0 0x000c "
     "= 0x838383ff"},
    {"prmt.b32.f4e", "R, r, r, r",
     "0x33221100 0x77665544 0 = 0x33221100; 0x33221100 0x77665544 1 = 0x44332211; "
     "0x33221100 0x77665544 2 = 0x55443322; 0x33221100 0x77665544 7 = 0x66554433"},
    {"prmt.b32.b4e", "R, r, r, r",
     "0x33221100 0x77665544 0 = 0x55667700; 0x33221100 0x77665544 1 = 0x66770011; "
     "0x33221100 0x77665544 2 = 0x77001122; 0x33221100 0x77665544 3 = 0x00112233"},
    {"prmt.b32.rc8", "R, r, r, r",
     "0x33221100 0x77665544 0 = 0; 0x33221100 0x77665544 1 = 0x11111111; 0x33221100 0x77665544 3 = "
     "0x33333333"},
    {"prmt.b32.ecl", "R, r, r, r",
     "0x33221100 0 0 = 0x33221100; 0x33221100 0 1 = 0x33221111; 0x33221100 0 2 = 0x33222222; 0x33221100 0 3 "
     "= 0x33333333"},
    {"prmt.b32.ecr", "R, r, r, r",
     "0x33221100 0 0 = 0; 0x33221100 0 1 = 0x11111100; 0x33221100 0 2 = 0x22221100; 0x33221100 0 3 = "
     "0x33221100"},
    {"prmt.b32.rc16", "R, r, r, r",
     "0x33221100 0 0 = 0x11001100; 0x33221100 0 1 = 0x33223322; 0x33221100 0 2 = 0x11001100"},
};

static const struct op_row moves[] = {
    {"mov.b16", "H, h", "0x1234 = 0x1234"},
    {"mov.u16", "H, h", "0x8001 = 0x8001"},
    {"mov.s16", "H, h", "-3 = -3"},
    {"mov.b32", "R, r", "0x12345678 = 0x12345678"},
    {"mov.u32", "R, r", "7 = 7"},
    {"mov.s32", "R, r", "-7 = -7"},
    {"mov.f32", "R, r", "f:-0 = f:-0; 0x7f800001 = 0x7f800001"},
    {"mov.b64", "D, d", "0x123456789abcdef0 = 0x123456789abcdef0"},
    {"mov.u64", "D, d", "7 = 7"},
    {"mov.s64", "D, d", "-7 = -7"},
    {"mov.f64", "D, d", "d:1.5 = d:1.5"},
    {"mov.b32", "R, -5", "= -5"},
    {"mov.f32", "R, 0f3fc00000", "= f:1.5"},
    {"mov.f32", "R, 2.5", "= f:2.5"},
    {"mov.f64", "D, 0d3ff8000000000000", "= d:1.5"},
    {"mov.b64", "D, 0x123456789abcdef0", "= 0x123456789abcdef0"},
    {"mov.u32", "R, 017", "= 15"},
    {"mov.u32", "R, 0b101", "= 5"},
    {"mov.u32", "R, 42U", "= 42"},
    {"mov.u32", "R, WARP_SZ", "= 32"},
    {"mov.b32", "R, {h, h}", "0x1234 0x5678 = 0x56781234"},
    {"mov.b64", "D, {r, r}", "0x12345678 0x9abcdef0 = 0x9abcdef012345678"},
    {"mov.b64", "D, {h, h, h, h}", "1 2 3 4 = 0x0004000300020001"},
    {"mov.b32", "{H, H}, r", "0x56781234 = 0x1234 0x5678"},
    {"mov.b64", "{R, R}, d", "0x9abcdef012345678 = 0x12345678 0x9abcdef0"},
    {"mov.b64", "{_, R}, d", "0x9abcdef012345678 = 0x9abcdef0"},
    {"mov.b64", "{H, H, H, H}, d", "0x0004000300020001 = 1 2 3 4"},
    {"selp.b16", "H, h, h, p", "1 2 1 = 1; 1 2 0 = 2"},
    {"selp.u16", "H, h, h, p", "1 2 1 = 1; 1 2 0 = 2"},
    {"selp.s16", "H, h, h, p", "-1 2 1 = -1; 1 -2 0 = -2"},
    {"selp.b32", "R, r, r, p", "1 2 1 = 1; 1 2 0 = 2"},
    {"selp.u32", "R, r, r, p", "1 2 1 = 1; 1 2 0 = 2"},
    {"selp.s32", "R, r, r, p", "-1 2 1 = -1; 1 -2 0 = -2"},
    {"selp.f32", "R, r, r, p", "f:1 f:2 1 = f:1; f:1 f:2 0 = f:2"},
    {"selp.b64", "D, d, d, p", "1 2 1 = 1; 1 2 0 = 2"},
    {"selp.u64", "D, d, d, p", "1 2 1 = 1; 1 2 0 = 2"},
    {"selp.s64", "D, d, d, p", "-1 2 1 = -1; 1 -2 0 = -2"},
    {"selp.f64", "D, d, d, p", "d:1 d:2 1 = d:1; d:1 d:2 0 = d:2"},
};

static void add_slct(void) {
    static const char *const types[] = {"b16", "u16", "s16", "b32", "u32", "s32",
                                        "f32", "b64", "u64", "s64", "f64"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const char *operands = i < 3 ? "H, h, h, r" : i < 7 ? "R, r, r, r" : "D, d, d, r";
        char name[32];
        snprintf(name, sizeof name, "slct.%s.s32", types[i]);
        op_add(name, operands, 3, (uint64_t[]){7, 7, 9, 0, 9, 7, 9, 0xffffffff, 7, 7, 9, 5});
        /* -0 is not below zero; a NaN takes the second */
        snprintf(name, sizeof name, "slct.%s.f32", types[i]);
        op_add(
            name, operands, 4,
            (uint64_t[]){7, 7, 9, 0x80000000, 9, 7, 9, 0xbf800000, 7, 7, 9, 0x3f800000, 9, 7, 9, 0x7fffffff});
        if (i < 3 || i >= 7)
            continue;
        /* a negative subnormal is flushed to -0 */
        snprintf(name, sizeof name, "slct.ftz.%s.f32", types[i]);
        op_add(name, operands, 2, (uint64_t[]){7, 7, 9, 0x80000001, 9, 7, 9, 0xbf800000});
    }
    op_run();
}

/* Carries live beside the registers, so a chain of two instructions is one program. */
static void carries(void) {
    static const char text[] =
        ".visible .entry chain(.param .u64 p) { .reg .b64 %p, %d<9>; .reg .b32 %r<9>;\n"
        "ld.param.u64 %p, [p];\n"
        "add.cc.u32 %r0, 0xffffffff, 1; addc.u32 %r1, 5, 6; st.global.u32 [%p], %r1;\n"   /* 12 */
        "add.cc.s32 %r0, 0x7fffffff, 1; addc.s32 %r1, 5, 6; st.global.u32 [%p+4], %r1;\n" /* 11: no carry out
                                                                                           */
        "add.cc.u32 %r0, 0xffffffff, 2; addc.cc.u32 %r1, 0xffffffff, 0; addc.u32 %r2, 0, 0;\n" /* 0, 1 */
        "st.global.u32 [%p+8], %r1; st.global.u32 [%p+12], %r2;\n"
        "add.cc.u32 %r0, 0xffffffff, 2; addc.cc.s32 %r1, 3, 0; addc.s32 %r2, 0, 0;\n" /* 4, 0 */
        "st.global.u32 [%p+16], %r1; st.global.u32 [%p+20], %r2;\n"
        "sub.cc.u32 %r0, 1, 2; subc.u32 %r1, 10, 3; st.global.u32 [%p+24], %r1;\n" /* 6 */
        "sub.cc.s32 %r0, 2, 1; subc.s32 %r1, 10, 3; st.global.u32 [%p+28], %r1;\n" /* 7 */
        "sub.cc.u32 %r0, 0, 1; subc.cc.u32 %r1, 0, 0; subc.u32 %r2, 0, 0;\n"       /* -1, -1 */
        "st.global.u32 [%p+32], %r1; st.global.u32 [%p+36], %r2;\n"
        "sub.cc.u32 %r0, 0, 1; subc.cc.s32 %r1, 9, 0; subc.s32 %r2, 0, 0;\n" /* 8, 0 */
        "st.global.u32 [%p+40], %r1; st.global.u32 [%p+44], %r2;\n"
        "add.cc.u64 %d0, 0xffffffffffffffff, 1; addc.u64 %d1, 5, 6; st.global.u64 [%p+48], %d1;\n" /* 12 */
        "add.cc.s64 %d0, 0xffffffffffffffff, 1; addc.cc.u64 %d1, 1, 1; addc.s64 %d2, 0, 0;\n"      /* 3, 0 */
        "st.global.u64 [%p+56], %d1; st.global.u64 [%p+64], %d2;\n"
        "add.cc.u64 %d0, 0xffffffffffffffff, 1; addc.cc.s64 %d1, -1, 0; addc.u64 %d2, 0, 0;\n" /* 0, 1 */
        "st.global.u64 [%p+72], %d1; st.global.u64 [%p+80], %d2;\n"
        "sub.cc.u64 %d0, 0, 1; subc.u64 %d1, 10, 3; st.global.u64 [%p+88], %d1;\n" /* 6 */
        "sub.cc.s64 %d0, 0, 1; subc.cc.u64 %d1, 10, 3; subc.s64 %d2, 4, 4;\n"      /* 6, 0 */
        "st.global.u64 [%p+96], %d1; st.global.u64 [%p+104], %d2;\n"
        "sub.cc.u64 %d0, 0, 1; subc.cc.s64 %d1, 0, 0; subc.u64 %d2, 4, 4;\n" /* -1, -1 */
        "st.global.u64 [%p+112], %d1; st.global.u64 [%p+120], %d2; ret; }";
    static const uint32_t small[] = {12, 11, 0, 1, 4, 0, 6, 7, 0xffffffff, 0xffffffff, 8, 0};
    static const uint64_t large[] = {12, 3, 0, 0, 1, 6, 6, 0, UINT64_MAX, UINT64_MAX};
    uint8_t out[128];
    CUfunction f = op_ptx(text);
    CUdeviceptr p = sim_alloc(sizeof out);
    CU(sim_run(f, 1, 1, 0, PARAMS(&p)));
    sim_download(out, p, sizeof out);
    assert_memory_equal(out, small, sizeof small);
    assert_memory_equal(out + 48, large, sizeof large);
}

/* What ptxas makes of it (IADD3 R, P0, a, -b; IADD3.X R, c, d, P0): the carry after sub.cc is that of
 * a + ~b + 1, so addc adds 1 where nothing was borrowed, and subc after add.cc borrows where nothing was
 * carried. */
void carries_as_the_machine_code_does(void **state) {
    static const char text[] =
        ".visible .entry mixed(.param .u64 p) { .reg .b64 %p, %d<4>; .reg .b32 %r<4>;\n"
        "ld.param.u64 %p, [p];\n"
        "sub.cc.u32 %r0, 7, 3; addc.u32 %r1, 10, 20; st.global.u32 [%p], %r1;\n"     /* 31 */
        "sub.cc.u32 %r0, 3, 7; addc.u32 %r1, 10, 20; st.global.u32 [%p+4], %r1;\n"   /* 30 */
        "sub.cc.u32 %r0, 7, 7; addc.u32 %r1, 10, 20; st.global.u32 [%p+8], %r1;\n"   /* 31 */
        "add.cc.u32 %r0, 7, 3; subc.u32 %r1, 20, 10; st.global.u32 [%p+12], %r1;\n"  /* 9 */
        "add.cc.u32 %r0, -1, 1; subc.u32 %r1, 20, 10; st.global.u32 [%p+16], %r1;\n" /* 10 */
        "sub.cc.u32 %r0, 7, 3; addc.cc.u32 %r1, -1, 0; subc.u32 %r2, 5, 2;\n"        /* 0, 3 */
        "st.global.u32 [%p+20], %r1; st.global.u32 [%p+24], %r2;\n"
        "sub.cc.u32 %r0, 0, 0; subc.cc.u32 %r1, 4, 4; addc.u32 %r2, 0, 0; st.global.u32 [%p+28], %r2;\n" /* 1
                                                                                                          */
        "sub.cc.u64 %d0, 7, 3; addc.u64 %d1, 10, 20; st.global.u64 [%p+32], %d1;\n" /* 31 */
        "sub.cc.u64 %d0, 3, 7; addc.u64 %d1, 10, 20; st.global.u64 [%p+40], %d1;\n" /* 30 */
        "add.cc.u64 %d0, 7, 3; subc.u64 %d1, 20, 10; st.global.u64 [%p+48], %d1;\n" /* 9 */
        "mad.lo.cc.u32 %r0, 0x10000, 0xffff, 0x10000; subc.u32 %r1, 20, 10;\n"      /* carry: 10 */
        "st.global.u32 [%p+56], %r1; ret; }";
    static const uint32_t small[] = {31, 30, 31, 9, 10, 0, 3, 1};
    static const uint64_t large[] = {31, 30, 9};
    static const uint32_t last[] = {10};
    uint8_t out[60];
    (void)state;
    CUfunction f = op_ptx(text);
    CUdeviceptr p = sim_alloc(sizeof out);
    CU(sim_run(f, 1, 1, 0, PARAMS(&p)));
    sim_download(out, p, sizeof out);
    assert_memory_equal(out, small, sizeof small);
    assert_memory_equal(out + 32, large, sizeof large);
    assert_memory_equal(out + 56, last, sizeof last);
}

/* Each mad with carry, in and out: the carry in comes from 0xffffffff + 1, the one out goes to addc 0, 0. */
static void carries_of_products(void) {
    static const struct {
        const char *half, *type;
        uint64_t a, b, c, result;
        uint64_t carry;
    } cases[] = {
        /* without a carry in */
        {"lo", "u32", 0x10000, 0xffff, 0xffff, 0xffffffff, 0},
        {"lo", "u32", 0x10000, 0xffff, 0x10000, 0, 1},
        {"lo", "s32", 0xffffffff, 1, 1, 0, 1},
        {"hi", "u32", 0xffffffff, 2, 0xffffffff, 0, 1},
        {"hi", "s32", 0xffffffff, 2, 0, 0xffffffff, 0},
        {"hi", "s32", 0xffffffff, 2, 1, 0, 1},
        {"lo", "u64", 0x100000000, 0xffffffff, 0x100000000, 0, 1},
        {"lo", "s64", UINT64_MAX, 1, 0, UINT64_MAX, 0},
        {"hi", "u64", UINT64_MAX, 2, UINT64_MAX, 0, 1},
        {"hi", "s64", UINT64_MAX, 2, 1, 0, 1},
    };
    struct text t = {0};
    uint64_t out[3 * 2 * sizeof cases / sizeof *cases], at = 0;
    text_put(&t, ".visible .entry products(.param .u64 p) { .reg .b64 %%p, %%d<3>; .reg .b32 %%r<3>;\n"
                 "ld.param.u64 %%p, [p];\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int form = 0; form < 3; form++) { /* mad.cc; madc with a carry; madc.cc with a carry */
            const bool wide = cases[i].type[1] == '6';
            const char r = wide ? 'd' : 'r';
            text_put(&t, "add.cc.u32 %%r0, 0x%x, 1;\n", form ? 0xffffffffu : 0u);
            text_put(&t, "%s.%s%s.%s %%%c1, 0x%llx, 0x%llx, 0x%llx;\n", form ? "madc" : "mad", cases[i].half,
                     form == 1 ? "" : ".cc", cases[i].type, r, (unsigned long long)cases[i].a,
                     (unsigned long long)cases[i].b, (unsigned long long)cases[i].c);
            text_put(
                &t,
                "addc.u%d %%%c2, 0, 0; st.global.u%d [%%p+%llu], %%%c1; st.global.u%d [%%p+%llu], %%%c2;\n",
                wide ? 64 : 32, r, wide ? 64 : 32, (unsigned long long)(8 * at), r, wide ? 64 : 32,
                (unsigned long long)(8 * at + 8), r);
            at += 2;
        }
    text_put(&t, "ret; }");
    CUfunction f = op_ptx(t.data);
    free(t.data);
    CUdeviceptr p = sim_alloc(sizeof out);
    CU(cuMemsetD8(p, 0, sizeof out));
    CU(sim_run(f, 1, 1, 0, PARAMS(&p)));
    sim_download(out, p, sizeof out);
    at = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint64_t all = cases[i].type[1] == '6' ? UINT64_MAX : UINT32_MAX;
        assert_int_equal(out[at], cases[i].result);
        assert_int_equal(out[at + 1], cases[i].carry);
        for (int form = 1; form < 3; form++) {
            assert_int_equal(out[at + 2 * form], (cases[i].result + 1) & all);
            /* madc keeps the carry that it was given */
            assert_int_equal(out[at + 2 * form + 1],
                             form == 1 ? 1 : cases[i].carry | (cases[i].result == all));
        }
        at += 6;
    }
}

void computes_with_integers(void **state) {
    (void)state;
    carries_of_products();
    op_table(arithmetic, sizeof arithmetic / sizeof *arithmetic);
    carries();
}
void moves_bits(void **state) {
    (void)state;
    op_table(bits, sizeof bits / sizeof *bits);
    op_table(moves, sizeof moves / sizeof *moves);
    add_slct();
}
