"""Records of whatever declares them: of the right types, and kept by the parts that know these types."""

import datetime
import decimal
import enum
import math
import uuid
from pathlib import Path
from typing import Any, Literal

import attrs
import pyarrow as pa
import pytest
import trio
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from agora import Pipeline
from agora.sinks import CsvSink, JsonLinesSink, MemorySink, ParquetSink
from agora.sources import CsvSource, IterableSource, JsonLinesSource, ParquetSource
from agora.testing import strategies
from agora.testing.strategies import arrow

FEW = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TYPES = {
    "id": int, "amount": "float", "text": "str", "note": str | None, "exact": "decimal?", "paid": bool,
    "day": datetime.date, "at": "datetime?", "time": "time", "key": uuid.UUID,
}  # fmt: skip


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@attrs.frozen
class Line:
    article: str
    count: int = 1


@attrs.frozen
class Order:
    id: int
    _amount: float
    colour: Colour
    kind: Literal["a", "b"]
    lines: list[Line]
    note: str | None = None
    day: datetime.date | None = None
    exact: decimal.Decimal = decimal.Decimal(0)
    tags: tuple[str, ...] = ()
    sizes: dict[str, int] = attrs.field(factory=dict)
    before: "Order | None" = None
    total: int = attrs.field(init=False, default=0)


def copied(records: list[Any], sink: Any, source: Any) -> list[Any]:
    """The records, written by the sink and read by the source, through the engine."""

    async def run() -> list[Any]:
        await Pipeline(IterableSource(records), name="out").to(sink).build().run()
        found = MemorySink()
        await Pipeline(source, name="in").to(found).build().run()
        return found.records

    return trio.run(run)


def occurs(strategy: Any, wanted: Any) -> Any:
    return find(
        strategy,
        wanted,
        settings=settings(max_examples=5_000, database=None, phases=[Phase.generate], deadline=None),
    )


@FEW
@given(records=st.lists(strategies.records(TYPES), min_size=1, max_size=4))
def test_records_of_types_survive_csv_and_json_lines(records: list[Any], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("types")
    csv = copied(records, CsvSink(path / "c"), CsvSource(path / "c", types=TYPES))
    json = copied(records, JsonLinesSink(path / "j"), JsonLinesSource(path / "j", types=TYPES))
    assert list(map(repr, csv)) == list(map(repr, json)) == list(map(repr, records))


@FEW
@given(records=st.lists(strategies.records(Order), min_size=1, max_size=3))
def test_records_of_a_class_survive_json_lines(records: list[Any], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("class") / "orders"
    dicts = [attrs.asdict(record) for record in records]
    assert {type(record) for record in records} == {Order}
    assert all(record.total == 0 for record in records)
    written = copied(dicts, JsonLinesSink(path), JsonLinesSource(path))
    assert len(written) == len(records)


@FEW
@given(records=st.lists(strategies.records(Line), min_size=1, max_size=3))
def test_records_of_a_class_are_read_back_by_its_schema(records: list[Any], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("class") / "lines"
    assert copied(records, JsonLinesSink(path), JsonLinesSource(path, schema=Line)) == records
    assert (
        copied(records, CsvSink(path.with_suffix(".csv")), CsvSource(path.with_suffix(".csv"), schema=Line))
        == records
    )


def _all_types() -> pa.Schema:
    kinds = [*arrow.SCALARS, pa.dictionary(pa.int32(), pa.string())]
    kinds += [
        pa.list_(pa.int64()),
        pa.list_(pa.float64(), 2),
        pa.struct([("a", pa.string()), ("b", pa.date32())]),
    ]
    kinds += [pa.map_(pa.string(), pa.int64()), pa.large_list(pa.struct([("x", pa.list_(pa.bool_()))]))]
    return pa.schema([(f"c{number}", kind) for number, kind in enumerate(kinds)])


@FEW
@given(records=st.lists(strategies.records(_all_types()), min_size=1, max_size=3))
def test_records_of_a_schema_survive_parquet(records: list[Any], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("schema") / "out.parquet"
    found = copied(records, ParquetSink(path, schema=_all_types()), ParquetSource(path))
    assert found == records


@FEW
@given(data=st.data())
def test_batches_are_of_their_schema_and_hold_what_records_of_it_are(
    data: Any, tmp_path_factory: Any
) -> None:
    schema = data.draw(strategies.schemas())
    batch = data.draw(strategies.record_batches(schema))
    assert batch.schema.equals(schema)
    batch.validate(full=True)
    rows = batch.to_pylist()
    assert pa.RecordBatch.from_pylist(rows, schema).to_pylist() == rows
    if rows:
        path = tmp_path_factory.mktemp("schemas") / "out.parquet"
        assert copied(rows, ParquetSink(path, schema=schema), ParquetSource(path)) == rows


def test_batches_are_slices_too() -> None:
    schema = pa.schema([("a", pa.int64())])
    assert occurs(strategies.record_batches(schema), lambda batch: batch.num_rows and batch.column(0).offset)
    assert occurs(strategies.record_batches(schema), lambda batch: batch.num_rows == 6).num_rows == 6


def test_what_records_shrink_towards() -> None:
    def least(declaration: Any) -> Any:
        return find(strategies.records(declaration), lambda _: True, settings=settings(database=None))

    assert least({"a": int, "b": "str", "c": "date?"}) == {"a": 0, "b": "", "c": None}
    assert least(pa.schema([("a", pa.int64()), ("b", pa.list_(pa.string()))])) == {"a": None, "b": None}
    assert find(
        strategies.record_batches(pa.schema([("a", pa.int64())])), lambda _: True, settings=settings(database=None)
    ).num_rows == 0  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float", math.isinf), ("float", math.isnan), ("int", lambda n: n >= 2**63), ("int", lambda n: n < -(2**63)),
        ("str", lambda text: any("\ud800" <= c <= "\udfff" for c in text)),
        ("datetime", lambda time: time.tzinfo is not None), ("decimal", lambda n: n.is_nan()),
    ],
)  # fmt: skip
def test_extremes_come_where_they_are_asked_for_and_nowhere_else(kind: str, value: Any) -> None:
    assert occurs(strategies.records({"x": kind}, extreme=True), lambda record: value(record["x"]))
    with pytest.raises(NoSuchExample):
        find(
            strategies.records({"x": kind}),
            lambda record: value(record["x"]),
            settings=settings(max_examples=100, database=None, deadline=None),
        )


@pytest.mark.parametrize(
    "wanted",
    [
        lambda r: r["i"] == 2**63 - 1, lambda r: r["i"] == -(2**63), lambda r: r["f"] == 1e16,
        lambda r: r["s"] == "\x00",
        lambda r: math.copysign(1, r["f"]) < 0 and r["f"] == 0, lambda r: '"' in r["s"], lambda r: "\n" in r["s"],
        lambda r: "\r" in r["s"], lambda r: r["s"] == "007", lambda r: r["s"] != r["s"].strip(), lambda r: r["s"] == "",
        lambda r: r["o"] is None, lambda r: "," in (r["o"] or ""),
    ],
)  # fmt: skip
def test_what_is_hard_to_keep_comes_without_being_asked_for(wanted: Any) -> None:
    assert occurs(strategies.records({"i": int, "f": float, "s": str, "o": "str?"}), wanted)


def test_fields_that_are_given_are_taken() -> None:
    given = {"count": st.just(7)}
    assert occurs(strategies.records(Line, fields=given), lambda _: True).count == 7
    for declaration in ({"count": int, "x": str}, pa.schema([("count", pa.int8()), ("x", pa.string())])):
        assert occurs(strategies.records(declaration, fields=given), lambda record: record["x"])["count"] == 7
    upper = {"x": st.just("A")}
    assert occurs(strategies.records({"x": str.upper}, fields=upper), lambda _: True) == {"x": "A"}


@attrs.frozen
class Odd:
    x: Any


@pytest.mark.parametrize(
    ("declaration", "fields", "complaint"),
    [
        (5, {}, "expected an attrs class, a dict of types or a pyarrow.Schema"),
        (int, {}, "expected an attrs class"),
        ({"x": str.upper}, {}, "give fields="),
        (Odd, {}, "field 'x'"),
        (Line, {"coutn": st.just(1)}, "coutn"),
        (pa.schema([("a", pa.int8())]), {"b": st.just(1)}, "'b'"),
        (pa.schema([("a", pa.int8()), ("a", pa.int8())]), {}, "one name"),
        (pa.schema([("a", pa.month_day_nano_interval())]), {}, "no values are known for the type"),
    ],
)
def test_what_declares_no_records_is_refused_when_the_strategy_is_made(
    declaration: Any, fields: Any, complaint: str
) -> None:
    with pytest.raises(TypeError, match=complaint):
        strategies.records(declaration, fields=fields).validate()


def test_a_file_of_the_records_can_be_written_by_hand(tmp_path: Path) -> None:
    record = occurs(strategies.records({"a": int}), lambda record: record["a"] == 5)
    assert copied([record], CsvSink(tmp_path / "c"), CsvSource(tmp_path / "c", types={"a": int})) == [
        {"a": 5}
    ]
