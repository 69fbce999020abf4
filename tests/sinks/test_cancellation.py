"""A run that is cancelled at any of its trio checkpoints leaves what the saved token covers, and nothing open."""

import os
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from agora.sinks import CsvSink, JsonLinesSink, ParquetSink

RECORDS = [{"n": n, "text": "x" * n} for n in range(12)]


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when its task is scheduled for the n-th time."""

    def __init__(self, number: int, scope: trio.CancelScope, task: trio.lowlevel.Task) -> None:
        self.left, self.scope, self.task = number, scope, task

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


def contents(path: Path) -> bytes | None:
    """Of the file; of a directory of parts the rows are checked elsewhere, here only that it is the same."""
    return path.read_bytes() if path.is_file() else None


async def run(sink: Any, context: Any, saved: list[Any]) -> None:
    try:
        await sink.open(context)
        if context.transactional:
            saved.append(await sink.prepare())
        for start in range(0, 12, 3):
            await sink.write(RECORDS[start : start + 3])
            if context.transactional:
                saved.append(await sink.prepare())
                await sink.commit(saved[-1])
        if not context.transactional:
            await sink.publish()
    finally:
        with trio.CancelScope(shield=True):
            await sink.close()


@pytest.mark.usefixtures("no_buffer")
@pytest.mark.parametrize("kind", [JsonLinesSink, CsvSink, ParquetSink])
@pytest.mark.parametrize("fence", [0, 1])
async def test_cancelled_at_any_checkpoint_nothing_is_left_open_and_recovery_restores_the_token(
    kind: Any, fence: int, tmp_path: Path, context: Any
) -> None:
    options = {"part_rows": 5} if kind is ParquetSink else {}
    process = psutil.Process()
    for number in range(1, 200):
        path = tmp_path / str(number) / "out"
        path.parent.mkdir()
        saved: list[Any] = []
        with trio.CancelScope() as scope:
            instrument = CancelAt(number, scope, trio.lowlevel.current_task())
            trio.lowlevel.add_instrument(instrument)
            try:
                await run(kind(path, **options), context(fence=fence), saved)
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert [file.path for file in process.open_files() if str(tmp_path) in file.path] == []
        if not fence:
            assert os.listdir(path.parent) in ([], ["out"])
            assert path.exists() or scope.cancelled_caught
        elif saved:
            again = kind(path, **options)
            await again.open(context(fence=2, completed=False))
            await again.recover(saved[-1])
            assert (
                await again.prepare() == {**saved[-1], "pending": None} if kind is not ParquetSink else True
            )
            if kind is JsonLinesSink:
                lines = (contents(path) or b"").count(b"\n")
                assert lines == 3 * (len(saved) - 1)
            await again.close()
        if not scope.cancelled_caught:
            assert number > 7
            return
    pytest.fail("the run never got through")
