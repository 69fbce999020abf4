"""Batches as text: byte for byte what the encoders of records write for their rows."""

import datetime
import math
import os
import random
import struct
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import given, settings

from agora.sinks import columnlines
from agora.sinks.csvcolumns import CsvColumns
from agora.sinks.csvtext import CsvEncoder
from agora.sinks.encode import JsonEncoder
from agora.sinks.jsoncolumns import JsonColumns

EXAMPLES = int(os.environ.get("AGORA_COLUMN_EXAMPLES", "100"))
TEXT = st.text(st.characters(codec="utf-8"), max_size=4) | st.text(
    'a",;\n\r\\\x00\x1f\x7f\u2028 .-1', max_size=4
)
FLOAT = (
    st.floats()
    | st.integers(-(2**60), 2**60).map(float)
    | st.sampled_from([1e16, 1e10, 1e-4, 1e-5, 1e-7, 0.5, -0.0, math.nan, math.inf, 5e-324])
)
DAYS = datetime.timedelta(days=9999)
RECORD = pa.struct({"a": pa.string(), "b": pa.float64()})


def _of_times(unit: str, zone: str | None = None) -> Any:
    kind = pa.timestamp(unit, zone)
    first, last = {"s": (-(10**12), 10**12), "ms": (-(10**14), 10**15)}.get(unit, (-(10**17), 10**18))
    value = st.integers(first, last) | st.integers(-(10**7), 10**7).map(lambda number: number * 1_000_000)
    return value.map(lambda number: pa.scalar(number, pa.int64()).cast(kind)), kind


COLUMNS: dict[str, tuple[Any, pa.DataType]] = {
    "string": (TEXT, pa.string()),
    "large": (TEXT, pa.large_string()),
    "view": (TEXT, pa.string_view()),
    "codes": (TEXT, pa.dictionary(pa.int8(), pa.string())),
    "number codes": (FLOAT, pa.dictionary(pa.int8(), pa.float64())),
    "int": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
    "small": (st.integers(-128, 127), pa.int8()),
    "unsigned": (st.integers(0, 2**64 - 1), pa.uint64()),
    "float": (FLOAT, pa.float64()),
    "single": (st.floats(width=32), pa.float32()),
    "half": (st.floats(width=16), pa.float16()),
    "bool": (st.booleans(), pa.bool_()),
    "date": (st.dates(), pa.date32()),
    "any day": (st.integers(-(2**31), 2**31 - 1).map(lambda day: pa.scalar(day, pa.date32())), pa.date32()),
    "datetime": (st.datetimes() | st.datetimes().map(lambda time: time.replace(microsecond=0)), pa.timestamp("us")),
    "seconds": _of_times("s"),
    "millis": _of_times("ms"),
    "micros": _of_times("us"),
    "nanos": _of_times("ns"),
    "zoned": _of_times("us", "UTC"),
    "decimal": (st.decimals(-(10**9), 10**9, places=3), pa.decimal128(20, 3)),
    "binary": (st.binary(max_size=4), pa.binary()),
    "list": (st.lists(FLOAT, max_size=2), pa.list_(pa.float64())),
    "struct": (st.fixed_dictionaries({"a": TEXT, "b": st.none() | FLOAT}), RECORD),
    "map": (st.lists(st.tuples(TEXT, st.integers(0, 9)), max_size=2), pa.map_(pa.string(), pa.int64())),
    "time": (st.times(), pa.time64("us")),
    "duration": (st.timedeltas(DAYS * -1, DAYS), pa.duration("us")),
    "null": (st.none(), pa.null()),
}  # fmt: skip


@st.composite
def _columns(draw: Any, rows: int) -> pa.Array:
    value, kind = COLUMNS[draw(st.sampled_from([*COLUMNS]))]
    values = draw(st.lists(value | st.none() if draw(st.booleans()) else value, min_size=rows, max_size=rows))
    return pa.array(values, kind)


@st.composite
def batches(draw: Any) -> pa.RecordBatch:
    rows = draw(st.integers(0, 5))
    names = draw(st.lists(TEXT, max_size=4, unique=True))
    batch = pa.RecordBatch.from_arrays([draw(_columns(rows)) for _ in names], names=names)
    start = draw(st.integers(0, rows))
    return batch.slice(start, draw(st.integers(0, rows - start)))


def check(found: Any, batch: pa.RecordBatch, plain: Any) -> Any:
    """`found` is what the records' encoder gives for each row alone."""
    text, rejected = found
    lines = []
    errors: dict[int, Exception] = {}
    for index in range(batch.num_rows):
        try:
            lines.append(plain.line(batch.slice(index, 1).to_pylist()[0]))
        except Exception as error:
            errors[index] = error
    assert bytes(text) == b"".join(lines)
    assert {index: (type(error), str(error)) for index, error in rejected.items()} == {
        index: (type(error), str(error)) for index, error in errors.items()
    }
    return text


@settings(max_examples=EXAMPLES, deadline=None)
@given(batch=batches(), nan=st.sampled_from(["reject", "null"]))
def test_json_lines_of_any_batch_are_those_of_its_rows(batch: pa.RecordBatch, nan: Any) -> None:
    check(JsonColumns(nan).lines(batch), batch, JsonEncoder(nan))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    batch=batches(),
    nan=st.sampled_from(["reject", "null"]),
    delimiter=st.sampled_from(",;\t|a1.-:^]\\é"),
    data=st.data(),
)
def test_csv_of_any_batch_is_that_of_its_rows(
    batch: pa.RecordBatch, nan: Any, delimiter: str, data: Any
) -> None:
    others = data.draw(st.lists(TEXT, min_size=not batch.num_columns, max_size=2))
    columns = data.draw(st.permutations([*dict.fromkeys([*batch.schema.names, *others])]))
    plain = CsvEncoder(tuple(columns), delimiter, nan)
    check(CsvColumns(plain).lines(batch), batch, plain)


def _one(values: list[Any], kind: pa.DataType) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, kind)], names=["x"])


def test_floats_of_every_exponent_have_the_text_that_they_have_in_a_record() -> None:
    chance = random.Random(3)
    bits = [chance.getrandbits(52) | exponent << 52 for exponent in range(2047) for _ in range(8)]
    values = list(struct.unpack(f"{len(bits)}d", struct.pack(f"{len(bits)}Q", *bits)))
    values += [
        float(f"{digits}e{exponent}") for exponent in range(-320, 308) for digits in (1, -1.5, 9.99, 12345)
    ]
    values += [math.nextafter(edge, way) for edge in (1e-4, 1e-5, 1e10, 1e16) for way in (0, math.inf)]
    values += [chance.uniform(-1e11, 1e11) for _ in range(2000)] + [
        round(chance.uniform(0, 1e4), 2) for _ in range(999)
    ]
    batch = _one(values, pa.float64())
    assert bytes(JsonColumns().lines(batch)[0]) == JsonEncoder().lines(batch.to_pylist())[0]


@pytest.mark.parametrize("encoder", [JsonEncoder(), CsvEncoder(("x",))])
def test_rows_without_a_text_are_rejected_by_index_and_their_neighbours_are_written(encoder: Any) -> None:
    columns = JsonColumns() if isinstance(encoder, JsonEncoder) else CsvColumns(encoder)
    batch = _one([1.0, math.nan, 2.5, -math.inf], pa.float64())
    text, rejected = columns.lines(batch)
    assert (bytes(text).count(b"\n"), [*rejected]) == (2, [1, 3])
    check((text, rejected), batch, encoder)


@pytest.mark.parametrize("encoder", [JsonEncoder(), CsvEncoder(("x",))])
def test_text_that_is_not_utf8_rejects_its_row(encoder: Any) -> None:
    columns = JsonColumns() if isinstance(encoder, JsonEncoder) else CsvColumns(encoder)
    array = pa.array([b"a", b"\xff", b"c"]).cast(pa.string(), safe=False)
    batch = pa.RecordBatch.from_arrays([array], names=["x"])
    text, rejected = columns.lines(batch)
    assert [*rejected] == [1]
    check((text, rejected), batch, encoder)


@pytest.mark.parametrize("encoder", [JsonEncoder(), CsvEncoder(("x", "y"))])
def test_a_batch_beyond_what_arrow_joins_is_cut(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnlines, "_MOST", 40)
    columns = JsonColumns() if isinstance(encoder, JsonEncoder) else CsvColumns(encoder)
    batch = pa.RecordBatch.from_pydict({"x": ['a"', "bb", "c" * 50, "d"], "y": [1.0, math.nan, 3.0, 4.0]})
    check(columns.lines(batch), batch, encoder)


def test_a_batch_without_columns_has_its_rows() -> None:
    batch = pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))
    assert bytes(JsonColumns().lines(batch)[0]) == b"{}\n{}\n"
    assert bytes(CsvColumns(CsvEncoder(("a", "b"))).lines(batch)[0]) == b",\n,\n"


def test_names_twice_are_written_as_the_rows_have_them() -> None:
    batch = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    check(JsonColumns().lines(batch), batch, JsonEncoder())
    check(CsvColumns(CsvEncoder(("x",))).lines(batch), batch, CsvEncoder(("x",)))


def test_a_column_that_the_csv_has_not_rejects_every_row() -> None:
    batch = pa.RecordBatch.from_pydict({"x": [1, 2], "z": [1, 2]})
    text, rejected = CsvColumns(CsvEncoder(("x", "y"))).lines(batch)
    assert (bytes(text), [*rejected]) == (b"", [0, 1])


def test_the_usual_columns_are_written_without_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    batch = pa.RecordBatch.from_pydict(
        {
            "i": [1, None],
            "s": ['a"', "é"],
            "f": [0.5, 3.0],
            "b": [True, None],
            "d": [datetime.date(1, 1, 1), None],
        }
        | {"t": [datetime.datetime(2020, 1, 1), datetime.datetime(9999, 1, 1, 0, 0, 0, 5)]}
    )
    expected = [
        encoder.lines(batch.to_pylist())[0] for encoder in (JsonEncoder(), CsvEncoder(tuple("isfbdt")))
    ]
    monkeypatch.setattr("agora.sinks.columntexts._by_value", refuse)
    monkeypatch.setattr("agora.sinks.columnlines._in_halves", refuse)
    assert bytes(JsonColumns().lines(batch)[0]) == expected[0]
    assert bytes(CsvColumns(CsvEncoder(tuple("isfbdt"))).lines(batch)[0]) == expected[1]


def test_decimals_have_the_digits_that_they_have_in_a_record() -> None:
    batch = _one([Decimal("1.50"), None, Decimal("-0.01")], pa.decimal128(10, 2))
    check(JsonColumns().lines(batch), batch, JsonEncoder())
    check(CsvColumns(CsvEncoder(("x",))).lines(batch), batch, CsvEncoder(("x",)))
