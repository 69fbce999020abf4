"""A checkpoint store that remembers all it was given, and that a crash leaves as a database would be."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from agora.checkpoint import Checkpoint
from agora.records import Json
from agora.testing.faults.calls import CallObserver, ObservedPart

__all__ = ["STORE_CALLS", "RecordedStore", "not_json"]

STORE_CALLS = frozenset({"save", "amend", "begin"})


@attrs.define(eq=False)
class RecordedStore:
    """In memory, without leases: each run is known to be the only one."""

    on_strange: Callable[[str, object], None]
    """Told of what isn't JSON, by name."""
    last: Checkpoint | None = None
    saved: list[Json] = attrs.field(factory=list)
    """Positions that are durable, in order."""
    tokens: dict[str, Json] = attrs.field(factory=dict)

    async def load(self, pipeline: str) -> Checkpoint | None:
        await trio.lowlevel.checkpoint()
        return self.last

    async def genesis(self, pipeline: str) -> Mapping[str, Json]:
        await trio.lowlevel.checkpoint()
        return self.tokens

    async def begin(
        self,
        pipeline: str,
        tokens: Mapping[str, Json],
        fence: int,
        *,
        afresh: bool,
        instead: Checkpoint | None = None,
        also: Sequence[object] = (),
    ) -> None:
        await trio.lowlevel.checkpoint()
        self.tokens = self._through_json("a token", dict(tokens))
        if afresh:
            self.last = None
        elif instead is not None:
            self.last = instead

    async def save(self, pipeline: str, checkpoint: Checkpoint, **also: object) -> None:
        await trio.lowlevel.checkpoint()
        self._put(checkpoint)

    async def amend(self, pipeline: str, checkpoint: Checkpoint, **also: object) -> None:
        await trio.lowlevel.checkpoint()
        self._put(checkpoint)

    def observed(self, observer: CallObserver) -> ObservedPart:
        """This store, in a process that may die."""
        return ObservedPart(self, observer, "checkpoint_store", STORE_CALLS)

    def copy(self) -> "RecordedStore":
        """One that goes on from what this one holds now."""
        return attrs.evolve(self, saved=list(self.saved))

    def _put(self, checkpoint: Checkpoint) -> None:
        position = self._through_json("a position", checkpoint.position)
        sinks = self._through_json("a token", dict(checkpoint.sinks))
        self.last = attrs.evolve(checkpoint, position=position, sinks=sinks)
        self.saved.append(position)

    def _through_json(self, what: str, value: Any) -> Any:
        if not_json(value):
            self.on_strange(what, value)
            return value
        return json.loads(json.dumps(value))


def not_json(value: object) -> bool:
    """Whether it doesn't survive JSON unchanged."""
    try:
        return bool(json.loads(json.dumps(value)) != value)
    except (TypeError, ValueError, RecursionError):
        return True
