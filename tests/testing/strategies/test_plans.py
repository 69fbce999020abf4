"""Failures and schedules: they are plans of the mechanisms that are there, and do what they say."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from agora import Pipeline, seam
from agora.sinks import JsonLinesSink, MemorySink
from agora.sources import IterableSource
from agora.testing import check_middleware, strategies
from agora.testing.faults import FailurePlan, Fault, Loss, ObservedPart
from agora.testing.faults.calls import SINK_CALLS
from agora.testing.laws import MiddlewareCase
from agora.testing.simulation import Ending

SEARCH = settings(max_examples=3_000, database=None, phases=[Phase.generate], deadline=None)
SHRUNK = settings(database=None, max_examples=100, phases=[Phase.generate, Phase.shrink], deadline=None)


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_strikes_an_operation(fault: Fault, tmp_path: Path) -> None:
    failpoints = find(strategies.failpoints(3, faults=[fault]), lambda each: each.at == 2, settings=SEARCH)
    path = tmp_path / "file"
    with failpoints, contextlib.suppress(OSError):
        files = seam.current().files
        with files.open(path, "x+b") as file:
            files.write(file, b"some bytes")
    assert failpoints.struck is not None
    assert failpoints.crashed == fault.crashes


def test_each_example_has_failpoints_of_its_own() -> None:
    met: list[Any] = []

    @settings(max_examples=5, database=None)
    @given(failpoints=strategies.failpoints())
    def meet(failpoints: Any) -> None:
        assert failpoints.seen == []
        assert not failpoints.crashed
        met.append(failpoints)

    meet()
    assert len(set(map(id, met))) == len(met)


@pytest.mark.parametrize("ending", Ending)
def test_each_ending_is_planned_and_is_one_that_a_simulation_could_draw(ending: Ending) -> None:
    plan = find(strategies.life_plans(), lambda each: each.ending is ending, settings=SEARCH)
    assert plan.fault.crashes == plan.on_disk
    assert plan.on_disk <= (ending in (Ending.CRASH, Ending.POWER_LOSS))
    assert (plan.at == 0) == (ending is Ending.COMPLETED)


def test_what_plans_shrink_towards() -> None:
    assert find(strategies.life_plans(), lambda _: True, settings=SHRUNK).ending is Ending.COMPLETED
    assert find(strategies.losses(), lambda _: True, settings=SHRUNK) == Loss.none()
    assert find(strategies.failpoints(), lambda _: True, settings=SHRUNK).at == 1
    assert find(strategies.spoiled(4), lambda _: True, settings=SHRUNK) == {0: 0}
    assert find(strategies.borders(4), lambda _: True, settings=SHRUNK) == []
    assert find(strategies.waits(), lambda _: True, settings=SHRUNK) == []
    assert find(strategies.batch_sizes(), lambda _: True, settings=SHRUNK) == 512
    assert find(strategies.limits(), lambda _: True, settings=SHRUNK) is None
    assert find(strategies.suspensions(), lambda _: True, settings=SHRUNK) == 1
    assert find(strategies.concurrencies(), lambda _: True, settings=SHRUNK) == 2


def test_losses_are_of_each_kind() -> None:
    for kept in (0, 1, None):
        assert find(strategies.losses(), lambda loss, kept=kept: loss.kept == kept, settings=SEARCH)


@pytest.mark.parametrize("after", [False, True])
async def test_a_planned_call_fails_before_it_is_made_or_behind_it(after: bool) -> None:
    plans = strategies.failure_plans(["write"], most=2, errors=[ConnectionError])
    plan = find(
        plans, lambda each: [(f.number, f.after) for f in each.failures] == [(1, after)], settings=SEARCH
    )
    sink = MemorySink()
    failing: Any = ObservedPart(sink, plan, "sink", SINK_CALLS)
    with pytest.raises(ConnectionError, match="injected"):
        await Pipeline(IterableSource([1]), name="p").to(failing).build().run()
    assert sink.records == [1] * after
    assert find(plans, lambda _: True, settings=SHRUNK) == FailurePlan()
    least = find(plans, lambda each: each.failures, settings=SHRUNK).failures[0]
    assert (least.method, least.number, least.after) == ("write", 1, False)


class Doubling:
    async def process(self, record: Any) -> Any:
        return record | {"n": record["n"] * 2}


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_they_draw_are_the_cases_of_the_laws(data: Any) -> None:
    found = data.draw(st.lists(strategies.records({"n": int}), min_size=1, max_size=5))
    case = MiddlewareCase(
        records=found,
        borders=data.draw(strategies.borders(len(found))),
        batch_size=data.draw(strategies.batch_sizes()),
        in_flight=data.draw(strategies.limits()),
        concurrency=data.draw(strategies.concurrencies()),
        waits=data.draw(strategies.waits()),
        spoiled=data.draw(strategies.spoiled(len(found))),
        cancel_at=data.draw(strategies.suspensions()),
    )
    assert all(0 < border < len(found) for border in case.borders)
    assert all(0 <= position < len(found) for position in case.spoiled)
    check_middleware(Doubling, law="failures", case=case)


async def test_a_run_is_failed_by_a_plan(tmp_path: Path) -> None:
    failpoints = find(
        strategies.failpoints(5, faults=[Fault.EIO]), lambda each: each.at == 3, settings=SEARCH
    )
    bound = Pipeline(IterableSource([{"a": 1}]), name="p").to(JsonLinesSink(tmp_path / "out")).build()
    with failpoints, pytest.raises(OSError, match="error"):
        await bound.run()
    assert failpoints.struck
