"""The part of llama.cpp that the goldens need, through llama-cpp-python's low-level functions.

Everything runs on the CPU, with flash attention off and an F32 cache, so that the only roundings beyond f32
are those of llama.cpp's CPU kernels: activations to 8 bits against a quantised weight, and GELU through an
f16 table.
"""

import ctypes
import pathlib

import llama_cpp as lib
import numpy as np

_F32 = 0
_N_THREADS = 2
_SILENT = lib.llama_log_callback(lambda level, text, data: None)
_CHOICE = "ffn_moe_topk-"


def _load(path, vocab_only):
    lib.llama_log_set(_SILENT, None)
    lib.llama_backend_init()
    params = lib.llama_model_default_params()
    params.n_gpu_layers, params.vocab_only = 0, vocab_only
    model = lib.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {path}")
    return model


class Vocabulary:
    """The tokenizer of a file, which need not hold any weights."""

    def __init__(self, path, model=None):
        self._model = model or _load(path, True)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.n_vocab = lib.llama_vocab_n_tokens(self._vocab)

    def close(self):
        lib.llama_model_free(self._model)

    def tokenise(self, text, bos, special):
        """Ids of the bytes `text`; `special`: names of control tokens become those tokens."""
        room = len(text) + 8
        ids = (lib.llama_token * room)()
        n = lib.llama_tokenize(self._vocab, text, len(text), ids, room, bos, special)
        if n < 0:
            raise RuntimeError(f"llama_tokenize answers {n}")
        return list(ids[:n])

    def detokenise(self, ids, special):
        """The bytes of `ids`; `special`: control tokens are spelled out, else they give nothing."""
        tokens = (lib.llama_token * max(len(ids), 1))(*ids)
        room = 64 * len(ids) + 64
        text = ctypes.create_string_buffer(room)
        n = lib.llama_detokenize(self._vocab, tokens, len(ids), text, room, False, special)
        if n < 0:
            raise RuntimeError(f"llama_detokenize answers {n}")
        return text.raw[:n]

    def pieces(self, ids, special):
        """The bytes of `ids` token by token, as a stream gives them: detokenise tidies spaces."""
        room = 256
        text, whole = ctypes.create_string_buffer(room), b""
        for token in ids:
            n = lib.llama_token_to_piece(self._vocab, token, text, room, 0, special)
            if n < 0:
                raise RuntimeError(f"llama_token_to_piece answers {n}")
            whole += text.raw[:n]
        return whole

    def ends(self, token):
        return bool(lib.llama_vocab_is_eog(self._vocab, token))


class _Tensors:
    """Reads intermediate results, which llama-cpp-python has no functions for."""

    def __init__(self):
        path = pathlib.Path(lib.__file__).parent / "lib" / "libggml-base.so"
        self._ggml = ctypes.CDLL(str(path))
        self._ggml.ggml_get_name.restype = ctypes.c_char_p
        self._ggml.ggml_get_name.argtypes = [ctypes.c_void_p]
        self._ggml.ggml_nbytes.restype = ctypes.c_size_t
        self._ggml.ggml_nbytes.argtypes = [ctypes.c_void_p]
        self._ggml.ggml_backend_tensor_get.restype = None
        self._ggml.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_size_t] * 2

    def name(self, tensor):
        return self._ggml.ggml_get_name(tensor).decode()

    def i32(self, tensor):
        """From the first to the last element in memory, gaps of a view included."""
        values = np.empty(self._ggml.ggml_nbytes(tensor) // 4, np.int32)
        self._ggml.ggml_backend_tensor_get(tensor, values.ctypes.data, 0, values.nbytes)
        return values


class Llama(Vocabulary):
    """A model and its one sequence. With `n_expert`, `choices` [layer] is what the router chose since the
    last restart: [token, n_used], best first."""

    def __init__(self, path, n_ctx=2560, n_batch=256, n_expert=0, n_used=0):
        super().__init__(path, _load(path, False))
        self._n_batch, self._n_expert, self._n_used = n_batch, n_expert, n_used
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, n_batch, n_batch
        params.n_threads = params.n_threads_batch = _N_THREADS
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.type_k = params.type_v = _F32
        params.offload_kqv = params.op_offload = False
        if n_expert:
            self._tensors = _Tensors()
            self._watch = lib.ggml_backend_sched_eval_callback(self._see)
            params.cb_eval = self._watch
        self._context = lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot make a context for {path}")
        self._batch = lib.llama_batch_init(n_batch, 0, 1)
        self._n_past, self.choices = 0, []

    def close(self):
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._context)
        super().close()

    def _see(self, tensor, ask, _):
        """Called before (`ask`) and after each step of the graph; a wish to see it is the answer to `ask`."""
        name = self._tensors.name(tensor)
        if ask or not name.startswith(_CHOICE):
            return name.startswith(_CHOICE)
        # A view of whole sorted rows: the last one ends after n_used.
        ids = self._tensors.i32(tensor)
        n_row = (len(ids) - self._n_used) // self._n_expert + 1
        ids = np.concatenate([ids, np.zeros(self._n_expert - self._n_used, np.int32)])
        ids = ids.reshape(n_row, self._n_expert)[:, : self._n_used]
        layer = int(name.removeprefix(_CHOICE))
        if layer == len(self.choices):
            self.choices.append(ids)
        else:
            self.choices[layer] = np.concatenate([self.choices[layer], ids])
        return True

    def restart(self):
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        self._n_past, self.choices = 0, []

    def decode(self, ids):
        """Feeds `ids` after what was fed before; yields (first position, logits [n, n_vocab]) batch by batch.

        The logits are llama.cpp's own buffer: copy what must outlive the next batch.
        """
        for start in range(0, len(ids), self._n_batch):
            chunk = ids[start : start + self._n_batch]
            batch = self._batch
            batch.n_tokens = len(chunk)
            for i, token in enumerate(chunk):
                batch.token[i], batch.pos[i], batch.logits[i] = token, self._n_past + i, True
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            if lib.llama_decode(self._context, batch) != 0:
                raise RuntimeError("llama_decode failed")
            first, self._n_past = self._n_past, self._n_past + len(chunk)
            rows = lib.llama_get_logits(self._context)
            yield first, np.ctypeslib.as_array(rows, (len(chunk), self.n_vocab))
