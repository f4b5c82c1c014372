#!/usr/bin/env python3
"""Judges logits, as `tandem eval --logits FILE.npy` writes them, by stored ones.

    compare_logits.py FILE.npy [GOLDEN] [--worst 1e-2] [--median 5e-3]

FILE.npy is f32 [T, n_vocab], row t = position t. GOLDEN is a .rows file (default logits-200.f32.rows) or the
full logits of another engine as .npy. The error of a row is sum (a - b)^2 / sum (b - mean b)^2, over the
sampled columns of a .rows file, over all of a .npy. Exit status: 0 within the limits, 1 beyond them, 2 usage,
3 a file is unusable.
"""

import argparse
import os
import sys

import numpy as np

import rows

_DEFAULT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "logits-200.f32.rows")


def load(path):
    try:
        return np.load(path, mmap_mode="r")
    except ValueError as e:
        raise ValueError(f"{path} is not a whole .npy file of numbers") from e


def compare_rows(logits, path):
    """[(position, error, largest |difference| among the top, logsumexp difference, argmax agrees)]"""
    records, n_vocab = rows.read(path)
    check_shape(logits, n_vocab, int(records["position"].max()) + 1)
    result = []
    for r in records:
        position, row = int(r["position"]), logits[r["position"]]
        error = rows.row_error(row[rows.columns(position, n_vocab, len(r["sample"]))], r["sample"])
        top = np.abs(row[r["top_id"]].astype(np.float64) - r["top"]).max()
        lse = abs(rows.logsumexp(row) - r["logsumexp"])
        result.append((position, error, top, lse, int(row.argmax()) == r["top_id"][0]))
    return result


def compare_full(logits, path):
    other = load(path)
    check_shape(logits, other.shape[-1], 1)
    result = []
    for position in range(min(len(logits), len(other))):
        a, b = logits[position], other[position]
        top = np.argsort(-b)[: rows.N_TOP]
        difference = np.abs(a[top].astype(np.float64) - b[top]).max()
        lse = abs(rows.logsumexp(a) - rows.logsumexp(b))
        result.append((position, rows.row_error(a, b), difference, lse, a.argmax() == b.argmax()))
    return result


def check_shape(logits, n_vocab, n_row):
    if logits.ndim != 2 or logits.shape[1] != n_vocab or len(logits) < n_row:
        raise ValueError(f"the logits are {logits.shape}; at least ({n_row}, {n_vocab}) is needed")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("logits", metavar="FILE.npy")
    parser.add_argument("golden", metavar="GOLDEN", nargs="?", default=_DEFAULT)
    parser.add_argument(
        "--worst", type=float, default=1e-2, help="limit of the worst row (default %(default)s)"
    )
    parser.add_argument(
        "--median", type=float, default=5e-3, help="limit of the median (default %(default)s)"
    )
    args = parser.parse_args()
    try:
        logits = load(args.logits)
        compare = compare_full if args.golden.endswith(".npy") else compare_rows
        result = compare(logits, args.golden)
    except (OSError, ValueError) as e:
        reason = f"cannot read {e.filename}: {e.strerror}" if isinstance(e, OSError) else e
        print(f"compare_logits: {reason}", file=sys.stderr)
        return 3
    position, error, top, lse, same = (np.array(column) for column in zip(*result))
    # A row with an infinity or a NaN has no error below any limit.
    error = np.where(np.isfinite(error), error, np.inf)
    worst, median = error.argmax(), float(np.median(error))
    good = error[worst] <= args.worst and median <= args.median
    print(f"{len(error)} rows against {os.path.basename(args.golden)}")
    print(f"worst row    {error[worst]:.3e} at position {position[worst]} (limit {args.worst:g})")
    print(f"median row   {median:.3e} (limit {args.median:g})")
    print(f"largest difference of the top logits {top.max():.3e}, of logsumexp {lse.max():.3e}")
    print(f"same first choice in {int(same.sum())} of {len(same)} rows")
    print("PASS" if good else "FAIL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
