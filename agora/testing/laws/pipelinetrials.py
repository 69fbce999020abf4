"""How each law of pipelines is tried."""

import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from agora.middlewares.step import StepKind
from agora.runtime.spec import PipelineSpec
from agora.testing.laws import pipelinelaws as laws
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.outcomes import failure_text, text_of
from agora.testing.laws.pipelinecase import PipelineCase
from agora.testing.laws.pipelinefold import fold
from agora.testing.laws.pipelinerun import Blow, Build, Place, ReadBack, Watched
from agora.testing.laws.virtual import run_timed

__all__ = ["PipelineTrials"]


@attrs.frozen
class PipelineTrials:
    """One method a law, or several that are alike; each runs one case, and raises `Breach`."""

    build: Build
    read_back: ReadBack

    def repetition(self, case: PipelineCase) -> None:
        self._run(_repetition, case)

    def fold(self, case: PipelineCase) -> None:
        self._run(_fold, case)

    def counting(self, case: PipelineCase) -> None:
        self._run(_counting, case)

    def settings(self, case: PipelineCase) -> None:
        self._run(_settings, case)

    def interrupted(self, law: Law, blow: Blow) -> Callable[[PipelineCase], None]:
        return partial(self._run, partial(_interrupted, law, blow))

    def _run(self, main: Callable[["_Places"], Awaitable[None]], case: PipelineCase) -> None:
        with tempfile.TemporaryDirectory() as directory:
            run_timed(main, _Places(Path(directory), self, case))


@attrs.define
class _Places:
    """New places, one a run that knows nothing of the others."""

    directory: Path
    trials: PipelineTrials
    case: PipelineCase
    count: int = 0

    def new(self, case: PipelineCase | None = None) -> Place:
        self.count += 1
        path = self.directory / str(self.count)
        path.mkdir()
        return Place(path, self.trials.build, self.trials.read_back, case or self.case)


# --- each law ---


async def _repetition(places: _Places) -> None:
    one, other = places.new(), places.new()
    first = await _completed(one, laws.REPETITION)
    await trio.sleep(1)  # whoever looks at the clock sees another time
    await _completed(other, laws.REPETITION, like=first)
    await _require_same(laws.REPETITION, other, one, "another run, in another place,")


async def _fold(places: _Places) -> None:
    source = await places.new().capture(steps=False)
    place = places.new()
    spec = place.spec()
    expected = await fold(spec.chain, source.records, spec.default_policy)
    found = await places.new().capture(steps=True)
    delivered = [text_of(record) for record in found.records]
    if expected.stopped:
        if found.ended is None or delivered != expected.delivered[: len(delivered)]:
            raise Breach(laws.FOLD, f"a record fails that ends the run; it delivered {delivered}")
        return
    if delivered != expected.delivered:
        law = laws.ORDER if sorted(delivered) == sorted(expected.delivered) else laws.FOLD
        raise Breach(law, _difference(delivered, expected.delivered))
    letters = sorted(_failure(each) for each in found.letters if each.stage != "source")
    if letters != sorted(expected.failures):
        raise Breach(laws.FOLD, f"letters: {_difference(letters, sorted(expected.failures))}")


def _failure(letter: Any) -> str:
    stage = letter.stage.partition(":")[2]
    return f"{stage}: {failure_text(letter.error_type, letter.error_message)}"


async def _counting(places: _Places) -> None:
    place = places.new()
    run = await _completed(place, laws.COUNTING)
    summary, spec = run.summary, place.spec()
    if summary is None:
        return
    total = summary.written + summary.dropped + summary.dead_lettered + summary.skipped
    if not _multiplies(spec) and summary.read != total:
        raise Breach(laws.COUNTING, str(summary))
    letters, delivered = await place.letters(), place.delivered()
    if letters is not None and len({each.partition(":")[0] for each in letters}) != summary.dead_lettered:
        raise Breach(laws.COUNTING, f"{len(letters)} letters, dead-lettered {summary.dead_lettered}")
    [routed, *more] = spec.sinks
    if more or routed.where is not None:
        return
    number = sum(map(len, delivered.values()))
    if number != summary.written:
        raise Breach(laws.COUNTING, f"written {summary.written}; {number} can be read back")


async def _settings(places: _Places) -> None:
    plain = places.new(PipelineCase(records=places.case.records))
    first = await _completed(plain, laws.SETTINGS)
    place = places.new()
    await _completed(place, laws.SETTINGS, like=first)
    if first.error is None:
        await _require_same(laws.SETTINGS, place, plain, "with these settings")
        return
    # How much stands before the record that ends it depends on where checkpoints are.
    expected, found = plain.delivered(), place.delivered()
    for name, wanted in expected.items():
        seen = found.get(name, [])
        both = min(len(wanted), len(seen))
        if wanted[:both] != seen[:both]:
            what = _difference(seen, wanted)
            raise Breach(laws.SETTINGS, f"with these settings it delivered, up to what ends the run: {what}")


async def _interrupted(law: Law, blow: Blow, places: _Places) -> None:
    calm = places.new()
    first = await _completed(calm, law)
    if first.error is not None:
        return  # it never comes to its end
    most = first.calls if blow == "crash" else first.steps
    for share in places.case.strikes_at:
        one = attrs.evolve(places.case, strikes_at=(share,))
        place = places.new(one)
        try:
            what = await _struck(law, blow, place, 1 + most * share // 1000)
            again = await _completed(place, law, like=first)
            await _require_same(law, place, await _calm_behind(again, calm, places, law), what)
        except Breach as breach:
            raise Breach(breach.law, breach.seen, one) from breach.__cause__


async def _struck(law: Law, blow: Blow, place: Place, at: int) -> str:
    """Run until it is struck; what was done to it."""
    struck = Watched(place, blow, at)
    await struck.run()
    _require_nothing_left(struck)
    what = f"interrupted at {'call' if blow == 'crash' else 'step'} {at}"
    if struck.error is not None:
        raise Breach(law, f"{what} it raised {struck.error!r}") from struck.error
    return f"{what} and run again"


async def _calm_behind(again: Watched, calm: Place, places: _Places, law: Law) -> Place:
    """What the run after an interruption is compared with. Where that came when all was done and saved, it was one
    behind a completed run, in which finish() has its say once more."""
    resumed = None if again.summary is None else again.summary.resumed_from
    if resumed is None or not resumed.completed:
        return calm
    twice = places.new()
    await _completed(twice, law)
    await _completed(twice, law)
    return twice


# --- what must hold ---


async def _completed(place: Place, law: Law, like: Watched | None = None) -> Watched:
    """A run that nobody interrupts."""
    run = Watched(place)
    await run.run()
    _require_nothing_left(run)
    if like is not None and (run.error is None) != (like.error is None):
        raise Breach(law, f"a run raised {run.error or like.error!r}, another one didn't") from run.error
    return run


def _require_nothing_left(run: Watched) -> None:
    if run.left:
        raise Breach(laws.ENDING, f"left: {', '.join(run.left)}")


async def _require_same(law: Law, place: Place, calm: Place, what: str) -> None:
    expected, found = calm.delivered(), place.delivered()
    for name in sorted({*expected, *found}):
        seen, wanted = found.get(name, []), expected.get(name, [])
        if seen == wanted or (not place.exactly_once and _is_covered(seen, wanted)):
            continue
        sink = f" (sink {name})" if name else ""
        raise Breach(law, f"{what} it delivered{sink}, {place.explained}: {_difference(seen, wanted)}")
    letters, wanted_letters = await place.letters(), await calm.letters()
    if letters is None or wanted_letters is None:
        return
    if letters != wanted_letters and (place.exactly_once or {*letters} != {*wanted_letters}):
        raise Breach(law, f"{what} there are the letters {_difference(letters, wanted_letters)}")


def _is_covered(seen: list[str], wanted: list[str]) -> bool:
    """Whether it is all that is wanted, in order, with a part of it again in one place at most: a beginning, then from
    somewhere within that to the end."""
    again = len(seen) - len(wanted)
    return again >= 0 and any(
        seen[:k] == wanted[:k] and seen[k:] == wanted[k - again :] for k in range(again, len(wanted) + 1)
    )


def _multiplies(spec: PipelineSpec) -> bool:
    return any(step.kind is StepKind.EXPAND or hasattr(step.part, "finish") for step in spec.chain.steps)


def _difference(seen: list[str], wanted: list[str]) -> str:
    return "\n".join(["", *(f"  {each}" for each in seen), "expected:", *(f"  {each}" for each in wanted)])
