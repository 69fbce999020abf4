"""Records of CSV rows: many at a time give what one at a time gives, whichever of them are bad."""

from decimal import Decimal
from typing import Any

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from agora.records import Malformed
from agora.sources.convert import conversions, structurer
from agora.sources.csvparser import CsvParser, Dialect
from agora.sources.csvtext import Text, decode, field_limit_lifted, rows_one_by_one

FIELD = st.sampled_from(["1", "2.5", "", "x", '"1"', '"x\ny"', '"1', 'a"', "é", "\u2028", " "])
LINE = st.lists(FIELD, max_size=3).map(",".join)
TEXT = st.builds(
    lambda lines, end, last: (end.join(lines) + last).encode(),
    st.lists(LINE | st.just("1,2"), max_size=12),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", "\n"]),
)
BROKEN = st.builds(
    lambda data, bad, at: data[: at % 9] + bad + data[at % 9 :], TEXT, st.binary(max_size=2), st.integers(0)
)


@attrs.define
class Pair:
    a: Decimal
    b: str | None


def stops(text: str) -> str:
    """A conversion that raises what ends loops."""
    if text == "x":
        raise StopIteration
    return text


def parser_of(*, pad: bool, kind: Any, schema: bool) -> CsvParser:
    types = {} if kind is None else {"a": kind}
    dialect = Dialect(
        delimiter=",",
        encoding="utf-8",
        pad=pad,
        columns=["a", "b"],
        types=conversions(types, of_text=True),
        schema=structurer(Pair) if schema else None,
    )
    return CsvParser("orders.csv", dialect, "utf-8", ["a", "b"], (0, 0))


def one_at_a_time(parser: CsvParser, data: bytes) -> list[Any]:
    """The definition."""
    text = Text(decode(data, "utf-8", final=True)[0], "utf-8")
    with field_limit_lifted():
        entries = rows_one_by_one(text.text, ",", final=True)
    records = []
    for row, start, end in zip(entries.rows, entries.starts, entries.ends, strict=True):
        begin, stop = text.after_lines(start), text.after_lines(end)
        place = parser.place(start, text.offset(begin))
        records.append(parser.record(row, text.raw(begin, stop), place))
    return records


def shown(record: Any) -> Any:
    if not isinstance(record, Malformed):
        return record
    return record.original, str(record.error), record.replayable


@settings(deadline=None)
@given(
    data=TEXT | BROKEN,
    pad=st.booleans(),
    kind=st.sampled_from([None, int, float, stops]),
    schema=st.booleans(),
)
@example(data=b"1,2\nx,2\n\n3,4\n", pad=False, kind=int, schema=False)
@example(data=b"1,2\nx,2\n3\n\xff,1\n4,5", pad=True, kind=int, schema=False)
@example(data=b'1,2\nx,2\n3,"', pad=True, kind=int, schema=False)
@example(data=b"x,1\nx,2\ny,3\n", pad=True, kind=stops, schema=False)
def test_a_block_is_its_rows_one_at_a_time(data: bytes, pad: bool, kind: Any, schema: bool) -> None:
    parser = parser_of(pad=pad, kind=kind, schema=schema)
    wanted = [shown(record) for record in one_at_a_time(parser, data)]
    for _ in range(2):  # once as the first block of its file, once as one behind it
        parsed = parser.parse(data, 0, 0, final=True)
        assert [shown(record) for record in parsed.rows] == wanted
        assert parsed.malformed == [at for at, row in enumerate(parsed.rows) if isinstance(row, Malformed)]
        assert [shown(parsed.original(at)) for at in range(len(wanted))] == wanted


@pytest.mark.parametrize("good", [0, 20])
def test_a_conversion_is_called_once_a_row_behind_the_first_bad_one(good: int) -> None:
    called: list[str] = []

    def counted(text: str) -> int:
        called.append(text)
        return int(text)

    parser = parser_of(pad=False, kind=counted, schema=False)
    parser.parse(b"x,1\n", 0, 0, final=True)
    called.clear()
    parser.parse(b"1,1\n" * good + b"x,1\n" + b"2,1\n" * good, 0, 0, final=True)
    assert called.count("1") == called.count("2") == good
