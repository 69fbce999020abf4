"""A list as a sink: for tests, notebooks and small results.

It takes part in the barrier, so that a pipeline into memory can be tested for what a crash would leave. What
it holds ends with the object, so a new object starts anew, whatever an old checkpoint says.
"""

from collections.abc import Sequence

import attrs
import trio

from agora import seam
from agora.context import RunContext
from agora.records import Json, Record

__all__ = ["MemorySink"]


def _new_id() -> str:
    return seam.current().random_id()


@attrs.define(eq=False)
class MemorySink:
    """Keeps every record in `records`, in order, uncommitted ones too. A dead-letter queue as well.

    Every method is a trio checkpoint and changes nothing if it is cancelled.
    """

    records: list[Record] = attrs.field(init=False, factory=list)
    _id: str = attrs.field(init=False, factory=_new_id)
    _base: int | None = attrs.field(init=False, default=None)

    @property
    def target(self) -> str:
        return "memory"

    def explain(self) -> str:
        return "the list is cut back to the checkpoint, as long as this object lives"

    async def open(self, context: RunContext) -> None:
        """What is there now is another pipeline's, unless `recover` says otherwise."""
        await trio.lowlevel.checkpoint()
        self._base = None

    async def write(self, records: Sequence[Record]) -> None:
        await trio.lowlevel.checkpoint()
        self.records.extend(records)

    async def prepare(self) -> Json:
        await trio.lowlevel.checkpoint()
        if self._base is None:
            self._base = len(self.records)
        return {"memory": self._id, "base": self._base, "length": len(self.records)}

    async def commit(self, token: Json) -> None:
        await trio.lowlevel.checkpoint()

    async def recover(self, token: Json) -> None:
        """Cut back to the token's length, if the token is this object's own."""
        await trio.lowlevel.checkpoint()
        self._cut(token, "length")

    async def restart(self, token: Json) -> None:
        """Remove what this pipeline wrote, if the token is this object's own."""
        await trio.lowlevel.checkpoint()
        self._cut(token, "base")

    def _cut(self, token: Json, field: str) -> None:
        if not isinstance(token, dict) or token.get("memory") != self._id:
            return
        length, base = token.get(field), token.get("base")
        if isinstance(length, int) and isinstance(base, int):
            del self.records[length:]
            self._base = base
