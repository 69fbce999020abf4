"""Which seed a check or a simulation runs under when it isn't told one."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["current_seed", "set_seed", "use_seed"]

_chosen: list[int] = []
"""The seeds that were said, the innermost last. None: each is drawn."""


def current_seed() -> int:
    """The seed that was said with `set_seed` or `use_seed`; else one drawn from `random`, so that whoever seeds that
    (pytest-randomly does) gets the same again."""
    return _chosen[-1] if _chosen else random.getrandbits(32)


def set_seed(seed: int | None) -> None:
    """From now on every check runs under this seed; `None`: under one of its own again. For the pytest plugin."""
    _chosen[:] = [] if seed is None else [seed]


@contextmanager
def use_seed(seed: int) -> Iterator[None]:
    """Every check in the block runs under this seed."""
    _chosen.append(seed)
    try:
        yield
    finally:
        _chosen.pop()
