"""Spans of a run: one for the run, one for each stage's work on a batch; none at all where the tracer is
off."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext

import attrs

from agora.middlewares.step import Step
from agora.records import Json
from agora.runtime.batch import Batch
from agora.tracing.base import Span, Tracer

__all__ = ["Spans"]

_NOTHING: AbstractContextManager[None] = nullcontext()


@attrs.define
class Spans:
    """Opens spans under the run's own."""

    tracer: Tracer
    run: Span | None = None

    @property
    def enabled(self) -> bool:
        return self.tracer.enabled

    def of(self, name: str, **attributes: Json) -> AbstractContextManager[Span | None]:
        """A span under the run's; `None` in its place where the tracer is off."""
        if not self.tracer.enabled:
            return _NOTHING
        return self.tracer.span(name, parent=self.run, attributes=attributes)

    def steps(self, steps: Sequence[Step], batch: Batch) -> AbstractContextManager[object]:
        """A span for each step of a segment. Steps fused into one loop share start and end."""
        if not self.tracer.enabled:
            return _NOTHING
        stack = ExitStack()
        for step in steps:
            stack.enter_context(
                self.of(f"agora.middleware.{step.name}", ordinal=batch.first, records=len(batch.rows))
            )
        return stack
