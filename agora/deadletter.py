"""A dead letter: a record that failed, and all that is known of the failure."""

from datetime import datetime

import attrs

from agora.records import Json, Record

__all__ = ["SOURCE_ENTRY", "DLQRecord", "Entry"]


@attrs.frozen(kw_only=True)
class Entry:
    """Where a replay of a letter enters the chain: before step `step`, with `record`.

    `step` is the name of the first step that the record passes, `None` where none is left (straight to the sinks).
    """

    step: str | None
    record: Record


SOURCE_ENTRY = "source"
"""`DLQRecord.entry` of a letter that replays from its `original` through the whole chain."""


@attrs.frozen(kw_only=True)
class DLQRecord:
    """What a dead-letter queue is written. `id` is equal for the same failure of the same record of one run."""

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
    """The record's own place: `{"ordinal": …, "position": …}`; the position is `None` where the source has none."""
    attempts: int = 1
    failed_at: datetime
    """Aware, UTC."""
