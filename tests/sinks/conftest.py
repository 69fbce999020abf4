"""Contexts of runs, and a machine whose file operations can be watched and failed."""

import contextlib
import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pytest

from agora import seam
from agora.checkpoint import Checkpoint
from agora.context import RunContext
from agora.sinks import target


def make_context(*, completed: bool | None = None, fence: int = 0, takeover: bool = False) -> RunContext:
    """`fence > 0`: a run with checkpoints; `completed`: resumed, from a checkpoint of a completed run or
    another."""
    resumed = None
    if completed is not None:
        resumed = Checkpoint(
            position=0, ordinal=0, source=None, run_id="r", saved_at=datetime.now(UTC), completed=completed
        )
    return RunContext(
        pipeline="p",
        run_id="r",
        stage="sink:s",
        resumed_from=resumed,
        fence=fence,
        transactional=fence > 0,
        takeover=takeover,
        state={},
        logger=logging.LoggerAdapter(logging.getLogger("agora.tests")),
        span=lambda _name, _attributes: contextlib.nullcontext(),
        count=lambda _name, _n: None,
    )


class WatchedFiles(seam.Files):
    """Calls `before(number, name)` ahead of every operation; a write is torn in the middle."""

    def __init__(self, before: Callable[[int, str], None]) -> None:
        self.calls = 0
        self._before = before

    def _step(self, name: str) -> None:
        self.calls += 1
        self._before(self.calls, name)

    def open(self, path: Path, mode: str) -> IO[bytes]:
        self._step("open")
        return super().open(path, mode)

    def write(self, handle: IO[bytes], data: bytes | bytearray | memoryview) -> None:
        half = len(data) // 2
        if half:
            super().write(handle, memoryview(data)[:half])
        self._step("write")
        super().write(handle, memoryview(data)[half:])

    def truncate(self, handle: IO[bytes], size: int) -> None:
        self._step("truncate")
        super().truncate(handle, size)

    def fsync(self, handle: IO[bytes]) -> None:
        self._step("fsync")
        super().fsync(handle)

    def sync_directory(self, path: Path) -> None:
        self._step("sync_directory")
        super().sync_directory(path)

    def replace(self, source: Path, target: Path) -> None:
        self._step("replace")
        super().replace(source, target)

    def copy(self, source: Path, target: Path) -> None:
        self._step("copy")
        super().copy(source, target)

    def unlink(self, path: Path) -> None:
        self._step("unlink")
        super().unlink(path)

    def make_directory(self, path: Path) -> None:
        self._step("make_directory")
        super().make_directory(path)


@contextlib.contextmanager
def watching(before: Callable[[int, str], None]) -> Any:
    machine = seam.Seam()
    files = WatchedFiles(before)
    machine.files = files
    with seam.use(machine):
        yield files


def fail_at(number: int) -> Callable[[int, str], None]:
    def before(call: int, name: str) -> None:
        if call == number:
            raise OSError(28, f"No space left on device ({name}, call {call})")

    return before


def copy_tree(source: Path, target_: Path) -> None:
    shutil.rmtree(target_, ignore_errors=True)
    shutil.copytree(source, target_)


@pytest.fixture
def context() -> Callable[..., RunContext]:
    return make_context


@pytest.fixture
def machine() -> Any:
    """`watching`, `fail_at`, `copy_tree`."""

    class Machine:
        watching = staticmethod(watching)
        fail_at = staticmethod(fail_at)
        copy_tree = staticmethod(copy_tree)

    return Machine


@pytest.fixture
def no_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every append goes to the disk at once, so that crash points lie between records."""
    monkeypatch.setattr(target, "_BUFFER", 1)
    monkeypatch.setattr(target, "_COMPRESSED_BUFFER", 1)
