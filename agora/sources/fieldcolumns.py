"""Whole lines of UTF-8 cut into columns of text by pyarrow, wherever that is proved to be what `csv` reads.

pyarrow joins what `csv` refuses, skips blank lines and drops a byte-order mark; all of it changes how many
bytes the fields have. So the proof is a sum: fields, separators, quotes and line ends are all of the bytes.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

__all__ = ["FIELD_LIMIT", "Fields", "cut", "text_of"]

FIELD_LIMIT = 16 * 1024 * 1024


@attrs.frozen
class Fields:
    """The columns of some lines, each of which is one row, and where each row ends."""

    columns: Sequence[pa.Array]
    """Of type `string`, without nulls."""
    rows: int
    place: Callable[[int], tuple[int, int]]
    """(bytes, line ends) up to the end of the first `n` rows."""


def cut(data: bytes, delimiter: str, width: int, *, quoting: bool) -> Fields | None:
    """The fields of whole lines, `width` a line; the last may lack its end. `None` where it isn't proved.

    `quoting`: whether a quote at the start of a field begins quoted text, as it does in CSV.
    """
    if not data:
        return Fields([pa.array([], pa.string())] * width, 0, lambda _: (0, 0))
    if len(data) > FIELD_LIMIT or not delimiter.isascii():
        return None
    quotes = data.count(b'"') if quoting and b'"' in data else 0
    end = b"\r\n" if b"\r" in data else b"\n"
    columns = _parsed(data, delimiter, width, quoting=quotes > 0)
    if columns is None:
        return None
    rows = len(columns[0])
    ends = rows - (not data.endswith(b"\n"))
    size = sum(map(_size, columns)) + rows * (width - 1) + ends * len(end) + quotes
    if (
        size != len(data)
        or (end == b"\r\n" and not data.count(end) == data.count(b"\r") == ends)
        or (quotes and not _well_quoted(data, delimiter, columns, quotes))
    ):
        return None
    offsets = None if quotes else [memoryview(column.buffers()[1]).cast("i") for column in columns]
    return Fields(columns, rows, _places(data, offsets, rows, ends, width - 1 + len(end)))


def _parsed(data: bytes, delimiter: str, width: int, *, quoting: bool) -> list[pa.Array] | None:
    names = [str(index) for index in range(width)]
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
            pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char='"' if quoting else False),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), check_utf8=not data.isascii()
            ),
        )
    except pa.ArrowInvalid:
        return None
    if any(column.num_chunks != 1 or column.chunk(0).offset for column in table.columns):
        return None
    return [column.chunk(0) for column in table.columns]


def _size(column: pa.Array) -> int:
    """Bytes of its text."""
    return int(memoryview(column.buffers()[1]).cast("i")[len(column)])


def text_of(column: pa.Array) -> bytes:
    """All of it, of a column of strings that is no slice."""
    data = column.buffers()[2]
    return b"" if data is None else bytes(memoryview(data)[: _size(column)])


def _well_quoted(data: bytes, delimiter: str, columns: Sequence[pa.Array], quotes: int) -> bool:
    """Whether each quote opens a field or closes one and nothing follows those that close.

    pyarrow keeps those that do neither in the text. Of the others, each that is followed by a separator
    closes, but for those that open a field that begins with one.
    """
    separator, opening = delimiter.encode(), 0
    for column in columns:
        text = text_of(column)
        if b'"' in text or b"\n" in text or b"\r" in text:
            return False
        if separator in text:
            opening += pc.sum(pc.starts_with(column, delimiter)).as_py()
    followed = sum(data.count(b'"' + follower) for follower in (separator, b"\n", b"\r"))
    return 2 * (followed + data.endswith(b'"') - opening) == quotes


def _places(
    data: bytes, offsets: Sequence[Any] | None, rows: int, ends: int, others: int
) -> Callable[[int], tuple[int, int]]:
    """From the columns' offsets into their text and the `others` bytes of each row; else by looking."""
    lines: list[int] = []

    def place(n: int) -> tuple[int, int]:
        if n == rows:
            return len(data), ends
        if offsets is not None:
            return sum(column[n] for column in offsets) + n * others, n
        if not lines:
            lines.extend(accumulate((len(line) + 1 for line in data.split(b"\n")), initial=0))
        return lines[n], n

    return place
