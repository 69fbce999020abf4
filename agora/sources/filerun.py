"""A run over files: which to open, where to go on, and that each is closed whatever happens.

What is in a file is the business of an `OpenedFile`; text and Parquet share everything else here.
"""

import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import attrs

from agora import seam
from agora.errors import AgoraError
from agora.records import Json, Position, Record
from agora.seam import Files
from agora.sources.base import Block, Demand
from agora.sources.paths import InputFile, PathOption, above, below, covers, expand, patterns_of
from agora.sources.resume import FilePosition, Resume, plan
from agora.sources.rows import Place

__all__ = ["FileRun", "OpenFile", "OpenedFile", "Piece"]

_WORTH = 4 * 1024 * 1024
"""Bytes of a file from which columns are worth loading pyarrow, which takes as long as reading so many by rows."""


@attrs.frozen
class Piece:
    """Records that were read in one go, as `Block` says; positions lack what the run knows of other files."""

    rows: Sequence[Record]
    malformed: Sequence[int]
    position: Callable[[int], FilePosition]
    original: Callable[[int], Record]


class OpenedFile(Protocol):
    """A file at the place where reading goes on."""

    done: bool
    failure: AgoraError | None
    """Why reading ends here, behind the records before it."""
    batch: int
    """Set by who reads: the records of a whole batch, a multiple of which a piece of rows is to come close to."""
    columns: bool
    """Set by who reads: whether large pieces are wanted, in columns where that can be; `read` and `take` are then
    work for a thread."""

    @property
    def size(self) -> int:
        """Bytes of the file when last looked at."""
        ...

    @property
    def ready(self) -> bool:
        """Whether `read` has no I/O to do."""
        ...

    def read(self) -> None:
        """Get the next piece; blocks unless it is `ready`."""
        ...

    def take(self) -> Piece:
        """The records of the piece that was read last; may be none."""
        ...

    def close(self) -> None: ...


class OpenFile(Protocol):
    """Opens a file at its start, or at a place of it: `SourceChanged` where that isn't what was read, unless
    `allow_change`."""

    def __call__(
        self, files: Files, file: InputFile, start: FilePosition | None, *, allow_change: bool
    ) -> OpenedFile: ...


@attrs.define
class FileRun:
    """State of one run of a source of files."""

    patterns: Sequence[str]
    missing_ok: bool
    open: OpenFile
    place: Place = attrs.field(factory=Place, init=False)
    _base: Path | None = attrs.field(default=None, init=False)
    _resume: Resume | None = attrs.field(default=None, init=False)
    _opened: OpenedFile | None = attrs.field(default=None, init=False)

    @classmethod
    def of(cls, path: PathOption, *, missing_ok: bool, open: OpenFile) -> "FileRun":  # noqa: A002 - the field's name
        return cls(patterns_of(path), missing_ok, open)

    def names(self, base: Path | None) -> list[Json]:
        """The paths and globs, for an identity."""
        return [below(base, pattern) for pattern in self.patterns]

    async def prepare(self, position: Position, *, allow_change: bool, base: Path | None = None) -> None:
        """Find the files, and go to `position` in the first of them. A trio checkpoint."""
        self.close()
        self._base = base
        self.place.start(position)
        machine = seam.current()
        self._resume, self._opened = await machine.in_thread(
            self._prepared, machine.files, position, allow_change=allow_change
        )

    async def blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        """Yield the blocks of every file that is left. Whatever ends it, nothing stays open."""
        machine = seam.current()
        try:
            if self._resume is None:
                await self.prepare(None, allow_change=False)
            assert self._resume is not None
            finished = self._resume.finished
            for file in self._resume.files:
                if self._opened is None:
                    self._opened = await machine.in_thread(
                        self.open, machine.files, file, None, allow_change=False
                    )
                opened = self._opened
                opened.batch = demand.batch
                opened.columns = demand.columns and (opened.size >= _WORTH or "pyarrow" in sys.modules)
                while not opened.done:
                    if opened.columns:
                        piece = await machine.in_thread(_piece, opened)
                    else:
                        if opened.ready:
                            opened.read()
                        else:
                            await machine.in_thread(opened.read)
                        piece = opened.take()
                    if piece.rows:
                        block = self._block(piece, finished)
                        self.place.block, self.place.taken = block, len(block.rows)
                        yield block
                if opened.failure is not None:
                    raise opened.failure
                finished = {**finished, file.name: opened.size}
                opened.close()
                self._opened = None
        finally:
            self.close()

    def close(self) -> None:
        """Close what is open; the next run starts anew."""
        self._resume = None
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def paths(self) -> list[Path]:
        return [file.path for file in expand(self.patterns, missing_ok=True)]

    def covers(self, path: Path) -> bool:
        return covers(self.patterns, path)

    def _prepared(
        self, files: Files, position: Position, *, allow_change: bool
    ) -> tuple[Resume, OpenedFile | None]:
        found = expand(self.patterns, missing_ok=self.missing_ok, empty_ok=position is not None)
        start = None if position is None else FilePosition.from_json(position).renamed(self._above)
        resume = plan(found, start, _size, allow_change=allow_change)
        if resume.start is None:
            return resume, None
        return resume, self.open(files, resume.files[0], resume.start, allow_change=allow_change)

    def _block(self, piece: Piece, finished: Mapping[str, int]) -> Block:
        def position(n: int) -> Position:
            return piece.position(n).renamed(self._below, finished).to_json()

        return Block(piece.rows, position, piece.original, piece.malformed)

    def _below(self, name: str) -> str:
        return below(self._base, name)

    def _above(self, name: str) -> str:
        return above(self._base, name)


def _piece(opened: OpenedFile) -> Piece:
    opened.read()
    return opened.take()


def _size(file: InputFile) -> int:
    return seam.current().files.status(file.path).size
