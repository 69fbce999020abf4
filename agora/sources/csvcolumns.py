"""A block of CSV as a `RecordBatch`, equal row by row to what `CsvParser` makes of it, or nothing.

Nothing is decided here that the plain path decides: a block that holds a bad row, or only might, is its.
"""

from collections.abc import Callable, Mapping, Sequence

import attrs
import pyarrow as pa

from agora.sources.casts import Cast
from agora.sources.fieldcolumns import cut

__all__ = ["ParsedColumns", "columns_of"]


@attrs.frozen
class ParsedColumns:
    """Records, and where each ends."""

    batch: pa.RecordBatch
    place: Callable[[int], tuple[int, int]]
    """(bytes, line ends) up to the end of the first `n` records."""


def columns_of(
    data: bytes, names: Sequence[str], delimiter: str, casts: Mapping[str, Cast]
) -> ParsedColumns | None:
    """The records of whole lines of UTF-8; the last line may lack its end. `None`: the plain path must read it.

    Columns without a cast are text. No state, no trio: for any thread.
    """
    fields = cut(data, delimiter, len(names), quoting=True)
    if fields is None:
        return None
    columns: list[pa.Array] = []
    for name, column in zip(names, fields.columns, strict=True):
        values = casts[name](column) if name in casts else column
        if values is None:
            return None
        columns.append(values)
    return ParsedColumns(pa.RecordBatch.from_arrays(columns, names=list(names)), fields.place)
