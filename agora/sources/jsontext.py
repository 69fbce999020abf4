"""JSON lines into records: one document a line, an object each.

msgspec's `decode_lines` is the quick way, but it reads a document across lines and several on one. So a
block is given to it only if every line begins with `{` and ends with `}` (then no document can cross a line
end, for `}` and `{` never meet within one), and believed only if it finds as many documents as lines; any
other block is decoded line by line.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from agora.errors import AgoraError
from agora.records import Malformed, Record
from agora.sources.convert import Conversion, convert, converted
from agora.sources.reader import ByteReader
from agora.sources.textfile import Parsed, in_columns

if TYPE_CHECKING:
    from agora.sources.csvcolumns import ParsedColumns

__all__ = ["JsonLinesParser"]

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


@attrs.define
class _Lines:
    """Which lines of a piece have a document, and where they are."""

    data: bytes
    with_document: Sequence[int]
    whole: bool
    """Every document is an object."""
    _ends: list[int] | None = None

    @property
    def ends(self) -> list[int]:
        """Bytes up to the end of each line."""
        if self._ends is None:
            self._ends = list(accumulate(len(line) + 1 for line in self.data.split(b"\n")))
            self._ends[-1] = len(self.data)
        return self._ends

    def span(self, index: int) -> tuple[int, int]:
        """First byte of the line of the document, and where it ends."""
        line = self.with_document[index]
        return (self.ends[line - 1] if line else 0), self.ends[line]

    def document(self, index: int) -> bytes:
        start, stop = self.span(index)
        return self.data[start:stop].removesuffix(b"\n").removesuffix(b"\r")


@attrs.define
class JsonLinesParser:
    """Parses the pieces of one file."""

    where: str
    types: Mapping[str, Conversion]
    schema: Conversion | None
    kinds: Mapping[str, Any] = attrs.field(factory=dict)
    """The types as they were given."""
    head: bytes = b""
    """What the file begins with: it says what columns there are, wherever a run goes on."""
    start: tuple[int, int] = (0, 0)
    _cut: "Callable[[bytes], ParsedColumns | None] | None" = None

    @classmethod
    def of_file(
        cls,
        reader: ByteReader,
        types: Mapping[str, Conversion],
        schema: Conversion | None,
        kinds: Mapping[str, Any],
    ) -> "JsonLinesParser":
        """A byte-order mark is skipped at the start of a file, and only there."""
        start = len(_BOM) if reader.head.startswith(_BOM) else 0
        return cls(str(reader.path), types, schema, kinds, reader.head[start:], (start, 0))

    def growth(self, before: bytes, data: bytes, *, unended: bool) -> tuple[int, int] | None:
        """(bytes, line ends) of the line end that a record without one needs first; `None` where it isn't
        there."""
        if not unended:
            return 0, 0
        blanks = len(data) - len(data.lstrip(_BLANK))
        if blanks == len(data):
            return blanks, 0
        return (blanks + 1, 1) if data[blanks : blanks + 1] == b"\n" else None

    def parse(self, data: bytes, offset: int, line: int, *, final: bool) -> Parsed:
        """The records of the whole lines of `data`, which begins at byte `offset`, behind `line` line
        ends."""
        data = data if final else data[: data.rfind(b"\n") + 1]
        found = _at_once(data)
        if found is None:
            found = _one_by_one(data)
        rows, lines = found
        malformed = self._finish(rows, lines, offset, line)
        ends = data.count(b"\n")
        unended = bool(rows) and lines.with_document[-1] == ends

        def place(n: int) -> tuple[int, int]:
            if n == len(rows):
                return len(data), ends
            return (lines.ends[lines.with_document[n - 1]], lines.with_document[n - 1] + 1) if n else (0, 0)

        def original(index: int) -> Record:
            return self._record(_document(lines.document(index)), lines, index, offset, line)

        return Parsed(rows, malformed, len(data), ends, unended, place, original)

    def columns(self, data: bytes, *, final: bool) -> Parsed | None:
        """The same in columns, where the whole lines of `data` are sure to be the same."""
        if self._cut is None:
            self._cut = self._new_cut()
        return in_columns(self._cut, data, final=final)

    def _new_cut(self) -> "Callable[[bytes], ParsedColumns | None]":
        from agora.sources.casts import casts_of  # noqa: PLC0415 - for who wants columns, and has pyarrow loaded
        from agora.sources.jsoncolumns import columns_of_json, layout_of  # noqa: PLC0415 - as above

        casts = casts_of(self.kinds)
        layout = layout_of(self.head)
        if casts is None or layout is None or self.schema is not None:
            return lambda _: None
        return lambda data: columns_of_json(data, layout, casts)

    def _finish(self, rows: list[Any], lines: _Lines, offset: int, line: int) -> list[int]:
        """Convert in place, give faults their places; the indexes of what isn't a record."""
        malformed: list[int] = []
        if lines.whole and not self.types and self.schema is None:
            return malformed
        for index, row in enumerate(rows):
            try:
                if type(row) is dict:
                    rows[index] = convert(row, self.types, self.schema)
                    continue
            except Exception:  # noqa: BLE001, S110 - a conversion may raise anything; told below, with the place
                pass
            rows[index] = self._record(row, lines, index, offset, line)
            malformed.append(index)
        return malformed

    def _record(self, row: Any, lines: _Lines, index: int, offset: int, line: int) -> Record:
        start, _ = lines.span(index)
        place = f"{self.where}, line {line + lines.with_document[index] + 1}, byte {offset + start}"
        if type(row) is dict:
            return converted(row, self.types, self.schema, place)
        reason = row.reason if isinstance(row, _Fault) else f"not an object but {_kind(row)}"
        return Malformed(_text(lines.document(index)), AgoraError(f"{place}: {reason}"))


@attrs.frozen
class _Fault:
    reason: str


def _at_once(data: bytes) -> tuple[list[Any], _Lines] | None:
    ended = data.endswith(b"\n")
    count = data.count(b"\n") + (not ended)
    if not data.startswith(b"{") or not data.rstrip(b"\r\n").endswith(b"}"):
        return None
    if data.count(b"}\n{") != count - 1 and data.count(b"}\r\n{") != count - 1:
        return None
    try:
        rows = _decoder.decode_lines(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return (rows, _Lines(data, range(count), whole=True)) if len(rows) == count else None


def _one_by_one(data: bytes) -> tuple[list[Any], _Lines]:
    rows: list[Any] = []
    with_document: list[int] = []
    for number, line in enumerate(data.split(b"\n")):
        if line.strip(_BLANK):
            rows.append(_document(line))
            with_document.append(number)
    return rows, _Lines(data, with_document, whole=all(type(row) is dict for row in rows))


def _document(line: bytes) -> Any:
    try:
        return _decoder.decode(line)
    except RecursionError:
        return _Fault("nested too deeply")
    except (msgspec.MsgspecError, ValueError) as error:
        return _Fault(str(error))


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _text(line: bytes) -> str | bytes:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line
