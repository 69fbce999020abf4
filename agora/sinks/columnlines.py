"""Lines of text of a `RecordBatch`: what every text format needs around making them.

Rows that have no text are rejected with the plain encoder's own error, and what doesn't fit Arrow's 2 GiB is
cut in halves.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from agora.records import Record
from agora.sinks.columntexts import text_of
from agora.sinks.encode import Rejections

__all__ = ["PlainEncoder", "Text", "joined", "lines_of", "refusals"]

Text: TypeAlias = bytes | memoryview

Write: TypeAlias = Callable[[pa.RecordBatch], tuple[Text, pa.Array | None]]

_NULL = "null"
_MOST = 2**31 - 1  # bytes in one array of text


class PlainEncoder(Protocol):
    """The definition: records to lines."""

    def lines(self, records: Sequence[Record]) -> tuple[bytes, Rejections]: ...

    def line(self, record: Record) -> bytes: ...


def refusals(masks: Sequence[pa.Array | None]) -> pa.Array | None:
    """Where any of them is true; `None` for nowhere."""
    given = [mask for mask in masks if mask is not None]
    return reduce(pc.or_, given) if given else None


def lines_of(
    batch: pa.RecordBatch,
    write: Write,
    plain: PlainEncoder,
) -> tuple[Text, Rejections]:
    """The text of all rows that can be written, and the others' errors by their index.

    `write` makes the text of a batch of at least one row, or says where a row can't be written; it raises
    `pa.ArrowException` for a batch that is too large.
    """
    if not batch.num_rows:
        return b"", {}
    try:
        text, refused = write(batch)
        if refused is None:
            return text, {}
        rest = batch.filter(pc.invert(refused))
    except pa.ArrowException:
        return _in_halves(batch, write, plain)
    text, _ = lines_of(rest, write, plain)
    return text, {index: _error(batch, index, plain) for index in pc.indices_nonzero(refused).to_pylist()}


def joined(parts: Sequence[pa.Array | str], rows: int) -> memoryview:
    """Lines of these parts: a text a row, or one that is the same in all rows."""
    size = sum(rows * len(part.encode()) if isinstance(part, str) else len(text_of(part)) for part in parts)
    if size + rows * len(parts) * len(_NULL) > _MOST:
        raise pa.ArrowCapacityError(f"{size} bytes of text")
    return text_of(pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement=_NULL))


def _in_halves(batch: pa.RecordBatch, write: Write, plain: PlainEncoder) -> tuple[Text, Rejections]:
    middle = batch.num_rows // 2
    if not middle:
        try:
            return plain.lines(batch.to_pylist())
        except Exception as error:  # noqa: BLE001 - a value that Python has no type for
            return b"", {0: error}
    texts: list[Text] = []
    rejected: Rejections = {}
    for start, part in ((0, batch.slice(0, middle)), (middle, batch.slice(middle))):
        text, errors = lines_of(part, write, plain)
        texts.append(text)
        rejected |= {start + index: error for index, error in errors.items()}
    return b"".join(texts), rejected


def _error(batch: pa.RecordBatch, index: int, plain: PlainEncoder) -> Exception:
    try:
        plain.line(batch.slice(index, 1).to_pylist()[0])
    except Exception as error:  # noqa: BLE001 - it concerns this record, whatever it is
        return error
    raise AssertionError(f"row {index} has a text, but its columns have none")
