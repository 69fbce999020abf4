"""What tagged JSON keeps, what it refuses, and that reading it runs nothing."""

import contextlib
import dataclasses
import enum
import json
import math
import sys
import uuid
import zoneinfo
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.deadletter import DLQRecord, Entry
from agora.errors import StateError
from agora.records import Opaque
from agora.tagged import decode, encode, from_jsonable, opaque_in, to_jsonable


@attrs.frozen
class Order:
    number: int
    _secret: str
    lines: tuple[Decimal, ...] = ()


@attrs.define
class Total:
    amount: int
    doubled: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.doubled = self.amount * 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float


class Colour(enum.Enum):
    RED = "red"


any_text = st.text(st.characters(codec=None, exclude_categories=()))
offsets = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
zones = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata"]).map(zoneinfo.ZoneInfo)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**40), max_value=10**40)
    | st.floats(allow_nan=False)
    | any_text
    | st.binary()
    | st.dates()
    | st.times(timezones=st.none() | offsets)
    | st.datetimes(timezones=st.none() | offsets | zones)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from(Colour)
    | st.builds(Opaque, any_text)
    | st.builds(Point, st.floats(allow_nan=False), st.floats(allow_nan=False))
)
keys = (
    any_text | st.just("$") | st.integers() | st.booleans() | st.none() | st.tuples(st.integers(), st.text())
)
hashable = st.integers() | any_text | st.dates() | st.tuples(st.booleans(), st.binary())
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.frozensets(hashable, max_size=4)
        | st.builds(Order, st.integers(), any_text, st.lists(st.decimals(allow_nan=False)).map(tuple))
    ),
    max_leaves=20,
)
CLASSES = (Order, Point, Total, Colour)


def same(left: object, right: object) -> bool:
    """Equal, and of the same types all the way down (`1 == 1.0 == True`)."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return same(list(left), list(right)) and same(list(left.values()), list(right.values()))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, datetime | time):
        zones_equal = getattr(left.tzinfo, "key", None) == getattr(right.tzinfo, "key", None)
        return (
            left.replace(tzinfo=None) == right.replace(tzinfo=None)
            and left.fold == right.fold
            and (zones_equal and left.utcoffset() == right.utcoffset())
        )
    return left == right and repr(left) == repr(right) if isinstance(left, float) else left == right


@given(values)
def test_what_was_encoded_comes_back_equal_and_of_the_same_type(value):
    assert same(decode(encode(value), CLASSES), value)


@given(values)
def test_the_text_is_plain_json_for_every_reader(value):
    assert from_jsonable(json.loads(encode(value)), CLASSES) == value


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_floats_that_json_lacks_come_back(text):
    assert repr(decode(encode([float(text)]))) == f"[{text}]"


@pytest.mark.parametrize(
    "value",
    [
        {"$": "bytes", "v": "AAAA"},
        {"$": {"$": "date", "v": "2020-01-01"}},
        {"a": {"$": 1}, "$": None},
        [{"$": "class", "c": "os.system", "v": {}}],
    ],
)
def test_a_dict_that_looks_like_a_tag_stays_that_dict(value):
    assert decode(encode(value)) == value


def test_a_repeated_hour_keeps_which_of_the_two_it_is():
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    first, second = (datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1))
    assert decode(encode(first)).utcoffset() != decode(encode(second)).utcoffset()


def test_a_zone_that_this_machine_lacks_leaves_its_offset():
    data = {"$": "datetime", "v": "2026-01-01T00:00:00+05:00", "zone": "Nowhere/Land"}
    assert from_jsonable(data) == datetime(2025, 12, 31, 19, tzinfo=UTC)


def test_an_integer_longer_than_python_prints_comes_back():
    huge = 1 << 50_000
    assert decode(encode(huge)) == huge


def test_instances_of_classes_not_handed_in_come_back_as_their_fields():
    order = Order(1, "s", (Decimal("1.50"),))
    assert decode(encode(order)) == {"number": 1, "_secret": "s", "lines": (Decimal("1.50"),)}
    assert decode(encode(Colour.RED)) == "red"
    assert decode(encode(Point(1.0, 2.0))) == {"x": 1.0, "y": 2.0}


def test_computed_fields_come_back_as_they_were_stored():
    total = Total(2)
    total.doubled = 5
    assert decode(encode(total), [Total]) == total


def test_a_field_added_since_gets_its_default():
    stored = to_jsonable(Order(1, "s"))
    del stored["v"]["lines"]
    assert from_jsonable(stored, [Order]) == Order(1, "s")


def test_reading_imports_nothing():
    assert "this" not in sys.modules
    data = b'{"$":"class","c":"this.Zen","v":{"$x":1}}'
    assert decode(data) == {"$x": 1}
    assert "this" not in sys.modules


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no repr today")


def test_what_has_no_form_is_kept_as_its_repr_in_its_place():
    value = {"path": Path("a/b"), "n": 1, "broken": Broken(), "pattern": [object]}
    read = decode(encode(value))
    assert read["path"] == Opaque(repr(Path("a/b")))
    assert read["n"] == 1
    assert "Broken" in read["broken"].text
    assert read["pattern"] == [Opaque(repr(object))]


def test_subclasses_of_built_in_types_are_kept_as_what_they_equal():
    pair = namedtuple("pair", "a b")
    assert decode(encode([OrderedDict(a=1), pair(1, 2)])) == [{"a": 1}, (1, 2)]


def test_what_contains_itself_is_cut_and_kept():
    loop = [1]
    loop.append(loop)
    read = decode(encode(loop))
    assert read[0] == 1
    assert read[1][0] == 1


def test_nesting_beyond_every_limit_is_cut_and_kept():
    deep = 1
    for _ in range(100_000):
        deep = [deep]
    assert isinstance(decode(encode({"deep": deep, "n": 1})), dict)


def test_equal_sets_give_equal_text():
    assert encode({"a", "b", 1, 2}) == encode({2, "b", 1, "a"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b'{"$":"newer","v":1}',
        b'{"$":"date","v":"soon"}',
        b'{"$":"bytes","v":"***"}',
        b'{"$":"dict","v":[[{"$":"dict","v":[]},1]]}',
        b'{"$":"int"}',
        b'{"$":["date"],"v":1}',
    ],
)
def test_text_that_was_not_written_by_it_is_a_state_error(data):
    with pytest.raises(StateError):
        decode(data)


@given(st.binary(max_size=60) | any_text.map(lambda text: json.dumps({"$": text, "v": text}).encode()))
def test_any_text_is_read_or_refused_with_a_state_error(data):
    with contextlib.suppress(StateError):
        decode(data)


def test_a_stored_class_that_no_longer_takes_its_fields_is_a_state_error():
    stored = to_jsonable(Order(1, "s"))
    del stored["v"]["number"]
    with pytest.raises(StateError, match="number"):
        from_jsonable(stored, [Order])


def letter(**fields) -> DLQRecord:
    shape = {
        "id": "1",
        "pipeline": "p",
        "run_id": "r",
        "stage": "source",
        "error_type": "ValueError",
        "error_message": "",
        "original": {"a": 1},
        "checkpoint": {"ordinal": 0, "position": None},
        "failed_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return DLQRecord(**{**shape, **fields})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"entry": None}, False),
        ({"original": None}, False),
        ({"original": {"deep": [(1, {"x": Opaque("?")})]}}, False),
        ({"original": Order(1, "s", (Opaque("?"),))}, False),
        ({"original": Opaque("?"), "entry": Entry(step="s", record={"a": 1})}, True),
        ({"original": {"a": 1}, "entry": Entry(step=None, record={1: Opaque("?")})}, False),
        ({"original": {"a": 1}, "processed": Opaque("?")}, True),
    ],
)
def test_a_letter_is_replayable_when_what_its_entry_needs_was_kept(fields, expected):
    assert letter(**fields).replayable is expected


def test_nan_is_kept():
    assert math.isnan(decode(encode(math.nan)))


def test_built_in_values_of_every_kind_are_tagged_by_their_kind():
    assert to_jsonable((date(2026, 1, 2), uuid.UUID(int=1))) == {
        "$": "tuple",
        "v": [{"$": "date", "v": "2026-01-02"}, {"$": "uuid", "v": str(uuid.UUID(int=1))}],
    }


def test_what_has_no_form_is_found_with_its_place():
    known = {"a": [1, {"$": "opaque", "v": "mine"}], "b": (1, {2}), 3: "x"}
    assert opaque_in(to_jsonable(known)) is None
    found = opaque_in(to_jsonable({"a": {"b": [1, print]}, "c": object()}))
    assert found == ("a.b[1]", "<built-in function print>")
