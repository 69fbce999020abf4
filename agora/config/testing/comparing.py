"""What differs between the records that were expected and those that came; pure.

Both lists are aligned first, so that one record too many isn't told as a difference of all behind it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs

from agora.config.testing.plain import ABSENT

__all__ = ["FieldDifference", "RecordDifference", "Rules", "compare", "compare_records"]

_LARGEST = 250_000
"""Pairs of records up to which they are aligned; beyond, the first differing one is held against the first."""


@attrs.frozen
class Rules:
    """How two values are compared."""

    extra_fields: bool = False
    """Whether a record may have fields that the expected one doesn't have."""
    tolerance: float = 0.0
    """Of floats, relative or absolute."""


@attrs.frozen
class FieldDifference:
    """A place in a record, `ABSENT` where one of both has none."""

    path: str
    expected: Any
    actual: Any
    says: str = "expected"
    """What was expected of it: the value itself, or something that it contains."""


@attrs.frozen
class RecordDifference:
    """A record that isn't as expected."""

    kind: Literal["changed", "missing", "unexpected"]
    index: int
    """Among those expected where it is missing, else among those that came."""
    expected: Any
    actual: Any
    fields: Sequence[FieldDifference] = ()


Compare = Callable[[Any, Any], Sequence[FieldDifference]]


def compare(expected: Any, actual: Any, rules: Rules) -> list[FieldDifference]:
    """Where two plain values differ."""
    return list(_values("", expected, actual, rules))


def compare_records(
    expected: Sequence[Any], actual: Sequence[Any], compared: Compare
) -> list[RecordDifference]:
    """Which of the records that came aren't the expected ones, in order."""
    start = 0
    while start < min(len(expected), len(actual)) and not compared(expected[start], actual[start]):
        start += 1
    left, right = len(expected), len(actual)
    while left > start and right > start and not compared(expected[left - 1], actual[right - 1]):
        left, right = left - 1, right - 1
    pairs = _aligned(expected[start:left], actual[start:right], compared)
    found: list[RecordDifference] = []
    for before, after in pairs:
        if before is None and after is not None:
            found.append(RecordDifference("unexpected", start + after, ABSENT, actual[start + after]))
        elif after is None and before is not None:
            found.append(RecordDifference("missing", start + before, expected[start + before], ABSENT))
        elif before is not None and after is not None:
            wanted, came = expected[start + before], actual[start + after]
            if fields := compared(wanted, came):
                found.append(RecordDifference("changed", start + after, wanted, came, fields))
    return found


def _values(path: str, expected: Any, actual: Any, rules: Rules) -> Sequence[FieldDifference]:
    if isinstance(expected, dict) and isinstance(actual, dict):
        extra = [] if rules.extra_fields else [key for key in actual if key not in expected]
        return [
            difference
            for key in (*expected, *extra)
            for difference in _values(
                f"{path}.{key}" if path else key, expected.get(key, ABSENT), actual.get(key, ABSENT), rules
            )
        ]
    if isinstance(expected, list) and isinstance(actual, list):
        longest = max(len(expected), len(actual))
        pairs = zip(
            *(values + [ABSENT] * (longest - len(values)) for values in (expected, actual)), strict=True
        )
        return [
            difference
            for index, (before, after) in enumerate(pairs)
            for difference in _values(f"{path}[{index}]", before, after, rules)
        ]
    return () if _same(expected, actual, rules) else (FieldDifference(path, expected, actual),)


def _same(expected: Any, actual: Any, rules: Rules) -> bool:
    if type(expected) is not type(actual):
        return False
    if isinstance(expected, float):
        if math.isnan(expected) or math.isnan(actual):
            return math.isnan(expected) and math.isnan(actual)
        far = rules.tolerance
        return expected == actual or (far > 0 and math.isclose(expected, actual, rel_tol=far, abs_tol=far))
    return bool(expected == actual)


def _aligned(
    expected: Sequence[Any], actual: Sequence[Any], compared: Compare
) -> list[tuple[int | None, int | None]]:
    """Indexes of both, paired so that as little as possible differs."""
    rows, columns = len(expected), len(actual)
    if rows * columns > _LARGEST:
        both = min(rows, columns)
        rest = [(at, None) for at in range(both, rows)] + [(None, at) for at in range(both, columns)]
        return [*((at, at) for at in range(both)), *rest]
    # cost[i][j]: of the first i and the first j; a record alone costs 1, a pair at most 2.
    cost = [[float(i + j) for j in range(columns + 1)] for i in range(rows + 1)]
    paired = [[0.0] * columns for _ in range(rows)]
    for i in range(rows):
        for j in range(columns):
            paired[i][j] = 2 * _distance(expected[i], actual[j], compared)
            cost[i + 1][j + 1] = min(cost[i][j] + paired[i][j], cost[i][j + 1] + 1, cost[i + 1][j] + 1)
    pairs: list[tuple[int | None, int | None]] = []
    i, j = rows, columns
    while i or j:
        if i and j and cost[i][j] == cost[i - 1][j - 1] + paired[i - 1][j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif j and cost[i][j] == cost[i][j - 1] + 1:
            j -= 1
            pairs.append((None, j))
        else:
            i -= 1
            pairs.append((i, None))
    return pairs[::-1]


def _distance(expected: Any, actual: Any, compared: Compare) -> float:
    """0 for equal ones, 1 where nothing is equal."""
    differing = {
        difference.path.partition(".")[0].partition("[")[0] for difference in compared(expected, actual)
    }
    keys = {*(expected if isinstance(expected, dict) else ()), *(actual if isinstance(actual, dict) else ())}
    return min(1.0, len(differing) / max(1, len(keys)))
