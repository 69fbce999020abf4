"""One Parquet file as an `OpenedFile`: batches of row groups, turned into rows.

pyarrow raises `OSError` for damaged data as well as for a failing disk: the handle keeps the errors of the
disk apart, so that they come out as they are.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import attrs
import pyarrow as pa
import pyarrow.parquet as pq

from agora.columns import Columns, rows_of
from agora.errors import AgoraError
from agora.records import Malformed, Record
from agora.seam import Files
from agora.sources.convert import Conversion, converted
from agora.sources.filerun import OpenedFile, Piece
from agora.sources.parquetcolumns import as_columns
from agora.sources.paths import InputFile
from agora.sources.reader import HEAD, TAIL, open_file, size_of
from agora.sources.resume import FilePosition, Fingerprint, check_head, check_size, check_tail

__all__ = ["open_parquet"]

T = TypeVar("T")
_ROWS = 4_096
_COLUMNS_ROWS = 65_536


class _Handle(io.RawIOBase):
    """A file for pyarrow that remembers what the disk failed with."""

    def __init__(self, handle: IO[bytes]) -> None:
        super().__init__()
        self._inner = handle
        self.error: OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """All of the bytes asked for: a raw handle may give fewer."""
        pieces = []
        while size and (piece := self._call(self._inner.read, size)):
            pieces.append(piece)
            size -= len(piece) if size > 0 else 0
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._call(self._inner.seek, offset, whence)

    def tell(self) -> int:
        return self._call(self._inner.tell)

    def close(self) -> None:
        self._inner.close()
        super().close()

    def _call(self, fn: Callable[..., T], *args: int) -> T:
        try:
            return fn(*args)
        except OSError as error:
            self.error = error
            raise


@attrs.define
class _ParquetFile:
    file: InputFile
    size: int
    head: Fingerprint
    tail: Fingerprint
    _handle: _Handle
    _schema: Conversion | None
    _columns: Sequence[str] | None
    done: bool = False
    failure: AgoraError | None = None
    batch: int = attrs.field(default=512, init=False)
    columns: bool = attrs.field(default=False, init=False)
    group: int = 0
    row: int = 0
    """Rows of the group that are behind."""
    _reader: Any = None
    _batches: Iterator[Any] | None = None
    _batch: Any = None
    _cast: Any = None

    def open(self) -> None:
        """Read the footer; `AgoraError` where it, or what it says, can't be read."""
        with self._reading():
            self._reader = pq.ParquetFile(self._handle, page_checksum_verification=True)
            schema = self._reader.schema_arrow
        self._check_names(schema)
        if self._columns is not None:
            missing = [name for name in self._columns if name not in schema.names]
            if missing:
                raise AgoraError(f"{self.file.name} has no column {', '.join(map(repr, missing))}")
            schema = pa.schema([schema.field(name) for name in self._columns])
        self._cast = _without_nanoseconds(schema)
        self._next_group()

    @property
    def ready(self) -> bool:
        return False

    def read(self) -> None:
        with self._reading():
            if self._batches is None:
                self._batches = self._rows_of_group()
            self._batch = next(self._batches, None)

    def take(self) -> Piece:
        batch = self._batch
        if batch is None:
            rows = self._reader.metadata.row_group(self.group).num_rows
            if self.row != rows:
                self.done = True
                self.failure = AgoraError(
                    f"{self.file.name} can't be read: row group {self.group} has {self.row} "
                    f"of its {rows} rows"
                )
            else:
                self.group, self.row, self._batches = self.group + 1, 0, None
                self._next_group()
            return Piece([], (), lambda n: self._position(0, 0, last=False), lambda index: None)
        group, row = self.group, self.row
        self.row += batch.num_rows
        metadata = self._reader.metadata
        whole = self.row == metadata.row_group(group).num_rows
        last = whole and not any(
            metadata.row_group(after).num_rows for after in range(group + 1, metadata.num_row_groups)
        )
        place = f"{self.file.name}, row group {group}"
        wanted = as_columns(batch, self._cast) if self.columns and self._schema is None else None
        rows = self._records(batch, place, row) if wanted is None else Columns(wanted)

        def position(n: int) -> FilePosition:
            return self._position(group, row + n, last=last and n == batch.num_rows)

        def original(index: int) -> Record:
            return self._record(batch, index, place, row)

        if isinstance(rows, Columns):
            return Piece(rows, (), position, original)
        malformed = [index for index, record in enumerate(rows) if isinstance(record, Malformed)]
        return Piece(rows, malformed, position, original)

    def close(self) -> None:
        self._handle.close()

    @property
    def groups(self) -> int:
        return int(self._reader.metadata.num_row_groups)

    def _next_group(self) -> None:
        self.done = self.group >= self.groups

    def _rows_of_group(self) -> Iterator[Any]:
        left = self.row
        most = _COLUMNS_ROWS if self.columns else _ROWS
        size = most // self.batch * self.batch or most
        for batch in self._reader.iter_batches(size, row_groups=[self.group], columns=self._columns):
            if left >= batch.num_rows:
                left -= batch.num_rows
                continue
            ordered = batch if self._columns is None else batch.select(self._columns)
            yield ordered.slice(left)
            left = 0

    def _position(self, group: int, row: int, *, last: bool) -> FilePosition:
        return FilePosition(
            item=self.file.item,
            name=self.file.name,
            offset=row,
            line=group,
            size=self.size,
            head=self.head,
            tail=self.tail,
            end=last,
            rows=True,
        )

    def _records(self, batch: Any, where: str, row: int) -> list[Record]:
        try:
            rows = _rows(batch, self._cast)
            return rows if self._schema is None else [self._schema(record) for record in rows]
        except Exception:  # noqa: BLE001 - pyarrow and conversions raise all kinds; the culprits are found one by one
            return [self._record(batch, index, where, row) for index in range(batch.num_rows)]

    def _record(self, batch: Any, index: int, where: str, row: int) -> Record:
        place = f"{where}, row {row + index}"
        one = batch.slice(index, 1)
        try:
            (record,) = _rows(one, self._cast)
        except Exception as error:  # noqa: BLE001 - as above
            failure = AgoraError(f"{place}: a value that Python has no type for: {error}")
            failure.__cause__ = error
            return Malformed(_as_text(one, self._cast), failure)
        return converted(record, {}, self._schema, place)

    def _check_names(self, schema: Any) -> None:
        twice = _twice(schema)
        if twice:
            raise AgoraError(
                f"{self.file.name} has columns of one name: {', '.join(map(repr, sorted(twice)))}"
            )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self._handle.error is not None:
                raise self._handle.error from None
            raise AgoraError(f"{self.file.name} can't be read as Parquet: {error}") from error


def open_parquet(
    files: Files,
    file: InputFile,
    start: FilePosition | None,
    *,
    allow_change: bool,
    columns: Sequence[str] | None,
    schema: Conversion | None,
) -> OpenedFile:
    """Open at the first row, or where `start` says; blocks. Raises as `OpenFile` does."""
    raw = open_file(files, file.path)
    handle = _Handle(raw)
    try:
        size = size_of(raw)
        head = handle.read(HEAD)
        handle.seek(max(0, size - TAIL))
        tail = handle.read(TAIL)
        handle.seek(0)
        if start is not None and not allow_change:
            check_head(start, size=size, head=head)
            check_size(start, size, wrong=size != start.size)
            check_tail(start, reached=start.offset, tail=tail, size=size)
        opened = _ParquetFile(file, size, Fingerprint.of(head), Fingerprint.of(tail), handle, schema, columns)
        opened.open()
        if start is not None:
            opened.group, opened.row = start.line, start.offset
            opened.done = start.end or start.line >= opened.groups
    except BaseException:
        handle.close()
        raise
    return opened


def _rows(batch: Any, cast: Any) -> list[dict[str, Any]]:
    """What `to_pylist()` gives, in a third of its time; timestamps without pandas, whether it is installed
    or not."""
    if cast is not None:
        batch = batch.cast(cast, safe=True)
    return rows_of(batch)


def _as_text(row: Any, cast: Any) -> dict[str, Any]:
    """What can be kept of a row that can't be a record: values, text or bytes."""
    kept: dict[str, Any] = {}
    for index, name in enumerate(row.schema.names):
        try:
            kept.update(
                _rows(row.select([index]), None if cast is None else pa.schema([cast.field(index)]))[0]
            )
        except Exception:  # noqa: BLE001 - as above
            kept[name] = _text(row.column(index))
    return kept


def _text(column: Any) -> Any:
    for kind in (pa.string(), pa.binary()):
        try:
            return column.cast(kind).to_pylist()[0]
        except Exception:  # noqa: BLE001, S112 - the next form is tried; str() always works
            continue
    return str(column)


def _twice(fields: Any) -> set[str]:
    names = [field.name for field in fields]
    found = {name for name in names if names.count(name) > 1}
    for field in fields:
        if pa.types.is_struct(field.type):
            found |= _twice(field.type)
    return found


def _without_nanoseconds(schema: Any) -> Any:
    """The schema to cast to before values are made, `None` where there is nothing to cast."""
    cast = pa.schema([field.with_type(_microseconds(field.type)) for field in schema])
    return None if cast.equals(schema) else cast


def _microseconds(kind: Any) -> Any:
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return pa.time64("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_microseconds(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_microseconds(kind.value_type)))
    return kind
