"""A dead letter as a plain row, so that every sink can be a dead-letter queue.

A sink must be able to take any letter, whatever its record is: so the record goes through the tagged JSON
codec, which knows every value or keeps its `repr`, and not through what the sink does with records of its
own.
"""

from typing import Any

import attrs

from agora.deadletter import DLQRecord, Entry, entry_fields
from agora.records import Json

__all__ = ["is_letter", "letter_row"]


def is_letter(record: Any) -> bool:
    return type(record) is DLQRecord


def letter_row(letter: DLQRecord) -> dict[str, Json]:
    """The letter's fields by name, all JSON-able; `failed_at` in ISO 8601."""
    row: dict[str, Json] = {
        field.name: _plain(getattr(letter, field.name)) for field in attrs.fields(DLQRecord)
    }
    row["failed_at"] = letter.failed_at.isoformat()
    return row


def _plain(value: Any) -> Json:
    from agora.tagged import to_jsonable  # noqa: PLC0415 - only a dead-letter queue needs the codec

    if isinstance(value, Entry):
        return {name: to_jsonable(part) for name, part in entry_fields(value).items()}
    return to_jsonable(value)
