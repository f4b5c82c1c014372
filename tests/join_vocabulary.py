#!/usr/bin/env python3
"""Gives a synthetic model the vocabulary of another file: tests of commands that read text.

usage: join_vocabulary.py MODEL.gguf VOCABULARY.gguf OUT.gguf      the model needs as many rows as there are tokens
       join_vocabulary.py --tokens VOCABULARY.gguf                 prints how many tokens there are
"""
import struct
import sys

SIZE = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY, ALIGN = 8, 9, 32


class Reader:
    def __init__(self, path):
        self.bytes = open(path, "rb").read()
        magic, _, self.n_tensor, n_pair = struct.unpack_from("<IIQQ", self.bytes)
        assert magic == 0x46554747, path
        self.at = 24
        self.pairs = {}
        for _ in range(n_pair):
            start, name = self.at, self.text()
            kind = self.number("<I")
            self.value(kind)
            self.pairs[name] = self.bytes[start:self.at]

    def number(self, form):
        value, = struct.unpack_from(form, self.bytes, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        n = self.number("<Q")
        self.at += n
        return self.bytes[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            self.text()
        elif kind == ARRAY:
            inner, n = self.number("<I"), self.number("<Q")
            for _ in range(n):
                self.value(inner)
        else:
            self.at += SIZE[kind]

    def infos(self):
        """The tensor infos, and the data behind them."""
        start = self.at
        for _ in range(self.n_tensor):
            self.text()
            n_dim = self.number("<I")
            self.at += 8 * n_dim + 12  # type and offset
        infos = self.bytes[start:self.at]
        return infos, self.bytes[-(-self.at // ALIGN) * ALIGN:]


def n_token(path):
    pair = Reader(path).pairs["tokenizer.ggml.tokens"]
    return struct.unpack_from("<Q", pair, 8 + len("tokenizer.ggml.tokens") + 8)[0]


if sys.argv[1] == "--tokens":
    print(n_token(sys.argv[2]))
    sys.exit()
model, vocabulary = Reader(sys.argv[1]), Reader(sys.argv[2])
pairs = dict(model.pairs)
pairs.update({name: raw for name, raw in vocabulary.pairs.items() if name.startswith("tokenizer.")})
infos, data = model.infos()
head = struct.pack("<IIQQ", 0x46554747, 3, model.n_tensor, len(pairs)) + b"".join(pairs.values()) + infos
with open(sys.argv[3], "wb") as out:
    out.write(head + bytes(-len(head) % ALIGN) + data)
