"""Counters of stages, as the tasks of a run keep them."""

from collections import Counter

import attrs

__all__ = ["StageCount"]


@attrs.define(eq=False, repr=False)
class StageCount:
    """What went through one stage so far, in records."""

    entered: int = 0
    left: int = 0
    dropped: int = 0
    failed: int = 0
    counts: Counter[str] = attrs.field(factory=Counter)
    """What the part itself counted, by `RunContext.count`."""
