"""Making text of columns, where it is done."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import trio

from agora import seam

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["in_columns"]

T = TypeVar("T")
_IN_PLACE = 1_024
"""Rows up to which a turn in a thread costs more than the work."""


async def in_columns(fn: "Callable[[pa.RecordBatch], T]", record_batch: "pa.RecordBatch") -> T:
    """`fn(record_batch)`, in a thread where that pays: Arrow holds no lock of Python's while it computes."""
    if record_batch.num_rows > _IN_PLACE:
        return await seam.current().in_thread(fn, record_batch)
    await trio.lowlevel.checkpoint()
    return fn(record_batch)
