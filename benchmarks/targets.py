"""The targets, in one place: what each figure must be, and how it is taken from the costs.

A speed is `their seconds / agora's`, so at least the target; a time is the other way round, and at most. Both are
medians of the rounds' own ratios.
"""

import statistics
from collections.abc import Callable, Mapping

import attrs

from benchmarks.measure import median
from benchmarks.session import Result

__all__ = ["TARGETS", "Outcome", "Target", "judged"]

Results = Mapping[str, Result]
"""By the name of the workload."""
Figure = Callable[[Results], float]
"""`KeyError` where an entry wasn't run or isn't available."""


@attrs.frozen(kw_only=True)
class Target:
    workload: str
    what: str
    figure: Figure
    at_least: float | None = None
    at_most: float | None = None

    @property
    def shown(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@attrs.frozen
class Outcome:
    """What came of a target; `measured` is `None` where an entry that it needs has no costs."""

    target: Target
    measured: float | None

    @property
    def distance(self) -> float | None:
        """Measured against the target, below 1 where it is missed; `None` where it wasn't measured."""
        if self.measured is None:
            return None
        if self.target.at_least is not None:
            return self.measured / self.target.at_least
        assert self.target.at_most is not None
        return self.target.at_most / self.measured if self.measured > 0 else float("inf")

    @property
    def met(self) -> bool | None:
        return None if self.distance is None else self.distance >= 1


def _seconds(results: Results, workload: str, entry: str) -> list[float]:
    result = results[workload]
    return [float(getattr(cost, result.workload.counts)) for cost in result.costs[entry]]


def _time(workload: str, ours: str, *theirs: str) -> Figure:
    """Our time over theirs; over the largest, where several are named."""

    def figure(results: Results) -> float:
        bounds = zip(*(_seconds(results, workload, rival) for rival in theirs), strict=True)
        own = _seconds(results, workload, ours)
        return float(statistics.median(time / max(bound) for time, bound in zip(own, bounds, strict=True)))

    return figure


def _barrier_cpu(workload: str, checkpointed: str, plain: str, every: int) -> Figure:
    """Microseconds of CPU that one barrier adds."""

    def figure(results: Results) -> float:
        result = results[workload]
        runs = zip(result.costs[checkpointed], result.costs[plain], strict=True)
        more = statistics.median(saved.cpu - without.cpu for saved, without in runs)
        return float(more) / (result.records / every) * 1e6

    return figure


def _growth(figure: Callable[[Result], float]) -> Figure:
    """Of the larger sizes of W9, whichever is worse, over that of the smallest."""
    return lambda results: max(figure(results[name]) for name in ("W9-10", "W9-30")) / figure(results["W9-1"])


def _time_a_record(result: Result) -> float:
    return median(result.costs["agora rows"], "work") / result.records


def _peak(result: Result) -> float:
    return median(result.costs["agora rows"], "peak")


def _faster(workload: str, ours: str, theirs: str, at_least: float) -> Target:
    """By their time over ours."""
    what = f"speed of {ours} to {theirs}"
    return Target(workload=workload, what=what, figure=_time(workload, theirs, ours), at_least=at_least)


def _within(workload: str, ours: str, theirs: str, at_most: float) -> Target:
    """By our time over theirs."""
    what = f"time of {ours} to {theirs}"
    return Target(workload=workload, what=what, figure=_time(workload, ours, theirs), at_most=at_most)


def _checkpoints(workload: str) -> tuple[Target, ...]:
    every, bounds = "every 1,000", ("without", "fsyncs of every 1,000")
    return (
        _faster(workload, "every 10,000", "without", 0.85),
        Target(
            workload=workload,
            what=f"time of {every} to the larger of {bounds[0]} and its fsyncs",
            figure=_time(workload, every, *bounds),
            at_most=1.2,
        ),
        Target(
            workload=workload,
            what="µs of CPU a barrier",
            figure=_barrier_cpu(workload, every, "without", 1_000),
            at_most=120,
        ),
    )


TARGETS: tuple[Target, ...] = (
    _faster("W1", "agora rows", "loop", 2.5),
    _faster("W1", "agora rows", "loop orjson", 1.2),
    _faster("W1", "agora rows", "agora-etl rows", 8),
    _faster("W1", "agora columns", "polars", 1.5),
    _faster("W1", "agora columns", "duckdb", 1.2),
    _faster("W1", "agora columns", "agora-etl arrow", 4),
    _faster("W1-quoted", "agora rows", "loop", 1.5),
    _faster("W2", "agora rows", "agora-etl rows", 3),
    _faster("W2", "agora columns", "polars", 1),
    _faster("W3", "agora columns", "pyarrow", 1),
    _faster("W3", "agora columns", "polars", 0.7),
    _faster("W3", "agora columns", "duckdb", 0.7),
    _faster("W4", "agora rows", "loop", 0.5),
    _faster("W4", "agora rows", "agora-etl rows", 8),
    *_checkpoints("W5"),
    _faster("W5", "columns every 50,000", "columns without", 0.85),
    *_checkpoints("W5-letters"),
    _within("W6-100", "agora rows", "trio pool", 1.15),
    _within("W6-1000", "agora rows", "trio pool", 1.15),
    _within("W6-exponential-100", "agora rows", "trio pool", 1.2),
    *(
        _within(workload, "agora rows", "aiometer", 1)
        for workload in ("W6-100", "W6-1000", "W6-exponential-100", "W6-exponential-1000")
    ),
    _within("W7", "agora --version", "trio, cyclopts", 1.3),
    _within("W7", "ten records", "what a run needs", 1.5),
    Target(workload="W9-30", what="growth of the time a record", figure=_growth(_time_a_record), at_most=1.1),
    Target(workload="W9-30", what="growth of the peak memory", figure=_growth(_peak), at_most=1.1),
)


def judged(results: Results) -> list[Outcome]:
    """Of the targets of the workloads that were run, the farthest from its target first."""
    outcomes = []
    for target in TARGETS:
        if any(
            target.workload in (result.workload.name, result.workload.group) for result in results.values()
        ):
            try:
                measured = target.figure(results)
            except KeyError:  # an entry that wasn't run, or isn't available
                measured = None
            outcomes.append(Outcome(target, measured))
    return sorted(outcomes, key=lambda outcome: (outcome.distance is None, outcome.distance or 0.0))
