"""A batch: the index of the rows that a loop has left, against a list of positions; what leaves it, and its origins."""

from hypothesis import given
from hypothesis import strategies as st

from agora.deadletter import SOURCE_ENTRY
from agora.runtime.batch import Batch, BlockOrigin, Cut, Failure, StreamOrigin
from agora.sources.base import Block

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


def test_rows_that_a_loop_dropped_take_their_entry_with_them() -> None:
    batch = batch_of(4)
    batch.entries = list("abcd")
    batch.leave(["x", "y"], [[0], [1]])  # the first row, and the third
    assert [(batch.index[row], batch.entry(row)) for row in range(2)] == [(1, "b"), (3, "d")]


def failure(offset: int) -> Failure:
    return Failure(offset=offset, stage="step", error=ValueError(offset), policy="skip")


def test_rows_that_are_removed_take_their_index_and_entry_with_them() -> None:
    batch = batch_of(5)
    batch.entries = list("abcde")
    batch.remove([1, 3], ["x", "y", "z"])
    assert (list(batch.index), batch.entries, batch.rows) == ([0, 2, 4], ["a", "c", "e"], ["x", "y", "z"])
    batch.remove([], ["u", "v", "w"])
    assert (list(batch.index), batch.entries, batch.rows) == ([0, 2, 4], ["a", "c", "e"], ["u", "v", "w"])


def test_a_truncated_batch_keeps_what_stands_before_the_failure_and_neither_cut_nor_end() -> None:
    batch = batch_of(4, [0, 1, 3, 3])  # record 2 was dropped, record 3 gave two
    batch.entries = list("abcd")
    batch.cut, batch.end = Cut(ordinal=4, position=None), "exhausted"
    before, beside, behind = failure(1), failure(3), failure(4)
    batch.failures += [before, beside, behind]
    batch.truncate(2, halt := failure(3))
    assert (list(batch.rows), list(batch.index), batch.entries) == ([0, 1], [0, 1], ["a", "b"])
    assert batch.failures == [before, beside]
    assert (batch.halt, batch.cut, batch.end) == (halt, None, None)


def test_a_slice_takes_along_the_failures_that_it_is_through_with_and_no_end() -> None:
    batch = batch_of(6)
    batch.cut, batch.end, batch.halt = Cut(ordinal=6, position=None), "exhausted", failure(5)
    early, at, late = failure(0), failure(2), failure(3)
    batch.failures += [late, early, at]
    piece = batch.slice(["x", "y", "z"], [0, 1, 2], ["a", None, "c"])
    assert (piece.rows, piece.index, piece.entries) == (["x", "y", "z"], [0, 1, 2], ["a", None, "c"])
    assert (piece.failures, batch.failures) == ([early, at], [late])
    assert (piece.halt, piece.cut, piece.end, piece.last) == (None, None, None, False)
    assert (piece.first, piece.count, piece.origin) == (batch.first, batch.count, batch.origin)
    assert batch.cut is not None
    assert batch.halt is not None
    assert (batch.end, batch.last) == ("exhausted", True)


def test_of_a_block_the_origin_tells_each_row_that_was_read_and_its_place() -> None:
    rows = [{"row": row} for row in range(6)]
    plain = BlockOrigin(Block(rows), 2, None)
    assert plain.original(1) == {"row": 3}
    assert plain.original(1) is not rows[3]  # the chain may change its own
    assert plain.position(1) is None
    told = BlockOrigin(
        Block(rows, position=lambda row: f"at {row}", original=lambda row: f"line {row}"), 2, None
    )
    assert (told.original(1), told.position(1)) == ("line 3", "at 3")
    assert BlockOrigin(told.block, 2, ["a", "b"]).original(1) == "b"


def test_of_a_generator_the_origin_tells_copies_and_positions_where_there_are_any() -> None:
    bare = StreamOrigin(["a", "b"], None, None)
    assert (bare.original(1), bare.position(1)) == ("b", None)
    full = StreamOrigin(["a", "b"], ["A", "B"], [10, 11])
    assert (full.original(1), full.position(1)) == ("B", 11)
