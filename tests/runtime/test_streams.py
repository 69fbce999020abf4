"""What a source's stream may be, how it is closed, and how a lifespan may end."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pyarrow as pa
import pytest
import trio
from support import CountingStore, run_virtual

from agora import AgoraError, ConfigError, Pipeline, seam
from agora.sinks import MemorySink


async def generator() -> AsyncGenerator[int]:
    for number in range(3):
        yield number


class Plain:
    """An async iterator with nothing to close."""

    def __init__(self) -> None:
        self.left = [2, 1, 0]

    def __aiter__(self) -> "Plain":
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()


@asynccontextmanager
async def channel() -> AsyncIterator[AsyncIterator[int]]:
    yield generator()


async def forgotten() -> int:
    return 1


def promised() -> Any:
    return forgotten()


@attrs.define
class Gives:
    stream: Callable[[], Any]


@pytest.mark.parametrize("stream", [generator, Plain, channel, trio.as_safe_channel(generator)])
def test_a_stream_is_any_async_iterable_or_what_opens_one(stream: Callable[[], Any]) -> None:
    sink = MemorySink()
    run_virtual(Pipeline(Gives(stream), name="p").to(sink).build().run)
    assert sink.records == [0, 1, 2]


@pytest.mark.parametrize(("stream", "kind"), [(promised, "coroutine"), (lambda: [1], "list")])
def test_what_is_no_stream_is_named_with_what_it_must_be(stream: Callable[[], Any], kind: str) -> None:
    with pytest.raises(ConfigError, match=f"gave a {kind}: it must be an async generator"):
        run_virtual(Pipeline(Gives(stream), name="p").to(MemorySink()).build().run)


@pytest.mark.parametrize("fails", [False, True])
def test_a_generator_that_holds_a_nursery_is_closed_and_only_its_own_errors_come_out(fails: bool) -> None:
    async def stream() -> AsyncGenerator[int]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                for number in range(10):
                    yield number
            finally:
                nursery.cancel_scope.cancel()
                if fails:
                    raise OSError("can't be closed")

    sink = MemorySink()
    bound = Pipeline(Gives(stream), name="p").to(sink).build()
    if fails:
        with pytest.raises(OSError, match="can't be closed"):
            run_virtual(lambda: bound.run(max_records=4))
    else:
        run_virtual(lambda: bound.run(max_records=4))
    assert sink.records == [0, 1, 2, 3]


# Lifespans.


@attrs.define(eq=False)
class Living(MemorySink):
    enter: Callable[[], Any] = trio.lowlevel.checkpoint
    events: list[str] = attrs.field(factory=list)

    @asynccontextmanager
    async def lifespan(self, context: Any) -> AsyncIterator[None]:
        self.events.append("enter")
        try:
            await self.enter()
            yield
        finally:
            self.events.append("leave")


def test_a_run_that_is_cancelled_while_a_lifespan_is_entered_leaves_it() -> None:
    sink = Living(enter=trio.sleep_forever)

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            await Pipeline(Gives(generator), name="p").to(sink).build().run()
        assert scope.cancelled_caught

    run_virtual(main)
    assert (sink.events, sink.records) == (["enter", "leave"], [])


def test_a_lifespan_that_ends_by_itself_ends_the_run_and_is_named() -> None:
    class Short:
        @asynccontextmanager
        async def lifespan(self, context: Any) -> AsyncIterator[None]:
            with trio.move_on_after(1):
                yield

        async def write(self, records: Any) -> None:
            await trio.sleep(5)

    bound = Pipeline(Gives(generator), name="p").to(Short(), name="short").build()
    with pytest.raises(AgoraError, match="the lifespan of sink:short ended before the run"):
        run_virtual(bound.run)


class Simulated(seam.Seam):
    """The deadline of closing is on the virtual clock."""

    simulated = True


def test_a_generator_that_does_not_close_in_time_is_told_of() -> None:
    async def stream() -> AsyncGenerator[int]:
        try:
            for number in range(10):
                yield number
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1_000)

    sink = MemorySink()
    bound = Pipeline(Gives(stream), name="p").to(sink).build()
    with seam.use(Simulated()), pytest.raises(TimeoutError, match=r"generator hasn't closed within \d+ s"):
        run_virtual(lambda: bound.run(max_records=4))
    assert sink.records == [0, 1, 2, 3]


@attrs.define(eq=False)
class Fours:
    """Records four by four; its place is the four that it is in."""

    place: int = 0
    supports_checkpoint = True

    async def prepare_resume(self, position: Any) -> None:
        self.place = position or 0

    def checkpoint(self) -> Any:
        return self.place

    def numbers(self) -> list[int]:
        return list(range(4 * self.place, 4 * self.place + 4))


class InBatches(Fours):
    async def batches(self) -> AsyncIterator[pa.RecordBatch]:
        while self.place < 3:
            numbers = self.numbers()
            self.place += 1
            yield pa.RecordBatch.from_pydict({"n": numbers})


class OneByOne(Fours):
    async def stream(self) -> AsyncGenerator[Any]:
        while self.place < 3:
            for number in self.numbers():
                self.place += number % 4 == 3
                yield {"n": number}


def test_a_checkpoint_in_the_middle_of_a_record_batch_is_gone_on_from_by_a_stream() -> None:
    store, sink = CountingStore(), MemorySink()

    def bound(source: Any) -> Any:
        return Pipeline(source, name="p").to(sink).build(checkpoint_store=store)

    run_virtual(lambda: bound(InBatches()).run(max_records=6))
    assert (store.saved[-1].position, store.saved[-1].skip) == (1, 2)
    summary = run_virtual(bound(OneByOne()).run)
    assert [record["n"] for record in sink.records] == list(range(12))
    assert summary.read == 6
