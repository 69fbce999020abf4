"""A state backend of a simulated world: in memory, takes time, can fail, and outlives the process."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

import attrs

from agora.checkpoint import Checkpoint
from agora.errors import StateError
from agora.state.base import Change, Delete, Expect, Put, Transaction
from agora.state.checkpoints import checkpoints_in
from agora.state.locks import MemoryLock
from agora.state.memory import MemoryBackend
from agora.state.transaction import buffered
from agora.testing.simulation.machine import Machine
from agora.testing.simulation.plan import Ending
from agora.threaded import with_blocking_form

__all__ = ["SimulatedState"]


@attrs.define(eq=False)
class SimulatedState:
    """A `StateBackend` on one machine; each change is durable at the moment when it happens."""

    machine: Machine
    store: MemoryBackend
    """What it holds."""
    saved: list[tuple[str, Checkpoint | None]] = attrs.field(factory=list)
    """Pipelines and their checkpoints, in the order in which they were saved; `None`: forgotten."""
    changes: int = 0

    @property
    def is_open(self) -> bool:
        return self.store.is_open

    async def open(self) -> None:
        """Count a user. A trio checkpoint."""
        await self.store.open()

    async def close(self) -> None:
        await self.store.close()

    async def get(self, namespace: str, key: str) -> bytes | None:
        """The value, or `None`. A trio checkpoint."""
        return await self.machine.in_thread(self._get, namespace, key)

    def _get(self, namespace: str, key: str) -> bytes | None:
        self.machine.note("state", f"get {namespace}/{key}")
        return self.store.look(namespace, key)

    async def put(self, namespace: str, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Set one value. A trio checkpoint."""
        await self.apply([Put(namespace, key, value, ttl)])

    async def delete(self, namespace: str, key: str) -> None:
        """Remove one key. A trio checkpoint."""
        await self.apply([Delete(namespace, key)])

    async def scan(self, namespace: str, prefix: str = "") -> AsyncGenerator[tuple[str, bytes]]:
        """Keys with this prefix and their values, in key order. A trio checkpoint at its start."""
        self.machine.note("state", f"scan {namespace}/{prefix}")
        async with aclosing(self.store.scan(namespace, prefix)) as items:
            async for item in items:
                yield item

    @with_blocking_form(lambda state: state._blocking_apply())
    async def apply(self, changes: Sequence[Change]) -> None:
        """All changes at once or none. A trio checkpoint; not abandoned when cancelled."""
        await self.machine.in_thread(self._apply, changes)

    def _blocking_apply(self) -> Callable[[Sequence[Change]], None] | None:
        return self._apply if self.machine.plan.in_one_thread else None

    def _apply(self, changes: Sequence[Change]) -> None:
        self.machine.note("state", f"apply {'; '.join(map(_shown, changes))}")
        self.changes += 1
        plan = self.machine.plan
        fails = plan.ending is Ending.STATE_FAILS and plan.at == self.changes
        made = self.machine.chance.random() < 0.5
        if fails and not made:
            raise self.machine.fail(StateError("injected: the change was not made"))
        self.store.change(changes)
        self.saved += checkpoints_in(changes)
        if fails:
            raise self.machine.fail(StateError("injected: the change was made, and reported as failed"))

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Buffered changes, applied when the block is left without an error."""
        return buffered(self)

    def identity(self) -> str:
        return "simulated"

    def holder_lock(self, name: str) -> MemoryLock:
        """The lock of a lease's holder; a process that dies lets go of it."""
        return self.store.holder_lock(name)


def _shown(change: Change) -> str:
    what = "expect" if isinstance(change, Expect) else type(change).__name__.lower()
    return f"{what} {change.namespace}/{change.key}"
