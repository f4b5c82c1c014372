"""The .rows files: what is kept of a model's logits, and how an answer is judged by it.

A row of 262,144 logits is too big to store for each of 200 positions. Kept are its largest, its logsumexp,
mean and sum of squared deviations, and columns chosen by a fixed generator, others at every position, so that
every part of the output head is looked at. Little-endian, no padding:

    char magic[8] = "TANDROWS"; u32 version = 1, n_row, n_vocab, n_top, n_sample, reserved = 0;
    n_row times: u32 position, token; f64 logsumexp, mean, spread;
                 u32 top_id[n_top]; f32 top[n_top], sample[n_sample];

n_top and n_sample are 64 and 256, or less for small vocabularies. `token` is the input at `position`;
`spread` is sum (b - mean)^2 over the whole row; top is in falling order, equal logits by rising id. sample[k]
of position p is the logit of column r mod n_vocab, r being the (n_sample p + k)-th output of splitmix64
seeded with 0, counted from 0 (the 0th is 0xE220A8397B1DCDAF).
"""

import struct

import numpy as np

N_TOP, N_SAMPLE = 64, 256
_MAGIC = b"TANDROWS"
_HEADER = struct.Struct("<8s6I")


def _record(n_top, n_sample):
    return np.dtype(
        [
            ("position", "<u4"),
            ("token", "<u4"),
            ("logsumexp", "<f8"),
            ("mean", "<f8"),
            ("spread", "<f8"),
            ("top_id", "<u4", n_top),
            ("top", "<f4", n_top),
            ("sample", "<f4", n_sample),
        ]
    )


def splitmix64(index):
    """The outputs of splitmix64, seeded with 0, of the u64 indices, counted from 0."""
    z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def columns(position, n_vocab, n_sample=N_SAMPLE):
    """The sampled columns of a position."""
    index = np.uint64(position) * np.uint64(n_sample) + np.arange(n_sample, dtype=np.uint64)
    return (splitmix64(index) % np.uint64(n_vocab)).astype(np.int64)


def logsumexp(logits):
    b = logits.astype(np.float64)
    return float(b.max() + np.log(np.exp(b - b.max()).sum()))


def digest(position, token, logits, n_top=N_TOP, n_sample=N_SAMPLE):
    """The stored record of one row of logits."""
    b = logits.astype(np.float64)
    order = np.argpartition(-b, n_top)[:n_top]
    order = order[np.lexsort((order, -b[order]))]
    row = np.zeros((), _record(n_top, n_sample))
    row["position"], row["token"] = position, token
    row["logsumexp"], row["mean"] = logsumexp(b), b.mean()
    row["spread"] = ((b - b.mean()) ** 2).sum()
    row["top_id"], row["top"] = order, b[order]
    row["sample"] = b[columns(position, len(b), n_sample)]
    return row


def write(path, records, n_vocab):
    n_top, n_sample = (len(records[0][name]) for name in ("top", "sample"))
    header = _HEADER.pack(_MAGIC, 1, len(records), n_vocab, n_top, n_sample, 0)
    with open(path, "wb") as out:
        out.write(header + np.stack(records).tobytes())


def read(path):
    """(records, n_vocab) of a .rows file."""
    with open(path, "rb") as f:
        data = f.read()
    if len(data) < _HEADER.size or data[:8] != _MAGIC:
        raise ValueError(f"{path} is not a file of golden rows")
    _, version, n_row, n_vocab, n_top, n_sample, _ = _HEADER.unpack_from(data)
    usable = version == 1 and 0 < n_row and 0 < n_top <= n_vocab and 0 < n_sample <= N_SAMPLE
    if not usable or len(data) != _HEADER.size + n_row * _record(n_top, n_sample).itemsize:
        raise ValueError(f"{path} has an unknown version or the wrong length")
    return np.frombuffer(data, _record(n_top, n_sample), n_row, _HEADER.size), n_vocab


def row_error(a, b):
    """sum (a - b)^2 / sum (b - mean b)^2; b is the truth. Of samples, their own mean is meant."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(((a - b) ** 2).sum() / ((b - b.mean()) ** 2).sum())
