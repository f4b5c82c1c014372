"""Gemma 3 and Gemma 4 in float64 numpy: the text decoder written a second time, straight from its formulas.

llama.cpp given F32 weights still looks GELU up in a table of f16, sums in f32 and multiplies up its RoPE
angles in f32. This file has none of those roundings, so a plugin's `exact` precision can be judged to many
more digits. With `llama_gelu` and `llama_rope` it takes the table's roundings and the f32 angles on, which
shows how much of the remaining difference they are.
"""

import numpy as np

import gguf_f32
import quants


def _rms(x, eps):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps)


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * x * (1 + 0.044715 * x * x)))


def _llama_gelu(x):
    """GELU of the argument rounded to f16, rounded to f16; outside +-10 the table is not used."""
    y = _gelu(np.clip(x, -10, 10).astype(np.float32).astype(np.float16).astype(np.float64))
    return np.where(x <= -10, 0, np.where(x >= 10, x, y.astype(np.float16).astype(np.float64)))


def _softmax(x):
    weight = np.exp(x - x.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def _exact_angles(n_tok, theta, factors):
    """Angles [n_tok, pairs]: pair i turns by theta^(-i / pairs) / factor per position."""
    pairs = len(factors)
    return np.arange(n_tok)[:, None] * (theta ** (-np.arange(pairs) / pairs) / factors)


def _llama_angles(n_tok, theta, factors):
    """The same with llama.cpp's f32 steps: a pair's angle is the one before it times a rounded ratio."""
    ratio = np.float32(theta) ** np.float32(-1 / len(factors))
    angle, angles = np.arange(n_tok, dtype=np.float32), []
    for factor in factors.astype(np.float32):
        angles.append(angle / factor)
        angle = angle * ratio
    return np.stack(angles, 1).astype(np.float64)


def _rotate(x, angle):
    """Turns component i with i + head_dim / 2 of x [token, head, head_dim]."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


class _Shape:
    """The hyper-parameters; those that may differ by layer as lists."""

    def __init__(self, gguf):
        self.family = gguf.value("general.architecture").decode()
        if self.family not in ("gemma3", "gemma4"):
            raise ValueError(f"the architecture is {self.family}, not gemma3 or gemma4")
        self.gemma4 = self.family == "gemma4"
        key = lambda name, default=None: gguf.value(f"{self.family}.{name}", default)
        n = self.n_layer = key("block_count")
        each = lambda value: value if isinstance(value, list) else [value] * n
        self.n_head = each(key("attention.head_count"))
        self.n_kv_head = each(key("attention.head_count_kv", self.n_head))
        self.window = key("attention.sliding_window", 0)
        pattern = key("attention.sliding_window_pattern", 6)
        if not isinstance(pattern, list):
            pattern = [(layer + 1) % pattern != 0 for layer in range(n)]
        self.sliding = [bool(p and self.window) for p in pattern]
        wide = key("attention.key_length")
        narrow = key("attention.key_length_swa", wide)
        self.head_dim = [narrow if s else wide for s in self.sliding]
        base = key("rope.freq_base", 10000.0)
        base_swa = key("rope.freq_base_swa", 10000.0)
        self.theta = [base_swa if s else base for s in self.sliding]
        self.eps = np.float64(np.float32(key("attention.layer_norm_rms_epsilon")))
        self.softcap = key("final_logit_softcapping", 30.0 if self.gemma4 else 0.0)
        self.n_expert, self.n_used = key("expert_count", 0), key("expert_used_count", 0)
        self.d_ple = key("embedding_length_per_layer_input", 0)
        # The last layers read the cache of the last layer of their kind that owns one.
        owners = n - key("attention.shared_kv_layers", 0)
        self.kv_layer = list(range(owners))
        for layer in range(owners, n):
            self.kv_layer.append(max(i for i in range(owners) if self.sliding[i] == self.sliding[layer]))


class Oracle:
    """After hidden(ids): `routing` [layer] = {"ids" [token, n_used] by falling weight, "margin" [token]}.

    The margin is (p - q) / p: probabilities of the last expert chosen and of the first one left out.
    """

    def __init__(self, path, llama_gelu=False, llama_rope=False):
        gguf = gguf_f32.Gguf(path)
        self._raw = {name: (shape, kind, raw) for name, shape, kind, raw in gguf.tensors}
        self.shape = _Shape(gguf)
        self._gelu = _llama_gelu if llama_gelu else _gelu
        self._angles = _llama_angles if llama_rope else _exact_angles
        self._embedding = self._weight("token_embd.weight")
        self._head = self._weight("output.weight") if "output.weight" in self._raw else self._embedding
        self.routing = []

    def _weight(self, name):
        """f32, slowest dimension first."""
        shape, kind, raw = self._raw[name]
        return quants.dequantise(kind, raw).reshape(shape[::-1])

    def _weight_or_1(self, name):
        return self._weight(name) if name in self._raw else np.ones(1, np.float32)

    def _rows(self, name, rows):
        """Some rows of a two-dimensional tensor, f32."""
        shape, kind, raw = self._raw[name]
        return quants.dequantise(kind, raw.reshape(shape[1], -1)[rows]).reshape(len(rows), shape[0])

    def _norm(self, x, name):
        return _rms(x, self.shape.eps) * self._weight(name + ".weight")

    def _linear(self, x, name):
        return x @ self._weight(name + ".weight").astype(np.float64).T

    def _ple(self, h, ids):
        """The per-layer inputs [layer, token, d_ple] of scaled embeddings h."""
        d, n_layer = self.shape.d_ple, self.shape.n_layer
        own = np.sqrt(d) * self._rows("per_layer_token_embd.weight", ids).astype(np.float64)
        context = self._linear(h, "per_layer_model_proj") / np.sqrt(h.shape[-1])
        own, context = (x.reshape(len(ids), n_layer, d) for x in (own, context))
        return np.moveaxis((own + self._norm(context, "per_layer_proj_norm")) / np.sqrt(2), 1, 0)

    def _turn(self, x, layer):
        factors = np.ones(x.shape[-1] // 2)
        if not self.shape.sliding[layer] and "rope_freqs.weight" in self._raw:
            factors = self._weight("rope_freqs.weight").astype(np.float64)
        return _rotate(x, self._angles(len(x), self.shape.theta[layer], factors))

    def _keys_values(self, u, layer):
        """What layer `layer` caches: [token, n_kv_head, head_dim], twice."""
        block, n_kv, dim = f"blk.{layer}", self.shape.n_kv_head[layer], self.shape.head_dim[layer]
        k = self._linear(u, f"{block}.attn_k")
        v = self._linear(u, f"{block}.attn_v") if f"{block}.attn_v.weight" in self._raw else k
        k, v = (x.reshape(len(u), n_kv, dim) for x in (k, v))
        k = self._turn(self._norm(k, f"{block}.attn_k_norm"), layer)
        return k, _rms(v, self.shape.eps) if self.shape.gemma4 else v

    def _attention(self, u, layer, cache):
        block, n_tok, shape = f"blk.{layer}", len(u), self.shape
        n_head, dim = shape.n_head[layer], shape.head_dim[layer]
        if shape.kv_layer[layer] == layer:
            cache[layer] = self._keys_values(u, layer)
        k, v = cache[shape.kv_layer[layer]]
        q = self._linear(u, f"{block}.attn_q").reshape(n_tok, n_head, dim)
        q = self._turn(self._norm(q, f"{block}.attn_q_norm"), layer)
        if not shape.gemma4:
            q /= np.sqrt(dim)
        back = np.arange(n_tok)[:, None] - np.arange(n_tok)
        hidden = (back < 0) | (back >= shape.window) if shape.sliding[layer] else back < 0
        out, per_kv = np.empty_like(q), n_head // shape.n_kv_head[layer]
        for head in range(n_head):
            score = q[:, head] @ k[:, head // per_kv].T
            score[hidden] = -np.inf
            out[:, head] = _softmax(score) @ v[:, head // per_kv]
        return self._linear(out.reshape(n_tok, -1), f"{block}.attn_output")

    def _dense(self, h, block):
        g = self._norm(h, f"{block}.ffn_norm")
        f = self._gelu(self._linear(g, f"{block}.ffn_gate")) * self._linear(g, f"{block}.ffn_up")
        return self._linear(f, f"{block}.ffn_down")

    def _route(self, h, block, imposed):
        """(ids, weights) [token, n_used] of the router, which sees h without a learnt norm."""
        r = _rms(h, self.shape.eps) / np.sqrt(h.shape[-1]) * self._weight(f"{block}.ffn_gate_inp.scale")
        p = _softmax(self._linear(r, f"{block}.ffn_gate_inp"))
        order = np.argsort(-p, -1, kind="stable")
        n_used = self.shape.n_used
        falling = np.take_along_axis(p, order, -1)
        last, left_out = falling[:, n_used - 1], falling[:, n_used:].max(-1, initial=0)
        margin = (last - left_out) / last
        self.routing.append({"ids": order[:, :n_used], "margin": margin})
        ids = order[:, :n_used] if imposed is None else np.asarray(imposed)
        weights = np.take_along_axis(p, ids, -1)
        weights /= weights.sum(-1, keepdims=True)
        return ids, weights * self._expert_scale(block, p.shape[-1])[ids]

    def _expert_scale(self, block, n_expert):
        return np.broadcast_to(self._weight_or_1(f"{block}.ffn_down_exps.scale"), (n_expert,))

    def _expert_weights(self, block):
        """gate, up [expert, d_expert, d_model] and down [expert, d_model, d_expert], f32."""
        if f"{block}.ffn_gate_up_exps.weight" in self._raw:
            gate, up = np.split(self._weight(f"{block}.ffn_gate_up_exps.weight"), 2, axis=1)
        else:
            gate, up = (self._weight(f"{block}.ffn_{name}_exps.weight") for name in ("gate", "up"))
        return gate, up, self._weight(f"{block}.ffn_down_exps.weight")

    def _experts(self, h, block, imposed):
        ids, weights = self._route(h, block, imposed)
        g, out = self._norm(h, f"{block}.pre_ffw_norm_2"), np.zeros_like(h)
        gate, up, down = self._expert_weights(block)
        for expert in np.unique(ids):
            token, place = np.nonzero(ids == expert)
            x = g[token]
            f = self._gelu(x @ gate[expert].astype(np.float64).T) * (x @ up[expert].astype(np.float64).T)
            out[token] += weights[token, place, None] * (f @ down[expert].astype(np.float64).T)
        return out

    def _feed_forward(self, h, layer, imposed):
        block = f"blk.{layer}"
        f = self._dense(h, block)
        if f"{block}.ffn_gate_inp.weight" in self._raw:
            experts = self._experts(h, block, imposed)
            f = self._norm(f, f"{block}.post_ffw_norm_1") + self._norm(experts, f"{block}.post_ffw_norm_2")
        return self._norm(f, f"{block}.post_ffw_norm")

    def hidden(self, ids, imposed=None):
        """The final, normed hidden states [n, d_model] of the tokens `ids` from position 0.

        imposed: the experts [layer][token, n_used] that take the place of the router's choice; their weights
        are the router's probabilities of them.
        """
        self.routing, cache = [], {}
        h = self._embedding[ids].astype(np.float64)
        h *= np.float64(np.sqrt(np.float32(h.shape[-1])))
        ple = self._ple(h, ids) if self.shape.d_ple else None
        for layer in range(self.shape.n_layer):
            block = f"blk.{layer}"
            a = self._attention(self._norm(h, f"{block}.attn_norm"), layer, cache)
            h = h + self._norm(a, f"{block}.post_attention_norm")
            h = h + self._feed_forward(h, layer, imposed and imposed[layer])
            if ple is not None:
                gated = self._gelu(self._linear(h, f"{block}.inp_gate")) * ple[layer]
                h = h + self._norm(self._linear(gated, f"{block}.proj"), f"{block}.post_norm")
            h = h * self._weight_or_1(f"{block}.layer_output_scale.weight")[0]
        return self._norm(h, "output_norm")

    def logits(self, hidden):
        """Logits [n, n_vocab] of hidden states; in pieces, as a head of 262,144 rows in float64 is 1.3 GB."""
        out = np.empty((len(hidden), len(self._head)))
        for row in range(0, len(self._head), 16384):
            out[:, row : row + 16384] = hidden @ self._head[row : row + 16384].astype(np.float64).T
        return self.shape.softcap * np.tanh(out / self.shape.softcap) if self.shape.softcap else out
