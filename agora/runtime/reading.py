"""The source task: drives the source's generator under the in-flight limit and hands its records to the
intake.

One cancel scope stands around the whole reading, opened before the generator's first step: `stop()` cancels
it and the generator is closed. A scope around a single step, to go on with the generator later, corrupts
generators that hold scopes.
"""

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar

import attrs
import trio

from agora.errors import ConfigError
from agora.records import Record
from agora.runtime.failing import leaf
from agora.runtime.intake import Intake
from agora.runtime.pace import Pace
from agora.runtime.recordbatches import batch_blocks, gives_batches
from agora.sources.base import Block, Demand

__all__ = ["Reader"]

_TURNS = 8
"""Turns of the loop in which a cut has come to the writer, where nothing on its way has to wait."""

_G = TypeVar("_G", bound=AsyncGenerator[Any])


@attrs.define(kw_only=True, eq=False, repr=False)
class Reader:
    """Awaiting shell around an `Intake`."""

    intake: Intake
    pace: Pace
    linger: float
    """Seconds that a part-filled batch may wait for more records."""
    checkpoint_interval: float | None
    """Seconds with something new to save; `None`: no cuts by time."""
    source: Any
    """The user's source, duck-typed by the contract in `agora.sources.base`."""
    columns: bool
    """Whether what comes next takes columns."""
    reading_since: float = 0.0
    """Time (trio's clock) at which credits were last taken, and reading could go on."""
    late: Exception | None = None
    """What the source raised when it was closed, everything of it read."""
    stopping: str | None = None
    """Why nothing more is read, once it was told to stop."""
    closed: trio.Event = attrs.field(factory=trio.Event)
    """Set once the source's generator is closed."""
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _timer: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def run(self) -> None:
        """Read until the source is exhausted, fails, or is stopped; then end the stream of batches."""
        self.intake.on_pending = self._wake_timer
        async with trio.open_nursery() as timers:
            timers.start_soon(self._linger)
            if self.checkpoint_interval is not None:
                timers.start_soon(self._cut_by_time, self.checkpoint_interval)
            await self._read()
            timers.cancel_scope.cancel()

    def stop(self, reason: str) -> None:
        """Read no more, and end; synchronous, any number of times. A record that is just being given still comes."""
        if self.stopping is None:
            self.stopping = reason
        self._scope.cancel()

    async def _read(self) -> None:
        try:
            await self._read_source()
        finally:
            self.closed.set()

    async def _read_source(self) -> None:
        if self.intake.options.max_records == 0:
            self.intake.end("stopped", "max_records")
            return
        try:
            with self._scope:
                blocks = self._blocks()
                if blocks is None:
                    await self._read_stream()
                else:
                    await self._read_blocks(blocks)
        except Exception as error:  # noqa: BLE001  - the writer raises it in source order
            if self.intake.ended is None:
                self.intake.fail(leaf(error))
            else:
                self.late = leaf(error)
        else:
            await self.intake.until_released()
            if self.stopping is None:
                self.intake.end("exhausted")
            else:
                self.intake.end("stopped", self.stopping)

    def _blocks(self) -> Callable[[Demand], AsyncGenerator[Block]] | None:
        """How the source gives its records in bulk; `None` where it doesn't, or nobody wants what it has."""
        blocks: Callable[[Demand], AsyncGenerator[Block]] | None = getattr(self.source, "blocks", None)
        if blocks is None and gives_batches(self.source, wanted=self.columns):
            return lambda _: batch_blocks(self.source)
        return blocks

    async def _read_blocks(self, blocks_for: Callable[[Demand], AsyncGenerator[Block]]) -> None:
        intake = self.intake
        await self._grant()
        demand = Demand(
            rows=intake.room(), batch=intake.whole(), columns=self.columns, overdue=self.pace.overdue
        )
        blocks = blocks_for(demand)
        async with _closed(blocks):
            async for block in blocks:
                start = intake.discard_rows(block)
                rows = len(block.rows)
                while start < rows:
                    if intake.held:
                        await intake.until_released()
                    if intake.granted < rows - start:
                        await self._grant_whole(rows - start)
                    count = min(rows - start, intake.room())
                    intake.take_block(block, start, count)
                    if intake.ended is not None:
                        return
                    start += count
                    if intake.granted == 0:
                        await self._grant()
                demand.rows = intake.room()
                if self.pace.flag:
                    await self.pace.give_way()

    async def _read_stream(self) -> None:
        intake, flag, held = self.intake, self.pace.flag, self.intake.held
        take = intake.take_record
        await self._grant()
        stream: AsyncGenerator[Record] = self.source.stream()
        async with _closing(stream) as records:
            async for record in records:
                if held:
                    await intake.until_released()
                if intake.skip:
                    intake.discard_record()
                elif take(record):
                    if intake.ended is not None:
                        return
                    if intake.granted == 0:
                        await self._grant()
                if flag:
                    await self.pace.give_way()

    async def _grant(self) -> None:
        """Take the credits of the next batch. None must be left."""
        intake = self.intake
        wanted = intake.wanted()
        await intake.credits.acquire(wanted)
        intake.granted = wanted
        if intake.cut_ahead:
            await self._let_cut_pass()
        self.reading_since = trio.current_time()

    async def _let_cut_pass(self) -> None:
        """A cut goes first. Read ahead of it, what the in-flight limit allows would be there when the barrier begins,
        and nothing be left to do beside it."""
        for _ in range(_TURNS):
            await trio.lowlevel.checkpoint()
            if not self.intake.cut_ahead:
                return

    async def _grant_whole(self, rows: int) -> None:
        """Credits for all of `rows`, if a batch may have so many: leftovers of a grant would splinter blocks."""
        intake = self.intake
        if intake.granted < min(rows, intake.wanted()):
            intake.credits.release(intake.granted)
            intake.granted = 0
            await self._grant()

    def _wake_timer(self) -> None:
        self._timer.unpark_all()

    async def _linger(self) -> None:
        while True:
            if not self.intake.pending:
                await self._timer.park()
                continue
            due = self.intake.began + self.linger
            if trio.current_time() >= due:
                self.intake.flush()
            else:
                await trio.sleep_until(due)

    async def _cut_by_time(self, interval: float) -> None:
        while True:
            await trio.sleep(interval)
            if self.intake.anything_new:
                self.intake.cut()


def _closing(stream: Any) -> AbstractAsyncContextManager[AsyncIterable[Record]]:
    """An async generator is closed by its owner; a `trio.as_safe_channel` function gives a context manager
    instead; a plain async iterator has nothing to close."""
    if hasattr(stream, "aclose"):
        return _closed(stream)
    if hasattr(stream, "__aenter__"):
        manager: AbstractAsyncContextManager[AsyncIterable[Record]] = stream
        return manager
    if not hasattr(stream, "__aiter__"):
        if inspect.iscoroutine(stream):
            stream.close()
        raise ConfigError(
            f"the source's stream() gave a {type(stream).__name__}: it must be an async generator "
            "(`async def` with a `yield` in it), or give another async iterable"
        )
    return nullcontext(stream)


@asynccontextmanager
async def _closed(generator: _G) -> AsyncGenerator[_G]:
    """`aclosing`, without the groups that nurseries inside the generator put around its `GeneratorExit`."""
    try:
        yield generator
    finally:
        try:
            await generator.aclose()
        except BaseExceptionGroup as group:
            rest = group.split(GeneratorExit)[1]
            if rest is not None:
                raise rest from None
