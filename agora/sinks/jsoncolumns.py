"""A `RecordBatch` as JSON lines: byte for byte what `JsonEncoder` writes for its rows, without making them."""

import attrs
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from agora.sinks.columnlines import Text, joined, lines_of, refusals
from agora.sinks.columntexts import texts_of
from agora.sinks.encode import JsonEncoder, NanPolicy, Rejections

__all__ = ["JsonColumns"]


@attrs.frozen
class JsonColumns:
    """For batches what `JsonEncoder` is for records."""

    nan: NanPolicy = "reject"

    def lines(self, batch: pa.RecordBatch) -> tuple[Text, Rejections]:
        """The text of all rows that can be written, each line with its LF, and the others' errors by their
        index.

        No state, no trio: for any thread.
        """
        plain = JsonEncoder(self.nan)
        names = batch.schema.names
        if not names or len(set(names)) < len(names):
            return plain.lines(batch.to_pylist())
        return lines_of(batch, self._write, plain)

    def _write(self, batch: pa.RecordBatch) -> tuple[Text, pa.Array | None]:
        texts = [texts_of(column, self.nan, escaped=True) for column in batch.columns]
        refused = refusals([column.refused for column in texts])
        if refused is not None:
            return b"", refused
        parts: list[pa.Array | str] = []
        between = "{"
        for name, column in zip(batch.schema.names, texts, strict=True):
            between += msgspec.json.encode(name).decode() + ":"
            if not column.quoted:
                parts += [between, column.array]
                between = ","
            elif column.array.null_count:
                parts += [between, pc.binary_join_element_wise('"', column.array, '"', "")]
                between = ","
            else:
                parts += [between + '"', column.array]
                between = '",'
        return joined([*parts, between.rstrip(",") + "}\n"], batch.num_rows), None
