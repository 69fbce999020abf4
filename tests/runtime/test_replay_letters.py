"""What becomes of each letter in a replay (`agora.runtime.replay`), by the replay alone: which are read, what is said
of those that fail again, and what is removed when."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from support import ListSink, Records

from agora import ConfigError, Pipeline
from agora.deadletter import SOURCE_ENTRY, DLQRecord, Entry, letter_id
from agora.records import Malformed
from agora.runtime.addressing import Addressing, LetterFilter, outlooks
from agora.runtime.batch import Batch, Failure, StreamOrigin
from agora.runtime.envelopes import Envelope
from agora.runtime.replay import Replay


def letter(number: int, **more: Any) -> DLQRecord:
    told: dict[str, Any] = {
        "id": f"l{number}", "pipeline": "p", "run_id": "r", "stage": "middleware:a", "error_type": "E",
        "error_message": "e", "original": number + 1, "entry": SOURCE_ENTRY,
        "checkpoint": {"ordinal": number, "position": None}, "failed_at": datetime(2020, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return DLQRecord(**told | more)


@attrs.define(eq=False)
class Queue:
    letters: list[DLQRecord]
    told: list[Any] = attrs.field(factory=list)

    async def read(self, pipeline: str, **arguments: Any) -> AsyncGenerator[DLQRecord]:
        self.told.append((pipeline, arguments))
        for each in list(self.letters):
            yield each

    async def write(self, letters: Sequence[DLQRecord]) -> None:
        self.told.append(["write", *(each.id for each in letters)])

    async def delete(self, ids: Sequence[str]) -> None:
        self.told.append(["delete", *ids])

    def changes(self, letters: Sequence[DLQRecord]) -> list[Any]:
        return [f"put {each.id}" for each in letters]

    def removals(self, ids: Sequence[str]) -> list[Any]:
        return [f"remove {each}" for each in ids]


def identity(record: Any) -> Any:
    return record


def replay_of(*letters: DLQRecord, limit: int | None = None, **arguments: Any) -> Replay:
    """Of a pipeline of two steps and a sink."""
    pipeline = (
        Pipeline(Records(1), name="p")
        .map(identity, name="a")
        .map(identity, name="b")
        .to(ListSink(), name="s")
    )
    spec = pipeline.build(dlq=Queue(list(letters)), max_dead_letters=1).spec
    return Replay(spec=spec, filter=LetterFilter(arguments=arguments, limit=limit))


async def given(replay: Replay) -> list[Any]:
    return [envelope async for envelope in replay.envelopes()]


def batch_of(*envelopes: Envelope) -> Batch:
    return Batch(
        first=0,
        count=len(envelopes),
        rows=list(envelopes),
        index=range(len(envelopes)),
        origin=StreamOrigin(envelopes, None, None),
    )


def failed(offset: int, stage: str = "middleware:b", **more: Any) -> Failure:
    return Failure(offset=offset, stage=stage, error=KeyError("again"), policy="dead_letter", **more)


async def test_letters_that_can_be_replayed_are_read_as_they_were_asked_for_up_to_the_limit() -> None:
    letters = [letter(0), letter(1, entry=None), letter(2), letter(3), letter(4)]
    replay = replay_of(*letters, limit=3, stage="x")
    assert [envelope.letter.id for envelope in await given(replay)] == ["l0", "l2", "l3"]
    assert replay.spec.dlq.told == [("p", {"stage": "x"})]
    assert len(await given(replay_of(*letters))) == 4
    for none in (0, -1):
        nothing = replay_of(*letters, limit=none)
        assert (await given(nothing), nothing.spec.dlq.told) == ([], [])


async def test_a_letter_that_fails_again_says_so_with_one_attempt_more_and_its_own_id() -> None:
    replay = replay_of(letter(0), letter(1, attempts=4))
    envelopes = await given(replay)
    again = replay.letter(batch_of(*envelopes), failed(1, processed=envelopes[1].holding("processed")))
    assert (again.id, again.stage, again.attempts) == ("l1", "middleware:b", 5)
    assert (again.error_type, again.error_message) == ("KeyError", "'again'")
    assert (again.original, again.processed, again.entry) == (2, "processed", SOURCE_ENTRY)
    assert again.failed_at > datetime(2021, 1, 1, tzinfo=UTC)
    assert again.checkpoint == {"ordinal": 1, "position": None}


async def test_what_a_source_could_not_convert_again_is_told_of_its_own_letter() -> None:
    replay = replay_of(letter(0))
    (envelope,) = await given(replay)
    failure = Failure(offset=7, stage="source", error=KeyError(), policy="dead_letter", original=envelope)
    assert replay.letter(batch_of(), failure).id == "l0"


@pytest.mark.parametrize(
    ("entered_at", "reached", "entry"),
    [
        (SOURCE_ENTRY, "b", Entry(step="b", record="now")),
        (SOURCE_ENTRY, None, Entry(step=None, record="now")),
        (Entry(step="b", record="then"), "b", Entry(step="b", record="now")),
        (
            Entry(step="b", record="then"),
            "a",
            Entry(step="b", record="then"),
        ),  # never back to what it has passed
        (Entry(step="a", record="then"), SOURCE_ENTRY, Entry(step="a", record="then")),
    ],
)
async def test_a_letter_keeps_the_furthest_place_that_it_has_reached(
    entered_at: Any, reached: Any, entry: Entry
) -> None:
    replay = replay_of(letter(0, entry=entered_at))
    (envelope,) = await given(replay)
    told = SOURCE_ENTRY if reached == SOURCE_ENTRY else Entry(step=reached, record=envelope.holding("now"))
    assert replay.letter(batch_of(envelope), failed(0, entry=told)).entry == entry


async def test_further_failures_of_a_letter_have_ids_of_their_own_that_a_repeated_replay_gives_again() -> (
    None
):
    async def ids(*letters: DLQRecord) -> list[str]:
        replay = replay_of(*letters)
        batch = batch_of(*await given(replay))
        return [
            replay.letter(batch, failed(0, stage)).id for stage in ("middleware:b", "middleware:b", "sink:s")
        ]

    first, second, third = await ids(letter(3))
    told: dict[str, Any] = {"pipeline": "p", "run_id": "l3 1", "ordinal": 3}
    assert first == "l3"
    assert second == letter_id(**told, stage="middleware:b", nth=1)
    assert third == letter_id(**told, stage="sink:s", nth=2)
    assert await ids(letter(3)) == [first, second, third]
    assert (await ids(letter(3, attempts=2)))[1:] != [second, third]
    for place in (None, "text", {}, {"ordinal": None}, {"ordinal": -1}):
        assert (await ids(letter(3, checkpoint=place)))[1] == letter_id(
            **told | {"ordinal": 0}, stage="middleware:b", nth=1
        )


async def test_letters_that_the_replay_made_itself_are_not_read_by_it() -> None:
    replay = replay_of(letter(0), letter(1))
    batch = batch_of(*await given(replay))
    made = [replay.letter(batch, failed(0)) for _ in range(2)]
    replay.passed(2)
    replay.spec.dlq.letters += made[1:]
    assert [envelope.letter.id for envelope in await given(replay)] == ["l0", "l1"]
    assert replay.letter(batch, failed(0)).id == "l0"  # of the next batch: its first failure


async def test_what_is_handled_is_removed_and_what_failed_again_put_with_the_save() -> None:
    replay = replay_of(letter(0), letter(1), letter(2))
    batch = batch_of(*await given(replay))
    replay.passed(1)
    await replay.put([replay.letter(batch, failed(1))])
    assert replay.changes() == ["remove l0", "put l1"] == replay.changes()
    replay.passed(1)
    replay.saved()
    assert replay.changes() == []
    replay.passed(1)
    assert replay.changes() == ["remove l2"]


async def test_where_no_barrier_does_it_what_failed_again_is_written_before_what_was_delivered_is_deleted() -> (
    None
):
    replay = replay_of(letter(0), letter(1), letter(2))
    batch = batch_of(*await given(replay))
    replay.passed(2)
    await replay.put([replay.letter(batch, failed(1))])
    replay.spec.dlq.told.clear()
    await replay.settle()
    assert replay.spec.dlq.told == [["write", "l1"], ["delete", "l0"]]
    await replay.settle()
    assert len(replay.spec.dlq.told) == 2  # once
    replay.passed(1)
    await replay.settle()
    assert replay.spec.dlq.told[2:] == [["delete", "l2"]]


async def test_a_letter_that_has_no_place_anymore_fails_where_it_enters() -> None:
    replay = replay_of(letter(0, entry=Entry(step="gone", record=1)))
    (malformed,) = await given(replay)
    assert isinstance(malformed, Malformed)
    assert malformed.original.letter.id == "l0"
    assert "no step 'gone' anymore" in str(malformed.error)


def test_the_derived_pipeline_is_the_pipeline_s_own_with_letters_for_a_source() -> None:
    replay = replay_of()
    derived = replay.derived()
    assert [step.name for step in derived.chain.steps] == ["a", "b"]
    assert [sink.name for sink in derived.sinks] == ["s"]
    assert (derived.source_policy, derived.max_dead_letters, derived.name) == ("dead_letter", None, "p")
    assert (derived.source.supports_checkpoint, derived.source.checkpoint()) == (True, None)
    own = replay.spec.sinks[0].sink
    assert replay.unwrapped([derived.sinks[0].sink, "other"]) == [own, "other"]


class Converting(Records):
    """A source whose letters hold text."""

    def convert(self, original: Any) -> Any:
        if original == "bad":
            raise ValueError(original)
        return Malformed("other", KeyError("other")) if original == "worse" else {"converted": original}


def test_a_letter_of_the_source_enters_at_the_first_step_converted_anew() -> None:
    addressing = Addressing(Pipeline(Converting(1), name="p").map(identity).to(ListSink()).build().spec)
    good, bad, worse = (
        addressing.of(letter(0, stage="source", original=original)) for original in ("good", "bad", "worse")
    )
    assert isinstance(good, Envelope)
    assert (good.value, good.start, good.sink) == ({"converted": "good"}, 0, None)
    for failed_again, error in ((bad, ValueError), (worse, KeyError)):
        assert isinstance(failed_again, Malformed)
        assert isinstance(failed_again.error, error)
        assert failed_again.original.letter.id == "l0"


def test_a_filter_is_what_the_queue_is_asked_and_a_limit_beside_it() -> None:
    spec = replay_of().spec
    told: dict[str, Any] = {
        "ids": ["a"],
        "stage": "source",
        "error_type": "E",
        "since": datetime(2020, 1, 1, tzinfo=UTC),
        "until": datetime(2021, 1, 1, tzinfo=UTC),
        "classes": [Queue],
    }
    chosen = LetterFilter.of(spec, **told, limit=3)
    assert (chosen.arguments, chosen.limit) == (told, 3)
    assert LetterFilter.of(spec).arguments == {}


@pytest.mark.parametrize("name", ["since", "until"])
def test_a_time_without_an_offset_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}=datetime.*a time without an offset"):
        LetterFilter.of(replay_of().spec, **{name: datetime(2020, 1, 1)})  # type: ignore[arg-type]  # without an offset: refused


class Readable:
    async def write(self, letters: Any) -> None: ...

    async def read(self, pipeline: str) -> AsyncGenerator[Any]:
        yield None


class Erasable(ListSink):
    async def delete(self, ids: Any) -> None: ...


@pytest.mark.parametrize("queue", [Readable(), Erasable(), ListSink()])
def test_a_queue_has_to_be_readable_and_erasable(queue: Any) -> None:
    spec = Pipeline(Records(1), name="p").to(ListSink()).build(dlq=queue).spec
    with pytest.raises(
        ConfigError, match=rf"'p' has a dlq \({type(queue).__name__}\) that can't be read and deleted"
    ):
        LetterFilter.of(spec)


async def test_a_dry_run_asks_the_queue_of_this_pipeline_alone() -> None:
    spec = replay_of(letter(0), letter(1)).spec
    told = [each.enters async for each in outlooks(spec, LetterFilter(arguments={"stage": "x"}))]
    assert told == ["source", "source"]
    assert spec.dlq.told == [("p", {"stage": "x"})]
