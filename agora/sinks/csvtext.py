"""Records to CSV text: `csv.writer` over whole batches where that is exact, record by record where it may not
be.

A value has the text that it has in JSON lines (dates, Decimal, booleans, nested values), text stands as it
is, and `None` is empty. The fast path is taken only for values that Python's own `csv` writes in just that
way.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import attrs
import msgspec

from agora.records import Record
from agora.sinks.encode import NanPolicy, Rejections, refuse_non_finite
from agora.sinks.letters import is_letter, letter_row

__all__ = ["CsvEncoder", "fields_of"]

_PLAIN = {str, int, float, type(None)}
_encoder = msgspec.json.Encoder()


def fields_of(record: Record) -> Mapping[str, Any]:
    """A record's fields by name: a mapping, an attrs instance, a dead letter. `TypeError` for anything
    else."""
    if is_letter(record):
        return letter_row(record)
    if isinstance(record, Mapping):
        return record
    if attrs.has(type(record)):
        return {field.name: getattr(record, field.name) for field in attrs.fields(type(record))}
    raise TypeError(f"a row needs a dict or an attrs instance, not {type(record).__qualname__}")


@attrs.frozen
class CsvEncoder:
    """Rows of these columns, each ended by LF."""

    columns: tuple[str, ...]
    delimiter: str = ","
    nan: NanPolicy = "reject"

    def header(self) -> bytes:
        return self._row_text(self.columns).encode()

    def lines(self, records: Sequence[Record]) -> tuple[bytes, Rejections]:
        """The text of all records that can be written, and the others' errors by their index."""
        text = self._whole_batch(records)
        if text is not None:
            return text, {}
        lines: list[bytes] = []
        rejected: Rejections = {}
        for index, record in enumerate(records):
            try:
                lines.append(self.line(record))
            except Exception as error:  # noqa: BLE001 - encoding concerns this record, whatever it raises
                rejected[index] = error
        return b"".join(lines), rejected

    def line(self, record: Record) -> bytes:
        """The text of one record. `ValueError`, `TypeError` or `LookupError` where it has none."""
        fields = fields_of(record)
        unknown = [key for key in fields if key not in self.columns]
        if unknown:
            raise LookupError(f"no column for {unknown!r}: the columns are {list(self.columns)}")
        return self._row_text([self._text(fields.get(name), name) for name in self.columns]).encode()

    def _whole_batch(self, records: Sequence[Record]) -> bytes | None:
        """`None` where each record has to be looked at alone."""
        if set(map(type, records)) != {dict} or set(map(len, records)) != {len(self.columns)}:
            return None
        try:
            if len(self.columns) == 1:
                (name,) = self.columns
                rows = [(record[name],) for record in records]
            else:
                rows = list(map(itemgetter(*self.columns), records))
        except KeyError:
            return None
        kinds = set(map(type, chain.from_iterable(rows)))
        if not kinds <= _PLAIN or (float in kinds and _has_odd_float(rows)):
            return None
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self.delimiter, lineterminator="\n").writerows(rows)
        written = text.getvalue()
        if "\r" in written:  # not quoted by every version of csv
            return None
        try:
            return written.encode()
        except UnicodeEncodeError:
            return None

    def _row_text(self, row: Sequence[str]) -> str:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self.delimiter, lineterminator="\r\n").writerow(row)
        return text.getvalue().removesuffix("\r\n") + "\n"

    def _text(self, value: Any, name: str) -> str:
        if type(value) is str:
            return value
        if value is None:
            return ""
        try:
            text = _encoder.encode(value)
            if b"null" in text:
                if self.nan == "reject":
                    refuse_non_finite(msgspec.to_builtins(value), repr(name))
                if text == b"null":
                    return ""
        except RecursionError as error:
            raise ValueError(f"{name!r} is nested too deeply, or in itself, to be written") from error
        if text.startswith(b'"'):
            return msgspec.json.decode(text, type=str)
        return text.decode()


def _has_odd_float(rows: Sequence[tuple[Any, ...]]) -> bool:
    """Whether a float is not finite, or of a size that Python writes otherwise than JSON (`1e+16`,
    `1e-05`)."""
    floats = [value for value in chain.from_iterable(rows) if type(value) is float]
    return not all(1e-4 <= value < 1e16 or not value or -1e16 < value <= -1e-4 for value in floats)
