#!/usr/bin/env python3
"""Subgroup operations go through shaders/subgroup.glsl, and the shaders with emulated subgroups have none.

    shader_subgroup_test.py SHADERS COMPILED EMULATED...      exit status: 0 true, 1 not, 2 usage

SHADERS: the sources. COMPILED: a folder of *.spv with subgroup operations, to see that this test would find some.
EMULATED: folders of *.spv that must have none.
"""

import os
import re
import struct
import sys

NAMES = re.compile(r"\bgl_(?:Subgroup\w*|NumSubgroups)\b|\bsubgroup[A-Z]\w*|GL_KHR_shader_subgroup\w*")
ONLY = "subgroup.glsl"

# By the SPIR-V specification.
OP_CAPABILITY, OP_DECORATE, BUILT_IN = 17, 71, 11
GROUP_OPERATIONS = set(range(259, 272)) | set(range(333, 367)) | {4421, 4422, 4428, 4429, 4430, 4431, 4432, 5296}
GROUP_CAPABILITIES = set(range(61, 69)) | {18, 4423, 4431, 5297, 6026}
GROUP_BUILT_INS = {36, 37, 38, 39, 40, 41, 4416, 4417, 4418, 4419, 4420}


def uses(path):
    """Subgroup operations, capabilities and built-in variables in a module."""
    data = open(path, "rb").read()
    words = struct.unpack(f"<{len(data) // 4}I", data)
    if words[0] != 0x07230203:
        sys.exit(f"{path} is no SPIR-V module")
    n, at = 0, 5
    while at < len(words):
        opcode, length = words[at] & 0xFFFF, words[at] >> 16
        n += opcode in GROUP_OPERATIONS
        n += opcode == OP_CAPABILITY and words[at + 1] in GROUP_CAPABILITIES
        n += opcode == OP_DECORATE and words[at + 2] == BUILT_IN and words[at + 3] in GROUP_BUILT_INS
        at += length
    return n


def modules(folder):
    return [os.path.join(folder, f) for f in sorted(os.listdir(folder)) if f.endswith(".spv")]


def main():
    if len(sys.argv) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    shaders, compiled, emulated = sys.argv[1], sys.argv[2], sys.argv[3:]
    failed = 0
    for name in sorted(os.listdir(shaders)):
        text = open(os.path.join(shaders, name), encoding="utf-8").read()
        found = sorted(set(NAMES.findall(text)))
        if found and name != ONLY:
            print(f"FAILED  {name} does not go through {ONLY}: {', '.join(found)}")
            failed = 1
    with_operations = sum(uses(path) > 0 for path in modules(compiled))
    print(f"{with_operations} of {len(modules(compiled))} modules use subgroups")
    if with_operations < 30:
        print("FAILED  this test finds no subgroup operations where there are some")
        failed = 1
    for folder in emulated:
        found = modules(folder)
        if len(found) < 30:
            print(f"FAILED  {folder} has {len(found)} modules")
            failed = 1
        for path in found:
            if uses(path):
                print(f"FAILED  {path} has subgroup operations")
                failed = 1
        print(f"{len(found)} modules in {folder}")
    return failed


sys.exit(main())
