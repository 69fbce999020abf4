"""A sink that tells what was done with it."""

from collections.abc import Sequence

import attrs

from agora.records import Json, Record
from agora.sinks.memory import MemorySink

__all__ = ["RecordingSink"]


@attrs.define(eq=False)
class RecordingSink:
    """A `MemorySink` that also keeps the batches it was given, what is committed, and the calls of the barrier.

    Every method is a trio checkpoint and changes nothing if it is cancelled. What a recovery cuts off, or a restart
    removes, goes from `records`; `batches` and `calls` tell what happened, and only grow.
    """

    batches: list[list[Record]] = attrs.field(init=False, factory=list)
    """What each `write` was given."""
    calls: list[str] = attrs.field(init=False, factory=list)
    """The names of the methods that were called, in order: write, prepare, commit, recover, restart."""
    _committed: int = attrs.field(init=False, default=0)
    _memory: MemorySink = attrs.field(init=False, factory=MemorySink)

    @property
    def records(self) -> list[Record]:
        """All that was written, in order, uncommitted records too."""
        return self._memory.records

    @property
    def committed(self) -> list[Record]:
        """What a checkpoint covers. Nothing, where a run has no checkpoints."""
        return self._memory.records[: self._committed]

    @property
    def target(self) -> str:
        return "recording"

    def explain(self) -> str:
        return self._memory.explain()

    async def write(self, records: Sequence[Record]) -> None:
        await self._memory.write(records)
        self.batches.append(list(records))
        self.calls.append("write")

    async def prepare(self) -> Json:
        token = await self._memory.prepare()
        self.calls.append("prepare")
        return token

    async def commit(self, token: Json) -> None:
        await self._memory.commit(token)
        self._settle("commit", token)

    async def recover(self, token: Json) -> None:
        """Cut back to the token's length, if the token is this object's own."""
        await self._memory.recover(token)
        self._settle("recover", token)

    async def restart(self, token: Json) -> None:
        """Remove what this pipeline wrote, if the token is this object's own."""
        await self._memory.restart(token)
        self._committed = min(self._committed, len(self.records))
        self.calls.append("restart")

    def _settle(self, call: str, token: Json) -> None:
        length = token.get("length") if isinstance(token, dict) else None
        if isinstance(length, int):
            self._committed = min(length, len(self.records))
        self.calls.append(call)
