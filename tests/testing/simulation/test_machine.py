"""The double of threads and clocks does what the real one does, as far as anybody can tell; and its state is one."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from agora import seam
from agora.testing.faults.failpoints import Crash
from agora.testing.simulation import Ending, LifePlan, MemoryFiles, Trace
from agora.testing.simulation.machine import Machine

Make = Callable[[], seam.Seam]


def machine(**plan: Any) -> Machine:
    return Machine(LifePlan(seed=1, **plan), MemoryFiles(), Trace(1), 0.0, lambda: None)


@pytest.fixture(params=["real", "simulated", "simulated, slow"])
def threads(request: pytest.FixtureRequest) -> seam.Seam:
    """Without a virtual clock, so that the real one uses threads."""
    if request.param == "real":
        return seam.Seam()
    return machine(latency=0.01 if "slow" in request.param else 0.0)


async def test_a_call_gives_what_the_function_gives_and_raises_what_it_raises(threads: seam.Seam) -> None:
    assert await threads.in_thread(lambda a, b: a + b, 1, b=2) == 3
    with pytest.raises(KeyError, match="mine"):
        await threads.in_thread({}.__getitem__, "mine")


async def test_one_that_is_cancelled_before_is_not_begun(threads: seam.Seam) -> None:
    called: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await threads.in_thread(called.append, 1)
    assert scope.cancelled_caught
    assert called == []


async def test_one_that_is_cancelled_meanwhile_is_not_abandoned(threads: seam.Seam) -> None:
    """It has its effect and gives its result; the cancellation comes at the next checkpoint."""
    begun, release, results = trio.Event(), threading.Event(), []
    if threads.simulated:  # what blocks there blocks everything
        release.set()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def call() -> None:
                begun.set()
                results.append(await threads.in_thread(lambda: release.wait(5)))
                results.append("went on")
                await trio.lowlevel.checkpoint()
                results.append("wasn't cancelled")

            await begun.wait()
            scope.cancel()
            release.set()
    assert results == [True, "went on"]


async def test_other_tasks_go_on_meanwhile(threads: seam.Seam) -> None:
    turns = 0
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def task() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        for _ in range(5):
            await threads.in_thread(lambda: None)
        assert turns >= 4
        nursery.cancel_scope.cancel()


def test_ids_are_of_the_form_of_real_ones_and_by_the_seed() -> None:
    assert len(seam.Seam().random_id()) == len(machine().random_id()) == 16
    assert int(machine().random_id(), 16) == int(machine().random_id(), 16)


def test_both_clocks_are_the_virtual_one_and_a_sleep_returns() -> None:
    async def main() -> None:
        here = machine()
        moment, now = here.monotonic(), here.now()
        await here.sleep(100)
        assert here.monotonic() - moment == 100
        assert (here.now() - now).total_seconds() == 100
        assert now.tzinfo is not None

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_what_a_dead_process_does_reaches_nothing() -> None:
    async def main() -> None:
        here = machine(ending=Ending.CRASH)
        here.kill("now")
        with pytest.raises(Crash):
            await here.in_thread(lambda: pytest.fail("it did something"))
        with pytest.raises(Crash):
            here.files.make_directory(here.disk.root / "a")
        assert not here.disk.tree()

    trio.run(main, clock=MockClock(autojump_threshold=0))
