"""Where a run of files stands, as a JSON-able position, and whether the files are still those it was made
with.

A position holds what a bounded look can check: the size, and fingerprints of the first 64 KiB of what was read and
of the last 4 KiB of it; of Parquet, the exact size, and fingerprints of the first 64 KiB and the last 4 KiB of the
file, which hold its footer. Names and times of change are no evidence: a file of the same size and time is refused if
those bytes are others. A change between them goes unnoticed: to find it all that was read would have to be read
again. Everything is pure, given the listing and the bytes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import attrs

from agora.errors import SourceChanged
from agora.records import Position
from agora.sources.paths import InputFile

__all__ = [
    "FilePosition",
    "Fingerprint",
    "Resume",
    "changed",
    "check_head",
    "check_size",
    "check_tail",
    "plan",
]

_WAYS = (
    "To go on at the saved place nevertheless: allow_source_change=True (--allow-source-change); "
    "to read everything again: restart=True (--restart)."
)


def changed(what: str) -> NoReturn:
    """Raise `SourceChanged` with what was, what is, and the ways on."""
    raise SourceChanged(f"{what}. {_WAYS}")


@attrs.frozen
class Fingerprint:
    """A hash of some bytes that were read."""

    size: int
    digest: str

    @classmethod
    def of(cls, data: bytes) -> "Fingerprint":
        return cls(len(data), hashlib.blake2b(data, digest_size=16).hexdigest())


@attrs.frozen(kw_only=True)
class FilePosition:
    """A place in one file of several: behind `offset` bytes of content, or `offset` rows of a row group."""

    item: int
    name: str
    offset: int
    line: int = 0
    """Line ends before `offset`; of Parquet, the row group."""
    size: int
    """Bytes of the file when it was last looked at."""
    head: Fingerprint
    tail: Fingerprint
    end: bool = False
    """The file ended there."""
    unended: bool = False
    """And its last record had no line end: it may only grow by one first."""
    finished: Mapping[str, int] = attrs.field(factory=dict)
    """Sizes of the files that were read before this one."""

    rows: bool = False
    """`offset` counts rows of a row group."""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"row {self.offset:,} of row group {self.line:,}" if self.rows else f"byte {self.offset:,}"

    @property
    def file(self) -> InputFile:
        return InputFile(self.item, self.name)

    def renamed(
        self, name: Callable[[str], str], finished: Mapping[str, int] | None = None
    ) -> "FilePosition":
        """With other names of the same files; and with other `finished` files."""
        others = self.finished if finished is None else finished
        own, theirs = name(self.name), {name(file): size for file, size in others.items()}
        if own == self.name and theirs == self.finished:
            return self
        return attrs.evolve(self, name=own, finished=theirs)

    def to_json(self) -> Position:
        """Written out: a tenth of what `attrs.asdict` takes, and each letter of a row has a position."""
        return {
            "item": self.item,
            "name": self.name,
            "offset": self.offset,
            "line": self.line,
            "size": self.size,
            "head": {"size": self.head.size, "digest": self.head.digest},
            "tail": {"size": self.tail.size, "digest": self.tail.digest},
            "end": self.end,
            "unended": self.unended,
            "finished": dict(self.finished),
            "rows": self.rows,
        }

    @classmethod
    def from_json(cls, position: Position) -> "FilePosition":
        """`SourceChanged` where this is the position of some other source."""
        try:
            data: dict[str, Any] = dict(position)  # type: ignore[arg-type]  # anything may come; that is the check
            data["head"], data["tail"] = Fingerprint(**data["head"]), Fingerprint(**data["tail"])
            return cls(**data)
        except (TypeError, KeyError, ValueError):
            changed(f"The saved position isn't one of a file: {str(position)[:200]}")


@attrs.frozen
class Resume:
    """What is left to read: `files` in order, the first from `start` on if it is given."""

    files: Sequence[InputFile]
    start: FilePosition | None
    finished: Mapping[str, int]


def plan(
    files: Sequence[InputFile],
    start: FilePosition | None,
    size_of: Callable[[InputFile], int],
    *,
    allow_change: bool,
) -> Resume:
    """Which files are left behind `start`; `SourceChanged` where those before it aren't what they were."""
    if start is None:
        return Resume(files, None, {})
    finished: dict[str, int] = {}
    for file in files:
        if file.key >= start.file.key:
            continue
        size = size_of(file)
        finished[file.name] = size
        was = start.finished.get(file.name)
        if allow_change or was == size:
            continue
        if was is None:
            changed(f"{file.name} is new, but its place is before {start.name}, which was read already")
        changed(f"{file.name} was read to its end when it had {was:,} bytes; now it has {size:,}")
    left = [file for file in files if file.key >= start.file.key]
    if left and left[0] == start.file:
        return Resume(left, start, finished)
    if not (start.end or allow_change):
        changed(f"{start.name} was read up to {start.place}, of {start.size:,} bytes; now it is gone")
    return Resume(left, None, finished)


def check_head(start: FilePosition, *, size: int, head: bytes) -> None:
    """`SourceChanged` if the file is shorter than it was, or begins differently."""
    check_size(start, size, wrong=size < start.size)
    _compare(start, "begins", start.head, head[: start.head.size], size)


def check_size(start: FilePosition, size: int, *, wrong: bool) -> None:
    """`SourceChanged` if the size is `wrong`."""
    if wrong:
        changed(
            f"{start.name} had {start.size:,} bytes when it was read up to {start.place}; now it has {size:,}"
        )


def check_tail(start: FilePosition, *, reached: int, tail: bytes, size: int) -> None:
    """`SourceChanged` if the content ends before the place, or is different just before it."""
    if reached < start.offset:
        changed(f"{start.name} was read up to {start.place}; now its content ends at byte {reached:,}")
    _compare(start, "goes on", start.tail, tail, size)


def _compare(start: FilePosition, part: str, was: Fingerprint, data: bytes, size: int) -> None:
    now = Fingerprint.of(data)
    if now != was:
        changed(
            f"{start.name} isn't the file that was read up to {start.place}: it {part} differently. It had "
            f"{start.size:,} bytes, with the fingerprint {was.digest} of {was.size:,} of them; now it has {size:,}, "
            f"with {now.digest}"
        )
