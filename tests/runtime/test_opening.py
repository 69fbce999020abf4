"""Parts are opened in order, left in reverse, and nothing that opened is forgotten."""

import time
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from support import CountingStore, Records, run_virtual

from agora import AgoraError, Pipeline, PipelineBusy
from agora.sinks import MemorySink
from agora.state import CheckpointStore, MemoryBackend
from agora.state import lease as lease_module
from agora.state.transaction import opened


class Broken(RuntimeError):
    pass


@attrs.define
class Log:
    """What happened, in order; the n-th event fails."""

    fail_at: str | None = None
    events: list[str] = attrs.field(factory=list)
    tasks: set[Any] = attrs.field(factory=set)

    def __call__(self, event: str) -> None:
        self.events.append(event)
        if not event.startswith(("enter", "leave")):
            self.tasks.add(trio.lowlevel.current_task())
        if event == self.fail_at:
            raise Broken(event)


@attrs.define(eq=False)
class Alive:
    """A part that tells its life."""

    name: str
    log: Log

    @asynccontextmanager
    async def lifespan(self, context: Any) -> Any:
        self.log(f"enter {self.name}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            yield
            nursery.cancel_scope.cancel()
        self.log(f"leave {self.name}")

    async def open(self, context: Any) -> None:
        self.log(f"open {self.name}")

    async def close(self) -> None:
        self.log(f"close {self.name}")


class Sink(Alive):
    async def write(self, records: Any) -> None: ...

    async def prepare(self) -> Any:
        return {"at": 1}

    async def commit(self, token: Any) -> None: ...

    async def recover(self, token: Any) -> None:
        self.log(f"recover {self.name}")


class Source(Alive):
    supports_checkpoint = True
    at = 0

    def identity(self) -> Any:
        self.log("identity")
        return "source"

    def checkpoint(self) -> Any:
        return self.at

    async def prepare_resume(self, position: Any) -> None:
        self.log(f"prepare_resume {position}")
        self.at = position or 0

    async def stream(self) -> Any:
        self.log("stream")
        while self.at < 2:
            self.at += 1
            yield self.at


class Step(Alive):
    def on_start(self, context: Any) -> None:
        self.log(f"on_start {self.name}")

    async def on_end(self) -> None:
        self.log(f"on_end {self.name}")

    def snapshot(self) -> Any:
        return self.name

    def restore(self, state: Any) -> None:
        self.log(f"restore {self.name} {state}")

    def process(self, record: Any) -> Any:
        return record


def build(log: Log, store: CountingStore) -> Any:
    pipeline: Any = Pipeline(Source("source", log), name="p")
    for name in ("one", "two"):
        pipeline = pipeline.pipe(Step(name, log), name=name)
    pipeline = pipeline.to(Sink("a", log), name="a").to(Sink("b", log), name="b")
    return pipeline.build(checkpoint_store=store, dlq=None)


OPENING = [
    *("enter a", "open a", "enter b", "open b"),
    *("enter source", "open source", "identity", "prepare_resume None"),
    *("enter one", "open one", "on_start one", "enter two", "open two", "on_start two"),
    "stream",
]
CLOSING = [
    *("on_end two", "close two", "leave two", "on_end one", "close one", "leave one"),
    *("close source", "leave source", "close b", "leave b", "close a", "leave a"),
]


def test_parts_open_in_the_order_of_the_design_and_are_left_in_reverse() -> None:
    store, log = CountingStore(), Log()
    run_virtual(build(log, store).run)
    assert log.events == OPENING + CLOSING
    assert len(log.tasks) == 2  # the source's task streams; all else is in the task that called run()

    again = Log()
    run_virtual(build(again, store).run)
    resumed = [
        *("enter a", "open a", "enter b", "open b", "recover a", "recover b"),
        *("enter source", "open source", "identity", "prepare_resume 2"),
        *("enter one", "open one", "on_start one", "enter two", "open two", "on_start two"),
        *("restore one one", "restore two two", "stream"),
    ]
    assert again.events == resumed + CLOSING


def undone(events: list[str]) -> list[str]:
    """What must be left after these events, the last of which failed."""
    left = []
    for event in events:
        what, _, name = event.partition(" ")
        last = event is events[-1]
        if what == "enter" and not last:
            left.append(f"leave {name}")
        elif what == "open":
            left.append(f"close {name}")
        elif what == "on_start" and not last:
            left.append(f"on_end {name}")
    return left[::-1]


@pytest.mark.parametrize("event", OPENING)
def test_where_one_opening_fails_what_had_opened_is_left_in_reverse(event: str) -> None:
    log = Log(fail_at=event)
    with pytest.raises(Broken, match=event) as raised:
        run_virtual(build(log, CountingStore()).run)
    number = OPENING.index(event) + 1
    assert log.events == OPENING[:number] + undone(OPENING[:number])
    assert "pipeline 'p'" in "".join(raised.value.__notes__)


@pytest.mark.parametrize("event", CLOSING)
def test_an_error_of_closing_comes_out_and_everything_else_is_closed(event: str) -> None:
    log = Log(fail_at=event)
    with pytest.raises(Broken, match=event):
        run_virtual(build(log, CountingStore()).run)
    assert log.events == OPENING + CLOSING


def test_errors_of_closing_become_notes_on_the_error_of_the_run() -> None:
    async def main() -> None:
        bound = build(log, CountingStore())
        bound.spec.source.stream = failing
        await bound.run()

    async def failing() -> Any:
        raise KeyError("the first")
        yield

    log = Log(fail_at="close one")
    source_error = "the first"
    with pytest.raises(KeyError, match=source_error) as raised:
        pipeline_run(main)
    notes = "\n".join(raised.value.__notes__)
    assert "close one" in notes
    assert "Broken" in notes


def pipeline_run(main: Any) -> Any:
    return run_virtual(main)


class Slow(Alive):
    async def write(self, records: Any) -> None: ...

    @asynccontextmanager
    async def lifespan(self, context: Any) -> Any:
        try:
            yield
            await trio.sleep(1000)
        finally:
            self.log(f"cut off {self.name}")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agora.runtime.closing.SECONDS", 0.3)
    monkeypatch.setattr("agora.runtime.closing.GRACE", 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("clock", [lambda: None, trio.testing.MockClock], ids=["real", "virtual"])
def test_what_has_not_left_by_the_closing_deadline_is_cancelled_and_named(clock: Any) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"sink:slow.*0 s"):
            await Pipeline(Records(3), name="p").to(Slow("slow", log), name="slow").build().run()

    log = Log()
    trio.run(main, clock=clock())
    assert "cut off slow" in log.events


def test_a_close_that_works_in_a_thread_has_its_time_under_a_virtual_clock() -> None:
    class Threaded(Sink):
        async def close(self) -> None:
            await trio.to_thread.run_sync(time.sleep, 0.05)
            await super().close()

    async def main() -> None:
        await Pipeline(Records(3), name="p").to(Threaded("a", log), name="a").build().run()

    log = Log()
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert "close a" in log.events


@pytest.mark.usefixtures("impatient")
def test_a_close_that_hangs_is_cut_off_and_the_other_parts_are_closed() -> None:
    class Hanging(Sink):
        async def close(self) -> None:
            await trio.sleep_forever()

    async def main() -> None:
        sinks = [Sink("a", log), Hanging("b", log)]
        with pytest.raises(TimeoutError, match="sink:b"):
            await Pipeline(Records(3), name="p").to(sinks[0], name="a").to(sinks[1], name="b").build().run()

    log = Log()
    trio.run(main)
    assert log.events[-3:] == ["leave b", "close a", "leave a"]  # in the time that each has in every case


class Crashing(Alive):
    """A background task of this part crashes."""

    async def write(self, records: Any) -> None: ...

    @asynccontextmanager
    async def lifespan(self, context: Any) -> Any:
        async def crash() -> None:
            await trio.sleep(5)
            raise Broken("background")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            yield
            nursery.cancel_scope.cancel()


def test_a_background_task_that_crashes_ends_the_run_with_its_error() -> None:
    async def main() -> None:
        source = Records(10**6, delay=lambda number: 1.0)
        with pytest.raises(Broken, match="background") as raised:
            await Pipeline(source, name="p").to(Crashing("c", Log()), name="c").build(linger=0).run()
        assert trio.current_time() - began < 7
        assert "sink:c" in "\n".join(raised.value.__notes__)

    began = 0.0

    async def timed() -> None:
        nonlocal began
        began = trio.current_time()
        await main()

    run_virtual(timed)


def test_a_part_in_use_by_a_run_is_refused_to_another() -> None:
    async def main() -> None:
        sink = Sink("a", Log())
        bound = Pipeline(Records(100, delay=lambda number: 1.0), name="p").to(sink).build()
        other = Pipeline(Records(1), name="q").to(sink).build()
        async with trio.open_nursery() as nursery:
            handle = await nursery.start(bound.run)
            for busy in (bound, other):
                with pytest.raises(trio.BusyResourceError, match="'p'"):
                    await busy.run()
            handle.stop()
            assert (await handle.wait()).status == "stopped"
        assert (await other.run()).status == "completed"
        assert (await bound.run()).status == "completed"

    run_virtual(main)


def test_a_failed_run_frees_its_parts() -> None:
    async def main() -> None:
        source = Records(5, fail_at=2, error=Broken("source"))
        bound = Pipeline(source, name="p").to(lambda record: None).build()
        for _ in range(2):
            with pytest.raises(Broken):
                await bound.run()

    run_virtual(main)


def test_a_cancelled_part_that_lets_a_stray_cancelled_escape_gives_an_agora_error() -> None:
    async def stray() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                caught.append(cancelled)
                raise
        raise caught.pop()

    async def step(record: Any) -> Any:
        await stray()

    async def source() -> Any:
        await stray()
        yield 1

    class StraySource:
        def stream(self) -> Any:
            return source()

    caught: list[trio.Cancelled] = []

    async def main() -> None:
        pipelines: list[Any] = [
            Pipeline(Records(3), name="p").map(step).to(lambda record: None),
            Pipeline(Records(3), name="p").map(step, concurrency=2).to(lambda record: None),
            Pipeline(Records(3), name="p").to(step),
            Pipeline(StraySource(), name="p").to(lambda record: None),
        ]
        for number, pipeline in enumerate(pipelines):
            try:
                with trio.CancelScope() as scope:
                    await pipeline.build().run()
            except AgoraError as error:
                assert "Cancelled" in str(error)
            else:
                pytest.fail(f"{number}: {scope}")

    run_virtual(main)


@pytest.mark.parametrize("seed", range(12))
def test_an_error_that_breaks_a_stage_off_is_never_taken_for_the_end_of_the_stream(seed: int) -> None:
    class Unsaved(Alive):
        def snapshot(self) -> Any:
            raise Broken("no snapshot")

        def restore(self, state: Any) -> None: ...

        def process(self, record: Any) -> Any:
            return record

    async def later(record: Any) -> Any:
        return record

    async def main() -> None:
        pipeline = Pipeline(Records(20), name="p").pipe(Unsaved("u", Log())).map(later, concurrency=2)
        await (
            pipeline.to(lambda record: None).build(checkpoint_store=CountingStore(), checkpoint_every=5).run()
        )

    with pytest.raises(Broken, match="no snapshot"):
        run_virtual(main, seed=seed)


async def test_a_source_that_could_resume_is_told_of_a_fresh_start_without_a_store_too() -> None:
    class Told(Records):
        told: list[Any]

        async def prepare_resume(self, position: Any) -> None:
            told.append(position)
            await super().prepare_resume(position)

    told: list[Any] = []
    await Pipeline(Told(3), name="p").to(lambda record: None).build().run()
    assert told == [None]


def test_the_lease_is_renewed_while_a_long_opening_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = lease_module.LeaseTimes(renew=0.02, fresh=0.05, watch=0.2, look=0.02)
    monkeypatch.setitem(lease_module.acquire.__kwdefaults__, "times", quick)
    state = MemoryBackend()

    class Slow:
        async def on_start(self, context: Any) -> None:
            taken = await state.get("lease.holder", "p")
            with trio.fail_after(10):
                while await state.get("lease.holder", "p") == taken:
                    await trio.sleep(0.005)

        def process(self, record: Any) -> Any:
            return record

    async def main() -> None:
        async with opened(state):
            pipeline = Pipeline(Records(2), name="p").pipe(Slow()).to(MemorySink())
            assert (await pipeline.build(checkpoint_store=CheckpointStore(state)).run()).written == 2

    trio.run(main)


def test_a_run_that_was_taken_over_while_it_opened_recovers_nothing() -> None:
    """It was frozen: by its old token it would cut off what the other one has committed."""
    store = CountingStore()
    taken = False

    class Sink(MemorySink):
        async def open(self, context: Any) -> None:
            if taken:  # another one raises the fence, as a run that takes over does
                await store.state.put("lease.fence", "p", b"99")

        async def recover(self, token: Any) -> None:
            recovered.append(token)

    def bound() -> Any:
        return Pipeline(Records(6), name="p").to(Sink()).build(checkpoint_store=store, checkpoint_every=2)

    recovered: list[Any] = []
    run_virtual(bound().run)
    recovered.clear()
    taken = True
    with pytest.raises(PipelineBusy, match="a later runner has taken over"):
        run_virtual(bound().run)
    assert recovered == []
