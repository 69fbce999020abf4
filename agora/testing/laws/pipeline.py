"""`check_pipeline`: the laws of a whole pipeline, in three lines of a test."""

from collections.abc import Callable, Sequence

from hypothesis.strategies import SearchStrategy

from agora.records import Record
from agora.testing.laws import pipelinecase as draw
from agora.testing.laws import pipelinelaws as laws
from agora.testing.laws.base import Check, Law, Trial
from agora.testing.laws.pipelinecase import PipelineCase
from agora.testing.laws.pipelinerun import Build, ReadBack
from agora.testing.laws.pipelinetrials import PipelineTrials

__all__ = ["check_pipeline"]

_ENOUGH = 3
"""Records for there to be something before, at and behind an interruption, or the end of a batch."""


def check_pipeline(
    factory: Build,
    records: SearchStrategy[Record] | None = None,
    *,
    read_back: ReadBack,
    examples: int = 15,
    seed: int | None = None,
    law: str | None = None,
    case: PipelineCase | None = None,
) -> None:
    """Hold a whole pipeline to its laws (`agora.testing.laws.pipelinelaws`), by searching each for a counterexample.

    `factory(place)` builds it, with all that it keeps in the directory `place`: a new empty one for each run that is
    to know nothing of others, and again the same one to go on where a run was interrupted, as the next process would.
    What it keeps in a `MemoryBackend` is carried over. `read_back(place)` gives the records that are at its target
    there; of several sinks, by name. The check sets `batch_size`, `linger`, `backpressure` and `checkpoint_every`
    itself. `records`, a Hypothesis strategy, replaces its source by one that gives records drawn from it; without it
    the pipeline reads its own source, which then is held to resuming too.

    `examples` a law at most; `seed` makes the search repeatable (else `pytest --agora-seed`, else one is drawn from
    `random`). `law` and `case` run a single case, as the counterexample of a `LawBroken` does.

    Raises `LawBroken`, with the smallest counterexample as a test. What the factory and `read_back` raise comes out as
    it is. Not to be called while trio runs: it runs trio, on a virtual clock, so what waits with `trio.sleep` takes no
    time.
    """
    check = Check(check_pipeline, {"": factory, "read_back": read_back}, examples, seed)
    trials = _trials(PipelineTrials(factory, read_back), records)
    check.run(trials, law, case, PipelineCase)


def _trials(trials: PipelineTrials, records: SearchStrategy[Record] | None) -> Sequence[Trial[PipelineCase]]:
    def trial(
        run: Callable[[PipelineCase], None], *proved: Law, **drawn: SearchStrategy[object]
    ) -> Trial[PipelineCase]:
        least = _ENOUGH if "batch_size" in drawn else 1
        return Trial((*proved, laws.ENDING), draw.cases(records, least, **drawn), run, calls=100)

    settings: dict[str, SearchStrategy[object]] = {
        "batch_size": draw.batch_sizes,
        "in_flight": draw.limits,
        "linger": draw.lingers,
        "pauses": draw.pauses,
    }
    struck = {"strikes_at": draw.points, "batch_size": draw.batch_sizes, "checkpoint_every": draw.every}
    return [
        trial(trials.repetition, laws.REPETITION),
        trial(trials.fold, laws.FOLD, laws.ORDER, batch_size=draw.batch_sizes),
        trial(trials.counting, laws.COUNTING),
        trial(trials.settings, laws.SETTINGS, **settings),
        trial(trials.interrupted(laws.STOP, "stop"), laws.STOP, **struck),
        trial(trials.interrupted(laws.CANCELLATION, "cancel"), laws.CANCELLATION, **struck),
        trial(trials.interrupted(laws.CRASH, "crash"), laws.CRASH, after=draw.after, **struck),
    ]
