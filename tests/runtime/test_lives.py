"""The lives of parts at their edges: entered too late, closed without having been opened, interrupted while closing."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from support import Records, run_virtual

from agora import AgoraError, Checkpoint, Pipeline
from agora.sources import IterableSource


class Kept:
    """A sink that keeps what it is written, and what is done to it."""

    def __init__(self) -> None:
        self.records: list[object] = []
        self.events: list[str] = []

    async def write(self, records: list[object]) -> None:
        self.records += records


def test_cancelling_while_a_lifespan_is_entered_without_looking_ends_the_run() -> None:
    class Slow(Kept):
        @asynccontextmanager
        async def lifespan(self, context: object) -> AsyncGenerator[None]:
            await trio.to_thread.run_sync(time.sleep, 0.05)  # not abandoned, and no checkpoint behind it
            yield
            self.events.append("left")

    async def main() -> None:
        with trio.move_on_after(0.01) as scope:
            await Pipeline(IterableSource([1]), name="p").to(sink).build().run()
        assert scope.cancelled_caught

    sink = Slow()
    trio.run(main)
    assert sink.records == []


async def test_a_part_with_close_and_no_open_is_closed() -> None:
    class Closing(Kept):
        async def close(self) -> None:
            self.events.append("closed")

    sink = Closing()
    await Pipeline(IterableSource([1]), name="p").to(sink).build().run()
    assert sink.events == ["closed"]


def test_the_runs_own_error_isnt_lost_to_a_cancellation_while_it_closes() -> None:
    class Failing(Kept):
        async def write(self, records: list[object]) -> None:
            raise OSError("disk")

        async def close(self) -> None:
            await trio.sleep(3)

    async def main() -> None:
        with pytest.raises(OSError, match="disk"), trio.move_on_after(1):
            await Pipeline(IterableSource([1]), name="p").to(Failing()).build().run()

    run_virtual(main)


async def test_ctrl_c_in_the_closing_of_one_part_leaves_the_others_closed() -> None:
    class Interrupted(Kept):
        async def close(self) -> None:
            raise KeyboardInterrupt

    class Closing(Kept):
        async def close(self) -> None:
            self.events.append("closed")

    first, second = Closing(), Interrupted()
    with pytest.raises(KeyboardInterrupt):
        await Pipeline(IterableSource([1]), name="p").to(first, second).build().run()
    assert first.events == ["closed"]


async def test_a_lifespan_that_ends_before_the_run_ends_it() -> None:
    class Gone(Kept):
        @asynccontextmanager
        async def lifespan(self, context: object) -> AsyncGenerator[None]:
            with trio.CancelScope() as scope:
                scope.cancel()
                yield

    async def forever() -> AsyncGenerator[int]:
        while True:
            await trio.sleep(0)
            yield 1

    with pytest.raises(AgoraError, match="lifespan of sink:gone ended before the run"):
        await Pipeline(IterableSource(forever()), name="p").to(Gone(), name="gone").build().run()


async def test_a_store_of_ones_own_needs_only_load_and_save() -> None:
    class Store:
        def __init__(self) -> None:
            self.saved: list[Checkpoint] = []

        async def load(self, pipeline: str) -> Checkpoint | None:
            return self.saved[-1] if self.saved else None

        async def save(self, pipeline: str, checkpoint: Checkpoint) -> None:
            self.saved.append(checkpoint)

        async def delete(self, pipeline: str) -> None:
            self.saved.clear()

        async def list(self) -> list[str]:
            return ["p"] if self.saved else []

    store, sink = Store(), Kept()
    built = Pipeline(Records(4), name="p").to(sink).build(checkpoint_store=store, checkpoint_every=2)
    await built.run()
    assert [saved.ordinal for saved in store.saved] == [2, 4, 4]
    assert store.saved[-1].completed
    await built.run()
    assert len(sink.records) == 4


async def test_a_live_sink_is_finished_when_the_source_is_exhausted() -> None:
    class Live(Kept):
        live = True

        async def prepare(self) -> None:
            self.events.append("prepare")

        async def commit(self, token: object) -> None:
            self.events.append("commit")

        async def finish(self) -> None:
            self.events.append("finish")

    sink = Live()
    await Pipeline(IterableSource([1]), name="p").to(sink).build().run()
    assert sink.events[-3:] == ["finish", "prepare", "commit"]


def test_the_sources_own_cleanup_is_waited_for_behind_max_records() -> None:
    done: list[str] = []

    class Tidy:
        async def stream(self) -> AsyncGenerator[int]:
            try:
                while True:
                    yield 1
            finally:
                await trio.sleep(1)
                done.append("tidied")

    async def main() -> Any:
        return await Pipeline(Tidy(), name="p").to(Kept()).build().run(max_records=2)

    assert run_virtual(main).read == 2
    assert done == ["tidied"]
