"""`stream()` said once, in terms of `blocks()`: the same records, one at a time, with the place after each.

A source that reads in blocks would otherwise carry two readers that could disagree.
"""

import contextlib
from collections.abc import AsyncGenerator

import attrs

from agora.records import Position, Record
from agora.sources.base import Block

__all__ = ["Place", "rows_of"]


@attrs.define
class Place:
    """How far a source has been read: behind the first `taken` rows of `block`, or where it was resumed
    at."""

    resumed_at: Position = None
    block: Block | None = None
    taken: int = 0

    def start(self, position: Position) -> None:
        self.resumed_at, self.block, self.taken = position, None, 0

    def position(self) -> Position:
        """The position after what was taken last."""
        if self.block is None or self.block.position is None:
            return self.resumed_at
        return self.block.position(self.taken)


async def rows_of(blocks: AsyncGenerator[Block], place: Place) -> AsyncGenerator[Record]:
    """Yield the rows of `blocks` in order, `place` kept at the row that was yielded last. Closes `blocks`."""
    async with contextlib.aclosing(blocks):
        async for block in blocks:
            place.block = block
            for place.taken, row in enumerate(block.rows, start=1):
                yield row
