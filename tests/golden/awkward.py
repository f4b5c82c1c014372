"""The strings whose token ids are stored in tokens.json: (name, bytes), chosen to trip a tokenizer."""


def _run(name, unit, counts):
    return [(f"{name} x{n}", unit.encode() * n) for n in counts]


_C_SOURCE = """#include <stdio.h>

int main(int argc, char **argv)
{
\tfor (int i = 0; i < argc; ++i) {
\t\tprintf("%s%c", argv[i], i + 1 < argc ? ' ' : '\\n');
\t}
\treturn 0;
}
"""

_PYTHON_SOURCE = """def f(xs, *, key=None):
    \"\"\"Doc.\"\"\"
    for i, x in enumerate(xs):
        if key and key(x) >= 0x1F:
            yield f"{i:>4}: {x!r}"
    else:
        return


class A(B): pass
"""

STRINGS = (
    [("empty", b"")]
    # Runs of white space are user-defined pieces up to 31 long: the counts step over both ends.
    + _run("space", " ", (1, 2, 3, 4, 5, 8, 16, 30, 31, 32, 33, 62, 63, 64, 100))
    + _run("newline", "\n", (1, 2, 3, 4, 7, 30, 31, 32, 33, 63, 100))
    + _run("tab", "\t", (1, 2, 3, 5, 30, 31, 32, 33, 70))
    + _run("CR LF", "\r\n", (1, 2, 3))
    + [
        ("CR", b"\r"),
        ("CR CR", b"\r\r"),
        ("space around newline", b" \n "),
        ("spaces, newline, spaces", b"   \n\n    \n"),
        ("tab and spaces mixed", b"\t  \t \t\t   x"),
        ("vertical tab and form feed", b"a\x0b\x0cb"),
        ("leading space", b" hello"),
        ("two leading spaces", b"  hello"),
        ("three leading spaces", b"   hello world"),
        ("trailing space", b"hello "),
        ("trailing newline", b"hello\n"),
        ("inner runs", b"a  b   c    d     e"),
        ("Hello comma", b"Hello,"),
        ("sentence", b"The quick brown fox jumps over the lazy dog."),
        ("capitals", b"THE QUICK BROWN FOX; tHe qUiCk bRoWn"),
        ("contractions", "I'm, you're, they'd've; it’s ‘quoted’ “twice”".encode()),
        ("punctuation", b"!?!?...,,;;::--__(([[{{}}]]))\"\"''``~~@@##$$%%^^&&**++==||\\\\//<<>>"),
        ("digits", b"0 1 12 123 1234 12345 1234567890 00000 3.14159 1,000,000 1e-9 0xDEADBEEF"),
        ("fifty digits", b"31415926535897932384626433832795028841971693993751"),
        ("number-like letters", "½ Ⅷ ² ₃ ① １２３ ٣٤٥ १२३ 〇".encode()),
        ("URL", b"https://www.example.com:8080/a/b%20c/?q=1&r=%E2%82%AC#frag_ment-2"),
        ("mail and path", b"user.name+tag@example.org C:\\Users\\x\\file.txt /usr/local/lib/../include"),
        ("base64", b"TWFuIGlzIGRpc3Rpbmd1aXNoZWQsIG5vdCBvbmx5IGJ5IGhpcyByZWFzb24="),
        ("UUID", b"550e8400-e29b-41d4-a716-446655440000"),
        # Latin and combining marks: the two spellings must stay apart (no normalisation).
        ("Latin-1", "Çà et là, où Noël, Straße, Ærø, señor".encode()),
        ("e acute composed", "caf\u00e9".encode()),
        ("e acute decomposed", "cafe\u0301".encode()),
        ("stacked combining marks", "Z\u0351\u036b\u0343\u036a\u0302\u036balgo\u0321\u031e".encode()),
        ("Vietnamese", "Tiếng Việt có nhiều dấu thanh điệu".encode()),
        ("Turkish", "İstanbul ıslak, Iğdır ŞĞÜ".encode()),
        ("Greek", "Ἐν ἀρχῇ ἦν ὁ Λόγος, και ο κόσμος".encode()),
        ("Cyrillic", "Съешь же ещё этих мягких французских булок".encode()),
        ("Georgian and Armenian", "გამარჯობა Բարեւ".encode()),
        ("ligatures and full width", "ﬁne ﬂow Ｆｕｌｌ　ｗｉｄｔｈ".encode()),
        # Scripts without spaces, right to left, with reordering.
        ("Chinese", "敏捷的棕色狐狸跳过了懒狗。他说：“你好，世界！”".encode()),
        ("Chinese traditional", "我能吞下玻璃而不傷身體".encode()),
        ("Japanese", "いろはにほへと　チリヌルヲ、吾輩は猫である。ﾊﾝｶｸ".encode()),
        ("Korean", "다람쥐 헌 쳇바퀴에 타고파".encode()),
        ("Korean jamo", "\u1112\u1161\u11ab\u1100\u1173\u11af".encode()),
        ("rare ideographs", "𠮷𩸽 㐂 𪚥 ⿰亻尔".encode()),
        ("Arabic", "نص حكيم له سر قاطع وذو شأن عظيم".encode()),
        ("Arabic vowelled", "بِسْمِ ٱللَّهِ ٱلرَّحْمَـٰنِ".encode()),
        ("Persian with ZWNJ", "می\u200cخواهم کتاب‌ها را بخوانم".encode()),
        ("Hebrew", "דג סקרן שט בים מאוכזב".encode()),
        ("Hebrew pointed", "בְּרֵאשִׁית בָּרָא אֱלֹהִים".encode()),
        ("mixed direction", "abc \u202bשלום\u202c def \u200fعربي\u200e 123".encode()),
        ("Thai", "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า".encode()),
        ("Khmer and Lao", "ខ្មែរ ພາສາລາວ".encode()),
        ("Devanagari", "ऋषियों को सताने वाले दुष्ट राक्षसों".encode()),
        ("Tamil", "யாமறிந்த மொழிகளிலே தமிழ்மொழி".encode()),
        ("Bengali", "আমি কাঁচ খেতে পারি".encode()),
        ("Amharic", "ሰማይ አይታረስ ንጉሥ አይከሰስ".encode()),
        ("Tibetan", "ཤེལ་སྒོ་ཟ་ནས་ང་ན་གི་མ་རེད།".encode()),
        ("Cherokee and Runic", "ᏣᎳᎩ ᚠᛇᚻ".encode()),
        ("cuneiform", "𒀭𒂗𒍪 𓀀𓂀".encode()),
        # Emoji.
        ("emoji", "🙂🚀🎉 ok 👍".encode()),
        ("emoji family, ZWJ", "👨\u200d👩\u200d👧\u200d👦".encode()),
        ("emoji skin tones", "👍🏻👍🏽👍🏿 👩🏾\u200d🚀".encode()),
        ("emoji flags", "🇫🇷🇯🇵 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f".encode()),
        ("emoji variation selectors", "❤\ufe0f ❤\ufe0e 1\ufe0f\u20e3 ☎".encode()),
        ("mathematics", "∀ε>0 ∃δ: |x−a|<δ ⇒ |f(x)−L|<ε; ∑ᵢ₌₁ⁿ xᵢ² ≈ 𝔼[𝑋] ∮∇×𝐅".encode()),
        ("box drawing", "┌──┬──┐\n│░▒▓█│\n└──┴──┘".encode()),
        # Code.
        ("C", _C_SOURCE.encode()),
        ("Python", _PYTHON_SOURCE.encode()),
        ("JSON", b'{"a": [1, -2.5e+10, null, true],\n  "b": {"c": "\\u00e9\\n"}}'),
        ("HTML", b'<div class="x"><p>Hi <b>bold</b> &amp; <i>it</i><br/></p></div><!-- c -->'),
        ("HTML-like pieces", b"<table><tr><td>1</td></tr></table><h1>T</h1><code>x</code></s><s>"),
        ("HTML-like, broken", b"<tab le> < table> <TABLE> <<table>> </table <td><"),
        ("Rust", b"fn main() -> Result<(), Box<dyn Error>> { let v: Vec<_> = (0..10).map(|x| x*x).collect(); Ok(()) }"),
        ("shell", b'for f in *.c; do gcc -O2 "$f" -o "${f%.c}" || exit 1; done 2>&1 | tee log'),
        ("SQL", b"SELECT t.*, COUNT(*) AS n FROM t WHERE a<>'it''s' GROUP BY 1 HAVING n>=2;"),
        ("LaTeX", b"\\frac{\\partial^2 u}{\\partial t^2} = c^2 \\nabla^2 u \\quad \\text{in } \\Omega"),
        ("Makefile", b"all: a.o b.o\n\t$(CC) $^ -o $@\n\n.PHONY: all\n"),
        ("regular expression", rb"^(?:[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[\w]+)*)@\S+$"),
        ("diff", b"--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-\told\n+\tnew\n \n"),
        ("Markdown", b"# Title\n\n* item\n    * nested\n\n1. one\n\n```c\nint x;\n```\n\n| a | b |\n|---|---|\n"),
        # The escape character of SentencePiece itself: decodes to a space, so the round trip is lossy.
        ("lower one eighth block", "▁".encode()),
        ("block run", "▁▁▁ a▁b ▁c".encode()),
        ("block and spaces", " ▁ ▁  ▁".encode()),
        # Names of tokens; as text with special parsing off, as ids with it on.
        ("bos as text", b"<bos>"),
        ("all specials", b"<pad><eos><bos><unk><mask>[multimodal]<unused0><unused99>"),
        ("chat turn", b"<start_of_turn>user\nHello!<end_of_turn>\n<start_of_turn>model\n"),
        ("bos inside", b"a<bos>b <eos> c<end_of_turn>"),
        ("image tokens", b"x<start_of_image><end_of_image> <image_soft_token>y"),
        ("specials, broken", b"<bos <bos><<eos>> <start_of_turn<end_of_turn> <unused> <unused62430>"),
        ("special after spaces", b"   <bos>   <eos>\n\n<bos>"),
        ("overlapping specials", b"<start_of_turn><start_of_image><start_of_<start_of_turn>"),
        ("byte token as text", b"<0x0A><0xFF> <0xff>"),
        # Bytes that are not UTF-8, and odd ones that are.
        ("lone continuation byte", b"a\x80b"),
        ("lone lead byte at the end", b"abc\xe2"),
        ("cut three-byte sequence", b"abc\xe2\x96"),
        ("cut four-byte sequence", b"\xf0\x9f\x98"),
        ("lead byte before text", b"\xe2hello \xf0world"),
        ("overlong slash", b"\xc0\xaf\xe0\x80\xaf"),
        ("surrogate half", b"\xed\xa0\x80x"),
        ("beyond U+10FFFF", b"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80"),
        ("FE FF", b"\xff\xfe\xfd"),
        ("Latin-1 bytes", b"caf\xe9 na\xefve"),
        ("every byte but NUL", bytes(range(1, 256))),
        ("every byte downwards", bytes(range(255, 0, -1))),
        ("control bytes", bytes(range(1, 32)) + b"\x7f"),
        ("C1 controls", "\u0080\u0085\u009f".encode()),
        ("escape sequence", b"\x1b[31mred\x1b[0m"),
        ("byte order mark", b"\xef\xbb\xbfhi"),
        ("no-break and odd spaces", "a\u00a0b\u2003c\u2009d\u202fe\u3000f\u1680g".encode()),
        ("zero-width characters", "a\u200bb\u200dc\u2060d\ufeffe\u00ade".encode()),
        ("replacement and noncharacters", "\ufffd\ufffe\uffff\U0010ffff".encode()),
        ("private use", "\ue000\U000f0000".encode()),
        ("line and paragraph separators", "a\u2028b\u2029c".encode()),
        # Long runs, where a quadratic merge would show and where ties decide.
        ("a x600", b"a" * 600),
        ("ab x200", b"ab" * 200),
        ("space x1000", b" " * 1000),
        ("newline x500", b"\n" * 500),
        ("equals x333", b"=" * 333),
        ("dash x200", b"-" * 200),
        ("dot x257", b"." * 257),
        ("CJK x100", "好".encode() * 100),
        ("emoji x40", "😀".encode() * 40),
        ("bad byte x100", b"\xff" * 100),
        ("long word", b"pneumonoultramicroscopicsilicovolcanoconiosis" * 4),
        ("no spaces", b"thequickbrownfoxjumpsoverthelazydog" * 5),
        ("German compound", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft".encode()),
        ("words without end", b"buffalo " * 30),
        ("zalgo long", "h\u0335\u0321e\u0336\u0322l\u0334p\u0337 ".encode() * 6),
    ]
)
