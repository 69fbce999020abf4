"""The reader by itself: what it asks of a source, when it ends a batch, and how reading ends."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
import trio
from support import Records, run_virtual
from trio.testing import MockClock

from agora.errors import ConfigError
from agora.runtime.batch import Batch
from agora.runtime.credits import Credits
from agora.runtime.intake import Intake, IntakeOptions
from agora.runtime.pace import Pace
from agora.runtime.reading import Reader
from agora.sources.base import Block, Demand


class Read:
    """A reader of this source, and what was sent, with the time at which it was."""

    def __init__(
        self,
        source: Any,
        *,
        limit: int = 100,
        linger: float = 1.0,
        interval: float | None = None,
        **more: Any,
    ) -> None:
        self.sent: list[tuple[float, Batch]] = []
        told: dict[str, Any] = {
            "batch_size": 4,
            "checkpoint_every": None,
            "cuts": True,
            "max_records": None,
            "copies": False,
            "malformed_policy": "skip",
        }
        self.credits = Credits(limit)
        self.intake = Intake(
            options=IntakeOptions(**told | more),
            credits=self.credits,
            send=lambda batch: self.sent.append((round(trio.current_time(), 3), batch)),
            ask_position=None,
            ordinal=0,
            position=None,
        )
        self.reader = Reader(
            intake=self.intake,
            pace=Pace(),
            linger=linger,
            checkpoint_interval=interval,
            source=source,
            columns=False,
        )

    def run(self) -> "Read":
        run_virtual(self.reader.run)
        return self

    @property
    def rows(self) -> list[list[int]]:
        return [[record["id"] for record in batch.rows] for _, batch in self.sent]

    @property
    def end(self) -> tuple[str | None, str | None]:
        return self.intake.ended, self.intake.stop_reason


@pytest.mark.parametrize("block", [None, 3])
def test_all_that_the_source_gives_is_sent_and_then_the_end(block: int | None) -> None:
    read = Read(Records(10, block=block)).run()
    assert [number for rows in read.rows for number in rows] == list(range(10))
    assert read.end == ("exhausted", None)
    assert [batch.end for _, batch in read.sent][-1] == "exhausted"
    assert read.reader.closed.is_set()
    assert read.credits.taken == 10 + read.intake.granted


@pytest.mark.parametrize("block", [None, 3])
@pytest.mark.parametrize("most", [0, 5])
def test_max_records_ends_the_reading_and_says_so(block: int | None, most: int) -> None:
    source = Records(10, block=block)
    read = Read(source, max_records=most).run()
    assert [number for rows in read.rows for number in rows] == list(range(most))
    assert read.end == ("stopped", "max_records")
    assert len(source.given) <= most + (block or 0)


def test_of_a_source_of_single_records_no_more_is_drawn_than_max_records() -> None:
    source = Records(10)
    Read(source, max_records=5).run()
    assert source.given == [0, 1, 2, 3, 4]


class Asked:
    """Notes what it may give, and gives single rows."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[tuple[int, int, bool, bool]] = []

    async def blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        for number in range(self.count):
            self.asked.append((demand.rows, demand.batch, demand.columns, demand.overdue()))
            yield Block([{"id": number}])


def test_a_source_of_blocks_is_told_how_much_room_there_is() -> None:
    source = Asked(10)
    read = Read(source, max_records=9)
    read.reader.pace.flag.append(None)
    read.run()
    assert [rows for rows, *_ in source.asked] == [4, 3, 2, 1, 4, 3, 2, 1, 1]
    assert {tuple(more) for _, *more in source.asked} == {(4, False, True)}
    columnar = Asked(1)
    wanting = Read(columnar)
    wanting.reader.columns = True
    wanting.run()
    assert columnar.asked == [(4, 4, True, False)]


def test_a_block_that_is_larger_than_a_batch_is_taken_apart_without_splinters() -> None:
    read = Read(Records(11, block=11)).run()
    assert read.rows == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10], []]
    small = Read(Records(12, block=3)).run()
    assert small.rows == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11], []]


def test_reading_waits_for_credits_and_goes_on_where_it_was() -> None:
    read = Read(Records(10, block=10), limit=4, batch_size=4)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read.reader.run)
            await trio.sleep(1)
            assert read.rows == [[0], [1], [2], [3]]  # a quarter of the limit each
            for number in range(4, 10):
                read.credits.release(1)
                await trio.sleep(1)
                assert read.rows[-1] == [number]
            read.credits.release(1)  # whoever asks a source for more has the credits for it

    run_virtual(main)
    assert [number for rows in read.rows for number in rows] == list(range(10))
    assert read.reader.reading_since > 0


def test_a_part_filled_batch_is_sent_once_its_first_record_has_waited() -> None:
    read = Read(Records(5, delay=lambda number: 0.75 * (number > 0)), linger=1.0, batch_size=100).run()
    assert [(time, rows) for (time, _), rows in zip(read.sent, read.rows, strict=True)] == [
        (1.0, [0, 1]),
        (2.5, [2, 3]),
        (3.0, [4]),
    ]


def test_cuts_by_time_fall_where_something_is_new() -> None:
    delays = [0.5, 0.5, 5.0, 0.0]
    read = Read(Records(4, delay=lambda number: delays[number]), interval=2.0, linger=100.0).run()
    cuts = [(time, batch.cut.ordinal) for time, batch in read.sent if batch.cut is not None]
    assert cuts == [(2.0, 2), (6.0, 4)]


@pytest.mark.parametrize("block", [None, 2])
def test_an_error_of_the_source_comes_behind_what_it_gave(block: int | None) -> None:
    read = Read(Records(10, block=block, fail_at=5)).run()
    assert [number for rows in read.rows for number in rows] == [0, 1, 2, 3, 4]
    halt = read.sent[-1][1].halt
    assert halt is not None
    assert (str(halt.error), halt.stage, read.end[0]) == ("the source broke", "source", "stopped")
    assert read.reader.late is None


def test_what_a_source_raises_when_it_is_closed_early_is_kept_for_the_end() -> None:
    class Rude(Records):
        async def stream(self) -> AsyncGenerator[Any]:
            try:
                for number in range(100):
                    yield {"id": number}
            finally:
                raise ExceptionGroup("", [KeyError("late")])

    read = Read(Rude(1), max_records=2).run()
    assert isinstance(read.reader.late, KeyError)
    assert read.end == ("stopped", "max_records")


@pytest.mark.parametrize("block", [None, 1])
def test_told_to_stop_it_sends_what_was_read_and_says_why(block: int | None) -> None:
    read = Read(Records(10, block=block, delay=lambda number: 1.0), linger=100.0)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read.reader.run)
            await trio.sleep(3.5)
            read.reader.stop("first")
            read.reader.stop("second")

    run_virtual(main)
    assert [number for rows in read.rows for number in rows] == [0, 1, 2]
    assert read.end == ("stopped", "first")


@pytest.mark.parametrize("block", [None, 4])
def test_while_something_is_held_nothing_is_taken_and_the_end_waits(block: int | None) -> None:
    read = Read(Records(8, block=block))

    async def interlude() -> None: ...

    async def main() -> None:
        read.intake.cut(interlude=interlude)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read.reader.run)
            await trio.sleep(5)
            assert read.rows == [[]]
            read.intake.release()

    run_virtual(main)
    assert [number for rows in read.rows for number in rows] == list(range(8))
    assert all(time == 5.0 for time, batch in read.sent if batch.count)


def test_what_a_resumed_source_gives_again_is_passed_over() -> None:
    read = Read(Records(6))
    read.intake.skip = 2
    read.run()
    assert [number for rows in read.rows for number in rows] == [2, 3, 4, 5]
    blocks = Read(Records(6, block=3))
    blocks.intake.skip = 4
    blocks.run()
    assert [number for rows in blocks.rows for number in rows] == [4, 5]


class Streams:
    def __init__(self, gives: Any) -> None:
        self.gives = gives

    def stream(self) -> Any:
        return self.gives()


class Iterator:
    """Has nothing to be closed."""

    def __init__(self) -> None:
        self.left = [0, 1]

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if not self.left:
            raise StopAsyncIteration
        return {"id": self.left.pop(0)}


def test_a_stream_may_be_any_async_iterable() -> None:
    assert Read(Streams(Iterator)).run().rows == [[0, 1]]

    @trio.as_safe_channel
    async def channel() -> AsyncGenerator[Any]:
        yield {"id": 0}
        yield {"id": 1}

    assert [number for rows in Read(Streams(channel)).run().rows for number in rows] == [0, 1]


async def coroutine() -> Any:
    return []


@pytest.mark.parametrize(("gives", "named"), [(coroutine, "coroutine"), (lambda: [1, 2], "list")])
def test_what_is_no_async_iterable_is_refused_by_what_it_is(gives: Any, named: str) -> None:
    halt = Read(Streams(gives)).run().sent[-1][1].halt
    assert halt is not None
    assert isinstance(halt.error, ConfigError)
    assert f"stream() gave a {named}: it must be an async generator" in str(halt.error)


def test_a_cut_goes_to_the_writer_before_more_is_read() -> None:
    read = Read(Records(100, block=100), limit=40, batch_size=10, checkpoint_every=10)
    seen: list[int] = []

    async def writer() -> None:
        while not read.sent:
            await trio.lowlevel.checkpoint()
        for _ in range(4):
            await trio.lowlevel.checkpoint()
        seen.append(len(read.sent))
        assert read.sent[0][1].cut is not None
        read.sent[0][1].cut.reached = True

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer)
            nursery.start_soon(read.reader.run)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert seen == [1]
