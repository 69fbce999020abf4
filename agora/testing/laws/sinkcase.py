"""Cases of the laws of sinks: what is written, where batches and checkpoints are."""

from collections.abc import Sequence
from typing import Any

import attrs
from hypothesis import strategies as st

from agora.copying import keep
from agora.records import Record
from agora.testing.faults import Loss
from agora.testing.laws.middlewarecase import ordered_alike

__all__ = ["CANCELLED", "SinkCase", "cases"]

CANCELLED = "CANCELLED"
_MOST = 6


@attrs.frozen(kw_only=True)
class SinkCase:
    """All there is to know of one example."""

    records: Sequence[Record]
    refused: Sequence[int] = ()
    """Positions of those that were drawn to be refused."""
    batch_size: int = 512
    every: int = 2
    """Records between two checkpoints."""
    at: int | None = None
    """The call or operation at which something happens, from 1; `None`: each in turn, where a law looks at all."""
    fault: str = "CRASH_BEFORE"
    """What happens there; a name in `agora.testing.faults.Fault`, or `CANCELLED`: the run is cancelled, in front of the
    call of the sink with this number."""
    loss: Loss | None = None
    """Where the power fails there: what is left of that which wasn't synced."""
    again: int = 2
    """How often each commit is made."""

    def fresh(self) -> list[Record]:
        """The records, made anew."""
        return [keep(record) for record in self.records]


def cases(
    records: st.SearchStrategy[Any], refused: st.SearchStrategy[Any] | None, *names: str, least: int = 1
) -> st.SearchStrategy[SinkCase]:
    """Cases with up to six records, and of the other fields those that are named."""

    @st.composite
    def whole(draw: st.DrawFn) -> SinkCase:
        rows = draw(st.lists(records, min_size=least, max_size=_MOST))
        if len(rows) > 1:  # some of them again
            for position in draw(st.sets(st.integers(1, len(rows) - 1), max_size=2)):
                rows[position] = keep(rows[position - 1])
        bad: list[int] = []
        if refused is not None:
            for position in sorted(draw(st.sets(st.integers(0, len(rows)), max_size=2))):
                rows.insert(position + len(bad), draw(refused))
                bad.append(position + len(bad))
        drawn = {name: draw(_DRAWN[name]) for name in names}
        return SinkCase(records=ordered_alike(rows), refused=tuple(bad), **drawn)

    return whole()


_DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "batch_size": st.sampled_from([512, 1, 2, 3]),
    "every": st.integers(1, 4),
    "again": st.integers(2, 3),
}
