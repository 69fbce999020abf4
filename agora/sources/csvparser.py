"""Rows of CSV fields into records, letters for those that can't become one."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from agora.errors import AgoraError
from agora.records import Malformed, Record
from agora.sources.convert import Conversion, converted
from agora.sources.csvtext import (
    Entries,
    Fault,
    Text,
    byte_order,
    decode,
    entries_at_once,
    field_limit_lifted,
    rows_at_once,
    rows_one_by_one,
    whole_lines,
)
from agora.sources.reader import ByteReader
from agora.sources.textfile import Parsed, in_columns

if TYPE_CHECKING:
    from agora.sources.csvcolumns import ParsedColumns

__all__ = ["CsvParser", "Dialect"]

_HEADER = 64 * 1024
_BOM = "\ufeff"


@attrs.frozen
class Dialect:
    """What the options of a `CsvSource` say about its text."""

    delimiter: str
    encoding: str
    pad: bool
    columns: Sequence[str] | None
    """Names of a headerless file; `None`: the file has a header."""
    types: Mapping[str, Conversion]
    schema: Conversion | None
    kinds: Mapping[str, Any] = attrs.field(factory=dict)
    """The types as they were given."""


@attrs.frozen
class _Builder:
    """Makes records of rows; any exception where one of them can't be."""

    all: Callable[[Iterable[Any]], list[Record]]
    add: Callable[[Iterator[Any], list[Record]], None]
    """Appends them one by one: those before the culprit are kept, at a twentieth more time."""


def _builder(
    names: Sequence[str], types: Mapping[str, Conversion], schema: Conversion | None = None
) -> _Builder:
    """`[{"id": v0, "amount": c1(v1)} for [v0, v1] in rows]`: written out, half the time of `dict(zip(…))`.

    A row of another length raises `ValueError`.
    """
    scope: dict[str, Any] = {f"c{index}": types[name] for index, name in enumerate(names) if name in types}
    scope["schema"] = schema
    items = (
        f"{name!r}: c{index}(v{index})" if name in types else f"{name!r}: v{index}"
        for index, name in enumerate(names)
    )
    variables = ", ".join(f"v{index}" for index in range(len(names)))
    record = f"{{{', '.join(items)}}}"
    if schema is not None:
        record = f"schema({record})"
    code = f"""
def build_all(rows):
    return [{record} for [{variables}] in rows]

def add(rows, records):
    for [{variables}] in rows:
        records.append({record})
"""
    exec(code, scope)  # noqa: S102 - names get in as literals only, made by repr
    return _Builder(scope["build_all"], scope["add"])


class CsvParser:
    """Parses the pieces of one file, whose names it knows."""

    def __init__(
        self, where: str, dialect: Dialect, encoding: str, names: Sequence[str], start: tuple[int, int]
    ) -> None:
        self.start = start
        self._where = where
        self._dialect = dialect
        self._encoding = encoding
        self._names = names
        self._plain = _builder(names, {}).all
        self._builder = _builder(names, dialect.types, dialect.schema)
        self._at_once = True
        self._sound = True
        self._cut: Callable[[bytes], ParsedColumns | None] | None = None

    @classmethod
    def of_file(cls, reader: ByteReader, dialect: Dialect) -> "CsvParser | None":
        """Read the header; `None` for a file without one, `AgoraError` where it can't be used."""
        where = str(reader.path)
        start = reader.peek(4)
        encoding = byte_order(dialect.encoding, start)
        bom = _BOM.encode(encoding) if encoding.startswith("utf") else b"\0"
        skip = len(bom) if start.startswith(bom) and encoding.startswith("utf") else 0
        if dialect.columns is not None:
            return cls(where, dialect, encoding, dialect.columns, (skip, 0))
        size = _HEADER
        while True:
            data = reader.peek(size)
            ended = len(data) < size
            final = ended and reader.damage is None
            text = Text(decode(data[skip:], encoding, final=final)[0], encoding)
            if not final:
                text.text = text.text[: whole_lines(text.text)]
            with field_limit_lifted():
                entries = rows_one_by_one(text.text, dialect.delimiter, final=final, most=1)
            if entries.rows:
                names = _names(where, text, entries, dialect)
                end = skip + text.offset(text.after_lines(entries.whole))
                return cls(where, dialect, encoding, names, (end, entries.whole))
            if ended:
                if reader.damage is not None:
                    raise reader.damage
                return None
            size = 2 * len(data)

    def growth(self, before: bytes, data: bytes, *, unended: bool) -> tuple[int, int] | None:
        """(bytes, line ends) of the line end that belongs to what was `before`; `None` if it needs one and
        has none."""
        text = decode(data[:8], self._encoding, final=False)[0]
        if not unended:
            split = before.endswith("\r".encode(self._encoding)) and text.startswith("\n")
            return len("\n".encode(self._encoding)) if split else 0, 0
        end = "\r\n" if text.startswith("\r\n") else text[:1] if text[:1] in ("\r", "\n") else ""
        return (len(end.encode(self._encoding)), 1) if end else None

    def parse(self, data: bytes, offset: int, line: int, *, final: bool) -> Parsed:
        """The records of `data`, which begins at byte `offset`, behind `line` line ends."""
        decoded, used = decode(data, self._encoding, final=final)
        text = Text(decoded if final else decoded[: whole_lines(decoded)], self._encoding)
        with field_limit_lifted():
            built = self._built_at_once(text)
            entries = (
                self._entries(text.text, final=final) if built is None else _one_a_line(len(built.records))
            )
        done = len(text.text) if entries.complete else text.after_lines(entries.whole)
        rest = Text(decoded[done:], self._encoding)
        consumed = used - rest.offset(len(rest.text))
        unended = final and entries.complete and bool(text.text) and not text.text.endswith(("\n", "\r"))
        lines = entries.whole - unended
        piece = _Piece(self, text, entries, offset, line)
        rows, malformed = piece.judged(piece.built() if built is None else built)
        entries.rows = []  # the block outlives its fields

        def place(n: int) -> tuple[int, int]:
            if n == len(rows):
                return consumed, lines
            return (text.offset(text.after_lines(entries.ends[n - 1])), entries.ends[n - 1]) if n else (0, 0)

        return Parsed(rows, malformed, consumed, lines, unended, place, piece.original)

    def columns(self, data: bytes, *, final: bool) -> Parsed | None:
        """The same in columns, where the whole lines of `data` are sure to be the same."""
        if self._cut is None:
            self._cut = self._new_cut()
        return in_columns(self._cut, data, final=final)

    def _new_cut(self) -> "Callable[[bytes], ParsedColumns | None]":
        from agora.sources.casts import casts_of  # noqa: PLC0415 - for who wants columns, and has pyarrow loaded
        from agora.sources.csvcolumns import columns_of  # noqa: PLC0415 - as above

        casts = casts_of(self._dialect.kinds)
        if casts is None or self._encoding != "utf-8" or self._dialect.schema is not None:
            return lambda _: None
        names, delimiter = self._names, self._dialect.delimiter
        return lambda data: columns_of(data, names, delimiter, casts)

    def _built_at_once(self, text: Text) -> "_Built | None":
        """All records if each line is one, and all can be decoded."""
        if not self._at_once or not text.is_clean():
            return None
        delimiter = self._dialect.delimiter
        rows, lines = rows_at_once(text.text, delimiter)
        if self._sound:
            try:
                records = self._builder.all(rows)
            except Exception:  # noqa: BLE001 - a conversion may raise anything; from here on the culprits are found
                self._sound = False
                rows, lines = rows_at_once(text.text, delimiter)
            else:
                return _Built(records) if len(records) == lines else None
        built = self.built(rows, lines)
        if len(built.records) != lines:
            return None
        for index in built.culprits:  # of one line each, since each line was one row
            line = text.text[text.after_lines(index) : text.after_lines(index + 1)]
            entries = rows_one_by_one(line, delimiter, final=True)
            if not entries.rows or isinstance(entries.rows[0], Fault):
                return None
            built.culprits[index] = entries.rows[0]
        return built

    def built(self, rows: Iterator[Any], most: int) -> "_Built":
        """A record of each row but the culprits, which are left out and told; more than `most` ends it."""
        built = _Built([])
        while len(built.records) <= most:
            try:
                self._builder.add(rows, built.records)
            except Exception:  # noqa: BLE001 - as above
                built.culprits[len(built.records)] = None
                built.records.append(None)
            else:
                break
        return built

    def _entries(self, text: str, *, final: bool) -> Entries:
        delimiter = self._dialect.delimiter
        if self._at_once and (entries := entries_at_once(text, delimiter)) is not None:
            return entries
        entries = rows_one_by_one(text, delimiter, final=final)
        self._at_once = len(entries.rows) == entries.whole
        return entries

    def record(self, row: Any, raw: str | bytes, place: str) -> Record:
        """The record of one row, or why there is none."""
        count = len(self._names)
        if isinstance(raw, bytes):
            return Malformed(raw, AgoraError(f"{place}: not valid {self._encoding}"))
        if isinstance(row, Fault):
            return Malformed(raw, AgoraError(f"{place}: {row.reason}"))
        if self._dialect.pad and len(row) < count:
            row = [*row, *[""] * (count - len(row))]
        if len(row) != count:
            return Malformed(raw, AgoraError(f"{place}: {len(row)} fields where there are {count} columns"))
        return converted(self._plain([row])[0], self._dialect.types, self._dialect.schema, place)

    def place(self, line: int, offset: int) -> str:
        return f"{self._where}, line {line + 1}, byte {offset}"

    def again(self, text: str, raw: str | bytes, place: str) -> Record:
        """A record parsed anew from its text."""
        with field_limit_lifted():
            entries = rows_one_by_one(text, self._dialect.delimiter, final=True, most=1)
        return self.record(entries.rows[0], raw, place)


@attrs.define
class _Built:
    """Records of rows, and nothing in the places of those that are still to be judged."""

    records: list[Record]
    culprits: dict[int, Any] = attrs.field(factory=dict)
    """Index → fields."""


@attrs.frozen
class _Piece:
    parser: CsvParser
    text: Text
    entries: Entries
    offset: int
    line: int

    def built(self) -> _Built:
        """Of the entries."""
        rows = self.entries.rows
        built = self.parser.built(iter(rows), len(rows))
        built.culprits = {index: rows[index] for index in {*built.culprits, *self._undecodable()}}
        return built

    def judged(self, built: _Built) -> tuple[list[Record], list[int]]:
        """The records, culprits judged one by one; and which are none."""
        for index, row in built.culprits.items():
            built.records[index] = self._record(index, row)
        malformed = [index for index in built.culprits if isinstance(built.records[index], Malformed)]
        return built.records, sorted(malformed)

    def _undecodable(self) -> Iterator[int]:
        """Rows with bytes that couldn't be decoded."""
        for character in self.text.undecoded():
            index = bisect_right(self.entries.ends, bisect_right(self.text.line_ends, character))
            if index < len(self.entries.rows):
                yield index

    def original(self, index: int) -> Record:
        start, stop = self._span(index)
        return self.parser.again(self.text.text[start:stop], self.text.raw(start, stop), self._place(index))

    def _record(self, index: int, row: Any) -> Record:
        return self.parser.record(row, self.text.raw(*self._span(index)), self._place(index))

    def _span(self, index: int) -> tuple[int, int]:
        return self.text.after_lines(self.entries.starts[index]), self.text.after_lines(
            self.entries.ends[index]
        )

    def _place(self, index: int) -> str:
        lines = self.entries.starts[index]
        return self.parser.place(
            self.line + lines, self.offset + self.text.offset(self.text.after_lines(lines))
        )


def _one_a_line(count: int) -> Entries:
    return Entries([], range(count), range(1, count + 1), count)


def _names(where: str, text: Text, entries: Entries, dialect: Dialect) -> Sequence[str]:
    row = entries.rows[0]
    place = f"{where}, line {entries.starts[0] + 1}"
    if not text.is_clean(0, text.after_lines(entries.whole)):
        raise AgoraError(f"{place}: the header is not valid {text.encoding}; give encoding= for another one")
    if isinstance(row, Fault):
        raise AgoraError(f"{place}: the header can't be read: {row.reason}")
    names: list[str] = row
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise AgoraError(f"{place}: the header has names twice: {', '.join(map(repr, twice))}")
    missing = [name for name in dialect.types if name not in names]
    if missing:
        raise AgoraError(
            f"{place}: types= names columns that the header hasn't: {', '.join(map(repr, missing))}"
        )
    return names
