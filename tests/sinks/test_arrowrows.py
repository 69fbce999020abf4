"""Records into columns: the quick way takes and refuses just what the plain one does."""

import datetime
import decimal
import enum
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples

from agora.sinks import arrowrows
from agora.sinks.arrowrows import ArrowRows


class Text(str):
    __slots__ = ()


class Number(enum.IntEnum):
    ONE = 1


NASTY = st.one_of(
    st.none(),
    st.integers(-3, 3),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64]),
    st.floats(),
    st.booleans(),
    st.text(max_size=3),
    st.sampled_from(["\ud800", "\x00", "é", Text("x"), Number.ONE, b"x", b"\xff", bytearray(b"y")]),
    st.sampled_from([decimal.Decimal("1"), decimal.Decimal("1.5"), datetime.date(2020, 1, 1)]),
    st.sampled_from([datetime.datetime(2020, 1, 1), [1], {"a": 1}, object]),
)
RECORDS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"a": NASTY, "b": NASTY}),
        st.fixed_dictionaries({"b": NASTY, "a": NASTY}),
        st.dictionaries(st.sampled_from(["a", "b", "c", 1, b"a", None]), NASTY, max_size=3),
    ),
    min_size=1,
    max_size=6,
)
SCHEMAS = st.sampled_from(
    [
        None,
        pa.schema([("a", pa.int64()), ("b", pa.string())]),
        pa.schema([("a", pa.float64()), ("b", pa.bool_())]),
        pa.schema([("a", pa.string()), ("b", pa.int64())]),
        pa.schema([("b", pa.binary()), ("a", pa.int32())]),
        pa.schema([("a", pa.int64())]),
    ]
)


def taken(rows: ArrowRows) -> Any:
    return [(batch.schema, list(map(repr, batch.to_pylist()))) for batch in rows.take()]


@settings(max_examples=examples(150, 4000), deadline=None)
@given(schema=SCHEMAS, batches=st.lists(RECORDS, min_size=1, max_size=3))
def test_dicts_are_taken_as_any_mapping_is(schema: Any, batches: list[list[dict[Any, Any]]]) -> None:
    quick, plain = (ArrowRows(schema, frozen=schema is not None) for _ in range(2))
    for records in batches:
        refused = quick.add(records)
        expected = plain.add([MappingProxyType(record) for record in records])
        assert {index: repr(error) for index, error in refused.items()} == {
            index: repr(error) for index, error in expected.items()
        }
        assert quick.rows == plain.rows
        assert quick.schema == plain.schema
    assert taken(quick) == taken(plain)


@settings(max_examples=examples(150, 4000), deadline=None)
@given(known=st.sampled_from([None, pa.int64(), pa.string()]), values=st.lists(NASTY, min_size=1, max_size=5))
def test_a_type_that_tells_spares_nothing_but_time(known: Any, values: list[Any]) -> None:
    def column() -> Any:
        try:
            array = arrowrows._column(values, "a", known)
        except (TypeError, ValueError):
            return None
        return array.type, list(map(repr, array.to_pylist()))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arrowrows, "_TOLD", frozenset())
        expected = column()
    assert column() == expected
