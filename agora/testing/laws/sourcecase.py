"""Cases of the laws of sources: how much is read, in which form, and where it ends."""

from collections.abc import Sequence
from typing import Literal

import attrs
from hypothesis import strategies as st

__all__ = ["FORMS", "Form", "SourceCase", "cases"]

Form = Literal["stream", "blocks", "batches"]
FORMS: tuple[Form, ...] = ("stream", "blocks", "batches")


@attrs.frozen(kw_only=True)
class SourceCase:
    """All there is to know of one example."""

    form: int = 0
    """Number of the form in which it is read, counted around among those that the source has."""
    rest: int = 0
    """That of the form in which the rest is read."""
    at: int | None = None
    """Number of records in front of the place in question, counted around; `None`: at every place."""
    rows: Sequence[int] = attrs.field(default=(), converter=tuple)
    """How many rows are wanted at a time, the last for all further ones; none: 512."""
    asks: Sequence[int] = attrs.field(default=(), converter=tuple)
    """How often the position is asked behind each record; none: once."""
    used: bool = False
    """The source that goes on is one that was read before, not a new one."""
    every: int = 2
    """Records between two checkpoints."""
    batch_size: int = 512
    cancel_at: int | None = None
    """The suspension, counted from 1, at which it is cancelled."""

    def wanted(self, block: int) -> int:
        if not self.rows:
            return 512
        return self.rows[min(block, len(self.rows) - 1)]

    def asked(self, record: int) -> int:
        return self.asks[record % len(self.asks)] if self.asks else 1


def cases(*names: str) -> st.SearchStrategy[SourceCase]:
    """Cases in which these fields are drawn, and the others are as they are by default."""
    return st.builds(SourceCase, **{name: _DRAWN[name] for name in names})


_DRAWN: dict[str, st.SearchStrategy[object]] = {
    "form": st.integers(0, 2),
    "rest": st.integers(0, 2),
    "rows": st.lists(st.integers(1, 5), max_size=3),
    "asks": st.lists(st.integers(0, 2), min_size=1, max_size=3),
    "used": st.booleans(),
    "every": st.integers(1, 4),
    "batch_size": st.sampled_from([512, 1, 2, 3]),
    "cancel_at": st.integers(1, 20),
}
