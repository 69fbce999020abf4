"""The builder: immutable, checked at once, no I/O, no loop."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from support import CountingStore, ListSink, Records, run_virtual

from agora import Backpressure, ConfigError, Pipeline
from agora.sinks import MemorySink
from agora.sources import IterableSource
from agora.state import MemoryBackend


def keep(record: Any) -> Any:
    return record


def plain_generator() -> Any:
    yield 1


async def no_generator() -> Any: ...


async def later(record: Any) -> Any:
    return record


def other(**attributes: Any) -> Any:
    """An object with just these attributes."""
    return SimpleNamespace(**attributes)


def start(**options: Any) -> Any:
    return Pipeline(Records(5), name="p", **options)


def test_every_call_gives_a_new_pipeline_and_leaves_the_old_one() -> None:
    async def main() -> None:
        common: Any = Pipeline(IterableSource(range(5)), name="p").map(keep)
        even, odd = ListSink(), ListSink()
        evens = common.filter(lambda number: number % 2 == 0).to(even).build()
        odds = common.filter(lambda number: number % 2).to(odd).build()
        await evens.run()
        await odds.run()
        assert (even.records, odd.records) == ([0, 2, 4], [1, 3])
        with pytest.raises(AttributeError):
            common.name = "q"

    run_virtual(main)


def test_names_are_the_functions_made_unique_by_position() -> None:
    built = (
        start().map(keep).map(keep).filter(lambda record: True).map(keep, name="mine").to(ListSink()).build()
    )
    assert [step.name for step in built.chain.steps] == ["keep", "keep-2", "filter", "mine"]
    taken = start().map(keep).map(keep, name="keep-3").map(keep).to(keep).to(ListSink()).build()
    assert [step.name for step in taken.chain.steps] == ["keep", "keep-3", "keep-4"]
    two = start().to(ListSink(), ListSink(), keep).build()
    assert [sink.name for sink in two.spec.sinks] == ["ListSink", "ListSink-2", "keep"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Pipeline(Records, name="p"), "is no source"),  # type: ignore[arg-type]  - wrong on purpose
        (lambda: Pipeline([1], name="p"), "is no source"),  # type: ignore[arg-type]  - wrong on purpose
        (lambda: Pipeline(other(batches=lambda: (yield)), name="p"), "batches must be an async generator"),
        (lambda: Pipeline(other(stream=plain_generator), name="p"), "must be an async generator"),
        (lambda: Pipeline(other(stream=no_generator), name="p"), "must be an async generator"),
        (lambda: Pipeline(Records(1), name=" "), "needs a name"),
        (lambda: start(on_error="pass"), "expected one of dead_letter, stop, skip"),
        (lambda: start().map(7), "no function"),
        (lambda: start().map(keep, concurrency=0), "concurrency"),
        (lambda: start().map(keep, on_error="dead"), "on_error='dead'"),
        (lambda: start().map(keep, name="a").map(keep, name="a"), "'a' is taken"),
        (lambda: start().to(ListSink()).map(keep), "after to"),
        (lambda: start().to(), "at least one sink"),
        (lambda: start().to(ListSink), "a class"),
        (lambda: start().to(7), "not a sink"),
        (lambda: start().to(io.StringIO()), "open file"),
        (lambda: start().to(ListSink(), ListSink(), name="a"), "2 sinks"),
        (lambda: start().to(ListSink(), otherwise=True), "no where before it|none before it"),
        (lambda: start().to(ListSink(), where=keep).to(keep, where=keep, otherwise=True), "not both"),
        (lambda: start().to(ListSink(), on_error="pass"), "expected one of dead_letter, stop, skip"),
        (lambda: start().map(keep, on_error="dead_letter").to(keep).build(), "there is no dlq"),
        (lambda: start().to(keep, on_error="dead_letter").build(), "there is no dlq"),
        (lambda: start(on_error="dead_letter").to(keep).build(), "there is no dlq"),
        (lambda: start().to(keep).build(checkpoint_every=5), "need a checkpoint_store"),
        (
            lambda: start().to(keep).build(checkpoint_store=CountingStore(), checkpoint_every=0),
            "checkpoint_every=0",
        ),
        (
            lambda: start().to(keep).build(checkpoint_store=CountingStore(), checkpoint_interval=0),
            "interval=0",
        ),
        (lambda: start().to(keep, where=later), "is async"),
        (
            lambda: start().to(keep).build(checkpoint_store=MemoryBackend()),
            "checkpoint_store=.*load and save",
        ),
        (lambda: start().to(keep).build(checkpoint_store=CountingStore), "checkpoint_store=.*load and save"),
        (lambda: start().to(keep).build(backpressure=5), "backpressure=5"),
        (lambda: start().to(keep).build(tracer=3), "tracer=3"),
        (lambda: start().to(keep).build(dlq=MemorySink), "dlq: .*a class"),
        (lambda: start().to(keep).build(dlq=3), "dlq: 3 is not a sink"),
        (lambda: start().to(keep).build(batch_size=0), "batch_size=0"),
        (lambda: start().to(keep).build(batch_size=2.0), "batch_size=2.0"),
        (lambda: start().to(keep).build(linger=-1), "linger=-1"),
        (lambda: start().to(keep).build(linger=float("inf")), "linger=inf"),
        (lambda: start().to(keep).build(max_dead_letters=3), "needs a dlq"),
        (lambda: start().to(keep).build(dlq=MemorySink(), max_dead_letters=1.5), "max_dead_letters=1.5"),
        (lambda: start().to(keep).build(dlq=MemorySink(), max_dead_letters=-1), "max_dead_letters=-1"),
        (lambda: start().to(keep).build(require="exactly_once"), "there is no checkpoint store"),
        (lambda: start().to(keep).build(require="twice"), "expected 'exactly_once'"),
        (lambda: Backpressure.fixed(0), "max_buffer_size"),
    ],
)
def test_what_can_not_be_is_refused_when_it_is_said(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        start().to(keep, on_error="dead_letter").build(batch_size=0, linger=-1, max_dead_letters=3)
    assert len(raised.value.problems) == 4


def test_functions_and_channels_are_sinks() -> None:
    async def main() -> None:
        send, receive = trio.open_memory_channel[Any](100)
        seen: list[Any] = []

        async def later(record: Any) -> None:
            await trio.lowlevel.checkpoint()
            seen.append(record)

        await start().to(seen.append, later, send).build().run()
        assert [record["id"] for record in seen] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
        assert [receive.receive_nowait()["id"] for _ in range(5)] == list(range(5))
        send.send_nowait("still open")

    run_virtual(main)


def test_where_and_otherwise_route() -> None:
    async def main() -> None:
        everything, small, even, rest = (ListSink() for _ in range(4))
        pipeline = start().map(lambda record: record["id"]).to(everything)
        pipeline = pipeline.to(small, where=lambda number: number < 1)
        pipeline = pipeline.to(even, where=lambda number: number % 2 == 0).to(rest, otherwise=True)
        await pipeline.build().run()
        assert [sink.records for sink in (everything, small, even, rest)] == [
            [0, 1, 2, 3, 4],
            [0],
            [0, 2, 4],
            [1, 3],
        ]

    run_virtual(main)


def test_what_no_sink_wants_is_dropped() -> None:
    async def main() -> None:
        summary = await start().to(ListSink(), where=lambda record: record["id"] == 2).build().run()
        assert (summary.written, summary.dropped) == (1, 4)

    run_virtual(main)


def test_explain_tells_the_guarantee_and_why() -> None:
    store = CountingStore()
    exact = (
        start()
        .map(keep, concurrency=4)
        .to(MemorySink())
        .build(checkpoint_store=store, require="exactly_once")
    )
    assert exact.explain().guarantee == "exactly once"
    assert "at most 2,048 records" in str(exact.explain())
    mixed = start().to(MemorySink()).to(keep).build(checkpoint_store=store).explain()
    assert mixed.guarantee == "at least once"
    assert "keep" in mixed.reasons[0]
    assert [stage.reason for stage in mixed.stages if stage.guarantee == "exactly once"] == [
        "the list is cut back to the checkpoint, as long as this object lives"
    ]
    assert mixed.to_json()["pipeline"] == "p"
    assert mixed.to_mermaid().startswith("flowchart LR")


def test_the_summary_reads_well() -> None:
    async def main() -> None:
        summary = await start().to(ListSink()).build().run(run_id="r-1", max_records=3)
        text = str(summary)
        for part in ("p: stopped (max_records)", "run r-1", "read 3", "written 3"):
            assert part in text
        assert summary.stages["source"].left == 3
        assert summary.stages["sink:ListSink"].entered == 3

    run_virtual(main)


@pytest.mark.parametrize("number", [-1, 1.5, True])
def test_max_records_is_a_whole_number(number: Any) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="max_records"):
            await start().to(ListSink()).build().run(max_records=number)

    run_virtual(main)


class Counted:
    """A plain async iterator: no generator, nothing to close."""

    left = 3

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left


def test_a_source_may_give_any_async_iterator() -> None:
    async def main() -> None:
        sink = ListSink()
        await Pipeline(other(stream=Counted), name="p").to(sink).build().run()
        assert sink.records == [2, 1, 0]

    run_virtual(main)


@pytest.mark.parametrize("stream", [plain_generator, no_generator, object])
def test_a_stream_that_is_no_async_iterator_is_refused_with_the_way_out(stream: Any) -> None:
    def hidden() -> Any:
        return stream()

    async def main() -> None:
        with pytest.raises(ConfigError, match="must be an async generator"):
            await Pipeline(other(stream=hidden), name="p").to(ListSink()).build().run()

    run_virtual(main)
