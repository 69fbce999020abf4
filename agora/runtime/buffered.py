"""A buffered stage: one step over many records at once, which leave in source order.

A fixed set of worker tasks draws records from one queue, across batch borders; a batch leaves when it is the
oldest and all of its records are done. Against a task a record or a channel item a record (1.2 and 1.3 times
the time of a bare pool, measured) nothing is spawned, sent or woken for a record while the queue has any.
"""

from collections import deque
from collections.abc import Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import attrs
import trio

from agora.columns import Columns
from agora.copying import keep
from agora.middlewares.step import Step, StepKind
from agora.records import Record
from agora.runtime.batch import Batch
from agora.runtime.failing import Failed, StepRules
from agora.runtime.pace import Pace
from agora.runtime.segment import (
    BatchSegment,
    Emit,
    Output,
    batch_results,
    pieces,
    sender,
    settle_results,
)
from agora.runtime.spans import Spans
from agora.runtime.walker import Walk

if TYPE_CHECKING:
    from agora.runtime.processes import StepWorker

__all__ = ["BufferedStage", "Slots"]

_MISSING: Any = object()


@attrs.define(eq=False, repr=False)
class Slots:
    """The places of one batch's results; pure. A unit is a record, or the whole batch for `process_batch`."""

    batch: Batch
    units: Sequence[Any]
    results: list[Any] = attrs.field(init=False)
    befores: list[Record] | None = None
    _missing: int = attrs.field(init=False)
    _end: int = attrs.field(init=False)
    """Units behind this one don't count anymore: a failure that ends the run stands at its place."""

    def __attrs_post_init__(self) -> None:
        self.results = [_MISSING] * len(self.units)
        self._missing = self._end = len(self.units)

    def set(self, place: int, result: Any) -> bool:
        """Fill a place; true if the batch is done by it."""
        self.results[place] = result
        if self._end == len(self.units):
            self._missing -= 1
            return self._missing == 0
        return self.done

    def end_at(self, place: int) -> None:
        """The unit at `place` ends the run: what is behind it isn't waited for."""
        self._end = min(self._end, place + 1)

    def counts(self, place: int) -> bool:
        return place < self._end

    @property
    def done(self) -> bool:
        if self._end == len(self.units):
            return self._missing == 0
        return all(result is not _MISSING for result in self.results[: self._end])

    def in_order(self) -> list[Any]:
        """The results up to the end."""
        return self.results[: self._end]


@attrs.define(kw_only=True, eq=False, repr=False)
class BufferedStage:
    """Tasks of one buffered step. `run` is the stage's task."""

    step: Step
    rules: StepRules
    pace: Pace
    batch_size: int
    _queue: deque[tuple[Slots, int, Any]] = attrs.field(factory=deque)
    _order: deque[Slots] = attrs.field(factory=deque)
    _idle: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _full: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _emitter: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    _workers: int = 0
    _slices: int = 0
    """Slices of what an earlier step made of a batch, among those that haven't left. The in-flight limit doesn't bound
    them, so what may wait behind a slow record is bounded here."""
    _halted: bool = False
    _exhausted: bool = False

    async def run(
        self, spans: Spans, receive: trio.MemoryReceiveChannel[Batch], send: trio.MemorySendChannel[Batch]
    ) -> None:
        """Until the stream of batches ends and all has left, or a failure that ends the run has left."""
        with send:
            async with trio.open_nursery() as workers:
                workers.start_soon(self._take, receive, workers)
                await self._emit(spans, sender(send))
                if self._halted:
                    await trio.sleep_forever()  # the writer ends the run when it gets there
                workers.cancel_scope.cancel()

    @property
    def _window(self) -> int:
        """Records that may wait for a worker: exponential waits in source order want 8 times the
        concurrency."""
        return max(8 * self.step.concurrency, 2 * self.batch_size)

    @property
    def _most_slices(self) -> int:
        return 2 + 2 * self._window // self.batch_size

    async def _take(self, receive: trio.MemoryReceiveChannel[Batch], workers: trio.Nursery) -> None:
        async for batch in receive:
            while len(self._queue) >= self._window or self._slices >= self._most_slices:
                await self._full.park()
            if self._halted:
                return
            units = self._units(batch)
            slots = Slots(batch, units)
            if self.step.on_error == "pass" and self.step.kind is not StepKind.BATCH:
                slots.befores = [keep(row) for row in batch.rows]
            self._order.append(slots)
            self._slices += not batch.last
            self._queue.extend((slots, place, unit) for place, unit in enumerate(units))
            unmanned = len(self._queue) - self._idle.statistics().tasks_waiting
            for _ in range(min(unmanned, self.step.concurrency - self._workers)):  # the others are at work
                workers.start_soon(self._work if self.step.remote is None else self._work_in_process)
                self._workers += 1
            self._idle.unpark(count=len(units)) if units else self._emitter.unpark_all()
        self._exhausted = True
        self._idle.unpark_all()
        self._emitter.unpark_all()

    def _units(self, batch: Batch) -> Sequence[Any]:
        if self.step.kind is not StepKind.BATCH:
            return batch.as_rows()
        size = self.batch_size
        if self.step.remote is not None:
            # Four batches are in flight (see `PipelineSpec.limits`): so there are two pieces for each process.
            size = -(-len(batch.rows) // -(-self.step.concurrency // 2))
            if isinstance(batch.rows, Columns) and self.step.columns is not None:
                return list(pieces(batch.rows, size)) if batch.rows else []
            size = min(size, self.batch_size)
        return list(pieces(batch.as_rows(), size)) if batch.rows else []

    async def _work(self) -> None:
        queue, step, pace, flag = self._queue, self.step, self.pace, self.pace.flag
        call, is_async, in_batches = step.call, step.is_async, step.kind is StepKind.BATCH
        wake_at = self._window // 2
        while True:
            if not queue:
                if self._exhausted:  # cheaper than being parked and cancelled
                    return
                await self._idle.park()
                continue
            slots, place, unit = queue.popleft()
            if len(queue) == wake_at:
                self._full.unpark_all()
            result: Any
            turns = pace.turns
            try:
                if in_batches:
                    result = await batch_results(step, unit, self.rules, pace)
                elif is_async:
                    result = await call(unit)
                else:
                    result = call(unit)
                    if type(result) is CoroutineType:
                        result = await result
            except Exception as error:  # noqa: BLE001  - the step's policy decides
                result = Failed(error)
                if self.rules.policy(step, error) == "stop":
                    self._halt(slots, place)
            if slots.set(place, result) and self._order and slots is self._order[0]:
                self._emitter.unpark_all()
            if flag and turns == pace.turns:  # else it waited itself, and may be one of a thousand that did
                await pace.give_way()

    async def _work_in_process(self) -> None:
        from agora.runtime.processes import step_worker  # noqa: PLC0415  - only for who uses processes

        queue, step = self._queue, self.step
        stops = (step.on_error or self.rules.default) == "stop"
        async with step_worker(step, stops=stops) as worker:
            while True:
                if not queue:
                    if self._exhausted:
                        return
                    await self._idle.park()
                    continue
                taken = [queue.popleft() for _ in range(worker.share(len(queue)))]  # one piece, of batches
                if len(queue) <= self._window // 2:
                    self._full.unpark_all()
                if step.kind is StepKind.BATCH:
                    results = [await self._piece(worker, taken[0][2])]
                else:
                    results = await worker.records([unit for _, _, unit in taken])
                for (slots, place, _), result in zip(taken, results, strict=False):
                    if slots.set(place, result) and self._order and slots is self._order[0]:
                        self._emitter.unpark_all()
                    if type(result) is Failed and self.rules.policy(step, result.error) == "stop":
                        self._halt(slots, place)
                self._put_back(taken[len(results) :])

    async def _piece(self, worker: "StepWorker", unit: Any) -> Any:
        """What became of a piece of a batch. Each error is some row's result."""
        if isinstance(unit, Columns):
            from agora.runtime.columnar import columns_result  # noqa: PLC0415  - a run of rows loads no pyarrow

            return await columns_result(self.step, unit.data, self.rules, self.pace, worker.columns)
        asked = attrs.evolve(self.step, call=worker.batch)
        return await batch_results(asked, unit, self.rules, self.pace)

    def _put_back(self, rest: Sequence[tuple[Slots, int, Any]]) -> None:
        """What a worker took and didn't get to is the next one's again."""
        if self._halted:
            rest = [unit for unit in rest if self._counts(*unit)]
        if rest:
            self._queue.extendleft(reversed(rest))
            self._idle.unpark(count=len(rest))

    def _counts(self, slots: Slots, place: int, _unit: Any) -> bool:
        """Whether this unit stands before what ends the run, so that it is waited for."""
        return slots in self._order and slots.counts(place)

    def _halt(self, slots: Slots, place: int) -> None:
        """Nothing behind this record is begun anymore; what stands before it is still waited for."""
        self._halted = True
        if slots not in self._order:  # behind an earlier failure
            return
        slots.end_at(place)
        while self._order and self._order[-1] is not slots:
            self._order.pop()
        before = [unit for unit in self._queue if self._counts(*unit)]  # put back by a worker process
        self._queue.clear()
        self._queue.extend(before)
        self._full.unpark_all()
        self._idle.unpark(count=len(before))
        self._emitter.unpark_all()

    async def _emit(self, spans: Spans, emit: Emit) -> None:
        while True:
            if not self._order:
                if self._exhausted or self._halted:
                    return
                await self._emitter.park()
                continue
            slots = self._order[0]
            with spans.steps((self.step,), slots.batch):  # from where the batch before it has left
                while not slots.done:
                    await self._emitter.park()
                await self._settle(slots, emit)
            self._order.popleft()
            if not slots.batch.last:
                self._slices -= 1
                self._full.unpark_all()
            await emit(slots.batch)
            if slots.batch.halt is not None:
                self._halted = True
                return

    async def _settle(self, slots: Slots, emit: Emit) -> None:
        batch, step = slots.batch, self.step
        if step.kind is StepKind.BATCH:
            results: list[Record | None | Exception] = []
            if slots.units and isinstance(slots.units[0], Columns):
                from agora.runtime.columnar import joined, settle_columns  # noqa: PLC0415  - as above

                sizes = [len(unit) for unit in slots.units]
                answer = joined(step, slots.in_order(), sizes)
                await settle_columns(step, self.rules, batch, answer)
            else:
                results = [result for part in slots.in_order() for result in part]
            if results:
                await settle_results(step, self.rules, self.pace, batch, results)
        elif step.multiplies:
            await self._multiplied(slots, emit)
        else:
            await settle_results(step, self.rules, self.pace, batch, self._row_results(slots))
        if batch.end == "exhausted" and batch.halt is None:
            await BatchSegment(
                step=step, rules=self.rules, pace=self.pace, batch_size=self.batch_size
            ).finish(batch)

    async def _multiplied(self, slots: Slots, emit: Emit) -> None:
        """Draw the children of each record, in order, in slices."""
        batch, step = slots.batch, self.step
        output = Output(batch=batch, size=self.batch_size, emit=emit)
        walk = Walk(steps=(step,), rules=self.rules, pace=self.pace, put=output.put, failures=batch.failures)
        for place, result in enumerate(slots.in_order()):
            self.rules.count(step).entered += 1
            record = batch.rows[place] if slots.befores is None else slots.befores[place]
            offset, entry = batch.index[place], batch.entry(place)
            if type(result) is not Failed:
                await walk.children(step, record, result, offset, 1, entry)
            elif not await walk.failed(step, record, result.error, offset, entry):
                await walk.children(step, record, [record], offset, 1, entry)
            if walk.halt is not None:
                output.halt = walk.halt
                break
            if self.pace.flag:
                await self.pace.give_way()
        output.close()

    def _row_results(self, slots: Slots) -> list[Record | None | Exception]:
        rows = slots.batch.rows
        if slots.befores is not None:
            slots.batch.rows = list(slots.befores)
        keep_row = self.step.kind is StepKind.FILTER
        return [
            result.error
            if type(result) is Failed
            else (rows[place] if result else None)
            if keep_row
            else result
            for place, result in enumerate(slots.in_order())
        ]
