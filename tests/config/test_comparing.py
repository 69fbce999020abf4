"""How records that came are held against those that a file expects."""

import datetime
import enum
import math
import tomllib
from decimal import Decimal
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.config.testing.comparing import Rules, compare, compare_records
from agora.config.testing.plain import ABSENT, plain, toml


@attrs.frozen
class Order:
    number: int
    amount: Decimal
    note: str | None = None


class Colour(enum.Enum):
    RED = "red"


def paths(expected, actual, **rules):
    return [difference.path for difference in compare(expected, actual, Rules(**rules))]


def kinds(expected, actual):
    found = compare_records(expected, actual, lambda one, two: compare(one, two, Rules()))
    return [(difference.kind, difference.index) for difference in found]


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ({"a": None, "b": 1}, {"b": 1}),
        ({1: (2, [3])}, {"1": [2, [3]]}),
        ([None], [None]),
        (Order(1, Decimal("2.50")), {"number": 1, "amount": "2.50"}),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (b"\x00\xff", "AP8="),
        (datetime.date(2026, 11, 2), datetime.date(2026, 11, 2)),
        (datetime.timedelta(seconds=90), "PT90S"),
        (Colour.RED, "red"),
        ({"at": datetime.datetime(2026, 1, 2, 3)}, {"at": datetime.datetime(2026, 1, 2, 3)}),
    ],
)
def test_what_toml_lacks_is_what_json_has_for_it(value, form):
    assert plain(value) == form


def test_what_nothing_has_a_form_for_is_its_repr():
    assert plain({"f": math.sqrt}) == {"f": repr(math.sqrt)}


PLAIN = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.just(datetime.UTC)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_a_value_is_written_so_that_a_file_gives_it_back(value):
    found = tomllib.loads(f"value = {toml(value)}")["value"]
    assert compare(value, found, Rules()) == []
    assert compare(plain(value), value, Rules()) == []


@pytest.mark.parametrize(
    ("expected", "actual", "where"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, ["a"]),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": "1"}, {"a": 1}, ["a"]),
        ({"a": 0.1}, {"a": 0.1 + 5e-18}, []),
        ({"a": 0.3}, {"a": 0.1 + 0.2}, ["a"]),
        ({"a": math.nan}, {"a": math.nan}, []),
        ({"a": datetime.date(2026, 1, 1)}, {"a": datetime.datetime(2026, 1, 1)}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({}, {"a": 1}, ["a"]),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, ["a.b[1].c"]),
        ({"a": [1, 2]}, {"a": [1]}, ["a[1]"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a[1]"]),
        (5, 6, [""]),
        ({"a": 1}, 5, [""]),
    ],
)
def test_a_difference_names_its_place(expected, actual, where):
    assert paths(expected, actual) == where


def test_fields_more_than_expected_may_be_allowed():
    assert paths({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}, "d": 3}, extra_fields=True) == []
    assert paths({"a": 1, "b": 2}, {"a": 1, "c": 2}, extra_fields=True) == ["b"]


def test_floats_may_be_given_a_tolerance():
    assert paths({"a": 0.3}, {"a": 0.1 + 0.2}, tolerance=1e-9) == []
    assert paths({"a": 0.0}, {"a": 1e-12}, tolerance=1e-9) == []
    assert paths({"a": 1e20}, {"a": 1e20 + 1e10}, tolerance=1e-9) == []
    assert paths({"a": 0.3}, {"a": 0.31}, tolerance=1e-9) == ["a"]
    assert paths({"a": 1}, {"a": 1.0}, tolerance=1.0) == ["a"]


def test_one_record_too_many_isnt_told_of_all_behind_it():
    records = [{"n": number} for number in range(6)]
    assert kinds(records, [*records[:2], {"n": 99}, *records[2:]]) == [("unexpected", 2)]
    assert kinds(records, [*records[:2], *records[3:]]) == [("missing", 2)]
    assert kinds([], records[:1]) == [("unexpected", 0)]
    assert kinds(records, records) == []


def test_a_changed_record_is_held_against_the_one_it_is_most_like():
    expected = [{"id": 1, "a": 1, "b": 2}, {"id": 2, "a": 3, "b": 4}]
    assert kinds(expected, [{"id": 2, "a": 3, "b": 5}]) == [("missing", 0), ("changed", 0)]


def test_order_counts():
    assert kinds([{"n": 1}, {"n": 2}], [{"n": 2}, {"n": 1}]) != []


def test_long_lists_that_share_nothing_are_compared_one_by_one():
    one, two = [{"n": n} for n in range(1_000)], [{"n": -1 - n} for n in range(999)]
    assert kinds(one, two) == [*(("changed", n) for n in range(999)), ("missing", 999)]


def test_long_lists_with_one_difference_tell_only_that():
    records = [{"n": n} for n in range(2_000)]
    assert kinds(records, [*records[:500], {"n": -1}, *records[500:]]) == [("unexpected", 500)]


SMALL = st.lists(st.sampled_from([{"n": n} for n in range(3)]), max_size=6)


@given(SMALL, SMALL)
def test_a_difference_is_found_exactly_where_lists_differ(expected, actual):
    found = compare_records(expected, actual, lambda one, two: compare(one, two, Rules()))
    assert (found == []) == (expected == actual)
    grown = len([each for each in found if each.kind == "unexpected"])
    shrunk = len([each for each in found if each.kind == "missing"])
    assert len(actual) - len(expected) == grown - shrunk


def test_absent_is_nothing_that_a_record_holds():
    assert repr(ABSENT) == "ABSENT"
    assert plain(ABSENT) != ABSENT
