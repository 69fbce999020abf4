"""The writer by itself: what ends a run for its dead letters, and what it makes of what sinks refuse."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from support import ListSink

from agora.deadletter import DLQRecord, Entry
from agora.errors import RecordsRejected, TooManyDeadLetters
from agora.runtime.batch import Batch, Cut, Failure, StreamOrigin
from agora.runtime.credits import Credits
from agora.runtime.delivery import SinkPort
from agora.runtime.letters import LetterBox
from agora.runtime.pace import Pace
from agora.runtime.spans import Spans
from agora.runtime.tally import Tally
from agora.runtime.writer import DeadLetterLimit, Writer
from agora.tracing import InMemoryTracer, NoopTracer


@pytest.mark.parametrize(
    ("most", "dead", "read", "exceeded"),
    [
        (None, 10_000, 10_000, False),
        (2, 2, 2, False),
        (2, 3, 3, True),
        (0.25, 999, 999, False),  # a share of few records says nothing
        (0.25, 250, 1_000, False),
        (0.25, 251, 1_000, True),
        (0.25, 500, 2_000, False),
    ],
)
def test_a_limit_is_the_most_that_is_allowed(most: Any, dead: int, read: int, exceeded: bool) -> None:
    assert DeadLetterLimit(most).exceeded(dead, read) is exceeded


class Worked:
    """A writer over these sinks that has handled these batches."""

    def __init__(
        self, *sinks: Any, most: int | None = None, tracer: Any = None, multiplies: bool = False
    ) -> None:
        self.letters = ListSink()
        self.ports = [SinkPort(name=f"s{number}", pace=Pace(), **sink) for number, sink in enumerate(sinks)]
        self.credits = Credits(100, taken=100)
        self.writer = Writer(
            ports=self.ports,
            letters=LetterBox(
                pipeline="p", run_id="r", resumes=False, dlq=self.letters, in_transaction=False
            ),
            barrier=None,
            live=[],
            credits=self.credits,
            adaptive=None,
            tally=Tally(multiplies=multiplies),
            dead_letter_limit=DeadLetterLimit(most),
            pace=Pace(),
            spans=Spans(tracer or NoopTracer()),
        )

    async def handle(self, *batches: Batch) -> None:
        send, receive = trio.open_memory_channel[Batch](len(batches))
        for batch in batches:
            send.send_nowait(batch)
        send.close()
        await self.writer.run(receive)

    @property
    def told(self) -> list[tuple[int, str]]:
        """Ordinal and stage of each letter."""
        letters: list[DLQRecord] = self.letters.records
        return [(letter.checkpoint["ordinal"], letter.stage) for letter in letters]


def batch_of(rows: list[Any], first: int = 0, **more: Any) -> Batch:
    told: dict[str, Any] = {"count": len(rows), "index": range(len(rows))} | more
    read = [f"original {offset}" for offset in range(told["count"])]
    return Batch(first=first, rows=rows, **{"origin": StreamOrigin(read, None, None)} | told)


def bad(*which: Any) -> Callable[[Any], bool]:
    return lambda row: row in which


def failed(offset: int, policy: Any = "dead_letter", stage: str = "step") -> Failure:
    return Failure(offset=offset, stage=stage, error=ValueError(offset), policy=policy)


async def test_failures_of_steps_and_sinks_become_letters_in_the_order_of_their_records() -> None:
    work = Worked({"sink": ListSink(bad=bad("b", "d")), "policy": "dead_letter"})
    await work.handle(
        batch_of(["b", "c", "d"], first=10, count=5, index=[1, 2, 3], failures=[failed(4), failed(0)])
    )
    assert work.told == [(10, "step"), (11, "sink:s0"), (13, "sink:s0"), (14, "step")]
    tally = work.writer.tally
    assert (tally.read, tally.dead_lettered, tally.written, tally.dropped) == (5, 4, 1, 0)


async def test_a_letter_of_a_sink_has_the_record_as_the_sink_was_given_it() -> None:
    sink = ListSink(bad=bad("b"))
    work = Worked({"sink": sink, "policy": "dead_letter"})
    await work.handle(batch_of(["a", "b"], origin=StreamOrigin(["a", "b"], ["A", "B"], ["at a", "at b"])))
    (letter,) = work.letters.records
    assert (letter.original, letter.processed, letter.checkpoint) == (
        "B",
        "b",
        {"ordinal": 1, "position": "at b"},
    )
    assert letter.entry == Entry(step=None, record="b", unrouted=False)


async def test_what_one_sink_refuses_the_others_get_and_it_is_written_by_all_or_not_counted() -> None:
    refusing, other = ListSink(bad=bad("b")), ListSink()
    work = Worked({"sink": refusing, "policy": "skip"}, {"sink": other, "policy": "stop"})
    await work.handle(batch_of(["a", "b", "c"]))
    assert (refusing.records, other.records) == (["a", "c"], ["a", "b", "c"])
    tally = work.writer.tally
    assert (tally.written, tally.skipped, tally.dropped) == (2, 1, 0)
    assert [(port.count.entered, port.count.left, port.count.failed) for port in work.ports] == [
        (3, 2, 1),
        (3, 3, 0),
    ]


async def test_under_stop_nothing_behind_the_refused_record_is_written_by_later_sinks() -> None:
    refusing, other, choosing = ListSink(bad=bad("c", "d")), ListSink(), ListSink()
    work = Worked(
        {"sink": refusing, "policy": "stop"},
        {"sink": other, "policy": "stop"},
        {"sink": choosing, "policy": "stop", "where": bad("b", "c", "d", "e")},
    )
    with pytest.raises(Exception, match="refused"):
        await work.handle(batch_of(["a", "b", "c", "d", "e"], first=20, failures=[failed(0), failed(3)]))
    assert (other.records, choosing.records) == (["a", "b"], ["b"])
    assert work.told == [(20, "step")]
    assert work.writer.failed_ordinal == 22
    assert work.writer.failed is not None
    assert work.writer.failed.stage == "sink:s0"


async def test_rows_that_no_sink_wants_are_dropped() -> None:
    one, rest = ListSink(), ListSink()
    work = Worked(
        {"sink": one, "policy": "stop", "where": bad("a")},
        {"sink": rest, "policy": "stop", "where": bad("b")},
        multiplies=True,
    )
    await work.handle(batch_of(["a", "b", "c", "d"]))
    assert (one.records, rest.records) == (["a"], ["b"])
    assert (work.writer.tally.written, work.writer.tally.dropped) == (2, 2)


async def test_a_where_that_fails_is_that_sink_s_failure_and_otherwise_does_not_take_it() -> None:
    def where(row: Any) -> bool:
        if row == "b":
            raise KeyError(row)
        return bool(row == "a")

    one, rest = ListSink(), ListSink()
    work = Worked(
        {"sink": one, "policy": "dead_letter", "where": where},
        {"sink": rest, "policy": "stop", "otherwise": True},
    )
    await work.handle(batch_of(["a", "b", "c"]))
    assert (one.records, rest.records) == (["a"], ["c"])
    (letter,) = work.letters.records
    assert letter.entry == Entry(step=None, record="b", unrouted=True)
    assert (work.writer.tally.written, work.writer.tally.dead_lettered) == (2, 1)


@pytest.mark.parametrize(("end", "completed"), [("exhausted", True), ("stopped", False)])
async def test_behind_the_last_batch_it_is_through_and_knows_whether_the_source_was(
    end: Any, completed: bool
) -> None:
    work = Worked({"sink": ListSink(), "policy": "stop"})
    await work.handle(batch_of(["a"]), batch_of(["b"], first=1, end=end), batch_of(["never"], first=2))
    assert (work.writer.ended, work.writer.completed) == (True, completed)
    assert work.writer.tally.read == 2


async def test_without_an_end_it_is_not_through() -> None:
    work = Worked({"sink": ListSink(), "policy": "stop"})
    await work.handle(batch_of(["a"]))
    assert (work.writer.ended, work.writer.completed) == (False, False)


async def test_credits_go_back_with_the_last_slice_and_before_the_cut_is_told() -> None:
    work = Worked({"sink": ListSink(), "policy": "stop"}, multiplies=True)
    taken: list[int] = []
    reached: list[bool] = []
    cut = Cut(ordinal=4, position=None, saved=trio.Event())

    async def interlude() -> None:
        taken.append(work.credits.taken)
        reached.append(cut.reached and cut.saved is not None and cut.saved.is_set())

    cut.interlude = interlude
    await work.handle(batch_of(["a", "b"], count=4, last=False))
    assert work.credits.taken == 100
    await work.handle(batch_of(["c"], count=4, index=[3], cut=cut))
    assert (work.credits.taken, taken, reached) == (96, [96], [True])


async def test_too_many_dead_letters_end_the_run_behind_the_batch_that_had_them() -> None:
    sink = ListSink()
    work = Worked({"sink": sink, "policy": "stop"}, most=1)
    with pytest.raises(TooManyDeadLetters, match=r"2 of 3 records were dead-lettered.*max_dead_letters=1"):
        await work.handle(batch_of(["a"], count=3, failures=[failed(1), failed(2)]))
    assert (sink.records, len(work.letters.records)) == (["a"], 2)


async def test_a_halt_ends_the_run_behind_what_stands_before_it() -> None:
    sink = ListSink()
    work = Worked({"sink": sink, "policy": "stop"})
    halt = failed(2, "stop")
    with pytest.raises(ValueError, match="2") as raised:
        await work.handle(batch_of(["a", "b"], first=5, count=4, halt=halt, failures=[failed(3)]))
    assert raised.value is halt.error
    assert (sink.records, work.told) == (["a", "b"], [])
    assert (work.writer.failed, work.writer.failed_ordinal) == (halt, 7)


async def test_a_halt_of_the_source_stands_behind_all_of_its_batch() -> None:
    work = Worked({"sink": ListSink(), "policy": "stop"})
    with pytest.raises(ValueError, match="2"):
        await work.handle(batch_of(["a", "b"], first=5, halt=failed(2, "stop")))
    assert work.writer.failed_ordinal == 7


async def test_each_write_is_a_span_that_says_what_was_refused() -> None:
    tracer = InMemoryTracer()
    work = Worked({"sink": ListSink(bad=bad("b")), "policy": "dead_letter"}, tracer=tracer)
    await work.handle(batch_of(["a", "b", "c"], first=7))
    write, letters = tracer.spans
    assert (write.name, letters.name) == ("agora.sink.s0", "agora.dlq")
    assert {"ordinal": 7, "records": 3, "rejected": 1}.items() <= write.attributes.items()
    assert isinstance(write.error, ValueError)
    assert letters.attributes["letters"] == 1


async def test_a_failure_of_the_record_at_which_the_run_halts_is_settled_and_none_behind_it() -> None:
    work = Worked({"sink": ListSink(), "policy": "stop"}, multiplies=True)
    with pytest.raises(ValueError, match="2"):
        await work.handle(batch_of(["a"], count=4, halt=failed(2, "stop"), failures=[failed(2), failed(3)]))
    assert work.told == [(2, "step")]


async def test_counts_and_letters_of_several_batches_add_up() -> None:
    work = Worked({"sink": ListSink(bad=bad("b")), "policy": "dead_letter"})
    await work.handle(
        batch_of(["a", "b"]), batch_of(["c", "b"], first=2), batch_of([], first=4, count=3, index=[])
    )
    count, tally = work.ports[0].count, work.writer.tally
    assert (count.entered, count.left, count.failed) == (4, 2, 2)
    assert (tally.read, tally.written, tally.dead_lettered, tally.dropped) == (7, 2, 2, 3)
    assert work.credits.taken == 93


async def test_without_a_queue_for_letters_a_refusal_has_no_entry() -> None:
    work = Worked({"sink": ListSink(bad=bad("b")), "policy": "stop"})
    work.writer.letters = None
    with pytest.raises(Exception, match="refused"):
        await work.handle(batch_of(["a", "b"]))
    assert work.writer.failed is not None
    assert (work.writer.failed.entry, work.writer.failed.processed) == (None, "b")


class Adaptive:
    """Notes what it is told, and sets the limit to it."""

    def __init__(self) -> None:
        self.told: list[tuple[float, int, bool]] = []

    def observe(self, latency: float, cut_under: int, *, used: bool) -> int:
        self.told.append((latency, cut_under, used))
        return 70 + len(self.told)


async def test_each_write_and_each_cut_tells_the_adaptive_limit_how_long_it_took(
    autojump_clock: trio.testing.MockClock,
) -> None:
    await trio.sleep(5)
    sink = ListSink(delay=lambda: 2.0)
    work = Worked({"sink": sink, "policy": "stop"})
    adaptive = Adaptive()
    work.writer.adaptive = adaptive  # type: ignore[assignment]  # a double
    work.credits.pressed = True
    await work.handle(batch_of(["a"], limit=9, cut=Cut(ordinal=1, position=None)))
    assert adaptive.told == [(2.0, 9, True), (0.0, 9, False)]
    assert work.credits.limit == 72


class Barrier:
    """Notes whether anything is new at a cut."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self.states = self

    def reached(self, cut: Cut) -> None: ...

    async def before_writing(self) -> None: ...

    def needed(self, cut: Cut, *, anything_new: bool) -> bool:
        self.told.append(anything_new)
        return False


@pytest.mark.parametrize(
    ("more", "new"),
    [
        ({}, False),
        ({"count": 2}, True),  # all of them dropped
        ({"rows": ["of finish"], "index": [0]}, True),
        ({"failures": [failed(0)]}, True),
    ],
)
async def test_whatever_was_handled_since_the_last_cut_is_new_at_the_next(
    more: dict[str, Any], new: bool
) -> None:
    work = Worked({"sink": ListSink(), "policy": "stop"}, multiplies=True)
    barrier = Barrier()
    work.writer.barrier = barrier  # type: ignore[assignment]  # a double
    told = {"rows": [], "index": [], "count": 0} | more
    await work.handle(batch_of(**told), *(batch_of([], cut=Cut(ordinal=2, position=None)) for _ in range(2)))
    assert barrier.told == [new, False]


def fails_at(*which: Any) -> Callable[[Any], bool]:
    def where(row: Any) -> bool:
        if row in which:
            raise KeyError(row)
        return True

    return where


async def test_a_where_that_fails_behind_what_ends_the_run_or_at_it_makes_no_letter() -> None:
    work = Worked(
        {"sink": ListSink(bad=bad("c")), "policy": "stop"},
        {"sink": ListSink(), "policy": "dead_letter", "where": fails_at("b", "c", "d")},
    )
    with pytest.raises(RecordsRejected, match="refused 'c'"):
        await work.handle(batch_of(["a", "b", "c", "d"]))
    assert work.told == [(1, "sink:s1")]


async def test_under_stop_a_sink_whose_where_failed_is_written_nothing_behind_that_record() -> None:
    sink = ListSink()
    work = Worked({"sink": sink, "policy": "stop", "where": fails_at("b")})
    with pytest.raises(KeyError, match="b"):
        await work.handle(batch_of(["a", "b", "c"]))
    assert sink.records == ["a"]
