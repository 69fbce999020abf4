"""Where a part that is tried works: each case in a new, empty directory, if the factory asks for one."""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["at", "new_place", "takes_place"]


def takes_place(fn: Callable[..., object]) -> bool:
    """Whether it has to be given something."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        each.default is each.empty and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        for each in parameters
    )


def at(fn: Callable[..., Any], place: Path) -> Any:
    """`fn(place)`, or `fn()` where it takes nothing."""
    return fn(place) if takes_place(fn) else fn()


@contextmanager
def new_place(*users: Callable[..., object]) -> Iterator[Path]:
    """A new directory, gone behind the block; none where no user takes one."""
    if not any(map(takes_place, users)):
        yield Path()
        return
    with tempfile.TemporaryDirectory(prefix="agora-laws-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
