"""A source's `batches()` as blocks.

Its positions are those between RecordBatches. A place within one is the position before it and the number of
rows behind that, which a resumed run reads again and passes over.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from agora.columns import Columns
from agora.records import Position
from agora.sources.base import Block

__all__ = ["batch_blocks", "gives_batches"]


def gives_batches(source: Any, *, wanted: bool) -> bool:
    """Whether the source is to be asked for RecordBatches: it has them, and they are wanted or all that it has."""
    if not callable(getattr(source, "batches", None)):
        return False
    return wanted or not callable(getattr(source, "stream", None))


async def batch_blocks(source: Any) -> AsyncGenerator[Block]:
    """Yield each RecordBatch of `source.batches()` that isn't empty."""
    ask = source.checkpoint if getattr(source, "supports_checkpoint", False) else None
    before: Position = None if ask is None else ask()
    async with aclosing(source.batches()) as batches:
        async for batch in batches:
            after: Position = None if ask is None else ask()
            if batch.num_rows:
                yield _block(Columns(batch), before, after, resumable=ask is not None)
            before = after


def _block(rows: Columns, before: Position, after: Position, *, resumable: bool) -> Block:
    count = len(rows)
    if not resumable:
        return Block(rows, original=rows.__getitem__)
    return Block(
        rows,
        position=lambda n: after if n == count else before,
        skip=lambda n: 0 if n == count else n,
        original=rows.__getitem__,
    )
