"""The sixteen GGUF number formats that tandem reads, decoded exactly in numpy.

Layouts: ggml/src/ggml-common.h of ggml.
"""

import numpy as np

_IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
# Doubled E2M1 values; the exponent of MXFP4 is one lower for it.
_FP4 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)


def _f16(columns):
    return np.ascontiguousarray(columns).view(np.float16).astype(np.float32)


def _i8(columns):
    return np.ascontiguousarray(columns).view(np.int8).astype(np.float32)


def _halves(nibbles):
    """Byte j of 16 holds value j in its low and value j + 16 in its high half."""
    return np.concatenate([nibbles & 15, nibbles >> 4], axis=-1)


def _with_bit(low, bits):
    """Fifth bit of 32 values from 4 bytes, first value in the lowest bit."""
    return low | np.unpackbits(bits, axis=1, bitorder="little") << 4


def _from_f32(b):
    return b.view(np.float32)


def _from_f16(b):
    return _f16(b)


def _from_bf16(b):
    return (b.view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def _from_q4_0(b):
    return _f16(b[:, :2]) * (_halves(b[:, 2:]).astype(np.float32) - 8)


def _from_q4_1(b):
    return _f16(b[:, :2]) * _halves(b[:, 4:]).astype(np.float32) + _f16(b[:, 2:4])


def _from_q5_0(b):
    return _f16(b[:, :2]) * (_with_bit(_halves(b[:, 6:]), b[:, 2:6]).astype(np.float32) - 16)


def _from_q5_1(b):
    return _f16(b[:, :2]) * _with_bit(_halves(b[:, 8:]), b[:, 4:8]).astype(np.float32) + _f16(b[:, 2:4])


def _from_q8_0(b):
    return _f16(b[:, :2]) * _i8(b[:, 2:])


def _from_iq4_nl(b):
    return _f16(b[:, :2]) * _IQ4[_halves(b[:, 2:])]


def _from_mxfp4(b):
    return np.ldexp(_FP4[_halves(b[:, 1:])], b[:, :1].astype(np.int32) - 128)


def _four_planes(b):
    """Bit pairs of 32 bytes a half: value 32 g + l of a half of 128 is pair g of byte l. [block, 256]"""
    pairs = b.reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    return pairs.reshape(-1, 256)


def _eight_nibble_rows(b):
    """Nibbles of Q4_K and Q5_K [block, 8, 32]: 32 bytes hold sub-block 2 j low, 2 j + 1 high."""
    b = b.reshape(-1, 4, 32)
    return np.stack([b & 15, b >> 4], axis=2).reshape(-1, 8, 32)


def _six_bit(packed):
    """Scales and minima of eight sub-blocks from 12 bytes."""
    scale = np.concatenate([packed[:, :4] & 63, packed[:, 8:] & 15 | packed[:, :4] >> 6 << 4], axis=1)
    minimum = np.concatenate([packed[:, 4:8] & 63, packed[:, 8:] >> 4 | packed[:, 4:8] >> 6 << 4], axis=1)
    return scale, minimum


def _from_q2_k(b):
    """16 bytes of scales (low half) and minima (high half), 64 of bit pairs, d, dmin (f16)."""
    q = _four_planes(b[:, 16:80]).reshape(-1, 16, 16).astype(np.float32)
    d, dmin = _f16(b[:, 80:82]) * (b[:, :16] & 15), _f16(b[:, 82:]) * (b[:, :16] >> 4)
    return d[:, :, None] * q - dmin[:, :, None]


def _from_q3_k(b):
    """32 bytes of third bits (bit g of byte l: value 32 g + l), 64 of pairs, 12 of 6-bit scales, d (f16)."""
    third = b[:, None, :32] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    q = _four_planes(b[:, 32:96]).astype(np.float32) + 4 * third.reshape(-1, 256) - 4
    packed = b[:, 96:108]
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    high = packed[:, None, 8:] >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    scale = (low | high.reshape(-1, 16) << 4).astype(np.float32) - 32
    return (_f16(b[:, 108:]) * scale)[:, :, None] * q.reshape(-1, 16, 16)


def _from_q4_k(b):
    """d, dmin (f16), 12 bytes of 6-bit scales and minima, 128 of nibbles."""
    scale, minimum = _six_bit(b[:, 4:16])
    d, dmin = _f16(b[:, :2]) * scale, _f16(b[:, 2:4]) * minimum
    return d[:, :, None] * _eight_nibble_rows(b[:, 16:]).astype(np.float32) - dmin[:, :, None]


def _from_q5_k(b):
    """As Q4_K, with 32 bytes of fifth bits (bit j of byte l: value l of sub-block j) before the nibbles."""
    scale, minimum = _six_bit(b[:, 4:16])
    fifth = b[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    q = (_eight_nibble_rows(b[:, 48:]) | fifth << 4).astype(np.float32)
    d, dmin = _f16(b[:, :2]) * scale, _f16(b[:, 2:4]) * minimum
    return d[:, :, None] * q - dmin[:, :, None]


def _from_q6_k(b):
    """128 bytes of low nibbles, 64 of high bit pairs, 16 int8 scales, d (f16)."""
    low = b[:, :128].reshape(-1, 2, 2, 32)
    low = np.concatenate([low & 15, low >> 4], axis=2).reshape(-1, 256)
    q = (low | _four_planes(b[:, 128:192]) << 4).astype(np.float32) - 32
    return (_f16(b[:, 208:]) * _i8(b[:, 192:208]))[:, :, None] * q.reshape(-1, 16, 16)


def _from_iq4_xs(b):
    """d (f16), 6-bit scales as 16 high bits and 4 bytes of low halves, 128 bytes of nibbles."""
    high = b[:, 2:4].view(np.uint16) >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    low = np.stack([b[:, 4:8] & 15, b[:, 4:8] >> 4], axis=2).reshape(-1, 8)
    scale = (low | high << 4).astype(np.float32) - 32
    return (_f16(b[:, :2]) * scale)[:, :, None] * _IQ4[_halves(b[:, 8:].reshape(-1, 8, 16))]


# GGUF type: (name, values per block, bytes per block, decoder of u8 [n, bytes per block])
FORMATS = {
    0: ("F32", 1, 4, _from_f32),
    1: ("F16", 1, 2, _from_f16),
    2: ("Q4_0", 32, 18, _from_q4_0),
    3: ("Q4_1", 32, 20, _from_q4_1),
    6: ("Q5_0", 32, 22, _from_q5_0),
    7: ("Q5_1", 32, 24, _from_q5_1),
    8: ("Q8_0", 32, 34, _from_q8_0),
    10: ("Q2_K", 256, 84, _from_q2_k),
    11: ("Q3_K", 256, 110, _from_q3_k),
    12: ("Q4_K", 256, 144, _from_q4_k),
    13: ("Q5_K", 256, 176, _from_q5_k),
    14: ("Q6_K", 256, 210, _from_q6_k),
    20: ("IQ4_NL", 32, 18, _from_iq4_nl),
    23: ("IQ4_XS", 256, 136, _from_iq4_xs),
    30: ("BF16", 1, 2, _from_bf16),
    39: ("MXFP4", 32, 17, _from_mxfp4),
}


def n_bytes(kind, n):
    _, block, block_bytes, _ = FORMATS[kind]
    return n // block * block_bytes


def dequantise(kind, raw):
    """f32 values, flat, of whole blocks in the u8 array `raw`."""
    _, _, block_bytes, decode = FORMATS[kind]
    blocks = np.ascontiguousarray(raw).reshape(-1, block_bytes)
    return np.ascontiguousarray(decode(blocks), np.float32).reshape(-1)
