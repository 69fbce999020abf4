"""Copies of records, so that a later change in place doesn't reach them."""

import copy
import datetime
import decimal
import uuid
from typing import cast

from agora.records import Record

__all__ = ["keep"]

_ATOMS = frozenset(
    {
        str, int, float, bool, bytes, type(None), complex, range,
        decimal.Decimal, uuid.UUID, datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
    }
)  # fmt: skip


def keep(record: Record) -> Record:
    """A copy that shares nothing that can change; the record itself where it can't be copied."""
    kind = type(record)
    if kind in _ATOMS:
        return record
    if kind is dict:
        return {key: value if type(value) in _ATOMS else keep(value) for key, value in record.items()}
    if kind is list:
        return [value if type(value) in _ATOMS else keep(value) for value in record]
    try:
        return copy.deepcopy(record)
    except Exception:  # noqa: BLE001  - whatever a user's __deepcopy__ raises: a letter may then show later changes
        return cast("Record", record)
