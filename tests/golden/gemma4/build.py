"""Makes a model file of the list: `tandem synth`, then an edit of its weights or of what the file says."""

import math
import pathlib
import subprocess
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import gguf_f32
import quants
import rows

_GATES = ("ffn_gate.weight", "inp_gate.weight", "ffn_gate_up_exps.weight")
_GATE_FACTOR = np.float32(4096)


def _values(shape, kind, raw):
    if kind != 0:
        raise ValueError("this edit knows F32 weights only")
    return quants.dequantise(kind, raw).reshape(shape[::-1]).copy()


def saturate(gguf):
    """Gates 4096 times as large: GELU is 0 or the identity for all but one gate in a thousand, and
    llama.cpp's f16 table, which ends at +-10, no longer shows."""
    tensors = []
    for name, shape, kind, raw in gguf.tensors:
        if name.endswith(_GATES):
            weights = _values(shape, kind, raw)
            n_gate = weights.shape[-2] // 2 if name.endswith("gate_up_exps.weight") else weights.shape[-2]
            weights[..., :n_gate, :] *= _GATE_FACTOR
            raw = weights.view(np.uint8).reshape(-1)
        tensors.append((name, shape, kind, raw))
    return gguf.metadata, tensors


def _tail_of(gguf, layer):
    """K and V tensors that a layer without a cache of its own does not need: its source's, rows reversed."""
    shared = gguf.value("gemma4.attention.shared_kv_layers", 0)
    pattern = gguf.value("gemma4.attention.sliding_window_pattern")
    n_owner = len(pattern) - shared
    if layer < n_owner:
        return []
    source = max(i for i in range(n_owner) if pattern[i] == pattern[layer])
    tail = []
    for name, shape, kind, raw in gguf.tensors:
        for part in ("attn_k.weight", "attn_v.weight", "attn_k_norm.weight"):
            if name == f"blk.{source}.{part}":
                backwards = np.ascontiguousarray(_values(shape, kind, raw)[::-1])
                tail.append((f"blk.{layer}.{part}", shape, kind, backwards.view(np.uint8).reshape(-1)))
    return tail


def _split(name, shape, kind, raw):
    """ffn_gate_up_exps as ffn_gate_exps and ffn_up_exps."""
    parts = np.split(_values(shape, kind, raw), 2, axis=1)
    narrow = [shape[0], shape[1] // 2, shape[2]]
    return [
        (
            name.replace("gate_up", part),
            narrow,
            kind,
            np.ascontiguousarray(weights).view(np.uint8).reshape(-1),
        )
        for part, weights in zip(("gate", "up"), parts)
    ]


def bare(gguf):
    """What other converters write: no key or tensor that has a default, K and V of the layers that share,
    gate and up of the experts apart, and a head of its own (the embedding, rows reversed)."""
    defaults = ("rope.freq_base", "rope.freq_base_swa", "rope.dimension_count", "final_logit_softcapping")
    if not gguf.value("gemma4.attention.shared_kv_layers", 0):
        defaults += ("attention.shared_kv_layers",)
    metadata = {
        key: value for key, value in gguf.metadata.items() if key not in [f"gemma4.{d}" for d in defaults]
    }
    tensors = []
    for name, shape, kind, raw in gguf.tensors:
        if name.endswith(("layer_output_scale.weight", "ffn_down_exps.scale")):
            continue
        if name.endswith("ffn_gate_up_exps.weight"):
            tensors += _split(name, shape, kind, raw)
            continue
        tensors.append((name, shape, kind, raw))
        if name == "token_embd.weight":
            backwards = np.ascontiguousarray(_values(shape, kind, raw)[::-1])
            tensors.append(("output.weight", shape, kind, backwards.view(np.uint8).reshape(-1)))
        if name.endswith("attn_norm.weight"):
            tensors += _tail_of(gguf, int(name.split(".")[1]))
    return metadata, tensors


# Formats that `tandem synth` does not write: where a block has its f16 factors, and their values for a
# standard deviation of one where the other bits are random. IQ4_NL's table has a mean that would grow through
# the layers and drown everything else, so the signs of its factors are random too.
_Q2_K, _Q3_K, _IQ4_NL, _IQ4_XS, _MXFP4 = 10, 11, 20, 23, 39
_FACTORS = {
    _Q2_K: ((80, 1 / 13.87), (82, 1.5 / 13.87)),
    _Q3_K: ((108, 1 / 43.3),),
    _IQ4_NL: ((0, 1 / 67.44),),
    _IQ4_XS: ((0, 1 / 1246),),
}
_MXFP4_DEVIATION = 5.85


def _random_blocks(kind, n_col, n_row, seed):
    """Matrix of standard deviation about n_col^-0.5: u8 [n_row * n_col / block, block bytes]."""
    n, block_bytes = n_row * n_col // quants.FORMATS[kind][1], quants.FORMATS[kind][2]
    words = rows.splitmix64(np.uint64(seed << 32) + np.arange(-(-n * block_bytes // 8), dtype=np.uint64))
    blocks = words.astype("<u8").view(np.uint8)[: n * block_bytes].reshape(n, block_bytes).copy()
    for at, factor in _FACTORS.get(kind, ()):
        low, high = np.array([factor / n_col**0.5]).astype("<f2").view(np.uint8)
        blocks[:, at] = low
        blocks[:, at + 1] = blocks[:, at + 1] & 0x80 | high if kind == _IQ4_NL else high
    if kind == _MXFP4:
        least = 128 + math.floor(-math.log2(_MXFP4_DEVIATION * n_col**0.5))
        blocks[:, 0] = least + (blocks[:, 0] & 1)
    return blocks.reshape(-1)


def _random(kind):
    def edit(gguf):
        """Random blocks of one format in every matrix but the router."""
        tensors = []
        for i, (name, shape, old, raw) in enumerate(gguf.tensors):
            if len(shape) > 1 and not name.endswith("ffn_gate_inp.weight"):
                old, raw = kind, _random_blocks(kind, shape[0], int(np.prod(shape[1:])), i)
            tensors.append((name, shape, old, raw))
        return gguf.metadata, tensors

    return edit


_EDITS = {
    "saturate": saturate,
    "bare": bare,
    "q2_k": _random(_Q2_K),
    "q3_k": _random(_Q3_K),
    "iq4_nl": _random(_IQ4_NL),
    "iq4_xs": _random(_IQ4_XS),
    "mxfp4": _random(_MXFP4),
}


def build(tandem, synth, edit, path):
    """Writes the file at `path`; synth: arguments of `tandem synth`; edit: a name of an edit or None."""
    first = path if edit is None else path.with_suffix(".synth")
    subprocess.run([tandem, "synth", *synth, "-o", str(first)], check=True, stderr=subprocess.DEVNULL)
    if edit is not None:
        gguf = gguf_f32.Gguf(first)
        metadata, tensors = _EDITS[edit](gguf)
        gguf_f32.write(path, {key: raw for key, (_, raw) in metadata.items()}, tensors)
        first.unlink()
