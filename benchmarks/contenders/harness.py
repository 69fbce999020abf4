"""What contenders share. Standard library only: it is imported in foreign environments, too."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["NOT_AVAILABLE", "WORK", "clock", "clocked", "load", "save"]

NOT_AVAILABLE = 77
"""The exit code where a package that the contender needs isn't installed."""
WORK = "work seconds: "
"""Begins the last line that a contender prints."""

_clocked: list[float] = []


@contextmanager
def clock() -> Iterator[None]:
    """Around what counts as the work, where a task has to load its input first. Else the whole task counts."""
    began = time.perf_counter()
    yield
    _clocked.append(time.perf_counter() - began)


def clocked() -> float | None:
    """The seconds that `clock` saw."""
    return _clocked[0] if _clocked else None


def load(source: Path) -> Any:
    """The input of a task in memory."""
    return json.loads(source.read_text())


def save(target: Path, results: Sequence[Any]) -> None:
    """The results of a task in memory, to be compared."""
    target.write_text(json.dumps(list(results)))
