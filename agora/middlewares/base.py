"""The contract of a middleware: what happens to a record between source and sinks.

A middleware defines exactly one of `process`, `expand`, `process_batch`; everything else is optional and
looked up by name.

`process(record) -> record | None`
    Plain or `async`. `None` drops the record.
`expand(record) -> iterable`
    Plain or `async`: many records, or none. A list goes on as it is; an iterator is drawn lazily.
`process_batch(records) -> results`
    Plain or `async`; one result a record, in order: a record, `None`, or an exception for that record alone.
`finish() -> iterable`
    Plain or `async`: what was held back, when the source is exhausted (not on `stop()`).
`min_concurrency = 1`
    More than 1 makes a buffered stage: so many records at once, leaving in source order.
`on_start(context)`, `on_end()`
    Plain or `async`, in the task that called `run()`; paired whatever happens.
`on_error(record, error)`
    Plain or `async`; observes a failure of this step, once; ends the run if it raises.
`snapshot() -> Json`, `restore(state)`
    Synchronous. Small state that is saved with every checkpoint; a step that has them can't be buffered.
`lifespan(context)`, `async check(context)`
    As for any part.
"""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol

from agora.records import Json, Record

__all__ = ["BatchMiddleware", "ExpandingMiddleware", "Middleware", "StatefulMiddleware"]


class Middleware(Protocol):
    """One record in, one or none out. See the module's documentation for what else it may define."""

    min_concurrency: int = 1

    def process(self, record: Record, /) -> Record | None | Awaitable[Record | None]: ...


class ExpandingMiddleware(Protocol):
    """One record in, any number out."""

    def expand(self, record: Record, /) -> Iterable[Record] | Awaitable[Iterable[Record]]: ...


class BatchMiddleware(Protocol):
    """Records in bulk: one result a record, in order; an exception in the list fails that record alone."""

    min_concurrency: int = 1

    def process_batch(
        self, records: Sequence[Record], /
    ) -> Sequence[Record | None | Exception] | Awaitable[Sequence[Record | None | Exception]]: ...


class StatefulMiddleware(Protocol):
    """State that the barrier saves."""

    def snapshot(self) -> Json: ...

    def restore(self, state: Json, /) -> None: ...
