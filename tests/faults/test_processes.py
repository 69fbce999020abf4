"""Real processes, really killed, frozen and raced: no record is lost, and one runner at a time has a say."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink

RECORDS = 2_000


@attrs.frozen
class Drill:
    """A folder with the pipeline of `drill.py` and its input."""

    folder: Path

    def start(self, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "agora", "run", "drill:pipeline", "--json"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(**environment)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    @property
    def output(self) -> bytes:
        path = self.folder / "out.jsonl"
        return path.read_bytes() if path.exists() else b""

    @property
    def state(self) -> SQLiteBackend:
        return SQLiteBackend(self.folder / "state.db")

    def wait_for_output(self, process: subprocess.Popen[str], size: int) -> None:
        """Until the process has written this many bytes and is at work on the next ones."""
        deadline = time.monotonic() + 30
        while len(self.output) < size:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def freeze(self, process: subprocess.Popen[str]) -> None:
        """Stop it outside a transaction: inside of one it would lock the file for all, which is another promise."""
        while True:
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert process.poll() is None
            with closing(sqlite3.connect(self.folder / "state.db", timeout=0)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    process.send_signal(signal.SIGCONT)
                else:
                    return


@pytest.fixture(params=["1", "20"], ids=["linear", "buffered"])
def concurrency(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def drill(tmp_path: Path) -> Drill:
    return make_drill(tmp_path / "drill")


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that must not outlive the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def make_drill(folder: Path) -> Drill:
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("drill.py"), folder)
    rows = "".join(f"{number},{number * 7 % 1000}\n" for number in range(RECORDS))
    (folder / "orders.csv").write_text("id,amount\n" + rows)
    return Drill(folder)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Drill:
    drill = make_drill(tmp_path_factory.mktemp("undisturbed") / "drill")
    result = drill.run()
    assert result.returncode == 0, result.stderr
    return drill


async def letters(drill: Drill) -> list[tuple[object, str, str]]:
    sink = StateDLQSink(drill.state)
    return [(letter.original, letter.error_message, letter.id) async for letter in sink.read("drill")]


async def test_after_kill_9_the_next_run_starts_at_once_and_nothing_is_lost_or_repeated(
    drill: Drill, undisturbed: Drill, concurrency: str, started: list[subprocess.Popen[str]]
) -> None:
    size = len(undisturbed.output)
    for share in (0.2, 0.4, 0.6, 0.8):
        process = drill.start(DRILL_PAUSE="0.02", DRILL_CONCURRENCY=concurrency)
        started.append(process)
        drill.wait_for_output(process, int(size * share))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    began = time.monotonic()
    last = drill.run(DRILL_CONCURRENCY=concurrency)
    assert last.returncode == 0, last.stderr
    assert time.monotonic() - began < 10  # far below the 30 s of a lease
    assert drill.output == undisturbed.output
    assert await letters(drill) == await letters(undisturbed)


def test_a_second_runner_is_refused_with_exit_code_4_and_harms_nothing(
    drill: Drill, undisturbed: Drill, started: list[subprocess.Popen[str]]
) -> None:
    first = drill.start(DRILL_GATE="go")
    started.append(first)
    drill.wait_for_output(first, 100)
    second = drill.run()
    (drill.folder / "go").touch()
    assert second.returncode == 4
    assert "busy" in second.stderr
    assert "Traceback" not in second.stderr
    _, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert drill.output == undisturbed.output


async def test_a_frozen_runner_that_wakes_after_its_lease_saves_nothing_and_writes_nothing(
    drill: Drill, undisturbed: Drill, started: list[subprocess.Popen[str]]
) -> None:
    frozen = drill.start(DRILL_PAUSE="0.05", DRILL_LEASE="0.3")
    started.append(frozen)
    drill.wait_for_output(frozen, 2_000)
    drill.freeze(frozen)
    second = drill.run(DRILL_LEASE="0.3")
    while second.returncode == 4:  # renewed a moment ago: refused at once
        second = drill.run(DRILL_LEASE="0.3")
    assert second.returncode == 0, second.stderr
    checkpoint = await CheckpointStore(drill.state).load("drill")
    frozen.send_signal(signal.SIGCONT)
    _, err = frozen.communicate(timeout=60)
    assert frozen.returncode == 4, err
    assert "taken over" in err
    assert await CheckpointStore(drill.state).load("drill") == checkpoint
    assert drill.output == undisturbed.output
    assert await letters(drill) == await letters(undisturbed)
