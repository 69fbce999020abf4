"""A batch: the unit that moves through the engine, and all that is known of it.

A batch accounts for itself. It covers a run of source records, dropped ones included, and carries the
failures so far and the cut that ends it; when the writer is through with it, all of its ordinals are handled.
The alternative, one shared table of acknowledgements, needs every stage to touch common state for each
record, in an order of its own.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain, compress
from typing import Literal, Protocol, TypeAlias, overload

import attrs
import trio

from agora.copying import keep
from agora.deadletter import SOURCE_ENTRY, Entry
from agora.middlewares.step import Policy
from agora.records import Json, Position, Record
from agora.sources.base import Block
from agora.state.base import Change

__all__ = [
    "Batch",
    "BlockOrigin",
    "Cut",
    "End",
    "EntryPoint",
    "Failure",
    "Interlude",
    "Origin",
    "StreamOrigin",
]

EntryPoint: TypeAlias = str | Entry | None
"""Where a replay of a letter would start; see `DLQRecord.entry`."""

End: TypeAlias = Literal["exhausted", "stopped"]

Interlude: TypeAlias = Callable[[], Awaitable[None]]
"""What happens at a cut while nothing is in flight."""


class Origin(Protocol):
    """Tells of each source record of a batch what it was and where it stood."""

    def original(self, offset: int) -> Record:
        """The record as the source gave it. `offset` counts from the batch's first record."""
        ...

    def position(self, offset: int) -> Position:
        """The position before the record; `None` for a source without checkpoints."""
        ...


@attrs.frozen(eq=False, repr=False)
class BlockOrigin:
    """Rows `start` and on of a block."""

    block: Block
    start: int
    copies: Sequence[Record] | None
    """Copies made before the chain, where the block can't make its rows again."""

    def original(self, offset: int) -> Record:
        if self.copies is not None:
            return self.copies[offset]
        if self.block.original is None:
            return keep(self.block.rows[self.start + offset])
        return self.block.original(self.start + offset)

    def position(self, offset: int) -> Position:
        return None if self.block.position is None else self.block.position(self.start + offset)


@attrs.frozen(eq=False, repr=False)
class StreamOrigin:
    """Records of a plain generator; `positions` and `copies` only where somebody will ask."""

    rows: Sequence[Record]
    copies: Sequence[Record] | None
    positions: Sequence[Position] | None

    def original(self, offset: int) -> Record:
        return (self.rows if self.copies is None else self.copies)[offset]

    def position(self, offset: int) -> Position:
        return None if self.positions is None else self.positions[offset]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Failure:
    """A record that failed, on its way to the writer, who decides what it leads to."""

    offset: int
    """The source record, counted from the batch's first; the batch's `count` for a record of `finish()`, which stands
    behind all of them."""
    stage: str
    error: Exception
    policy: Policy
    entry: EntryPoint = SOURCE_ENTRY
    original: Record = None
    """What couldn't be read; only of a failure of the source."""
    processed: Record = None
    """The record as the sink was given it; only of a failure of a sink."""


@attrs.define(kw_only=True, eq=False, repr=False)
class Cut:
    """The place between two records where a checkpoint falls."""

    ordinal: int
    position: Position
    skip: int = 0
    completed: bool = False
    """Whether the source is exhausted here."""
    final: bool = False
    """Whether the stream ends here."""
    states: dict[str, Json] = attrs.field(factory=dict)
    """What the checkpoint says of each stateful step that the cut has passed."""
    changes: list[Change] = attrs.field(factory=list)
    """What has changed in the rows of their states since the last cut."""
    saved: trio.Event | None = None
    """Set once the barrier at this cut is through; for whoever asked for it."""
    reached: bool = False
    """Whether the writer has got here."""
    interlude: Interlude | None = None
    """What the writer carries out behind the barrier, while the source is held and nothing is in flight."""


@attrs.define(eq=False, repr=False)
class Left(Sequence[int]):
    """The index of the rows that a loop has left, worked out when somebody asks: that is where something failed."""

    _before: Sequence[int]
    _gaps: Sequence[Sequence[int]]
    _known: list[int] | None = None

    def positions(self) -> list[int]:
        """Which of the rows before were left."""
        kept = bytearray(b"\1") * len(self._before)
        for earlier, rows in enumerate(sorted(chain.from_iterable(self._gaps))):
            kept[rows + earlier] = 0
        return list(compress(range(len(kept)), kept))

    def __len__(self) -> int:
        return len(self._before) - sum(map(len, self._gaps))

    def __iter__(self) -> Iterator[int]:
        return iter(self._all)

    @overload
    def __getitem__(self, place: int) -> int: ...

    @overload
    def __getitem__(self, place: slice) -> list[int]: ...

    def __getitem__(self, place: int | slice) -> int | list[int]:
        return self._all[place]

    @property
    def _all(self) -> list[int]:
        if self._known is None:
            before = self._before
            self._known = [before[position] for position in self.positions()]
        return self._known


@attrs.define(kw_only=True, eq=False, repr=False)
class Batch:
    """Consecutive source records, or one slice of what a multiplying step made of them."""

    first: int
    """Ordinal of the first source record."""
    count: int
    """Source records covered, dropped and failed ones included."""
    rows: Sequence[Record]
    """The records that are left, in source order: a list, or `Columns` until a step needs rows."""
    index: Sequence[int]
    """Of each row the offset of its source record; `count` for a record of `finish()`."""
    origin: Origin
    failures: list[Failure] = attrs.field(factory=list)
    halt: Failure | None = None
    """The failure that ends the run; everything of this batch stands before it, nothing follows it."""
    entries: list[EntryPoint] | None = None
    """Of each row where a replay would start; `None`: all at the source."""
    limit: int = 0
    """The in-flight limit when the batch was cut; for the adaptive limit."""
    cut: Cut | None = None
    end: End | None = None
    last: bool = True
    """False: another slice of the same source records follows."""

    def entry(self, row: int) -> EntryPoint:
        return SOURCE_ENTRY if self.entries is None else self.entries[row]

    def as_rows(self) -> list[Record]:
        """The records as a list; from here on the batch holds them so."""
        if not isinstance(self.rows, list):
            self.rows = list(self.rows)
        return self.rows

    def remove(self, positions: Sequence[int], rows: Sequence[Record]) -> None:
        """Put `rows` in place of the batch's own; `positions` are those of the old rows that have none
        anymore."""
        if positions:
            kept = bytearray(b"\1") * len(self.rows)
            for position in positions:
                kept[position] = 0
            self.index = list(compress(self.index, kept))
            if self.entries is not None:
                self.entries = list(compress(self.entries, kept))
        self.rows = rows

    def leave(self, rows: Sequence[Record], gaps: Sequence[Sequence[int]]) -> None:
        """Put `rows` in place of the batch's own; each gap is an old row that has none anymore, and tells how many of
        `rows` stand before it. In order within each list of `gaps`."""
        if any(gaps):
            left = Left(self.index, gaps)
            if self.entries is not None:
                self.entries = [self.entries[position] for position in left.positions()]
            self.index = left
        self.rows = rows

    def truncate(self, position: int, halt: Failure) -> None:
        """End the batch before row `position`, with the failure that ends the run there."""
        self.rows = self.rows[:position]
        self.index = self.index[:position]
        if self.entries is not None:
            del self.entries[position:]
        self.failures[:] = [failure for failure in self.failures if failure.offset <= halt.offset]
        self.halt = halt
        self.cut = self.end = None

    def slice(self, rows: list[Record], index: list[int], entries: list[EntryPoint] | None) -> "Batch":
        """A further slice of the same source records, which isn't the last one; takes along the failures of the records
        that it is through with."""
        failures = [failure for failure in self.failures if failure.offset <= index[-1]]
        self.failures[:] = [failure for failure in self.failures if failure.offset > index[-1]]
        return attrs.evolve(
            self,
            rows=rows,
            index=index,
            entries=entries,
            failures=failures,
            halt=None,
            cut=None,
            end=None,
            last=False,
        )
