"""What is reached stays: W1 and W4 small, their ratios held against a file that is committed.

Ratios only, of the work without start-up, since seconds tell more of the machine than of the code.
"""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path

from benchmarks.session import Result, Session
from benchmarks.workloads import selected

__all__ = ["REFERENCE", "fallen", "ratios"]

REFERENCE = Path(__file__).parent / "reference.json"
FALL = 0.15
GUARDED = {
    "W1": (("agora rows", "loop"), ("agora rows", "loop orjson"), ("agora columns", "loop")),
    "W4": (("agora rows", "loop"),),
}


def ratios(session: Session) -> dict[str, float]:
    """Speeds of ours to theirs, as `W1: agora rows / loop`. What isn't available is left out."""
    found = {}
    for name, pairs in GUARDED.items():
        [workload] = [one for one in selected([name]) if one.name == name]
        result = session.measure(workload)
        for ours, theirs in pairs:
            if ours in result.costs and theirs in result.costs:
                found[f"{name}: {ours} / {theirs}"] = round(_speed(result, ours, theirs), 3)
    return found


def _speed(result: Result, ours: str, theirs: str) -> float:
    pairs = zip(result.costs[ours], result.costs[theirs], strict=True)
    return statistics.median(rival.work / own.work for own, rival in pairs)


def fallen(measured: Mapping[str, float], reference: Path = REFERENCE) -> list[str]:
    """Those that fell by more than 15 %, or that are no longer measured."""
    expected: Mapping[str, float] = json.loads(reference.read_text())
    return [name for name, ratio in expected.items() if measured.get(name, 0.0) < ratio * (1 - FALL)]
