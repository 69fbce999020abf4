"""The contract of a tracer: spans for the run and for each stage's work on a batch."""

from contextlib import AbstractContextManager
from typing import Protocol

from agora.records import Json

__all__ = ["Span", "Tracer"]


class Span(Protocol):
    """An open span."""

    def set(self, name: str, value: Json) -> None:
        """Set an attribute."""
        ...

    def record_error(self, error: BaseException) -> None:
        """Mark the span as failed, with this error."""
        ...


class Tracer(Protocol):
    """Makes spans. `enabled = False` tells the engine to open none at all."""

    @property
    def enabled(self) -> bool: ...

    def span(
        self,
        name: str,
        *,
        parent: Span | None = None,
        attributes: dict[str, Json] | None = None,
        elapsed: float = 0.0,
    ) -> AbstractContextManager[Span]:
        """Open a span for the length of a `with` block; synchronous, not a trio checkpoint.

        `elapsed`: seconds before now at which the work began. `parent=None`: the span that is open in this
        task, if any. An exception that leaves the block is recorded.
        """
        ...
