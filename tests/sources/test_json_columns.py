"""Blocks of JSON lines in columns: what the plain path makes of them, or nothing."""

import json
import os
from collections.abc import Mapping
from typing import Any

import hypothesis.strategies as st
import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings

from agora.sources.casts import cast_of
from agora.sources.convert import conversions
from agora.sources.jsoncolumns import columns_of_json, layout_of
from agora.sources.jsontext import JsonLinesParser

EXAMPLES = int(os.environ.get("AGORA_COLUMN_EXAMPLES", "80"))
VALUES: Mapping[str, Any] = {
    "text": st.text(max_size=4) | st.sampled_from(["null", "\x7f", "\u2028", "1", ":", ",", "}", "é"]),
    "int": st.integers(-(2**64), 2**64) | st.integers(-9, 9),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9).map(float),
    "bool": st.booleans(),
    "mixed": st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=2),
}
NUMBER = st.text("0123456789-+.eE", min_size=1, max_size=6) | st.sampled_from(
    [
        "007",
        "-0",
        "-0.0",
        "1.",
        ".5",
        "1e5",
        "1E-400",
        "1e400",
        "0x10",
        "nan",
        "true",
        "tru",
        "null",
        "0e0",
        "-00.1",
    ]
)


def check(data: bytes, head: bytes | None = None, types: Mapping[str, Any] | None = None) -> Any:
    """The columns; if there are, they are the plain path's rows, values, types and places."""
    layout = layout_of(data if head is None else head)
    if layout is None:
        return None
    casts = {name: cast_of(kind) for name, kind in (types or {}).items()}
    found = columns_of_json(data, layout, casts)
    if found is None:
        return None
    plain = JsonLinesParser("f", conversions(types), None).parse(data, 0, 0, final=True)
    rows = found.batch.to_pylist()
    assert plain.malformed == []
    assert list(map(repr, rows)) == list(map(repr, plain.rows))  # repr: -0.0, and each value's type
    assert [found.place(n) for n in range(len(rows) + 1)] == [plain.place(n) for n in range(len(rows) + 1)]
    return found.batch


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data(), separators=st.sampled_from([(",", ":"), (", ", ": "), ("\t,", " :")]))
def test_what_json_writes_gives_the_plain_rows_or_none(data: Any, separators: Any) -> None:
    kinds = data.draw(
        st.dictionaries(st.text(max_size=3), st.sampled_from([*VALUES]), min_size=1, max_size=3)
    )
    nullable = data.draw(st.booleans())
    row = st.fixed_dictionaries(
        {name: VALUES[kind] | st.none() if nullable else VALUES[kind] for name, kind in kinds.items()}
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=4))
    end = data.draw(st.sampled_from(["\n", "\r\n", " \n", "\n\n"]))
    text = end.join(json.dumps(row, ensure_ascii=False, separators=separators) for row in rows)
    check((text + end * data.draw(st.booleans())).encode(errors="surrogatepass"))


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_lines_that_were_tampered_with_give_the_plain_rows_or_none(data: Any) -> None:
    pieces = st.sampled_from(
        [
            '"',
            ":",
            ",",
            "{",
            "}",
            " ",
            "\t",
            "\r",
            "\n",
            "\x01\x01",
            "null",
            "a",
            "b",
            "1",
            "0",
            '"a":',
            "\\",
            "-",
            ".",
        ]
    )
    lines = '{"a":1,"b":"x","c":2.5}\n{"a":20,"b":null,"c":0.5}\n{"a":null,"b":"","c":null}\n'
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(lines)))
        stop = data.draw(st.integers(start, min(len(lines), start + 3)))
        lines = lines[:start] + data.draw(pieces | st.just("")) + lines[stop:]
    check(lines.encode())
    check(lines.encode(), b'{"a":1,"b":"x","c":2.5}\n')


@settings(max_examples=EXAMPLES, deadline=None)
@given(tokens=st.lists(NUMBER, min_size=1, max_size=3), first=st.sampled_from(["1", "1.5", "true"]))
def test_numbers_are_read_as_the_plain_path_reads_them_or_not_at_all(tokens: list[str], first: str) -> None:
    data = "".join(f'{{"a":{token},"b":{token}}}\n' for token in tokens).encode()
    check(data, f'{{"a":{first},"b":{first}}}\n'.encode())


@settings(max_examples=EXAMPLES, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_are_the_very_same_however_they_are_written(values: list[float]) -> None:
    check(b"".join(b'{"a":%r}\n' % value for value in values), b'{"a":1.5}')
    check(msgspec.json.Encoder().encode_lines([{"a": value} for value in values]), b'{"a":1.5}')


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_flat_objects_of_one_form_are_taken(end: str, separators: Any) -> None:
    rows = [
        {"id": 1, "name": "é,:}", "ok": True, "x": 0.5},
        {"id": None, "name": None, "ok": None, "x": None},
        {"id": -(2**63), "name": "null", "ok": False, "x": 1e16},
        {"id": 3, "name": "", "ok": False, "x": -0.0},
    ]
    lines = [json.dumps(row, ensure_ascii=False, separators=separators) for row in rows]
    for text in (end.join(lines), end.join(lines) + end):
        batch = check(text.encode())
        assert batch.schema == pa.schema(
            {"id": pa.int64(), "name": pa.string(), "ok": pa.bool_(), "x": pa.float64()}
        )


def test_the_layout_is_that_of_the_first_line_without_null() -> None:
    assert check(b'{"a":null}\n{"a":1}\n') is not None
    assert layout_of(b'{"a":null}\n{"a":null}\n') is None
    assert layout_of(b"") is None


@pytest.mark.parametrize(
    "line",
    [
        '{"a":5}',
        '{"a":1.0,"b":1}',
        '{"b":1.0}',
        "{}",
        "[]",
        "",
        "1",
        '{"a":1.0}{"a":1.0}',
        '{"a":"1.0"}',
        '{"a":1e400}',
        '{"a":01.0}',
        '{"a":+1.0}',
        '{"a":1.0,}',
        ' {"a":1.0}',
        '{"a" :1.0}',
        '{"a":tru}',
        '{"\\u0061":1.0}',
    ],
)
def test_a_line_of_another_form_leaves_the_block_to_the_plain_path(line: str) -> None:
    assert check(f'{{"a":1.5}}\n{line}\n'.encode()) is None


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b'{"a":1,"a":2}',
        b'{"a":[1]}',
        b'{"a":{"b":1}}',
        b'{"a":"\\n"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":01}',
        b'{"a":"x" "b"}',
        b'{"a":"x",}',
        b'{"a":1,}',
        b'{"a"}',
        b'{"a":"x"',
        b'{"\xff":1}',
        b'{"a":"x"}}',
        b'{"a":1]}',
    ],
)
def test_a_line_without_a_layout_has_no_columns(line: bytes) -> None:
    assert layout_of(line + b"\n") is None


def test_strings_are_converted_as_types_say_and_numbers_have_their_type() -> None:
    data = b'{"day":"2020-01-01","n":1}\n{"day":"2020-01-02","n":2}\n'
    batch = check(data, types={"day": "date", "n": "int"})
    assert batch.schema.field("day").type == pa.date32()
    assert check(data, types={"n": "float"}) is None
    assert check(data, types={"day": "int"}) is None


@pytest.mark.parametrize("raw", [b"\x00", b"\x01\x01", b"\x1f", b"\xff", b"\xed\xa0\x80"])
def test_characters_that_no_string_may_have_are_left_to_the_plain_path(raw: bytes) -> None:
    assert check(b'{"a":"x","b":"y"}\n{"a":"' + raw + b'","b":null}\n') is None
    assert check(b'{"a":"x","b":"y"}\n{"a":"' + raw + b'","b":"z"}\n') is None
