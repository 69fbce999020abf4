"""The written loop by itself: when it looks for coroutines, where it breaks off, and which step failed with what."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from agora.middlewares.step import StepKind, step_from
from agora.runtime.loops import Loop

MAP, FILTER = StepKind.MAP, StepKind.FILTER


def loop_of(*steps: tuple[StepKind, Callable[..., Any]], **more: Any) -> Loop:
    return Loop.of(
        [step_from(fn, kind=kind, name=f"s{number}", **more) for number, (kind, fn) in enumerate(steps)]
    )


def run(
    loop: Loop, records: list[Any], flag: list[None] | None = None
) -> tuple[list[Any], list[list[int]], list[Any]]:
    """What came out, after how many each step dropped one, and the records that weren't drawn."""
    out: list[Any] = []
    gone: list[list[int]] = [[] for _ in loop.steps]
    rows = iter(records)
    trio.run(loop.call, rows, out, gone, [] if flag is None else flag)
    return out, gone, list(rows)


def odd_only(record: Any) -> Any:
    return record if record % 2 else None


async def plus_one(record: Any) -> Any:
    return record + 1


async def above_two(record: Any) -> bool:
    return bool(record > 2)


def late(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A plain function that gives a coroutine."""
    return lambda record: fn(record)  # noqa: PLW0108  - that it is a function of its own is the point


class Callable_:
    def __call__(self, record: Any) -> Any:
        return plus_one(record)


@pytest.mark.parametrize("plus", [plus_one, late(plus_one), lambda record: record + 1, Callable_()])
@pytest.mark.parametrize(
    "above", [above_two, late(above_two), lambda record: record > 2, lambda record: record - 2 > 0 or ""]
)
def test_whatever_form_a_function_has_its_answer_is_what_counts(plus: Any, above: Any) -> None:
    assert run(loop_of((MAP, plus), (FILTER, above)), [0, 1, 2, 3]) == ([3, 4], [[], [0, 0]], [])


def test_of_each_record_that_is_dropped_it_is_told_how_many_came_out_before() -> None:
    out, gone, _ = run(loop_of((MAP, odd_only), (FILTER, lambda record: record != 3)), [0, 1, 2, 3, 5, 4])
    assert (out, gone) == ([1, 5], [[0, 1, 2], [1]])


@pytest.mark.parametrize("fn", [odd_only, late(odd_only)])
def test_once_the_loop_is_overdue_it_breaks_off_behind_the_record_at_hand(fn: Any) -> None:
    assert run(loop_of((MAP, fn)), [1, 2, 3], [None]) == ([1], [[]], [2, 3])
    assert run(loop_of((MAP, fn)), [2, 3, 1], [None]) == ([], [[0]], [3, 1])


def strict(record: Any) -> Any:
    if record == 2:
        raise KeyError(record)
    return record


def stops(record: Any) -> Any:
    raise StopIteration(record)


async def within(record: Any) -> Any:
    return deeper(record)


def deeper(record: Any) -> Any:
    return strict(record)


@pytest.mark.parametrize("fn", [strict, stops, within, late(within)])
def test_the_step_that_failed_is_found_with_the_record_as_it_entered_it(fn: Any) -> None:
    loop = loop_of(
        (MAP, lambda record: record * 2), (MAP, plus_one), (MAP, lambda record: record - 1), (MAP, fn)
    )
    with pytest.raises((KeyError, RuntimeError)) as raised:
        run(loop, [1])
    assert loop.failed_at(raised.value) == (3, 2)
    with pytest.raises(TypeError) as early:
        run(loop, [None])
    assert loop.failed_at(early.value) == (0, None)


def test_a_record_that_may_pass_is_given_back_as_it_was() -> None:
    def spoil(record: Any) -> Any:
        record.append("spoiled")
        raise ValueError

    loop = loop_of((MAP, spoil), on_error="pass")
    with pytest.raises(ValueError) as raised:  # noqa: PT011  - its text is looked at below
        run(loop, [[1]])
    assert loop.failed_at(raised.value) == (0, [1])


def test_an_error_from_elsewhere_is_none_of_a_loop_s() -> None:
    with pytest.raises(RuntimeError, match="did not come out of a generated loop"):
        loop_of((MAP, strict)).failed_at(ValueError())


def test_a_function_that_calls_nothing_is_not_asked_for_a_coroutine() -> None:
    """Which makes it a fourth quicker; what it gives is then what it is."""
    given = plus_one(1)
    kept = [given]
    assert run(loop_of((MAP, lambda record: record)), kept) == ([given], [[]], [])
    given.close()
