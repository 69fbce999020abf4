"""Calls of parts as operations: what a test can see, delay and fail of a source, a sink, a store or a state backend.

`ObservedPart` stands in a part's place. It has what the part has and nothing that it hasn't, so whatever the engine
asks of a part it learns of the part itself; every call that is awaited, and every step of a stream, goes through an
observer.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from inspect import isawaitable
from typing import Any, Protocol, TypeVar

import attrs
import trio

__all__ = [
    "SINK_CALLS",
    "SOURCE_CALLS",
    "SOURCE_STREAMS",
    "Call",
    "CallObserver",
    "Delays",
    "Failure",
    "FailurePlan",
    "ObservedPart",
]

T = TypeVar("T")

SINK_CALLS = frozenset(
    {
        "open", "write", "write_columns", "write_record", "flush", "finish", "prepare", "commit", "recover", "restart",
        "publish", "close",
    }
)  # fmt: skip
SOURCE_CALLS = frozenset({"open", "prepare_resume", "committed", "close"})
SOURCE_STREAMS = frozenset({"stream", "blocks", "batches"})


@attrs.frozen
class Call:
    """One call that is about to be made."""

    part: str
    method: str
    """Of a stream: each of its steps is a call."""
    number: int
    """How often this method of this part is called with that, from 1."""
    takes_space: bool = attrs.field(default=False, init=False)

    def __str__(self) -> str:
        return f"{self.part}.{self.method}, call {self.number}"


class CallObserver(Protocol):
    """Sees every call."""

    async def perform_call(self, call: Call, act: Callable[[], Awaitable[T]]) -> T:
        """Make the call by `act()`, or not at all; or raise, before or behind it."""
        ...


@attrs.frozen
class Failure:
    """One call that fails."""

    method: str
    number: int = attrs.field(validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)])
    """Which call of the method, from 1."""
    error: Exception = attrs.field(factory=lambda: OSError("injected"))
    after: bool = False
    """The call is made, and its answer is lost: whoever called can't know what came of it."""


@attrs.frozen
class FailurePlan:
    """The calls that fail; all others are made. An empty one changes nothing."""

    failures: Sequence[Failure] = ()

    def require(self, part: object, calls: Collection[str]) -> None:
        """`ValueError` for a failure that can't strike, since the part has no such call."""
        known = sorted(name for name in calls if callable(getattr(part, name, None)))
        for failure in self.failures:
            if failure.method not in known:
                raise ValueError(
                    f"Failure({failure.method!r}, {failure.number}) can't strike: the calls of {type(part).__name__} "
                    f"are {', '.join(known)}"
                )

    async def perform_call(self, call: Call, act: Callable[[], Awaitable[T]]) -> T:
        """Raises the planned error. A trio checkpoint where the call is one, and where it fails instead."""
        for failure in self.failures:
            if (failure.method, failure.number) == (call.method, call.number):
                if failure.after:
                    await act()
                else:
                    await trio.lowlevel.checkpoint()
                raise failure.error
        return await act()


@attrs.frozen
class Delays:
    """Seconds (of trio's clock) that the calls of these methods take longer."""

    seconds: Mapping[str, float]

    async def perform_call(self, call: Call, act: Callable[[], Awaitable[T]]) -> T:
        """Cancelled while it waits, the call isn't made."""
        seconds = self.seconds.get(call.method)
        if seconds is not None:
            await trio.sleep(seconds)
        return await act()


class ObservedPart:
    """Stands in the place of `part`, whose calls of these names go through `observer`.

    What isn't among them is the part's own, and what is set on it is set on the part.
    """

    __slots__ = ("_calls", "_counts", "_label", "_observer", "_part", "_streams")

    def __init__(
        self,
        part: object,
        observer: CallObserver,
        label: str,
        calls: frozenset[str],
        streams: frozenset[str] = frozenset(),
    ) -> None:
        counts: dict[str, int] = {}
        own: dict[str, object] = {"part": part, "observer": observer, "label": label, "calls": calls}
        for name, value in {**own, "streams": streams, "counts": counts}.items():
            object.__setattr__(self, f"_{name}", value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._part, name)
        if callable(found):
            if name in self._calls:
                return self._observed(name, found)
            if name in self._streams:
                return self._observed_stream(name, found)
        return found

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._part, name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._part!r})"

    def _call(self, method: str) -> Call:
        self._counts[method] = self._counts.get(method, 0) + 1
        return Call(self._label, method, self._counts[method])

    def _observed(self, method: str, found: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            async def act() -> Any:
                result = found(*args, **kwargs)
                return await result if isawaitable(result) else result

            return await self._observer.perform_call(self._call(method), act)

        return call

    def _observed_stream(self, method: str, found: Callable[..., Any]) -> Callable[..., Any]:
        def stream(*args: Any, **kwargs: Any) -> Any:
            inner = found(*args, **kwargs)
            if hasattr(inner, "aclose"):
                return self._closing_steps(method, inner)
            if hasattr(inner, "__aenter__"):
                return self._managed_steps(method, inner)
            return self._steps(method, inner) if hasattr(inner, "__aiter__") else inner

        return stream

    async def _closing_steps(self, method: str, inner: Any) -> AsyncGenerator[Any]:
        async with aclosing(inner), aclosing(self._steps(method, inner)) as steps:
            async for item in steps:
                yield item

    @asynccontextmanager
    async def _managed_steps(self, method: str, manager: Any) -> AsyncGenerator[AsyncIterator[Any]]:
        async with manager as inner, aclosing(self._steps(method, inner)) as steps:
            yield steps

    async def _steps(self, method: str, inner: Any) -> AsyncGenerator[Any]:
        iterator = inner.__aiter__()
        while True:
            try:
                item = await self._observer.perform_call(self._call(method), iterator.__anext__)
            except StopAsyncIteration:
                return
            yield item
