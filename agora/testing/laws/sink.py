"""`check_sink`: the laws of a sink, in three lines of a test."""

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis.strategies import SearchStrategy, nothing

from agora.records import Record
from agora.testing.laws import sinklaws as laws
from agora.testing.laws.base import Check, Law, Trial, checked_records
from agora.testing.laws.places import new_place, takes_place
from agora.testing.laws.sinkcase import SinkCase, cases
from agora.testing.laws.sinkruns import SinkSubject
from agora.testing.laws.sinkstruck import StruckTrials
from agora.testing.laws.sinktrials import SinkTrials

__all__ = ["check_sink"]

_CHEAP = 10
_SHRINKING = 250


def check_sink(
    factory: Callable[..., object],
    read_back: Callable[..., Any],
    records: SearchStrategy[Record] | None = None,
    *,
    refused: SearchStrategy[Record] | None = None,
    expected: Callable[[Sequence[Record]], Sequence[Record]] = list,
    idempotent: bool | None = None,
    late: bool = False,
    examples: int = 20,
    seed: int | None = None,
    law: str | None = None,
    case: SinkCase | None = None,
) -> None:
    """Hold a sink to its laws (`agora.testing.laws.sinklaws`); which of them apply follows from what it has.

    `factory(place)` makes a new sink for each run; `place` is a directory (a `Path`), new and empty in each case, for
    the target or for its name. `read_back(place)`, plain or async, gives the records that the target holds, in order;
    none where there is no target yet. Both may take nothing: then what the sink's `paths()` name is removed before each
    case, and what is there all the same counts as what was there before. A loss of power is tried where `factory` takes
    a `place`, and all that is written there goes through `agora.seam`.

    `records` are drawn from a Hypothesis strategy, all of one target's shape, and the sink has to accept them;
    `refused` are such that it must refuse. `expected` turns the accepted records into what is read back, where that
    isn't the same: types that the format hasn't, rows that replace others. `idempotent`: written again, the same
    records leave the same target (by default what the sink's own `idempotent` says). `late`: committed records may be
    kept back until the source is exhausted, as `ParquetSink` does.

    `examples` a law at most; `seed` makes the search repeatable (else `pytest --agora-seed`, else one is drawn from
    `random`). `law` and `case` run a single case, as the counterexample of a `LawBroken` does.

    Raises `LawBroken`, with the smallest counterexample as a test. Not to be called while trio runs: it runs trio, on a
    virtual clock.
    """
    if law is None:
        checked_records(records)
    profile: dict[str, object] = {"idempotent": idempotent, "late": late}
    said = {"": factory, "read_back": read_back, **{name: value for name, value in profile.items() if value}}
    if expected is not list:
        said["expected"] = expected
    check = Check(check_sink, said, examples, seed)
    subject = SinkSubject(factory, read_back, expected, idempotent, late)
    trials = _trials(subject, records, refused, single=law is not None)
    check.run(trials, law, case, SinkCase)


def _trials(
    subject: SinkSubject,
    records: SearchStrategy[Record] | None,
    refused: SearchStrategy[Record] | None,
    *,
    single: bool,
) -> Sequence[Trial[SinkCase]]:
    with new_place(subject.factory) as place:
        sink = subject.sink(place)
    trials, struck = SinkTrials(subject, sink), StruckTrials(subject, sink)

    def trial(
        run: Callable[[SinkCase], None],
        few: int,
        *proved: Law,
        draw: str = "",
        sound: bool = False,
        least: int = 1,
    ) -> Trial[SinkCase]:
        some, bad = nothing() if records is None else records, None if sound else refused
        drawn = cases(some, bad, *draw.split(), least=least)
        return Trial(proved, drawn, run, examples=few, calls=_SHRINKING if few >= _CHEAP else 30)

    found = []
    if getattr(sink, "atomic_write", False):
        found.append(trial(trials.atomic, 25, laws.ATOMIC, draw="batch_size"))
    if refused is not None or single:
        found.append(trial(trials.refused, 20, laws.REFUSED, draw="batch_size"))
    found.append(trial(trials.delivered, 15, laws.DELIVERED, laws.TOKENS, draw="batch_size every"))
    found.append(trial(trials.borders, 15, laws.BORDERS, draw="batch_size"))
    if callable(getattr(sink, "write_columns", None)):
        found.append(trial(trials.columns, 10, laws.COLUMNS, draw="batch_size"))
    if hasattr(sink, "prepare"):
        found += [
            trial(trials.nothing, 1, laws.NOTHING),
            trial(trials.commit, 5, laws.COMMIT, draw="every batch_size again"),
        ]
    claimed = getattr(sink, "idempotent", False) if subject.idempotent is None else subject.idempotent
    if claimed:
        found.append(trial(trials.idempotent, 5, laws.IDEMPOTENT, draw="batch_size"))
    found.append(trial(struck.crashes, 1, laws.RECOVER, laws.ONCE, draw="every", least=3))
    if takes_place(subject.factory):
        found.append(trial(struck.durable, 2, laws.DURABLE, draw="every", sound=True, least=3))
    if hasattr(sink, "restart"):
        found.append(trial(trials.restart, 2, laws.RESTART, draw="every", sound=True, least=2))
    if hasattr(sink, "publish") and not getattr(sink, "live", False):
        found.append(trial(struck.published, 1, laws.PUBLISH, least=2))
    found.append(trial(trials.closing, 1, laws.CLOSING))
    return found
