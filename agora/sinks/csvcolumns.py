"""A `RecordBatch` as rows of CSV: byte for byte what `CsvEncoder` writes for its rows, without making them.

pyarrow writes the columns' texts where none needs a quote, which it checks; it would quote texts that don't
need it, so where some do they are quoted here.
"""

import re

import attrs
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from agora.sinks.columnlines import Text, joined, lines_of, refusals
from agora.sinks.columntexts import texts_of
from agora.sinks.csvtext import CsvEncoder
from agora.sinks.encode import Rejections

__all__ = ["CsvColumns"]

_ROWS = 16 * 1024  # that pyarrow writes at a time


@attrs.frozen
class CsvColumns:
    """For batches what `CsvEncoder` is for records."""

    plain: CsvEncoder

    def lines(self, batch: pa.RecordBatch) -> tuple[Text, Rejections]:
        """The text of all rows that can be written, and the others' errors by their index.

        No state, no trio: for any thread.
        """
        names = batch.schema.names
        if len(set(names)) < len(names) or not set(names) <= set(self.plain.columns):
            return self.plain.lines(batch.to_pylist())
        return lines_of(batch, self._write, self.plain)

    def _write(self, batch: pa.RecordBatch) -> tuple[Text, pa.Array | None]:
        texts = {
            name: texts_of(column, self.plain.nan, escaped=False)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        refused = refusals([column.refused for column in texts.values()])
        if refused is not None:
            return b"", refused
        nothing = pa.nulls(batch.num_rows, pa.string())
        fields = [texts[name].array if name in texts else nothing for name in self.plain.columns]
        if (text := self._without_quotes(fields)) is not None:
            return text, None
        fields = list(map(self._quoted, fields))
        if len(fields) == 1:
            fields = [pc.if_else(pc.equal(fields[0], ""), '""', fields[0])]  # an empty line would be no row
        between = [self.plain.delimiter] * (len(fields) - 1) + ["\n"]
        parts = zip(fields, between, strict=True)
        return joined([part for pair in parts for part in pair], batch.num_rows), None

    def _without_quotes(self, fields: list[pa.Array]) -> Text | None:
        """`None` where a field needs them."""
        if len(fields) == 1 or not self.plain.delimiter.isascii():
            return None
        options = pyarrow.csv.WriteOptions(
            include_header=False, delimiter=self.plain.delimiter, quoting_style="none", batch_size=_ROWS
        )
        text = pa.BufferOutputStream()
        try:
            pyarrow.csv.write_csv(pa.RecordBatch.from_arrays(fields, self.plain.columns), text, options)
        except pa.ArrowInvalid:
            return None
        return memoryview(text.getvalue())

    def _quoted(self, texts: pa.Array) -> pa.Array:
        """Those that must be. Null is empty."""
        texts = pc.fill_null(texts, "")
        must = pc.match_substring_regex(texts, f'[{re.escape(self.plain.delimiter)}"\n\r]')
        doubled = pc.replace_substring(texts, '"', '""')
        return pc.if_else(must, pc.binary_join_element_wise('"', doubled, '"', ""), texts)
