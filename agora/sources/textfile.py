"""A file of text records: bytes in blocks, cut into records by a parser, with a place after each.

The parser is a pure function of the bytes from the end of the last whole record on; so no state but an
offset is carried from block to block, and a resumed run can't differ from one that wasn't interrupted.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import attrs

from agora.columns import Columns
from agora.errors import AgoraError
from agora.records import Record
from agora.seam import Files
from agora.sources.filerun import OpenedFile, Piece
from agora.sources.paths import InputFile
from agora.sources.reader import TAIL, ByteReader
from agora.sources.resume import FilePosition, Fingerprint, changed, check_head, check_tail

if TYPE_CHECKING:
    from agora.sources.csvcolumns import ParsedColumns

__all__ = ["Parsed", "TextParser", "in_columns", "open_text"]

_BLOCK = 64 * 1024  # the rows of a larger one don't stay in the processor's cache: 1.5 times the time
_COLUMNS_BLOCK = 2 * 1024 * 1024  # large enough for a thread, and for what Arrow does once a batch
_TRIES = 4  # blocks that couldn't be columns, one after the other, until no further one is tried
_LONGEST = 64 * 1024 * 1024  # bytes of one record, so that memory stays bounded whatever the file is


@attrs.frozen
class Parsed:
    """The records of some bytes, and their places."""

    rows: Sequence[Record]
    malformed: list[int]
    consumed: int
    """Bytes that are done; the rest belongs to a record that isn't whole yet."""
    lines: int
    """Line ends in them."""
    unended: bool
    """The last record ended with the file, not with its line."""
    place: Callable[[int], tuple[int, int]]
    """(bytes, line ends) up to the end of the first `n` records."""
    original: Callable[[int], Record]


class TextParser(Protocol):
    """Knows the format of one file."""

    start: tuple[int, int]
    """(bytes, line ends) before the first record."""

    def parse(self, data: bytes, offset: int, line: int, *, final: bool) -> Parsed:
        """`final`: the file ends with `data`."""
        ...

    def columns(self, data: bytes, *, final: bool) -> Parsed | None:
        """The same with `Columns` for rows; `None` where it isn't sure to be the same."""
        ...

    def growth(self, before: bytes, data: bytes, *, unended: bool) -> tuple[int, int] | None:
        """(bytes, line ends) at the start of `data` that belong to the record `before`; `None` where that
        record was `unended` and `data` doesn't end it."""
        ...


def in_columns(cut: "Callable[[bytes], ParsedColumns | None]", data: bytes, *, final: bool) -> Parsed | None:
    """The records of the whole lines of `data` by way of `cut`; `None` where it gives none."""
    end = len(data) if final else data.rfind(b"\n") + 1
    found = cut(data[:end]) if end else None
    if found is None:
        return None
    rows = Columns(found.batch)
    consumed, lines = found.place(len(rows))
    unended = not data.endswith(b"\n", 0, end)
    return Parsed(rows, [], consumed, lines, unended, found.place, rows.__getitem__)


@attrs.define
class _TextFile:
    """An `OpenedFile` of text."""

    file: InputFile
    reader: ByteReader
    parser: TextParser | None
    offset: int = 0
    line: int = 0
    tail: bytes = b""
    done: bool = False
    failure: AgoraError | None = None
    batch: int = attrs.field(default=512, init=False)
    columns: bool = attrs.field(default=False, init=False)
    _block: int = _BLOCK
    """Bytes of whole batches, as far as the rows before can tell."""
    _data: bytes = b""
    _doublings: int = 0
    _whole_head: Fingerprint | None = None
    _misses: int = 0
    _later: bytes = b""
    """What was read of the line behind `_data`."""

    @property
    def size(self) -> int:
        return self.reader.size

    @property
    def ready(self) -> bool:
        return self.reader.has(self._step)

    @property
    def _step(self) -> int:
        """Bytes to read. Doubled for a record that is longer: that keeps the whole work linear."""
        return (_COLUMNS_BLOCK if self._in_columns else self._block) << self._doublings

    @property
    def _in_columns(self) -> bool:
        return self.columns and self._misses < _TRIES

    def read(self) -> None:
        if not self._in_columns:
            self._data += self.reader.read(self._step)
            return
        # Whole lines, so that they are copied once on their way to the parser.
        block = self.reader.block(self._step)
        border = len(block) if self.reader.at_end else block.rfind(b"\n") + 1 or len(block)
        self._data = b"".join((self._data, memoryview(block)[:border]))
        self._later = block[border:]

    def take(self) -> Piece:
        reader, data, tail, offset, line = self.reader, self._data, self.tail, self.offset, self.line
        final = reader.at_end and reader.damage is None
        parsed = self._parsed(data, offset, line, final=final)
        last = len(parsed.rows) if final else None
        size = reader.size

        def position(n: int) -> FilePosition:
            passed, lines = parsed.place(n)
            before = data[max(0, passed - TAIL) : passed]
            if passed < TAIL:
                before = (tail + before)[-TAIL:]
            return FilePosition(
                item=self.file.item,
                name=self.file.name,
                offset=offset + passed,
                line=line + lines,
                size=size,
                head=self._head_up_to(offset + passed),
                tail=Fingerprint.of(before),
                end=n == last,
                unended=n == last and parsed.unended,
            )

        self.tail = (tail + data[: parsed.consumed])[-TAIL:]
        self._data, self._later = data[parsed.consumed :] + self._later, b""
        if parsed.rows:
            self._block = _whole_batches(parsed.consumed / len(parsed.rows) * self.batch)
        self.offset += parsed.consumed
        self.line += parsed.lines
        self._doublings = 0 if parsed.consumed else self._doublings + 1
        self.done = reader.at_end
        self.failure = reader.damage if reader.at_end else None
        if not self.done and len(self._data) > _LONGEST:
            self.done = True
            self.failure = AgoraError(
                f"{self.file.name}, line {self.line + 1} (byte {self.offset}): no end of the record within "
                f"{_LONGEST >> 20} MiB; is this a text file of records?"
            )
        return Piece(parsed.rows, parsed.malformed, position, parsed.original)

    def _head_up_to(self, offset: int) -> Fingerprint:
        """Of all of it once for the whole file: that is what most positions ask for."""
        head = self.reader.head
        if offset < len(head):
            return Fingerprint.of(head[:offset])
        if self._whole_head is None:
            self._whole_head = Fingerprint.of(head)
        return self._whole_head

    def _parsed(self, data: bytes, offset: int, line: int, *, final: bool) -> Parsed:
        assert self.parser is not None
        if self._in_columns:
            parsed = self.parser.columns(data, final=final)
            if parsed is not None:
                self._misses = 0
                return parsed
            self._misses += 1
        return self.parser.parse(data, offset, line, final=final)

    def close(self) -> None:
        self.reader.close()


def _whole_batches(size: float) -> int:
    """Bytes of as many batches of `size` bytes as make a block, less a little: a remainder would be a batch, too."""
    return int(_BLOCK // size * size * 0.99) or _BLOCK


def open_text(
    parser_of: Callable[[ByteReader], TextParser | None],
    files: Files,
    file: InputFile,
    start: FilePosition | None,
    *,
    allow_change: bool,
) -> OpenedFile:
    """Open at the first record, or where `start` says; blocks. Raises as `OpenFile` does."""
    reader = ByteReader.open(files, file.path)
    try:
        if start is not None and not allow_change:
            check_head(start, size=reader.size, head=reader.head)
        text = _TextFile(file, reader, parser_of(reader))
        if text.parser is None:
            text.done = True
        elif start is None:
            text.offset, text.line = text.parser.start
            _, text.tail = reader.skip_to(text.offset)
        else:
            _go_to(text, text.parser, start, allow_change=allow_change)
    except BaseException:
        reader.close()
        raise
    return text


def _go_to(text: _TextFile, parser: TextParser, start: FilePosition, *, allow_change: bool) -> None:
    reader = text.reader
    text.offset, text.tail = reader.skip_to(start.offset)
    text.line = start.line
    if not allow_change:
        check_tail(start, reached=text.offset, tail=text.tail, size=reader.size)
    following = reader.peek(TAIL)[:TAIL]
    if not following:
        return
    growth = parser.growth(text.tail, following, unended=start.unended)
    if growth is None:
        if allow_change:
            return
        changed(
            f"{start.name} ended at byte {start.offset} with a record that had no line end; "
            f"now {following[:20]!r} follows it, so that record was not whole"
        )
    length, lines = growth
    text.tail = (text.tail + reader.read(length))[-TAIL:]
    text.offset += length
    text.line += lines
