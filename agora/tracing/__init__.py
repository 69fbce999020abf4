"""Tracers: where the engine's spans go.

Each is loaded on first use, so that no run pays for one that it doesn't use.
"""

from typing import TYPE_CHECKING

from agora.lazily import lazily

if TYPE_CHECKING:
    from agora.tracing.base import Span, Tracer
    from agora.tracing.memory import InMemoryTracer, RecordedSpan
    from agora.tracing.noop import NoopTracer
    from agora.tracing.otel import OpenTelemetryTracer

__all__ = ["InMemoryTracer", "NoopTracer", "OpenTelemetryTracer", "RecordedSpan", "Span", "Tracer"]

_HOMES = {
    "InMemoryTracer": ".memory",
    "NoopTracer": ".noop",
    "OpenTelemetryTracer": ".otel",
    "RecordedSpan": ".memory",
    "Span": ".base",
    "Tracer": ".base",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
