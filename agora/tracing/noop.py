"""The tracer of a run that nobody traces.

`enabled = False` keeps the engine from calling it at all; a user's `context.span(…)` still needs something to
enter, which is one shared object without state, so that it allocates nothing.
"""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Literal

import attrs

from agora.records import Json
from agora.tracing.base import Span

__all__ = ["NoopTracer"]


class _NoSpan(AbstractContextManager[Span]):
    """A span that keeps nothing, and the context manager that gives it."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        return False

    def set(self, name: str, value: Json) -> None:
        """Keep nothing."""

    def record_error(self, error: BaseException) -> None:
        """Keep nothing."""


_NO_SPAN = _NoSpan()


@attrs.frozen
class NoopTracer:
    """Traces nothing, costs nothing."""

    enabled: bool = attrs.field(default=False, init=False)

    def span(
        self,
        name: str,
        *,
        parent: Span | None = None,
        attributes: dict[str, Json] | None = None,
        elapsed: float = 0.0,
    ) -> AbstractContextManager[Span]:
        """Enter nothing; always the same object."""
        return _NO_SPAN
