"""JSON lines that are hard to read, each difficulty by its name."""

import enum
import json
from collections.abc import Collection

from hypothesis import strategies as st

from agora.testing.strategies.values import json_values, texts

__all__ = ["JsonTrouble", "json_lines"]


class JsonTrouble(enum.Enum):
    """What makes JSON lines hard to read."""

    EXPONENT = "a whole number with an exponent or a fraction: 1e16, 1E2, 1.0, -0"
    BIG_INTEGER = "an integer beyond 64 bits"
    BEYOND_DOUBLE = "a number beyond the range of doubles: 1e400"
    NAN = "NaN, Infinity, -Infinity"
    DUPLICATE_KEY = "a key that stands twice in an object"
    ESCAPES = "escapes: of quotes, slashes, control characters, pairs of surrogates"
    SURROGATE = "the escape of a lone surrogate"
    DEEP = "many levels of lists and objects"
    WHITE_SPACE = "blanks, tabs and CR between tokens and around the document"
    BLANK_LINE = "an empty line, or one of blanks"
    BOM = "a byte order mark at the start"
    CR_LF = "a line ended by CR LF"
    NO_LAST_END = "no line end behind the last line"
    NOT_OBJECT = "a document that is no object"
    BROKEN = "a line that is no document: cut off, two documents, a stray comma, a control character"


_NUMBERS = {
    JsonTrouble.EXPONENT: ["1e16", "1E2", "1.0", "-0", "-0.0", "1e-7", "10000000000000000.0"],
    JsonTrouble.BIG_INTEGER: ["9223372036854775808", "-9223372036854775809", "1" + "0" * 40],
    JsonTrouble.BEYOND_DOUBLE: ["1e400", "-1e400"],
    JsonTrouble.NAN: ["NaN", "Infinity", "-Infinity"],
    JsonTrouble.ESCAPES: [r'"\"\\\/\b\f\n\r\t"', r'"\u0000"', r'"\u00e9"', r'"\ud834\udd1e"', r'"\u2028"'],
    JsonTrouble.SURROGATE: [r'"\ud800"', r'"\udfff"', r'"\ud834a"', r'"\udd1e\ud834"'],
}
"""Tokens in place of a value."""
_BROKEN = [
    '{"a":1', '{"a":', '{"a":1}{"a":2}', '{"a":1} 5', '{"a":1,}', "{'a':1}", '{"a":01}', '{"a":+1}', '{"a":.5}',
    '{"a":"\x01"}', '{"a":"\x00"}', '{"a":1]', '"a":1}', "}", "{", '{"a":tru}', "{a:1}", '{"a":1}x', r'{"a":"\x41"}',
    '{"a":"b', '{"a":"b\\',
]  # fmt: skip


def json_lines(
    *,
    max_lines: int = 6,
    depth: int = 40,
    troubles: Collection[JsonTrouble] = tuple(JsonTrouble),
) -> st.SearchStrategy[str]:
    """Yields whole files of JSON lines with any of the named troubles, some lines without any.

    `depth`: levels of a deep document. The text is always one that UTF-8 can hold: lone surrogates stand escaped.
    Shrinks towards `""`, and lines towards `{}` ended by LF.
    """
    given = frozenset(troubles)
    kinds = [_objects(given), *[lines for trouble, lines in _lines(depth).items() if trouble in given]]
    line = st.one_of(kinds)
    if JsonTrouble.WHITE_SPACE in given:
        line = st.builds(_spaced, line, _blanks(), _blanks())
    ends = st.sampled_from(["\n", "\r\n"] if JsonTrouble.CR_LF in given else ["\n"])
    marks = st.sampled_from(["", "\ufeff"] if JsonTrouble.BOM in given else [""])
    unended = st.booleans() if JsonTrouble.NO_LAST_END in given else st.just(value=False)
    return st.builds(_whole, st.lists(st.tuples(line, ends), max_size=max_lines), marks, unended)


def _whole(lines: list[tuple[str, str]], mark: str, unended: bool) -> str:
    text = mark + "".join(line + end for line, end in lines)
    return text.removesuffix(lines[-1][1]) if unended and lines else text


def _objects(given: frozenset[JsonTrouble]) -> st.SearchStrategy[str]:
    """An object, token by token."""
    spaced = JsonTrouble.WHITE_SPACE in given
    colons = st.sampled_from([":", " : ", ":\t", "\r:"] if spaced else [":"])
    value: st.SearchStrategy[str] = st.builds(
        json.dumps, json_values(max_leaves=3), ensure_ascii=st.booleans()
    )
    tokens = [token for trouble, tokens in _NUMBERS.items() if trouble in given for token in tokens]
    if tokens:
        value |= st.sampled_from(tokens) | st.sampled_from(tokens).map("[{}]".format)
    keys = st.sampled_from("ab") | texts(max_size=3)
    pairs = st.lists(
        st.tuples(keys.map(json.dumps), colons, value),
        max_size=3,
        unique_by=lambda pair: str(json.loads(pair[0])),
    )
    joints = st.sampled_from([",", " , "] if spaced else [","])
    return st.builds(lambda found, joint: "{" + joint.join(map("".join, found)) + "}", pairs, joints)


def _lines(depth: int) -> dict[JsonTrouble, st.SearchStrategy[str]]:
    return {
        JsonTrouble.DUPLICATE_KEY: st.sampled_from(
            ['{"a":1,"a":2}', '{"a":null,"b":1,"a":{}}', '{"b":{"a":1,"a":[]}}', r'{"a":1,"\u0061":2}']
        ),
        JsonTrouble.DEEP: st.sampled_from(["[{}]", '{{"a":{}}}']).map(lambda level: _nested(level, depth)),
        JsonTrouble.BLANK_LINE: st.sampled_from(["", " ", "\t", "\r"]),
        JsonTrouble.NOT_OBJECT: st.sampled_from(["null", "1", '"a"', "[]", '[{"a":1}]', "true"]),
        JsonTrouble.BROKEN: st.sampled_from(_BROKEN),
    }


def _nested(level: str, depth: int) -> str:
    before, after = level.format("\n").split("\n")
    return '{"a":' + before * (depth - 1) + "0" + after * (depth - 1) + "}"


def _blanks() -> st.SearchStrategy[str]:
    return st.sampled_from(["", " ", "\t", "\r", "  "])


def _spaced(line: str, before: str, after: str) -> str:
    return before + line + after
