"""Reads a GGUF file, and rewrites one with every tensor dequantised to F32, exactly.

llama.cpp rounds activations to 8 bits wherever a weight is quantised. Given the same weights as F32 it keeps
f32 activations, so the rewritten file shows what the model says without that noise. Layout:
ggml/docs/gguf.md.
"""

import struct

import numpy as np

import quants

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY, _U32, _F32 = 8, 9, 4, 0
_ALIGNMENT = 32


class Gguf:
    """A GGUF file in memory: metadata {key: (value, raw bytes)}, tensors [(name, shape, type, bytes)]."""

    def __init__(self, path):
        self._bytes = np.memmap(path, np.uint8, "r")
        self._at = 4
        if bytes(self._bytes[:4]) != b"GGUF" or self._scalar("I") != 3:
            raise ValueError(f"{path} is not a GGUF file of version 3")
        n_tensor, n_key = self._scalar("Q"), self._scalar("Q")
        self.metadata = dict(self._key() for _ in range(n_key))
        infos = [self._tensor_info() for _ in range(n_tensor)]
        alignment = self.value("general.alignment", _ALIGNMENT)
        data = self._bytes[-(-self._at // alignment) * alignment :]
        self.tensors = []
        for name, shape, kind, offset in infos:
            n = quants.n_bytes(kind, int(np.prod(shape)))
            self.tensors.append((name, shape, kind, data[offset : offset + n]))

    def value(self, key, default=None):
        return self.metadata[key][0] if key in self.metadata else default

    def _scalar(self, code):
        size = struct.calcsize(code)
        value = struct.unpack_from("<" + code, self._bytes, self._at)[0]
        self._at += size
        return value

    def _string(self):
        n = self._scalar("Q")
        self._at += n
        return bytes(self._bytes[self._at - n : self._at])

    def _value(self, kind):
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            inner, n = self._scalar("I"), self._scalar("Q")
            return [self._value(inner) for _ in range(n)]
        return self._scalar(_SCALARS[kind])

    def _key(self):
        name = self._string().decode()
        start = self._at
        value = self._value(self._scalar("I"))
        return name, (value, bytes(self._bytes[start : self._at]))

    def _tensor_info(self):
        name = self._string().decode()
        shape = [self._scalar("Q") for _ in range(self._scalar("I"))]
        return name, shape, self._scalar("I"), self._scalar("Q")


def _string(s):
    return struct.pack("<Q", len(s)) + s


def write(path, keys, tensors):
    """keys: {name: value type and value as in the file}; tensors: [(name, shape, type, bytes or u8 array)],
    of which the last may be a function that gives them."""
    head = b"".join(_string(name.encode()) + raw for name, raw in keys.items())
    infos, offset = b"", 0
    for name, shape, kind, _ in tensors:
        infos += _string(name.encode()) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += -(-quants.n_bytes(kind, int(np.prod(shape))) // _ALIGNMENT) * _ALIGNMENT
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + head + infos
    with open(path, "wb") as out:
        out.write(header + bytes(-len(header) % _ALIGNMENT))
        for _, _, _, content in tensors:
            values = bytes(content() if callable(content) else content)
            out.write(values + bytes(-len(values) % _ALIGNMENT))


def write_f32(source, path):
    """Writes the file at `path` with the metadata of `source` (a Gguf) and its tensors as F32."""
    keys = {name: raw for name, (_, raw) in source.metadata.items() if name != "general.alignment"}
    if "general.file_type" in keys:
        keys["general.file_type"] = struct.pack("<II", _U32, 0)
    tensors = [
        (name, shape, _F32, lambda kind=kind, raw=raw: quants.dequantise(kind, raw).tobytes())
        for name, shape, kind, raw in source.tensors
    ]
    write(path, keys, tensors)
