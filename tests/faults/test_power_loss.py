"""After a loss of power at any moment, which takes whatever wasn't made durable, nothing is lost or repeated.

A run is recorded, and the disk as it would be found is made for moments of it, with nothing, everything or a part of
what wasn't fsynced. The everyday suite looks at a sample; with `AGORA_EVERY_FAILPOINT=1` (`nox -s failpoints`) it
looks at every moment.
"""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from scenarios import SCENARIOS, Outcome, RepeatableSeam, Scenario

from agora import seam
from agora.testing.faults import DiskRecorder, Failpoints, Fault, Loss, Tree, write_tree

EVERY = bool(os.environ.get("AGORA_EVERY_FAILPOINT"))
MOMENTS, RECOVERIES, SEEDS = (10_000, 12, 6) if EVERY else (25, 1, 1)
"""Of each scenario: moments that are looked at, runs that are cut off so that a recovery is recorded, random losses."""


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return request.param


def record(scenario: Scenario, folder: Path) -> DiskRecorder:
    with seam.use(RepeatableSeam()), DiskRecorder(folder) as recorder:
        scenario.run(folder)
    return recorder


def outcome(scenario: Scenario, folder: Path) -> Outcome:
    with Failpoints():  # where nothing waits for the real disk
        return scenario.outcome(folder)


def recovered(scenario: Scenario, folder: Path) -> Outcome:
    with seam.use(RepeatableSeam()), Failpoints():
        scenario.run(folder)
    return outcome(scenario, folder)


def found(recorder: DiskRecorder, seed: int) -> Iterator[tuple[int, Loss, Tree]]:
    """Moments, what is lost, and what is left: no two alike."""
    moments: Sequence[int] = range(len(recorder.log) + 1)
    if len(moments) > MOMENTS:
        moments = sorted(random.Random(seed).sample(moments, MOMENTS))
    seen = set()
    for moment in moments:
        for loss in (Loss.total(), Loss.none(), *(Loss.random(moment + number) for number in range(SEEDS))):
            tree = recorder.after(moment, loss)
            key = hash(tuple(tree.items()))
            if key not in seen:
                seen.add(key)
                yield moment, loss, tree


def check_found(scenario: Scenario, folder: Path, recorder: DiskRecorder, whole: Outcome, seed: int) -> None:
    for moment, loss, tree in found(recorder, seed):
        write_tree(tree, folder)
        try:
            assert recovered(scenario, folder) == whole
        except BaseException as error:
            before = "\n  ".join(map(str, recorder.log[max(0, moment - 8) : moment]))
            error.add_note(f"{scenario.name}, after {moment} operations, {loss}; the last ones:\n  {before}")
            raise


def test_after_a_loss_of_power_the_next_run_loses_and_repeats_nothing(
    scenario: Scenario, tmp_path: Path
) -> None:
    folder = scenario.begin(tmp_path / "live")
    recorder = record(scenario, folder)
    whole = outcome(scenario, folder)
    check_found(scenario, folder, recorder, whole, seed=1)


def test_after_a_loss_of_power_while_recovering_the_run_after_it_loses_and_repeats_nothing(
    scenario: Scenario, tmp_path: Path
) -> None:
    whole = recovered(scenario, scenario.begin(tmp_path / "undisturbed"))
    with seam.use(RepeatableSeam()), Failpoints() as counted:
        scenario.run(scenario.begin(tmp_path / "counted"))
    for at in random.Random(3).sample(range(20, len(counted.seen)), RECOVERIES):
        folder = scenario.begin(tmp_path / f"cut-off-{at}")
        with seam.use(RepeatableSeam()), Failpoints(at, Fault.CRASH_AFTER) as points:
            scenario.run(folder)
        assert points.crashed
        check_found(scenario, folder, record(scenario, folder), whole, seed=at)


def test_what_a_run_has_returned_for_survives_a_loss_of_power_as_it_is(
    scenario: Scenario, tmp_path: Path
) -> None:
    folder = scenario.begin(tmp_path / "live")
    recorder = record(scenario, folder)
    whole = outcome(scenario, folder)
    write_tree(recorder.after(len(recorder.log), Loss.total()), folder)
    left = outcome(scenario, folder)
    assert (left.output, left.letters) == (whole.output, whole.letters)
