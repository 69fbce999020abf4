"""Spans of a run: one for the run, one for each stage's work on a batch; none at all where the tracer is
off."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import attrs

from agora.middlewares.step import Step
from agora.records import Json
from agora.runtime.batch import Batch
from agora.tracing.base import Span, Tracer

__all__ = ["Spans"]

_NOTHING: AbstractContextManager[None] = nullcontext()


@attrs.define(eq=False, repr=False)
class Spans:
    """Opens spans under the run's own."""

    tracer: Tracer
    run: Span | None = None

    @property
    def enabled(self) -> bool:
        """Whether anybody looks at spans."""
        return self.tracer.enabled

    def of(self, name: str, **attributes: Json) -> AbstractContextManager[Span | None]:
        """A span under the run's; `None` in its place where the tracer is off."""
        if not self.tracer.enabled:
            return _NOTHING
        return self.tracer.span(name, parent=self.run, attributes=attributes)

    def read(self, batch: Batch, elapsed: float) -> None:
        """A span for the reading of a batch, which began `elapsed` seconds ago. Called where the batch is
        cut."""
        attributes: dict[str, Json] = {"ordinal": batch.first, "records": batch.count}
        with self.tracer.span(
            "agora.source", parent=self.run, attributes=attributes, elapsed=elapsed
        ) as span:
            _tell_failures(span, batch, "source", 0)

    def steps(self, steps: Sequence[Step], batch: Batch) -> AbstractContextManager[None]:
        """A span for each step of a segment, with what it left and what failed. Steps fused into one loop
        share start and end."""
        return self._steps(steps, batch) if self.tracer.enabled else _NOTHING

    @contextmanager
    def _steps(self, steps: Sequence[Step], batch: Batch) -> Iterator[None]:
        before = len(batch.failures)
        with ExitStack() as stack:
            spans = []
            for step in steps:
                attributes: dict[str, Json] = {"ordinal": batch.first, "records": len(batch.rows)}
                span = self.tracer.span(
                    f"agora.middleware.{step.name}", parent=self.run, attributes=attributes
                )
                spans.append((step, stack.enter_context(span)))
            yield
            for step, opened in spans:
                opened.set("left", len(batch.rows))
                _tell_failures(opened, batch, step.stage, before)


def _tell_failures(span: Span, batch: Batch, stage: str, start: int) -> None:
    """Record the first failure of this stage, and how many there were."""
    failures = [failure for failure in batch.failures[start:] if failure.stage == stage]
    if batch.halt is not None and batch.halt.stage == stage:
        failures.append(batch.halt)
    span.set("failed", len(failures))
    if failures:
        span.record_error(failures[0].error)
