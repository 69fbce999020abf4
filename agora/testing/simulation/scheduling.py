"""The order in which trio runs the tasks of a turn, by a seed.

Trio shuffles them on purpose, and has a private switch that makes the shuffling repeatable, for Hypothesis. There is
no public one; a test fails when trio changes it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

__all__ = ["seeded_scheduling"]

_run: Any = trio._core._run


@contextmanager
def seeded_scheduling(seed: int) -> Iterator[None]:
    """In the block every `trio.run` shuffles in the same way for the same seed."""
    before, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True
    _run._r.seed(seed)
    try:
        yield
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = before
        _run._r.setstate(state)
