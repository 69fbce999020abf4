"""A sink that keeps nothing: to run a pipeline for its checks, its speed or its dead letters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from agora.records import Json, Record

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["NullSink"]


@attrs.define(eq=False)
class NullSink:
    """Accepts every record and keeps none. Transactional, since there is nothing to undo."""

    @property
    def target(self) -> str:
        return "null"

    async def write(self, records: Sequence[Record]) -> None:
        """A trio checkpoint."""
        await trio.lowlevel.checkpoint()

    async def write_columns(self, record_batch: "pa.RecordBatch") -> None:
        """A trio checkpoint."""
        await trio.lowlevel.checkpoint()

    async def prepare(self) -> Json:
        await trio.lowlevel.checkpoint()
        return {}

    async def commit(self, token: Json) -> None:
        await trio.lowlevel.checkpoint()

    async def recover(self, token: Json) -> None:
        await trio.lowlevel.checkpoint()

    async def restart(self, token: Json) -> None:
        await trio.lowlevel.checkpoint()
