"""Spans for OpenTelemetry, through its API alone: which SDK and exporter they reach is up to the application.

Parents are taken from OpenTelemetry's own context: a run inside an application's span is that span's child.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import attrs
import msgspec
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode, TracerProvider
from opentelemetry.util.types import AttributeValue

from agora._version import __version__
from agora.records import Json
from agora.tracing.base import Span

__all__ = ["OpenTelemetryTracer"]


def _attribute(value: Json) -> AttributeValue:
    """OpenTelemetry takes scalars and lists of one kind of scalar; everything else goes as JSON text."""
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Sequence) and value and isinstance(value[0], str | bool | int | float):
        kinds = {type(item) for item in value}
        if len(kinds) == 1:
            return cast("Sequence[str]", tuple(value))
    return msgspec.json.encode(value).decode()


def _attributes(values: Mapping[str, Json]) -> dict[str, AttributeValue]:
    return {name: _attribute(value) for name, value in values.items()}


@attrs.frozen(eq=False)
class _OtelSpan:
    """An OpenTelemetry span behind agora's contract."""

    span: trace.Span

    def set(self, name: str, value: Json) -> None:
        """Set an attribute."""
        self.span.set_attribute(name, _attribute(value))

    def record_error(self, error: BaseException) -> None:
        """Add the exception as an event and set the status to error."""
        self.span.record_exception(error)
        self.span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))


@attrs.frozen(eq=False)
class OpenTelemetryTracer:
    """Sends spans to OpenTelemetry."""

    tracer_provider: TracerProvider | None = attrs.field(
        default=None, metadata={"doc": "where spans go; by default the global provider at the first span"}
    )
    instrumentation_name: str = attrs.field(
        default="agora", metadata={"doc": "name of the instrumentation scope"}
    )
    enabled: bool = attrs.field(default=True, init=False)
    # Without a provider the API gives a proxy: a global provider that is set later counts too.
    _tracer: trace.Tracer = attrs.field(init=False, repr=False)

    @_tracer.default
    def _make_tracer(self) -> trace.Tracer:
        return trace.get_tracer(self.instrumentation_name, __version__, self.tracer_provider)

    def span(
        self,
        name: str,
        *,
        parent: Span | None = None,
        attributes: dict[str, Json] | None = None,
        elapsed: float = 0.0,
    ) -> AbstractContextManager[Span]:
        """Open a span for the length of a `with` block; see `agora.tracing.base.Tracer`."""
        return self._open(name, cast("_OtelSpan | None", parent), _attributes(attributes or {}), elapsed)

    @contextmanager
    def _open(
        self, name: str, parent: _OtelSpan | None, attributes: dict[str, AttributeValue], elapsed: float
    ) -> Iterator[_OtelSpan]:
        context = None if parent is None else trace.set_span_in_context(parent.span)
        start = time.time_ns() - int(elapsed * 1e9)
        opened = _OtelSpan(self._tracer.start_span(name, context, attributes=attributes, start_time=start))
        # Errors are recorded here and not by use_span, which leaves out those that are no `Exception`.
        with trace.use_span(
            opened.span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            try:
                yield opened
            except BaseException as error:
                opened.record_error(error)
                raise
