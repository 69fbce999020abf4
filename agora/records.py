"""The values that pass between parts: records, what couldn't be read, JSON-able data."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs

__all__ = ["Json", "Malformed", "Opaque", "Position", "Record", "fields_of"]

Record: TypeAlias = Any
"""Any Python value except `None`, which means dropped: a `dict` from the built-in sources, an attrs instance
where a schema is given."""

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""Data that survives a round trip through JSON unchanged."""

Position: TypeAlias = Json
"""A cursor that only its source understands."""


@attrs.frozen
class Malformed:
    """Yielded by a source in place of a record that it can't read; a failure of the source for this ordinal.

    `original` is what was read: raw text (bytes where it isn't UTF-8), or a dict of strings when a conversion
    failed. `error` says why, and names the place (file, line, byte offset). `replayable`: whether a replay
    can make a record of `original` (false for text that can't be split into one).
    """

    original: Record
    error: Exception
    replayable: bool = False


@attrs.frozen
class Opaque:
    """Stands in stored data for a value that has no stored form (see `agora.tagged`): what it looked like."""

    text: str
    """Its `repr`."""


def fields_of(record: Record, what: str) -> Mapping[str, Any]:
    """The fields of a mapping or an attrs instance by name. `TypeError`, in which `what` needs one, for anything
    else."""
    if isinstance(record, Mapping):
        return record
    if attrs.has(type(record)):
        return {field.name: getattr(record, field.name) for field in attrs.fields(type(record))}
    raise TypeError(f"{what} needs a dict or an attrs instance, not {type(record).__qualname__}")
