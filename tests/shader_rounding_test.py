#!/usr/bin/env python3
"""What shaders round to codes has the same bits on every device.

    shader_rounding_test.py GLSLC SPIRV-DIS SHADERS      exit status: 0 good, 1 not, 2 usage

Vulkan lets a division be 2.5 units off (Mesa 25.0 is off by 5e-5 of the quotient), a conversion to f16 round to either
side (RADV packs toward zero), and a product be contracted with a sum. The shaders that do nothing but round, of caches
(kv_fill.comp; attention_append.comp shares its code) and of activations (quantise_q8.comp), may therefore use only
what is exact or correctly rounded: sums, differences, products that must not be contracted with them, and integers.
"""

import math
import os
import re
import subprocess
import sys
import tempfile

SHADERS = ["kv_fill.comp", "quantise_q8.comp"]
PRODUCTS = {"OpFMul", "OpVectorTimesScalar"}  # NoContraction must be said, but for powers of two
SUMS = {"OpFAdd", "OpFSub"}
EXACT = re.compile(r"Op(FOrd|FUnord)\w+|OpConvert[SU]ToF|OpFNegate|OpFunction\w*")
EXACT_EXTENDED = {"FAbs", "FClamp", "NClamp", "FMin", "FMax", "NMin", "NMax", "UMin", "UMax", "UClamp", "FindUMsb",
                  "FindILsb", "RoundEven"}

WRONG = """#version 460
#extension GL_GOOGLE_include_directive : require
#include "address.glsl"
layout(local_size_x = 32) in;
layout(push_constant, std430) uniform Push { uvec2 x; float by; };
void main() {
    Floats(x).v[0] = 1.0 / by + by * 3.0;
    Floats(x).v[1] = uintBitsToFloat(packHalf2x16(vec2(by)));
}
"""


def complaints(tools, folder, source):
    glslc, disassembler = tools
    with tempfile.TemporaryDirectory() as scratch:
        binary = os.path.join(scratch, "shader.spv")
        subprocess.run([glslc, "--target-env=vulkan1.2", "-O", "-fshader-stage=compute", "-I", folder, "-o", binary,
                        source], check=True)
        text = subprocess.run([disassembler, "--raw-id", binary], check=True, capture_output=True, text=True).stdout
    kept = set(re.findall(r"OpDecorate %(\d+) NoContraction", text))
    exact = {i for i, x in re.findall(r"%(\d+) = OpConstant %\d+ (-?[\d.]+)$", text, re.M)
             if abs(math.frexp(float(x))[0]) == 0.5}
    found, n_rounded = [], 0
    for result, op, rest in re.findall(r"^\s*%(\d+) = (Op\w+) *(.*)$", text, re.M):
        if op in PRODUCTS:
            n_rounded += 1
            if result not in kept and not exact & set(re.findall(r"%(\d+)", rest)):
                found.append(f"{op} that may be contracted")
        elif op in SUMS:
            n_rounded += 1
        elif op == "OpExtInst":
            name = rest.split()[2]
            if name not in EXACT_EXTENDED:
                found.append(name)
        elif re.match(r"OpF[A-Z]|OpConvert|OpDot|OpVectorTimes|OpQuantize", op) and not EXACT.fullmatch(op):
            found.append(op)
    return found, n_rounded


def main():
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    tools, folder = sys.argv[1:3], sys.argv[3]
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        wrong = os.path.join(scratch, "wrong.comp")
        with open(wrong, "w", encoding="utf-8") as file:
            file.write(WRONG)
        found, _ = complaints(tools, folder, wrong)
        if {"OpFDiv", "PackHalf2x16"} - set(found) or not {"OpFMul that may be contracted", "Fma"} & set(found):
            print(f"FAILED: of a shader that is wrong on purpose only {found} was found")
            bad += 1
    for name in SHADERS:
        found, n_rounded = complaints(tools, folder, os.path.join(folder, name))
        for what in sorted(set(found)):
            print(f"FAILED: {name} rounds by {what}")
            bad += 1
        if n_rounded == 0:
            print(f"FAILED: {name} has no product or sum at all")
            bad += 1
    print(f"{len(SHADERS)} shaders, {bad} complaints")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
