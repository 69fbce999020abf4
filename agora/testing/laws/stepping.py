"""A part's coroutines, one suspension at a time: when each goes on, and at which one all is cancelled.

What a part awaits is passed on to trio as it is. In between it is counted, cancelled at a chosen place, and kept
waiting, so that records that are in flight at once finish in an order that the case says.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Generator, Sequence
from contextlib import aclosing
from inspect import isawaitable
from types import CoroutineType, coroutine
from typing import Any

import attrs
import trio

from agora.testing.laws.idling import Idling

__all__ = ["TICK", "Stepper"]

TICK = 0.001
"""Virtual seconds that one unit of a schedule is."""
_PROMPT = 0.05
"""Virtual seconds within which what is cancelled is to end."""
_PATIENCE = 60.0
_DELIVERIES = 100


class _OverdueError(BaseException):
    """Thrown into what goes on waiting though it is cancelled."""


@attrs.define(eq=False)
class Stepper:
    """Watches over all that a part awaits in one run."""

    waits: Sequence[int] = ()
    """How many ticks the n-th thing that goes on has to wait before it does; none behind the last."""
    cancel_at: int | None = None
    """The suspension, counted from 1, at which `scope` is cancelled."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    suspensions: int = 0
    swallowed: list[str] = attrs.field(factory=list)
    """What took its cancellation for something else, and what came of it."""
    late: list[str] = attrs.field(factory=list)
    """What went on waiting though it was cancelled."""
    blocked: float = 0.0
    """The longest real time in seconds for which a call held the loop up without computing."""
    _going: int = 0
    _cancelled_at: float | None = None
    _cancelled: trio.Event = attrs.field(factory=trio.Event)
    _stuck: dict[trio.lowlevel.Task, str] = attrs.field(factory=dict)

    def wrap(self, call: Callable[..., Any], label: str) -> Callable[..., Any]:
        """`call` with what it awaits watched: it may be plain, a coroutine function, or give an async generator."""

        def watched(*args: Any) -> Any:
            before = Idling()
            result = call(*args)
            self._measure(before)
            if isinstance(result, CoroutineType) or isawaitable(result):
                return self.drive(result, label)
            if isinstance(result, AsyncIterable):
                return self._draw(result, label)
            return result

        return watched

    async def drive(self, awaitable: Any, label: str) -> Any:
        """Await it, watched."""
        steps = awaitable if hasattr(awaitable, "send") else awaitable.__await__()
        return await self._stepping(steps, label)

    async def watch(self) -> None:
        """A task beside the run: ends what goes on waiting long after it was cancelled."""
        await self._cancelled.wait()
        await trio.sleep(_PATIENCE)
        for task in list(self._stuck):
            task._attempt_abort(_raise_overdue)

    async def _draw(self, children: Any, label: str) -> AsyncGenerator[Any]:
        iterator = aiter(children)
        if not hasattr(iterator, "aclose"):
            async for child in iterator:
                yield child
            return
        async with aclosing(iterator):
            while True:
                try:
                    child = await self.drive(anext(iterator), label)
                except StopAsyncIteration:
                    return
                yield child

    @coroutine
    def _stepping(self, steps: Any, label: str) -> Generator[Any, Any, Any]:
        yield from self._turn().__await__()
        task = trio.lowlevel.current_task()
        outside = _status(task)
        go_on, argument, cancelled = steps.send, None, 0
        while True:
            before = Idling()
            try:
                trap = go_on(argument)
            except BaseException as error:  # noqa: ASYNC104  - raised below, but for an answer
                self._measure(before)
                self._judge(error, cancelled > 0, label)
                if isinstance(error, StopIteration):
                    return error.value  # noqa: ASYNC104  - what was awaited has answered
                if _holds(error, _OverdueError):
                    yield from _checkpoint().__await__()  # raises Cancelled: it was
                raise
            self._measure(before)
            self._suspended()
            self._stuck[task] = label
            try:
                argument = yield trap
            except BaseException as error:  # noqa: ASYNC103, ASYNC104, BLE001  - it goes on inside
                go_on, argument = steps.throw, error
                continue  # noqa: ASYNC104  - likewise
            finally:
                del self._stuck[task]
            go_on = steps.send
            given_up = getattr(argument, "error", None)  # trio answers with an outcome
            if given_up is None:
                yield from self._turn().__await__()
            elif isinstance(given_up, trio.Cancelled) and _reaches(outside, task):
                cancelled += 1
                if cancelled > _DELIVERIES:
                    self.swallowed.append(f"{label} went on, however often it was cancelled")
                    go_on, argument = steps.throw, _OverdueError()

    def _turn(self) -> Coroutine[Any, Any, None]:
        """Wait for as long as the schedule says. Shielded: what was waited for has happened, and can't be undone."""
        ticks = self.waits[self._going] if self._going < len(self.waits) else 0
        self._going += 1
        return _sleep_shielded(ticks * TICK)

    def _suspended(self) -> None:
        self.suspensions += 1
        if self.suspensions == self.cancel_at:
            self._cancelled_at = trio.current_time()
            self._cancelled.set()
            self.scope.cancel()

    def _judge(self, error: BaseException, cancelled: bool, label: str) -> None:
        """What came of a call that may have been cancelled."""
        took = 0.0 if self._cancelled_at is None else trio.current_time() - self._cancelled_at
        if took > _PROMPT:
            self.late.append(f"{label} went on for {took:.3g} s after it was cancelled")
        if not cancelled:
            return
        if isinstance(error, StopIteration):
            self.swallowed.append(f"{label} was cancelled, and answered {error.value!r}")
        elif not _holds(error, trio.Cancelled, _OverdueError):
            self.swallowed.append(f"{label} was cancelled, and raised {error!r}")

    def _measure(self, before: Idling) -> None:
        self.blocked = max(self.blocked, before.seconds())


async def _sleep_shielded(seconds: float) -> None:
    if seconds:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)


async def _checkpoint() -> None:
    await trio.lowlevel.checkpoint()


def _holds(error: BaseException, *kinds: type[BaseException]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(kinds) is not None
    return isinstance(error, kinds)


def _status(task: trio.lowlevel.Task) -> Any:
    """The innermost cancel scope of the task, as trio keeps it; there is no public name for it."""
    return task._cancel_status


def _reaches(outside: Any, task: trio.lowlevel.Task) -> bool:
    """Whether a cancellation from outside is what the task is told of: a scope of its own, a timeout of its own or the
    end of a sleep, isn't."""
    status = _status(task)
    while status is not None and status is not outside:
        if status._scope.shield:
            return False
        status = status._parent
    return bool(outside.effectively_cancelled)


def _raise_overdue() -> None:
    raise _OverdueError
