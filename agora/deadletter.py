"""A dead letter: a record that failed, and all that is known of the failure."""

import hashlib
from datetime import datetime
from typing import Any

import attrs

from agora.records import Json, Opaque, Record

__all__ = ["SOURCE_ENTRY", "DLQRecord", "Entry", "entry_fields", "letter_id"]


@attrs.frozen(kw_only=True)
class Entry:
    """Where a replay of a letter enters the chain: before step `step`, with `record`.

    `step` is the name of the first step that the record passes, `None` where none is left (straight to the
    sinks).
    """

    step: str | None
    record: Record
    unrouted: bool = False
    """Whether the `where` of the letter's sink failed, so that a replay asks it first."""


SOURCE_ENTRY = "source"
"""`DLQRecord.entry` of a letter that replays from its `original` through the whole chain."""


@attrs.frozen(kw_only=True)
class DLQRecord:
    """What a dead-letter queue is written. `id` is equal for the same failure of the same record of one
    run."""

    id: str
    pipeline: str
    run_id: str
    stage: str
    """`"source"`, `"middleware:NAME"` or `"sink:NAME"`."""
    error_type: str
    """Qualified name of the exception's class."""
    error_message: str
    original: Record
    """The record as the source gave it; `None` for a record of `finish()`."""
    processed: Record = None
    """The record as the sink was given it; `None` unless a sink failed."""
    entry: str | Entry | None = SOURCE_ENTRY
    """Where a replay starts: `"source"`, an `Entry`, or `None` where the letter can't be replayed."""
    checkpoint: Json
    """The record's own place: `{"ordinal": …, "position": …}`; the position is `None` where the source has
    none."""
    attempts: int = 1
    failed_at: datetime
    """Aware, UTC."""

    @property
    def replayable(self) -> bool:
        """Whether what its entry needs is there: not `None`, and nothing in it was kept as an `Opaque`."""
        if self.entry is None:
            return False
        record = self.entry.record if isinstance(self.entry, Entry) else self.original
        return record is not None and not _holds_opaque(record)


def entry_fields(entry: Entry) -> dict[str, Any]:
    """What is written of an entry: `step`, `record`, and `unrouted` where it is so."""
    fields = {"step": entry.step, "record": entry.record}
    return {**fields, "unrouted": True} if entry.unrouted else fields


def letter_id(*, pipeline: str, run_id: str, ordinal: int, stage: str, nth: int = 0) -> str:
    """The id of a letter: `PIPELINE:ORDINAL[.NTH]:DIGEST`, equal for the same failure of the same record of
    one run.

    It begins with where its letter is kept, so that a queue finds it, and keeps letters in order, without an
    index. `nth` tells apart several failures of one ordinal in one stage (children of a step that
    multiplies).
    """
    digest = hashlib.blake2b(f"{run_id}\0{stage}\0{nth}".encode("utf-8", "surrogatepass"), digest_size=6)
    return f"{pipeline}:{ordinal}{f'.{nth}' if nth else ''}:{digest.hexdigest()}"


def _holds_opaque(value: object) -> bool:
    if isinstance(value, Opaque):
        return True
    if isinstance(value, dict):
        return any(_holds_opaque(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return any(_holds_opaque(item) for item in value)
    kind: type = type(value)
    return attrs.has(kind) and any(_holds_opaque(getattr(value, field.name)) for field in attrs.fields(kind))
