"""What comes of a middleware, in a form that can be compared, and the part that is tried.

Results are kept as code (see `agora.testing.laws.code`), made the moment they come: so that they can be compared
whatever they are, and nothing that is changed later counts.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from agora.middlewares.step import Step, StepKind, step_from
from agora.records import Record
from agora.runtime.letters import qualified_name, said
from agora.testing.laws.code import Code

__all__ = ["Kind", "Outcome", "Settled", "Subject", "failure_of", "failure_text", "text_of"]

Kind: TypeAlias = Literal["map", "filter", "flat_map"]


@attrs.frozen
class Settled:
    """What became of one record."""

    results: tuple[str, ...]
    failure: str | None = None

    def __str__(self) -> str:
        parts = [*self.results] + ([f"the failure {self.failure}"] if self.failure else [])
        return ", ".join(parts) or "nothing"


@attrs.frozen
class Outcome:
    """What came of a run."""

    delivered: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    ended: str | None = None
    """The error that ended it."""

    @classmethod
    def expected(cls, settled: Sequence[Settled], finished: Sequence[str] = ()) -> "Outcome":
        """What the engine must give, where the reference gives this."""
        delivered = [result for each in settled for result in each.results]
        failures = [each.failure for each in settled if each.failure is not None]
        return cls((*delivered, *finished), tuple(failures))

    def in_any_order(self) -> "Outcome":
        return Outcome(tuple(sorted(self.delivered)), tuple(sorted(self.failures)), self.ended)

    def __str__(self) -> str:
        lines = [f"  {each}" for each in self.delivered] or ["  (no records)"]
        lines += [f"  failed: {each}" for each in self.failures]
        if self.ended is not None:
            lines.append(f"  the run ended with {self.ended}")
        return "\n".join(lines)


@attrs.frozen
class Subject:
    """The part that is tried: how to make one."""

    factory: Callable[[], Any]
    kind: Kind | None = None

    def step(self, concurrency: int | None = None) -> Step:
        """A new part as a step."""
        try:
            part = self.factory()
        except TypeError as error:
            error.add_note(
                "factory is called without arguments, for a new part each time: give a class, or lambda: part"
            )
            raise
        if isinstance(part, Step):
            return part if concurrency is None else attrs.evolve(part, concurrency=concurrency)
        kind = None if self.kind is None else StepKind(self.kind)
        return step_from(part, kind=kind, name="part", concurrency=concurrency)


def text_of(record: Record) -> str:
    """A record as code, without what differs between two objects that are alike."""
    return _nameless(Code().of(record))


def failure_of(error: BaseException) -> str:
    """An error as a letter tells it, without what differs between two objects that are alike."""
    return failure_text(qualified_name(type(error)), said(error))


def failure_text(kind: str, message: str) -> str:
    return _nameless(f"{kind}: {message}")


def _nameless(text: str) -> str:
    return re.sub(r"0x[0-9a-f]{6,}", "0x…", text)
