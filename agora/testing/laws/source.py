"""`check_source`: the laws of a source, in three lines of a test."""

from collections.abc import Callable, Sequence
from typing import Any

from agora.testing.laws import sourcelaws as laws
from agora.testing.laws.base import Check, Law, Trial
from agora.testing.laws.places import at, new_place
from agora.testing.laws.sourcecase import SourceCase, cases
from agora.testing.laws.sourcereading import checkpointable, forms
from agora.testing.laws.sourcetrials import SourceTrials

__all__ = ["check_source"]


def check_source(
    factory: Callable[..., object],
    *,
    most: int = 100,
    examples: int = 20,
    seed: int | None = None,
    law: str | None = None,
    case: SourceCase | None = None,
) -> None:
    """Hold a source to its laws (`agora.testing.laws.sourcelaws`).

    `factory` makes a new source of the same records for each run. One that takes something gets a directory (a `Path`)
    that is new and empty in each case, to put there what is read, if it isn't there yet: for a source that changes what
    it reads from. A few records, five to twenty, tell most: a case looks at every place between them. `most` is read at
    most, of a source without an end.

    `examples` a law at most; `seed` makes the search repeatable (else `pytest --agora-seed`, else one is drawn from
    `random`). `law` and `case` run a single case, as the counterexample of a `LawBroken` does.

    Raises `LawBroken`, with the smallest counterexample as a test. What the factory raises, or a first reading, comes
    out as it is. Not to be called while trio runs: it runs trio, on a virtual clock.
    """
    said = {"": factory, **({} if most == 100 else {"most": most})}
    check = Check(check_source, said, examples, seed)
    trials = _trials(SourceTrials(factory, most), factory)
    check.run(trials, law, case, SourceCase)


def _trials(trials: SourceTrials, factory: Callable[..., Any]) -> Sequence[Trial[SourceCase]]:
    def trial(run: Callable[[SourceCase], None], few: int, *proved: Law, draw: str) -> Trial[SourceCase]:
        return Trial(proved, cases(*draw.split()), run, examples=few, calls=50)

    with new_place(factory) as place:
        source = at(factory, place)
    found = [trial(trials.repeatable, 2, laws.REPEATABLE, draw="")]
    if len(forms(source)) > 1 or forms(source) != ["stream"]:
        found.append(trial(trials.agreement, 20, laws.AGREEMENT, draw="form rows"))
    if checkpointable(source):
        found += [
            trial(trials.positions, 10, laws.POSITIONS, draw="form rows"),
            trial(trials.identity, 3, laws.IDENTITY, draw="form"),
            trial(trials.fresh, 5, laws.FRESH, draw="form rest"),
            trial(trials.asking, 10, laws.ASKING, draw="form asks"),
            trial(trials.resume, 10, laws.RESUME, draw="form rest rows used"),
        ]
    found += [
        trial(trials.closing, 5, laws.CLOSING, draw="form rows"),
        trial(trials.cancelled, 20, laws.CANCELLED, draw="form cancel_at rows"),
    ]
    if checkpointable(source):
        found.append(trial(trials.committed, 2, laws.COMMITTED, draw="every batch_size"))
    return found
