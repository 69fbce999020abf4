"""Assertions on what a run traced."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import attrs

from agora.records import Json
from agora.tracing.memory import InMemoryTracer, RecordedSpan

__all__ = ["AssertingTracer"]


P = ParamSpec("P")
T = TypeVar("T")


def _in_memory(
    method: Callable[Concatenate[InMemoryTracer, P], T],
) -> Callable[Concatenate["AssertingTracer", P], T]:
    """The method, as the tracer's own."""

    @functools.wraps(method)
    def call(tracer: "AssertingTracer", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(tracer._memory, *args, **kwargs)

    return call


@attrs.frozen(eq=False)
class AssertingTracer:
    """An `InMemoryTracer` with assertions, whose failures show the spans that there are."""

    _memory: InMemoryTracer = attrs.field(init=False, factory=InMemoryTracer)

    @property
    def spans(self) -> list[RecordedSpan]:
        """Finished spans, in the order in which they ended."""
        return self._memory.spans

    @property
    def enabled(self) -> bool:
        return self._memory.enabled

    span = _in_memory(InMemoryTracer.span)

    def assert_span(
        self,
        name: str,
        *,
        parent: str | None = None,
        attributes: Mapping[str, Json] | None = None,
        error: type[BaseException] | None = None,
        count: int | None = None,
    ) -> RecordedSpan:
        """The first finished span of this name; of this parent's name, with at least these attributes, and with an
        error of this class, where they are given. `count`: exactly so many fit. `AssertionError` that shows the spans,
        and by what the nearest ones differ."""
        __tracebackhide__ = True
        wanted = _Wanted(name, parent, dict(attributes or {}), error)
        fitting = [span for span in self.spans if not wanted.misses(span)]
        if fitting and count in (None, len(fitting)):
            return fitting[0]
        raise AssertionError(_complaint(wanted, fitting, count, self.spans))

    def assert_no_span(self, name: str) -> None:
        """No span of this name is finished. `AssertionError` that shows them."""
        __tracebackhide__ = True
        found = [span for span in self.spans if span.name == name]
        if found:
            raise AssertionError(f"{len(found)} of no span {name!r}:\n{_listed(found)}")


@attrs.frozen
class _Wanted:
    name: str
    parent: str | None
    attributes: Mapping[str, Json]
    error: type[BaseException] | None

    def misses(self, span: RecordedSpan) -> list[str]:
        """By what the span differs from what is wanted."""
        if span.name != self.name:
            return [f"its name is {span.name!r}"]
        found = []
        over = None if span.parent is None else span.parent.name
        if self.parent is not None and over != self.parent:
            found.append(f"its parent is {over!r}, not {self.parent!r}")
        for name, value in self.attributes.items():
            if name not in span.attributes:
                found.append(f"it has no attribute {name!r}")
            elif span.attributes[name] != value:
                found.append(f"{name} is {span.attributes[name]!r}, not {value!r}")
        if self.error is not None and not isinstance(span.error, self.error):
            found.append(f"its error is {span.error!r}, not a {self.error.__qualname__}")
        return found

    def __str__(self) -> str:
        parts = [repr(self.name)]
        if self.parent is not None:
            parts.append(f"under {self.parent!r}")
        if self.attributes:
            parts.append(f"with {dict(self.attributes)!r}")
        if self.error is not None:
            parts.append(f"with a {self.error.__qualname__}")
        return " ".join(parts)


def _complaint(
    wanted: _Wanted, fitting: Sequence[RecordedSpan], count: int | None, spans: Sequence[RecordedSpan]
) -> str:
    if fitting:
        return f"{len(fitting)} spans, not {count}: {wanted}\n{_listed(fitting)}"
    named = [span for span in spans if span.name == wanted.name]
    if named:
        reasons = [f"  {_line(span)}: {'; '.join(wanted.misses(span))}" for span in named]
        return f"no span {wanted}; those of the name:\n" + "\n".join(reasons)
    return f"no span {wanted}; finished are:\n{_listed(spans)}"


def _listed(spans: Sequence[RecordedSpan]) -> str:
    return "\n".join(f"  {_line(span)}" for span in spans) or "  (none)"


def _line(span: RecordedSpan) -> str:
    over = "" if span.parent is None else f" under {span.parent.name}"
    error = "" if span.error is None else f" with {span.error!r}"
    return f"{span.name}{over} {span.attributes}{error}"
