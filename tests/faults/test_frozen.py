"""A runner that freezes at any step, is taken over, and wakes: what it writes then reaches nothing.

It stops itself by SIGSTOP at the step that is meant. All cases are played side by side, since nearly all of their
time is the lease's.
"""

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import apsw
import attrs
import pytest

from .child import BUSY, CHANGED, COMPLETED, NOTES, Request
from .fickle import FICKLE
from .forkserver import ForkServer
from .phases import Phase, Strike, make_notes
from .variants import SINKS, VARIANTS, Verdict

LEASE = 0.1  # seconds; a takeover takes three of them

MOMENTS = {
    "before it prepares": (Phase.PREPARE, "enter"),
    "before it saves": (Phase.SAVE, "enter"),
    "before it commits": (Phase.COMMIT, "enter"),
    "behind its commit": (Phase.COMMIT, "leave"),
    "in the middle of a write": (Phase.PREPARE, "middle"),
}
NTH = 4

CASES = [
    *((sink, moment) for sink in SINKS for moment in ("before it saves", "before it commits")),
    # Not SQLite: frozen in a transaction of its own it holds the lock of the database, and nobody else can write.
    ("jsonl", "in the middle of a write"),
    ("parquet", "in the middle of a write"),
    ("parquet", "behind its commit"),
    ("sqlite", "before it prepares"),
]


@attrs.define
class Case:
    """One runner, and the one that takes over from it."""

    variant: Any
    """A subject of the campaigns."""
    folder: Path
    strike: Strike
    runs: int = 0
    frozen: int = 0
    """Process id."""
    second: int = COMPLETED
    """Exit codes."""
    woken: int = BUSY
    third: int = COMPLETED
    before: dict[str, str] = attrs.field(factory=dict)
    """What there was before the first one woke."""
    after: dict[str, str] = attrs.field(factory=dict)
    end: Verdict | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def request(self, strike: Strike | None = None) -> Request:
        make_notes(self.folder / NOTES)
        self.runs += 1
        return Request(
            variant=self.variant.name,
            folder=str(self.folder),
            strike=strike,
            attempt=self.runs,
            # The one that freezes doesn't renew: frozen in that transaction, it would hold the lock of the state.
            lease=LEASE if strike is None else None,
        )


def contents(folder: Path) -> dict[str, str]:
    """Every file but what only tells of a run; of a database its rows. Hidden names in a Parquet directory are no
    part of it: what a stale runner leaves under those that it alone uses, the next run clears away."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or name.startswith(("log", "answers", NOTES, "state.db.locks")) or ".db-" in name:
            continue
        if path.name.startswith(".") and path.parent.name == "out.parquet":
            continue
        data: Any = rows(path) if path.suffix == ".db" else path.read_bytes()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def rows(path: Path) -> bytes:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        tables = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
        content = {
            name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
            for name, sql in tables
            if sql is not None and sql.startswith("CREATE TABLE")
        }
        return repr((tables, content)).encode()
    finally:
        connection.close()


def variant_of(sink: str) -> Any:
    """Linear and buffered in turn. What the two runners write differs where a fickle pipeline has such a sink: bytes
    that are written over equal ones aren't seen."""
    if sink == "jsonl":
        return FICKLE["fickle-jsonl-linear"]
    if sink == "sqlite":
        return FICKLE["fickle-sqlite-buffered-many"]
    wanted = 8 if sink == "csv" else 1
    return next(each for each in VARIANTS.values() if (each.sink, each.concurrency) == (sink, wanted))


@pytest.fixture(scope="module")
def played(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Case]:
    folder = tmp_path_factory.mktemp("frozen")
    cases = {}
    for number, (sink, moment) in enumerate(CASES):
        phase, point = MOMENTS[moment]
        case = Case(variant_of(sink), folder / str(number), Strike(phase, NTH, how="stop", point=point))
        case.folder.mkdir()
        cases[sink, moment] = case
    for case in cases.values():
        case.variant.feed(case.folder, leg=0)
        case.frozen = server.start(case.request(case.strike))
    for case in cases.values():
        assert server.wait_stopped(case.frozen), case.log
    take_over(server, list(cases.values()))
    for case in cases.values():
        case.before = contents(case.folder)
        os.kill(case.frozen, signal.SIGCONT)
    for case in cases.values():
        case.woken = server.wait(case.frozen)
        case.after = contents(case.folder)
    for case in cases.values():
        case.variant.feed(case.folder, leg=1)
        case.third = server.wait(server.start(case.request()))
        case.end = case.variant.judge(case.folder, None)
    return cases


def take_over(server: ForkServer, cases: list[Case]) -> None:
    """Runs that complete what is frozen; one that finds the lease renewed a moment ago is begun again."""
    waiting = cases
    for _ in range(100):
        running = [(case, server.start(case.request())) for case in waiting]
        for case, pid in running:
            case.second = server.wait(pid)
        waiting = [case for case in waiting if case.second == BUSY]
        if not waiting:
            return


@pytest.fixture(scope="module")
def undisturbed(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    found = {}
    for sink in ("csv", "parquet"):
        case = Case(variant_of(sink), tmp_path_factory.mktemp(sink), Strike(Phase.STREAM, 1))
        for leg in (0, 1):
            case.variant.feed(case.folder, leg=leg)
            assert server.wait(server.start(case.request())) == COMPLETED, case.log
        found[sink] = case.variant.judge(case.folder, None)
    return found


@pytest.mark.parametrize(("sink", "moment"), CASES)
def test_what_a_frozen_runner_writes_once_it_wakes_reaches_nothing(
    sink: str, moment: str, played: dict[tuple[str, str], Case], undisturbed: dict[str, Verdict]
) -> None:
    case = played[sink, moment]
    assert case.second == COMPLETED, case.log
    assert case.woken in (BUSY, CHANGED), case.log
    assert "taken over" in case.log
    assert case.after == case.before
    assert case.third == COMPLETED, case.log
    assert case.end is not None
    assert case.end.wrong is None
    if sink in undisturbed:
        assert case.end == undisturbed[sink]
