"""CSV text into rows of fields: Python's `csv.reader(strict=True)`, with bytes, characters and lines kept
apart.

Pure functions of a piece of a file. The quick way takes a line for a row, without `csv` where no quote is,
and holds wherever every line is one row; any other piece is parsed row by row, which is the definition.
"""

import codecs
import contextlib
import csv
import io
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate, repeat
from typing import Any

import attrs

from agora.errors import ConfigError

__all__ = [
    "Entries",
    "Fault",
    "Text",
    "byte_order",
    "check_encoding",
    "decode",
    "entries_at_once",
    "field_limit_lifted",
    "rows_at_once",
    "rows_one_by_one",
    "whole_lines",
]

_FIELD_LIMIT = 16 * 1024 * 1024
_FEW = 4
"""Ends of lines that are looked for one by one, in a fifth of the time that it takes to list all."""
_MARK = "agora-mark"
_MARKS = re.compile("([\udc00-\udcff]+)")


def _mark(error: UnicodeError) -> tuple[str, int]:
    """A lone surrogate for each undecodable byte: no text holds one, so `_encoded` gives the bytes again."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        parts = _MARKS.split(text)  # marks are at the odd indexes
        return b"".join(
            bytes(ord(char) & 0xFF for char in part) if index % 2 else part.encode(encoding)
            for index, part in enumerate(parts)
        )


codecs.register_error(_MARK, _mark)


class _FieldLimit:
    """csv's limit is one for the process: lifted while anyone here parses, then put back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = 0

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._before = csv.field_size_limit(_FIELD_LIMIT)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    csv.field_size_limit(self._before)


field_limit_lifted = _FieldLimit().lifted
"""Context manager: fields of up to 16 MiB."""

_STATEFUL = (
    "iso2022",
    "hz",
    "utf_7",
    "unicode_escape",
    "raw_unicode_escape",
    "punycode",
    "idna",
    "mbcs",
    "oem",
)


def check_encoding(name: str) -> str:
    """The encoding's normal name; `ConfigError` where it is unknown, or can't be read from the middle of a
    file."""
    try:
        info = codecs.lookup(name)
        text = info.decode(b"")[0]
    except (LookupError, ValueError, AssertionError) as error:
        raise ConfigError(f"encoding {name!r} isn't known") from error
    normal = info.name.replace("-", "_")
    if not isinstance(text, str) or normal.startswith(_STATEFUL):
        raise ConfigError(
            f"encoding {name!r} can't be read from the middle of a file; convert the file to UTF-8"
        )
    return "utf-8" if normal in ("utf_8", "utf_8_sig") else info.name


def byte_order(encoding: str, start: bytes) -> str:
    """UTF-16 and UTF-32 with the byte order that the first bytes of the file say, so that one can begin
    anywhere."""
    if encoding not in ("utf-16", "utf-32"):
        return encoding
    marks = {"-le": "\ufeff".encode(f"{encoding}-le"), "-be": "\ufeff".encode(f"{encoding}-be")}
    native = "-le" if sys.byteorder == "little" else "-be"
    return encoding + next((order for order, mark in marks.items() if start.startswith(mark)), native)


def decode(data: bytes, encoding: str, *, final: bool) -> tuple[str, int]:
    """The text, lone surrogates where bytes can't be decoded; and the number of bytes it was made from."""
    decoder = codecs.getincrementaldecoder(encoding)(_MARK)
    text = decoder.decode(data, final)
    return text, len(data) - len(decoder.getstate()[0])


def whole_lines(text: str) -> int:
    """Number of characters up to the last line end; a CR at the end may be half of one."""
    if text.endswith("\n"):
        return len(text)
    return max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1


@attrs.frozen
class Fault:
    """In place of a row that can't be split into fields."""

    reason: str


@attrs.define
class Text:
    """A decoded piece of a file: from lines to characters, from characters to bytes."""

    text: str
    encoding: str
    _line_ends: list[int] | None = None
    _searched: int = 0

    @property
    def line_ends(self) -> list[int]:
        """Number of characters to the end of each line."""
        if self._line_ends is None:
            self._line_ends = list(accumulate(map(len, io.StringIO(self.text, newline=""))))
        return self._line_ends

    def after_lines(self, lines: int) -> int:
        """Number of characters of the first `lines` lines."""
        if not lines:
            return 0
        if self._line_ends is None and self._searched < _FEW and self._fed:
            self._searched += 1
            return _after_feeds(self.text, lines)
        return self.line_ends[lines - 1]

    @property
    def _fed(self) -> bool:
        """Whether a line ends with an LF and nothing else."""
        return "\r" not in self.text

    def encoded(self, start: int, stop: int) -> bytes:
        """The very bytes that the characters were made from."""
        return _encoded(self.text[start:stop], self.encoding)

    def offset(self, characters: int) -> int:
        """Number of bytes of the first `characters`."""
        if self.encoding == "utf-8" and self.text.isascii():
            return characters
        return len(self.encoded(0, characters))

    def is_clean(self, start: int = 0, stop: int | None = None) -> bool:
        """Whether every byte could be decoded."""
        if self.text.isascii():
            return True
        try:
            self.text[start:stop].encode()
        except UnicodeEncodeError:
            return False
        return True

    def undecoded(self) -> Iterator[int]:
        """Places of what couldn't be decoded: of the first character of each run."""
        return iter(()) if self.text.isascii() else (found.start() for found in _MARKS.finditer(self.text))

    def raw(self, start: int, stop: int) -> str | bytes:
        """Without its line end; bytes where it couldn't be decoded."""
        if not self.is_clean(start, stop):
            return self.encoded(start, stop)
        text = self.text[start:stop]
        if text.endswith("\r\n"):
            return text[:-2]
        return text[:-1] if text.endswith(("\r", "\n")) else text


def _after_feeds(text: str, lines: int) -> int:
    """Number of characters of the first `lines` lines, at least one, of a text without CRs."""
    parts = text.split("\n", lines)
    return len(text) - len(parts[lines]) if len(parts) > lines else len(text)


@attrs.define
class Entries:
    """The rows of a piece of text, blank lines aside, a `Fault` where a row couldn't be split; and their
    lines."""

    rows: list[Any]
    starts: Sequence[int]
    """Lines before each."""
    ends: Sequence[int]
    whole: int
    """Lines up to where the last whole row or blank line ends."""
    complete: bool = True
    """The text ends there too, not within a row."""


def rows_one_by_one(text: str, delimiter: str, *, final: bool, most: int | None = None) -> Entries:
    """The first `most` rows (all). After a fault it goes on behind the line where the fault shows."""
    exhausted = False

    def lines() -> Iterator[str]:
        nonlocal exhausted
        yield from io.StringIO(text, newline="")
        exhausted = True

    reader = csv.reader(lines(), strict=True, delimiter=delimiter)
    rows: list[Any] = []
    starts: list[int] = []
    ends: list[int] = []
    whole, complete = 0, True
    while most is None or len(rows) < most:
        try:
            row: Any = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if exhausted and not final:
                complete = False
                break
            row = Fault("a quoted field isn't closed" if exhausted else str(error))
        if row:
            rows.append(row)
            starts.append(whole)
            ends.append(reader.line_num)
        whole = reader.line_num
    return Entries(rows, starts, ends, whole, complete)


def rows_at_once(text: str, delimiter: str) -> tuple[Iterator[list[str]], int]:
    """Rows, made as they are taken, and the number of lines.

    They are the text's rows if there are as many and none is empty (a blank line), with no `csv.Error` on the
    way. Each can be dropped before the next is made, which is a third of the time.
    """
    end = _line_end(text)
    if end is None:
        lines = list(io.StringIO(text, newline=""))
    else:
        lines = text.split(end)
        if not lines[-1]:
            lines.pop()
    # `in` compares texts by length first, and takes a fifth of the time of looking for two line ends in the text.
    if end is None or '"' in text or "" in lines or len(text) > _FIELD_LIMIT:
        return csv.reader(lines, strict=True, delimiter=delimiter), len(lines)
    return map(str.split, lines, repeat(delimiter)), len(lines)


def _line_end(text: str) -> str | None:
    """The only one in the text, but LF in one without; `None` where there are several, or lone CRs."""
    if "\r" not in text:
        return "\n"
    pairs = text.count("\r\n")
    return "\r\n" if pairs == text.count("\r") == text.count("\n") else None


def entries_at_once(text: str, delimiter: str) -> Entries | None:
    """What `rows_one_by_one` gives, in half the time if every line is a row, else `None`."""
    lazy, lines = rows_at_once(text, delimiter)
    try:
        rows = list(lazy)
    except csv.Error:
        return None
    if len(rows) != lines or [] in rows:
        return None
    return Entries(rows, range(lines), range(1, lines + 1), lines)
