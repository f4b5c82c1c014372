#!/usr/bin/env python3
"""No shader loads through an address that may be 0, not even in a branch that is not taken.

    shader_loads_test.py GLSLC SPIRV-DIS SHADERS      exit status: 0 none does, 1 one does, 2 usage

A driver may run the loads of a short branch, or of a loop that has ended, with no lane in it: Mesa 26 does where all
lanes read one address, and dies. So an optional address must have been replaced (OpSelect on "is it 0") before a
load is made from it: the functions optional_* and row_index of address.glsl do that.

Optional are the members of type TANDEM_ADDRESS whose comment in shaders/params*.h says "or 0" or "; 0:". The test
compiles every shader of shaders/variants*.txt (one format of each), follows those members through the optimised
SPIR-V, and names each load that one of them reaches. First it does so to a shader that is wrong on purpose.
"""

import os
import re
import subprocess
import sys
import tempfile

# Loaded from under a condition on a specialisation constant alone, which leaves no code where it does not hold.
SPECIALISED = {("elementwise_push", "b")}

WRONG = """#version 460
#extension GL_GOOGLE_include_directive : require
#include "params_ops.h"
#include "address.glsl"
layout(local_size_x = 32) in;
layout(push_constant, std430) uniform Push { elementwise_push p; };
void main() {
    uint i = gl_WorkGroupID.x;
    if (!is_null(p.index))
        i = Words(p.index).v[i];
    Floats(p.y).v[i] = 0.0;
}
"""


def optional_members(folder):
    """{(struct, member)} of the addresses that may be 0. "likewise" continues the comment before."""
    found = set()
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".h"):
            continue
        struct, optional = None, False
        for line in open(os.path.join(folder, name), encoding="utf-8"):
            begin = re.match(r"TANDEM_STRUCT_BEGIN\((\w+)\)", line)
            struct = begin.group(1) if begin else struct
            member = re.match(r"\s+TANDEM_ADDRESS (\w+)(?:\[\d+\])?;\s*(.*)", line)
            if member:
                text = member.group(2)
                optional = bool(re.search(r"\bor 0\b|; 0:", text)) or ("likewise" in text and optional)
                if optional:
                    found.add((struct, member.group(1)))
    return found


def variants(folder):
    """[(source, macros)], one format of each."""
    seen = {}
    for name in sorted(os.listdir(folder)):
        if not re.match(r"variants.*\.txt$", name):
            continue
        for line in open(os.path.join(folder, name), encoding="utf-8"):
            words = line.split("#")[0].split()
            if words:
                key = (words[1], tuple(w for w in words[2:] if not w.startswith("FORMAT_")))
                seen[key] = words[2:]
    return [(source, macros) for (source, _), macros in sorted(seen.items())]


class Module:
    """The instructions of one shader, and which optional members the value of an id comes from."""

    def __init__(self, text, optional):
        self.optional = optional
        self.names, self.members = {}, {}
        self.types, self.type_of, self.constants = {}, {}, {}
        self.code, self.reach = [], {}
        for line in text.splitlines():
            match = re.match(r"\s*(?:%(\d+) = )?(Op\w+)\s*(.*)", line)
            if match:
                self.declare(match.group(1), match.group(2), re.findall(r'"[^"]*"|\S+', match.group(3)))

    def declare(self, result, op, words):
        words = [w.lstrip("%") for w in words]
        if op == "OpName":
            self.names[words[0]] = words[1].strip('"')
        elif op == "OpMemberName":
            self.members[words[0], int(words[1])] = words[2].strip('"')
        elif op.startswith("OpType"):
            self.types[result] = (op, words)
        elif result and op not in ("OpString", "OpExtInstImport", "OpLabel"):
            self.type_of[result] = words[0]
            if op in ("OpConstant", "OpSpecConstant") and re.match(r"\d+$", words[1]):
                self.constants[result] = int(words[1])
            self.code.append((result, op, words[1:]))
        elif op in ("OpStore", "OpReturnValue"):
            self.code.append((None, op, words))

    def step(self, type_id, index):
        """Type of part `index` of a value or of what a pointer points to, and the optional member it is."""
        op, words = self.types[type_id]
        if op == "OpTypePointer":
            return self.step(words[1], index)
        if op != "OpTypeStruct":
            return words[0], set()
        member = (self.names.get(type_id), self.members.get((type_id, index)))
        return words[index], {member} & self.optional

    def walk(self, type_id, indices):
        found = set()
        op, words = self.types[type_id]
        type_id = words[1] if op == "OpTypePointer" else type_id
        for index in indices:
            type_id, member = self.step(type_id, index)
            found |= member
        return found

    def points_to_memory(self, pointer):
        op, words = self.types[self.type_of[pointer]]
        return op == "OpTypePointer" and words[0] == "PhysicalStorageBuffer"

    def flow(self, result, op, words):
        """The optional members that the value of an instruction comes from, given those of its operands."""
        of = lambda w: self.reach.get(w, set())
        if op == "OpLoad":
            # A value from memory is no address of its own, but for members of blocks that lie there.
            return set(self.chain.get(words[0], set())) if self.points_to_memory(words[0]) else set(of(words[0]))
        if op in ("OpAccessChain", "OpInBoundsAccessChain"):
            member = self.walk(self.type_of[words[0]], [self.constants.get(w, 0) for w in words[1:]])
            self.chain[result] = member
            return of(words[0]) if self.points_to_memory(result) else of(words[0]) | member
        if op == "OpCompositeExtract":
            return of(words[0]) | self.walk(self.type_of[words[0]], [int(w) for w in words[1:]])
        if op == "OpSelect":
            one, other = of(words[1]), of(words[2])
            return (one & other) | ((one ^ other) - of(words[0]))
        if op == "OpPhi":
            arms = [of(w) for w in words[0::2]]
            return set.intersection(*arms)
        return set().union(*(of(w) for w in words if w.isdigit()))

    def root(self, pointer, origin):
        while pointer in origin:
            pointer = origin[pointer]
        return pointer

    def loads(self):
        """The optional members that some load goes through."""
        self.chain = {}
        origin = {r: w[0] for r, op, w in self.code if op in ("OpAccessChain", "OpInBoundsAccessChain")}
        changed = True
        while changed:
            changed = False
            for result, op, words in self.code:
                target, value = result, None
                if op == "OpStore":
                    if self.points_to_memory(words[0]):
                        continue
                    target, value = self.root(words[0], origin), set(self.reach.get(words[1], set()))
                elif op == "OpReturnValue" or result is None:
                    continue
                else:
                    value = self.flow(result, op, words)
                    if op == "OpVariable":
                        value = set()
                old = self.reach.get(target, set())
                # Variables and loops only gain; the sets are small, so this ends soon.
                if not value <= old:
                    self.reach[target] = old | value
                    changed = True
        found = set()
        for result, op, words in self.code:
            if op == "OpLoad" and self.points_to_memory(words[0]):
                found |= self.reach.get(words[0], set())
        return found


def check(tools, folder, source, macros, optional):
    glslc, disassembler = tools
    with tempfile.TemporaryDirectory() as scratch:
        binary = os.path.join(scratch, "shader.spv")
        subprocess.run([glslc, "--target-env=vulkan1.2", "-O", "-g", "-fshader-stage=compute", "-I", folder,
                        *("-D" + m for m in macros), "-o", binary, source], check=True)
        text = subprocess.run([disassembler, "--raw-id", binary], check=True, capture_output=True, text=True).stdout
    return Module(text, optional).loads()


def main():
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    tools, folder = sys.argv[1:3], sys.argv[3]
    optional = optional_members(folder)
    bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        wrong = os.path.join(scratch, "wrong.comp")
        with open(wrong, "w", encoding="utf-8") as file:
            file.write(WRONG)
        if ("elementwise_push", "index") not in check(tools, folder, wrong, [], optional):
            print("FAILED: the load of a shader that is wrong on purpose was not found")
            bad += 1
    shaders = variants(folder)
    for source, macros in shaders:
        for struct, member in sorted(check(tools, folder, os.path.join(folder, source), macros, optional)):
            if (struct, member) not in SPECIALISED:
                print(f"FAILED: {source} {' '.join(macros)} loads through {struct}.{member}, which may be 0")
                bad += 1
    print(f"{len(shaders)} shaders, {len(optional)} optional addresses, {bad} wrong")
    return 1 if bad or not shaders or len(optional) < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
