"""One folder's story: a pipeline's first run, runs after it, and runs of what its source has got behind its completion,
each killed, failed, stopped or let through as the dice say, until the last one completes."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import attrs

from .child import CHANGED, COMPLETED, NOTES, REQUEST, STOPPED, STRUCK, Request
from .forkserver import ForkServer, environment
from .phases import STEPS, Phase, Strike, events, make_notes, noted, streamed
from .variants import SECOND, Verdict

__all__ = ["AIMED", "Scenario", "Subject", "Tally", "undisturbed"]

_BEFORE = (Phase.START, Phase.OPENING, Phase.PROCESS)
"""A first run that was killed here has not begun."""

_RECOVERY = (Phase.START, Phase.OPENING, Phase.RECOVER)

AIMED = (
    *STEPS[1:],
    Phase.RECOVER,
    Phase.BETWEEN,
    Phase.CLOSING,
    Phase.OPENING,
    Phase.WRITE,
    Phase.SOURCE,
    Phase.STREAM,
)


class Subject(Protocol):
    """A kind of pipeline, known to the child by its name."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> Any:
        """The subject whose undisturbed runs say what is expected."""
        ...

    def feed(self, folder: Path, *, leg: int) -> None:
        """Leg 0: what the source has at first; leg 1: what it has got when all of that was completed."""
        ...

    def judge(self, folder: Path, expected: Verdict | None) -> Verdict:
        """What is there once both were completed; `None` for the undisturbed one."""
        ...


@attrs.define
class Tally:
    """What the scenarios of one variant came to."""

    scenarios: int = 0
    runs: int = 0
    kills: int = 0
    errors: int = 0
    """Runs that ended by an error that was injected."""
    stops: int = 0
    restarts: int = 0
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


@attrs.define(eq=False)
class Scenario:
    """One folder's story."""

    subject: Subject
    folder: Path
    expected: Verdict
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
    _undoing: bool = False
    """Whether a restart was cut off before it began anew, so that a plain run may find the target half undone."""
    _recovering: bool = False
    """Whether the run before was killed in its recovery."""

    def play(self) -> str | None:
        """Until the pipeline is completed; what is wrong then."""
        self.folder.mkdir()
        self.tally.scenarios += 1
        for leg in (0, 1):
            self.subject.feed(self.folder, leg=leg)
            done = False
            while not done:
                wrong, done = self._attempt()
                if wrong is not None:
                    return self._told(wrong)
        verdict = self.subject.judge(self.folder, self.expected)
        self.tally.lost += verdict.lost
        self.tally.repeated += verdict.repeated
        if verdict.wrong is not None:
            return self._told(verdict.wrong)
        shutil.rmtree(self.folder)
        return None

    def _attempt(self) -> tuple[str | None, bool]:
        """One run: what is wrong with its end, and whether the pipeline is completed."""
        peaceful = self.tally.kills >= self.kills
        strike, delay = (None, None) if peaceful else self._aim()
        stop = self.dice.randrange(1, SECOND) if not peaceful and self.dice.random() < 0.1 else None
        restart = self._wants_restart(peaceful=peaceful)
        request = Request(
            variant=self.subject.name,
            folder=str(self.folder),
            strike=strike,
            attempt=self.tally.runs,
            max_records=stop,
            restart=restart,
        )
        make_notes(self.folder / NOTES)
        self.tally.runs += 1
        self.tally.restarts += restart
        whole = self.dice.random() < self.whole and not (restart or self._undoing)
        self.tally.processes += whole
        code = self._process(request, delay) if whole else self._forked(request, delay)
        if code == CHANGED and self._undoing and not restart:
            return None, False  # told that it has to be started over: by the next run
        self._undoing = (restart or self._undoing) and not streamed(self.folder / NOTES)
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

    def _wants_restart(self, *, peaceful: bool) -> bool:
        if self._undoing:
            return peaceful or self.dice.random() < 0.5
        return not (peaceful or self.fresh) and self.dice.random() < 0.06

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
        if code in (1, 2) and "struck at event" in (self.folder / "log").read_text()[-4000:]:
            return STRUCK
        return STOPPED if code == 0 and request.max_records is not None else code

    def _count(self, phase: Phase) -> None:
        self.tally.kills += 1
        self.tally.phases[phase] += 1
        self.fresh = self.fresh and phase in _BEFORE
        recovering = phase in _RECOVERY
        self.tally.again += recovering and self._recovering
        self._recovering = recovering

    def _told(self, wrong: str) -> str:
        log = self.folder / "log"
        last = log.read_text()[-2000:] if log.exists() else ""
        return f"{self.subject.name} in {self.folder}, run {self.tally.runs}: {wrong}\n{last}"


def undisturbed(subject: Subject, folder: Path, server: ForkServer) -> tuple[Verdict, dict[Phase, int]]:
    """What a pipeline leaves that nobody disturbs, and how many events its first run had in each phase."""
    folder.mkdir()
    profile: dict[Phase, int] = {}
    for leg in (0, 1):
        subject.feed(folder, leg=leg)
        make_notes(folder / NOTES)
        never = Strike(Phase.PROCESS, 10**9)
        request = Request(variant=subject.name, folder=str(folder), strike=never, attempt=leg)
        code = server.wait(server.start(request))
        assert code == COMPLETED, (folder / "log").read_text()
        profile = profile or events(folder / NOTES)
    return subject.judge(folder, None), profile
