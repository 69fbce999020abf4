"""The contract of a source: where records come from, and how a run finds its place again.

`stream()` is all that is required. Every other member below is optional and looked up by name, so a source of
one's own needs no base class.

Members that opt in:

`supports_checkpoint = True`
    Together with `checkpoint`, `prepare_resume` and `identity`: the run can resume.
`checkpoint() -> Position`
    Synchronous. Called after a yield and before the next resume of the generator: the position after the record
    that was yielded last. Before the first yield: the position that the source was resumed at.
`async prepare_resume(position)`
    Called once before streaming; `None` on a fresh start. Raises `SourceChanged` when the position isn't its own.
`identity() -> Json`
    Called after `open`, before `prepare_resume`; must be equal when a run resumes.
`async committed(position)`
    Called after every barrier, and again after a recovery; never on a fresh start.
`async open(context)`, `async close()`
    Called in the task that called `run()`; `close` also after a failed `open`.
`lifespan(context)`, `async check(context)`
    As for any part.
`allow_change: bool`
    The engine sets it before `prepare_resume`: with True (`allow_source_change=True`) the source goes on at the
    position though what was read before it isn't what it was.
`base: Path | None`
    A config file sets it to its directory. What is below it is then named relative to it, in `identity` and positions:
    a project that was moved as a whole is the same source.
`convert(record) -> record`
    Synchronous. Makes a record of the `original` of a replayable `Malformed`, as reading would today; raises where it
    still doesn't fit. Used by replay.
`batches() -> AsyncGenerator[pyarrow.RecordBatch]`
    Records in columns, beside `stream()` or in place of it; taken where the next step takes columns, or there is no
    `stream`. `checkpoint()` is called after each: the position behind the whole RecordBatch. A resume in the middle of
    one begins at the position before it, from where the source has to give the same records again.
`blocks(demand) -> AsyncGenerator[Block]`
    Records in bulk, in place of `stream()`: what the built-in sources use. `None` where this source has only `stream`.
`explain() -> str`
    Half a sentence for the plan: how it finds its place again. No I/O.
`covers(path) -> bool`, `paths() -> Sequence[Path]`
    Whether a file would be read by this source; the files that it reads now. So that a sink can't write its own source.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs

from agora.records import Position, Record

__all__ = ["Block", "BlockSource", "ColumnarSource", "Demand", "Source"]


@runtime_checkable
class Source(Protocol):
    """An async generator of records. See the module's documentation for what else it may define."""

    def stream(self) -> AsyncGenerator[Record]:
        """Yield records in order; `Malformed` in place of one that can't be read.

        The engine closes the generator in the task that iterates it. `None` is no record: it raises `TypeError`.
        """
        ...


@runtime_checkable
class ColumnarSource(Protocol):
    """An async generator of `pyarrow.RecordBatch`."""

    def batches(self) -> AsyncGenerator[Any]:
        """Yield records in order, in columns. The engine closes the generator in the task that iterates it."""
        ...


@attrs.define
class Demand:
    """What the engine can take at the moment; it changes between two blocks.

    A source whose reading has effects (an iterator of the user's) must not read more than `rows` for its next
    block. One that reads files may: the engine takes a larger block apart.
    """

    rows: int
    batch: int = 512
    """Records of a whole batch: a block of a few less than a multiple of it is taken apart without a remainder."""
    columns: bool = False
    """Whether what comes next takes RecordBatches: rows may then be `agora.columns.Columns`."""
    overdue: Callable[[], bool] = attrs.field(default=lambda: False)
    """True once a synchronous stretch has lasted so long that the loop must get its turn: yield what there is."""


@attrs.frozen
class Block:
    """Consecutive records that were read in one go."""

    rows: Sequence[Record]
    """Records in order, a list or `agora.columns.Columns`; a `Malformed` where one couldn't be read. The engine may
    change them, not the list."""
    position: Callable[[int], Position] | None = None
    """`position(n)`: the position after the first `n` rows, for 0 ≤ n ≤ len(rows). May be called later, while a
    later block is read; must stay right. `None` for a source without checkpoints."""
    original: Callable[[int], Record] | None = None
    """`original(i)`: row `i` made again, as it was before any step changed it. `None`: the engine copies."""
    malformed: Sequence[int] = ()
    """Ascending indexes of the rows that are `Malformed`."""
    skip: Callable[[int], int] = lambda _: 0
    """`skip(n)`: records behind `position(n)` that are to be read and discarded to come behind the first `n` rows,
    where positions are coarser than rows."""


class BlockSource(Source, Protocol):
    """A source that also gives its records in bulk; `stream` and `blocks` give the same records."""

    def blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        """Yield non-empty blocks. Between two yields it is resumed only when `demand.rows ≥ 1` more are wanted."""
        ...
