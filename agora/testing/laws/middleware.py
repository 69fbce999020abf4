"""`check_middleware`: the laws of a middleware, in three lines of a test."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
from hypothesis.strategies import SearchStrategy

from agora.middlewares.step import Step
from agora.records import Record
from agora.testing.laws import middlewarecase as draw
from agora.testing.laws import middlewarelaws as laws
from agora.testing.laws.base import Check, Law, Trial, checked_records
from agora.testing.laws.middlewarecase import MiddlewareCase
from agora.testing.laws.middlewaretrials import Trials
from agora.testing.laws.outcomes import Kind, Subject

__all__ = ["check_middleware"]


def check_middleware(
    factory: Callable[[], object],
    records: SearchStrategy[Record] | None = None,
    *,
    pure: bool = False,
    stateful: bool = False,
    kind: Kind | None = None,
    examples: int = 20,
    seed: int | None = None,
    law: str | None = None,
    case: MiddlewareCase | None = None,
) -> None:
    """Hold a middleware to its laws (`agora.testing.laws.middlewarelaws`), by searching each for a counterexample.

    `factory` makes a new part for each run: a middleware of any kind, a `@middleware`, or a plain function, whose
    `kind` says how a pipeline takes it (`"map"` where nothing is said). `records` are drawn from a Hypothesis
    strategy; some of those that the part fails on may be among them. `pure`: it must not change the record that it
    is given, either. `stateful`: what becomes of a record may depend on those before it; then it must survive a
    stop between any two records, by `snapshot` and `restore` or `context.state`.

    `examples` a law at most; `seed` makes the search repeatable (else `pytest --agora-seed`, else one is drawn from
    `random`). `law` and `case` run a single case, as the counterexample of a `LawBroken` does.

    Raises `LawBroken`, with the smallest counterexample as a test. What the factory raises, or the part when it is
    started, comes out as it is. Not to be called while trio runs: it runs trio, on a virtual clock, so what a part
    waits for with `trio.sleep` takes no time.
    """
    if law is None:
        checked_records(records)
    check = Check(check_middleware, _said(factory, pure, stateful, kind), examples, seed)
    subject = Subject(factory, kind)
    step = subject.step()
    tried = Trials(subject, stateful, step.columns is not None)
    trials = _trials(tried, records, pure=pure, alone=_alone(step))
    check.run(trials, law, case, MiddlewareCase)
    if law is None:
        tried.warn_of_failures_only()


def _said(factory: object, pure: bool, stateful: bool, kind: str | None) -> dict[str, object]:
    profile = {"pure": pure, "stateful": stateful, "kind": kind}
    return {"": factory, **{name: value for name, value in profile.items() if value}}


def _trials(
    trials: Trials, records: SearchStrategy[Record] | None, *, pure: bool, alone: bool
) -> Sequence[Trial[MiddlewareCase]]:
    stateful = trials.stateful
    parallel: dict[str, Any] = (
        {} if stateful or alone else {"concurrency": draw.concurrencies, "waits": draw.waits}
    )

    def trial(
        run: Callable[[MiddlewareCase], Awaitable[None]],
        *proved: Law,
        least: int = 1,
        **drawn: SearchStrategy[object],
    ) -> Trial[MiddlewareCase]:
        source = draw.nothing if records is None else draw.cases(records, least, **drawn)
        return Trial(proved, source, trials.tried(proved[0], run))

    # What holds up the loop makes all else slow; what doesn't survive a stop differs in a second run, too.
    blocking = attrs.evolve(trial(trials.checkpoints, laws.CHECKPOINTS), examples=5, calls=20)
    found = [blocking, trial(trials.fresh, laws.FRESH)]
    if stateful:
        found.append(attrs.evolve(trial(trials.prefix, laws.PREFIX, least=2), calls=200))
    else:
        found.append(trial(trials.company, laws.COMPANY, least=2))
    borders: dict[str, Any] = {
        "borders": draw.borders,
        "batch_size": draw.batch_sizes,
        "in_flight": draw.limits,
    }
    found += [
        trial(trials.borders, laws.BORDERS, laws.ORDER, least=2, **borders),
        trial(trials.agreement, laws.AGREEMENT, laws.ORDER),
    ]
    if parallel:
        found.append(
            trial(trials.concurrency, laws.CONCURRENCY, least=2, batch_size=draw.batch_sizes, **parallel)
        )
    found.append(
        trial(
            trials.failures, laws.FAILURES, least=2, spoiled=draw.spoiled, batch_size=draw.large, **parallel
        )
    )
    if pure:
        found.append(trial(trials.untouched, laws.INPUT, batch_size=draw.batch_sizes))
    if stateful:
        restore = trial(trials.restore, laws.RESTORE, least=2, batch_size=draw.batch_sizes)
        found.append(attrs.evolve(restore, examples=12, calls=60))  # each of them at every split
    cancelled = (laws.CANCELLATION, laws.CANCELLED, laws.CHECKPOINTS)
    found += [
        trial(trials.pairing, laws.PAIRING, ending=draw.endings, spoiled=draw.spoiled),
        trial(trials.cancellation, *cancelled, cancel_at=draw.suspensions, borders=draw.borders, **parallel),
    ]
    return found


def _alone(step: Step) -> bool:
    """Whether it can't be a buffered stage, or is one already, in processes."""
    return step.stateful or step.columns is not None or step.remote is not None
