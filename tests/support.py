"""What tests of the engine share: runs on a virtual clock with repeatable scheduling, sources and sinks that can be
watched, delayed and failed."""

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import attrs
import trio
from trio.testing import MockClock

from agora.checkpoint import Checkpoint
from agora.errors import RecordsRejected
from agora.sources.base import Block, Demand
from agora.state import CheckpointStore, MemoryBackend
from agora.state.steplog import Place, read_rows
from agora.testing.simulation.scheduling import seeded_scheduling

T = TypeVar("T")


def run_virtual(main: Callable[..., Awaitable[T]], *args: Any, seed: int = 0, limit: float = 1e6) -> T:
    """`trio.run` on a clock that jumps whenever nothing can go on. What takes more than `limit` virtual seconds hangs:
    it waits for something that never comes."""

    async def limited() -> T:
        with trio.fail_after(limit):
            return await main(*args)
        raise AssertionError("unreachable")

    with seeded_scheduling(seed):
        return trio.run(limited, clock=MockClock(autojump_threshold=0))


@attrs.define(eq=False)
class Records:
    """A checkpointable source of `make(0) … make(count - 1)`, by blocks of up to `block` rows, or one by one."""

    count: int
    make: Callable[[int], Any] = lambda number: {"id": number}
    block: int | None = None
    """`None`: `stream()` only."""
    delay: Callable[[int], float] | None = None
    """Virtual seconds before record n."""
    fail_at: int | None = None
    error: Exception = attrs.field(factory=lambda: RuntimeError("the source broke"))
    supports_checkpoint: bool = True
    told: list[Any] = attrs.field(factory=list)
    """Positions that `committed` was called with."""
    prepared: list[Any] = attrs.field(factory=list)
    given: list[int] = attrs.field(factory=list)
    """Numbers of the records that were yielded, in all runs."""
    _at: int = 0

    @property
    def blocks(self) -> Callable[[Demand], AsyncGenerator[Block]] | None:
        return None if self.block is None else self._blocks

    def identity(self) -> Any:
        return {"records": "test"}

    async def prepare_resume(self, position: Any) -> None:
        self.prepared.append(position)
        self._at = 0 if position is None else position

    async def committed(self, position: Any) -> None:
        self.told.append(position)

    def checkpoint(self) -> Any:
        return self._at

    async def stream(self) -> AsyncGenerator[Any]:
        while self._at < self.count or self.fail_at == self._at:
            if self.delay is not None:
                await trio.sleep(self.delay(self._at))
            if self._at == self.fail_at:
                raise self.error
            self.given.append(self._at)
            self._at += 1
            yield self.make(self._at - 1)

    async def _blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        assert self.block is not None
        while self._at < self.count:
            start, stop = self._at, min(self.count, self._at + self.block)
            if self.delay is not None:
                await trio.sleep(self.delay(start))
            if self.fail_at is not None and start <= self.fail_at < stop:
                stop = self.fail_at
                if stop == start:
                    raise self.error
            self._at = stop
            self.given.extend(range(start, stop))
            yield Block(
                [self.make(number) for number in range(start, stop)],
                position=lambda n, start=start: start + n,
                original=lambda i, start=start: self.make(start + i),
            )
        if self.fail_at == self._at:
            raise self.error


@attrs.define(eq=False)
class ListSink:
    """Keeps what it accepts; refuses records by `bad`, in the way that `how` names."""

    how: str = "rejected"
    """`"rejected"`: RecordsRejected; `"atomic"`: raises, nothing accepted; `"record"`: write_record."""
    bad: Callable[[Any], bool] = lambda record: False
    delay: Callable[[], float] = lambda: 0.0
    records: list[Any] = attrs.field(factory=list)
    calls: list[int] = attrs.field(factory=list)
    """Number of records of each call."""
    refused: list[Exception] = attrs.field(factory=list)

    @property
    def atomic_write(self) -> bool:
        return self.how == "atomic"

    @property
    def write_record(self) -> Callable[[Any], Awaitable[None]] | None:
        return self._write_record if self.how == "record" else None

    async def write(self, records: Sequence[Any]) -> None:
        await trio.sleep(self.delay())
        self.calls.append(len(records))
        errors = {index: self._error(each) for index, each in enumerate(records) if self.bad(each)}
        if not errors:
            self.records.extend(records)
        elif self.how == "atomic":
            raise next(iter(errors.values()))
        else:
            self.records.extend(each for index, each in enumerate(records) if index not in errors)
            rejected = RecordsRejected(errors)
            self.refused.append(rejected)
            raise rejected

    async def _write_record(self, record: Any) -> None:
        await trio.sleep(self.delay())
        self.calls.append(1)
        if self.bad(record):
            raise self._error(record)
        self.records.append(record)

    def _error(self, record: Any) -> Exception:
        error = ValueError(f"refused {record!r}")
        self.refused.append(error)
        return error


class CountingStore(CheckpointStore):
    """A `CheckpointStore` in memory that notes what it is asked."""

    def __init__(self, state: Any = None) -> None:
        super().__init__(MemoryBackend() if state is None else state)
        object.__setattr__(self, "saved", [])
        object.__setattr__(self, "completed", [])
        object.__setattr__(self, "loaded", [])

    saved: list[Checkpoint]
    completed: list[Checkpoint]
    loaded: list[Checkpoint | None]

    async def load(self, pipeline: str) -> Checkpoint | None:
        self.loaded.append(await super().load(pipeline))
        return self.loaded[-1]

    async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        await super().save(pipeline, checkpoint, **more)
        self.saved.append(checkpoint)

    async def amend(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        await super().amend(pipeline, checkpoint, **more)
        self.completed.append(checkpoint)


async def stored_state(store: CheckpointStore, step: str, pipeline: str = "p") -> dict[str, Any]:
    """What is saved of a step's mapping."""
    checkpoint = await store.load(pipeline)
    assert checkpoint is not None
    place = Place.of(checkpoint.states.get(step))
    if place is None:
        return {}
    found: dict[str, Any] = {}
    async for put, gone in read_rows(store.state, pipeline, step, place):
        found.update(put)
        for key in gone:
            found.pop(key, None)
    assert len(found) == place.keys
    return found


def agora_threads() -> list[str]:
    """Threads that run agora's code (idle threads of trio's cache don't)."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("agora")]


class Dedupe:
    """Drops records whose `id` it has seen; by `snapshot`."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def process(self, record: Any) -> Any:
        if record["id"] in self.seen:
            return None
        self.seen.add(record["id"])
        return record

    def snapshot(self) -> Any:
        return sorted(self.seen)

    def restore(self, state: Any) -> None:
        self.seen = set(state)
