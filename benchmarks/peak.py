"""Memory: the same pipeline over ten times the records, each run in a process of its own."""

import resource
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import trio

from agora import Pipeline
from agora.sinks import JsonLinesSink
from agora.state import CheckpointStore, SQLiteBackend, StateDLQSink
from benchmarks.rounds import Comparison

__all__ = ["peak"]

MIB = 1 << 20


def peak(*, full: bool, rounds: int) -> list[Comparison]:
    """Peak memory at 10⁷ records (small: at 3 · 10⁶) within 10 % of that at 10⁶.

    Below 10⁶ the process is still growing into its caches, SQLite's among them.
    """
    del rounds  # a peak is the same in each
    few, many = 1_000_000, 10_000_000 if full else 3_000_000
    small, large = _peak_of_process(few), _peak_of_process(many)
    what = f"{large / MIB:.1f} MiB at {many:,} records, {small / MIB:.1f} MiB at {few:,}"
    return [Comparison(name="peak memory", what=what, ratio=large / small, target=1.1, at_most=True)]


def _peak_of_process(records: int) -> int:
    command = [sys.executable, "-m", "benchmarks.peak", str(records)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


class Numbers:
    """Generated records with a position: nothing of the input is in memory, and checkpoints are saved."""

    supports_checkpoint = True

    def __init__(self, count: int) -> None:
        self.count = count
        self._next = 0

    async def stream(self) -> AsyncGenerator[dict[str, Any]]:
        for number in range(self._next, self.count):
            self._next = number + 1
            yield {"id": number, "name": f"record {number}", "value": number % 1_000}

    def checkpoint(self) -> int:
        return self._next

    async def prepare_resume(self, position: Any) -> None:
        self._next = position or 0

    def identity(self) -> str:
        return "numbers"


def _divide(record: dict[str, Any]) -> dict[str, Any]:
    record["share"] = 1_000 / (record["value"] - 10)  # one in a thousand becomes a dead letter
    return record


def _run(records: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        state = SQLiteBackend(Path(directory, "state.db"))
        bound = (
            Pipeline(Numbers(records), name="numbers")
            .map(_divide)
            .filter(lambda record: record["value"] < 100)
            .to(JsonLinesSink(Path(directory, "out.jsonl")))
            .build(checkpoint_store=CheckpointStore(state), dlq=StateDLQSink(state))
        )
        summary = trio.run(bound.run)
    assert (summary.read, summary.dead_lettered) == (records, records // 1_000)
    print(_high_water())


def _high_water() -> int:
    """Bytes. `ru_maxrss` of a child begins with what its parent held; Linux tells the process's own."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    _run(int(sys.argv[1]))
