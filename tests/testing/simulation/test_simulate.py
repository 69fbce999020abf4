"""What a simulation promises of itself: equal seeds are equal, a broken part is found, a failure can be replayed."""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from agora import Pipeline, seam
from agora.errors import ConfigError, PipelineBusy
from agora.sinks import JsonLinesSink, MemorySink
from agora.sources import JsonLinesSource
from agora.state import CheckpointStore, MemoryBackend, StateDLQSink
from agora.testing.simulation import (
    Ending,
    Hazards,
    Simulation,
    SimulationFailed,
    World,
    observe_calm,
    seeded_scheduling,
    simulate,
)

from ..broken.simulated import BROKEN, RECORDS, Broken, pipeline
from .campaign import run
from .catalogue import SCENARIOS

FILES = {"in.jsonl": RECORDS}
ROOT = Path(__file__).parents[3]


def draws(seed: int) -> Any:
    """A pipeline that draws by every means that there is."""

    def build(world: World) -> Any:
        async def draw(record: Any) -> Any:
            await world.pause()
            return {
                **record,
                "a": random.random(),
                "b": world.chance.random(),
                "c": seam.current().random_id(),
            }

        return (
            Pipeline(JsonLinesSource("in.jsonl"), name="p")
            .map(draw, concurrency=5)
            .to(JsonLinesSink("out.jsonl"))
            .build(checkpoint_store=CheckpointStore(world.state), checkpoint_every=4)
        )

    return simulate(build, seed=seed, files=FILES, seen=lambda name, content: len(content.splitlines()))


@pytest.mark.parametrize("seed", range(5))
def test_equal_seeds_give_equal_traces_event_for_event(seed: int) -> None:
    first, second = draws(seed), draws(seed)
    assert first.trace == second.trace
    assert str(first.trace) == str(second.trace)
    assert first.world.records("out.jsonl") == second.world.records("out.jsonl")
    assert first.trace != draws(seed + 1).trace


def test_equal_seeds_give_equal_traces_in_every_process() -> None:
    names = ("buffered", "stateful", "columns", "replaying", "several")
    code = (
        "import hashlib; from tests.testing.simulation.campaign import run\n"
        f"for name in {names!r}:\n"
        "    traces = [run(name, seed).trace.events for seed in (3, 4)]\n"
        "    print(name, hashlib.sha256(repr(traces).encode()).hexdigest())"
    )
    here = [
        f"{name} {hashlib.sha256(repr([run(name, seed).trace.events for seed in (3, 4)]).encode()).hexdigest()}"
        for name in names
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "17"}
    there = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert there.stdout.splitlines() == here, there.stderr


def test_trio_schedules_by_the_seed() -> None:
    """Fails when trio changes what is private there: see `agora.testing.simulation.scheduling`."""

    async def turns() -> list[int]:
        order: list[int] = []

        async def task(number: int) -> None:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(task, number)
        return order

    def order_of(seed: int) -> tuple[int, ...]:
        with seeded_scheduling(seed):
            return tuple(trio.run(turns))

    core: Any = trio._core._run
    before = core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate()
    assert [order_of(seed) for seed in range(8)] == [order_of(seed) for seed in range(8)]
    assert len({order_of(seed) for seed in range(8)}) > 4
    assert (core._ALLOW_DETERMINISTIC_SCHEDULING, core._r.getstate()) == before


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("first", [0, 1_000])
def test_a_broken_part_is_found(name: str, first: int) -> None:
    broken: Broken = BROKEN[name]
    for seed in range(first, first + 100):
        try:
            simulate(broken.build, seed=seed, files=FILES)
        except SimulationFailed as failed:
            assert failed.invariant.name in broken.breaks
            assert f"seed {seed}; to replay it: simulate(" in str(failed)
            assert failed.invariant.statement in str(failed)
            return
    pytest.fail("it was not found")


def test_what_the_test_itself_checks_is_reported_with_the_seed() -> None:
    def wrong(simulation: Simulation) -> None:
        assert simulation.world.records("out.jsonl") == []

    with pytest.raises(
        SimulationFailed, match=r"(?s)what the test itself checks.*AssertionError.*seed 5;"
    ) as failed:
        simulate(pipeline, seed=5, files=FILES, check=wrong)
    assert isinstance(failed.value.__cause__, AssertionError)


def test_the_last_run_is_left_alone_and_completed() -> None:
    for seed in range(10):
        simulation = simulate(pipeline, seed=seed, files=FILES)
        last = simulation.lives[-1]
        assert last.plan.ending is Ending.COMPLETED
        assert last.summary is not None
        assert last.summary.status == "completed"
        assert simulation.world.records("out.jsonl") == RECORDS


def test_every_kind_of_ending_is_met() -> None:
    calm = observe_calm(pipeline, files=FILES)
    met = {
        life.plan.ending
        for seed in range(40)
        for life in simulate(pipeline, seed=seed, files=FILES, calm=calm).lives
        if life.summary is None or life.summary.stop_reason == "stop"
    }
    assert met == set(Ending) - {Ending.COMPLETED}


def test_some_runs_read_a_part_and_some_start_over() -> None:
    calm = observe_calm(pipeline, files=FILES)
    simulations = [simulate(pipeline, seed=seed, files=FILES, calm=calm) for seed in range(40)]
    limited = [
        life.summary
        for simulation in simulations
        for life in simulation.lives
        if life.summary is not None and life.summary.stop_reason == "max_records"
    ]
    assert len({summary.read for summary in limited}) > 3
    begun_anew = [simulation for simulation in simulations if ("p", None) in simulation.world.saved]
    assert len(begun_anew) > 3
    assert all(simulation.found == calm for simulation in simulations)


def test_a_run_that_stalls_is_taken_over_and_what_it_still_writes_reaches_nothing() -> None:
    calm, taken_over = observe_calm(pipeline, files=FILES), 0
    for seed in range(15):
        simulation = simulate(
            pipeline, seed=seed, files=FILES, calm=calm, hazards=Hazards(endings=[Ending.STALLED])
        )
        for life in simulation.lives:
            if life.other is not None and isinstance(life.error, PipelineBusy):
                taken_over += 1
                assert life.other.summary is not None
                assert life.other.summary.status == "completed"
        assert simulation.world.records("out.jsonl") == RECORDS
    assert taken_over >= 3


def test_without_hazards_there_is_one_run() -> None:
    simulation = simulate(pipeline, seed=1, files=FILES, hazards=Hazards.none())
    assert len(simulation.lives) == 1
    assert not any(event.kind == "hazard" for event in simulation.trace.events)


def test_a_bound_pipeline_whose_parts_can_run_again_is_simulated_as_it_is() -> None:
    state, sink = MemoryBackend(), MemorySink()
    bound = (
        Pipeline(JsonLinesSource("in.jsonl"), name="p")
        .filter(lambda record: record["id"] % 3)
        .to(sink, JsonLinesSink("out.jsonl"))
        .build(checkpoint_store=CheckpointStore(state), checkpoint_every=4, dlq=StateDLQSink(state))
    )
    for seed in range(20):
        expected = [record for record in RECORDS if record["id"] % 3]
        simulation = simulate(bound, seed=seed, files=FILES)
        assert simulation.world.records("out.jsonl") == expected
        assert sink.records[-len(expected) :] == expected


def test_what_is_no_pipeline_is_refused() -> None:
    with pytest.raises(ConfigError, match="BoundPipeline or a function"):
        simulate(3, seed=1)  # type: ignore[arg-type]  # what is refused


def test_an_error_of_the_builder_comes_out_itself() -> None:
    def build(world: World) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        simulate(build, seed=1)


def test_a_trace_can_be_read() -> None:
    text = str(run("linear", 3).trace)
    assert text.startswith("seed 3, ")
    assert "steps" in text
    assert "write of" in text
    assert str(Path.cwd()) not in text


def test_the_real_random_numbers_and_the_real_machine_are_as_they_were() -> None:
    state, machine = random.getstate(), seam.current()
    simulate(pipeline, seed=3, files=FILES)
    assert random.getstate() == state
    assert seam.current() is machine


def test_somebody_else_may_write_a_file_between_two_simulations() -> None:
    def build(world: World) -> Any:
        return Pipeline(JsonLinesSource("deep/in.jsonl"), name="p").to(JsonLinesSink("out.jsonl")).build()

    simulation = simulate(build, seed=1, files={"deep/in.jsonl": '{"a": 1}\n'}, hazards=Hazards.none())
    simulation.world.write("other/in.jsonl", [{"b": 2}])
    assert simulation.world.records("other/in.jsonl") == [{"b": 2}]
    assert simulation.world.read("out.jsonl") == b'{"a":1}\n'


def test_everything_in_the_catalogue_has_a_fold_of_its_own() -> None:
    assert all(scenario.expected() for scenario in SCENARIOS.values())
