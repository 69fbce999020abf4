"""Where a run is, noted so that it outlives the run: a small file that is mapped into memory.

What was written to a shared mapping is the kernel's and stays after `kill -9`, so the campaign counts where its
kills really fell, and not where they were aimed. A run may also strike itself at its n-th event within a phase:
aimed from outside, by time, most kills fall into what lasts longest, and hardly one into a short step.
"""

import enum
import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import attrs

__all__ = ["STEPS", "Phase", "Recorder", "Strike", "Struck", "events", "make_notes", "noted", "streamed"]


class Phase(enum.IntEnum):
    """What a run is at. Several at once (the source reads on while the writer is at a barrier): the lowest counts."""

    START = 0  # step 0 of the barrier: base tokens
    PREPARE = 1
    SAVE = 2
    COMMIT = 3
    TELL = 4
    RECOVER = 5
    BETWEEN = 6  # in a barrier, between two of its steps
    CLOSING = 7
    OPENING = 8
    WRITE = 9
    SOURCE = 10
    STREAM = 11  # steps, or waiting
    PROCESS = 12  # before the run, or behind it


STEPS = (Phase.START, Phase.PREPARE, Phase.SAVE, Phase.COMMIT, Phase.TELL)
"""The steps of the barrier."""

_SIZE = 128
_COUNTS = 32  # where the counts of events begin; before it, one byte a phase: how deep the run is in it


class Struck(OSError):
    """The error of a strike that is no kill."""


@attrs.frozen
class Strike:
    """What a run does to itself at the n-th event within a phase (and, with `later` seconds, a moment after it)."""

    phase: int
    nth: int
    later: float | None = None
    how: Literal["kill", "stop", "error"] = "kill"
    point: str | None = None
    """Only events of this kind count: `"enter"` or `"leave"` the phase, `"middle"` of a write, `"call"`."""


def make_notes(path: Path) -> None:
    """An empty file of notes; a new one, as a run that is frozen keeps its own."""
    path.unlink(missing_ok=True)
    path.write_bytes(bytes(_SIZE))


def noted(path: Path) -> Phase:
    """Where the run was that wrote these notes last."""
    depths = path.read_bytes()[:_COUNTS]
    return next((phase for phase in Phase if depths[phase]), Phase.PROCESS)


def streamed(path: Path) -> bool:
    """Whether the run that wrote these notes has come to its first record."""
    return bool(path.read_bytes()[Phase.STREAM])


def events(path: Path) -> dict[Phase, int]:
    """How many events the run had in each phase."""
    data = path.read_bytes()
    return {phase: struct.unpack_from("<I", data, _COUNTS + 4 * phase)[0] for phase in Phase}


@attrs.define(eq=False)
class Recorder:
    """Notes where its process is, and strikes when its time has come."""

    _map: mmap.mmap
    _strike: Strike | None
    struck: bool = False
    """Whether a strike that is an error was carried out."""
    _met: int = 0
    """Events that the strike counts."""

    @classmethod
    def open(cls, path: Path, strike: Strike | None) -> "Recorder":
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), _SIZE), strike)

    @property
    def phase(self) -> Phase:
        return next((phase for phase in Phase if self._map[phase]), Phase.PROCESS)

    def at(self, phase: Phase) -> bool:
        """Whether the run is in this phase, whatever else it is in."""
        return bool(self._map[phase])

    def enter(self, phase: Phase) -> None:
        self._map[phase] += 1
        self.event("enter")

    def leave(self, phase: Phase) -> None:
        self._map[phase] -= 1

    def set(self, phase: Phase, on: bool) -> None:
        self._map[phase] = int(on)

    @contextmanager
    def within(self, phase: Phase) -> Iterator[None]:
        """The first event is behind the border, the last one before it, and one more behind it."""
        self.enter(phase)
        try:
            yield
            self.event("leave")
        finally:
            self.leave(phase)
        self.event()

    def event(self, point: str = "call") -> None:
        """A moment at which the process may end, or the call that it is in may fail."""
        if self.due(point):
            self.strike()

    def due(self, point: str) -> bool:
        """Count the event; whether the strike falls here."""
        phase = self.phase
        place = _COUNTS + 4 * phase
        struct.pack_into("<I", self._map, place, struct.unpack_from("<I", self._map, place)[0] + 1)
        strike = self._strike
        if strike is None or strike.phase != phase or strike.point not in (None, point):
            return False
        self._met += 1
        return self._met >= strike.nth

    def strike(self) -> None:
        """Once. Returns where the process was stopped and goes on, or ends a moment later."""
        strike, self._strike = self._strike, None
        assert strike is not None
        if strike.how == "error":
            self.struck = True
            raise Struck(5, f"struck at event {self._met} of {self.phase.name}")
        if (
            strike.how == "stop"
        ):  # to this very thread: sent to the process, others might take it first, and this one go on
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        elif strike.later is None:
            os.kill(os.getpid(), signal.SIGKILL)
        else:
            _later(strike.later)


def _later(seconds: float) -> None:
    def wait() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="strike", daemon=True).start()
