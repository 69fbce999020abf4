"""JSON lines: one document a line, the format that dead letters, logs and most tools read.

Encoding is done here, a whole batch a call; the file, with all of its delivery, is `AppendFile`'s.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from agora.context import RunContext
from agora.errors import RecordsRejected
from agora.records import Json, Record
from agora.sinks.compress import Compression
from agora.sinks.encode import JsonEncoder, NanPolicy
from agora.sinks.options import COMPRESSION, IF_EXISTS, NAN, PATH, PUBLISH
from agora.sinks.target import AppendFile, IfExists, PublishWhen, as_path
from agora.threaded import threaded

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["JsonLinesSink"]


@attrs.define(eq=False)
class JsonLinesSink:
    """Appends each record as a line of JSON: dicts, attrs instances, dates, Decimal, UUID, bytes, as msgspec
    writes them.

    A record that has no JSON form is rejected, its neighbours are written. Without checkpoints the file
    appears whole at the end of a successful run, or not at all; with them it is exactly once. `OSError` ends
    the run and leaves whole lines. Every method is a trio checkpoint; one that is cancelled has done nothing.
    """

    path: Path = attrs.field(converter=as_path, metadata=PATH)
    if_exists: IfExists | None = attrs.field(default=None, kw_only=True, metadata=IF_EXISTS)
    compression: Compression = attrs.field(default="auto", kw_only=True, metadata=COMPRESSION)
    nan: NanPolicy = attrs.field(default="reject", kw_only=True, metadata=NAN)
    publish_when: PublishWhen = attrs.field(default="end", kw_only=True, alias="publish", metadata=PUBLISH)
    _encoder: JsonEncoder = attrs.field(init=False)
    _file: AppendFile = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._encoder = JsonEncoder(self.nan)
        self._file = AppendFile(self.path, self.if_exists, self.compression, self.live)

    @property
    def target(self) -> str:
        return f"jsonl:{self.path}"

    @property
    def live(self) -> bool:
        return self.publish_when == "live"

    def explain(self) -> str:
        return self._file.explain()

    def paths(self) -> Sequence[Path]:
        return [self.path]

    async def open(self, context: RunContext) -> None:
        await self._file.open(context)

    async def write(self, records: Sequence[Record]) -> None:
        """`RecordsRejected` for those that have no JSON form, having accepted all others."""
        text, rejected = self._encoder.lines(records)
        await self._file.append(text)
        if rejected:
            raise RecordsRejected(rejected)

    async def write_columns(self, record_batch: "pa.RecordBatch") -> None:
        """The same text as `write` for its rows, without making them."""
        from agora.sinks.jsoncolumns import JsonColumns  # noqa: PLC0415 - who has columns has loaded pyarrow

        rejected = await self._file.append_lines(JsonColumns(self.nan).lines, record_batch)
        if rejected:
            raise RecordsRejected(rejected)

    async def finish(self) -> None:
        self._file.finish()

    @threaded
    def prepare(self) -> Json:
        return self._file.prepare_here()

    async def commit(self, token: Json) -> None:
        await self._file.commit(token)

    async def recover(self, token: Json) -> None:
        """`SinkChanged` where the file isn't what the token says."""
        await self._file.recover(token)

    async def restart(self, token: Json) -> None:
        await self._file.restart(token)

    async def publish(self) -> None:
        await self._file.publish()

    async def close(self) -> None:
        await self._file.close()
