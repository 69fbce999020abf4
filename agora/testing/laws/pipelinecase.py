"""Cases of the laws of pipelines: what it is given, its settings, and where it is interrupted."""

from collections.abc import Sequence
from typing import Any

import attrs
from hypothesis import strategies as st

from agora.copying import keep
from agora.records import Record

__all__ = ["PipelineCase", "cases"]

_MOST = 8


@attrs.frozen(kw_only=True)
class PipelineCase:
    """All there is to know of one example."""

    records: Sequence[Record] | None = None
    """What the source gives; `None`: the pipeline's own source."""
    batch_size: int | None = None
    """`None`, here and below: as it is built."""
    in_flight: int | None = None
    """Records in flight at most (`Backpressure.fixed`)."""
    linger: float | None = None
    pauses: Sequence[int] = attrs.field(default=(), converter=tuple)
    """Before which steps of its stream, counted from 1, the source lets a second pass."""
    checkpoint_every: int | None = None
    """Where the pipeline has checkpoints."""
    strikes_at: Sequence[int] = attrs.field(default=(), converter=tuple[int, ...])
    """Where it is interrupted, each time in a place of its own: behind how many thousandths of the steps that the tasks
    of a whole run take (of a crash: of its operations on the disk and calls of parts)."""
    after: bool = True
    """Whether a crash comes after the operation, or in its place."""

    def fresh(self) -> list[Record] | None:
        """The records, made anew: a step may change them."""
        return None if self.records is None else [keep(record) for record in self.records]


def cases(
    records: st.SearchStrategy[Any] | None, least: int = 1, **drawn: st.SearchStrategy[Any]
) -> st.SearchStrategy[PipelineCase]:
    """Cases with these records, `least` of them at least, and of the other fields those that are named."""
    given = st.none() if records is None else st.lists(records, min_size=least, max_size=_MOST)
    return st.builds(PipelineCase, records=given, **drawn)


batch_sizes = st.sampled_from([1, 2, 3, 512])
limits = st.sampled_from([None, 1, 2, 8])
lingers = st.sampled_from([None, 0.001, 5.0])
pauses = st.sets(st.integers(1, _MOST)).map(sorted)
every = st.integers(1, 3)
points = st.lists(
    st.builds(lambda percent, rest: 10 * percent + rest, st.integers(0, 99), st.integers(0, 9)),
    min_size=1,
    max_size=3,
)
after = st.booleans()
