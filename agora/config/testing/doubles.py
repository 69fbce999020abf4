"""What stands in the place of a pipeline's source, sinks and dead-letter queue while a test runs."""

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import attrs
import trio

from agora.columns import rows_of
from agora.copying import keep
from agora.deadletter import DLQRecord
from agora.errors import RecordsRejected
from agora.records import Malformed, Record
from agora.runtime.handle import RunHandle
from agora.runtime.report import RunStats, RunSummary

__all__ = ["GivenSource", "LetterTap", "SinkTap", "WatchedSource"]


@attrs.define(eq=False)
class GivenSource:
    """Gives a list of records, each a `Malformed` where the real source would have refused it."""

    records: Sequence[Record]

    async def stream(self) -> AsyncGenerator[Record]:
        """Yield them. Not a trio checkpoint: the engine has its own."""
        for record in self.records:
            yield record


@attrs.define(eq=False)
class WatchedSource:
    """Tells which of the records of another source were dropped and skipped, where one at a time is in flight: the
    engine asks for the next only when the one before is handled."""

    source: Any
    dropped: list[Record] = attrs.field(factory=list, init=False)
    skipped: list[Record] = attrs.field(factory=list, init=False)
    _handle: RunHandle | None = attrs.field(default=None, init=False)
    _last: Record = attrs.field(default=None, init=False)

    def started(self, value: RunHandle | None = None) -> None:
        """Called by the run, as a `trio.TaskStatus`, before the first record."""
        self._handle = value

    async def stream(self) -> AsyncGenerator[Record]:
        """Yield the other's records. A trio checkpoint where the other's is one."""
        async with aclosing(self.source.stream()) as records:
            async for record in records:
                self._last = keep(record.original if isinstance(record, Malformed) else record)
                yield record
                if self._handle is not None:
                    self.look(self._handle.stats())

    def __getattr__(self, name: str) -> Any:
        """Its life is the other's."""
        if name not in ("open", "close", "lifespan", "prepare_resume"):
            raise AttributeError(name)
        return getattr(self.source, name)

    def look(self, stats: RunStats) -> None:
        """Take the counts of now: what is new of them is the last record's."""
        if stats.dropped > len(self.dropped):
            self.dropped.append(self._last)
        if stats.skipped > len(self.skipped):
            self.skipped.append(self._last)

    def trim(self, summary: RunSummary) -> None:
        """What `finish()` of a step gave may have made something of the last record after all."""
        del self.dropped[summary.dropped :], self.skipped[summary.skipped :]


@attrs.define(eq=False)
class SinkTap:
    """Keeps what a sink accepts. In front of a real one, that one decides what it accepts."""

    sink: Any = None
    file: Path | None = None
    """Where the real one writes; `None` where it writes no text."""
    records: list[Record] = attrs.field(factory=list, init=False)

    async def write(self, records: Sequence[Record]) -> None:
        """As the real one's. A trio checkpoint."""
        if self.sink is None:
            await trio.lowlevel.checkpoint()
            self._keep(records, None)
        else:
            self._keep(records, await _refused(self.sink.write(records)))

    def __getattr__(self, name: str) -> Any:
        """Whatever else the real one has."""
        if name.startswith("__") or self.sink is None:
            raise AttributeError(name)
        found = getattr(self.sink, name)
        return self._write_columns if name == "write_columns" else found

    async def _write_columns(self, record_batch: Any) -> None:
        self._keep(rows_of(record_batch), await _refused(self.sink.write_columns(record_batch)))

    def _keep(self, records: Sequence[Record], refused: RecordsRejected | None) -> None:
        bad = refused.errors if refused else {}
        self.records.extend(keep(record) for index, record in enumerate(records) if index not in bad)
        if refused:
            raise refused


async def _refused(writing: Awaitable[None]) -> RecordsRejected | None:
    try:
        await writing
    except RecordsRejected as error:
        return error
    return None


@attrs.define(eq=False)
class LetterTap:
    """A dead-letter queue that keeps letters as they are."""

    letters: list[DLQRecord] = attrs.field(factory=list, init=False)

    async def write(self, letters: Sequence[DLQRecord]) -> None:
        """Take them. A trio checkpoint."""
        await trio.lowlevel.checkpoint()
        self.letters.extend(letters)
