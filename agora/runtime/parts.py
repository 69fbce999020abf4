"""The life of the parts in a run: who is in use, opening in order, leaving in reverse.

`open`, `close`, `on_start` and `on_end` run in the task that called `run()`. A `lifespan` runs in a task of
its own under a cancel scope that stood before it was entered: leaving a nursery under a shield that was
opened later corrupts trio's scopes.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from agora.context import RunContext
from agora.runtime.closing import Closing
from agora.runtime.failing import leaf, maybe_await

__all__ = ["OpenParts", "reserved"]

_in_use: dict[int, str] = {}


@contextmanager
def reserved(pipeline: str, parts: Sequence[object]) -> Iterator[None]:
    """Hold these parts for one run. Raises `trio.BusyResourceError` if one of them is in another that isn't
    over."""
    mine = {id(part): part for part in parts}
    for key, part in mine.items():
        if key in _in_use:
            raise trio.BusyResourceError(
                f"pipeline {pipeline!r}: {type(part).__name__} is in use by a run of pipeline "
                f"{_in_use[key]!r} that isn't over"
            )
    _in_use.update(dict.fromkeys(mine, pipeline))
    try:
        yield
    finally:
        for key in mine:
            del _in_use[key]


@attrs.define(eq=False)
class _Lifespan:
    """A part's `lifespan`, in a task of its own from `enter` to `leave`."""

    part: Any
    context: RunContext
    _told: trio.Event = attrs.field(factory=trio.Event)
    _left: trio.Event = attrs.field(factory=trio.Event)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self._scope:
                async with self.part.lifespan(self.context):
                    self._scope.shield = (
                        True  # from here on it leaves when it is told, not when the run is cancelled
                    )
                    task_status.started()
                    await self._told.wait()
        finally:
            self._left.set()

    async def leave(self, deadline: float) -> None:
        self._scope.deadline = deadline
        self._told.set()
        await self._left.wait()


@attrs.define(kw_only=True, eq=False)
class OpenParts:
    """What has been opened, and how it is left."""

    nursery: trio.Nursery
    """For lifespans."""
    closing: Closing
    on_lost: Callable[[Exception], None]
    """Told when a lifespan fails between entering and leaving."""
    _leave: list[tuple[str, Callable[[], Awaitable[object]]]] = attrs.field(factory=list)

    async def enter(self, part: Any, context: RunContext) -> None:
        """Enter the part's lifespan and open it. Left in reverse by `close`, also when opening fails
        half-way."""
        if callable(getattr(part, "lifespan", None)):
            await self._enter_lifespan(_Lifespan(part, context))
        opening = getattr(part, "open", None)
        if not callable(opening):
            return
        closing = getattr(part, "close", None)
        if callable(closing):
            self.push(f"{context.stage} ({type(part).__name__}.close)", lambda: maybe_await(closing()))
        await maybe_await(opening(context))

    def push(self, label: str, leave: Callable[[], Awaitable[object]]) -> None:
        """Call `leave` at the end, before what was pushed earlier."""
        self._leave.append((label, leave))

    async def close(self) -> list[Exception]:
        """Leave everything, in reverse, shielded, within the closing deadline; what went wrong, named by
        notes."""
        self.closing.begin()
        errors: list[Exception] = []
        while self._leave:
            label, leave = self._leave.pop()
            try:
                with self.closing.shield(until=self.closing.for_one_more()) as shield:
                    await leave()
            except Exception as error:  # noqa: BLE001  - closing goes on; the caller decides what to raise
                error.add_note(f"while closing {label}")
                errors.append(error)
            if shield.cancelled_caught:
                errors.append(
                    TimeoutError(
                        f"{label} hasn't closed within {self.closing.seconds:.0f} s and was cancelled"
                    )
                )
        return errors

    async def _enter_lifespan(self, lifespan: _Lifespan) -> None:
        context = lifespan.context

        async def host(*, task_status: trio.TaskStatus[None]) -> None:
            entered = False

            class Status:
                def started(self, value: None = None) -> None:
                    nonlocal entered
                    entered = True
                    task_status.started(value)

            try:
                await lifespan.run(Status())
            except Exception as error:
                if not entered:
                    raise
                error = leaf(error)
                error.add_note(f"in the lifespan of {context.stage}")
                self.on_lost(error)

        await self.nursery.start(host)
        label = f"{context.stage} ({type(lifespan.part).__name__}.lifespan)"

        async def leave() -> None:
            await lifespan.leave(self.closing.for_one_more())

        self.push(label, leave)
