"""The engine's batches, workers and slices give exactly what one record after the other gives."""

from typing import Any

import attrs
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from model import SinkModel, StepModel, by_key, chains, dice, expected, letter_fields, make, sinks
from properties import examples
from support import CountingStore, ListSink, Records, run_virtual

from agora import Backpressure, Pipeline
from agora.errors import RecordsRejected
from agora.sinks import MemorySink
from agora.state import StateDLQSink
from agora.tracing import InMemoryTracer


@attrs.frozen(kw_only=True)
class How:
    """Everything that must make no difference."""

    batch_size: int
    limit: int | None
    """`None`: adaptive."""
    linger: float
    every: int | None
    block: int | None
    slow_source: bool
    slow_sinks: bool
    letters_in_state: bool
    traced: bool
    seed: int


hows = st.builds(
    How,
    batch_size=st.sampled_from([1, 2, 3, 7, 64]),
    limit=st.sampled_from([1, 2, 5, 16, 200, None]),
    linger=st.sampled_from([0, 0.05, 10]),
    every=st.sampled_from([None, 1, 2, 5, 100]),
    block=st.sampled_from([None, 1, 4, 100]),
    slow_source=st.booleans(),
    slow_sinks=st.booleans(),
    letters_in_state=st.booleans(),
    traced=st.booleans(),
    seed=st.integers(0, 1000),
)


def build(
    count: int, steps: list[StepModel], ports: list[SinkModel], how: How, *, dlq: bool
) -> tuple[Any, dict[str, ListSink], Any, CountingStore | None, dict[str, Any]]:
    source = Records(
        count,
        make,
        block=how.block,
        delay=(lambda number: dice(how.seed, make(number), 4) / 20) if how.slow_source else None,
    )
    pipeline: Any = Pipeline(source, name="p")
    parts: dict[str, Any] = {}
    for step in steps:
        parts[step.name] = part = step.part()
        pipeline = step.add_to(pipeline, part)
    written: dict[str, ListSink] = {}
    for number, port in enumerate(ports):
        turn = iter(range(10**9))
        sink = ListSink(
            port.how,
            port.bad,
            delay=(lambda t=turn, n=number: (next(t) * 7 + n) % 5 / 10) if how.slow_sinks else lambda: 0.0,
        )
        written[port.name] = sink
        where = port.wants if port.where is not None else None
        pipeline = pipeline.to(
            sink, name=port.name, on_error=port.policy, where=where, otherwise=port.otherwise
        )
    store = CountingStore() if how.every is not None else None
    queue: Any = None
    if dlq:
        queue = StateDLQSink(store.state) if store is not None and how.letters_in_state else MemorySink()
    bound = pipeline.build(
        checkpoint_store=store,
        checkpoint_every=how.every,
        dlq=queue,
        backpressure=Backpressure.adaptive(2, 64, 0.2)
        if how.limit is None
        else Backpressure.fixed(how.limit),
        batch_size=how.batch_size,
        linger=how.linger,
        tracer=InMemoryTracer() if how.traced else None,
    )
    return bound, written, queue, store, parts


async def letters_of(queue: Any, store: CountingStore | None) -> list[tuple[Any, ...]]:
    if queue is None:
        return []
    if isinstance(queue, MemorySink):
        found = queue.records
    else:
        await store.state.open()
        found = [letter async for letter in queue.read("p")]
        await store.state.close()
    return [letter_fields(letter) for letter in found]


async def check(count: int, steps: list[StepModel], ports: list[SinkModel], how: How, dlq: bool) -> None:
    want = expected(count, steps, ports, dlq=dlq)
    bound, written, queue, store, parts = build(count, steps, ports, how, dlq=dlq)
    error: Exception | None = None
    summary = None
    try:
        summary = await bound.run()
    except Exception as raised:
        error = raised
    got = await letters_of(queue, store)
    note(f"expected: {want}")
    note(f"got: {[(name, sink.records) for name, sink in written.items()]}, {got}, {error!r}")
    if want.error is None:
        if error is not None:
            raise error
        assert {name: sink.records for name, sink in written.items()} == want.sinks
        assert by_key(got) == by_key(want.letters)
        assert [letter[0] for letter in got] == sorted(letter[0] for letter in got)
        for name, seen in want.hooks.items():
            assert parts[name].seen == seen
        assert summary.read == count
        assert summary.written == want.written
        assert summary.dead_lettered == want.count("dead")
        assert summary.skipped == want.count("skipped")
        assert summary.dropped == want.count("dropped")
        if how.limit is not None:
            assert summary.peak_in_flight <= how.limit
        if store is not None:
            regular = -(-count // how.every)
            given_late = any(step.kind == "hold" for step in steps) and count % how.every == 0
            assert len(store.saved) == summary.checkpoints
            assert regular <= len(store.saved) <= regular + given_late
            assert (store.saved or store.completed)[-1].ordinal == count
        return
    assert error is not None
    reached = error.errors[min(error.errors)] if isinstance(error, RecordsRejected) else error
    assert str(reached) == want.error
    failed_sink = [port.name for port in ports].index(want.halted_sink) if want.halted_sink else None
    for number, (name, sink) in enumerate(written.items()):
        due = want.sinks[name]
        exact = failed_sink is None or number > failed_sink
        if exact or (number == failed_sink and sink.how != "rejected"):
            assert sink.records == due
        else:  # it had accepted its part of the batch before it, or a sink behind it, refused a record
            assert sink.records[: len(due)] == due
    if store is None and queue is not None:
        for letter in want.letters:
            assert letter in got
        assert all(letter in want.letters or letter[0] == want.halted_at for letter in got)


@settings(
    max_examples=examples(120, 3000),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data(), count=st.integers(0, 25), how=hows, dlq=st.booleans())
def test_a_run_gives_what_one_record_after_the_other_gives(
    data: st.DataObject, count: int, how: How, dlq: bool
) -> None:
    steps = data.draw(chains(dlq=dlq), label="chain")
    ports = data.draw(sinks(dlq=dlq), label="ports")
    run_virtual(check, count, steps, ports, how, dlq, seed=how.seed)
