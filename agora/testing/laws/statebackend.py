"""`check_state_backend`: the laws of a state backend, in three lines of a test."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from hypothesis.strategies import SearchStrategy

from agora.state.base import StateBackend
from agora.testing.laws import statebackendcase as draw
from agora.testing.laws import statebackendlaws as laws
from agora.testing.laws.base import Check, Law, Trial
from agora.testing.laws.statebackendcase import StateCase
from agora.testing.laws.statebackendrun import StateSubject
from agora.testing.laws.statebackendtrials import StateTrials

__all__ = ["check_state_backend"]

B = TypeVar("B", bound=StateBackend)

_FEW = 3
"""Examples of what waits for real time."""


def check_state_backend(
    factory: Callable[[], B],
    *,
    reopen: Callable[[B], StateBackend] | None = None,
    real_time: bool = False,
    examples: int = 50,
    seed: int | None = None,
    law: str | None = None,
    case: StateCase | None = None,
) -> None:
    """Hold a state backend to its laws (`agora.testing.laws.statebackendlaws`), by searching each for a counterexample.

    `factory` makes a backend on a new, empty storage each time. `reopen` makes another object on the storage of the
    one that it is given, as another process would: `reopen=lambda backend: SQLiteBackend(backend.path)`; without it
    the backend isn't held to durability, nor used through several objects. Values expire by trio's virtual clock,
    which the backend has to take the time from by `agora.seam.current().now()`. `real_time=True`: on trio's real clock,
    with real threads, for a backend that is asked over a network or has a clock of its own; expiry then takes seconds.

    `examples` a law at most; `seed` makes the search repeatable (else `pytest --agora-seed`, else one is drawn from
    `random`). `law` and `case` run a single case, as the counterexample of a `LawBroken` does.

    Raises `LawBroken`, with the smallest counterexample as a test. What the factory and `reopen` raise comes out as it
    is. Not to be called while trio runs: it runs trio.
    """
    said = {"": factory, "reopen": reopen, "real_time": real_time}
    check = Check(check_state_backend, {name: value for name, value in said.items() if value}, examples, seed)
    trials = _trials(StateSubject(factory, reopen, real_time))
    check.run(trials, law, case, StateCase)


def _trials(subject: StateSubject) -> Sequence[Trial[StateCase]]:
    trials = StateTrials(subject)

    def trial(
        law: Law, run: Callable[[StateCase], None], cases: SearchStrategy[StateCase], most: int | None = None
    ) -> Trial[StateCase]:
        return Trial((law,), cases, run, examples=most, calls=200)

    def steps(law: Law, cases: SearchStrategy[StateCase], objects: int = 1) -> Trial[StateCase]:
        return trial(law, trials.sequence(law, objects), cases)

    timed = partial(trial, most=_FEW if subject.real_time else None)
    found = [
        trial(laws.OPENING, trials.opening, draw.cases(draw.counting)),
        steps(laws.VALUES, draw.cases(draw.anywhere)),
        steps(laws.SCAN, draw.scanned()),
        steps(laws.EXPECTATIONS, draw.cases(draw.expecting)),
        steps(laws.ATOMICITY, draw.cases(draw.applying)),
        steps(laws.TRANSACTION, draw.cases(draw.transacting)),
        timed(laws.EXPIRY, trials.sequence(laws.EXPIRY), draw.expired),
    ]
    if subject.reopen is not None:
        found.append(timed(laws.DURABILITY, trials.sequence(laws.DURABILITY), draw.cases(draw.reopening)))
    return [
        *found,
        timed(laws.FENCING, trials.sequence(laws.FENCING, 2), draw.contested()),
        timed(laws.FENCING, trials.sequence(laws.FENCING, 2), draw.cases(draw.fencing, 3, 12)),
        trial(laws.IDENTITY, trials.identity, draw.nothing),
        trial(laws.CANCELLATION, trials.cancellation, draw.interrupted_count),
        trial(laws.CANCELLATION, trials.cancellation, draw.interrupted),
        trial(laws.CONCURRENCY, trials.concurrency, draw.concurrent),
        trial(laws.CHECKPOINTS, trials.checkpoints, draw.nothing),
    ]
