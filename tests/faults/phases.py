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
from typing import Any, Literal

import attrs

__all__ = ["STEPS", "Phase", "Recorder", "Strike", "Struck", "events", "make_notes", "noted"]


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


def make_notes(path: Path) -> None:
    """An empty file of notes."""
    path.write_bytes(bytes(_SIZE))


def noted(path: Path) -> Phase:
    """Where the run was that wrote these notes last."""
    depths = path.read_bytes()[:_COUNTS]
    return next((phase for phase in Phase if depths[phase]), Phase.PROCESS)


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
        self.event()

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
            self.event()
        finally:
            self.leave(phase)
        self.event()

    def event(self, *, fallible: bool = True) -> None:
        """A moment at which the process may end; `fallible`: or the call that it is in may fail."""
        phase = self.phase
        place = _COUNTS + 4 * phase
        count = struct.unpack_from("<I", self._map, place)[0] + 1
        struct.pack_into("<I", self._map, place, count)
        strike = self._strike
        if strike is None or strike.phase != phase or count < strike.nth:
            return
        if strike.how == "error":
            if fallible:
                self._strike, self.struck = None, True
                raise Struck(5, f"struck at event {count} of {phase.name}")
            return
        self._strike = None
        number = signal.SIGKILL if strike.how == "kill" else signal.SIGSTOP
        if strike.later is None:
            os.kill(os.getpid(), number)
        else:
            _later(strike.later, number)


def _later(seconds: float, number: Any) -> None:
    def wait() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, name="strike", daemon=True).start()
