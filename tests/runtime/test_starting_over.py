"""Starting over: sinks are taken back together or not at all, and one that was cut off is completed by the next run."""

import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import CountingStore, ListSink, Records, run_virtual

from agora import AgoraError, Checkpoint, ConfigError, Pipeline, SinkChanged
from agora.errors import StateError
from agora.sinks import JsonLinesSink, MemorySink
from agora.sources import JsonLinesSource
from agora.state import StateDLQSink


@attrs.define(eq=False)
class Undoable(ListSink):
    """A transactional sink that can be taken back; `broken` is what it raises instead, once."""

    broken: Exception | None = None

    async def prepare(self) -> Any:
        return len(self.records)

    async def commit(self, token: Any) -> None: ...

    async def recover(self, token: Any) -> None:
        del self.records[token:]

    async def restart(self, token: Any) -> None:
        if self.broken is not None:
            error, self.broken = self.broken, None
            raise error
        self.records.clear()


@attrs.define(eq=False)
class Final(ListSink):
    """A transactional sink that can't tell its own records from others."""

    async def prepare(self) -> Any:
        return len(self.records)

    async def commit(self, token: Any) -> None: ...

    async def recover(self, token: Any) -> None: ...


def bound(store: Any, *sinks: Any, **options: Any) -> Any:
    pipeline: Any = Pipeline(Records(3), name="p")
    for number, sink in enumerate(sinks):
        pipeline = pipeline.to(sink, name=f"s{number}")
    return pipeline.build(checkpoint_store=store, **options)


def ids(sink: Any) -> list[int]:
    return [record["id"] for record in sink.records]


def test_every_sink_is_taken_back_and_everything_comes_again() -> None:
    store, one, plain = CountingStore(), Undoable(), ListSink()
    run_virtual(bound(store, one, plain).run)
    summary = run_virtual(lambda: bound(store, one, plain).run(restart=True))
    assert (summary.resumed_from, ids(one), ids(plain)) == (None, [0, 1, 2], [0, 1, 2] * 2)


def test_where_the_first_sink_refuses_everything_stays_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    store, final, undoable = CountingStore(), Final(), Undoable()
    run_virtual(bound(store, final, undoable).run)
    with pytest.raises(SinkChanged, match=r"sink 's0' \(Final\) can't be started over"):
        run_virtual(lambda: bound(store, final, undoable).run(restart=True))
    summary = run_virtual(bound(store, final, undoable).run)
    assert (summary.read, ids(final), ids(undoable)) == (0, [0, 1, 2], [0, 1, 2])
    assert "starting over" not in caplog.text
    assert "started over" not in caplog.text


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("error", [OSError("cut off"), SinkChanged("it was moved away")])
def test_what_was_cut_off_is_completed_whatever_the_next_run_is_told(
    told: bool, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store, one, two = CountingStore(), Undoable(), Undoable()
    run_virtual(bound(store, one, two).run)
    two.broken = error
    with pytest.raises(type(error)):
        run_virtual(lambda: bound(store, one, two).run(restart=True))
    assert (ids(one), ids(two)) == ([], [0, 1, 2])
    with caplog.at_level(logging.WARNING, "agora"):
        summary = run_virtual(lambda: bound(store, one, two).run(restart=told))
    assert (summary.resumed_from, ids(one), ids(two)) == (None, [0, 1, 2], [0, 1, 2])
    assert ("this run completes that" in caplog.text) is not told  # who asks for it needn't be told
    assert run_virtual(bound(store, one, two).run).read == 0


def test_a_replay_completes_no_restart_that_was_cut_off() -> None:
    store, one = CountingStore(), Undoable()
    queue = StateDLQSink(store.state)
    run_virtual(bound(store, one, dlq=queue).run)
    one.broken = OSError("cut off")
    with pytest.raises(OSError, match="cut off"):
        run_virtual(lambda: bound(store, one, dlq=queue).run(restart=True))
    with pytest.raises(AgoraError, match=r"was being started over.*run it first"):
        run_virtual(bound(store, one, dlq=queue).replay)
    assert ids(one) == [0, 1, 2]


def test_a_replay_of_what_never_ran_has_no_place_to_keep() -> None:
    store = CountingStore()
    with pytest.raises(AgoraError, match="saved no checkpoint yet"):
        run_virtual(bound(store, ListSink(), dlq=StateDLQSink(store.state)).replay)


def test_a_checkpoint_that_can_not_be_read_ends_a_run_and_not_one_that_forgets_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Unreadable(CountingStore):
        async def load(self, pipeline: str) -> Checkpoint | None:
            raise StateError("it is damaged")

    store, one = CountingStore(), Undoable()
    run_virtual(bound(store, one).run)
    damaged = Unreadable(store.state)
    with pytest.raises(StateError, match="damaged"):
        run_virtual(bound(damaged, one).run)
    with caplog.at_level(logging.WARNING, "agora"):
        run_virtual(lambda: bound(damaged, one).run(restart=True))
    assert ids(one) == [0, 1, 2]
    assert "started over without its checkpoint: it is damaged" in caplog.text


@attrs.define(eq=False)
class Simple:
    """A store of a user's that can load and save, and nothing else."""

    saved: Checkpoint | None = None

    async def load(self, pipeline: str) -> Checkpoint | None:
        return self.saved

    async def save(self, pipeline: str, checkpoint: Checkpoint) -> None:
        self.saved = checkpoint


def test_a_store_that_keeps_no_base_tokens_resumes_and_starts_over_too() -> None:
    store, one = Simple(), Undoable()
    run_virtual(bound(store, one).run)
    assert run_virtual(bound(store, one).run).read == 0
    assert run_virtual(lambda: bound(store, one).run(restart=True)).read == 3
    with pytest.raises(SinkChanged, match="can't be started over"):
        run_virtual(lambda: bound(store, Final()).run(restart=True))


def test_a_sink_that_is_not_transactional_any_more_has_nothing_to_take_back() -> None:
    store, one = CountingStore(), ListSink()
    run_virtual(bound(store, Undoable()).run)
    assert run_virtual(lambda: bound(store, one).run(restart=True)).read == 3
    assert ids(one) == [0, 1, 2]


def test_a_source_that_can_not_be_told_where_to_begin_gives_what_it_gives() -> None:
    class Feed:
        """Its place is somebody else's business."""

        supports_checkpoint = True

        def checkpoint(self) -> Any:
            return None

        async def stream(self) -> AsyncGenerator[Any]:
            yield {"id": 7}

    store, sink = CountingStore(), ListSink()
    pipeline = Pipeline(Feed(), name="p").to(sink)
    for _ in range(2):
        run_virtual(pipeline.build(checkpoint_store=store).run)
    assert ids(sink) == [7, 7]


# Before anything is opened.


def test_two_sinks_on_one_file_are_refused_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "out")
    sinks = JsonLinesSink(tmp_path / "out"), JsonLinesSink(tmp_path / "link")
    with pytest.raises(ConfigError, match=r"sinks 's0' and 's1' both write .*link"):
        run_virtual(bound(None, *sinks).run)
    assert not (tmp_path / "out").exists()


def test_a_sink_on_what_the_source_reads_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("1\n")
    pipeline = Pipeline(JsonLinesSource(tmp_path / "in"), name="p").to(
        JsonLinesSink(tmp_path / "in"), name="out"
    )
    with pytest.raises(ConfigError, match=r"sink 'out' would write .*in, which the source reads"):
        run_virtual(pipeline.build().run)
    assert (tmp_path / "in").read_text() == "1\n"


# The context.


def test_what_a_part_counts_is_in_the_summary_and_its_spans_in_the_runs_trace() -> None:
    from agora.tracing import InMemoryTracer  # noqa: PLC0415  - for this test only

    class Part:
        def on_start(self, context: Any) -> None:
            self.context = context

        def process(self, record: Any) -> Any:
            with self.context.span("looked up", id=record["id"]):
                self.context.count("seen")
                self.context.count("bytes", 10)
            return record

    tracer = InMemoryTracer()
    pipeline = Pipeline(Records(3), name="p").pipe(Part(), name="s").to(MemorySink())
    summary = run_virtual(pipeline.build(tracer=tracer).run)
    assert summary.stages["middleware:s"].counts == {"seen": 3, "bytes": 30}
    assert [span.attributes["id"] for span in tracer.spans if span.name == "looked up"] == [0, 1, 2]
