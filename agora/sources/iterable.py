"""`IterableSource`: records from Python itself: an iterable, an async iterable, a `trio.abc.ReceiveChannel`.

What is iterated is the user's, and drawing from it may have effects. So nothing is read ahead of what the
engine can take, and a block ends early where drawing is slow. There is no place to come back to: it can't
resume.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from typing import Any, ClassVar

import attrs

from agora.errors import AgoraError, ConfigError
from agora.records import Record
from agora.sources.base import Block, Demand

__all__ = ["IterableSource"]


@attrs.define(eq=False)
class IterableSource:
    """Gives the items as records. Not checkpointable.

    A list, tuple, range or anything else that gives a new iterator each time may be run again; an iterator,
    an async generator or a channel is used up by its run, and a second one raises `AgoraError`. An async
    generator is closed when the run ends; a channel stays open, its owner closes it.
    """

    items: Iterable[Any] | AsyncIterable[Any] = attrs.field(
        metadata={"doc": "The records: any iterable, an async iterable, or a channel to receive them from."}
    )
    supports_checkpoint: ClassVar[bool] = False
    _used: bool = attrs.field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.items, Iterable | AsyncIterable):
            raise ConfigError(
                f"items must be an iterable or an async iterable, not {type(self.items).__name__}"
            )

    @property
    def blocks(self) -> Callable[[Demand], AsyncGenerator[Block]] | None:
        """Reading in bulk; `None` where the items come asynchronously, one at a time."""
        return None if isinstance(self.items, AsyncIterable) else self._blocks

    async def stream(self) -> AsyncGenerator[Record]:
        """Yield the items one by one. A trio checkpoint only where the items are asynchronous."""
        if isinstance(self.items, AsyncIterable):
            self._take(self.items.__aiter__() is self.items)
            async with contextlib.AsyncExitStack() as stack:
                if isinstance(self.items, AsyncGenerator):
                    await stack.enter_async_context(contextlib.aclosing(self.items))
                async for item in self.items:
                    yield item
            return
        for item in self._iterator(self.items):
            yield item

    async def _blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        assert isinstance(self.items, Iterable)
        if isinstance(self.items, list | tuple | range):
            at = 0
            while some := self.items[at : at + demand.rows]:
                at += len(some)
                yield Block(some if type(some) is list else list(some))  # a list's slice is a copy already
            return
        iterator = self._iterator(self.items)
        ended = False
        while not ended:
            rows: list[Any] = []
            try:
                while len(rows) < demand.rows:
                    rows.append(next(iterator))
                    if demand.overdue():
                        break
            except StopIteration:
                ended = True
            except BaseException:
                # what was drawn before the failure comes before it
                if rows:
                    yield Block(rows)  # noqa: ASYNC104  - a plain iterator gave the error: it is no Cancelled
                raise
            if rows:
                yield Block(rows)

    def _iterator(self, items: Iterable[Any]) -> Iterator[Any]:
        iterator = iter(items)
        self._take(iterator is items)
        return iterator

    def _take(self, once: bool) -> None:
        if once and self._used:
            raise AgoraError(
                f"the {type(self.items).__name__} of this IterableSource was used up by an earlier run; "
                "give a list, or an object that makes a new iterator each time"
            )
        self._used = True
