#!/usr/bin/env python3
"""Makes every golden file in this directory anew from the model file. README.md says what each of them is.

    tests/golden/make.py [--model build/models/gemma3-270m-q4_k_m.gguf] [--work DIR] [--out DIR]

Needs numpy and llama-cpp-python (the version is in README.md); takes about two minutes on two cores, 3 GB of
memory and, in the work directory, 1.1 GB for the model as F32 and 630 MB for full logits (logits-200.*.npy),
which compare_logits.py takes as well.
"""

import argparse
import json
import pathlib

import llama_cpp
import numpy as np

import awkward
import gguf_f32
import llama
import oracle
import rows

HERE = pathlib.Path(__file__).resolve().parent
PROMPTS = (
    "The capital of France is",
    "Once upon a time, there was a",
    "The chemical symbol for gold is",
    "def fibonacci(n):\n",
)
N_GREEDY = 24
N_LOGITS, N_LONG = 200, 1500
LONG_POSITIONS = (511, 512, 513, 700, 1023, 1024, 1499)
# The float64 figures judge each of their rows to many digits; one row in eight keeps the directory small.
EXACT_STRIDE = 8
CI_TOKENS = 512


def progress(text):
    print(text, flush=True)


def make_tokens(model):
    """tokens.json: ids and bytes of the awkward strings, with and without BOS and special parsing."""
    strings = []
    for name, text in awkward.STRINGS:
        ids, special = (model.tokenise(text, False, parse) for parse in (False, True))
        entry = {"name": name, "bytes": text.hex(), "ids": ids, "ids_bos": model.tokenise(text, True, False)}
        if special != ids:
            entry["ids_special"] = special
            entry["ids_bos_special"] = model.tokenise(text, True, True)
        decoded, spelled = (model.detokenise(special, spell).hex() for spell in (False, True))
        entry["decoded"] = decoded
        if spelled != decoded:
            entry["decoded_special"] = spelled
        strings.append(entry)
    return strings


def top2(logits):
    first, second = np.argsort(-logits, kind="stable")[:2]
    return [int(first), float(logits[first]), int(second), float(logits[second])]


def greedy(model, prompt_ids):
    model.restart()
    feed, ids, choices = prompt_ids, [], []
    for _ in range(N_GREEDY):
        for _, logits in model.decode(feed):
            last = logits[-1]
        choices.append(top2(last))
        ids.append(choices[-1][0])
        feed = ids[-1:]
        if model.ends(ids[-1]):
            break
    return {"ids": ids, "text": model.detokenise(ids, True).decode(), "top2": choices}


def digest_run(model, ids, keep, full=None):
    """Golden records of the positions in `keep`, [nll of ids[p]] for p >= 1, and the logits into `full`."""
    model.restart()
    records, nll = [], []
    for first, logits in model.decode(ids):
        for i, row in enumerate(logits):
            position = first + i
            if full is not None and position < len(full):
                full[position] = row
            if position in keep:
                records.append(rows.digest(position, ids[position], row))
            if position + 1 < len(ids):
                nll.append(rows.logsumexp(row) - float(row[ids[position + 1]]))
    return records, nll


class OracleDecoder:
    """The oracle behind the two methods of Llama that digest_run uses."""

    def __init__(self, path):
        self._oracle = oracle.Oracle(path)

    def restart(self):
        pass

    def decode(self, ids, n_batch=128):
        hidden = self._oracle.hidden(ids)
        for first in range(0, len(ids), n_batch):
            yield first, self._oracle.logits(hidden[first : first + n_batch])

    def top2_along(self, prompt_ids, ids):
        logits = np.concatenate([l for _, l in self.decode(prompt_ids + ids[:-1])])
        return [top2(row) for row in logits[len(prompt_ids) - 1 :]]


def perplexity(nll):
    def figure(n_scored):
        mean = float(np.mean(nll[:n_scored]))
        return {
            "n_token": n_scored + 1,
            "n_scored": n_scored,
            "mean_nll": mean,
            "perplexity": float(np.exp(mean)),
        }

    return {f"first_{CI_TOKENS}": figure(CI_TOKENS - 1), "all": figure(len(nll))}


def difference(a, b):
    """How far the logits a are from b: row errors, and the error of the gap between b's two largest."""
    error = [rows.row_error(x, y) for x, y in zip(a, b)]
    first, second = np.argsort(-b, axis=1, kind="stable")[:, :2].T
    at = np.arange(len(b))
    gap = (a[at, first] - a[at, second]).astype(np.float64) - (b[at, first] - b[at, second])
    return {
        "worst_row_error": max(error),
        "worst_row": int(np.argmax(error)),
        "median_row_error": float(np.median(error)),
        "rms_logit": float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2))),
        "largest_logit": float(np.abs(a.astype(np.float64) - b).max()),
        "rms_top2_gap": float(np.sqrt(np.mean(gap**2))),
        "largest_top2_gap": float(np.abs(gap).max()),
    }


def run_engine(name, model, text_ids, out, work):
    """Logits of the 200 and the 1,500 tokens and the perplexity of the whole text, for one engine."""
    progress(f"{name}: logits and perplexity")
    stride = EXACT_STRIDE if name == "exact" else 1
    full = np.empty((N_LOGITS, 262144), np.float32)
    records, _ = digest_run(model, text_ids[:N_LOGITS], range(0, N_LOGITS, stride), full)
    rows.write(out / f"logits-{N_LOGITS}.{name}.rows", records, full.shape[1])
    np.save(work / f"logits-{N_LOGITS}.{name}.npy", full)
    records, _ = digest_run(model, text_ids[:N_LONG], LONG_POSITIONS)
    rows.write(out / f"logits-{N_LONG}.{name}.rows", records, full.shape[1])
    _, nll = digest_run(model, text_ids, ())
    return full, perplexity(nll)


def write_json(path, value, by_line=False):
    """By line: a list with one entry a line, so that a change shows as a change of that entry."""
    compact = {"ensure_ascii": False, "separators": (",", ":")}
    if by_line:
        text = "[\n" + ",\n".join(json.dumps(v, **compact) for v in value) + "\n]\n"
    else:
        text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    models = HERE.parents[1] / "build" / "models"
    parser.add_argument("--model", type=pathlib.Path, default=models / "gemma3-270m-q4_k_m.gguf")
    parser.add_argument("--work", type=pathlib.Path, default=models)
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    args = parser.parse_args()
    out, work = args.out, args.work
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)

    progress("dequantising the model")
    f32_path = work / "gemma3-270m-f32.gguf"
    gguf_f32.write_f32(gguf_f32.Gguf(args.model), f32_path)

    text = (HERE / "text.txt").read_bytes()
    prompts, full, perplexities = [], {}, {}
    for name, path in (("q4_k_m", args.model), ("f32", f32_path)):
        model = llama.Llama(path)
        if name == "q4_k_m":
            progress("token ids")
            write_json(out / "tokens.json", make_tokens(model), by_line=True)
            text_ids = model.tokenise(text, True, False)
            for n in (N_LOGITS, N_LONG):
                (out / f"tokens-{n}.txt").write_text(",".join(map(str, text_ids[:n])) + "\n")
            prompts = [{"prompt": p, "prompt_ids": model.tokenise(p.encode(), True, False)} for p in PROMPTS]
        for entry in prompts:
            entry[name] = greedy(model, entry["prompt_ids"])
        full[name], perplexities[name] = run_engine(name, model, text_ids, out, work)
        model.close()

    exact = OracleDecoder(args.model)
    full["exact"], perplexities["exact"] = run_engine("exact", exact, text_ids, out, work)
    for entry in prompts:
        entry["f32"]["exact_top2"] = exact.top2_along(entry["prompt_ids"], entry["f32"]["ids"])

    write_json(out / "greedy.json", prompts, by_line=True)
    write_json(
        out / "figures.json",
        {
            "llama_cpp_python": llama_cpp.__version__,
            "system": llama_cpp.llama_print_system_info().decode().strip(),
            "perplexity": perplexities,
            "difference": {
                "q4_k_m against f32": difference(full["q4_k_m"], full["f32"]),
                "q4_k_m against exact": difference(full["q4_k_m"], full["exact"]),
                "f32 against exact": difference(full["f32"], full["exact"]),
            },
        },
    )
    progress(f"wrote {out}")


if __name__ == "__main__":
    main()
