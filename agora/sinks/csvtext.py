"""Records to CSV text: `csv.writer` over whole batches where that is exact, record by record where it may not
be.

A value has the text that it has in JSON lines (dates, Decimal, booleans, nested values), text stands as it
is, and `None` is empty. The fast path is taken only for values that Python's own `csv` writes in just that
way.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import attrs
import msgspec

from agora.records import Record, fields_of
from agora.sinks.encode import NanPolicy, Rejections, refuse_non_finite
from agora.sinks.letters import is_letter, letter_row

__all__ = ["CsvEncoder", "row_fields"]

_PLAIN = {str, int, float, type(None)}
_encoder = msgspec.json.Encoder()


def row_fields(record: Record) -> Mapping[str, Any]:
    """A record's fields by name: a mapping, an attrs instance, a dead letter. `TypeError` for anything
    else."""
    return letter_row(record) if is_letter(record) else fields_of(record, "a row")


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
        fields = row_fields(record)
        unknown = [key for key in fields if key not in self.columns]
        if unknown:
            raise LookupError(f"no column for {unknown!r}: the columns are {list(self.columns)}")
        return self._row_text([self._text(fields.get(name), name) for name in self.columns]).encode()

    def _whole_batch(self, records: Sequence[Record]) -> bytes | None:
        """`None` where each record has to be looked at alone."""
        width = len(self.columns)
        if set(map(type, records)) != {dict} or set(map(len, records)) != {width}:
            return None
        try:
            values = tuple(chain.from_iterable(map(_fields_getter(self.columns), records)))
        except KeyError:
            return None
        kinds = [set(map(type, values[index::width])) for index in range(width)]
        if not all(
            kind <= _PLAIN and (float not in kind or _are_plain_floats(values[index::width]))
            for index, kind in enumerate(kinds)
        ):
            return None
        if any(type(None) in kind for kind in kinds):
            values = tuple("" if value is None else value for value in values)
        text = self._joined(values, len(records)) or self._quoted(values)
        try:
            return None if text is None else text.encode()
        except UnicodeEncodeError:
            return None

    def _joined(self, values: tuple[Any, ...], count: int) -> str | None:
        """Rows without a quote in one formatting; `None` where a field needs one."""
        width = len(self.columns)
        row = self.delimiter.replace("%", "%%").join(["%s"] * width) + "\n"
        text = (row * count) % values
        delimiters = count * (width - 1)
        if (
            text.count("\n") != count
            or text.count(self.delimiter) != delimiters
            or '"' in text
            or "\r" in text
        ):
            return None
        return None if width == 1 and "" in values else text

    def _quoted(self, values: tuple[Any, ...]) -> str | None:
        width = len(self.columns)
        rows = [values[start : start + width] for start in range(0, len(values), width)]
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self.delimiter, lineterminator="\n").writerows(rows)
        written = text.getvalue()
        return None if "\r" in written else written  # which not every version of csv quotes

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


def _fields_getter(columns: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(columns) == 1:
        (name,) = columns
        return lambda record: (record[name],)
    return itemgetter(*columns)


def _are_plain_floats(values: tuple[Any, ...]) -> bool:
    """Whether all floats among them are finite and of a size that Python writes as JSON does (`1e+16` it
    doesn't)."""
    floats = [value for value in values if type(value) is float]
    return all(1e-4 <= value < 1e16 or not value or -1e16 < value <= -1e-4 for value in floats)
