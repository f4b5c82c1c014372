#!/usr/bin/env python3
"""Writes a small vocabulary of Gemma 4's kind: a GGUF file without tensors, the same bytes everywhere.

    tests/golden/gemma4/vocab.py FILE.gguf

Ids 0 to 493 are those of the published vocabulary: special tokens, runs of newlines and of U+2581, HTML-like
pieces, bytes. Pieces merged out of ../text.txt follow (across words, as there are no word boundaries), then
single characters, then the image and audio tokens. As there, a piece's merges are all pairs of pieces that
spell it.

Three things differ from a current file on purpose, as older files have them: <eos> is of type normal,
add_bos_token is false, and `merges` holds a pair twice (the first counts).
"""

import pathlib
import struct
import sys

SPACE = "\u2581"
N_MERGED = 360
NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6

NAMED = {
    0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 4: "<mask>", 5: "[multimodal]",
    46: "<|tool>", 47: "<tool|>", 48: "<|tool_call>", 49: "<tool_call|>", 50: "<|tool_response>",
    51: "<tool_response|>", 52: '<|"|>', 98: "<|think|>", 100: "<|channel>", 101: "<channel|>",
    105: "<|turn>", 106: "<turn|>",
}  # fmt: skip
LAST = ["<|image>", "<|audio>", "<|image|>", "<|audio|>", "<image|>", "<audio|>", "<|video|>"]
USER_DEFINED = {48, 49, 50, 51, 52, 100, 101}
HTML = (
    "table caption thead tbody tfoot tr th td /table /caption /thead /tbody /tfoot /tr /th /td "
    "h1 h2 h3 h4 h5 h6 blockquote /h1 /h2 /h3 /h4 /h5 /h6 /blockquote "
    "strong em b i u s sub sup code /strong /em /b /i /u /s /sub /sup /code "
    "a html body img span bbox ul li div iframe footer "
    "/a /html /body /img /span /bbox /ul /li /div /iframe /footer"
).split()
LONGEST_RUN = 31
FIRST_BYTE = 238
# Pieces beside those of the text: repetition, where only the order of merges and the leftmost rule decide;
# tabs; more than one byte a character.
EXTRA = [
    "aa",
    "aaaa",
    "aaa",
    "ab",
    "ba",
    "aba",
    "bab",
    "\t\t",
    "\t\t\t",
    "你好",
    "你好世界",
    "世界",
    "e\u0301",
    "ée",
    "==",
    "====",
]
CHARACTERS = [SPACE, "\t"] + [chr(c) for c in range(0x21, 0x7F)] + list("\u0301éü你好世界。жи🙂\u200d")


def train(text, n):
    """The most frequent pair of neighbours, n times, made a piece; a tie goes to the pair that sorts first."""
    lines = [list(line.replace(" ", SPACE)) for line in text.split("\n")]
    pieces = []
    while len(pieces) < n:
        count = {}
        for line in lines:
            for pair in zip(line, line[1:]):
                count[pair] = count.get(pair, 0) + 1
        left, right = min(count, key=lambda pair: (-count[pair], pair))
        if left + right not in pieces:
            pieces.append(left + right)
        for line in lines:
            i = 0
            while i < len(line) - 1:
                if line[i] == left and line[i + 1] == right:
                    line[i : i + 2] = [left + right]
                i += 1
    return pieces


def make_tokens():
    """[(text, type)] by id."""
    tokens = [NAMED.get(i, f"<unused{i}>") for i in range(107)]
    tokens += ["\n" * n for n in range(1, LONGEST_RUN + 1)] + [SPACE * n for n in range(2, LONGEST_RUN + 1)]
    tokens += [f"<{name}>" for name in HTML]
    assert len(tokens) == FIRST_BYTE
    tokens += [f"<0x{b:02X}>" for b in range(256)]
    text = (pathlib.Path(__file__).resolve().parents[1] / "text.txt").read_text(encoding="utf-8")
    merged = train(text, N_MERGED)
    tokens += merged + [piece for piece in EXTRA if piece not in merged]
    tokens += CHARACTERS + sorted(set(text) - set(CHARACTERS) - {" ", "\n"}) + LAST
    assert len(set(tokens)) == len(tokens)

    def kind(i, token):
        if token in NAMED.values() or token in LAST:
            normal = token in ("<eos>", "[multimodal]")
            return USER if i in USER_DEFINED else NORMAL if normal else CONTROL
        return BYTE if FIRST_BYTE <= i < FIRST_BYTE + 256 else NORMAL

    return [(token, kind(i, token)) for i, token in enumerate(tokens)]


def make_merges(tokens):
    """Pairs that spell a normal piece: of the longest runs first, then by id; the longer left side first."""
    pieces = [token for token, kind in tokens if kind == NORMAL]
    runs = [unit * n for n in range(LONGEST_RUN, 1, -1) for unit in ("\n", SPACE)]
    known, merges = set(pieces), []
    for token in runs + [piece for piece in pieces if piece not in runs]:
        splits = ((token[:i], token[i:]) for i in range(len(token) - 1, 0, -1))
        merges += [f"{a} {b}" for a, b in splits if a in known and b in known]
    return merges + merges[:1]


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def write(path):
    tokens = make_tokens()
    ids = {token: i for i, (token, _) in enumerate(tokens)}
    strings = lambda values: struct.pack("<IIQ", 9, 8, len(values)) + b"".join(string(v) for v in values)
    word = lambda value: struct.pack("<II", 4, value)
    flag = lambda value: struct.pack("<I?", 7, value)
    n = len(tokens)
    keys = {
        "general.architecture": struct.pack("<I", 8) + string("gemma4"),
        "gemma4.block_count": word(30),
        "tokenizer.ggml.model": struct.pack("<I", 8) + string("gemma4"),
        "tokenizer.ggml.tokens": strings([token for token, _ in tokens]),
        "tokenizer.ggml.scores": struct.pack(f"<IIQ{n}f", 9, 6, n, *[-1000.0] * n),
        "tokenizer.ggml.token_type": struct.pack(f"<IIQ{n}i", 9, 5, n, *[kind for _, kind in tokens]),
        "tokenizer.ggml.merges": strings(make_merges(tokens)),
        "tokenizer.ggml.bos_token_id": word(ids["<bos>"]),
        "tokenizer.ggml.eos_token_id": word(ids["<turn|>"]),
        "tokenizer.ggml.unknown_token_id": word(ids["<unk>"]),
        "tokenizer.ggml.padding_token_id": word(ids["<pad>"]),
        "tokenizer.ggml.mask_token_id": word(ids["<mask>"]),
        "tokenizer.ggml.add_bos_token": flag(False),
        "tokenizer.ggml.add_space_prefix": flag(False),
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(string(k) + v for k, v in keys.items())
    with open(path, "wb") as out:
        out.write(head + bytes(-len(head) % 32))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: tests/golden/gemma4/vocab.py FILE.gguf")
    write(sys.argv[1])
