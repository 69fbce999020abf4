"""Where batches end and cuts fall, by the intake alone: what it sends is looked at, nothing is awaited."""

from collections.abc import Iterable
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from agora.deadletter import SOURCE_ENTRY
from agora.records import Malformed
from agora.runtime.batch import Batch
from agora.runtime.credits import Credits
from agora.runtime.intake import Intake, IntakeOptions
from agora.sources.base import Block


def options(**more: Any) -> IntakeOptions:
    told: dict[str, Any] = {
        "batch_size": 10,
        "checkpoint_every": None,
        "cuts": True,
        "max_records": None,
        "copies": False,
        "malformed_policy": "skip",
    }
    return IntakeOptions(**told | more)


class Read:
    """An intake and what it has sent."""

    def __init__(
        self, limit: int = 1000, positions: bool = False, skip: int = 0, ordinal: int = 0, **more: Any
    ) -> None:
        self.sent: list[Batch] = []
        self.at = 0
        self.intake = Intake(
            options=options(**more),
            credits=Credits(limit),
            send=self.sent.append,
            ask_position=(lambda: self.at) if positions else None,
            ordinal=ordinal,
            position="begin",
            skip=skip,
        )

    def take(self, records: Iterable[Any], granted: int = 100) -> list[bool]:
        self.intake.granted = granted
        ended = []
        for record in records:
            self.at += 1
            ended.append(self.intake.take_record(record))
        return ended


def block_of(rows: list[Any], **more: Any) -> Block:
    return Block(rows, position=lambda row: f"row {row}", **more)


def cuts(read: Read) -> list[tuple[int, Any, int]]:
    return [(b.cut.ordinal, b.cut.position, b.cut.skip) for b in read.sent if b.cut is not None]


@pytest.mark.parametrize(("limit", "whole"), [(1000, 10), (40, 10), (39, 9), (7, 1), (1, 1)])
def test_a_whole_batch_is_a_quarter_of_the_limit_at_most_and_one_record_at_least(
    limit: int, whole: int
) -> None:
    assert Read(limit=limit).intake.whole() == whole


async def test_no_more_is_wanted_than_up_to_the_next_border() -> None:
    read = Read(checkpoint_every=7, max_records=9)
    assert read.intake.wanted() == 7
    read.take(range(1, 4))
    assert (read.intake.wanted(), read.intake.room()) == (4, 4)
    read.intake.granted = 2
    assert read.intake.room() == 2
    read.take(range(4, 8))
    assert read.intake.wanted() == 2  # max_records


async def test_a_batch_of_single_records_ends_with_its_credits_and_at_each_border() -> None:
    read = Read(checkpoint_every=4)
    assert read.take(["a", "b", "c"], granted=3) == [False, False, True]
    assert read.take(["d", "e"]) == [True, False]
    assert read.intake.pending
    read.intake.flush()
    assert not read.intake.pending
    read.intake.flush()  # nothing is there
    assert [(batch.first, list(batch.rows)) for batch in read.sent] == [
        (0, ["a", "b", "c"]),
        (3, ["d"]),
        (4, ["e"]),
    ]
    assert [batch.cut is not None for batch in read.sent] == [False, True, False]


async def test_records_are_counted_from_where_the_run_goes_on_and_borders_from_its_first() -> None:
    read = Read(ordinal=100, checkpoint_every=2)
    read.take("abc")
    assert [batch.first for batch in read.sent] == [100]
    assert cuts(read) == [(102, "begin", 0)]


async def test_each_record_of_a_generator_has_its_position_and_its_original() -> None:
    read = Read(positions=True, copies=True)
    records = [{"n": 1}, {"n": 2}]
    read.take(records)
    read.intake.cut()
    (batch,) = read.sent
    assert [batch.origin.position(offset) for offset in (0, 1)] == ["begin", 1]
    records[1]["n"] = 7
    assert batch.origin.original(1) == {"n": 2}
    assert cuts(read) == [(2, 2, 0)]


async def test_none_is_no_record() -> None:
    read = Read()
    with pytest.raises(TypeError, match="None, which is no record"):
        read.take([None])


async def test_what_is_skipped_behind_a_coarse_position_stays_to_be_skipped_until_the_next_position() -> None:
    read = Read(positions=True, skip=3)
    read.intake.discard_record()
    read.intake.discard_record()
    assert read.intake.skip == 1
    assert read.intake.here() == ("begin", 3)
    read.intake.discard_record()
    read.take(["d"])
    assert read.intake.here() == (1, 0)


def test_what_is_skipped_of_a_block_counts_at_its_place() -> None:
    read = Read(skip=5)
    assert read.intake.discard_rows(block_of(["a", "b", "c"])) == 3
    assert read.intake.here() == ("row 3", 2)
    block = block_of(["d", "e", "f"])
    assert read.intake.discard_rows(block) == 2
    assert read.intake.here() == ("row 2", 0)
    read.intake.granted = 1
    read.intake.take_block(block, 2, 1)
    assert (read.sent[0].first, read.sent[0].rows) == (0, ["f"])
    assert read.intake.here() == ("row 3", 0)
    assert read.intake.discard_rows(block) == 0


def test_a_block_is_told_of_by_what_it_can_make_again_or_else_by_copies() -> None:
    rows = [{"n": n} for n in range(4)]
    made = Read(copies=True)
    made.intake.take_block(block_of(rows, original=lambda row: f"line {row}"), 1, 2)
    copied = Read(copies=True)
    copied.intake.take_block(block_of(rows), 1, 2)
    unasked = Read()
    unasked.intake.take_block(block_of(rows), 1, 2)
    rows[2]["n"] = "changed"
    assert made.sent[0].origin.original(1) == "line 2"
    assert copied.sent[0].origin.original(1) == {"n": 2}
    assert unasked.sent[0].origin.original(1) == {"n": "changed"}
    assert copied.sent[0].origin.position(1) == "row 2"


def test_what_could_not_be_read_fails_at_its_place_in_the_batch() -> None:
    bad = [Malformed("x", ValueError("x"), replayable=True), Malformed("y", ValueError("y"))]
    rows = ["a", bad[0], "b", "c", bad[1], "d"]
    read = Read()
    read.intake.take_block(block_of(rows, malformed=[1, 4]), 2, 4)
    read.intake.take_block(block_of(rows, malformed=[1, 4]), 0, 2)
    behind, before = read.sent
    assert (behind.rows, list(behind.index)) == (["b", "c", "d"], [0, 1, 3])
    assert [(each.offset, each.original, each.entry) for each in behind.failures] == [(2, "y", None)]
    assert (before.rows, list(before.index)) == (["a"], [0])
    assert [(each.offset, each.original, each.entry) for each in before.failures] == [(1, "x", SOURCE_ENTRY)]
    assert all(
        each.policy == "skip" and each.stage == "source" for each in (*behind.failures, *before.failures)
    )


def test_under_stop_the_first_that_could_not_be_read_halts_behind_what_stands_before_it() -> None:
    rows = ["a", Malformed("x", ValueError("x")), "b", Malformed("y", ValueError("y"))]
    read = Read(malformed_policy="stop")
    read.intake.take_block(block_of(rows, malformed=[1, 3]), 0, 4)
    (batch,) = read.sent
    assert (list(batch.rows), list(batch.index), batch.failures) == (["a"], [0], [])
    assert batch.halt is not None
    assert (batch.halt.offset, batch.halt.original, batch.halt.policy) == (1, "x", "stop")


async def test_a_source_that_fails_halts_behind_what_was_read_and_nothing_follows() -> None:
    read = Read(positions=True)
    read.take("ab")
    read.intake.fail(error := OSError("gone"))
    (batch,) = read.sent
    assert (batch.rows, batch.halt and batch.halt.offset, batch.halt and batch.halt.error) == (
        ["a", "b"],
        2,
        error,
    )
    assert batch.halt is not None
    assert (batch.halt.stage, batch.halt.policy, batch.halt.entry) == ("source", "stop", None)
    assert read.intake.ended == "stopped"
    read.intake.cut()
    read.intake.end("exhausted")
    assert len(read.sent) == 1


async def test_what_could_not_be_read_before_the_source_failed_ends_the_run_first() -> None:
    read = Read(malformed_policy="stop")
    read.take(["a", Malformed("x", ValueError("first"))])
    read.intake.fail(OSError("then"))
    (batch,) = read.sent
    assert batch.halt is not None
    assert (str(batch.halt.error), batch.rows) == ("first", ["a"])


async def test_without_cuts_no_border_makes_one_and_every_batch_tells_the_limit_of_then() -> None:
    read = Read(cuts=False, max_records=4, limit=500)
    read.take("ab", granted=2)
    read.intake.credits.limit = 600
    read.take("cd", granted=2)
    assert [(batch.cut, batch.end, batch.limit) for batch in read.sent] == [
        (None, None, 500),
        (None, "stopped", 600),
    ]


async def test_max_records_ends_the_run_at_that_border_with_a_cut() -> None:
    read = Read(max_records=3)
    assert read.take("abc") == [False, False, True]
    (batch,) = read.sent
    assert (batch.end, read.intake.ended, read.intake.stop_reason) == ("stopped", "stopped", "max_records")
    assert cuts(read) == [(3, "begin", 0)]


@pytest.mark.parametrize(
    ("records", "end", "cuts_at_all", "cut"),
    [
        ("ab", "exhausted", True, (True, True)),
        ("", "exhausted", True, (True, True)),  # that it is exhausted is new
        ("ab", "stopped", True, (False, True)),
        ("", "stopped", True, None),
        ("ab", "exhausted", False, None),
    ],
)
async def test_the_end_brings_the_last_cut_where_there_is_something_to_tell(
    records: str, end: Any, cuts_at_all: bool, cut: tuple[bool, bool] | None
) -> None:
    read = Read(cuts=cuts_at_all)
    read.take(records)
    read.intake.end(end, "why")
    (batch,) = read.sent
    assert (batch.end, list(batch.rows), read.intake.stop_reason) == (end, list(records), "why")
    assert (batch.cut and (batch.cut.completed, batch.cut.final)) == cut
    assert not read.intake.anything_new or not cuts_at_all
    read.intake.end("stopped", "too late")
    assert (len(read.sent), read.intake.ended, read.intake.stop_reason) == (1, end, "why")


async def test_once_closed_it_is_too_late_for_cuts_and_ends() -> None:
    read = Read()
    read.take("a")
    read.intake.close()
    read.intake.cut()
    read.intake.end("exhausted")
    assert (read.sent, read.intake.ended) == ([], "stopped")
    ended = Read()
    ended.intake.end("exhausted")
    ended.intake.close()
    assert ended.intake.ended == "exhausted"


async def test_a_cut_that_is_asked_for_carries_its_event_and_waits_behind_an_interlude() -> None:
    read = Read(positions=True)
    first, second, third = trio.Event(), trio.Event(), trio.Event()

    async def interlude() -> None: ...

    read.take("a")
    read.intake.cut(first, interlude)
    read.intake.cut(second)
    read.intake.cut(third, interlude)
    assert [(batch.cut and batch.cut.saved, batch.cut and batch.cut.interlude) for batch in read.sent] == [
        (first, interlude)
    ]
    assert read.intake.held
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read.intake.until_released)
        await wait_all_tasks_blocked()
        read.intake.release()  # up to the next interlude
        await wait_all_tasks_blocked()
        assert [batch.cut and batch.cut.saved for batch in read.sent] == [first, second, third]
        assert nursery.child_tasks
        assert read.intake.held
        read.intake.release()
    assert not read.intake.held


async def test_a_cut_is_ahead_until_the_writer_has_reached_it() -> None:
    read = Read()
    assert not read.intake.cut_ahead
    read.take("a")
    read.intake.cut()
    assert read.intake.cut_ahead
    assert read.sent[0].cut is not None
    read.sent[0].cut.reached = True
    assert not read.intake.cut_ahead


async def test_the_first_record_of_a_batch_starts_its_time(autojump_clock: trio.testing.MockClock) -> None:
    read = Read()
    begun: list[float] = []
    read.intake.on_pending = lambda: begun.append(trio.current_time())
    await trio.sleep(2)
    read.take("a")
    await trio.sleep(1)
    read.take("b")
    read.intake.flush()
    read.take("c")
    assert [round(each - begun[0], 3) for each in begun] == [0, 1]
    assert read.intake.began == begun[1]
