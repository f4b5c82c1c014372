#!/usr/bin/env python3
"""Makes every golden file in this directory anew. ../README.md says what each of them is.

    tests/golden/gemma4/make.py [--tandem build/bin/tandem] [--work build/models] [--out DIR] [NAME ...]

Needs numpy and llama-cpp-python (the version is in ../README.md), a built `tandem` for `tandem synth`, and
the published vocabulary (fetch_vocab.sh); takes about two minutes on two cores, 1 GB of memory and 250 MB in
the work directory. With names, only those models are made anew; their entries in models.json are replaced.
"""

import argparse
import hashlib
import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import build
import llama
import oracle
import rows
import strings
import vocab

N_VOCAB, N_TOP, N_SAMPLE = 512, 16, 128
EXACT_STRIDE = 4
BOS = 2
N_ROPE = 1536
ROPE_EDGES = (32, 64, 128, 256, 512, 1024, 1536)

E2B = "gemma4-e2b --d-model 256 --head-dim 64 --d-ff 256"
E4B = "gemma4-e4b --d-model 256 --head-dim 64 --d-ff 512"
B12 = "gemma4-12b --d-model 256 --head-dim 64 --d-ff 512"
A4B = "gemma4-26b-a4b --d-model 256 --head-dim 64 --d-ff 192 --d-expert 32"
A4B_16 = "gemma4-26b-a4b --d-model 256 --head-dim 64 --d-ff 192 --d-expert 64 --experts 16"
B31 = "gemma4-31b --d-model 320 --heads 8 --kv-heads 4 --d-ff 512"

# name: (shape, layers, window, quant mix, seed, edit, tokens). 10 layers of E2B and 12 of E4B have one
# caching period, 20 and 18 have two, so that the last owner is not the first. Seeds other than 1 were chosen,
# of up to 64, so that llama.cpp stays within its limits (../README.md).
MODELS = {
    "e2b-f32": (E2B, 10, 16, "F32", 3, None, 70),
    "e4b-f32": (E4B, 12, 16, "F32", 29, None, 70),
    "12b-f32": (B12, 12, 16, "F32", 6, None, 70),
    "26b-f32": (A4B, 6, 16, "F32", 35, None, 70),
    "26b-12-f32": (A4B, 12, 8, "F32", 1, None, 40),
    "26b-16-f32": (A4B_16, 6, 16, "F32", 5, None, 70),
    "31b-f32": (B31, 12, 8, "F32", 8, None, 70),
    "e2b-saturated": (E2B, 20, 8, "F32", 1, "saturate", 40),
    "e4b-saturated": (E4B, 18, 8, "F32", 18, "saturate", 40),
    "12b-saturated": (B12, 12, 8, "F32", 19, "saturate", 40),
    "26b-saturated": (A4B, 6, 8, "F32", 19, "saturate", 40),
    "31b-saturated": (B31, 6, 8, "F32", 40, "saturate", 36),
    "e2b-bare": (E2B, 10, 8, "F32", 1, "bare", 40),
    "26b-bare": (A4B_16, 6, 8, "F32", 2, "bare", 40),
    "e2b-q4_0": (E2B, 10, 8, "Q4_0", 3, None, 40),
    "e4b-q8_0": (E4B, 12, 8, "Q8_0", 14, None, 40),
    "12b-q4_k_m": (B12, 6, 8, "Q4_K_M", 21, None, 40),
    "12b-bf16": (B12, 12, 8, "BF16", 1, None, 40),
    "26b-q4_0": (A4B, 6, 8, "Q4_0", 1, None, 40),
    "26b-16-q4_k_m": (A4B_16, 6, 8, "Q4_K_M", 62, None, 40),
    "26b-16-q5_1": (A4B_16, 6, 8, "Q5_1", 9, None, 40),
    "31b-q5_k_m": (B31, 6, 8, "Q5_K_M", 5, None, 40),
    "12b-q2_k": (B12, 6, 8, "F32", 1, "q2_k", 40),
    "12b-q3_k": (B12, 6, 8, "F32", 3, "q3_k", 40),
    "12b-iq4_xs": (B12, 6, 8, "F32", 1, "iq4_xs", 40),
    "26b-16-iq4_nl": (A4B_16, 6, 8, "F32", 7, "iq4_nl", 40),
    "26b-16-mxfp4": (A4B_16, 6, 8, "F32", 4, "mxfp4", 40),
}

# Worst row of an engine that accumulates in double, by model or kind of model. llama.cpp rounds activations
# to 8 bits where weights are quantised and to bf16 where they are BF16.
EXACT_LIMIT = 1e-11
LLAMA_LIMITS = {
    "26b-12-f32": 1e-5,
    "12b-bf16": 2e-3,
    "f32": 2e-6,
    "bare": 2e-6,
    "saturated": 1e-11,
    "quantised": 1e-2,
}


def progress(text):
    print(text, flush=True)


def make_ids(n):
    """BOS, then outputs of splitmix64; positions 30 to 39 repeat 20 to 29, so that equal tokens meet."""
    ids = [BOS] + [int(word % N_VOCAB) for word in rows.splitmix64(np.arange(1, n, dtype=np.uint64))]
    ids[30:40] = ids[20:30]
    return ids[:n]


def synth_arguments(model):
    shape, n_layer, window, quant, seed, _, _ = model
    sizes = f"--layers {n_layer} --window {window} --vocab {N_VOCAB} --quant {quant} --seed {seed}"
    return f"{shape} {sizes}".split()


def llama_limit(name):
    return LLAMA_LIMITS.get(name) or LLAMA_LIMITS.get(name.rsplit("-", 1)[1]) or LLAMA_LIMITS["quantised"]


def errors(a, b):
    return [rows.row_error(x, y) for x, y in zip(a, b)]


def figures(error):
    return {"worst": float(f"{max(error):.2e}"), "median": float(f"{np.median(error):.2e}")}


def write_trace(path, ids, experts, n_expert):
    """experts [layer][token, n_used], as `tandem trace` writes them."""
    experts = np.stack(experts, 1)
    lines = [f"tandem-routing 1 {experts.shape[1]} {n_expert} {experts.shape[2]}"]
    for token, row in zip(ids, experts):
        lines.append(" ".join([str(token), *(",".join(map(str, layer)) for layer in row)]))
    path.write_text("\n".join(lines) + "\n")


def write_experts(name, ids, routing, choices, args, n_expert):
    """The oracle's choices and margins, llama.cpp's where they differ; (different choices, least margin)."""
    exact = [layer["ids"] for layer in routing]
    margins = [[float(f"{m:.1e}") for m in layer["margin"]] for layer in routing]
    swaps = int((np.sort(exact, -1) != np.sort(choices, -1)).any(-1).sum())
    write_trace(args.out / f"{name}.exact.trace", ids, exact, n_expert)
    (args.out / f"{name}.margin.json").write_text(by_line(margins))
    if swaps:
        write_trace(args.out / f"{name}.llama.trace", ids, choices, n_expert)
    return swaps, min(map(min, margins))


def write_rows(path, logits, ids, stride=1):
    records = [rows.digest(p, ids[p], logits[p], N_TOP, N_SAMPLE) for p in range(0, len(ids), stride)]
    rows.write(path, records, N_VOCAB)


def run_llama(path, ids, shape):
    """(logits [token, n_vocab], experts [layer][token, n_used])"""
    model = llama.Llama(path, -(-len(ids) // 512) * 512, 512, shape.n_expert, shape.n_used)
    logits = np.concatenate([piece.copy() for _, piece in model.decode(ids)])
    choices = model.choices
    model.close()
    return logits, choices


def run_oracle(path, ids, choices=None, **kwargs):
    model = oracle.Oracle(path, **kwargs)
    return model.logits(model.hidden(ids, choices or None))


def make_model(name, args):
    """Writes the rows and experts of a model; its entry for models.json."""
    model = MODELS[name]
    edit, n_token = model[5:]
    path, ids = args.work / f"gemma4-{name}.gguf", make_ids(n_token)
    build.build(args.tandem, synth_arguments(model), edit, path)
    exact = oracle.Oracle(path)
    truth = exact.logits(exact.hidden(ids))
    routing = exact.routing
    theirs, choices = run_llama(path, ids, exact.shape)
    entry = {
        "name": name,
        "synth": synth_arguments(model),
        "edit": edit,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "n_token": n_token,
        "limit": {"llama": llama_limit(name), "exact": EXACT_LIMIT},
        "llama against exact": figures(errors(theirs, truth)),
    }
    if choices:
        entry["swaps"], entry["least margin"] = write_experts(
            name, ids, routing, choices, args, exact.shape.n_expert
        )
        if entry["swaps"]:
            entry["the same, experts imposed"] = figures(errors(theirs, run_oracle(path, ids, choices)))
    rounded = run_oracle(path, ids, choices, llama_gelu=True, llama_rope=True)
    entry["the same, with llama.cpp's GELU and angles"] = figures(errors(theirs, rounded))
    write_rows(args.out / f"{name}.llama.rows", theirs, ids)
    write_rows(args.out / f"{name}.exact.rows", truth, ids, EXACT_STRIDE)
    path.unlink()
    progress(
        f"{name}: "
        + ", ".join(f"{k} {v}" for k, v in entry.items() if "the same" in k or k == "llama against exact")
    )
    return entry


def make_rope(name, args):
    """Worst and median row of llama.cpp against exact angles, and against its own, by position."""
    model, path = MODELS[name], args.work / "gemma4-rope.gguf"
    build.build(args.tandem, synth_arguments(model), model[5], path)
    ids = make_ids(N_ROPE)
    theirs, _ = run_llama(path, ids, oracle.Oracle(path).shape)
    by_angle = [np.array(errors(theirs, run_oracle(path, ids, llama_rope=own))) for own in (False, True)]
    path.unlink()
    return [
        {
            "positions": [first, last - 1],
            "exact angles": figures(by_angle[0][first:last]),
            "its own angles": figures(by_angle[1][first:last]),
        }
        for first, last in zip((0, *ROPE_EDGES), ROPE_EDGES)
    ]


def make_tokens(path, texts):
    """Ids and bytes of the strings; what llama.cpp's clean-up of spaces would do to the bytes is left out."""
    model = llama.Vocabulary(path)
    entries = []
    for name, text in texts:
        ids, special = (model.tokenise(text, False, parse) for parse in (False, True))
        entry = {"name": name, "bytes": text.hex(), "ids": ids, "ids_bos": model.tokenise(text, True, False)}
        if special != ids:
            entry["ids_special"] = special
            entry["ids_bos_special"] = model.tokenise(text, True, True)
        decoded, spelled = (model.pieces(special, spell).hex() for spell in (False, True))
        entry["decoded"] = decoded
        if spelled != decoded:
            entry["decoded_special"] = spelled
        entries.append(entry)
    model.close()
    return entries


def by_line(entries):
    return (
        "[\n"
        + ",\n".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in entries)
        + "\n]\n"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top = HERE.parents[2]
    parser.add_argument("--tandem", type=pathlib.Path, default=top / "build" / "bin" / "tandem")
    parser.add_argument("--work", type=pathlib.Path, default=top / "build" / "models")
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument("names", metavar="NAME", nargs="*")
    args = parser.parse_args()
    if set(args.names) - set(MODELS):
        parser.error(f"there is no model {min(set(args.names) - set(MODELS))}")
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)

    listed = args.out / "models.json"
    old = {e["name"]: e for e in json.loads(listed.read_text())} if args.names else {}
    fresh = {name: make_model(name, args) for name in args.names or MODELS}
    entries = [fresh.get(name) or old[name] for name in MODELS]
    listed.write_text(by_line(entries))
    if args.names:
        return
    progress("angles")
    (args.out / "angles.json").write_text(by_line(make_rope("12b-saturated", args)))
    (args.out / "tokens.txt").write_text(",".join(map(str, make_ids(70))) + "\n")
    small = args.work / "gemma4-vocab-small.gguf"
    vocab.write(small)
    for name, path, texts in (
        ("tokens-small.json", small, strings.SMALL),
        ("tokens-published.json", args.work / "gemma4-vocab.gguf", strings.PUBLISHED),
    ):
        (args.out / name).write_text(by_line(make_tokens(path, texts)), encoding="utf-8")


if __name__ == "__main__":
    main()
