"""Segments: batch in, batch out. A segment is a run of sequential row steps, or one step that takes whole
batches.

A buffered stage is a segment too, with tasks of its own: see `buffered`. A failed record becomes a `Failure`
in the batch; what it leads to is the writer's to decide, in source order. Behind a failure that ends the run
nothing is run anymore.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import attrs
import trio

from agora.columns import Columns
from agora.deadletter import SOURCE_ENTRY
from agora.middlewares.columnar import StepFaultError
from agora.middlewares.step import Step
from agora.records import Record
from agora.runtime.batch import Batch, EntryPoint, Failure
from agora.runtime.counting import StageCount
from agora.runtime.failing import StepRules, leaf, maybe_await, parts
from agora.runtime.loops import Loop
from agora.runtime.pace import Pace
from agora.runtime.spans import Spans
from agora.runtime.walker import Walk

__all__ = [
    "BatchSegment",
    "Emit",
    "Output",
    "RowSegment",
    "Segment",
    "batch_results",
    "halves",
    "pieces",
    "run_segment",
    "sender",
    "settle_results",
]

Emit = Callable[[Batch], Awaitable[None]]


class Segment(Protocol):
    """Works on batches, one after the other."""

    @property
    def steps(self) -> Sequence[Step]: ...

    async def process(self, batch: Batch, emit: Emit) -> None:
        """Pass the batch on, worked on; before it, slices of it where steps multiply."""
        ...


def sender(send: trio.MemorySendChannel[Batch]) -> Emit:
    """`send.send`, without a turn of the loop where there is room: receiving the next batch takes one
    anyway."""

    async def emit(batch: Batch) -> None:
        try:
            send.send_nowait(batch)
        except trio.WouldBlock:
            await send.send(batch)

    return emit


async def run_segment(
    segment: Segment,
    spans: Spans,
    receive: trio.MemoryReceiveChannel[Batch],
    send: trio.MemorySendChannel[Batch],
) -> None:
    """The task of a segment: until the stream of batches ends, or a failure that ends the run has passed."""
    # Not `async with`, whose exit takes a turn of the loop: an error must be noted before the end is seen.
    with send:
        emit = sender(send)
        async for batch in receive:
            with spans.steps(segment.steps, batch):
                await segment.process(batch, emit)
            if batch.halt is not None:
                await trio.sleep_forever()  # the writer ends the run when it gets there


@attrs.define(kw_only=True, eq=False, repr=False)
class RowSegment:
    """Sequential steps over rows: a generated loop where that is enough, else record by record."""

    steps: tuple[Step, ...]
    rules: StepRules
    pace: Pace
    batch_size: int
    """A step that multiplies sends on slices of this many records."""
    _loop: Loop | None = attrs.field(init=False)
    _counts: Sequence[StageCount] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        plain = not any(step.multiplies or self.rules.may_mark(step) for step in self.steps)
        self._loop = Loop.of(self.steps) if plain else None
        self._counts = [self.rules.count(step) for step in self.steps]

    async def process(self, batch: Batch, emit: Emit) -> None:
        """See `Segment`. A trio checkpoint only where a step is, or the loop is overdue."""
        if self._loop is not None and batch.rows:
            await self._run_loop(self._loop, batch)
        if self._loop is None or batch.end is not None:
            await self._put_out(batch, emit)
        if batch.cut is not None:
            for step in self.steps:
                self.rules.states.cut(step, batch.cut)
        await emit(batch)

    async def _put_out(self, batch: Batch, emit: Emit) -> None:
        """What goes record by record: the whole batch where there is no loop, and what steps held back."""
        output = Output(batch=batch, size=self.batch_size, emit=emit)
        if self._loop is None and batch.rows:
            await self._walk_rows(batch, output)
        if batch.end == "exhausted" and batch.halt is None and output.halt is None:
            await self._finish(batch, output)
        if output.used:
            output.close()

    async def _run_loop(self, loop: Loop, batch: Batch) -> None:
        total = len(batch.rows)
        rows = iter(batch.as_rows())
        out: list[Record] = []
        dropped: list[list[int]] = [[] for _ in self.steps]
        lost: list[int] = []
        failed: list[int] = []
        halt: Failure | None = None
        done = 0
        while halt is None and done < total:
            try:
                await loop.call(rows, out, dropped, self.pace.flag)
            except Exception as error:  # noqa: BLE001  - the step's policy decides
                position = len(out) + len(lost) + sum(map(len, dropped))
                number, record = loop.failed_at(error)
                halt = await self._loop_failed(batch, out, lost, (number, record, position), error)
                failed.append(number)
            done = len(out) + len(lost) + sum(map(len, dropped))
            if self.pace.flag:
                await self.pace.give_way()
        self._count(done + (halt is not None), dropped, failed)
        if halt is not None:
            batch.truncate(done, halt)
        batch.leave(out, [*dropped, lost])

    async def _loop_failed(
        self,
        batch: Batch,
        out: list[Record],
        lost: list[int],
        failed: tuple[int, Record, int],
        error: Exception,
    ) -> Failure | None:
        """Settle the failure of one record that came out of the loop; the failure itself if it ends the
        run."""
        number, record, position = failed
        step, offset, entry = self.steps[number], batch.index[position], batch.entry(position)
        failure = await self.rules.judge(step, record, error, offset=offset, entry=entry)
        if failure is None:
            passed: list[Record] = []

            async def put(record: Record, _offset: int, _entry: EntryPoint) -> None:
                passed.append(record)

            self.rules.count(step).left += 1
            walk = self._new_walk(batch, put)
            await walk.through(record, offset, number + 1, entry)
            if walk.halt is not None:
                return walk.halt
            if passed:
                out.append(passed[0])
                return None
        elif failure.policy == "stop":
            return failure
        else:
            batch.failures.append(failure)
        lost.append(len(out))
        return None

    def _count(self, entered: int, dropped: Sequence[Sequence[int]], failed_at: Sequence[int]) -> None:
        """Spread the loop's totals over its steps. What passed on after a failure was counted by its walk."""
        for number, (count, gone) in enumerate(zip(self._counts, dropped, strict=True)):
            count.entered += entered
            if gone:
                count.dropped += len(gone)
                entered -= len(gone)
            if failed_at:
                entered -= failed_at.count(number)
            count.left += entered

    async def _walk_rows(self, batch: Batch, output: "Output") -> None:
        walk = self._new_walk(batch, output.put)
        for position, record in enumerate(batch.as_rows()):
            await walk.through(record, batch.index[position], 0, batch.entry(position))
            if walk.halt is not None:
                output.halt = walk.halt
                break
            if self.pace.flag:
                await self.pace.give_way()
        output.used = True

    async def _finish(self, batch: Batch, output: "Output") -> None:
        """Let each step give what it held back, left to right, through the steps behind it."""
        for number, step in enumerate(self.steps):
            finish = getattr(step.part, "finish", None)
            if not callable(finish):
                continue
            if not output.used:
                output.start_from_batch()
            walk = self._new_walk(batch, output.put)
            try:
                held: Any = await maybe_await(finish())
                records: Iterable[Record] = () if held is None else held
                for record in records:
                    if self.pace.flag:
                        await self.pace.give_way()
                    if record is None:
                        continue
                    self.rules.count(step).left += 1
                    entry = self.rules.entry_after(step, record) if self.rules.letters else SOURCE_ENTRY
                    await walk.through(record, batch.count, number + 1, entry)
                    if walk.halt is not None:
                        break
            except Exception as error:  # noqa: BLE001  - finish() concerns no single record: the run ends with its error
                walk.halt = Failure(
                    offset=batch.count, stage=step.stage, error=leaf(error), policy="stop", entry=None
                )
            if walk.halt is not None:
                output.halt = walk.halt
                return

    def _new_walk(self, batch: Batch, put: Callable[[Record, int, EntryPoint], Awaitable[None]]) -> Walk:
        return Walk(steps=self.steps, rules=self.rules, pace=self.pace, put=put, failures=batch.failures)


@attrs.define(kw_only=True, eq=False, repr=False)
class Output:
    """Collects what walks put out, and sends full slices ahead of the batch itself."""

    batch: Batch
    size: int
    emit: Emit
    used: bool = False
    halt: Failure | None = None
    _rows: list[Record] = attrs.field(factory=list)
    _index: list[int] = attrs.field(factory=list)
    _entries: list[EntryPoint] = attrs.field(factory=list)

    async def put(self, record: Record, offset: int, entry: EntryPoint) -> None:
        if len(self._rows) >= self.size:
            rows, index, entries = self._rows, self._index, self._entries
            self._rows, self._index, self._entries = [], [], []
            await self.emit(self.batch.slice(rows, index, entries))
        self._rows.append(record)
        self._index.append(offset)
        self._entries.append(entry)

    def start_from_batch(self) -> None:
        """Go on behind the rows that the batch has already."""
        self.used = True
        self._rows = list(self.batch.rows)
        self._index = list(self.batch.index)
        self._entries = [self.batch.entry(row) for row in range(len(self._rows))]

    def close(self) -> None:
        """Give the batch the last slice."""
        batch = self.batch
        batch.rows, batch.index, batch.entries = self._rows, self._index, self._entries
        if self.halt is not None:
            batch.truncate(len(batch.rows), self.halt)


def halves(rows: Sequence[Record]) -> tuple[Sequence[Record], Sequence[Record]]:
    """The two halves of a failed batch in which the culprits are looked for."""
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]


@attrs.define(kw_only=True, eq=False, repr=False)
class BatchSegment:
    """One step with `process_batch` or `process_columns`: the whole batch at once; a failed batch is halved
    until the culprits are alone."""

    step: Step
    rules: StepRules
    pace: Pace
    batch_size: int

    @property
    def steps(self) -> tuple[Step, ...]:
        return (self.step,)

    async def process(self, batch: Batch, emit: Emit) -> None:
        """See `Segment`."""
        await self.work(batch)
        if batch.end == "exhausted" and batch.halt is None:
            await self.finish(batch)
        if batch.cut is not None:
            self.rules.states.cut(self.step, batch.cut)
        await emit(batch)

    async def work(self, batch: Batch) -> None:
        """Have the step work on the batch's rows, in whatever form they are."""
        if isinstance(batch.rows, Columns) and self.step.columns is not None and batch.rows:
            from agora.runtime.columnar import (  # noqa: PLC0415 - a run of rows loads no pyarrow
                columns_result,
                settle_columns,
            )

            result = await columns_result(self.step, batch.rows.data, self.rules, self.pace)
            await settle_columns(self.step, self.rules, batch, result)
        elif batch.rows:
            results = await self._results(batch.as_rows())
            await settle_results(self.step, self.rules, self.pace, batch, results)

    async def _results(self, rows: Sequence[Record]) -> list[Record | None | Exception]:
        """In calls of at most `batch_size` records: a batch that came as columns may be larger."""
        results: list[Record | None | Exception] = []
        for part in pieces(rows, self.batch_size):
            results += await batch_results(self.step, part, self.rules, self.pace)
            if ends_run(self.step, results, self.rules):
                break
        return results

    async def finish(self, batch: Batch) -> None:
        """Add what the step held back to the last batch."""
        finish = getattr(self.step.part, "finish", None)
        if not callable(finish):
            return
        try:
            held: Any = await maybe_await(finish())
            rows = []
            for record in held or ():
                if record is not None:
                    rows.append(record)
                if self.pace.flag:
                    await self.pace.give_way()
        except Exception as error:  # noqa: BLE001  - finish() concerns no single record: the run ends with its error
            failure = Failure(
                offset=batch.count, stage=self.step.stage, error=leaf(error), policy="stop", entry=None
            )
            batch.truncate(len(batch.rows), failure)
            return
        entries = [
            self.rules.entry_after(self.step, row) if self.rules.letters else SOURCE_ENTRY for row in rows
        ]
        batch.entries = [*(batch.entry(row) for row in range(len(batch.rows))), *entries]
        batch.index = [*batch.index, *([batch.count] * len(rows))]
        batch.rows = [*batch.rows, *rows]
        self.rules.count(self.step).left += len(rows)


@attrs.frozen(eq=False, repr=False)
class WrongAnswer:
    """In place of results that can't be told apart: ends the run, in source order, whatever the policy."""

    error: TypeError


async def batch_results(
    step: Step, rows: Sequence[Record], rules: StepRules, pace: Pace
) -> list[Record | None | Exception]:
    """One result a row. Under the policy `"stop"`, nothing behind the first culprit is run: the results end
    there."""
    begun = rules.states.begin(step)
    try:
        answer: Any = await maybe_await(step.call(list(rows)))
        results = list(answer)
    except Exception as error:  # noqa: BLE001  - the step's policy decides
        rules.states.undo(step, begun)
        if len(rows) == 1 or isinstance(error, StepFaultError):
            return [error]
        if pace.flag:
            await pace.give_way()
        results = []
        for part in parts(len(rows), error):
            results += await batch_results(step, rows[part.start : part.stop], rules, pace)
            if ends_run(step, results, rules):
                break
        return results
    if len(results) != len(rows):
        wrong = TypeError(
            f"step {step.name!r}: process_batch must give one result a record, in order; "
            f"it gave {len(results)} for {len(rows)} records"
        )
        return [WrongAnswer(wrong)]
    return results


def ends_run(step: Step, results: Sequence[object], rules: StepRules) -> bool:
    """Whether nothing behind these results is to be run."""
    last = results[-1] if results else None
    stops = isinstance(last, Exception) and rules.policy(step, last) == "stop"
    return stops or type(last) is WrongAnswer


def pieces(rows: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    """The rows in parts of at most `size`; the very same where they are so few."""
    if len(rows) <= size:
        yield rows
        return
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


async def settle_results(
    step: Step, rules: StepRules, pace: Pace, batch: Batch, results: Sequence[Record | None | Exception]
) -> None:
    """Put one result a row into the batch: records, drops, failures."""
    count = rules.count(step)
    count.entered += len(results)
    out: list[Record] = []
    gone: list[int] = []
    halt: Failure | None = None
    for position, result in enumerate(results):
        if type(result) is WrongAnswer:
            halt = Failure(
                offset=batch.index[position], stage=step.stage, error=result.error, policy="stop", entry=None
            )
            break
        if isinstance(result, Exception):
            before = batch.rows[position]
            failure = await rules.judge(
                step, before, result, offset=batch.index[position], entry=batch.entry(position)
            )
            if pace.flag:
                await pace.give_way()
            if failure is None:
                out.append(before)
                continue
            if failure.policy == "stop":
                halt = failure
                break
            batch.failures.append(failure)
        elif result is not None:
            out.append(result)
            continue
        else:
            count.dropped += 1
        gone.append(position)
    count.left += len(out)
    if halt is not None:
        batch.truncate(len(out) + len(gone), halt)
    batch.remove(gone, out)
    if rules.marks(step):
        batch.entries = [rules.entry_after(step, row) for row in batch.rows]
