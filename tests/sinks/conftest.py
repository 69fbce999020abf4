"""Contexts of runs, and a machine whose operations on the disk can be watched and failed."""

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from agora.checkpoint import Checkpoint
from agora.context import RunContext
from agora.sinks import target
from agora.testing.faults import Operation, observing


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


@attrs.define
class Watch:
    """Calls `before(number, operation)` ahead of every operation; in the middle of a write."""

    before: Callable[[int, Operation], None]
    calls: int = 0

    def perform(self, operation: Operation, act: Callable[[Operation], Any]) -> Any:
        self.calls += 1
        half = len(operation.data) // 2 if operation.name == "write" else 0
        if half:
            act(attrs.evolve(operation, data=operation.data[:half]))
        self.before(self.calls, operation)
        return act(attrs.evolve(operation, data=operation.data[half:], offset=operation.offset + half))


@contextlib.contextmanager
def watching(before: Callable[[int, Operation], None]) -> Iterator[Watch]:
    watch = Watch(before)
    with observing(watch):
        yield watch


def fail_at(number: int) -> Callable[[int, Operation], None]:
    def before(call: int, operation: Operation) -> None:
        if call == number:
            raise OSError(28, f"No space left on device ({operation}, call {call})")

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
