"""Records to JSON text, strictly: what JSON can't hold is refused, never changed.

The whole batch is encoded in one call, which is what makes it fast; only where that call fails, or its text
shows a `null` that may have been a NaN, is each record looked at alone. So both paths write the same text.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import msgspec

from agora.deadletter import DLQRecord
from agora.records import Record
from agora.sinks.letters import is_letter, letter_row

__all__ = ["JsonEncoder", "NanPolicy", "Rejections", "refuse_non_finite"]

NanPolicy = Literal["reject", "null"]
"""What becomes of NaN and the infinities: the record is rejected, or they are written as `null`."""

Rejections = dict[int, Exception]
"""Index in the batch → why that record was refused."""

_encoder = msgspec.json.Encoder()


def refuse_non_finite(value: Any, place: str = "the record") -> None:
    """Raise `ValueError` naming the place of the first NaN or infinity in plain data."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f'{value} at {place} has no JSON form (nan="null" writes it as null)')
    elif isinstance(value, Mapping):
        for key, item in value.items():
            refuse_non_finite(key, f"a key of {place}")
            refuse_non_finite(item, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple | set | frozenset):
        for index, item in enumerate(value):
            refuse_non_finite(item, f"{place}[{index}]")


@attrs.frozen
class JsonEncoder:
    """One JSON document a line. Takes dicts, attrs instances, dates, Decimal, UUID, bytes; integers are
    exact."""

    nan: NanPolicy = "reject"

    def lines(self, records: Sequence[Record]) -> tuple[bytes, Rejections]:
        """The text of all records that can be written, each line with its LF, and the others' errors."""
        if DLQRecord not in set(map(type, records)):
            try:
                text = _encoder.encode_lines(records)
            except Exception:  # noqa: BLE001 - whatever it is, the search below raises it again for its record
                return self._one_by_one(records)
            if self.nan == "null" or text.rfind(b"null") < 0:  # from the end, in half the time of `in`
                return text, {}
        return self._one_by_one(records)

    def line(self, record: Record) -> bytes:
        """The text of one record. `ValueError` or `TypeError` where it has none."""
        if is_letter(record):
            record = letter_row(record)
        try:
            text = _encoder.encode(record)
            if self.nan == "reject" and b"null" in text:
                refuse_non_finite(msgspec.to_builtins(record))
        except RecursionError as error:
            raise ValueError("nested too deeply, or in itself, to be written as JSON") from error
        return text + b"\n"

    def _one_by_one(self, records: Sequence[Record]) -> tuple[bytes, Rejections]:
        lines: list[bytes] = []
        rejected: Rejections = {}
        for index, record in enumerate(records):
            try:
                lines.append(self.line(record))
            except Exception as error:  # noqa: BLE001 - encoding concerns this record, whatever it raises
                rejected[index] = error
        return b"".join(lines), rejected
