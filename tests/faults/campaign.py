"""The kill campaign: runs ended by `kill -9` wherever that may be, resumed until done, and not a byte differs.

    PYTHONPATH=tests python -m faults.campaign --kills 2000 --seed 1

A scenario is one folder: a pipeline's first run, runs after it, and runs of what the source has got behind its
completion, each killed, failed, stopped or let through as the seed says, until the last one completes. What is then
in the output and among the letters is compared with an undisturbed pipeline's.
"""

import argparse
import itertools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from .child import COMPLETED, NOTES, REQUEST, STOPPED, STRUCK, Request
from .forkserver import ForkServer, environment
from .phases import STEPS, Phase, Strike, events, make_notes, noted
from .variants import SECOND, VARIANTS, Outcome, Variant, feed, outcome, shown

__all__ = ["Report", "Tally", "campaign", "undisturbed"]

LEAST = 20
"""Kills in each step of the barrier, at full count."""

_BEFORE = (Phase.START, Phase.OPENING, Phase.PROCESS)
"""A first run that was killed here has not begun."""

_RECOVERY = (Phase.START, Phase.OPENING, Phase.RECOVER)

_AIMED = (
    *STEPS[1:],
    Phase.RECOVER,
    Phase.BETWEEN,
    Phase.CLOSING,
    Phase.OPENING,
    Phase.WRITE,
    Phase.SOURCE,
    Phase.STREAM,
)


@attrs.define
class Tally:
    """What the scenarios of one variant came to."""

    scenarios: int = 0
    runs: int = 0
    kills: int = 0
    errors: int = 0
    """Runs that ended by an error that was injected."""
    stops: int = 0
    processes: int = 0
    """Runs that were an `agora run` of their own, not forked."""
    again: int = 0
    """Kills during the recovery of a run after one that was killed in its recovery."""
    lost: int = 0
    repeated: int = 0
    phases: Counter[Phase] = attrs.field(factory=Counter)
    """Where the kills fell."""

    def add(self, other: "Tally") -> None:
        for field in attrs.fields(Tally):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


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
        columns = ["kills", "runs", "agora", "error", "stop", "again", "lost", "rep."]
        head = f"{'variant':36}" + "".join(f"{name:>6}" for name in columns)
        lines = [head + "".join(f"{phase.name.lower()[:7]:>8}" for phase in phases)]
        for name, tally in [*self.tallies.items(), ("all", self.total)]:
            numbers = (tally.kills, tally.runs, tally.processes, tally.errors, tally.stops, tally.again)
            counts = "".join(f"{number:>6}" for number in (*numbers, tally.lost, tally.repeated))
            lines.append(f"{name:36}{counts}" + "".join(f"{tally.phases[phase]:>8}" for phase in phases))
        return "\n".join([*lines, *self.failures])


@attrs.define(eq=False)
class Scenario:
    """One folder's story."""

    variant: Variant
    folder: Path
    expected: Outcome
    profile: dict[Phase, int]
    """Events of an undisturbed run, by phase."""
    dice: random.Random
    server: ForkServer
    kills: int
    """How many at most."""
    whole: float
    """Share of runs that are an `agora run` of their own."""
    exact: bool
    """Kills at events only, so that the same seed gives the same kills."""
    rota: Iterator[Phase]
    """What is aimed at, in turn."""
    tally: Tally = attrs.field(factory=Tally)
    fresh: bool = True
    """Whether no run has saved where it begins, so that step 0 is still to come."""
    _recovering: bool = False
    """Whether the run before was killed in its recovery."""

    def play(self) -> str | None:
        """Until the pipeline is completed; what is wrong then."""
        self.folder.mkdir()
        self.tally.scenarios += 1
        for leg in (0, 1):
            feed(self.variant, self.folder, leg=leg)
            done = False
            while not done:
                wrong, done = self._attempt()
                if wrong is not None:
                    return self._told(wrong)
        wrong = self._judge(outcome(self.variant, self.folder))
        if wrong is not None:
            return self._told(wrong)
        shutil.rmtree(self.folder)
        return None

    def _attempt(self) -> tuple[str | None, bool]:
        """One run: what is wrong with its end, and whether the pipeline is completed."""
        peaceful = self.tally.kills >= self.kills
        strike, delay = (None, None) if peaceful else self._aim()
        stop = self.dice.randrange(1, SECOND) if not peaceful and self.dice.random() < 0.1 else None
        request = Request(
            variant=self.variant.name,
            folder=str(self.folder),
            strike=strike,
            attempt=self.tally.runs,
            max_records=stop,
        )
        make_notes(self.folder / NOTES)
        self.tally.runs += 1
        whole = self.dice.random() < self.whole
        self.tally.processes += whole
        code = self._process(request, delay) if whole else self._forked(request, delay)
        if code == -9:
            self._count(noted(self.folder / NOTES))
            return None, False
        self._recovering = False
        self.fresh = False
        if code == COMPLETED:
            return None, True
        if code == STOPPED and stop is not None:
            self.tally.stops += 1
            return None, False
        if code == STRUCK and strike is not None and strike.how == "error":
            self.tally.errors += 1
            return None, False
        return f"a run ended with {code}", False

    def _aim(self) -> tuple[Strike | None, float | None]:
        """At an event of a phase; or, by time, anywhere."""
        dice = self.dice
        if not self.exact and dice.random() < 0.15:
            return None, dice.uniform(0, 0.12)
        phase = Phase.START if self.fresh and dice.random() < 0.5 else next(self.rota)
        least = 16 if phase in (Phase.START, Phase.RECOVER) else 1  # of them there is little in a profile
        nth = dice.randint(1, max(least, self.profile.get(phase, 1) // 4))
        later = dice.uniform(0, 0.0004) if not self.exact and dice.random() < 0.4 else None
        how = "error" if dice.random() < 0.1 else "kill"
        return Strike(phase, nth, None if how == "error" else later, how), None

    def _forked(self, request: Request, delay: float | None) -> int:
        pid = self.server.start(request)
        if delay is not None:
            time.sleep(delay)
            self.server.kill(pid)
        return self.server.wait(pid)

    def _process(self, request: Request, delay: float | None) -> int:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "agora", "run", "faults.target:pipeline"]
                + ([] if request.max_records is None else ["--max-records", str(request.max_records)]),
                cwd=self.folder,
                env={**environment(), REQUEST: json.dumps(request.to_json())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            if delay is not None:
                time.sleep(0.6 + 3 * delay)
                process.kill()
            code = process.wait()
        if code == 1 and "struck at event" in (self.folder / "log").read_text()[-4000:]:
            return STRUCK
        return STOPPED if code == 0 and request.max_records is not None else code

    def _count(self, phase: Phase) -> None:
        self.tally.kills += 1
        self.tally.phases[phase] += 1
        self.fresh = self.fresh and phase in _BEFORE
        recovering = phase in _RECOVERY
        self.tally.again += recovering and self._recovering
        self._recovering = recovering

    def _judge(self, found: Outcome) -> str | None:
        wanted, got = Counter(map(shown, self.expected.rows)), Counter(map(shown, found.rows))
        self.tally.lost += (wanted - got).total()
        self.tally.repeated += (got - wanted).total()
        if found.rows != self.expected.rows:
            return f"{(wanted - got).total()} rows lost, {(got - wanted).total()} too many, or the order is another"
        if found.letters != self.expected.letters:
            return f"{len(found.letters)} letters, not the {len(self.expected.letters)} that were expected"
        if found.litter != self.expected.litter:
            return f"left behind: {found.litter}"
        return None

    def _told(self, wrong: str) -> str:
        log = self.folder / "log"
        last = log.read_text()[-2000:] if log.exists() else ""
        return f"{self.variant.name} in {self.folder}, run {self.tally.runs}: {wrong}\n{last}"


def undisturbed(variant: Variant, folder: Path, server: ForkServer) -> tuple[Outcome, dict[Phase, int]]:
    """What a pipeline leaves that nobody disturbs, and how many events its first run had in each phase."""
    folder.mkdir()
    profile = {}
    for leg in (0, 1):
        feed(variant, folder, leg=leg)
        make_notes(folder / NOTES)
        code = server.wait(server.start(Request(variant=variant.name, folder=str(folder))))
        assert code == COMPLETED, (folder / "log").read_text()
        profile = profile or events(folder / NOTES)
    return outcome(variant, folder), profile


@attrs.define(eq=False)
class Worker:
    """Plays the scenarios of some variants, one after another."""

    variants: Sequence[Variant]
    folder: Path
    kills: int
    """For each variant."""
    seed: int
    length: int
    """Kills of a scenario."""
    whole: float
    exact: bool
    report: Report = attrs.field(factory=Report)

    def work(self) -> Report:
        with ForkServer() as server:
            for number, variant in enumerate(self.variants):
                rota = itertools.cycle(_AIMED[number % len(_AIMED) :] + _AIMED[: number % len(_AIMED)])
                tally = self.report.tallies.setdefault(variant.name, Tally())
                expected, profile = undisturbed(variant, self.folder / variant.name, server)
                while tally.kills < self.kills:
                    scenario = Scenario(
                        variant=variant,
                        folder=self.folder / f"{variant.name}.{tally.scenarios}",
                        expected=expected,
                        profile=profile,
                        dice=random.Random(f"{self.seed} {variant.name} {tally.scenarios}"),
                        server=server,
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
    *,
    kills: int,
    seed: int,
    workers: int = 1,
    length: int = 8,
    whole: float = 0.03,
    exact: bool = False,
    variants: Sequence[Variant] = tuple(VARIANTS.values()),
) -> Report:
    """About `kills` kills, equally many for each variant."""
    each = -(-kills // len(variants))
    crew = [
        Worker(variants[number::workers], folder, each, seed, length, whole, exact)
        for number in range(workers)
    ]
    with ThreadPoolExecutor(workers) as pool:
        reports = list(pool.map(Worker.work, crew))
    tallies = {name: tally for report in reports for name, tally in report.tallies.items()}
    return Report(
        {variant.name: tallies[variant.name] for variant in variants},
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
    parser.add_argument("--only", default="", help="variants whose name holds this")
    options = parser.parse_args()
    began = time.monotonic()
    variants = [variant for name, variant in VARIANTS.items() if options.only in name]
    folder = Path(tempfile.mkdtemp(prefix="agora-kill-"))
    report = campaign(
        folder, kills=options.kills, seed=options.seed, workers=options.workers, variants=variants
    )
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
