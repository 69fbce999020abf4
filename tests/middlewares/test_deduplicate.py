"""Deduplicate: exact, bounded by its ttl, the same whether a stream runs in one piece or in many."""

import datetime
import itertools
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ListSink, Records, run_virtual, stored_state

import agora.seam
from agora import ConfigError, MiddlewareChain, Pipeline
from agora.config import build, load
from agora.middlewares import Deduplicate
from agora.middlewares.deduplicate import Expiry
from agora.sinks import MemorySink
from agora.state import CheckpointStore, MemoryBackend, SQLiteBackend, StateDLQSink
from agora.state.transaction import opened

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class WallClock(agora.seam.Seam):
    """A wall clock that goes with the records that a source gives."""

    def __init__(self) -> None:
        super().__init__()
        self.moment = START

    def now(self) -> datetime.datetime:
        return self.moment


@attrs.define
class Model:
    """What is let through, by a dictionary. Times in whole units, as floats wouldn't add up."""

    ttl: int | None
    seen: dict[Any, int] = attrs.field(factory=dict)

    def passes(self, key: Any, at: int) -> bool:
        before = self.seen.get(key)
        if before is not None and (self.ttl is None or at - before < self.ttl):
            return False
        self.seen[key] = at
        return True


def run_at(main: Callable[..., Any]) -> WallClock:
    clock = WallClock()
    with agora.seam.use(clock):
        run_virtual(main, clock)
    return clock


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    records=st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0, 1, 4, 9, 30])), max_size=40),
    ttl=st.none() | st.sampled_from([4, 10, 15, 30]),
    pieces=st.lists(st.integers(1, 15), max_size=4),
    every=st.integers(1, 7),
    durable=st.booleans(),
)
def test_exactly_what_the_model_lets_through_passes_wherever_the_run_is_resumed(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[int, int]],
    ttl: int | None,
    pieces: list[int],
    every: int,
    durable: bool,
) -> None:
    times = list(itertools.accumulate(wait for _, wait in records))  # tenths of a second
    model = Model(ttl)
    expected = [number for number, (key, _) in enumerate(records) if model.passes(key, times[number])]

    async def main(clock: WallClock) -> None:
        sink = ListSink()

        def make(number: int) -> Any:
            clock.moment = START + datetime.timedelta(seconds=times[number] / 10)
            return {"key": records[number][0], "n": number}

        path = tmp_path_factory.mktemp("state") / "state.db"
        store = CheckpointStore(SQLiteBackend(path) if durable else MemoryBackend())
        async with opened(store.state):
            for most in [*pieces, None]:
                pipeline = Pipeline(Records(len(records), make=make), name="p").pipe(
                    Deduplicate("key", None if ttl is None else ttl / 10)
                )
                # one record at a time from source to sink: the clock is the source's
                options: Any = {"batch_size": 1, "backpressure": agora.Backpressure.fixed(1)}
                bound = pipeline.to(sink).build(checkpoint_store=store, checkpoint_every=every, **options)
                await bound.run(max_records=most)
        assert [record["n"] for record in sink.records] == expected

    run_at(main)


@pytest.mark.parametrize("size", [1, 3, 512])
def test_what_passes_is_the_same_for_every_batch_size(size: int) -> None:
    async def main() -> None:
        sink = ListSink()
        source = Records(2_000, make=lambda number: {"id": number * 7919 % 300})
        summary = (
            await Pipeline(source, name="p").pipe(Deduplicate("id")).to(sink).build(batch_size=size).run()
        )
        assert [record["id"] for record in sink.records] == [number * 7919 % 300 for number in range(300)]
        assert summary.dropped == 1_700

    run_virtual(main)


async def outcome(part: Deduplicate, *records: Any) -> list[Any]:
    return await part.process_batch(list(records))


async def test_keys_are_a_field_several_fields_or_what_a_function_gives() -> None:
    one, two = {"a": 1, "b": "x"}, {"a": 1, "b": "y"}
    assert await outcome(Deduplicate("a"), one, two) == [one, None]
    assert await outcome(Deduplicate(["a", "b"]), one, two, one) == [one, two, None]
    assert await outcome(Deduplicate(("a",)), one, two) == [one, None]
    assert await outcome(Deduplicate(lambda record: record["b"] + "!"), one, two, two) == [one, two, None]


@attrs.frozen
class Order:
    id: int


async def test_fields_of_objects_are_keys_too() -> None:
    assert await outcome(Deduplicate("id"), Order(1), Order(2), Order(1)) == [Order(1), Order(2), None]


DISTINCT = [
    1, 1.0, "1", True, None, "", "null", "true", "=", "#", "=1", "#1", "key", "clock", -1, [1], ["1"], [], {}, "[]",
    [1, 2], "a" * 22, "a" * 23, "a" * 24, "ä" * 30, "\udcff", "\udcff" * 40, 10**30, -(10**30), [[1], 2], [[1, 2]],
    {"a": 1}, {"a": "1"}, Decimal("1.5"), 1.5, "1.5", b"1", datetime.date(2026, 1, 1), "2026-01-01", float("nan"),
    ("a", "b"), "\x00", "a" * 5_000, "a" * 5_001, 10**5_00,
]  # fmt: skip


async def test_different_keys_are_never_one_and_equal_ones_always() -> None:
    records = [{"id": value} for value in DISTINCT]
    part = Deduplicate("id")
    assert await outcome(part, *records) == records
    assert await outcome(part, *records) == [None] * len(records)
    assert await outcome(part, {"id": {"b": 1, "a": 2}}, {"id": {"a": 2, "b": 1}}) == [
        {"id": {"b": 1, "a": 2}},
        None,
    ]


async def test_a_record_without_its_key_fails_alone_with_the_field_s_name() -> None:
    results = await outcome(Deduplicate("id"), {"id": 1}, {"no": 1}, "text", {"id": object()}, {"id": 2})
    assert [type(result) for result in results] == [dict, LookupError, LookupError, TypeError, dict]
    assert "'id'" in str(results[1])
    assert "has no form as JSON" in str(results[3])


def test_failures_of_keys_follow_the_policy_and_take_no_neighbour_along() -> None:
    async def main() -> None:
        sink, dlq = ListSink(), MemorySink()
        source = Records(6, make=lambda number: {"id": number % 2} if number != 3 else {})
        bound = Pipeline(source, name="p").pipe(Deduplicate("id")).to(sink).build(dlq=dlq)
        summary = await bound.run()
        assert (summary.written, summary.dropped, summary.dead_lettered) == (2, 3, 1)
        assert dlq.records[0].error_type == "LookupError"

    run_virtual(main)


@pytest.mark.parametrize("key", ["", [], [1], 5, None, {"a": 1}])
def test_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(ConfigError, match="key="):
        Deduplicate(key)


@pytest.mark.parametrize("ttl", [0, -1, True, "1", float("nan"), float("inf"), datetime.timedelta(0)])
def test_what_is_no_ttl_is_refused(ttl: Any) -> None:
    with pytest.raises(ConfigError, match="ttl="):
        Deduplicate("id", ttl)


def test_an_async_key_function_is_refused() -> None:
    async def key(record: Any) -> Any:
        return record

    with pytest.raises(ConfigError, match="async"):
        Deduplicate(key)


async def test_a_chain_takes_one_without_a_run() -> None:
    chain = MiddlewareChain([Deduplicate("id")])
    assert [await chain.process({"id": number}) for number in (1, 1, 2)] == [{"id": 1}, None, {"id": 2}]


# Time.


async def passes(part: Deduplicate, clock: WallClock, seconds: float, key: Any = 1) -> bool:
    """Whether a record passes, so many seconds after the start by the clock."""
    clock.moment = START + datetime.timedelta(seconds=seconds)
    with agora.seam.use(clock):
        [result] = await part.process_batch([{"id": key}])
    return result is not None


@pytest.mark.parametrize("ttl", [10, 10.0, datetime.timedelta(seconds=10)])
async def test_the_time_counts_from_the_record_that_was_let_through(ttl: Any) -> None:
    part, clock = Deduplicate("id", ttl), WallClock()
    moments = (0, 3, 9.999999, 10, 15, 19.999999, 20.000001, 30.000001)
    assert [await passes(part, clock, moment) for moment in moments] == [
        True, False, False, True, False, False, True, True,
    ]  # fmt: skip


async def test_a_clock_set_back_lets_nothing_through_early_and_keeps_nothing_for_long() -> None:
    part, clock = Deduplicate("id", ttl=10), WallClock()
    assert await passes(part, clock, 1_000)
    assert not await passes(part, clock, 0)  # set back by 1,000 s
    assert await passes(part, clock, 0, key=2)
    assert not await passes(part, clock, 9.9)
    assert not await passes(part, clock, 9.9, key=2)
    assert await passes(part, clock, 10)
    assert await passes(part, clock, 10, key=2)


def test_a_clock_set_back_between_two_runs_does_the_same() -> None:
    async def main(clock: WallClock) -> None:
        store, sink = CheckpointStore(MemoryBackend()), ListSink()
        async with opened(store.state):
            # by the clock that was set back, 0.5 s before the first expires, then as it does, then 5 s on
            for number, moment in enumerate((1_000, 0, 9.5, 10, 15, 20), start=1):
                clock.moment = START + datetime.timedelta(seconds=moment)
                source = Records(number, make=lambda number: {"n": number, "id": 1})
                pipeline = Pipeline(source, name="p").pipe(Deduplicate("id", ttl=10)).to(sink)
                await pipeline.build(checkpoint_store=store).run()
        assert [record["n"] for record in sink.records] == [0, 3, 5]

    run_at(main)


async def test_what_has_expired_is_forgotten_a_few_with_each_record() -> None:
    part, clock = Deduplicate("id", ttl=10), WallClock()
    state: dict[str, Any] = {}
    part._seen = state  # what a run gives by its context
    with agora.seam.use(clock):
        await part.process_batch([{"id": number} for number in range(20_000)])
        assert len(state) == 20_001
        clock.moment += datetime.timedelta(seconds=11)
        sizes = []
        for number in range(30):
            await part.process_batch([{"id": -1 - number}])
            sizes.append(len(state))
    assert sizes[0] >= 20_000 - 3 * 1_024  # no pause
    assert sizes[-1] == 30 + 1  # nothing is left but the new ones


@given(
    adds=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 300)), max_size=60),
    lifetime=st.integers(1, 1_000),
    most=st.integers(1, 700),
)
def test_keys_come_due_once_never_early_and_at_most_a_64th_late(
    adds: list[tuple[int, int]], lifetime: int, most: int
) -> None:
    expiry, expires = Expiry(lifetime), {}
    for number, (at, copies) in enumerate(adds):
        for copy in range(copies):
            expires[f"{number}.{copy}"] = at + lifetime
            expiry.add(f"{number}.{copy}", at)
    for now in range(0, 4_001, 250):
        taken = list(expiry.due(now, most))
        while more := list(expiry.due(now, most)):
            assert len(taken) >= most
            taken += more
        for key in taken:
            assert expires.pop(key) <= now
        assert all(due + max(lifetime // 64, 1) > now for due in expires.values())
    assert not expires


def test_rows_of_what_has_expired_are_deleted_and_the_state_stays_bounded() -> None:
    async def main(clock: WallClock) -> None:
        def make(number: int) -> Any:
            clock.moment = START + datetime.timedelta(seconds=number / 1_000)
            return {"id": number}

        store = CheckpointStore(MemoryBackend())
        async with opened(store.state):
            pipeline = Pipeline(Records(20_000, make=make), name="p").pipe(Deduplicate("id", ttl=1), name="d")
            bound = pipeline.to(ListSink()).build(
                checkpoint_store=store, checkpoint_every=500, batch_size=100
            )
            await bound.run()
            assert len(await stored_state(store, "d")) < 1_500
            rows = [row async for row in store.state.scan("states:p")]
            assert len(rows) < 12  # of 500 keys each, and as many deletions
            assert sum(len(row) for _, row in rows) < 150_000

    run_at(main)


# Runs.


def test_a_record_that_fails_behind_it_stays_seen_and_its_letter_is_no_duplicate_of_itself() -> None:
    async def main() -> None:
        state, sink = MemoryBackend(), ListSink()
        broken = [True]

        def fail(record: Any) -> Any:
            if broken[0] and record["id"] == 2:
                raise ValueError("not yet")
            return record

        async with opened(state):
            source = Records(8, make=lambda number: {"id": number % 4})
            pipeline = Pipeline(source, name="p").pipe(Deduplicate("id")).map(fail).to(sink)
            bound = pipeline.build(checkpoint_store=CheckpointStore(state), dlq=StateDLQSink(state))
            summary = await bound.run()
            assert (summary.written, summary.dropped, summary.dead_lettered) == (3, 4, 1)
            broken[0] = False
            assert (await bound.replay()).written == 1
        assert [record["id"] for record in sink.records] == [0, 1, 3, 2]

    run_virtual(main)


@pytest.mark.parametrize(
    ("first", "then", "says"),
    [
        ("id", "n", "by the field 'id' so far, and is now told the field 'n'"),
        (["id", "n"], "n", "by the fields 'id', 'n'"),
        (lambda record: record["id"], "id", "by a function"),
    ],
)
def test_another_key_in_the_next_run_is_refused_rather_than_mixed(first: Any, then: Any, says: str) -> None:
    async def main() -> None:
        store = CheckpointStore(MemoryBackend())

        def bound(key: Any, count: int, **options: Any) -> Any:
            source = Records(count, make=lambda number: {"id": number % 2, "n": number})
            step = Pipeline(source, name="p").pipe(Deduplicate(key), **options)
            return step.to(MemorySink(), name="out").build(checkpoint_store=store)

        async with opened(store.state):
            await bound(first, 4).run()
            with pytest.raises(ConfigError, match=says):
                await bound(then, 6).run()
            assert (await bound(first, 6).run()).read == 2
            assert (await bound(then, 8, name="other").run()).written == 2
            assert (await bound(then, 8).run(restart=True)).status == "completed"

    run_virtual(main)


def test_it_can_not_be_buffered() -> None:
    async def main() -> None:
        bound = Pipeline(Records(1), name="p").pipe(Deduplicate("id"), concurrency=2).to(MemorySink()).build()
        with pytest.raises(ConfigError, match=r"context\.state"):
            await bound.run()

    run_virtual(main)


def test_large_batches_give_way_to_the_loop() -> None:
    async def main() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await Deduplicate("id").process_batch([{"id": number} for number in range(10_240)])
            assert turns >= 15
            nursery.cancel_scope.cancel()

    trio.run(main)


async def test_a_config_file_can_have_it(tmp_path: Path) -> None:
    (tmp_path / "keys_of_orders.py").write_text("def key_of(record):\n    return record['id'] % 2\n")
    (tmp_path / "in.jsonl").write_text('{"id": 1, "n": 1}\n{"id": 1, "n": 2}\n{"id": 3, "n": 3}\n')
    for step, expected in (
        ('key = "id", ttl = 3600', [1, 3]),
        ('key = "n", ttl = 0.5', [1, 2, 3]),
        ('key = ["id", "n"]', [1, 2, 3]),
        ('key = "keys_of_orders:key_of"', [1]),
    ):
        (tmp_path / "agora.toml").write_text(
            'format = "agora/1"\n[pipelines.p]\nsource = { type = "jsonl", path = "in.jsonl" }\n'
            f'middlewares = [{{ type = "deduplicate", {step} }}]\nsinks = [{{ type = "memory" }}]\n'
        )
        bound = build(load(tmp_path / "agora.toml"))
        await bound.run()
        assert [record["n"] for record in bound.spec.sinks[0].sink.records] == expected


@pytest.mark.parametrize(("given", "says"), [("ttl = -1", "ttl=-1"), ('ttl = "1h"', "expected a number")])
def test_a_config_file_is_told_what_is_wrong(tmp_path: Path, given: str, says: str) -> None:
    (tmp_path / "agora.toml").write_text(
        'format = "agora/1"\n[pipelines.p]\nsource = { type = "jsonl", path = "in.jsonl" }\n'
        f'middlewares = [{{ type = "deduplicate", key = "id", {given} }}]\nsinks = [{{ type = "null" }}]\n'
    )
    with pytest.raises(ConfigError, match=says):
        build(load(tmp_path / "agora.toml"))
