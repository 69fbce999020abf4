"""A replay that is interrupted anywhere and repeated delivers each letter exactly once into transactional sinks."""

import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from support import CountingStore, ListSink, Records, run_virtual

from agora import AgoraError, Backpressure, Checkpoint, Pipeline, PipelineBusy
from agora.sinks import JsonLinesSink, MemorySink, SQLiteSink
from agora.sources import CsvSource
from agora.state import MemoryBackend, StateDLQSink
from agora.state.base import Put

RECORDS = 9
LETTERS = (1, 2, 4, 5, 7)
EVERY = 2


class Store(CountingStore):
    """Its next save fails: `"before"` it happens, or `"after"`."""

    due: list[tuple[str, BaseException]]

    async def save(self, pipeline: str, checkpoint: Checkpoint, **more: Any) -> None:
        when, error = self.due.pop(0) if self.due else ("", None)
        if when == "before":
            assert error is not None
            raise error
        await super().save(pipeline, checkpoint, **more)
        if when == "after":
            assert error is not None
            raise error


@attrs.define(eq=False)
class World:
    """A pipeline over state that outlives its runs, with a target, and a switch for what strikes where."""

    folder: Path
    kind: str
    state: MemoryBackend = attrs.field(factory=MemoryBackend)
    store: Store = attrs.field(init=False)
    dlq: StateDLQSink = attrs.field(init=False)
    bad: set[int] = attrs.field(factory=lambda: set(LETTERS))
    source: Records = attrs.field(factory=lambda: Records(RECORDS))
    memory: MemorySink = attrs.field(factory=MemorySink)
    strike: Callable[[int], Awaitable[None]] | None = None

    def __attrs_post_init__(self) -> None:
        self.store, self.dlq = Store(self.state), StateDLQSink(self.state)
        object.__setattr__(self.store, "due", [])

    def sink(self) -> Any:
        if self.kind == "memory":
            return self.memory
        if self.kind == "jsonl":
            return JsonLinesSink(self.folder / "out.jsonl")
        return SQLiteSink(self.folder / "out.db", "orders")

    def build(self) -> Any:
        def check(record: Any) -> Any:
            if record["id"] in self.bad:
                raise ValueError(f"bad {record['id']}")
            return record

        async def struck(record: Any) -> Any:
            if self.strike is not None:
                await self.strike(record["id"])
            return record

        pipeline = Pipeline(self.source, name="p").map(check).map(struck, name="struck", on_error="stop")
        return pipeline.to(self.sink(), name="out").build(
            checkpoint_store=self.store,
            dlq=self.dlq,
            checkpoint_every=EVERY,
            backpressure=Backpressure.fixed(
                1
            ),  # record by record, so that what is saved at a strike is known
        )

    def delivered(self) -> list[int]:
        if self.kind == "memory":
            return [record["id"] for record in self.memory.records]
        if self.kind == "jsonl":
            lines = (self.folder / "out.jsonl").read_text().splitlines()
            return [json.loads(line)["id"] for line in lines]
        with sqlite3.connect(self.folder / "out.db") as connection:
            rows = connection.execute("SELECT id FROM orders ORDER BY rowid").fetchall()
        connection.close()
        return [row[0] for row in rows]

    async def letters(self) -> list[int]:
        return [letter.original["id"] async for letter in self.dlq.read("p")]


def in_a_world(folder: Path, kind: str, test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        folder.mkdir()
        world = World(folder, kind)
        await world.state.open()
        await world.build().run()
        assert await world.letters() == list(LETTERS)
        world.bad.clear()
        try:
            await test(world)
        finally:
            await world.state.close()

    run_virtual(main)


async def interrupted(world: World, how: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do the work, which is struck in the way that `how` says."""
    if how == "cancel":
        with trio.CancelScope() as scope:

            async def strike(number: int, at: Callable[[int], Awaitable[None]] | None = world.strike) -> None:
                if at is not None:
                    try:
                        await at(number)
                    except OSError:
                        scope.cancel()
                        await trio.sleep_forever()

            world.strike = strike
            await work()
    elif how == "error":
        with pytest.raises(OSError, match="struck"):
            await work()
    else:
        with pytest.raises(KeyboardInterrupt):
            await work()
    world.strike = None


def strike_at(number: int, how: str) -> Callable[[int], Awaitable[None]]:
    async def strike(found: int) -> None:
        if found == number:
            raise KeyboardInterrupt("struck") if how == "crash" else OSError("struck")

    return strike


@pytest.mark.parametrize("kind", ["memory", "jsonl", "sqlite"])
@pytest.mark.parametrize("how", ["cancel", "error", "crash"])
def test_struck_at_any_letter_and_repeated_it_delivers_each_exactly_once(
    tmp_path: Path, kind: str, how: str
) -> None:
    for k, number in enumerate(LETTERS):

        async def test(world: World, k: int = k, number: int = number) -> None:
            world.strike = strike_at(number, how)
            await interrupted(world, how, world.build().replay)
            saved = k - k % EVERY  # letters that a barrier behind them covers
            assert await world.letters() == list(LETTERS[saved:])
            assert (await world.build().replay()).written == len(LETTERS) - saved
            assert world.delivered() == [0, 3, 6, 8, *LETTERS]
            assert await world.letters() == []
            assert (await world.build().run()).read == 0

        in_a_world(tmp_path / str(k), kind, test)


@pytest.mark.parametrize("kind", ["memory", "jsonl", "sqlite"])
@pytest.mark.parametrize("then", ["run", "replay"])
@pytest.mark.parametrize("when", ["before", "after", "commit"])
def test_a_letter_goes_with_the_save_of_its_delivery_and_never_without(
    tmp_path: Path, kind: str, then: str, when: str
) -> None:
    """A failed save: neither delivered nor removed. One that happened, though it failed or what follows did: both,
    completed by the next run or replay."""

    async def test(world: World) -> None:
        bound = world.build()
        if when == "commit":
            sink, error = bound.spec.sinks[0].sink, KeyboardInterrupt("struck")

            async def commit(token: Any) -> None:
                raise error

            bound = replaced(bound, Wrapped(sink, commit))
        else:
            error = OSError("struck")  # type: ignore[assignment]  # whatever it is
            world.store.due.append((when, error))
        with pytest.raises(type(error)):
            await bound.replay()
        left = list(LETTERS) if when == "before" else list(LETTERS[EVERY:])
        assert await world.letters() == left
        again = world.build()
        await (again.run() if then == "run" else again.replay(limit=0))
        gone = LETTERS[:EVERY] if when != "before" else ()
        assert world.delivered() == [0, 3, 6, 8, *gone]
        assert await world.letters() == left
        await again.replay()
        assert world.delivered() == [0, 3, 6, 8, *LETTERS]

    in_a_world(tmp_path / "world", kind, test)


@attrs.frozen(eq=False)
class Wrapped:
    """A sink with another `commit`."""

    inner: Any
    commit: Callable[[Any], Awaitable[None]]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def replaced(bound: Any, sink: Any) -> Any:
    spec = bound.spec
    return attrs.evolve(bound, spec=attrs.evolve(spec, sinks=[attrs.evolve(spec.sinks[0], sink=sink)]))


@pytest.mark.parametrize("kind", ["memory", "jsonl", "sqlite"])
def test_a_replay_first_completes_what_an_interrupted_run_left(tmp_path: Path, kind: str) -> None:
    async def test(world: World) -> None:
        world.source.count = RECORDS + 3
        bound = world.build()

        async def commit(token: Any) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):  # 9 and 10 are saved and not committed
            await replaced(bound, Wrapped(bound.spec.sinks[0].sink, commit)).run()
        given = list(world.source.given)
        await world.build().replay()
        assert world.source.given == given  # the source isn't opened by a replay
        assert world.delivered() == [0, 3, 6, 8, 9, 10, *LETTERS]
        await world.build().run()
        assert world.delivered() == [0, 3, 6, 8, 9, 10, *LETTERS, 11]

    in_a_world(tmp_path / "world", kind, test)


@pytest.mark.parametrize("kind", ["memory", "jsonl", "sqlite"])
def test_a_crash_behind_one_of_its_barriers_is_cut_back_though_the_run_before_was_completed(
    tmp_path: Path, kind: str
) -> None:
    async def test(world: World) -> None:
        world.strike = strike_at(LETTERS[3], "crash")
        with pytest.raises(KeyboardInterrupt):
            await world.build().replay()
        world.strike = None
        if kind == "jsonl":  # what a killed process leaves behind its last barrier
            with (world.folder / "out.jsonl").open("a") as file:
                file.write('{"id":4}\n')
        last = await world.store.load("p")
        assert last is not None
        assert not last.completed  # or what stands behind it would be taken for somebody else's
        await world.build().replay()
        assert world.delivered() == [0, 3, 6, 8, *LETTERS]

    in_a_world(tmp_path / "world", kind, test)


@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
def test_a_replay_whose_lease_was_taken_over_delivers_and_removes_nothing(tmp_path: Path, kind: str) -> None:
    async def test(world: World) -> None:
        async def taken_over(number: int) -> None:
            last = await world.store.load("p")
            assert last is not None
            fence = last.fence + 10
            await world.state.apply([Put("lease.fence", "p", b"%d" % fence)])

        world.strike = taken_over
        with pytest.raises(PipelineBusy, match="taken over"):
            await world.build().replay()
        assert await world.letters() == list(LETTERS)
        assert world.delivered() == [0, 3, 6, 8]

    in_a_world(tmp_path / "world", kind, test)


def test_letters_elsewhere_are_removed_behind_their_delivery_and_a_sink_that_can_tell_has_no_doubles(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        other = StateDLQSink(MemoryBackend())
        await other.state.open()
        letters = [letter async for letter in world.dlq.read("p")]
        await other.write(letters)
        down = [True]

        @attrs.frozen(eq=False)
        class Queue:
            """Delivers, and can't remove."""

            read, write = other.read, other.write

            async def delete(self, found: Any) -> None:
                if down:
                    down.pop()
                    raise OSError("the queue is away")
                await other.delete(found)

        keyed, plain = SQLiteSink(world.folder / "keyed.db", "orders", key="id"), ListSink()
        pipeline = Pipeline(world.source, name="q").to(keyed, name="keyed").to(plain, name="plain")
        store = CountingStore(world.state)
        await pipeline.build(checkpoint_store=store, dlq=other).run()
        with pytest.raises(OSError, match="away"):
            await (
                Pipeline(world.source, name="q")
                .to(keyed, name="keyed")
                .to(plain, name="plain")
                .build(checkpoint_store=store, dlq=Renamed(Queue(), "p"))
                .replay()
            )
        assert len([letter async for letter in other.read("p")]) == len(LETTERS)
        await (
            Pipeline(world.source, name="q")
            .to(keyed, name="keyed")
            .to(plain, name="plain")
            .build(checkpoint_store=store, dlq=Renamed(Queue(), "p"))
            .replay()
        )
        assert [letter async for letter in other.read("p")] == []
        with sqlite3.connect(world.folder / "keyed.db") as connection:
            rows = connection.execute("SELECT id FROM orders ORDER BY id").fetchall()
        connection.close()
        assert [row[0] for row in rows] == list(range(RECORDS))
        assert [record["id"] for record in plain.records].count(
            LETTERS[0]
        ) == 3  # once by the run, twice again
        await other.state.close()

    in_a_world(tmp_path / "world", "memory", test)


@attrs.frozen(eq=False)
class Renamed:
    """A queue that reads the letters of another pipeline."""

    inner: Any
    pipeline: str

    def read(self, pipeline: str, **filters: Any) -> Any:
        return self.inner.read(self.pipeline, **filters)

    async def write(self, letters: Any) -> None:
        await self.inner.write(letters)

    async def delete(self, found: Any) -> None:
        await self.inner.delete(found)


def test_a_pipeline_whose_source_is_gone_can_be_replayed(tmp_path: Path) -> None:
    async def main() -> None:
        state = MemoryBackend()
        await state.open()
        path, sink = tmp_path / "in.csv", MemorySink()
        path.write_text("id,amount\n1,1\n2,x\n3,bad\n")

        def check(record: Any) -> Any:
            if record["id"] == 1 and not fixed:
                raise ValueError
            return record

        def amount(text: str) -> int:
            return 10 if text == "x" and fixed else int(text)

        def bound() -> Any:
            source = CsvSource(path, types={"id": int, "amount": amount})
            pipeline = Pipeline(source, name="p").map(check)
            return pipeline.to(sink).build(checkpoint_store=CountingStore(state), dlq=StateDLQSink(state))

        fixed: list[int] = []
        await bound().run()
        path.unlink()
        fixed.append(1)
        summary = await bound().replay()
        assert (summary.written, summary.dead_lettered) == (2, 1)
        assert sink.records == [{"id": 1, "amount": 1}, {"id": 2, "amount": 10}]
        await state.close()

    run_virtual(main)


def test_an_error_of_a_replay_in_a_run_comes_out_of_both(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        world.source.count, world.source.delay = RECORDS + 1, lambda number: 1e5 if number == RECORDS else 0
        world.strike = strike_at(LETTERS[2], "error")
        raised: list[BaseException] = []

        async def run(*, task_status: Any) -> None:
            with pytest.raises(OSError, match="struck") as error:
                await world.build().run(task_status=task_status)
            raised.append(error.value)

        async with trio.open_nursery() as nursery:
            handle = await nursery.start(run)
            with pytest.raises(AgoraError) as error:
                await handle.replay()
        assert raised == [error.value.__cause__]
        assert await world.letters() == list(LETTERS[2:])
        world.strike = None
        world.source.delay = None
        await world.build().run()
        await world.build().replay()
        assert world.delivered() == [0, 3, 6, 8, 1, 2, 9, 4, 5, 7]

    for kind in ("memory", "jsonl", "sqlite"):
        in_a_world(tmp_path / kind, kind, test)
