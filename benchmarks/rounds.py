"""Contestants that run in turn, and what a comparison of two of them came to."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

__all__ = ["Comparison", "Contestant", "interleaved", "times"]

Contestant = Callable[[], Any]
"""Does the whole work once and answers its output, in a form that compares equal with the others'."""


@attrs.frozen(kw_only=True)
class Comparison:
    """One figure and its target."""

    name: str
    what: str
    """What is compared, for people: `"agora 1.02 s, bare pool 1.00 s"`."""
    ratio: float
    target: float
    at_most: bool
    """Whether the ratio must be at most the target, or at least."""

    @property
    def met(self) -> bool:
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    def __str__(self) -> str:
        sign, verdict = "≤" if self.at_most else "≥", "ok" if self.met else "MISSED"
        return f"{self.name:<24} {self.ratio:6.3f}  {sign} {self.target:<5g} {verdict:<7} {self.what}"


def times(contestants: Mapping[str, Contestant], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; who begins a round changes from one to the next.

    A round before them warms up and compares: `AssertionError` where two outputs differ.
    """
    names = list(contestants)
    expected = contestants[names[0]]()
    for name in names[1:]:
        assert contestants[name]() == expected, f"the outputs of {names[0]} and {name} differ"
    del expected
    measured: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            began = time.perf_counter()
            contestants[name]()
            measured[name].append(time.perf_counter() - began)
    return measured


def interleaved(
    name: str,
    contestants: Mapping[str, Contestant],
    *,
    rounds: int,
    targets: Mapping[str, float],
    records: int | None = None,
) -> list[Comparison]:
    """Compare the first contestant with each of `targets`.

    With `records`, the ratio is one of speeds and must be at least the target; without, one of times, and at
    most. It is the median of the rounds' own ratios, since a machine that slows down slows both of a round.
    """
    measured = times(contestants, rounds=rounds)
    ours = next(iter(contestants))
    comparisons = []
    for rival, target in targets.items():
        pairs = list(zip(measured[ours], measured[rival], strict=True))
        ratios = [other / own if records else own / other for own, other in pairs]
        shown = ", ".join(f"{who} {_shown(measured[who], records)}" for who in (ours, rival))
        comparisons.append(
            Comparison(
                name=f"{name} : {rival}",
                what=shown,
                ratio=statistics.median(ratios),
                target=target,
                at_most=records is None,
            )
        )
    return comparisons


def _shown(seconds: Sequence[float], records: int | None) -> str:
    median = statistics.median(seconds)
    return f"{median:.3f} s" if records is None else f"{records / median:,.0f} records/s"
