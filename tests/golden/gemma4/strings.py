"""The strings whose ids under Gemma 4's kind of tokenizer are stored: (name, bytes)."""

import awkward

_CHAT = """<|turn>system
<|think|>Be brief.<turn|>
<|turn>user
What is 2 + 2?<turn|>
<|turn>model
<|channel>thought
The sum is 4.<channel|>4<turn|>
"""

_TOOLS = (
    '<|tool>declaration:f{description:<|"|>Adds<|"|>,parameters:{a:1}}<tool|>'
    '<|tool_call>call:f{a:<|"|>x<|"|>}<tool_call|><|tool_response>response:f{y:2}<tool_response|>'
)

_OWN = [
    ("Gemma 4: chat", _CHAT.encode()),
    ("Gemma 4: tools", _TOOLS.encode()),
    ("Gemma 4: bos in front", b"<bos>Hello,"),
    ("Gemma 4: end tokens", b"a<eos>b<turn|>c<|tool_response>d</s>e"),
    (
        "Gemma 4: names, glued",
        b"<|turn><turn|><|channel><channel|><|tool_call><tool_call|><|tool_response><tool_response|>",
    ),
    ("Gemma 4: names, spaced", b"<|turn> <turn|>\n<|channel> \n <channel|>  <|think|> x"),
    ("Gemma 4: names, broken", b"<|turn<|turn>|> <<|channel>> <|chan<channel|>nel> <turn|"),
    ("Gemma 4: quote", b'<|"|><|"|>a<|"<|"|>|>'),
    ("Gemma 4: media", b"\n\n<|image|>\n\n<|audio|><|image><image|><|video|><|audio><audio|>"),
    ("Gemma 4: unused", b"<unused0><unused53> <unused99><mask><unk><pad>"),
    ("Gemma 4: user-defined beside control", b"<|turn><|channel>thought\n<channel|><turn|>"),
    ("Gemma 4: byte names", b"<0x0A>\n<0x41>A"),
    ("newlines between words", b"a\nb\n\nc\n\n\nd\n\n\n\ne"),
    ("newline beside space", b"a \nb\n c \n d\n \n"),
    ("thirty-one newlines between", b"x" + b"\n" * 31 + b"y"),
    ("thirty-two newlines between", b"x" + b"\n" * 32 + b"y"),
    ("newline runs of all lengths", b"".join(b"." + b"\n" * n for n in range(1, 36))),
    ("space runs of all lengths", b"".join(b"." + b" " * n for n in range(1, 36))),
    (
        "the text itself",
        "You will rejoice to hear that no disaster has accompanied the commencement".encode(),
    ),
    ("across words", b"of the of the and the in the of thethe of  the"),
    ("aba", b"abababab babab aba bab ab ba a b aab abb"),
    ("odd runs of a", b" ".join(b"a" * n for n in range(1, 14))),
    ("odd runs of equals", b" ".join(b"=" * n for n in range(1, 10))),
    ("two scripts", "你好世界，世界你好。你 好 жизнь".encode()),
    ("accents", "ééé e\u0301e\u0301 e \u0301 üé".encode()),
    ("punctuation after space", b"a , b . c ! d ? n't 's"),
]

# Those that say something about a vocabulary of a thousand pieces.
_SMALL = (
    "empty", "space x1", "space x2", "space x31", "space x32", "space x100", "newline x1", "newline x2",
    "newline x31", "newline x32", "newline x33", "newline x63", "newline x100", "tab x1", "tab x5",
    "CR LF x2", "CR", "space around newline", "spaces, newline, spaces", "tab and spaces mixed",
    "leading space", "two leading spaces", "trailing space", "trailing newline", "inner runs", "sentence",
    "capitals", "contractions", "punctuation", "digits", "URL", "e acute composed", "e acute decomposed",
    "Chinese", "Hebrew", "emoji family, ZWJ", "C", "HTML", "HTML-like pieces", "lower one eighth block",
    "block run", "block and spaces", "bos as text", "all specials", "bos inside", "specials, broken",
    "special after spaces", "byte token as text", "lone continuation byte", "lone lead byte at the end",
    "cut three-byte sequence", "cut four-byte sequence", "lead byte before text", "overlong slash",
    "surrogate half", "control bytes", "byte order mark", "ab x200", "equals x333", "words without end",
)  # fmt: skip

# llama.cpp ends the process at a code point beyond U+10FFFF when it merges by rank.
PUBLISHED = _OWN + [(name, text) for name, text in awkward.STRINGS if name != "beyond U+10FFFF"]
SMALL = _OWN + [(name, text) for name, text in awkward.STRINGS if name in _SMALL]
assert len(SMALL) == len(_OWN) + len(_SMALL)
