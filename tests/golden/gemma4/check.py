#!/usr/bin/env python3
"""Judges tandem's logits of the models in models.json by those of llama.cpp and of the float64 oracle.

    tests/golden/gemma4/check.py [--tandem build/bin/tandem] [--plugin reference] [--work DIR] [--keep]
                                  [NAME ...]

Needs numpy. Each file is made by `tandem synth`, must have the listed sha256, and is deleted afterwards.
Where llama.cpp, with its roundings, chose other experts, they are imposed before its logits are looked at.
tandem's own choices must be the oracle's wherever the margin is above 1e-5. Exit status: 0 good, 1 beyond a
limit, 2 usage, 3 a file or program is unusable.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import build
import compare_logits

MARGIN = 1e-5
# The limits are for the reference plugin, which accumulates in double; others may differ from it by this.
F32_LIMIT = 1e-9


class Unusable(Exception):
    pass


def make_file(entry, args):
    path = args.work / f"gemma4-{entry['name']}.gguf"
    if not path.exists() or digest(path) != entry["sha256"]:
        build.build(args.tandem, entry["synth"], entry["edit"], path)
        found = digest(path)
        if found != entry["sha256"]:
            raise Unusable(
                f"{path} has sha256 {found}, the goldens belong to {entry['sha256']}: tandem synth writes "
                "other weights than it did; make.py makes goldens for them"
            )
    return path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(command, path, args, *rest):
    line = [args.tandem, command, "-m", path, "--plugin", args.plugin, *args.option, *rest]
    result = subprocess.run(
        [str(c) for c in line], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if result.returncode:
        raise Unusable(f"tandem {command} ends with status {result.returncode}: {result.stderr.strip()}")


def check_logits(entry, engine, path, ids, args):
    imposed = HERE / f"{entry['name']}.{engine}.trace"
    routing = ("--routing", f"trace:{imposed}") if engine == "llama" and entry.get("swaps") else ()
    out = path.with_suffix(".npy")
    run("eval", path, args, "--tokens", ids, "--logits", out, *routing)
    result = compare_logits.compare_rows(np.load(out), HERE / f"{entry['name']}.{engine}.rows")
    out.unlink()
    error, limit = np.array([row[1] for row in result]), entry["limit"][engine]
    if args.plugin != "reference":
        limit = max(limit, F32_LIMIT)
    good = bool((error <= limit).all())  # a NaN is within no limit
    worst = int(np.argmax(np.where(np.isfinite(error), error, np.inf)))
    report(
        entry, engine, good,
        f"worst row {error[worst]:.2e} at position {result[worst][0]}, median {np.median(error):.2e}, "
        f"limit {limit:g}"
        + (", experts imposed" if routing else ""),
    )  # fmt: skip
    return good


def read_trace(path, n_token):
    """[layer, token, n_used], each row sorted."""
    lines = path.read_text().split("\n")[1 : n_token + 1]
    ids = np.array([[layer.split(",") for layer in line.split()[1:]] for line in lines], int)
    return np.sort(ids.swapaxes(0, 1), -1)


def check_experts(entry, path, ids, args):
    out, n_token = path.with_suffix(".trace"), entry["n_token"]
    run("trace", path, args, "--tokens", ids, "-n", 1, "-o", out)
    mine, truth = read_trace(out, n_token), read_trace(HERE / f"{entry['name']}.exact.trace", n_token)
    out.unlink()
    margin = np.array(json.loads((HERE / f"{entry['name']}.margin.json").read_text()))
    other = (mine != truth).any(-1)
    wrong = int((other & (margin > MARGIN)).sum())
    report(
        entry,
        "exact",
        wrong == 0,
        f"{other.sum()} of {other.size} choices of experts differ, {wrong} of them clear",
    )
    return wrong == 0


def report(entry, engine, good, text):
    print(f"{entry['name']:16} {engine:6} {text}: {'good' if good else 'BEYOND'}", flush=True)


def check(entry, ids, args):
    path = make_file(entry, args)
    ids = ",".join(ids[: entry["n_token"]])
    results = [check_logits(entry, engine, path, ids, args) for engine in entry["limit"]]
    if "swaps" in entry:
        results.append(check_experts(entry, path, ids, args))
    if not args.keep:
        path.unlink()
    return all(results)


def main():
    listed = json.loads((HERE / "models.json").read_text())
    top = HERE.parents[2]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tandem", type=pathlib.Path, default=top / "build" / "bin" / "tandem")
    parser.add_argument("--plugin", default="reference")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        help="one more argument of tandem eval, as --option=--device=1",
    )
    parser.add_argument("--work", type=pathlib.Path, default=top / "build" / "models")
    parser.add_argument("--keep", action="store_true", help="leave the model files")
    parser.add_argument("names", metavar="NAME", nargs="*")
    args = parser.parse_args()
    unknown = set(args.names) - {entry["name"] for entry in listed}
    if unknown:
        parser.error(f"models.json has no model {sorted(unknown)[0]}")
    ids = (HERE / "tokens.txt").read_text().strip().split(",")
    args.work.mkdir(parents=True, exist_ok=True)
    try:
        results = [check(e, ids, args) for e in listed if not args.names or e["name"] in args.names]
    except (Unusable, OSError, ValueError, subprocess.CalledProcessError) as e:
        print(f"check: {e}", file=sys.stderr)
        return 3
    print("PASS" if all(results) else "FAIL")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
