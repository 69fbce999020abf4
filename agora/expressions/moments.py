"""Dates, times and timestamps: their parts, truncation, differences, and shifts by an interval.

A timestamp with a time zone shows the clock of its zone, as Python's does; an interval is a length of time (a
day is 24 hours), never a month.
"""

import datetime
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from agora.expressions.coercion import coerced, nothing, unified
from agora.expressions.kinds import kind, named
from agora.expressions.plan import Apply, Constant, Kernel, Plan, Values

__all__ = ["PARTS", "UNITS", "difference", "in_python_range", "part", "shifted", "truncated"]

_FIRST = datetime.datetime(1, 1, 1)
_LAST = datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)
_DAY_OF_WEEK = pc.DayOfWeekOptions(count_from_zero=True, week_start=7)  # Sunday is 0

PARTS: dict[str, Callable[..., Values]] = {
    "year": pc.year,
    "quarter": pc.quarter,
    "month": pc.month,
    "week": pc.iso_week,
    "day": pc.day,
    "dayofweek": lambda values: pc.day_of_week(values, options=_DAY_OF_WEEK),
    "dow": lambda values: pc.day_of_week(values, options=_DAY_OF_WEEK),
    "isodow": lambda values: pc.day_of_week(values, count_from_zero=False, week_start=1),
    "dayofyear": pc.day_of_year,
    "doy": pc.day_of_year,
    "hour": pc.hour,
    "minute": pc.minute,
    "second": pc.second,
}
_OF_CLOCK = {"hour", "minute", "second", "millisecond", "microsecond"}
UNITS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")
_BETWEEN = {
    "year": pc.years_between,
    "quarter": pc.quarters_between,
    "week": pc.weeks_between,
    "day": pc.days_between,
    "hour": pc.hours_between,
    "minute": pc.minutes_between,
    "second": pc.seconds_between,
}


def in_python_range(values: Values) -> Values:
    """Which dates or timestamps Python's `datetime` has: of the years 1 to 9999."""
    of = values.type
    if kind(of) == "date":
        ends = [pa.scalar(end.date(), of) for end in (_FIRST, _LAST)]
    else:
        # An hour's zone may carry a moment over the edge: those within a day of it are left out.
        slack = datetime.timedelta(days=1 if of.tz is not None else 0)
        naive = pa.timestamp(of.unit)
        ends = [pa.scalar(end, naive).cast(of) for end in (_FIRST + slack, _LAST - slack)]
    return pc.and_(pc.greater_equal(values, ends[0]), pc.less_equal(values, ends[1]))


def shifted(operands: Sequence[Plan], sql: str, run: Callable[..., Values]) -> Plan | None:
    """A moment plus or minus an interval, or an interval and another; `None` where there is no interval."""
    left, right = operands
    kinds = (kind(left.type), kind(right.type))
    if "interval" not in kinds or "null" in kinds:
        return None
    if kinds == ("interval", "interval"):
        return Apply(Kernel(left.type, run), (left, right), sql)
    adds = run is pc.add_checked
    if kinds[0] == "interval" and adds:
        left, right = right, left
    if kind(left.type) not in {"date", "timestamp"} or kind(right.type) != "interval":
        raise TypeError(f"{sql}: {named(operands[0].type)} and {named(operands[1].type)} don't go together")
    if kind(left.type) == "date":
        left = coerced(left, pa.timestamp("us"), sql)

    def shift(moment: Values, length: Values) -> Values:
        result = run(moment, length)
        if not pc.all(in_python_range(result), min_count=0).as_py():
            raise OverflowError("beyond the years 1 to 9999")
        return result

    def problem(moment: datetime.datetime, length: datetime.timedelta) -> Exception | None:
        slack = datetime.timedelta(days=0 if moment.tzinfo is None else 1)
        if moment.tzinfo is not None:
            moment = moment.astimezone(datetime.UTC).replace(tzinfo=None)
        try:
            found = moment + length if adds else moment - length
        except OverflowError:
            found = None
        if found is None or not _FIRST + slack <= found <= _LAST - slack:
            return OverflowError("the result isn't in the years 1 to 9999")
        return None

    return Apply(Kernel(left.type, shift, problem), (left, right), sql)


def _moment(operand: Plan, sql: str) -> None:
    if kind(operand.type) not in {"date", "timestamp"}:
        hint = "; use CAST" if kind(operand.type) == "text" else ""
        raise TypeError(f"{sql}: takes a DATE or TIMESTAMP, not {named(operand.type)}{hint}")


def part(name: str) -> Callable[[Sequence[Plan], str], Plan]:
    """A part of a moment as a number, such as its year."""

    def rule(operands: Sequence[Plan], sql: str) -> Plan:
        (operand,) = operands
        if kind(operand.type) == "null":
            return operand
        if not (kind(operand.type) == "time" and name in _OF_CLOCK):
            _moment(operand, sql)
        if kind(operand.type) == "date" and name in _OF_CLOCK:
            operand = coerced(operand, pa.timestamp("us"), sql)
        compute = PARTS[name]
        return Apply(Kernel(pa.int64(), lambda values: compute(values).cast(pa.int64())), (operand,), sql)

    return rule


def _unit(operand: Plan, sql: str) -> str:
    name = operand.scalar.as_py() if isinstance(operand, Constant) and kind(operand.type) == "text" else None
    found = str(name).lower().removesuffix("s")
    if found not in UNITS:
        raise TypeError(f"{sql}: the unit must be one of {', '.join(UNITS)}, as a text constant")
    return found


def truncated(operands: Sequence[Plan], sql: str) -> Plan:
    """`date_trunc(unit, moment)`, of the moment's type; weeks start on Monday."""
    unit, operand = _unit(operands[0], sql), operands[1]
    if kind(operand.type) == "null":
        return operand
    _moment(operand, sql)
    if kind(operand.type) == "date" and unit in _OF_CLOCK:
        return operand
    run = Kernel(operand.type, lambda values: pc.floor_temporal(values, 1, unit))
    return Apply(run, (operand,), sql)


def difference(operands: Sequence[Plan], sql: str) -> Plan:
    """`date_diff(unit, start, stop)`: how many borders of the unit lie between the two."""
    unit = _unit(operands[0], sql)
    start, stop = operands[1:]
    null = nothing(operands, sql)
    if null is not None:
        return null
    _moment(start, sql)
    _moment(stop, sql)
    one, other = unified((start, stop), sql)
    if unit in _OF_CLOCK:
        one, other = (
            coerced(plan, pa.timestamp("us"), sql) if kind(plan.type) == "date" else plan
            for plan in (one, other)
        )

    def local(values: Values) -> Values:
        return pc.local_timestamp(values) if kind(one.type) == "timestamp" and one.type.tz else values

    def run(first: Values, last: Values) -> Values:
        first, last = local(first), local(last)
        if unit == "month":
            return pc.subtract(_months(last), _months(first))
        return _BETWEEN[unit](first, last).cast(pa.int64())

    return Apply(Kernel(pa.int64(), run), (one, other), sql)


def _months(values: Values) -> Values:
    return pc.add(pc.multiply(pc.year(values), 12), pc.month(values))
