"""Cases of the laws of middlewares: what is sent through a part, where batches end, and in what order things finish."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from hypothesis import strategies as st

from agora.copying import keep
from agora.records import Record
from agora.testing.laws.spoiled import spoil
from agora.testing.strategies import failures, schedules

__all__ = ["ENDINGS", "MiddlewareCase", "cases", "ordered_alike"]

ENDINGS = ("source", "next", "sink", "record")
"""What ends a run early: the source fails, a later step doesn't start, the sink fails, a record fails under the
policy "stop"."""

_MOST = 6


@attrs.frozen(kw_only=True)
class MiddlewareCase:
    """All there is to know of one example."""

    records: Sequence[Record]
    borders: Sequence[int] = attrs.field(default=(), converter=tuple)
    """Positions of records before which a batch ends, since the source lets time pass."""
    batch_size: int = 512
    """Records of a batch at most."""
    in_flight: int | None = None
    """Records in flight at most (`Backpressure.fixed`); `None`: the default."""
    concurrency: int | None = None
    """`None`: the part's own."""
    waits: Sequence[int] = attrs.field(default=(), converter=tuple)
    """The schedule: how many milliseconds (of virtual time) the n-th call that begins, or goes on after a suspension,
    has to wait before it does. None behind the last."""
    spoiled: Mapping[int, int] = attrs.field(factory=dict)
    """By a record's position, the number of its field that can't be read, counted from 1; 0: none of them can."""
    cancel_at: int | None = None
    """The suspension, counted from 1, at which the run is cancelled."""
    ending: str | None = None
    """What ends the run early; one of `ENDINGS`."""
    split: int | None = None
    """Position of the record before which the run is stopped and resumed, or at which prefixes part; `None`: at each in
    turn."""

    def fresh(self) -> list[Record]:
        """The records, made anew: a part may change them."""
        kept = [keep(record) for record in self.records]
        return [
            spoil(record, self.spoiled[position]) if position in self.spoiled else record
            for position, record in enumerate(kept)
        ]

    @property
    def size(self) -> int:
        return len(self.records)


def cases(
    records: st.SearchStrategy[Any], least: int = 1, **drawn: st.SearchStrategy[Any]
) -> st.SearchStrategy[MiddlewareCase]:
    """Cases with `least` to six records, some of them again, and of the other fields those that are named. What
    depends on the number of records is counted around by whoever reads it."""

    @st.composite
    def whole(draw: st.DrawFn) -> MiddlewareCase:
        size = draw(st.integers(least, _MOST))
        found: list[Record] = []
        for _ in range(size):
            again = bool(found) and draw(st.integers(0, 4)) == 4
            found.append(keep(found[draw(st.integers(0, len(found) - 1))]) if again else draw(records))
        if draw(st.integers(0, 3)) < 3:
            found = ordered_alike(found)
        fields: dict[str, Any] = {name: draw(each) for name, each in drawn.items()}
        if "spoiled" in fields:
            fields["spoiled"] = {position % size: field for position, field in fields["spoiled"].items()}
        return MiddlewareCase(records=found, **fields)

    return whole()


def ordered_alike(records: list[Record]) -> list[Record]:
    """Dicts with the same fields in the same order: those of one source are, and Hypothesis' often aren't."""
    orders: dict[frozenset[Any], list[Any]] = {}
    alike = []
    for record in records:
        if type(record) is dict:
            order = orders.setdefault(frozenset(record), list(record))
            record = {name: record[name] for name in order}  # noqa: PLW2901  - the same record, ordered
        alike.append(record)
    return alike


nothing: st.SearchStrategy[MiddlewareCase] = st.nothing()
borders = schedules.borders(_MOST)
batch_sizes = schedules.batch_sizes()
large = st.sampled_from([512, 3])
limits = schedules.limits()  # a batch is a quarter of it at most
concurrencies = schedules.concurrencies()
waits = schedules.waits(3 * _MOST)
spoiled = failures.spoiled(_MOST)
suspensions = schedules.suspensions()
endings = st.sampled_from(ENDINGS)
