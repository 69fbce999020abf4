"""What a part is, is found out when a pipeline is built."""

import functools
from typing import Any

import pytest

from agora import ConfigError, middleware
from agora.middlewares import ExpandingMiddleware, Middleware, StatefulMiddleware
from agora.middlewares.step import StepKind, is_async_callable, step_from


class Process:
    def process(self, record: Any) -> Any:
        return record


class Awaited:
    async def __call__(self, record: Any) -> Any:
        return record


async def later(record: Any) -> Any:
    return record


@pytest.mark.parametrize(
    ("part", "kind", "is_async", "name"),
    [
        (Process(), StepKind.MAP, False, "Process"),
        (lambda record: record, StepKind.MAP, False, "map"),
        (later, StepKind.MAP, True, "later"),
        (Awaited(), StepKind.MAP, True, "Awaited"),
        (functools.partial(functools.partial(later)), StepKind.MAP, True, "later"),
        (middleware(later), StepKind.MAP, True, "later"),
        (middleware(name="mine", min_concurrency=4)(later), StepKind.MAP, True, "mine"),
        (str.upper, StepKind.MAP, False, "upper"),
        (print, StepKind.MAP, False, "print"),
    ],
)
def test_a_part_is_read_by_its_methods(part: Any, kind: StepKind, is_async: bool, name: str) -> None:
    step = step_from(part)
    assert (step.kind, step.is_async, step.name) == (kind, is_async, name)
    assert is_async_callable(step.call) is is_async


def test_a_decorated_function_is_still_one() -> None:
    @middleware
    def double(record: int) -> int:
        """Twice."""
        return record * 2

    assert double(4) == double.process(4) == 8
    assert step_from(middleware(min_concurrency=3)(later)).concurrency == 3
    with pytest.raises(ValueError, match="min_concurrency"):
        middleware(min_concurrency=0)(later)


class Two:
    def process(self, record: Any) -> Any: ...

    def expand(self, record: Any) -> Any: ...


class Stateful(Process):
    def snapshot(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


class Half(Process):
    def snapshot(self) -> Any: ...


@pytest.mark.parametrize(
    ("part", "options", "says"),
    [
        (Process, {}, "is a class"),
        (object(), {}, "none of them"),
        (Two(), {}, "process and expand"),
        (Process(), {"on_error": "ignore"}, "expected one of dead_letter, stop, skip, pass"),
        (Process(), {"concurrency": 0}, "whole number from 1"),
        (Process(), {"concurrency": True}, "whole number from 1"),
        (Process(), {"concurrency": 1.5}, "whole number from 1"),
        (Stateful(), {"concurrency": 2}, "has state"),
        (Half(), {}, "no restore"),
        (7, {"kind": StepKind.MAP}, "no function"),
    ],
)
def test_what_is_no_step_is_refused_with_the_reason(part: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        step_from(part, **options)


class Split(Middleware):
    def expand(self, record: Any) -> Any:
        return [record, record]


class Whole(StatefulMiddleware, ExpandingMiddleware):
    def process_batch(self, records: Any) -> Any:
        return records


def test_a_method_that_a_contract_only_declares_does_not_count() -> None:
    split: type[Any] = Split  # type checkers take a stub for abstract; at runtime it isn't
    assert step_from(split()).kind is StepKind.EXPAND
    whole: type[Any] = Whole
    step = step_from(whole())
    assert (step.kind, step.stateful) == (StepKind.BATCH, False)


def test_a_decorated_function_used_as_a_function_is_awaited_and_has_no_hooks() -> None:
    decorated = middleware(min_concurrency=3)(later)
    assert step_from(decorated, kind=StepKind.MAP).is_async
    assert step_from(functools.partial(decorated), kind=StepKind.MAP).is_async
    assert step_from(decorated).part is None
    assert step_from(decorated).concurrency == 3
