"""How a letter passes steps and sinks: not those that it has passed, and to the sinks that it is meant for."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from support import ListSink

from agora.deadletter import SOURCE_ENTRY, DLQRecord
from agora.middlewares.step import Step, StepKind, step_from
from agora.runtime.envelopes import Envelope, ReplayedPart, opened, replayed, wrapped, wrapped_sink
from agora.runtime.spec import SinkSpec

LETTER = DLQRecord(
    id="l", pipeline="p", run_id="r", stage="s", error_type="E", error_message="e", original=1, processed=None,
    entry=SOURCE_ENTRY, checkpoint=None, failed_at=datetime(2020, 1, 1, tzinfo=UTC),
)  # fmt: skip


def envelope(value: Any, start: int = 0, sink: str | None = None, unrouted: bool = False) -> Envelope:
    return Envelope(LETTER, value, start, sink, unrouted)


def values(records: Any) -> list[Any]:
    return [record.value if isinstance(record, Envelope) else record for record in records]


def third(kind: StepKind, fn: Any) -> Step:
    """The step as the third one of a replayed chain."""
    return wrapped(step_from(fn, kind=kind, name="c"), 2)


@pytest.mark.parametrize("awaits", [False, True])
async def test_a_map_gives_an_envelope_or_drops_it(awaits: bool) -> None:
    def half(record: Any) -> Any:
        return None if record % 2 else record // 2

    async def later(record: Any) -> Any:
        return half(record)

    step = third(StepKind.MAP, later if awaits else half)
    passed = await step.call(envelope(8, start=2))
    assert (passed.value, passed.letter, passed.start) == (4, LETTER, 2)
    assert await step.call(envelope(3)) is None
    before = envelope(3, start=3)
    assert await step.call(before) is before  # it has passed the step already


async def test_a_filter_asks_of_what_enters_it() -> None:
    step = third(StepKind.FILTER, lambda record: record > 5)
    assert [bool(await step.call(envelope(value, start))) for value, start in [(9, 2), (1, 2), (1, 3)]] == [
        True,
        False,
        True,
    ]


class Children:
    def __init__(self, count: int) -> None:
        self.left = list(range(count))

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0) or None


def children_of(record: Any) -> Children:
    return Children(record)


async def test_children_come_in_envelopes_of_their_parent() -> None:
    step = third(StepKind.EXPAND, lambda record: [record, None, record + 1])
    assert values(await step.call(envelope(1, start=2))) == [1, 2]
    assert values(await step.call(envelope(1, start=3))) == [1]
    drawn = await third(StepKind.EXPAND, children_of).call(envelope(3))
    assert values([child async for child in drawn]) == [1, 2]


class Batches:
    def __init__(self) -> None:
        self.got: list[list[Any]] = []

    async def process_batch(self, records: Sequence[Any]) -> list[Any]:
        self.got.append(list(records))
        return [None if record == 0 else KeyError() if record == 1 else record * 10 for record in records]


async def test_a_batch_is_given_those_that_enter_it_and_all_keep_their_order() -> None:
    part = Batches()
    step = wrapped(step_from(part, name="c"), 2)
    answer = await step.call(
        [envelope(5, 3), envelope(2), envelope(0), envelope(7, 3), envelope(1), envelope(3)]
    )
    assert values([*answer[:4], answer[5]]) == [5, 20, None, 7, 30]
    assert isinstance(answer[4], KeyError)
    assert part.got == [[2, 0, 1, 3]]
    assert values(await step.call([envelope(5, 3)])) == [5]
    assert len(part.got) == 1  # none enters: it isn't called


async def test_a_batch_that_gives_too_few_is_named() -> None:
    class Few:
        def process_batch(self, records: Sequence[Any]) -> list[Any]:
            return list(records)[1:]

    step = wrapped(step_from(Few(), name="few"), 0)
    with pytest.raises(TypeError, match="step 'few': process_batch gave 1 results for 2 records"):
        await step.call([envelope(1), envelope(2)])


class Part:
    told: Any = None
    other = 5

    def process(self, record: Any) -> Any:
        return record

    def finish(self) -> list[Any]:
        return [1]

    def on_error(self, record: Any, error: Exception) -> None:
        self.told = (record, error)


async def test_a_part_in_a_replay_is_itself_but_finishes_nothing_and_is_told_of_records() -> None:
    part, bare = Part(), ReplayedPart(object())
    inside = ReplayedPart(part)
    assert inside.other == 5
    assert not hasattr(inside, "finish")
    assert (replayed(inside), replayed(part)) == (part, part)
    error = ValueError()
    await inside.on_error(envelope(3), error)
    assert part.told == (3, error)
    await bare.on_error(envelope(3), error)  # it has no hook


async def test_a_sink_is_given_what_is_in_the_envelopes() -> None:
    for how in ("rejected", "record"):
        sink = ListSink(how=how)
        spec = SinkSpec(name="s", sink=sink)
        inside = wrapped_sink(spec, [spec]).sink
        if inside.write_record is None:
            await inside.write([envelope(1), envelope(2)])
        else:
            await inside.write_record(envelope(1))
            await inside.write_record(envelope(2))
        assert sink.records == [1, 2]
        assert (replayed(inside), inside.how) == (sink, how)
        assert not hasattr(inside, "prepare")


def test_what_is_no_envelope_is_itself() -> None:
    assert (opened(envelope(1)), opened(2)) == (1, 2)


def fails(record: Any) -> bool:
    raise KeyError(record)


SINKS = [
    SinkSpec(name="even", sink=ListSink(), where=lambda record: record % 2 == 0),
    SinkSpec(name="all", sink=ListSink()),
    SinkSpec(name="rest", sink=ListSink(), otherwise=True),
    SinkSpec(name="big", sink=ListSink(), where=lambda record: record > 5),
    SinkSpec(name="last", sink=ListSink(), otherwise=True),
]


def goes_to(sinks: list[SinkSpec], letter: Envelope) -> list[str]:
    found = []
    for sink in sinks:
        wants: Any = wrapped_sink(sink, sinks).where
        try:
            if wants(letter):
                found.append(sink.name)
        except KeyError:
            found.append(f"failed at {sink.name}")
    return found


@pytest.mark.parametrize(
    ("letter", "sinks"),
    [
        (envelope(2), ["even", "all"]),
        (envelope(3), ["all", "rest", "last"]),
        (envelope(7), ["all", "rest", "big"]),
        (envelope(2, sink="rest"), ["rest"]),  # it was on its way there
        (envelope(2, sink="big"), ["big"]),
        (envelope(2, sink="even", unrouted=True), ["even"]),  # asked again
        (envelope(3, sink="even", unrouted=True), ["rest", "last"]),
        (envelope(3, sink="big", unrouted=True), ["last"]),
        (envelope(9, sink="big", unrouted=True), ["big"]),
        (envelope(2, sink="big", unrouted=True), []),  # `even` has it
        (envelope(3, sink="all", unrouted=True), ["all", "rest", "last"]),
    ],
)
def test_a_letter_goes_to_the_sinks_that_it_is_meant_for(letter: Envelope, sinks: list[str]) -> None:
    assert goes_to(SINKS, letter) == sinks


def test_a_where_that_fails_takes_the_letter_from_those_behind_it_and_fails_for_its_own() -> None:
    sinks = [SinkSpec(name="bad", sink=ListSink(), where=fails), *SINKS]
    assert goes_to(sinks, envelope(3)) == ["failed at bad", "all"]
    assert goes_to(sinks, envelope(3, sink="bad", unrouted=True)) == ["failed at bad"]
    assert goes_to(sinks, envelope(8, sink="big", unrouted=True)) == ["big"]
