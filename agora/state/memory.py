"""State in memory, for tests and for runs that needn't survive their process.

It keeps the contract of the durable backends to the letter (atomic `apply`, expiry, one holder of a lease at
a time), so that a pipeline proved on it behaves the same on a file; only what it holds ends with the object.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager

import attrs
import trio

import agora.seam
from agora.state.base import Change, Delete, Expect, Put, Transaction
from agora.state.locks import MemoryLock
from agora.state.transaction import buffered, check_text, not_met, not_open

__all__ = ["MemoryBackend"]

_PLACE = "the memory backend"


@attrs.frozen
class _Entry:
    value: bytes
    expires: float | None

    def is_live(self, now: float) -> bool:
        return self.expires is None or now < self.expires


@attrs.define(eq=False)
class MemoryBackend:
    """A `StateBackend` in this object; what it holds outlives `close`, and ends with the object."""

    _users: int = attrs.field(default=0, init=False)
    _entries: dict[str, dict[str, _Entry]] = attrs.field(factory=dict, init=False, repr=False)
    _locked: set[str] = attrs.field(factory=set, init=False, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether someone has it open."""
        return self._users > 0

    async def open(self) -> None:
        """Count a user. A trio checkpoint; a cancelled call has counted nothing."""
        await trio.lowlevel.checkpoint()
        self._users += 1

    async def close(self) -> None:
        """Uncount a user, also when cancelled."""
        if not self._users:
            raise not_open(_PLACE)
        self._users -= 1
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()

    async def get(self, namespace: str, key: str) -> bytes | None:
        """The value, or `None`. A trio checkpoint."""
        await trio.lowlevel.checkpoint()
        return self.look(namespace, key)

    def look(self, namespace: str, key: str) -> bytes | None:
        """As `get`, at once."""
        self._check_open()
        return self._live(namespace, key, _now())

    async def put(self, namespace: str, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Set one value; `ttl` in seconds. A trio checkpoint before the change."""
        await self.apply([Put(namespace, key, value, ttl)])

    async def delete(self, namespace: str, key: str) -> None:
        """Remove one key. A trio checkpoint before the change."""
        await self.apply([Delete(namespace, key)])

    async def scan(self, namespace: str, prefix: str = "") -> AsyncGenerator[tuple[str, bytes]]:
        """Keys with this prefix and their values, in key order. A trio checkpoint at its start."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        for key in sorted(key for key in self._entries.get(namespace, ()) if key.startswith(prefix)):
            value = self._live(namespace, key, _now())
            if value is not None:
                yield key, value

    async def apply(self, changes: Sequence[Change]) -> None:
        """All changes at once or, with `ExpectationFailed`, none. A trio checkpoint before; cancelled:
        none."""
        await trio.lowlevel.checkpoint()
        self.change(changes)

    def change(self, changes: Sequence[Change]) -> None:
        """As `apply`, at once."""
        self._check_open()
        check_text(changes, _PLACE)
        now = _now()
        for change in changes:
            if isinstance(change, Expect) and self._live(change.namespace, change.key, now) != change.value:
                raise not_met(change, _PLACE)
        for change in changes:
            if isinstance(change, Put):
                expires = None if change.ttl is None else now + change.ttl
                self._entries.setdefault(change.namespace, {})[change.key] = _Entry(
                    bytes(change.value), expires
                )
            elif isinstance(change, Delete):
                self._entries.get(change.namespace, {}).pop(change.key, None)

    def copy(self, *, locks: bool = False) -> "MemoryBackend":
        """Another one that holds the same, as a process finds it that begins where another has died: nobody has it
        open. `locks`: they are held still, as by one that is frozen."""
        made = MemoryBackend()
        made._entries = {namespace: dict(entries) for namespace, entries in self._entries.items()}
        made._locked = set(self._locked) if locks else set()
        return made

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Buffered changes, applied when the block is left without an error."""
        return buffered(self)

    def identity(self) -> str:
        """One object is one storage."""
        return f"memory:{id(self):x}"

    def holder_lock(self, name: str) -> MemoryLock:
        """The lock that a lease's holder keeps; ends with this object."""
        return MemoryLock(self._locked, name)

    def _live(self, namespace: str, key: str, now: float) -> bytes | None:
        entries = self._entries.get(namespace, {})
        entry = entries.get(key)
        if entry is None:
            return None
        if entry.is_live(now):
            return entry.value
        del entries[key]
        return None

    def _check_open(self) -> None:
        if not self._users:
            raise not_open(_PLACE)


def _now() -> float:
    return agora.seam.current().now().timestamp()
