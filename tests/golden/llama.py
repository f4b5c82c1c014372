"""The part of llama.cpp that the goldens need, through llama-cpp-python's low-level functions.

Everything runs on the CPU, with flash attention off and an F32 cache, so that the only roundings beyond f32 are
those of llama.cpp's CPU kernels: activations to 8 bits against a quantised weight, and GELU through an f16 table.
"""

import ctypes
import os

import llama_cpp as lib
import numpy as np

_F32 = 0
_SILENT = lib.llama_log_callback(lambda level, text, data: None)


class Llama:
    def __init__(self, path, n_ctx=2560, n_batch=256):
        lib.llama_log_set(_SILENT, None)
        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = 0
        self._model = lib.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.n_vocab = lib.llama_vocab_n_tokens(self._vocab)
        self._n_batch = n_batch
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, n_batch, n_batch
        params.n_threads = params.n_threads_batch = os.cpu_count()
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.type_k = params.type_v = _F32
        params.offload_kqv = params.op_offload = False
        self._context = lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot make a context for {path}")
        self._batch = lib.llama_batch_init(n_batch, 0, 1)
        self._n_past = 0

    def close(self):
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._context)
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

    def ends(self, token):
        return bool(lib.llama_vocab_is_eog(self._vocab, token))

    def restart(self):
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        self._n_past = 0

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
