"""The adaptive limit settles where a write takes its target latency, and doesn't run to an end."""

import random
from collections import deque
from collections.abc import AsyncGenerator

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ListSink, Records, run_virtual

from agora import Backpressure, ConfigError, Pipeline
from agora.backpressure import AdaptiveLimit


@attrs.define
class Simulated:
    """A sink whose write takes `fixed + by_row × rows` seconds, more or less, fed as the engine feeds it."""

    limit: AdaptiveLimit
    fixed: float
    by_row: float
    noise: float
    draw: random.Random
    batch_size: int = 1 << 30
    in_flight: int = 0
    waiting: deque[tuple[int, int]] = attrs.field(factory=deque)

    def write(self) -> float:
        """Cut what the limit allows, write the oldest batch; its latency."""
        while True:
            limit = self.limit.limit
            rows = max(1, min(self.batch_size, limit // 4))
            if self.in_flight and self.in_flight + rows > limit:
                break
            self.waiting.append((rows, limit))
            self.in_flight += rows
        rows, cut_under = self.waiting.popleft()
        self.in_flight -= rows
        latency = (self.fixed + self.by_row * rows) * self.draw.uniform(1 - self.noise, 1 + self.noise)
        self.limit.observe(latency, cut_under)
        return latency


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@settings(max_examples=60, deadline=None)
@given(
    best=st.integers(10, 5_000),
    share=st.floats(0, 0.6),
    target=st.floats(0.001, 5),
    noise=st.floats(0, 0.4),
    seed=st.integers(0, 10_000),
)
def test_it_settles_near_the_target_latency(
    best: int, share: float, target: float, noise: float, seed: int
) -> None:
    """`best`: rows whose write takes just the target; `share` of it is spent before the first row."""
    config = Backpressure.adaptive(8, 100_000, target)
    sink = Simulated(
        AdaptiveLimit(config), target * share, target * (1 - share) / best, noise, random.Random(seed)
    )
    for _ in range(250):
        sink.write()
    latencies, limits = [], []
    for _ in range(400):
        latencies.append(sink.write())
        limits.append(sink.limit.limit)
    assert 0.55 * target <= mean(latencies) <= 1.1 * target
    assert max(limits) <= 4 * best * 2
    assert min(limits) >= 4 * best // 4


@pytest.mark.parametrize("factor", [0.1, 10])
def test_it_follows_a_sink_that_changes(factor: float) -> None:
    config = Backpressure.adaptive(8, 100_000, 0.1)
    sink = Simulated(AdaptiveLimit(config), 0.0, 0.0001, 0.2, random.Random(1))
    for _ in range(300):
        sink.write()
    sink.by_row *= factor
    for _ in range(300):
        sink.write()
    assert 0.05 <= mean([sink.write() for _ in range(200)]) <= 0.11


def test_it_stays_within_its_bounds() -> None:
    for by_row, end in ((1.0, 16), (1e-9, 400)):
        sink = Simulated(
            AdaptiveLimit(Backpressure.adaptive(16, 400, 0.1)), 0.0, by_row, 0.1, random.Random(1)
        )
        for _ in range(200):
            sink.write()
            assert 16 <= sink.limit.limit <= 400
        assert sink.limit.limit == end


def test_what_was_cut_before_a_decrease_counts_once() -> None:
    limit = AdaptiveLimit(Backpressure.adaptive(16, 1000, 0.1))
    while limit.limit < 500:
        limit.observe(0.01, limit.limit)
    before = limit.limit
    after = limit.observe(0.2, before)
    for _ in range(4):
        assert limit.observe(0.2, before) == after
    assert after >= before // 2


def test_a_run_moves_its_limit_and_shows_it() -> None:
    async def main() -> None:
        sink = ListSink()
        delay = {"rows": 0}

        class Sink:
            async def write(self, records: list[object]) -> None:
                await trio.sleep(0.001 * len(records))
                sink.records.extend(records)
                delay["rows"] = len(records)
                seen.append((len(records), handle[0].stats().in_flight_limit))

        seen: list[tuple[int, int]] = []
        handle: list[object] = []
        bound = (
            Pipeline(Records(40_000, block=1000), name="p")
            .to(Sink())
            .build(backpressure=Backpressure.adaptive(16, 10_000, 0.1))
        )
        async with trio.open_nursery() as nursery:
            handle.append(await nursery.start(bound.run))
        late = seen[len(seen) // 2 :]
        assert 50 <= mean([rows for rows, _ in late]) <= 110
        assert {limit for _, limit in seen} != {16}
        assert len(sink.records) == 40_000

    run_virtual(main)


@pytest.mark.parametrize(
    "options",
    [
        {"min_in_flight": 0},
        {"min_in_flight": 10, "max_in_flight": 9},
        {"target_latency": 0},
        {"max_in_flight": True},
        {"target_latency": float("nan")},
    ],
)
def test_bounds_that_can_not_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options)).split("_")[0]):
        Backpressure.adaptive(**options)  # type: ignore[arg-type]  - wrong on purpose
    with pytest.raises(ConfigError):
        Backpressure.fixed(0)


def test_a_limit_that_holds_nothing_back_does_not_grow() -> None:
    async def main() -> int:
        class Trickle:
            async def stream(self) -> AsyncGenerator[int]:
                for number in range(60):
                    await trio.sleep(0.002)
                    yield number

        async with trio.open_nursery() as nursery:
            pipeline = Pipeline(Trickle(), name="p").to(ListSink())
            handle = await nursery.start(
                pipeline.build(linger=0, backpressure=Backpressure.adaptive(4, 10_000, 1)).run
            )
            await handle.wait()
            return int(handle.stats().in_flight_limit)

    assert run_virtual(main) <= 8
