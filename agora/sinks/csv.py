"""CSV: the format that spreadsheets and every other tool read.

Columns are settled once, never by batch: given, or read from the file that is appended to, or those of the
first record; from then on they are kept in the token, so that a later run can't shift them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from agora import seam
from agora.columns import Columns
from agora.context import RunContext
from agora.errors import ConfigError, RecordsRejected, SinkChanged
from agora.records import Json, Record
from agora.sinks.compress import Compression
from agora.sinks.csvtext import CsvEncoder, row_fields
from agora.sinks.encode import NanPolicy, Rejections
from agora.sinks.existing import first_row
from agora.sinks.options import COMPRESSION, IF_EXISTS, NAN, PATH, PUBLISH
from agora.sinks.target import AppendFile, IfExists, PublishWhen, as_path
from agora.threaded import threaded

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CsvSink"]

_BOM = b"\xef\xbb\xbf"  # readers drop one at the start of a file, so text that begins with it needs another


def _check_columns(_: object, __: object, columns: tuple[str, ...] | None) -> None:
    if columns is not None and (not columns or len(set(columns)) != len(columns)):
        raise ConfigError(f"columns = {list(columns)}: give each column's name once, and at least one")


def _check_delimiter(_: object, __: object, delimiter: str) -> None:
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ConfigError(f"delimiter = {delimiter!r}: one character, neither a quote nor a line end")


def _as_tuple(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if columns is None else tuple(columns)


@attrs.define(eq=False)
class CsvSink:
    """Appends each record as a row: dicts and attrs instances; a missing key is an empty field.

    A record with a key that has no column is rejected, as is one with NaN or text that isn't UTF-8; its
    neighbours are written. Delivery, errors and cancellation are those of `JsonLinesSink`.
    """

    path: Path = attrs.field(converter=as_path, metadata=PATH)
    columns: tuple[str, ...] | None = attrs.field(
        default=None,
        kw_only=True,
        converter=_as_tuple,
        validator=_check_columns,
        metadata={"doc": "The columns, in order. Default: the keys of the first record that is written."},
    )
    header: bool = attrs.field(
        default=True, kw_only=True, metadata={"doc": "Whether the file begins with the columns' names."}
    )
    delimiter: str = attrs.field(
        default=",", kw_only=True, validator=_check_delimiter, metadata={"doc": "Between two fields."}
    )
    if_exists: IfExists | None = attrs.field(default=None, kw_only=True, metadata=IF_EXISTS)
    compression: Compression = attrs.field(default="auto", kw_only=True, metadata=COMPRESSION)
    nan: NanPolicy = attrs.field(default="reject", kw_only=True, metadata=NAN)
    publish_when: PublishWhen = attrs.field(default="end", kw_only=True, alias="publish", metadata=PUBLISH)
    _encoder: CsvEncoder | None = attrs.field(init=False, default=None)
    _file: AppendFile = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._file = AppendFile(self.path, self.if_exists, self.compression, self.live)

    @property
    def target(self) -> str:
        return f"csv:{self.path}"

    @property
    def live(self) -> bool:
        return self.publish_when == "live"

    def explain(self) -> str:
        return self._file.explain()

    def paths(self) -> Sequence[Path]:
        return [self.path]

    async def open(self, context: RunContext) -> None:
        self._encoder = None
        await self._file.open(context)

    async def write(self, records: Sequence[Record]) -> None:
        """`RecordsRejected` for those that have no row, having accepted all others."""
        encoder = await self._settled()
        rejected: Rejections = {}
        if encoder is None:
            encoder, rejected = self._from_first(records)
        if encoder is None:
            await trio.lowlevel.checkpoint()
            raise RecordsRejected(rejected)
        text, refused = encoder.lines(records[len(rejected) :])
        rejected |= {index + len(rejected): error for index, error in refused.items()}
        await self._add(encoder, text, rejected)

    async def write_columns(self, record_batch: "pa.RecordBatch") -> None:
        """The same text as `write` for its rows, without making them, once the columns are settled."""
        from agora.sinks.csvcolumns import CsvColumns  # noqa: PLC0415 - who has columns has loaded pyarrow

        names = tuple(record_batch.schema.names)
        if not names:
            await self.write(Columns(record_batch))
            return
        encoder = await self._settled() or CsvEncoder(names, self.delimiter, self.nan)
        columns = CsvColumns(encoder)

        def lines(batch: "pa.RecordBatch") -> tuple[bytes, Rejections]:
            text, rejected = columns.lines(batch)
            return self._headed(encoder, bytes(text)), rejected

        rejected = await self._file.append_lines(lines, record_batch)
        if len(rejected) < record_batch.num_rows:
            self._encoder = encoder
        if rejected:
            raise RecordsRejected(rejected)

    async def finish(self) -> None:
        await self._write_header()
        self._file.finish()

    @threaded
    def prepare(self) -> Json:
        token = self._file.prepare_here()
        known = self._encoder
        columns: Json = None if known is None else list(known.columns)
        return {**token, "columns": columns, "delimiter": self.delimiter}

    async def commit(self, token: Json) -> None:
        await self._file.commit(token)

    async def recover(self, token: Json) -> None:
        """`SinkChanged` where the file, or `columns`, isn't what the token says."""
        await self._file.recover(token)
        self._recall(token)

    async def restart(self, token: Json) -> None:
        await self._file.restart(token)
        self._encoder = None

    async def publish(self) -> None:
        await self._write_header()
        await self._file.publish()

    async def close(self) -> None:
        await self._file.close()

    async def _add(self, encoder: CsvEncoder, text: bytes, rejected: Rejections) -> None:
        if text:
            await self._file.append(self._headed(encoder, text))
            self._encoder = encoder
        else:
            await trio.lowlevel.checkpoint()
        if rejected:
            raise RecordsRejected(rejected)

    # --- columns ---

    def _recall(self, token: Json) -> None:
        """The columns that the token's run had settled, unless the file is begun anew."""
        self._encoder = None
        if not isinstance(token, dict) or self._file.empty:
            return
        columns, delimiter = token.get("columns"), token.get("delimiter", self.delimiter)
        if delimiter != self.delimiter:
            raise SinkChanged(
                f"{self.path} has fields parted by {delimiter!r}, the sink is to write {self.delimiter!r}: give it the "
                "file's delimiter, or another path"
            )
        if isinstance(columns, list):
            self._encoder = self._with(tuple(map(str, columns)))

    def _with(self, columns: tuple[str, ...]) -> CsvEncoder:
        if self.columns is not None and columns != self.columns:
            raise SinkChanged(
                f"{self.path} has the columns {list(columns)}, the sink is to write {list(self.columns)}: "
                "give it the file's columns, or another path"
            )
        return CsvEncoder(columns, self.delimiter, self.nan)

    async def _settled(self) -> CsvEncoder | None:
        """`None` where only the first record can tell."""
        if self._encoder is not None:
            return self._encoder
        await self._file.begin()
        if self.header and not self._file.empty:
            found = await seam.current().in_thread(first_row, self._file.at, self.delimiter)
            if found:
                self._encoder = self._with(tuple(found))
                return self._encoder
        return None if self.columns is None else self._with(self.columns)

    def _from_first(self, records: Sequence[Record]) -> tuple[CsvEncoder | None, Rejections]:
        """With the columns of the first record that can be written; the errors of those before it."""
        rejected: Rejections = {}
        for index, record in enumerate(records):
            try:
                encoder = CsvEncoder(_names(record), self.delimiter, self.nan)
                encoder.line(record)
                encoder.header()
            except Exception as error:  # noqa: BLE001 - encoding concerns this record, whatever it raises
                rejected[index] = error
            else:
                return encoder, rejected
        return None, rejected

    def _headed(self, encoder: CsvEncoder, text: bytes) -> bytes:
        """With the header and mark that the file needs before it."""
        if not text or not self._file.empty:
            return text
        text = self._header(encoder) + text
        return _BOM + text if text.startswith(_BOM) else text

    def _header(self, encoder: CsvEncoder) -> bytes:
        return encoder.header() if self.header and self._file.empty else b""

    async def _write_header(self) -> None:
        """Of a file that got no record, where its columns are known."""
        encoder = await self._settled()
        if encoder is not None and (header := self._header(encoder)):
            await self._file.append(header)


def _names(record: Record) -> tuple[str, ...]:
    names = tuple(row_fields(record))
    if not names:
        raise ValueError("the first record has no keys, so the columns can't be told from it: give columns=")
    if not all(type(name) is str for name in names):
        raise TypeError(f"the keys {list(names)} can't name columns: not all are text")
    return names
