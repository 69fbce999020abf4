"""A step's function in worker processes: one process beside each task of the step's buffered stage.

Two designs were weighed: a call a record, and chunks. A call takes 90 to 150 µs and a record of a cheap function 1 µs,
so it is chunks; but a chunk of fixed size is too small for cheap functions and makes everything wait behind dear ones.
So a worker stops its chunk when 20 ms are over and answers for what it has done, and the rest goes back to the front of
the queue: no chunk is much longer than its longest record, which also makes `timeout` one of a record.

A process that dies or hangs takes its chunk's answers along. The chunk's records are then run again in parts of a
64th, in fresh processes, until the culprit is alone: 64 calls take less than the start of a process, and halving
would lose six processes, and wait for six timeouts, where this loses one.
"""

import math
import pickle
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import attrs
import trio

from agora import seam
from agora.errors import WorkerCrashed, WorkerError, WorkerTimeout
from agora.middlewares.columnar import ColumnsResult, StepFaultError
from agora.middlewares.remote import pickled
from agora.middlewares.step import Step, StepKind
from agora.records import Record
from agora.runtime import worker as inside
from agora.runtime.failing import Failed, parts

__all__ = ["StepWorker", "step_worker"]

T = TypeVar("T")

_BUDGET = 0.02
"""Seconds of work in one call, which takes 0.1 ms itself and, on a busy machine, half a millisecond to be woken."""
_BUDGET_IN_PLACE = math.inf
"""Under a virtual clock, where chunks must not depend on real time."""
_GRACE = 5.0
"""Seconds that an idle process has for leaving."""
_STARTS = 3
"""Processes that may be killed from outside while they load the function."""


@asynccontextmanager
async def step_worker(step: Step, *, stops: bool) -> AsyncIterator["StepWorker"]:
    """A worker for as long as the block; its process starts with the first call, and is gone at the end.

    `stops`: whether nothing is to be run behind a record that fails. Under a virtual clock there is no process, since
    virtual time would run away while it works: the same code runs in place, and nothing is timed.
    """
    if seam.is_virtual():
        yield StepWorker(step, stops=stops, context=None)
        return
    import trio_parallel  # noqa: PLC0415  - only for who uses processes

    manager = trio_parallel.open_worker_context(
        idle_timeout=math.inf, grace_period=_GRACE, worker_type=trio_parallel.WorkerType.SPAWN
    )
    context = await manager.__aenter__()
    try:
        yield StepWorker(step, stops=stops, context=context)
    finally:
        # Not `async with`: an idle process that didn't leave in time, or in order, is gone all the same, and its error
        # must not take the place of what ends the block.
        with suppress(trio_parallel.BrokenWorkerError):
            await manager.__aexit__(None, None, None)


@attrs.define(eq=False)
class StepWorker:
    """Runs a step's function in a process of its own; used by one task."""

    step: Step
    stops: bool
    context: Any
    """trio-parallel's; `None` under a virtual clock."""
    _want: int = 1
    """Records that the next chunk is to have."""
    _here: inside.Loaded | None = None
    _one: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    # Records.

    def share(self, waiting: int) -> int:
        """Of so many records that wait, how many to take for `records`: no more than leaves some to the others."""
        assert self.step.remote is not None
        return min(self._want, -(-waiting // self.step.remote.processes))

    async def records(self, records: Sequence[Record]) -> list[Any]:
        """What became of the records, or of the first ones of them, one at least; of one that failed a `Failed`."""
        began = trio.current_time()
        try:
            results = await self._chunk(records)
        except Exception as error:  # noqa: BLE001  - the step's policy decides
            if len(records) == 1 or isinstance(error, StepFaultError):
                return [Failed(error)]
            self._want = 1
            return await self._parts(records, error)
        if len(results) < len(records):
            self._want = len(results)
        elif trio.current_time() - began < _BUDGET / 2:
            self._want = max(self._want, min(2 * len(records), 512))
        return results

    async def _parts(self, records: Sequence[Record], error: Exception) -> list[Any]:
        """Run a chunk that was lost again, part by part. The results may end early behind one that stops the run."""
        results: list[Any] = []
        for part in parts(len(records), error):
            while len(results) < part.stop:
                results += await self.records(records[len(results) : part.stop])
                if self.stops and isinstance(results[-1], Failed):
                    return results
        return results

    async def _chunk(self, records: Sequence[Record]) -> list[Any]:
        answers = await self._ask(self._dumped(records), slack=_BUDGET if len(records) > 1 else 0.0)
        values: list[Any] = pickle.loads(answers.values)  # noqa: S301  - from our own worker
        for place, raised in answers.raised.items():
            error = self._error(raised)
            given = values[place]
            values[place] = _and_then(given, error) if given else Failed(error)
        return values

    # Batches and columns: one call of the function, which raises what it raises.

    async def batch(self, records: Sequence[Record]) -> list[Any]:
        """As `process_batch`."""
        answers = await self._ask(self._dumped(records))
        results: list[Any] = pickle.loads(answers.values)  # noqa: S301  - as above
        for place, raised in answers.raised.items():
            results[place] = self._error(raised)
        return results

    async def columns(self, data: Any) -> ColumnsResult:
        """As `process_columns`."""
        from agora.runtime.ipc import from_bytes, mask_from_bytes, to_bytes  # noqa: PLC0415  - loads pyarrow

        answers = await self._ask(to_bytes(data), columns=True)
        errors = {place: self._error(raised) for place, raised in answers.raised.items()}
        kept = None if answers.kept is None else mask_from_bytes(answers.kept)
        return ColumnsResult(from_bytes(answers.values), kept, errors)

    # The call.

    async def _ask(self, job: bytes, *, columns: bool = False, slack: float = 0.0) -> inside.Answers:
        if self.context is None:
            await trio.lowlevel.checkpoint()
            answer = self._in_place().work(job, _BUDGET_IN_PLACE, columns=columns)
        else:
            answer = await self._in_process(job, columns, slack)
        if isinstance(answer, inside.Raised):
            raise self._error(answer)
        return answer

    def _in_place(self) -> inside.Loaded:
        if self._here is None:
            self._here = inside.Loaded(*self._function(), stops=self.stops)
        return self._here

    async def _in_process(self, job: bytes, columns: bool, slack: float) -> inside.Answers | inside.Raised:
        assert self.step.remote is not None
        timeout = self.step.remote.timeout
        limit = math.inf if timeout is None else timeout + slack
        while True:
            if not self.context.statistics().idle_workers:
                await self._load()
            answer: inside.Answers | inside.Raised | None = None
            with trio.move_on_after(limit) as scope:
                answer = await self._run("while it worked on it", inside.work, job, _BUDGET, columns)
            if scope.cancelled_caught:
                raise WorkerTimeout(
                    f"step {self.step.name!r}: not done within {timeout:g} s (timeout), its worker process was killed"
                )
            if answer is not None:
                return answer
            await self._load()  # the process was another one: the loaded one had died while it was idle

    async def _load(self) -> None:
        """Start a process that has the function. Not timed: it imports the function's module."""
        starts = 0
        while True:
            starts += 1
            try:
                await self._run(
                    "while it loaded the step's function", inside.load, *self._function(), self.stops
                )
            except WorkerCrashed as error:
                if starts < _STARTS and error.exit_code is not None and error.exit_code < 0:
                    continue
                raise StepFaultError(
                    f"{error}. Its standard error says why. A script that runs a pipeline with processes has its run "
                    'behind `if __name__ == "__main__":`, since each worker imports it'
                ) from error
            except Exception as error:  # users' modules raise what they like
                raise StepFaultError(
                    f"step {self.step.name!r}: worker processes can't load its function: "
                    f"{type(error).__name__}: {error}"
                ) from error
            return

    async def _run(self, when: str, fn: Callable[..., T], *args: Any) -> T:
        import trio_parallel  # noqa: PLC0415  - as above

        try:
            answer: T = await self.context.run_sync(fn, *args, kill_on_cancel=True, limiter=self._one)
        except trio_parallel.BrokenWorkerError as error:
            code = getattr(error.args[-1], "exitcode", None)
            raise WorkerCrashed(
                f"step {self.step.name!r}: its worker process {_ended(code)} {when}", code
            ) from None
        except Exception as error:
            if fn is inside.load:
                raise
            # What the function raises comes back as an answer. This is an answer that broke off, or found no memory.
            text = f"step {self.step.name!r}: its worker process broke off {when}: {type(error).__name__}: {error}"
            raise WorkerCrashed(text) from error
        return answer

    def _function(self) -> tuple[str, inside.Kind, bytes]:
        """As it is now: `on_start` may have given the object what its workers need."""
        step = self.step
        assert step.remote is not None
        kind: inside.Kind = "columns" if step.columns is not None else _KINDS[step.kind]
        return step.name, kind, pickled(step.name, step.remote.function)

    def _dumped(self, records: Sequence[Record]) -> bytes:
        try:
            return pickle.dumps(list(records), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # whatever a __reduce__ raises
            raise pickle.PicklingError(
                f"step {self.step.name!r}: the record can't be sent to a worker process: {error}"
            ) from error

    def _error(self, raised: inside.Raised) -> Exception:
        """The exception as the worker raised it, with its traceback as a note."""
        error: Exception | None = None
        if raised.exit_code is not None:
            text = f"step {self.step.name!r}: its function raised {raised.name}({raised.text}) in a worker process"
            error = WorkerCrashed(text, raised.exit_code)
        elif raised.pickled is not None:
            try:
                error = pickle.loads(raised.pickled)  # noqa: S301  - as above
            except Exception:  # noqa: BLE001  - as for one that can't be pickled
                error = None
        if error is None:
            error = WorkerError(f"{raised.name}: {raised.text}")
        error.add_note(f"in a worker process:\n{raised.traceback.rstrip()}")
        return error


_KINDS: dict[StepKind, inside.Kind] = {
    StepKind.MAP: "map",
    StepKind.FILTER: "filter",
    StepKind.EXPAND: "flat_map",
    StepKind.BATCH: "batch",
}


def _and_then(children: Sequence[Record], error: Exception) -> Iterator[Record]:
    """What a step that multiplies gave before it failed, and the failure."""
    yield from children
    raise error


def _ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"
