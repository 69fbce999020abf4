"""What a dry run says of each letter: where it would enter, or why it can't; and which letters are chosen."""

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from support import Records

from agora import ConfigError, Pipeline
from agora.deadletter import SOURCE_ENTRY, DLQRecord, Entry
from agora.records import Malformed, Opaque
from agora.runtime.addressing import Addressing, LetterFilter, Outlook, outlooks


@attrs.define(eq=False)
class Queue:
    """A queue of these letters."""

    letters: list[DLQRecord]
    asked: list[dict[str, Any]] = attrs.field(factory=list)

    async def write(self, records: Any) -> None: ...

    async def delete(self, ids: Any) -> None: ...

    async def read(self, pipeline: str, **arguments: Any) -> AsyncGenerator[DLQRecord]:
        self.asked.append(arguments)
        for letter in self.letters:
            yield letter


@attrs.define(eq=False)
class Converting(Records):
    """A source whose letters hold text."""

    schema: type | None = None

    def convert(self, original: Any) -> Any:
        number = int(original)
        return Malformed(original, ValueError("below zero")) if number < 0 else {"id": number}


def letter(stage: str, entry: Any = SOURCE_ENTRY, original: Any = "7", **more: Any) -> DLQRecord:
    return DLQRecord(
        id="p:1:x", pipeline="p", run_id="r", stage=stage, error_type="ValueError", error_message="it",
        original=original, entry=entry, checkpoint=None, failed_at=datetime(2026, 1, 1, tzinfo=UTC), **more,
    )  # fmt: skip


def spec_of(*letters: DLQRecord, schema: type | None = None) -> Any:
    pipeline = Pipeline(Converting(0, schema=schema), name="p").map(abs, name="one").map(abs, name="two")
    bound = pipeline.to(lambda record: None, name="out").build(dlq=Queue(list(letters)))
    return bound.spec


async def told(*letters: DLQRecord, **chosen: Any) -> list[Outlook]:
    spec = spec_of(*letters)
    return [outlook async for outlook in outlooks(spec, LetterFilter.of(spec, **chosen))]


@pytest.mark.parametrize(
    ("given", "enters", "reason"),
    [
        (letter("source"), "source", None),
        (letter("middleware:one"), "source", None),
        (letter("middleware:two", Entry(step="two", record=5)), "middleware:two", None),
        (letter("middleware:two", Entry(step=None, record=5)), "sinks", None),
        (letter("sink:out", Entry(step=None, record=5), processed=5), "sink:out", None),
        (letter("sink:out", Entry(step=None, record=5, unrouted=True)), "sink:out", None),
        (letter("sink:old", processed=5), None, "no sink 'old' anymore"),
        (letter("middleware:two", Entry(step="old", record=5)), None, "no step 'old' anymore"),
        (letter("source", original="x"), None, "it would fail again: invalid literal"),
        (letter("source", original="-1"), None, "it would fail again: below zero"),
        (letter("source", None), None, "couldn't be split into a record"),
        (letter("source", original=Opaque("<odd>")), None, "couldn't be stored, only shown"),
    ],
)
async def test_a_dry_run_says_where_a_letter_enters_or_why_it_can_not(
    given: DLQRecord, enters: str | None, reason: str | None
) -> None:
    [outlook] = await told(given)
    assert (outlook.letter, outlook.enters) == (given, enters)
    assert (outlook.reason is None) if reason is None else (reason in str(outlook.reason))


async def test_a_dry_run_and_a_replay_agree_on_which_record_goes_in() -> None:
    again = Addressing(spec_of()).of(letter("source", original="12"))
    assert not isinstance(again, Malformed)
    assert again.value == {"id": 12}


async def test_the_limit_counts_letters_that_can_be_replayed() -> None:
    lost, found = letter("source", None), letter("source")
    assert [each.letter for each in await told(lost, found, lost, found, limit=1)] == [lost, found]
    assert [each.letter for each in await told(lost, found, lost, found, limit=5)] == [lost, found] * 2
    assert await told(found, limit=0) == []


async def test_the_queue_is_asked_for_what_was_chosen_and_told_the_classes_that_records_have() -> None:
    class Row:
        pass

    spec = spec_of(schema=Row)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    chosen = LetterFilter.of(spec, ["a"], stage="source", since=since, limit=3, classes=[dict])
    assert [outlook async for outlook in outlooks(spec, chosen)] == []
    assert spec.dlq.asked == [{"ids": ["a"], "stage": "source", "since": since, "classes": [dict, Row]}]


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"since": datetime(2026, 1, 1)}, "without an offset"),
        ({"until": datetime(2026, 1, 1)}, "without an offset"),
        ({"limit": -1}, "whole number from 0"),
        ({"limit": True}, "whole number from 0"),
        ({"limit": 1.0}, "whole number from 0"),
        ({"ids": "p:1:x"}, "not one text"),
    ],
)
def test_what_chooses_letters_is_checked(chosen: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        LetterFilter.of(spec_of(), **chosen)


@pytest.mark.parametrize(
    ("dlq", "says"), [(lambda: None, "has no dlq"), (lambda: print, "can't be read and deleted from")]
)
def test_a_queue_that_can_not_be_read_is_refused(dlq: Callable[[], Any], says: str) -> None:
    spec = Pipeline(Records(0), name="p").to(lambda record: None).build().spec
    with pytest.raises(ConfigError, match=says):
        LetterFilter.of(attrs.evolve(spec, dlq=dlq()))
