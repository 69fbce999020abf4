"""Runs that really die: each in a process forked from one that has imported everything already, so that it costs
milliseconds, and ended by `kill -9`, which it does to itself at the place that it is told.

The process that is forked never had a thread, a loop or a SQLite connection. `multiprocessing` has such a server too,
whose children import the main module anew, which is pytest: half a second each.
"""

import functools
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import trio

from agora import BoundPipeline
from agora.runtime import barrier
from agora.sinks import target
from agora.state import CheckpointStore, sqlitesql

__all__ = ["Mortals", "Place", "die"]


@attrs.frozen
class Place:
    """Where a run dies: at the n-th call of something in the engine."""

    what: str
    """One of `PLACES`."""
    nth: int = 1


def die() -> None:
    """`kill -9`, of this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def _counted(nth: int) -> Callable[[], bool]:
    left = nth

    def due() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    return due


def _around(owner: Any, name: str, due: Callable[[], bool], *, after: bool) -> None:
    """Die before, or after, the call that is due."""
    plain = getattr(owner, name)

    @functools.wraps(plain)
    async def method(*args: Any, **kwargs: Any) -> Any:
        now = due()
        if now and not after:
            die()
        result = await plain(*args, **kwargs)
        if now:
            die()
        return result

    setattr(owner, name, method)


def _before(owner: Any, name: str, due: Callable[[], bool]) -> None:
    """Die before the call that is due."""
    plain = getattr(owner, name)

    @functools.wraps(plain)
    def function(*args: Any, **kwargs: Any) -> Any:
        if due():
            die()
        return plain(*args, **kwargs)

    setattr(owner, name, function)


def _within_save(due: Callable[[], bool]) -> None:
    """Everything of a transaction is written, and its COMMIT isn't."""
    plain = sqlitesql._check_expectations

    def check(connection: Any, changes: Any, now: float, place: str) -> None:
        plain(connection, changes, now, place)
        if any(getattr(change, "namespace", "") == "checkpoint" for change in changes) and due():
            connection.set_commit_hook(die)

    sqlitesql._check_expectations = check  # type: ignore[assignment]  # a process of its own


PLACES: dict[str, Callable[[Callable[[], bool]], None]] = {
    "before genesis": lambda due: _around(CheckpointStore, "begin", due, after=False),
    "after genesis": lambda due: _around(CheckpointStore, "begin", due, after=True),
    "after a write": lambda due: _around(target.AppendFile, "append", due, after=True),
    "before prepare": lambda due: _before(barrier.Barrier, "at", due),
    "after prepare": lambda due: _before(
        barrier.Barrier, "_checkpoint", due
    ),  # which holds what they answered
    "within save": _within_save,
    "after save": lambda due: _before(barrier.Barrier, "_saved", due),
    "before commit": lambda due: _around(barrier, "commit", due, after=False),
    "after commit": lambda due: _around(barrier, "commit", due, after=True),
}


@attrs.define(eq=False)
class Mortals:
    """Forks runs, one after the other. Used as a context manager."""

    _process: "subprocess.Popen[bytes]" = attrs.field(init=False)

    def __enter__(self) -> "Mortals":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.dying"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # at the end of its input it ends

    def run(self, folder: Path, build: Callable[[], BoundPipeline], place: Place | None = None) -> int:
        """The exit code of a run in a process of its own, in the folder: -9 for one that has killed itself at `place`,
        or where a part of the pipeline called `die`. `build` is called there; `pickle` must take it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((str(folder), build, place), self._process.stdin)
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def kill(self, folder: Path, build: Callable[[], BoundPipeline], place: Place | None = None) -> None:
        """As `run`, of a run that must die."""
        code = self.run(folder, build, place)
        assert code == -signal.SIGKILL, f"exit code {code}: {(folder / 'log').read_text()}"


def _run(folder: str, build: Callable[[], BoundPipeline], place: Place | None) -> int:
    log = os.open(Path(folder, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    os.chdir(folder)
    os.environ["DYING"] = "1"
    target._BUFFER = 1  # what is written is in the file at once, as it would be of larger records
    if place is not None:
        PLACES[place.what](_counted(place.nth))
    try:
        trio.run(build().run)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _serve() -> None:
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _run(*request)
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    pa.array([0])  # which imports pandas where that is installed: a second
    _serve()
