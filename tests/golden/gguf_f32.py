"""Rewrites a GGUF file with every tensor dequantised to F32, exactly, in numpy.

llama.cpp rounds activations to 8 bits wherever a weight is quantised. Given the same weights as F32 it keeps
f32 activations, so the rewritten file shows what the model says without that noise. Only the formats that occur
in the test model are known here; another one is refused. GGUF and block layouts: ggml/docs/gguf.md and
ggml/src/ggml-common.h of ggml.
"""

import struct

import numpy as np

F32, F16, Q5_0, Q8_0, Q4_K, Q6_K = 0, 1, 6, 8, 12, 14
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY, _U32 = 8, 9, 4
_ALIGNMENT = 32


class Gguf:
    """A GGUF file in memory: metadata {key: (type, value, raw bytes)}, tensors [(name, shape, type, array)]."""

    def __init__(self, path):
        self._bytes = np.memmap(path, np.uint8, "r")
        self._at = 4
        if bytes(self._bytes[:4]) != b"GGUF" or self._scalar("I") != 3:
            raise ValueError(f"{path} is not a GGUF file of version 3")
        n_tensor, n_key = self._scalar("Q"), self._scalar("Q")
        self.metadata = dict(self._key() for _ in range(n_key))
        infos = [self._tensor_info() for _ in range(n_tensor)]
        data = self._bytes[-(-self._at // _ALIGNMENT) * _ALIGNMENT :]
        self.tensors = []
        for name, shape, kind, offset in infos:
            n_bytes = int(np.prod(shape)) // _BLOCKS[kind][0] * _BLOCKS[kind][1]
            self.tensors.append((name, shape, kind, data[offset : offset + n_bytes]))

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


def _f16(columns):
    return np.ascontiguousarray(columns).view(np.float16).astype(np.float32)


def _from_f32(raw):
    return raw.view(np.float32)


def _from_f16(raw):
    return raw.view(np.float16).astype(np.float32)


def _from_q8_0(raw):
    b = raw.reshape(-1, 34)
    return _f16(b[:, :2]) * np.ascontiguousarray(b[:, 2:]).view(np.int8).astype(np.float32)


def _from_q5_0(raw):
    """d (f16), 32 high bits, 16 bytes of low nibbles: value j in the low, j + 16 in the high nibble."""
    b = raw.reshape(-1, 22)
    high = np.unpackbits(b[:, 2:6], axis=1, bitorder="little")
    low = np.concatenate([b[:, 6:] & 15, b[:, 6:] >> 4], axis=1)
    return _f16(b[:, :2]) * ((low | high << 4).astype(np.float32) - 16)


def _from_q4_k(raw):
    """d, dmin (f16), 12 bytes of 6-bit scales and minima of 8 sub-blocks, 128 bytes of nibbles."""
    b = raw.reshape(-1, 144)
    packed, nibbles = b[:, 4:16], b[:, 16:].reshape(-1, 4, 32)
    scale = np.concatenate([packed[:, :4] & 63, packed[:, 8:] & 15 | packed[:, :4] >> 6 << 4], axis=1)
    minimum = np.concatenate([packed[:, 4:8] & 63, packed[:, 8:] >> 4 | packed[:, 4:8] >> 6 << 4], axis=1)
    q = np.stack([nibbles & 15, nibbles >> 4], axis=2).reshape(-1, 8, 32).astype(np.float32)
    d, dmin = _f16(b[:, :2]) * scale, _f16(b[:, 2:4]) * minimum
    return d[:, :, None] * q - dmin[:, :, None]


def _from_q6_k(raw):
    """128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, d (f16); two halves of 128 values."""
    b = raw.reshape(-1, 210)
    low = b[:, :128].reshape(-1, 2, 2, 32)
    high = b[:, 128:192].reshape(-1, 2, 1, 32)
    q = np.concatenate([low & 15, low >> 4], axis=2)
    q = q | (high >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3) << 4
    scale = np.ascontiguousarray(b[:, 192:208]).view(np.int8).astype(np.float32)
    values = (q.astype(np.float32) - 32).reshape(-1, 16, 16)
    return (_f16(b[:, 208:]) * scale)[:, :, None] * values


# type: (values per block, bytes per block, dequantiser)
_BLOCKS = {
    F32: (1, 4, _from_f32),
    F16: (1, 2, _from_f16),
    Q5_0: (32, 22, _from_q5_0),
    Q8_0: (32, 34, _from_q8_0),
    Q4_K: (256, 144, _from_q4_k),
    Q6_K: (256, 210, _from_q6_k),
}


def dequantise(kind, raw):
    return np.ascontiguousarray(_BLOCKS[kind][2](raw), np.float32).reshape(-1)


def write_f32(source, path):
    """Writes the file at `path` with the metadata of `source` (a Gguf) and its tensors as F32."""

    def string(s):
        return struct.pack("<Q", len(s)) + s

    keys = b""
    for name, (_, raw) in source.metadata.items():
        if name == "general.file_type":
            raw = struct.pack("<II", _U32, 0)
        keys += string(name.encode()) + raw
    infos, offset = b"", 0
    for name, shape, _, _ in source.tensors:
        infos += string(name.encode()) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, F32, offset)
        offset += -(-4 * int(np.prod(shape)) // _ALIGNMENT) * _ALIGNMENT
    header = b"GGUF" + struct.pack("<IQQ", 3, len(source.tensors), len(source.metadata)) + keys + infos
    with open(path, "wb") as out:
        out.write(header + bytes(-len(header) % _ALIGNMENT))
        for _, _, kind, raw in source.tensors:
            values = dequantise(kind, raw).tobytes()
            out.write(values + bytes(-len(values) % _ALIGNMENT))
