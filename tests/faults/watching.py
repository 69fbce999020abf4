"""Proxies around the parts of a run that note where it is. They delegate all else, so the engine under test is the
engine as it is."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager
from typing import Any, TypeVar

import attrs

from agora.sources.base import Block, Demand
from agora.testing.faults import Operation
from agora.threaded import blocking_form, with_blocking_form

from .phases import Phase, Recorder

__all__ = ["Strikes", "WatchedSink", "WatchedSource", "WatchedStore"]

T = TypeVar("T")


@attrs.frozen
class Strikes:
    """An observer of the disk: events before and after every operation, and in the middle of a write."""

    recorder: Recorder

    def perform(self, operation: Operation, act: Callable[[Operation], T]) -> T:
        if operation.name == "open":
            return act(operation)
        self.recorder.event()
        if operation.name == "write" and self.recorder.due("middle"):
            half = len(operation.data) // 2
            act(attrs.evolve(operation, data=operation.data[:half]))
            self.recorder.strike()
            if operation.layer == "files":  # which writes where it is, SQLite at an offset
                operation = attrs.evolve(operation, data=operation.data[half:])
        done = act(operation)
        if operation.name != "create":  # a handle would be lost with the error
            self.recorder.event()
        return done


class Watched:
    """All that isn't said here is the part's own."""

    def __init__(self, part: Any, recorder: Recorder) -> None:
        self._part = part
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    async def close(self) -> None:
        self._recorder.set(Phase.CLOSING, True)
        self._recorder.event()
        await self._part.close()
        self._recorder.event()


def noting(
    phase: Callable[[], AbstractContextManager[None]], form: Callable[..., Any] | None
) -> Callable[..., Any] | None:
    """What a part does in a thread, with a note of it."""
    if form is None:
        return None

    def noted(*args: Any, **more: Any) -> Any:
        with phase():
            return form(*args, **more)

    return noted


class WatchedSink(Watched):
    """A transactional sink."""

    async def write(self, records: Sequence[Any]) -> None:
        self._recorder.set(Phase.BETWEEN, False)
        with self._recorder.within(Phase.WRITE):
            await self._part.write(records)

    @with_blocking_form(lambda sink: noting(sink._preparing, blocking_form(sink._part.prepare)))
    async def prepare(self) -> Any:
        with self._preparing():
            return await self._part.prepare()

    @contextmanager
    def _preparing(self) -> Iterator[None]:
        step = Phase.PREPARE if self._recorder.at(Phase.STREAM) else Phase.START
        self._recorder.set(Phase.BETWEEN, step is Phase.PREPARE)
        with self._recorder.within(step):
            yield

    async def commit(self, token: Any) -> None:
        with self._recorder.within(Phase.COMMIT):
            await self._part.commit(token)

    async def recover(self, token: Any) -> None:
        with self._recorder.within(Phase.RECOVER):
            await self._part.recover(token)

    async def restart(self, token: Any) -> None:
        with self._recorder.within(Phase.RECOVER):
            await self._part.restart(token)


class WatchedStore(Watched):
    """A checkpoint store."""

    @with_blocking_form(
        lambda store: noting(lambda: store._recorder.within(Phase.SAVE), blocking_form(store._part.save))
    )
    async def save(self, pipeline: str, checkpoint: Any, **more: Any) -> None:
        with self._recorder.within(Phase.SAVE):
            await self._part.save(pipeline, checkpoint, **more)

    async def amend(self, pipeline: str, checkpoint: Any, **more: Any) -> None:
        with self._recorder.within(Phase.SAVE):
            await self._part.amend(pipeline, checkpoint, **more)

    async def begin(self, *args: Any, **more: Any) -> None:
        with self._recorder.within(Phase.START):
            await self._part.begin(*args, **more)


class WatchedSource(Watched):
    """A source of blocks, which also is told what is committed: what it is told must be saved by then."""

    def __init__(self, part: Any, recorder: Recorder, saved: Callable[[], Any]) -> None:
        super().__init__(part, recorder)
        self._saved = saved
        self._fence = 0  # the fence of the last checkpoint that was found to be this run's

    @property
    def allow_change(self) -> bool:
        return bool(self._part.allow_change)

    @allow_change.setter
    def allow_change(self, allow: bool) -> None:
        self._part.allow_change = allow

    async def committed(self, position: Any) -> None:
        with self._recorder.within(Phase.TELL):
            checkpoint = await self._saved()
            if checkpoint.position == position:
                self._fence = checkpoint.fence
            else:  # late is right: a later runner may have taken over; early never is
                assert 0 < self._fence < checkpoint.fence, f"told {position}, saved is {checkpoint.position}"
        self._recorder.set(Phase.BETWEEN, False)

    async def blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        self._recorder.set(Phase.OPENING, False)
        self._recorder.enter(Phase.STREAM)
        async with aclosing(self._part.blocks(demand)) as blocks:
            while True:
                with self._recorder.within(Phase.SOURCE):
                    block = await anext(blocks, None)
                if block is None:
                    return
                yield block
