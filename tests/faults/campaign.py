"""The kill campaign: runs ended by `kill -9` wherever that may be, resumed until done, and not a byte differs.

    python -m tests.faults.campaign --kills 2000 --seed 1

Pipelines of every source into every sink have to leave what an undisturbed one leaves; those whose steps answer
differently every time, what the run that decided a record answered. The table says where the kills fell.
"""

import argparse
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import attrs

from .fickle import FICKLE
from .forkserver import ForkServer
from .phases import STEPS, Phase
from .scenario import AIMED, Scenario, Subject, Tally, undisturbed
from .variants import VARIANTS, Verdict

__all__ = ["SUBJECTS", "Report", "campaign"]

LEAST = 20
"""Kills in each step of the barrier, at full count."""

SUBJECTS: tuple[Subject, ...] = (*VARIANTS.values(), *FICKLE.values())


@attrs.define
class Report:
    """The campaign's result."""

    tallies: dict[str, Tally] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)

    @property
    def total(self) -> Tally:
        total = Tally()
        for tally in self.tallies.values():
            total.add(tally)
        return total

    def __str__(self) -> str:
        phases = list(Phase)
        columns = ["kills", "runs", "agora", "error", "stop", "undo", "again", "lost", "rep."]
        head = f"{'variant':36}" + "".join(f"{name:>6}" for name in columns)
        lines = [head + "".join(f"{phase.name.lower()[:7]:>8}" for phase in phases)]
        for name, tally in [*self.tallies.items(), ("all", self.total)]:
            numbers = (
                tally.kills,
                tally.runs,
                tally.processes,
                tally.errors,
                tally.stops,
                tally.restarts,
                tally.again,
            )
            counts = "".join(f"{number:>6}" for number in (*numbers, tally.lost, tally.repeated))
            lines.append(f"{name:36}{counts}" + "".join(f"{tally.phases[phase]:>8}" for phase in phases))
        return "\n".join([*lines, *self.failures])


@attrs.define(eq=False)
class Worker:
    """Plays the scenarios of some subjects, one after another."""

    server: ForkServer
    subjects: Sequence[Subject]
    folder: Path
    kills: int
    """For each subject."""
    seed: int
    length: int
    """Kills of a scenario."""
    whole: float
    exact: bool
    report: Report = attrs.field(factory=Report)

    def work(self) -> Report:
        known: dict[str, tuple[Verdict, dict[Phase, int]]] = {}
        for number, subject in enumerate(self.subjects):
            rota = itertools.cycle(AIMED[number % len(AIMED) :] + AIMED[: number % len(AIMED)])
            tally = self.report.tallies.setdefault(subject.name, Tally())
            model = subject.model
            if model.name not in known:
                known[model.name] = undisturbed(model, self.folder / f"{model.name}.model", self.server)
            expected, profile = known[model.name]
            while tally.kills < self.kills:
                scenario = Scenario(
                    subject=subject,
                    folder=self.folder / f"{subject.name}.{tally.scenarios}",
                    expected=expected,
                    profile=profile,
                    dice=random.Random(f"{self.seed} {subject.name} {tally.scenarios}"),
                    server=self.server,
                    kills=min(self.length, self.kills - tally.kills),
                    whole=self.whole,
                    exact=self.exact,
                    rota=rota,
                )
                wrong = scenario.play()
                tally.add(scenario.tally)
                if wrong is not None:
                    self.report.failures.append(wrong)
                    break
        return self.report


def campaign(
    folder: Path,
    servers: Sequence[ForkServer],
    *,
    kills: int,
    seed: int,
    length: int = 8,
    whole: float = 0.03,
    exact: bool = False,
    subjects: Sequence[Subject] = SUBJECTS,
) -> Report:
    """About `kills` kills, equally many for each subject; as many scenarios at once as there are servers."""
    each = -(-kills // len(subjects))
    pairs = [subjects[number : number + 2] for number in range(0, len(subjects), 2)]  # with one model
    crew = [
        Worker(
            server=server,
            subjects=[subject for pair in pairs[number :: len(servers)] for subject in pair],
            folder=folder,
            kills=each,
            seed=seed,
            length=length,
            whole=whole,
            exact=exact,
        )
        for number, server in enumerate(servers)
    ]
    with ThreadPoolExecutor(len(servers)) as pool:
        reports = list(pool.map(Worker.work, crew))
    tallies = {name: tally for report in reports for name, tally in report.tallies.items()}
    return Report(
        {subject.name: tallies[subject.name] for subject in subjects},
        [failure for report in reports for failure in report.failures],
    )


def main() -> int:
    """Run the campaign and print its table; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4, help="more than cores: half of the time is fsync's")
    parser.add_argument("--only", default="", help="pipelines whose name holds this")
    options = parser.parse_args()
    began = time.monotonic()
    subjects = [subject for subject in SUBJECTS if options.only in subject.name]
    folder = Path(tempfile.mkdtemp(prefix="agora-kill-"))
    with ExitStack() as stack:
        servers = [stack.enter_context(ForkServer()) for _ in range(options.workers)]
        report = campaign(folder, servers, kills=options.kills, seed=options.seed, subjects=subjects)
    few = [phase.name for phase in STEPS if report.total.phases[phase] < LEAST]
    if few and not options.only:
        report.failures.append(f"fewer than {LEAST} kills in {', '.join(few)}")
    print(report)
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s, {len(report.failures)} failures")
    if not report.failures:
        shutil.rmtree(folder)
    return bool(report.failures)


if __name__ == "__main__":
    sys.exit(main())
