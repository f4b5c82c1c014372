#!/usr/bin/env python3
"""What a real GPU's compiler makes of every Vulkan pipeline that ships, without a card.

Mesa's RADV compiles for a card that is not there (RADV_FORCE_FAMILY; gone in Mesa 26.1). `tandem inspect --steps` makes
the programs of a model as on a GPU, a layer (bench/pipelines_layer.c) asks the driver for the statistics of each
pipeline, and this script prints them. Pipelines are those of the default chunk of a prompt and of one decoded token, of
26B-A4B and 31B with Q4_0 weights and a Q6_K head, six layers of their real shapes (five sliding, one global), precisions
exact and q8, caches f16 and q8_0; then, so that every shader of the build is compiled at least once, of one layer with
few experts in every weight format, with and without 64-bit integers, and of what only other models and commands use.

They are the compiler's static figures: no measurement, and by themselves a prediction of nothing.

Spilled vector registers or scratch memory fail: each is memory traffic in the inner loop. A spilled scalar register is
kept in a lane of a vector register and costs a move there and back: those are printed, and fail beyond SGPR_SPILLS.
A shader of the build that no pipeline used fails too, since nothing is known of it.

exit: 0 good, 1 a spill or an unused shader, 2 usage, 3 a program failed, 77 no null device here
"""
import argparse
import collections
import glob
import json
import os
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED = 77
SGPR_SPILLS = 32  # the lanes of one vector register in subgroups of 32
CHUNK = 256  # rows of a prefill run, tandem's default
MODELS = ("gemma4-26b-a4b", "gemma4-31b")
MIXES = ("F32", "F16", "BF16", "Q4_0_PURE", "Q4_1_PURE", "Q5_0_PURE", "Q5_1_PURE", "Q8_0", "Q4_K_PURE", "Q5_K_PURE",
         "Q6_K", "Q2_K_PURE", "Q3_K_PURE", "IQ4_NL_PURE", "IQ4_XS_PURE", "MXFP4_PURE")
FIGURES = (  # column, the driver's name
    ("VGPR", "VGPRs"), ("SGPR", "SGPRs"), ("spilt V", "Spilled VGPRs"), ("spilt S", "Spilled SGPRs"),
    ("scratch", "Scratch size"), ("instr.", "Instructions"), ("latency", "Latency"),
    ("inv. thr.", "Inverse Throughput"), ("LDS", "LDS size"), ("subgr./SIMD", "Subgroups per SIMD"))


def hash_module(spirv):
    """FNV-1a 64 of a module without what the plugin may add to it, as pipelines_layer.c has it."""
    words = struct.unpack(f"<{len(spirv) // 4}I", spirv)
    value, at = 0xcbf29ce484222325, 5
    while at < len(words):
        n = words[at] >> 16
        if words[at] & 0xffff not in (10, 16):  # OpExtension, OpExecutionMode
            for byte in spirv[4 * at:4 * (at + n)]:
                value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
        at += n
    return f"{value:016x}"


def shipped(build):
    """{hash of the SPIR-V: names} of the plugin's table of shaders, and all names."""
    names, by_hash = [], collections.defaultdict(list)
    for path in sorted(glob.glob(f"{ROOT}/shaders/variants*.txt")):
        names += [line.split()[0] for line in open(path) if line.strip() and not line.startswith("#")]
    for name in names:
        with open(f"{build}/vulkan/shaders/{name}.spv", "rb") as file:
            by_hash[hash_module(file.read())].append(name)
    return by_hash, names


def find_icd():
    folders = ("/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d")
    found = [path for folder in folders for path in sorted(glob.glob(f"{folder}/radeon_icd*.json"))]
    machine = [path for path in found if os.uname().machine in path]
    return (machine or found or [None])[0]


class Rig:
    """Runs commands on the null device and keeps what the layer wrote."""

    def __init__(self, build, icd, family, work):
        self.build, self.work, self.pipelines = build, work, {}
        self.environment = dict(os.environ, RADV_FORCE_FAMILY=family, VK_ICD_FILENAMES=icd, VK_DRIVER_FILES=icd,
                                VK_LAYER_PATH=f"{build}/bench/layers", VK_INSTANCE_LAYERS="VK_LAYER_TANDEM_pipelines",
                                TANDEM_PLUGIN_PATH=f"{build}/lib", XDG_CACHE_HOME=work)
        self.environment.pop("TANDEM_PIPELINES_SPEC", None)
        self.environment.pop("TANDEM_PIPELINES_HIDE", None)

    def run(self, words, **more):
        return subprocess.run(words, env=dict(self.environment, **more), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)

    def device(self):
        """The null device's name, or None: the plugin works and lists none."""
        said = self.run([f"{self.build}/bin/tandem", "devices"]).stdout
        if "vulkan plugin " not in said:
            print(f"kernels_vulkan.py: {self.build} has no Vulkan plugin that loads", file=sys.stderr)
            sys.exit(3)
        lines = [line for line in said.splitlines() if line.startswith("vulkan ") and "Null hardware" in line]
        return lines[0].split(": ", 1)[1] if lines else None

    def collect(self, where, words, **more):
        out = f"{self.work}/out"
        open(out, "w").close()
        ended = self.run(words, TANDEM_PIPELINES=out, **more)
        if ended.returncode != 0:
            print(f"kernels_vulkan.py: {' '.join(words)} ended with {ended.returncode}: {ended.stderr.strip()}",
                  file=sys.stderr)
            sys.exit(3)
        lines = [json.loads(line) for line in open(out)]
        if not lines:
            print(f"kernels_vulkan.py: {' '.join(words)} made no pipeline that the layer saw", file=sys.stderr)
            sys.exit(3)
        for line in lines:
            key = line["spirv"], tuple(line["spec"])
            self.pipelines.setdefault(key, dict(line, where=[]))["where"].append(where)

    def model(self, where, name, *words, **more):
        self.collect(where, [f"{self.build}/bin/tandem", "inspect", "--steps", "--plugin", "vulkan", "-m", name,
                             "--batch", str(CHUNK), "--ctx", "4096", *words], **more)


def compile_all(rig):
    for name in MODELS:
        for precision in ("exact", "q8"):
            for kv in ("f16", "q8_0"):
                rig.model(name, name, "--layers", "6", "--quant", "Q4_0", "--precision", precision, "--kv", kv)
    small = ("--layers", "1", "--experts", "16", "--vocab", "4096", "--kv", "f32")
    for mix in MIXES:
        for precision in ("exact", "q8"):
            for hidden in ("", "int64"):
                rig.model("every format", MODELS[0], "--quant", mix, "--precision", precision, *small,
                          TANDEM_PIPELINES_HIDE=hidden)
    # Elementwise ops: models with per-layer inputs have them.
    rig.model("other models", "gemma4-e2b", "--layers", "5", "--vocab", "4096", "--quant", "Q4_0_PURE")
    for kv in ("f32", "f16", "q8_0"):
        for head_dim in ("256", "512"):
            rig.collect("caches", [f"{rig.build}/bin/kv_pipelines", kv, head_dim])




class Judge:
    """The sentences on what is not as it must be."""

    def __init__(self, by_hash):
        self.by_hash, self.bad = by_hash, []

    def pipeline(self, p):
        name, s = "/".join(self.by_hash[p["spirv"]]), p["statistics"]
        if not name:
            self.bad.append(f"a pipeline of a shader that the build does not have ({p['spirv']})")
            return
        missing = [figure for _, figure in FIGURES if not s or figure not in s]
        if missing:
            self.bad.append(f"{name}: the driver does not tell {', '.join(missing)}")
            return
        at = f"{name} ({', '.join(str(x) for x in p['spec'])})"
        if s["Spilled VGPRs"] or s["Scratch size"]:
            self.bad.append(f"{at} spills: {s['Spilled VGPRs']} vector registers, {s['Scratch size']} bytes of scratch")
        if s["Spilled SGPRs"] > SGPR_SPILLS:
            self.bad.append(f"{at} spills {s['Spilled SGPRs']} scalar registers, limit {SGPR_SPILLS}")

    def unused(self, names, used):
        self.bad += [f"{name}: no pipeline used this shader, so nothing is known of it" for name in names
                     if name not in used]


def print_table(title, pipelines, by_hash):
    """A line a pipeline; those of one shader whose constants differ and whose figures do not share one."""
    width = max(len("/".join(by_hash[p["spirv"]])) for p in pipelines) + 2
    print(f"\n{title}\n{'shader':{width}}" + "".join(f"{column:>12}" for column, _ in FIGURES) + "  constants by id")
    lines = collections.OrderedDict()
    for p in sorted(pipelines, key=lambda p: (by_hash[p["spirv"]], p["spec"])):
        figures = tuple((p["statistics"] or {}).get(figure, "?") for _, figure in FIGURES)
        lines.setdefault((tuple(by_hash[p["spirv"]]), figures), []).append(p["spec"])
    for (names, figures), specs in lines.items():
        first = " ".join(str(x) for x in specs[0])
        more = f" and {len(specs) - 1} more" if len(specs) > 1 else ""
        print(f"{'/'.join(names):{width}}" + "".join(f"{x:>12}" for x in figures) + f"  {first}{more}".rstrip())


def find_spoilt(rig, by_hash, shader, change):
    """0 if the vector registers that a changed constant makes a shader spill are complained of, and only its own."""
    module = next(h for h, known in by_hash.items() if shader in known)
    rig.model("a small model", MODELS[0], "--layers", "1", "--experts", "16", "--vocab", "4096", "--quant", "Q4_0_PURE",
              TANDEM_PIPELINES_SPEC=f"{module} {change.replace('=', ' ')}")
    judge = Judge(by_hash)
    for p in rig.pipelines.values():
        judge.pipeline(p)
    print("\n".join(judge.bad))
    found = [line for line in judge.bad if line.startswith(f"{shader} ") and "vector registers" in line]
    others = [line for line in judge.bad if not line.startswith(f"{shader} ")]
    print(f"{len(found)} pipelines of {shader} with {change} were found to spill, and {len(others)} others")
    return 0 if found and not others else 1


def main():
    parse = argparse.ArgumentParser(description="Compiles every shipped Vulkan pipeline with RADV's null device.")
    parse.add_argument("build", help="build folder")
    parse.add_argument("--family", default="navi21", help="card to compile for, by Mesa's name (default navi21)")
    parse.add_argument("--icd", default=find_icd(), help="manifest of the RADV driver")
    parse.add_argument("--json", help="write every pipeline to this file, a line each")
    parse.add_argument("--spoil", metavar="SHADER:ID=VALUE",
                       help="one small model with a constant of one shader changed: 0 if its spills are found")
    asked = parse.parse_args()
    if not asked.icd:
        print("No RADV here: no radeon_icd*.json (Debian's mesa-vulkan-drivers has it)")
        return SKIPPED
    build = os.path.abspath(asked.build)
    by_hash, names = shipped(build)
    with tempfile.TemporaryDirectory() as work:
        rig = Rig(build, asked.icd, asked.family, work)
        device = rig.device()
        if not device:
            print(f"No null device: the RADV of {asked.icd} does not know RADV_FORCE_FAMILY={asked.family} (Mesa 26.1 "
                  "dropped it)")
            return SKIPPED
        if asked.spoil:
            return find_spoilt(rig, by_hash, *asked.spoil.split(":"))
        compile_all(rig)
    pipelines = list(rig.pipelines.values())
    judge = Judge(by_hash)
    for p in pipelines:
        judge.pipeline(p)
    judge.unused(names, {name for p in pipelines for name in by_hash[p["spirv"]]})
    print(f"{len(pipelines)} pipelines of {len(names)} shaders, by {pipelines[0]['driver']} for {device.split(' [')[0]}:\n"
          "the compiler's static figures, no measurements, and by themselves a prediction of nothing. V: vector, S: scalar\n"
          "registers; scratch and LDS in bytes; latency and inverse throughput in cycles, as the compiler guesses them.")
    for model in MODELS:
        own = [p for p in pipelines if model in p["where"]]
        if own:
            print_table(f"{model}: Q4_0 and Q6_K, a prompt's chunk of {CHUNK} and one token, exact and q8, caches f16 and "
                        "q8_0", own, by_hash)
    rest = [p for p in pipelines if not set(MODELS) & set(p["where"])]
    if rest:
        print_table("every other shader and format", rest, by_hash)
    if asked.json:
        with open(asked.json, "w") as file:
            for p in sorted(pipelines, key=lambda p: (by_hash[p["spirv"]], p["spec"])):
                line = {"shader": "/".join(by_hash[p["spirv"]]), "where": sorted(set(p.pop("where")))}
                file.write(json.dumps({**line, **p}) + "\n")
    print()
    for line in judge.bad:
        print("BAD ", line)
    print("no spills" if not judge.bad else f"{len(judge.bad)} not as they must be")
    return 1 if judge.bad else 0


if __name__ == "__main__":
    sys.exit(main())
