"""The tally against the rule it stands for: one outcome a source record, whatever became of its children."""

from collections import Counter
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from agora.runtime.batch import Batch, StreamOrigin
from agora.runtime.tally import Tally

RANKS = ("dead", "skipped", "written", "dropped")


def batch_of(count: int, index: list[int], last: bool = True) -> Batch:
    return Batch(
        first=0, count=count, rows=index, index=index, origin=StreamOrigin([], None, None), last=last
    )


def counts(tally: Tally) -> dict[str, int]:
    return {
        "read": tally.read,
        "dead": tally.dead_lettered,
        "skipped": tally.skipped,
        "dropped": tally.dropped,
        "rows": tally.written,
    }


@attrs.frozen
class Slice:
    """Children of source records, by offset, and what became of each."""

    children: list[tuple[int, str]]

    def added_to(self, tally: Tally, count: int, *, last: bool) -> None:
        rows = [(offset, fate) for offset, fate in self.children if fate in ("written", "unwanted")]
        tally.add(
            batch_of(count, [offset for offset, _ in rows], last),
            dead=[offset for offset, fate in self.children if fate == "dead"],
            skipped=[offset for offset, fate in self.children if fate == "skipped"],
            unwanted={row for row, (_, fate) in enumerate(rows) if fate == "unwanted"},
            written=sum(fate == "written" for _, fate in rows),
        )


def outcome(fates: set[str]) -> str:
    return next((rank for rank in RANKS if rank in fates), "dropped")


Fates = st.sampled_from(["written", "unwanted", "dead", "skipped"])


@st.composite
def runs(draw: Any) -> list[tuple[int, list[Slice]]]:
    """Batches, each of a number of source records and slices of their children in order; offsets behind the last
    record are those of `finish()`."""
    batches = []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(0, 4))
        offsets = sorted(draw(st.lists(st.integers(0, count), max_size=8)))
        children = [(offset, draw(Fates)) for offset in offsets]
        border = draw(st.integers(0, len(children)))
        batches.append((count, [Slice(children[:border]), Slice(children[border:])]))
    return batches


@given(runs())
def test_each_source_record_has_the_highest_outcome_of_its_children(
    run: list[tuple[int, list[Slice]]],
) -> None:
    tally = Tally(multiplies=True)
    fates: list[set[str]] = []
    rows = 0
    orphans: set[str] = set()  # of a finish() without any record read
    for count, slices in run:
        first = len(fates)
        fates += [set() for _ in range(count)]
        for number, each in enumerate(slices):
            each.added_to(tally, count, last=number == len(slices) - 1)
            for offset, fate in each.children:
                place = min(first + offset, len(fates) - 1)
                (fates[place] if place >= 0 else orphans).add(fate)
                rows += fate == "written"
    outcomes = Counter(outcome(each) for each in fates)
    if fates and not orphans:
        expected = {"read": len(fates), "rows": rows} | {
            kind: outcomes[kind] for kind in RANKS if kind != "written"
        }
        assert counts(tally) == expected


def test_where_nothing_multiplies_what_is_not_written_has_one_other_outcome() -> None:
    tally = Tally(multiplies=False)
    tally.add(batch_of(10, [0, 1, 2, 3]), dead=[4, 4, 5], skipped=[5, 6], unwanted=(), written=4)
    assert counts(tally) == {"read": 10, "dead": 2, "skipped": 1, "dropped": 3, "rows": 4}
    tally.add(batch_of(3, [0]), dead=(), skipped=(), unwanted=(), written=1)
    assert counts(tally) == {"read": 13, "dead": 2, "skipped": 1, "dropped": 5, "rows": 5}
    tally.add(batch_of(3, []), dead=[0], skipped=[1, 2], unwanted=(), written=0)
    assert counts(tally) == {"read": 16, "dead": 3, "skipped": 3, "dropped": 5, "rows": 5}


def test_what_finish_gives_counts_as_coming_of_the_last_record_read() -> None:
    for before, now in ((before, now) for before in RANKS for now in RANKS):
        tally = Tally(multiplies=True)
        Slice([(0, before)] if before != "dropped" else []).added_to(tally, 1, last=True)
        Slice([(0, now)] if now != "dropped" else []).added_to(tally, 0, last=True)
        best = min(before, now, key=RANKS.index)
        told = {"dead": tally.dead_lettered, "skipped": tally.skipped, "dropped": tally.dropped}
        assert told == {kind: int(kind == best) for kind in told}, (before, now)


def test_what_several_batches_of_finish_give_counts_once_and_adds_up() -> None:
    tally = Tally(multiplies=True)
    Slice([(0, "dead"), (1, "skipped")]).added_to(tally, 3, last=True)  # the third one is dropped
    told = []
    for fate in ("unwanted", "written", "skipped", "skipped", "dead", "dead", "written"):
        Slice([(0, fate)]).added_to(tally, 0, last=True)
        told.append((tally.dead_lettered, tally.skipped, tally.dropped))
    assert told == [(1, 1, 1), (1, 1, 0), (1, 2, 0), (1, 2, 0), (2, 1, 0), (2, 1, 0), (2, 1, 0)]


def test_what_finish_gives_without_a_record_read_is_counted_where_it_failed() -> None:
    for now in ("dead", "skipped", "written", "dropped"):
        tally = Tally(multiplies=True)
        Slice([(0, now)] if now != "dropped" else []).added_to(tally, 0, last=True)
        told = (tally.read, tally.dead_lettered, tally.skipped, tally.dropped)
        assert told == (0, int(now == "dead"), int(now == "skipped"), 0)
