"""Where each dead letter enters today's pipeline, and why one can't. Pure: a dry run asks it as a replay does."""

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any

import attrs

from agora.deadletter import SOURCE_ENTRY, DLQRecord, Entry
from agora.errors import ConfigError
from agora.records import Malformed
from agora.runtime.envelopes import Envelope
from agora.runtime.spec import PipelineSpec

__all__ = ["Addressing", "LetterFilter", "Outlook", "outlooks"]


@attrs.frozen(kw_only=True)
class LetterFilter:
    """Which letters are replayed."""

    arguments: Mapping[str, Any]
    """What the queue's `read` takes."""
    limit: int | None = None
    """How many at most. Not left to the queue, which would count those that can't be replayed."""

    @classmethod
    def of(
        cls,
        spec: PipelineSpec,
        ids: Collection[str] | None = None,
        *,
        stage: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        classes: Iterable[type] = (),
    ) -> "LetterFilter":
        """What `BoundPipeline.replay` was told, checked. Raises `ConfigError`, also where the pipeline's
        queue can't be replayed from."""
        _require_queue(spec)
        for name, moment in (("since", since), ("until", until)):
            if moment is not None and moment.utcoffset() is None:
                raise ConfigError(
                    f"{name}={moment!r}: a time without an offset could mean any; give an aware one, such as "
                    "datetime(…, tzinfo=UTC)"
                )
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise ConfigError(f"limit={limit!r}: expected a whole number from 0")
        if isinstance(ids, str):
            raise ConfigError(f"ids={ids!r}: expected a collection of ids, not one text")
        schema = getattr(spec.source, "schema", None)
        arguments = {
            "ids": ids,
            "stage": stage,
            "error_type": error_type,
            "since": since,
            "until": until,
            "classes": [*classes, *([schema] if isinstance(schema, type) else [])] or None,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        return cls(arguments=given, limit=limit)


def _require_queue(spec: PipelineSpec) -> None:
    dlq = spec.dlq
    if hasattr(dlq, "read") and hasattr(dlq, "delete"):
        return
    what = (
        "has no dlq"
        if dlq is None
        else f"has a dlq ({type(dlq).__name__}) that can't be read and deleted from"
    )
    raise ConfigError(f"pipeline {spec.name!r} {what}: replay needs one that can, such as StateDLQSink")


@attrs.frozen
class Addressing:
    """Addresses the letters of one pipeline."""

    spec: PipelineSpec

    def of(self, letter: DLQRecord) -> Envelope | Malformed:
        """The letter in an envelope; `Malformed` where it fails before it gets anywhere."""
        if letter.stage.startswith("sink:"):
            return self._to_sink(letter, letter.stage.removeprefix("sink:"))
        if isinstance(letter.entry, Entry):
            return self._to_step(letter, letter.entry)
        convert = getattr(self.spec.source, "convert", None)
        if letter.stage != "source" or not callable(convert):
            return Envelope(letter, letter.original, 0, None)
        try:
            record = convert(letter.original)
        except Exception as error:  # noqa: BLE001  - the conversion failed again: so does the letter
            record = Malformed(letter.original, error)
        again = Envelope(letter, letter.original, 0, None)
        return (
            attrs.evolve(record, original=again) if isinstance(record, Malformed) else again.holding(record)
        )

    def number(self, name: str) -> int:
        """The place of a step in the chain; behind all of them for one that isn't there anymore."""
        names = [step.name for step in self.spec.chain.steps]
        return names.index(name) if name in names else len(names)

    def _to_sink(self, letter: DLQRecord, name: str) -> Envelope | Malformed:
        if name not in {sink.name for sink in self.spec.sinks}:
            return _unplaced(letter, f"the pipeline has no sink {name!r} anymore")
        end = len(self.spec.chain)
        if isinstance(letter.entry, Entry) and letter.entry.unrouted:
            return Envelope(letter, letter.entry.record, end, name, unrouted=True)
        return Envelope(letter, letter.processed, end, name)

    def _to_step(self, letter: DLQRecord, entry: Entry) -> Envelope | Malformed:
        end = len(self.spec.chain)
        start = end if entry.step is None else self.number(entry.step)
        if entry.step is not None and start == end:
            return _unplaced(
                letter, f"the pipeline has no step {entry.step!r} anymore, where this letter enters"
            )
        return Envelope(letter, entry.record, start, None)


def _unplaced(letter: DLQRecord, why: str) -> Malformed:
    return Malformed(Envelope(letter, None, 0, None), ConfigError(why))


@attrs.frozen
class Outlook:
    """What a replay would do with a letter, as far as that can be told without running anything of it."""

    letter: DLQRecord
    enters: str | None
    """`"source"` where it would pass the whole chain again; else the first stage that it would reach: a step's, a
    sink's, or `"sinks"` for those that the routing sends it to. `None` where it can't be replayed."""
    reason: str | None
    """Why it can't."""


async def outlooks(spec: PipelineSpec, chosen: LetterFilter) -> AsyncGenerator[Outlook]:
    """What a replay would do with each letter that matches, in order. Reads only, under no lease: nothing is
    run, and no part but the queue is opened."""
    addressing, left = Addressing(spec), chosen.limit
    if left == 0:
        return
    async with aclosing(spec.dlq.read(spec.name, **chosen.arguments)) as letters:
        async for letter in letters:
            outlook = _outlook(addressing, letter)
            yield outlook
            if left is not None and letter.replayable:
                left -= 1
                if left == 0:
                    return


def _outlook(addressing: Addressing, letter: DLQRecord) -> Outlook:
    if not letter.replayable:
        if letter.entry is None:
            why = "it is text that couldn't be split into a record"
        else:
            why = "its record holds what couldn't be stored, only shown"
        return Outlook(letter, None, why)
    addressed = addressing.of(letter)
    if isinstance(addressed, Malformed):
        return Outlook(letter, None, f"it would fail again: {addressed.error}")
    if addressed.sink is not None:
        return Outlook(letter, f"sink:{addressed.sink}", None)
    if letter.entry == SOURCE_ENTRY:
        return Outlook(letter, SOURCE_ENTRY, None)
    steps = addressing.spec.chain.steps
    return Outlook(letter, steps[addressed.start].stage if addressed.start < len(steps) else "sinks", None)
