"""Replays, checkpoints, stops and cancellations at random moments of a run that is never quiet: in the end
each record has been delivered exactly once, and the state has seen each once."""

import os
import random
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import attrs
import pytest
import trio
from support import CountingStore, Records, run_virtual

from agora import AgoraError, Backpressure, Pipeline
from agora.sinks import MemorySink
from agora.state import MemoryBackend, StateDLQSink

SEEDS = int(os.environ.get("AGORA_BUSY_SEEDS", "12"))
RECORDS = 50


class Strict:
    """Ends the run where it sees a record twice; what it has seen in the end tells whether its state went with every
    checkpoint."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def process(self, record: Any) -> Any:
        if record["id"] in self.seen:
            raise AssertionError(f"{record['id']} twice")
        self.seen.add(record["id"])
        return record

    def snapshot(self) -> Any:
        return sorted(self.seen)

    def restore(self, state: Any) -> None:
        self.seen = set(state)


class Channel(Records):
    """The same records by a task of its own."""

    def stream(self) -> AbstractAsyncContextManager[Any]:  # type: ignore[override]  # the other form that the engine takes
        return self._channel()

    @trio.as_safe_channel
    async def _channel(self) -> AsyncGenerator[Any]:
        async with aclosing(super().stream()) as records:
            async for record in records:
                yield record


@attrs.define(eq=False)
class Busy:
    """One random life of a pipeline."""

    seed: int
    source_of: Any
    chance: random.Random = attrs.field(init=False)
    state: MemoryBackend = attrs.field(factory=MemoryBackend)
    sink: MemorySink = attrs.field(factory=MemorySink)
    broken: bool = True

    def __attrs_post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def build(self) -> Any:
        draw = self.chance

        async def fetch(record: Any) -> Any:
            await trio.sleep(draw.random() * 0.05)
            if self.broken and record["id"] % 4 == 1:
                raise ValueError("not yet")
            return record

        def late(record: Any) -> Any:
            if self.broken and record["id"] % 9 == 2:
                raise ValueError("not yet either")
            return record

        source = self.source_of(RECORDS, delay=lambda number: draw.choice((0, 0, 0.01, 0.6)))
        return (
            Pipeline(source, name="p")
            .map(fetch, name="fetch", concurrency=draw.choice((1, 4)))
            .pipe(Strict(), name="strict", on_error="stop")
            .map(late, name="late")
            .to(self.sink, name="out")
            .build(
                checkpoint_store=CountingStore(self.state),
                dlq=StateDLQSink(self.state),
                checkpoint_every=draw.choice((3, 10, 50)),
                batch_size=draw.choice((1, 4, 16)),
                linger=0.02,
                backpressure=draw.choice(
                    (None, Backpressure.fixed(1), Backpressure.adaptive(max_in_flight=30))
                ),
            )
        )

    async def live(self) -> None:
        """Run until the source is exhausted, disturbed all the time; then repair what is left."""
        await self.state.open()
        for _ in range(50):
            if await self.one_run():
                break
        self.broken = False
        await self.build().replay()
        queue = StateDLQSink(self.state)
        assert [letter async for letter in queue.read("p")] == []
        last = await CountingStore(self.state).load("p")
        assert last is not None
        assert last.states["strict"]["snapshot"] == list(range(RECORDS))
        await self.state.close()

    async def one_run(self) -> bool:
        """Whether it was completed."""
        bound, ended = self.build(), trio.Event()
        completed = [False]
        run_scope = trio.CancelScope()

        async def run(*, task_status: Any) -> None:
            with run_scope:
                completed[0] = (await bound.run(task_status=task_status)).status == "completed"
            ended.set()

        async with trio.open_nursery() as nursery:
            handle = await nursery.start(run)
            while not ended.is_set():
                await trio.sleep(self.chance.random() * 0.8)
                nursery.start_soon(self.disturb, handle, run_scope)
        return completed[0]

    async def disturb(self, handle: Any, run_scope: trio.CancelScope) -> None:
        self.broken = self.chance.random() < 0.7
        what = self.chance.random()
        try:
            if what < 0.5:
                await handle.replay(limit=self.chance.choice((None, 1, 3)))
            elif what < 0.7:
                with trio.move_on_after(self.chance.random() * 0.2):
                    await handle.replay()
            elif what < 0.88:
                await handle.checkpoint()
            elif what < 0.94:
                handle.stop()
            else:
                run_scope.cancel()
        except AgoraError:
            pass  # the run is over, or about to be


@pytest.mark.parametrize("source_of", [Records, Channel, lambda *a, **k: Records(*a, block=5, **k)])
def test_whatever_happens_to_a_busy_run_with_replays_each_record_is_delivered_once(source_of: Any) -> None:
    for seed in range(SEEDS):
        busy = Busy(seed, source_of)
        run_virtual(busy.live, seed=seed)
        assert sorted(record["id"] for record in busy.sink.records) == list(range(RECORDS)), seed
