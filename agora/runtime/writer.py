"""The writer: the one task that settles outcomes, in source order.

It delivers each batch to the sinks, sends failures where their policy says, carries out the barrier where a
cut ends a batch, and gives the batch's credits back. What ends the run is decided here and nowhere else, so
that everything before it is delivered first, whatever finished first.
"""

from collections.abc import Sequence

import attrs
import trio

from agora.backpressure import AdaptiveLimit
from agora.deadletter import Entry
from agora.errors import TooManyDeadLetters
from agora.records import Record
from agora.runtime.barrier import Barrier, commit, finish, prepare
from agora.runtime.batch import Batch, Failure
from agora.runtime.credits import Credits
from agora.runtime.delivery import SinkPort, chosen_rows, route
from agora.runtime.letters import Letters
from agora.runtime.pace import Pace
from agora.runtime.spans import Spans
from agora.runtime.tally import Tally

__all__ = ["DeadLetterLimit", "Writer"]

_SHARE_FROM = 1_000
"""Records after which a limit that is a share begins to count."""


@attrs.frozen(eq=False, repr=False)
class DeadLetterLimit:
    """`max_dead_letters`: a count, or a share of what was read."""

    most: int | float | None

    def exceeded(self, dead: int, read: int) -> bool:
        """Whether the run has to fail closed."""
        if self.most is None:
            return False
        if isinstance(self.most, int):
            return dead > self.most
        return read >= _SHARE_FROM and dead > self.most * read


@attrs.define(kw_only=True, eq=False, repr=False)
class Writer:
    """The last task of a run. `run` returns when the stream of batches ends, or raises what ends the run."""

    ports: Sequence[SinkPort]
    letters: Letters | None
    barrier: Barrier | None
    live: Sequence[SinkPort]
    """Sinks that are committed at cuts without checkpoints."""
    credits: Credits
    adaptive: AdaptiveLimit | None
    tally: Tally
    dead_letter_limit: DeadLetterLimit
    pace: Pace
    spans: Spans
    ended: bool = False
    """True once the last batch is handled."""
    completed: bool = False
    """True once the source was exhausted and everything of it is handled."""
    failed: Failure | None = None
    """The failure that ended the run, and `failed_ordinal` its place."""
    failed_ordinal: int | None = None
    _unsaved: bool = False
    """Whether anything was handled since the last barrier."""

    async def run(self, receive: trio.MemoryReceiveChannel[Batch]) -> None:
        """Handle batches in order."""
        while (batch := await self._next(receive)) is not None:
            await self._handle(batch)
            if batch.end is not None:
                self.ended, self.completed = True, batch.end == "exhausted"
                return

    async def _next(self, receive: trio.MemoryReceiveChannel[Batch]) -> Batch | None:
        """The next batch, `None` behind the last; without a turn of the loop where one is there: writing to the
        sinks takes its own."""
        if self.pace.flag:
            await self.pace.give_way()
        try:
            return receive.receive_nowait()
        except trio.EndOfChannel:
            return None
        except trio.WouldBlock:
            return await anext(receive, None)

    async def _handle(self, batch: Batch) -> None:
        refused, unwanted, written = await self._deliver(batch)
        failures: Sequence[Failure] = ()
        if batch.failures or refused:
            failures = sorted([*batch.failures, *refused], key=lambda failure: failure.offset)
        if batch.halt is not None:
            end = batch.halt.offset
            failures = [failure for failure in failures if failure.offset <= end]
        self._unsaved = self._unsaved or bool(batch.count or batch.rows or failures)
        await self._settle(batch, failures, unwanted, written)
        if batch.halt is not None:
            self._raise(batch, batch.halt)
        if batch.last:
            self.credits.release(batch.count)  # before the barrier, beside which the source goes on
        if batch.cut is not None:
            await self._cut(batch)

    async def _deliver(self, batch: Batch) -> tuple[list[Failure], set[int], int]:
        """Write the batch's rows to the sinks; the refused ones, those that no sink wanted, and how many all
        accepted."""
        rows = batch.rows
        if not isinstance(rows, list) and not all(port.takes_columns for port in self.ports):
            rows = batch.as_rows()
        if not rows:
            return [], set(), 0
        if self.barrier is not None:
            await self.barrier.before_writing()
        refused: list[Failure] = []
        bad: set[int] = set()
        routes, unrouted = await route(self.ports, rows, self.pace)
        untaken = set() if None in routes else set(range(len(rows)))
        stop_at = len(rows)
        for port, chosen, errors in zip(self.ports, routes, unrouted, strict=True):
            if chosen is None and stop_at == len(rows):
                taken: Sequence[int] = range(stop_at)
                bad_here = await self._write(batch, port, rows)
            else:
                bad_here = {position: error for position, error in errors.items() if position < stop_at}
                end = min(bad_here, default=stop_at) if port.policy == "stop" else stop_at
                wanted = range(end) if chosen is None else chosen
                taken = [position for position in wanted if position < end]
                bad_here |= await self._write_some(batch, port, rows, taken)
            if untaken:
                untaken.difference_update(taken, bad_here)
            for position in sorted(bad_here):
                failure = self._refusal(
                    batch, port, position, bad_here[position], unrouted=position in errors
                )
                if failure.policy == "stop":
                    batch.halt, stop_at = failure, position
                    break
                bad.add(position)
                refused.append(failure)
        written = len(rows) - len(untaken) - len(bad)
        return refused, untaken, written

    async def _write_some(
        self, batch: Batch, port: SinkPort, rows: Sequence[Record], taken: Sequence[int]
    ) -> dict[int, Exception]:
        """Write the rows at these positions."""
        if not taken:
            return {}
        sent = rows if len(taken) == len(rows) else chosen_rows(rows, taken)
        refused = await self._write(batch, port, sent)
        return {taken[index]: error for index, error in refused.items()}

    async def _write(self, batch: Batch, port: SinkPort, rows: Sequence[Record]) -> dict[int, Exception]:
        port.count.entered += len(rows)
        started = trio.current_time()
        with self.spans.of(f"agora.sink.{port.name}", ordinal=batch.first, records=len(rows)) as span:
            refused = await port.deliver(rows)
            if span is not None:
                span.set("rejected", len(refused))
                if refused:
                    span.record_error(refused[min(refused)])
        self._observe(trio.current_time() - started, batch.limit)
        return refused

    def _refusal(
        self, batch: Batch, port: SinkPort, position: int, error: Exception, *, unrouted: bool
    ) -> Failure:
        row = batch.rows[position]
        return Failure(
            offset=batch.index[position],
            stage=port.stage,
            error=error,
            policy=port.policy,
            entry=Entry(step=None, record=row, unrouted=unrouted) if self.letters is not None else None,
            processed=row,
        )

    async def _settle(
        self, batch: Batch, failures: Sequence[Failure], unwanted: set[int], written: int
    ) -> None:
        dead = [failure for failure in failures if failure.policy == "dead_letter"]
        if dead and self.letters is not None:
            letters = [self.letters.letter(batch, failure) for failure in dead]
            with self.spans.of("agora.dlq", letters=len(letters)):
                await self.letters.put(letters)
        self.tally.add(
            batch,
            dead=[failure.offset for failure in dead],
            skipped=[failure.offset for failure in failures if failure.policy == "skip"],
            unwanted=unwanted,
            written=written,
        )
        if batch.last and self.letters is not None:
            self.letters.passed(batch.count)
        if self.dead_letter_limit.exceeded(self.tally.dead_lettered, self.tally.read):
            raise TooManyDeadLetters(
                f"{self.tally.dead_lettered} of {self.tally.read} records were dead-lettered, more than "
                f"max_dead_letters={self.dead_letter_limit.most} allows"
            )

    def _raise(self, batch: Batch, halt: Failure) -> None:
        self.failed = halt
        self.failed_ordinal = batch.first + max(0, min(halt.offset, batch.count))
        raise halt.error

    async def _cut(self, batch: Batch) -> None:
        cut = batch.cut
        assert cut is not None
        cut.reached = True
        anything_new = self._unsaved
        started = trio.current_time()
        if self.barrier is not None:
            self.barrier.states.reached(cut)
            if self.barrier.needed(cut, anything_new=anything_new):
                await self.barrier.at(cut, anything_new=anything_new)
        elif self.live:
            if cut.completed:
                await finish(self.live)
            await commit(self.live, await prepare(self.live))
        self._unsaved = False
        if cut.saved is not None:
            cut.saved.set()
        self._observe(trio.current_time() - started, batch.limit)
        if cut.interlude is not None:
            await cut.interlude()

    def _observe(self, latency: float, cut_under: int) -> None:
        if self.adaptive is not None:
            self.credits.move(self.adaptive.observe(latency, cut_under, used=self.credits.pressed))
