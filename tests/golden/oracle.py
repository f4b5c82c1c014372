"""Gemma 3 in float64 numpy: the text decoder written a second time, straight from its formulas.

llama.cpp given F32 weights still looks GELU up in a table of f16, sums in f32 and multiplies up its RoPE angles in f32.
This file has none of those roundings, so a plugin's `exact` precision can be judged to many more digits. With
`llama_gelu` it takes the table's two roundings on, which shows how much of the remaining difference they are.
"""

import numpy as np

import gguf_f32


def _rms(x, eps):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps)


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * x * (1 + 0.044715 * x * x)))


def _llama_gelu(x):
    """GELU of the argument rounded to f16, rounded to f16; outside +-10 the table is not used."""
    y = _gelu(x.astype(np.float32).astype(np.float16).astype(np.float64))
    return np.where(x <= -10, 0, np.where(x >= 10, x, y.astype(np.float16).astype(np.float64)))


def _rope(x, theta):
    """Turns x [token, head, head_dim], component i with i + head_dim / 2, by position * theta^(-2 i / head_dim)."""
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None, None] * theta ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)


class Oracle:
    def __init__(self, path, llama_gelu=False):
        gguf = gguf_f32.Gguf(path)
        self._raw = {name: (shape, kind, raw) for name, shape, kind, raw in gguf.tensors}
        key = {k.removeprefix("gemma3."): v for k, (v, _) in gguf.metadata.items()}
        self._n_layer = key["block_count"]
        self._n_head, self._n_kv_head = key["attention.head_count"], key["attention.head_count_kv"]
        self._window, self._theta = key["attention.sliding_window"], key["rope.freq_base"]
        self._eps = np.float64(np.float32(key["attention.layer_norm_rms_epsilon"]))
        self._gelu = _llama_gelu if llama_gelu else _gelu
        self._embedding = self._weight("token_embd")

    def _weight(self, name):
        shape, kind, raw = self._raw[name + ".weight"]
        return gguf_f32.dequantise(kind, raw).reshape(shape[::-1])

    def _norm(self, x, name):
        return _rms(x, self._eps) * self._weight(name)

    def _linear(self, x, name):
        return x @ self._weight(name).astype(np.float64).T

    def _attention(self, u, block, sliding):
        n_tok, per_kv = len(u), self._n_head // self._n_kv_head
        theta = 10000.0 if sliding else self._theta
        q, k, v = (self._linear(u, f"{block}.attn_{name}") for name in "qkv")
        q = q.reshape(n_tok, self._n_head, -1)
        k, v = (x.reshape(n_tok, self._n_kv_head, -1) for x in (k, v))
        q = _rope(self._norm(q, f"{block}.attn_q_norm"), theta)
        k = _rope(self._norm(k, f"{block}.attn_k_norm"), theta)
        back = np.arange(n_tok)[:, None] - np.arange(n_tok)
        hidden = (back < 0) | (back >= self._window) if sliding else back < 0
        out = np.empty_like(q)
        for head in range(self._n_head):
            score = q[:, head] @ k[:, head // per_kv].T / np.sqrt(q.shape[-1])
            score[hidden] = -np.inf
            weight = np.exp(score - score.max(-1, keepdims=True))
            out[:, head] = weight / weight.sum(-1, keepdims=True) @ v[:, head // per_kv]
        return self._linear(out.reshape(n_tok, -1), f"{block}.attn_output")

    def hidden(self, ids):
        """The final, normed hidden states [n, d_model] of the tokens `ids` from position 0."""
        h = self._embedding[ids].astype(np.float64)
        h *= np.float64(np.sqrt(np.float32(h.shape[-1])))
        for layer in range(self._n_layer):
            block = f"blk.{layer}"
            sliding = (layer + 1) % 6 != 0
            a = self._attention(self._norm(h, f"{block}.attn_norm"), block, sliding)
            h = h + self._norm(a, f"{block}.post_attention_norm")
            g = self._norm(h, f"{block}.ffn_norm")
            f = self._gelu(self._linear(g, f"{block}.ffn_gate")) * self._linear(g, f"{block}.ffn_up")
            h = h + self._norm(self._linear(f, f"{block}.ffn_down"), f"{block}.post_ffw_norm")
        return self._norm(h, "output_norm")

    def logits(self, hidden):
        """Logits [n, n_vocab] of hidden states; in pieces, as the head in float64 is 1.3 GB."""
        out = np.empty((len(hidden), len(self._embedding)))
        for row in range(0, len(self._embedding), 16384):
            out[:, row : row + 16384] = hidden @ self._embedding[row : row + 16384].astype(np.float64).T
        return out
