"""The contract of a state backend: namespaced bytes with atomic batches of changes.

Checkpoints, leases, dead letters and caches all live on it. The one writing primitive is `apply`: a list of
changes and expectations that takes effect whole or not at all; everything else is said in terms of it.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import attrs

from agora.errors import StateError

__all__ = ["Change", "Delete", "Expect", "ExpectationFailed", "Put", "StateBackend", "Transaction"]


@attrs.frozen
class Put:
    """Set a value; `ttl` in seconds from the moment it is applied, `None` for ever."""

    namespace: str
    key: str
    value: bytes
    ttl: float | None = None


@attrs.frozen
class Delete:
    """Remove a key; one that isn't there is no error."""

    namespace: str
    key: str


@attrs.frozen
class Expect:
    """The key must hold exactly this value beforehand (`None`: not exist), else nothing happens."""

    namespace: str
    key: str
    value: bytes | None


Change: TypeAlias = Put | Delete | Expect


class ExpectationFailed(StateError):  # noqa: N818 - named like the other errors of agora
    """An `Expect` didn't hold; nothing was changed. `expectation` is the first that failed."""

    def __init__(self, expectation: Expect, message: str) -> None:
        super().__init__(message)
        self.expectation = expectation


class Transaction(Protocol):
    """Buffers changes; applied in one atomic call when its `async with` block is left without an error."""

    def put(self, namespace: str, key: str, value: bytes, *, ttl: float | None = None) -> None: ...

    def delete(self, namespace: str, key: str) -> None: ...

    def expect(self, namespace: str, key: str, value: bytes | None) -> None: ...


class StateBackend(Protocol):
    """Every async method is a trio checkpoint and raises `StateError` for what the storage refuses.

    `apply` is atomic under cancellation: it happened whole or not at all, though a cancelled caller can't
    know which.
    """

    async def open(self) -> None:
        """Ready to use; counted, so that each `open` wants its own `close`."""
        ...

    async def close(self) -> None: ...

    @property
    def is_open(self) -> bool: ...

    async def get(self, namespace: str, key: str) -> bytes | None: ...

    async def put(self, namespace: str, key: str, value: bytes, *, ttl: float | None = None) -> None: ...

    async def delete(self, namespace: str, key: str) -> None: ...

    def scan(self, namespace: str, prefix: str = "") -> AsyncGenerator[tuple[str, bytes]]:
        """Keys with this prefix and their values, in key order; entries put or deleted meanwhile may be seen
        or not."""
        ...

    async def apply(self, changes: Sequence[Change]) -> None:
        """All changes at once if every expectation holds, else `ExpectationFailed` and none."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    def identity(self) -> str:
        """Equal for two objects on the same storage (one real file)."""
        ...
