"""Spans kept in a list, for tests and for looking at one run.

The current span is a context variable, since trio gives every task a copy of its nursery's context: a span
that is opened in one task is the parent of what its own children open and of nothing else.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import cast

import attrs

from agora import seam
from agora.records import Json
from agora.tracing.base import Span

__all__ = ["InMemoryTracer", "RecordedSpan"]


@attrs.define(eq=False)
class RecordedSpan:
    """A span as `InMemoryTracer` keeps it. Compared by identity."""

    name: str
    parent: "RecordedSpan | None" = attrs.field(repr=lambda parent: repr(parent and parent.name))
    start: float
    """Seconds of the seam's monotonic clock."""
    end: float | None = None
    """Seconds of the same clock; `None` while the span is open."""
    attributes: dict[str, Json] = attrs.field(factory=dict)
    error: BaseException | None = None
    """The error that was recorded last, or left the block."""

    def set(self, name: str, value: Json) -> None:
        """Set an attribute."""
        self.attributes[name] = value

    def record_error(self, error: BaseException) -> None:
        """Mark the span as failed, with this error."""
        self.error = error


def _no_current() -> ContextVar[RecordedSpan | None]:
    return ContextVar("agora_current_span", default=None)


@attrs.frozen(eq=False)
class InMemoryTracer:
    """Keeps every span; memory grows with their number."""

    spans: list[RecordedSpan] = attrs.field(factory=list, init=False)
    """Finished spans, in the order in which they ended (children before their parent)."""
    enabled: bool = attrs.field(default=True, init=False)
    # One variable a tracer: two tracers in one task don't become each other's parents.
    _current: ContextVar[RecordedSpan | None] = attrs.field(factory=_no_current, init=False, repr=False)

    def span(
        self,
        name: str,
        *,
        parent: Span | None = None,
        attributes: dict[str, Json] | None = None,
        elapsed: float = 0.0,
    ) -> AbstractContextManager[RecordedSpan]:
        """Open a span for the length of a `with` block; see `agora.tracing.base.Tracer`."""
        return self._open(name, cast("RecordedSpan | None", parent), dict(attributes or {}), elapsed)

    @contextmanager
    def _open(
        self, name: str, parent: RecordedSpan | None, attributes: dict[str, Json], elapsed: float
    ) -> Iterator[RecordedSpan]:
        clock = seam.current()
        span = RecordedSpan(
            name, parent or self._current.get(), clock.monotonic() - elapsed, None, attributes
        )
        token = self._current.set(span)
        try:
            yield span
        except BaseException as error:
            span.record_error(error)
            raise
        finally:
            # A generator that the loop finalizes ends its span in another context: nothing to put back there.
            with suppress(ValueError):
                self._current.reset(token)
            span.end = clock.monotonic()
            self.spans.append(span)
