"""Blocks of CSV in columns: what the plain path makes of them, or nothing."""

import datetime
import os
from collections.abc import Mapping, Sequence
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given, settings

from agora.sources.casts import cast_of
from agora.sources.convert import conversions
from agora.sources.csvcolumns import columns_of
from agora.sources.csvparser import CsvParser, Dialect

EXAMPLES = int(os.environ.get("AGORA_COLUMN_EXAMPLES", "80"))
DELIMITERS = st.sampled_from(",;\t| aé\x1f")


def check(data: bytes, names: Sequence[str], types: Mapping[str, Any], delimiter: str = ",") -> bool:
    """Whether there are columns; if so, that they are the plain path's rows, values, types and places."""
    found = columns_of(data, names, delimiter, {name: cast_of(kind) for name, kind in types.items()})
    if found is None:
        return False
    dialect = Dialect(
        delimiter=delimiter,
        encoding="utf-8",
        pad=False,
        columns=None,
        types=conversions(types, of_text=True),
        schema=None,
    )
    plain = CsvParser("f", dialect, "utf-8", names, (0, 0)).parse(data, 0, 0, final=True)
    rows = found.batch.to_pylist()
    assert plain.malformed == []
    assert list(map(repr, rows)) == list(map(repr, plain.rows))  # repr: -0.0, NaN, and each value's type
    assert [found.place(n) for n in range(len(rows) + 1)] == [plain.place(n) for n in range(len(rows) + 1)]
    return True


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    text=st.text(alphabet='ab,"\n\r \x00é\ufeff\u2028\udcff', max_size=24),
    width=st.integers(1, 3),
    delimiter=DELIMITERS,
)
def test_any_text_gives_the_plain_rows_or_none(text: str, width: int, delimiter: str) -> None:
    check(text.encode(errors="surrogateescape"), ["x", "y", "z"][:width], {}, delimiter)


FIELD = st.text(alphabet='a,"\né ', max_size=3)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    rows=st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=4),
    quote=st.lists(
        st.sampled_from(['"{}"', '"{}"', "{}", '"{}"x', 'x"{}"', '""{}"']), min_size=8, max_size=8
    ),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.booleans(),
)
def test_quoted_fields_well_formed_or_not_give_the_plain_rows_or_none(
    rows: Any, quote: list[str], end: str, last: bool
) -> None:
    lines = [
        ",".join(quote[(2 * index + side) % 8].format(field) for side, field in enumerate(row))
        for index, row in enumerate(rows)
    ]
    check((end.join(lines) + end * last).encode(), ["x", "y"], {})


NUMBER = st.text(alphabet="0123456789-+.eE_ xinfa\u0663", max_size=6)
TEXTS: Mapping[str, Any] = {
    "int": st.integers().map(str) | NUMBER | st.integers(-(2**64), 2**64).map(str),
    "float": st.floats().map(repr)
    | NUMBER
    | st.integers().map(str)
    | st.sampled_from(["1e400", "-1e-400", "0x1p3"]),
    "bool": st.sampled_from(["true", "True ", "0", "1", "no", "ON", "f", "x", " y"]),
    "date": st.dates().map(str)
    | st.sampled_from(["0000-01-01", "2020-02-30", "20200101", " 2020-01-01", "2020-W01-1", "12020-01-01"]),
    "datetime": st.datetimes().map(str)
    | st.datetimes(timezones=st.just(datetime.UTC)).map(str)
    | st.text("0123456789-:T.Z+ ", min_size=8, max_size=27)
    | st.builds(
        lambda day, time, rest: f"{day}{time}{rest}",
        st.dates().map(str) | st.just("0000-01-01"),
        st.sampled_from(
            ["", "T", " 00", "T01:02", "T24:00:00", "x01:02:03", "T01:02:60", "T0102", " 23:59:59"]
        ),
        st.sampled_from(["", ".", ".5", ",5", ".123456", ".1234567", "Z", "+01:00", " "]),
    ),
    "str": st.text(max_size=4),
}
KINDS = st.sampled_from([*TEXTS]) | st.sampled_from([f"{kind}?" for kind in TEXTS])


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data(), kind=KINDS)
def test_typed_columns_hold_the_values_that_the_plain_path_converts(data: Any, kind: str) -> None:
    text = TEXTS[kind.removesuffix("?")] | (st.just("") if data.draw(st.booleans()) else st.nothing())
    texts = data.draw(st.lists(text, min_size=1, max_size=4))
    check("".join(f"{text},\n" for text in texts).encode(), ["x", "y"], {"x": kind})


@pytest.mark.parametrize(
    ("kind", "texts", "arrow"),
    [
        ("int", ["1", "-20", "007", "+5", " 5 ", "1_000", "\u0663"], pa.int64()),
        ("float", ["1", "-2.50", "1e16", "nan", "Infinity", "1e400", " 2", "-0"], pa.float64()),
        ("bool", ["true", "0", "Yes", " off"], pa.bool_()),
        ("date", ["2020-01-01", "0001-01-01", "9999-12-31", "20200101"], pa.date32()),
        ("datetime", ["2020-01-01", "0001-01-01T00:00:00.5", "9999-12-31 23:59:59"], pa.timestamp("us")),
        ("str?", ["a", "", " "], pa.string()),
        ("int?", ["", "5", ""], pa.int64()),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_fits_the_type_is_taken_and_has_that_type(
    kind: str, texts: list[str], arrow: Any, end: str
) -> None:
    data = "".join(f"{text},z{end}" for text in texts).encode()
    assert check(data, ["x", "y"], {"x": kind})
    assert check(data.removesuffix(end.encode()), ["x", "y"], {"x": kind})
    found = columns_of(data, ["x", "y"], ",", {"x": cast_of(kind)})
    assert found is not None
    assert found.batch.schema == pa.schema({"x": arrow, "y": pa.string()})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "0x10"),
        ("int", str(2**63)),
        ("int", ""),
        ("float", ""),
        ("datetime", "2020-01-01T00:00:00+00:00"),
        ("date", "0000-01-01"),
        ("int?", " "),
    ],
)
def test_a_value_that_is_none_of_its_type_leaves_the_block_to_the_plain_path(kind: str, text: str) -> None:
    assert not check(f"{text},\n".encode(), ["x", "y"], {"x": kind})


@pytest.mark.parametrize(
    "text",
    [
        'a,"b"\n"c",d\n',
        '"a,b","c"\n',
        '",a",b\n',
        '"",""\n',
        '"a","b"',
        '"a","b"\r\n"c","d"\r\n',
        'é,"\u2028"\n',
        "\x00, \n",
    ],
)
def test_well_formed_quotes_and_odd_characters_are_taken(text: str) -> None:
    assert check(text.encode(), ["x", "y"], {})


@pytest.mark.parametrize(
    "text",
    [
        '5" pipe,b\n',
        '"a"x,b\n',
        '"a""b",c\n',
        '"a\nb",c\n',
        '"a,b\n',
        '\na,b"\n"a,c',  # the byte of the blank line, and a quote that is text: sums could cancel out
        "a,b\n\nc,d\n",
        "a,b\rc,d\n",
        "a\n",
        "a,b,c\n",
        "\ufeffa,b\n",
        "a,b\r\nc,d\n",
        "a,b\rc,d\r\n\n",
    ],
)
def test_what_pyarrow_reads_otherwise_or_may_is_left_to_the_plain_path(text: str) -> None:
    assert not check(text.encode(), ["x", "y"], {})
    assert not check(b"\xff,\n", ["x", "y"], {})


def test_no_bytes_are_no_rows() -> None:
    assert check(b"", ["x", "y"], {"x": "int"})


@pytest.mark.parametrize("kind", ["decimal", "uuid", "time", float.fromhex, "time?"])
def test_other_types_and_functions_have_no_columns(kind: Any) -> None:
    assert cast_of(kind) is None


@pytest.mark.parametrize("kind", [int | None, "int?", " Int?"])
def test_a_type_is_the_same_however_it_is_written(kind: Any) -> None:
    assert check(b"1,\n,\n", ["x", "y"], {"x": kind})
