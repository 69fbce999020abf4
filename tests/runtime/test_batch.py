"""The index of the rows that a loop has left, against a list of positions."""

from hypothesis import given
from hypothesis import strategies as st

from agora.deadletter import SOURCE_ENTRY
from agora.runtime.batch import Batch, StreamOrigin

Fates = st.lists(st.sampled_from(["left", "first", "second", "lost"]))


def batch_of(count: int, index: list[int] | range | None = None) -> Batch:
    rows = list(range(count))
    return Batch(
        first=0,
        count=count,
        rows=rows,
        index=range(count) if index is None else index,
        origin=StreamOrigin(rows, None, None),
    )


def leave(batch: Batch, fates: list[str]) -> list[int]:
    """As the loop tells it; the positions that are left."""
    gaps: dict[str, list[int]] = {"first": [], "second": [], "lost": []}
    left: list[int] = []
    for position, fate in enumerate(fates):
        if fate == "left":
            left.append(position)
        else:
            gaps[fate].append(len(left))
    batch.leave([batch.rows[position] for position in left], list(gaps.values()))
    return left


@given(Fates, st.data())
def test_each_row_that_is_left_keeps_its_index_and_entry(fates: list[str], data: st.DataObject) -> None:
    index = sorted(data.draw(st.lists(st.integers(0, 99), min_size=len(fates), max_size=len(fates))))
    batch = batch_of(len(fates), index)
    entries = [str(position) for position in range(len(fates))]
    if data.draw(st.booleans()):
        batch.entries = list(entries)
    left = leave(batch, fates)
    expected = [index[position] for position in left]
    assert len(batch.index) == len(expected)
    assert list(batch.index) == expected
    assert [batch.index[row] for row in range(len(expected))] == expected
    assert list(batch.index[1:]) == expected[1:]
    wanted = [SOURCE_ENTRY] * len(left) if batch.entries is None else [entries[position] for position in left]
    assert [batch.entry(row) for row in range(len(left))] == wanted


@given(Fates, st.data())
def test_a_second_loop_leaves_of_what_the_first_one_left(fates: list[str], data: st.DataObject) -> None:
    batch = batch_of(len(fates))
    first = leave(batch, fates)
    more = [data.draw(st.sampled_from(["left", "first", "lost"])) for _ in first]
    second = leave(batch, more)
    assert list(batch.index) == [first[position] for position in second]
