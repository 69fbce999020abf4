"""What every backend does alike: buffered transactions, opening on demand, the words for what is wrong."""

import contextlib
from collections.abc import AsyncGenerator, Sequence

import attrs

from agora.errors import StateError
from agora.state.base import Change, Delete, Expect, ExpectationFailed, Put, StateBackend

__all__ = ["Buffer", "buffered", "check_text", "describe", "not_met", "not_open", "opened"]


@attrs.define(eq=False, repr=False)
class Buffer:
    """The `Transaction` of every backend: a list of changes."""

    changes: list[Change] = attrs.field(factory=list, init=False)

    def put(self, namespace: str, key: str, value: bytes, *, ttl: float | None = None) -> None:
        """Set a value at the end of the block; `ttl` in seconds from then."""
        self.changes.append(Put(namespace, key, value, ttl))

    def delete(self, namespace: str, key: str) -> None:
        """Remove a key at the end of the block."""
        self.changes.append(Delete(namespace, key))

    def expect(self, namespace: str, key: str, value: bytes | None) -> None:
        """Nothing happens unless the key holds this value (`None`: isn't there) at the end of the block."""
        self.changes.append(Expect(namespace, key, value))


@contextlib.asynccontextmanager
async def buffered(backend: StateBackend) -> AsyncGenerator[Buffer]:
    """A transaction of `backend`; a block that is left by an error changes nothing."""
    buffer = Buffer()
    yield buffer
    await backend.apply(buffer.changes)


@contextlib.asynccontextmanager
async def opened(backend: StateBackend) -> AsyncGenerator[StateBackend]:
    """`backend`, open for the length of the block: opened and closed here unless someone else has it open."""
    if backend.is_open:
        yield backend
        return
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def describe(backend: StateBackend) -> str:
    """The storage, in words for an error message."""
    path = getattr(backend, "path", None)
    return backend.identity() if path is None else f"the state file {path}"


def not_open(place: str) -> StateError:
    return StateError(f"{place} isn't open; use it inside `async with agora.state.opened(backend):`")


def not_met(expectation: Expect, place: str) -> ExpectationFailed:
    wanted = "must not exist" if expectation.value is None else "must hold the expected value"
    return ExpectationFailed(
        expectation,
        f"{place}: {expectation.key!r} in {expectation.namespace!r} {wanted}; nothing was changed",
    )


def check_text(changes: Sequence[Change], place: str) -> None:
    """Refuse names that can't be stored as text, before anything is changed."""
    for change in changes:
        for name in (change.namespace, change.key):
            if not name.isascii():
                try:
                    name.encode()
                except UnicodeEncodeError as error:
                    raise StateError(
                        f"{place}: {name!r} can't be a key or namespace: {error.reason}"
                    ) from error
