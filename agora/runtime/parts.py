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
from agora.errors import AgoraError
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


@attrs.define(eq=False, repr=False)
class _Lifespan:
    """A part's `lifespan`, in a task of its own from entering to leaving."""

    part: Any
    context: RunContext
    on_lost: Callable[[Exception], None]
    """Told when it ends before it was told to."""
    entered: trio.Event = attrs.field(factory=trio.Event)
    """Set when it was entered, or won't be."""
    error: BaseException | None = None
    """Why it wasn't entered."""
    _inside: bool = False
    _told: trio.Event = attrs.field(factory=trio.Event)
    _left: trio.Event = attrs.field(factory=trio.Event)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def run(self) -> None:
        """The task. Until it is entered the run's cancellation reaches it; from then on it leaves when it is told."""
        try:
            with self._scope:
                async with self.part.lifespan(self.context):
                    self._inside = self._scope.shield = True
                    self.entered.set()
                    await self._told.wait()
        except Exception as error:  # noqa: BLE001  - told to whoever waits for it, or to the run
            self._end(leaf(error))
        except BaseException as error:
            self.error = error
            raise
        else:
            if not self._told.is_set():
                self._end(AgoraError(f"the lifespan of {self.context.stage} ended before the run"))
        finally:
            self.entered.set()
            self._left.set()

    def _end(self, error: Exception) -> None:
        if self._inside:
            error.add_note(f"in the lifespan of {self.context.stage}")
            self.on_lost(error)
        else:
            self.error = error

    async def leave(self, closing: Closing) -> None:
        """Tell it to leave, and wait until it has; what hasn't left by the deadline is cancelled."""
        closing.bound(self._scope)
        self._told.set()
        await self._left.wait()


@attrs.define(kw_only=True, eq=False, repr=False)
class OpenParts:
    """What has been opened, and how it is left."""

    nursery: trio.Nursery
    """For lifespans."""
    closing: Closing
    on_lost: Callable[[Exception], None]
    """Told when a lifespan fails between entering and leaving."""
    errors: list[Exception] = attrs.field(factory=list)
    """What went wrong while parts were left, so far."""
    _leave: list[tuple[str, Callable[[], Awaitable[object]]]] = attrs.field(factory=list)

    async def enter(self, part: Any, context: RunContext) -> None:
        """Enter the part's lifespan and open it. Left in reverse by `close`, also when opening fails
        half-way."""
        if callable(getattr(part, "lifespan", None)):
            await self._enter_lifespan(_Lifespan(part, context, self.on_lost))
        closing = getattr(part, "close", None)
        if callable(closing):
            self.push(f"{context.stage} ({type(part).__name__}.close)", lambda: maybe_await(closing()))
        opening = getattr(part, "open", None)
        if callable(opening):
            await maybe_await(opening(context))

    def push(self, label: str, leave: Callable[[], Awaitable[object]]) -> None:
        """Call `leave` at the end, before what was pushed earlier."""
        self._leave.append((label, leave))

    async def close(self) -> list[Exception]:
        """Leave everything, in reverse, shielded, within the closing deadline; what went wrong, named by
        notes. A `BaseException` (Ctrl-C) comes out once the rest is left too."""
        self.closing.begin()
        errors = self.errors
        interrupt: BaseException | None = None
        while self._leave:
            label, leave = self._leave.pop()
            try:
                with self.closing.shield(until=self.closing.for_one_more()) as shield:
                    await leave()
            except Exception as error:  # noqa: BLE001  - closing goes on; the caller decides what to raise
                error.add_note(f"while closing {label}")
                errors.append(error)
            except BaseException as error:  # noqa: ASYNC103, BLE001  - raised below, behind the rest
                interrupt = interrupt or error
            if shield.cancelled_caught:
                errors.append(
                    TimeoutError(
                        f"{label} hasn't closed within {self.closing.seconds:.0f} s and was cancelled"
                    )
                )
        if interrupt is not None:
            raise interrupt
        return errors

    async def _enter_lifespan(self, lifespan: _Lifespan) -> None:
        label = f"{lifespan.context.stage} ({type(lifespan.part).__name__}.lifespan)"
        self.nursery.start_soon(lifespan.run)
        self.push(label, lambda: lifespan.leave(self.closing))
        await lifespan.entered.wait()
        if lifespan.error is not None:
            raise lifespan.error
