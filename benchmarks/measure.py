"""Processes that run in turn on the same cores, and what each run cost.

A round runs every contender once, and who begins changes from round to round: on a machine whose speed drifts,
only runs of one round can be compared, so every ratio is the median of the rounds' own ratios.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from benchmarks.contenders.harness import NOT_AVAILABLE, WORK

__all__ = ["Command", "Cost", "Failed", "NotAvailable", "interleaved", "median", "pinned_cores", "run"]

_INHERITED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""A contender that may not keep its compiled modules would be timed while it compiles them anew, each time."""
LAUNCHER = Path(__file__).parent / "launch.py"


class Failed(Exception):  # noqa: N818  - a state of a contender, told in the table
    """The command ended with another exit code than 0; the text is the last line that it printed."""


class NotAvailable(Exception):  # noqa: N818
    """The contender isn't installed here; the text says what is missing."""


@attrs.frozen(kw_only=True)
class Command:
    """What is started, and where its output goes."""

    arguments: Sequence[str]
    log: Path
    directory: Path
    environment: Mapping[str, str] = attrs.field(factory=dict)
    """Added to what this process has."""


@attrs.frozen(kw_only=True)
class Cost:
    """Of one run of one process: seconds of the clock and of CPU, peak memory in bytes."""

    seconds: float
    cpu: float
    peak: int
    work: float
    """Seconds between the imports and the end of the work, where the process tells; else all of them."""


def pinned_cores(count: int = 2) -> str:
    """The first of the cores that this process may use, as the launcher takes them."""
    if not hasattr(os, "sched_setaffinity"):
        return ""
    return ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:count])


def run(command: Command, cores: str) -> Cost:
    """Run it to its end. Raises `NotAvailable` or `Failed`."""
    launch = [sys.executable, "-I", "-S", str(LAUNCHER), cores, str(command.log), *command.arguments]
    done = subprocess.run(
        launch,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=command.directory,
        env={**_INHERITED, **command.environment},
    )
    figures = json.loads(done.stdout)
    lines = command.log.read_text(errors="replace").splitlines() or [""]
    last = lines[-1]
    code = figures.pop("exit")
    if code == NOT_AVAILABLE:
        raise NotAvailable(last)
    if code:
        raise Failed(f"exit code {code}: {last}")
    work = float(last.removeprefix(WORK)) if last.startswith(WORK) else figures["seconds"]
    return Cost(**figures, work=work)


def interleaved(runs: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, list[Cost]]:
    """The costs of each, one a round; another begins each round."""
    names = list(runs)
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for number in range(rounds if names else 0):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            costs[name].append(runs[name]())
    return costs


def median(costs: Sequence[Cost], figure: str) -> float:
    return float(statistics.median(getattr(cost, figure) for cost in costs))
