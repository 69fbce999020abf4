"""Tracers: where the engine's spans go.

Each is loaded on first use, so that no run pays for one that it doesn't use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agora.tracing.base import Span, Tracer
    from agora.tracing.memory import InMemoryTracer, RecordedSpan
    from agora.tracing.noop import NoopTracer
    from agora.tracing.otel import OpenTelemetryTracer

__all__ = ["InMemoryTracer", "NoopTracer", "OpenTelemetryTracer", "RecordedSpan", "Span", "Tracer"]

_HOMES = {
    "InMemoryTracer": "memory",
    "NoopTracer": "noop",
    "OpenTelemetryTracer": "otel",
    "RecordedSpan": "memory",
    "Span": "base",
    "Tracer": "base",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
