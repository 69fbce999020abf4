"""A state backend that fails by a plan."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, TypeVar

import attrs

from agora.state.base import Change, StateBackend, Transaction
from agora.state.transaction import buffered
from agora.testing.faults.calls import Call, CallObserver, FailurePlan

__all__ = ["FaultyStateBackend"]

T = TypeVar("T")

_CALLS = frozenset({"open", "close", "get", "put", "delete", "apply", "scan"})


@attrs.define(eq=False)
class FaultyStateBackend:
    """The backend, some of whose calls fail: `open`, `close`, `get`, `put`, `delete`, `apply`, each step of a `scan`.

    A transaction is applied by `apply`, so it fails there, whole. With `after=True` it was applied and its answer is
    lost, as that of a database whose connection breaks. What else the backend has (a path, a lock) is its own.
    """

    _backend: Any
    _plan: CallObserver = attrs.field(factory=FailurePlan)
    _counts: dict[str, int] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self._plan, FailurePlan):
            self._plan.require(self._backend, _CALLS)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._backend, name)

    @property
    def is_open(self) -> bool:
        return bool(self._backend.is_open)

    async def open(self) -> None:
        await self._perform("open", self._backend.open)

    async def close(self) -> None:
        await self._perform("close", self._backend.close)

    async def get(self, namespace: str, key: str) -> bytes | None:
        found: bytes | None = await self._perform("get", lambda: self._backend.get(namespace, key))
        return found

    async def put(self, namespace: str, key: str, value: bytes, *, ttl: float | None = None) -> None:
        await self._perform("put", lambda: self._backend.put(namespace, key, value, ttl=ttl))

    async def delete(self, namespace: str, key: str) -> None:
        await self._perform("delete", lambda: self._backend.delete(namespace, key))

    async def scan(self, namespace: str, prefix: str = "") -> AsyncGenerator[tuple[str, bytes]]:
        async with aclosing(self._backend.scan(namespace, prefix)) as found:
            while True:
                try:
                    item: tuple[str, bytes] = await self._perform("scan", found.__anext__)
                except StopAsyncIteration:
                    return
                yield item

    async def apply(self, changes: Sequence[Change]) -> None:
        await self._perform("apply", lambda: self._backend.apply(changes))

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return buffered(self)

    def identity(self) -> str:
        """That of the storage itself."""
        return str(self._backend.identity())

    async def _perform(self, method: str, act: Callable[[], Awaitable[T]]) -> T:
        self._counts[method] = self._counts.get(method, 0) + 1
        return await self._plan.perform_call(Call("state", method, self._counts[method]), act)


def _keeps_the_contract(backend: FaultyStateBackend) -> StateBackend:
    return backend
