"""What each part is told of the run that it works in, and what people are told where a run can't open
(`agora.runtime.opening`, `agora.runtime.run`)."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from support import CountingStore, ListSink, Records, run_virtual

import agora.seam
from agora import ConfigError, Pipeline, PipelineBusy, SinkChanged
from agora.context import RunContext
from agora.errors import StateError
from agora.runtime.opening import check_paths
from agora.sinks import JsonLinesSink
from agora.state import CheckpointStore, MemoryBackend, StateDLQSink
from agora.state.lease import DEFAULT_TIMES, acquire, holder_of
from agora.state.transaction import opened
from agora.testing.spans import AssertingTracer


class Told:
    """Keeps the contexts that it is given."""

    def __init__(self) -> None:
        self.contexts: list[RunContext] = []

    @property
    def context(self) -> RunContext:
        return self.contexts[-1]

    def open(self, context: RunContext) -> None:
        self.contexts.append(context)


class Source(Told, Records):
    def __init__(self, count: int) -> None:
        Told.__init__(self)
        Records.__init__(self, count)


class Step(Told):
    started: RunContext | None = None

    def on_start(self, context: RunContext) -> None:
        self.started = context

    def process(self, record: Any) -> Any:
        self.context.count("seen")
        self.context.count("weight", 2)
        with self.context.span("own", id=record["id"]):
            self.context.logger.warning("at %s", record["id"])
        return record


class Sink(Told):
    async def write(self, records: Any) -> None: ...


class Transaction(Sink):
    async def prepare(self) -> Any:
        return 1

    async def commit(self, token: Any) -> None: ...

    async def recover(self, token: Any) -> None: ...


def test_every_part_is_told_of_its_run_and_place(caplog: pytest.LogCaptureFixture) -> None:
    source, step, sink, queue = Source(3), Step(), Sink(), Transaction()
    store, tracer = CountingStore(), AssertingTracer()
    bound = (
        Pipeline(source, name="p")
        .map(lambda record: record)
        .pipe(step, name="m")
        .to(sink, name="s")
        .build(checkpoint_store=store, dlq=queue, tracer=tracer)
    )
    first = run_virtual(bound.run)
    stages = {
        "source": source.context, "middleware:m": step.context, "sink:s": sink.context, "sink:(dlq)": queue.context,
    }  # fmt: skip
    for stage, context in stages.items():
        told = (context.pipeline, context.run_id, context.stage, context.resumed_from, context.fence)
        assert told == ("p", first.run_id, stage, None, 1)
        assert (context.transactional, context.takeover, context.replay) == (True, False, False)
    assert step.started is step.context
    assert store.saved[-1].fence == 1
    assert first.stages["middleware:m"].counts == {"seen": 3, "weight": 6}
    assert first.stages["source"].counts == {}
    tracer.assert_span("own", attributes={"id": 2}, parent="agora.middleware.m")
    logged = [record for record in caplog.records if record.name == "agora.p"]
    assert {(r.pipeline, r.run_id, r.stage) for r in logged} == {("p", first.run_id, "middleware:m")}  # type: ignore[attr-defined]  # by the adapter

    source.count = 5
    second = run_virtual(bound.run)
    assert second.resumed_from is not None
    assert source.context.resumed_from == sink.context.resumed_from == second.resumed_from
    assert source.context.fence == 2


def test_while_it_lasts_its_lease_names_the_sinks_that_a_dead_run_may_leave_uncommitted() -> None:
    store, holders = CountingStore(), []

    async def look(record: Any) -> Any:
        holders.append(await holder_of(store.state, "p"))
        return record

    pipeline = Pipeline(Records(1), name="p").map(look).to(Transaction(), name="s").to(Sink(), name="t")
    run_virtual(pipeline.build(checkpoint_store=store, dlq=None).run)
    [holder] = holders
    assert holder.unsettled == ["s"]


class OnTriosClock(agora.seam.Seam):
    """Whose time is the one that trio tells, so that a virtual clock jumps over what a lease waits for."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return trio.current_time()

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


def test_parts_are_told_that_the_run_took_over_from_a_dead_one() -> None:
    store, sink = CountingStore(), Sink()
    bound = Pipeline(Records(3), name="p").to(sink, name="s").build(checkpoint_store=store)

    async def main() -> None:
        with agora.seam.use(OnTriosClock()):
            await bound.run(max_records=1)
            async with opened(store.state):
                await acquire(store.state, "p", "dead")
            await trio.sleep(DEFAULT_TIMES.fresh)
            await bound.run()

    run_virtual(main)
    assert [(context.fence, context.takeover) for context in sink.contexts] == [(1, False), (3, True)]


def test_a_run_whose_lease_another_one_has_taken_ends_with_that_error_itself() -> None:
    store = CountingStore()

    async def take(record: Any) -> Any:
        await store.state.put("lease.fence", "p", b"99")
        await trio.sleep(100)
        return record

    bound = Pipeline(Records(1), name="p").map(take).to(ListSink()).build(checkpoint_store=store, dlq=None)

    async def main() -> None:
        with agora.seam.use(OnTriosClock()):
            await bound.run()

    with pytest.raises(PipelineBusy, match="a later runner has taken over") as raised:
        run_virtual(main)
    assert "the next run starts from the beginning" in raised.value.__notes__[0]


def test_a_run_that_starts_over_resumes_from_nothing() -> None:
    source = Source(2)
    bound = Pipeline(source, name="p").to(Sink()).build(checkpoint_store=CountingStore())
    run_virtual(bound.run)
    run_virtual(lambda: bound.run(restart=True))
    assert source.context.resumed_from is None


def test_in_a_replay_a_part_is_told_so() -> None:
    async def main() -> None:
        store, sink = CountingStore(), Sink()
        await store.state.open()
        bound = (
            Pipeline(Records(1), name="p")
            .to(sink)
            .build(checkpoint_store=store, dlq=StateDLQSink(store.state))
        )
        await bound.run()
        await bound.replay()
        assert [context.replay for context in sink.contexts] == [False, True]

    run_virtual(main)


def test_without_checkpoints_a_part_is_told_so() -> None:
    sink = Sink()
    run_virtual(Pipeline(Records(1), name="p").to(sink).build().run)
    assert (sink.context.transactional, sink.context.fence, sink.context.resumed_from) == (False, 0, None)


def test_only_a_middleware_has_a_state() -> None:
    sink, step = Sink(), Step()
    run_virtual(Pipeline(Records(1), name="p").pipe(step).to(sink).build().run)
    assert step.context.state == {}
    with pytest.raises(ConfigError, match=r"only a middleware has context\.state"):
        sink.context.state["x"] = 1


def test_a_store_that_is_not_used_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    source = Records(1, supports_checkpoint=False)
    run_virtual(Pipeline(source, name="p").to(ListSink()).build(checkpoint_store=CountingStore()).run)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "pipeline 'p': its source (Records) doesn't support checkpoints" in said


def test_a_sink_that_comes_later_starts_at_the_checkpoint_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "agora")
    store = CountingStore()
    run_virtual(Pipeline(Records(2), name="p").to(ListSink()).build(checkpoint_store=store).run)
    more = Pipeline(Records(4), name="p").to(ListSink()).to(Transaction(), name="late")
    run_virtual(more.build(checkpoint_store=store).run)
    assert [r.getMessage() for r in caplog.records if "late" in r.getMessage()] == [
        "pipeline 'p': sink 'late' is new; it starts at the checkpoint"
    ]


class Stateful:
    def process(self, record: Any) -> Any:
        return record

    def snapshot(self) -> Any:
        return 1

    def restore(self, state: Any) -> None: ...


def test_state_of_a_step_that_is_gone_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    store = CountingStore()
    run_virtual(
        Pipeline(Records(2), name="p")
        .pipe(Stateful(), name="x")
        .to(ListSink())
        .build(checkpoint_store=store)
        .run
    )
    assert not caplog.records
    run_virtual(Pipeline(Records(4), name="p").to(ListSink()).build(checkpoint_store=store).run)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "holds state of a step 'x', which isn't in the pipeline any more" in said


def test_a_sink_that_cannot_be_started_over_refuses_that_by_name() -> None:
    store = CountingStore()

    def bound() -> Any:
        return Pipeline(Records(2), name="p").to(Transaction(), name="t").build(checkpoint_store=store)

    run_virtual(bound().run)
    with pytest.raises(SinkChanged, match=r"sink 't' \(Transaction\) can't be started over") as raised:
        run_virtual(lambda: bound().run(restart=True))
    assert "the next run goes on behind record 2" in raised.value.__notes__[0]
    assert run_virtual(bound().run).resumed_from is not None  # everything is as it was


@pytest.mark.parametrize(
    ("fails", "way_on"),
    [
        ("open", "the next run goes on behind record 2"),  # nothing is begun yet
        ("restart", "the next run starts from the beginning"),  # by what is saved it completes what was begun
        ("identity", "the next run starts from the beginning"),  # the checkpoint is gone
    ],
)
def test_where_starting_over_breaks_off_the_error_says_what_the_next_run_finds(
    fails: str, way_on: str
) -> None:
    broken = False

    def check(what: str) -> None:
        if broken and what == fails:
            raise OSError(what)

    class Restarted(Transaction):
        def open(self, context: Any) -> None:
            check("open")

        def restart(self, token: Any) -> None:
            check("restart")

    class Identified(Records):
        def identity(self) -> Any:
            check("identity")
            return super().identity()

    store = CountingStore()

    def bound() -> Any:
        return Pipeline(Identified(2), name="p").to(Restarted()).build(checkpoint_store=store)

    run_virtual(bound().run)
    broken = True
    with pytest.raises(OSError, match=fails) as raised:
        run_virtual(lambda: bound().run(restart=True))
    assert way_on in raised.value.__notes__[0]
    broken = False
    assert (run_virtual(bound().run).resumed_from is None) == ("beginning" in way_on)


def test_a_refusal_leaves_what_was_begun_to_a_later_run() -> None:
    class Restarted(Transaction):
        fails = False

        def restart(self, token: Any) -> None:
            if self.fails:
                raise OSError("restart")

    store = CountingStore()

    def run(sink: Any, **options: Any) -> Any:
        bound = Pipeline(Records(2), name="p").to(sink, name="s").build(checkpoint_store=store)
        return run_virtual(lambda: bound.run(**options))

    broken = Restarted()
    run(broken)
    broken.fails = True
    with pytest.raises(OSError, match="restart"):
        run(broken, restart=True)
    with pytest.raises(SinkChanged, match="can't be started over") as raised:
        run(Transaction())
    assert "starts from the beginning" in raised.value.__notes__[0]
    assert run(Restarted()).resumed_from is None


def test_a_step_s_end_that_fails_is_named() -> None:
    class Ending(Stateful):
        def on_end(self) -> None:
            raise KeyError("ending")

    with pytest.raises(KeyError, match="ending") as raised:
        run_virtual(Pipeline(Records(1), name="p").pipe(Ending(), name="e").to(ListSink()).build().run)
    assert "while closing middleware:e (Ending.on_end)" in raised.value.__notes__


def test_two_sinks_on_one_file_and_a_sink_within_the_source_are_refused(tmp_path: Path) -> None:
    class Covering(Records):
        def covers(self, path: Path) -> bool:
            return path.parent.name == "read"

    def spec(*paths: Path, source: Any = None) -> Any:
        pipeline: Any = Pipeline(source or Records(1), name="p").to(ListSink())
        for number, path in enumerate(paths):
            pipeline = pipeline.to(JsonLinesSink(path), name=f"s{number}")
        return pipeline.build().spec

    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    check_paths(spec(a, b))
    with pytest.raises(ConfigError, match=r"sinks 's0' and 's2' both write .*link"):
        check_paths(spec(a, b, tmp_path / "link" / "a.jsonl"))
    check_paths(spec(a, source=Covering(1)))
    with pytest.raises(ConfigError, match=r"sink 's1' would write .*, which the source reads"):
        check_paths(spec(a, tmp_path / "read" / "a.jsonl", source=Covering(1)))


def test_a_checkpoint_that_cannot_be_read_is_no_obstacle_to_starting_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Unreadable(CheckpointStore):
        async def load(self, pipeline: str) -> Any:
            raise StateError("garbage")

    store = Unreadable(MemoryBackend())
    bound = Pipeline(Records(2), name="p").to(ListSink()).build(checkpoint_store=store)
    with pytest.raises(StateError, match="garbage"):
        run_virtual(bound.run)
    assert run_virtual(lambda: bound.run(restart=True)).read == 2
    assert any(
        "started over without its checkpoint: garbage" in record.getMessage() for record in caplog.records
    )
