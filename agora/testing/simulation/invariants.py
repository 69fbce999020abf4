"""What holds after every simulated run, and at the end of a simulation, whatever was injected."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from agora.checkpoint import Checkpoint
from agora.middlewares.step import StepKind
from agora.runtime.report import RunSummary
from agora.runtime.spec import PipelineSpec
from agora.sources.compression import decompressed, kind_of
from agora.testing.faults.nodes import Tree

__all__ = ["INVARIANTS", "Invariant", "Observation", "broken_at_end", "broken_by_counts", "broken_by_order"]

Seen: TypeAlias = Callable[[str, bytes], object]
"""Of a file's name and content: what of it is the same whenever and however often the pipeline runs; `None`: nothing,
not even the name."""


@attrs.frozen
class Invariant:
    """Something that always holds."""

    name: str
    statement: str


ENDS = Invariant("ends", "a run ends: it never waits for something that doesn't come")
COMPLETES = Invariant(
    "completes", "a run that is left alone is completed, whatever befell the runs before it"
)
TAKES_OVER = Invariant(
    "takes over", "a run that finds another one silent takes over from it, and is completed"
)
FAILS_FOR_A_REASON = Invariant("fails for a reason", "a run fails only by what was injected into it")
LEAVES_NOTHING = Invariant(
    "leaves nothing", "no task, no open file and no open state is left when run() is over"
)
COUNTS = Invariant(
    "counts", "read = written + dropped + dead_lettered + skipped, where no step multiplies records"
)
LETTERS_COUNTED = Invariant(
    "letters counted", "a run over the whole source leaves letters of as many records as it says"
)
ORDER = Invariant("checkpoints in order", "a checkpoint is never behind the one before it, over all runs")
FILES = Invariant("files", "at the end each file holds what it holds in a world where nothing was injected")
LETTERS = Invariant(
    "letters", "at the end there are the letters of a world where nothing was injected, once each"
)
PLACE = Invariant("place", "the last checkpoint is at the end of the source, and completed")
CHECK = Invariant("check", "what the test itself checks")

INVARIANTS: Sequence[Invariant] = (
    ENDS,
    COMPLETES,
    TAKES_OVER,
    FAILS_FOR_A_REASON,
    LEAVES_NOTHING,
    COUNTS,
    LETTERS_COUNTED,
    ORDER,
    FILES,
    LETTERS,
    PLACE,
    CHECK,
)


@attrs.frozen(kw_only=True)
class Observation:
    """What is to be seen of a world from outside, apart from times and ids."""

    files: Mapping[str, object] = attrs.field(factory=dict)
    """By name relative to the working directory: the content, decompressed; or what `seen` makes of it."""
    letters: Sequence[tuple[Any, ...]] = ()
    """(ordinal, stage, error type, message, original, processed, entry), sorted."""
    ordinal: int | None = None
    """Of the last checkpoint; `None`: there is none."""

    @classmethod
    def of(
        cls, tree: Tree, letters: Sequence[tuple[Any, ...]], last: Checkpoint | None, seen: Seen
    ) -> "Observation":
        contents = {str(path): content for path, content in tree.items() if content is not None}
        files = {name: seen(name, _plain(content)) for name, content in contents.items()}
        return cls(
            files=files, letters=sorted(letters, key=repr), ordinal=None if last is None else last.ordinal
        )


def broken_by_counts(spec: PipelineSpec, summary: RunSummary) -> Iterator[tuple[Invariant, str]]:
    """What one run that ended in order breaks."""
    total = summary.written + summary.dropped + summary.dead_lettered + summary.skipped
    multiplies = any(
        step.kind is StepKind.EXPAND or hasattr(step.part, "finish") for step in spec.chain.steps
    )
    if not multiplies and summary.read != total:
        yield COUNTS, str(summary)


def broken_by_order(saved: Sequence[tuple[str, Checkpoint | None]]) -> Iterator[tuple[Invariant, str]]:
    """What the checkpoints of all runs break."""
    last: dict[str, int] = {}
    for pipeline, checkpoint in saved:
        before = last.get(pipeline, 0)
        last[pipeline] = 0 if checkpoint is None else checkpoint.ordinal
        if checkpoint is not None and checkpoint.ordinal < before:
            yield ORDER, f"{pipeline}: {checkpoint.ordinal} after {before}"


def broken_at_end(found: Observation, calm: Observation, *, once: bool) -> Iterator[tuple[Invariant, str]]:
    """What the end of a simulation breaks, compared with a calm world. `once`: letters are exact."""
    for name in sorted({*found.files, *calm.files}):
        here, there = found.files.get(name), calm.files.get(name)
        if here != there:
            yield FILES, f"{name}: {_difference(here, there)}"
    letters, expected = [repr(letter) for letter in found.letters], [repr(letter) for letter in calm.letters]
    if not once:
        letters, expected = sorted(set(letters)), sorted(set(expected))
    if letters != expected:
        missing = [letter for letter in expected if letter not in letters]
        surplus = [letter for letter in letters if letter not in expected]
        yield LETTERS, f"{len(letters)} instead of {len(expected)}; missing {missing}, too many {surplus}"
    if found.ordinal != calm.ordinal:
        yield PLACE, f"the last checkpoint is at record {found.ordinal} instead of {calm.ordinal}"


def _plain(content: bytes) -> bytes:
    """Decompressed: where the members of a compressed file end depends on when there were checkpoints."""
    kind = kind_of(content[:4])
    return content if kind is None else b"".join(decompressed(kind, io.BytesIO(content).read))


def _difference(here: object, there: object) -> str:
    if here is None or there is None:
        return "is missing" if here is None else "should not be there"
    if not isinstance(here, bytes) or not isinstance(there, bytes):
        return f"{here!r} instead of {there!r}"
    for number, (line, expected) in enumerate(zip(here.splitlines(), there.splitlines(), strict=False), 1):
        if line != expected:
            return f"line {number} is {line!r} instead of {expected!r}"
    return f"{len(here)} bytes instead of {len(there)}"
