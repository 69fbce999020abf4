"""Every operation on the disk fails in turn, in every way; nothing is lost or repeated, and the next run completes.

The operations are found by counting them in a run that isn't disturbed. The everyday suite strikes at a sample of
them; with `AGORA_EVERY_FAILPOINT=1` (`nox -s failpoints`) it strikes at all.
"""

import contextlib
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from scenarios import APPENDING, SCENARIOS, Outcome, RepeatableSeam, Scenario

from agora import AgoraError, seam
from agora.testing.faults import Failpoints, Fault, Operation

EVERY = bool(os.environ.get("AGORA_EVERY_FAILPOINT"))
FIRST, RECOVERIES, SECOND = (10_000, 12, 10_000) if EVERY else (40, 2, 10)
"""Of each scenario: strikes, those whose recovery is struck again, and strikes of each such recovery."""


@attrs.frozen
class Strike:
    """One fault at one operation."""

    at: int
    fault: Fault

    def run(
        self, scenario: Scenario, folder: Path, *, restart: bool = False
    ) -> tuple[Failpoints, Exception | None]:
        """A run that is struck; what it raised."""
        error = None
        with seam.use(RepeatableSeam()), Failpoints(self.at, self.fault) as points:
            try:
                scenario.run(folder, restart=restart)
            except Exception as raised:
                error = raised
        return points, error


@attrs.frozen
class Undisturbed:
    """A run without faults: what it came to, and what can be struck in it."""

    outcome: Outcome
    operations: list[Operation]


def undisturbed(scenario: Scenario, folder: Path) -> Undisturbed:
    operations = complete(scenario, scenario.begin(folder))
    return Undisturbed(outcome(scenario, folder), operations)


def complete(scenario: Scenario, folder: Path) -> list[Operation]:
    """A run without faults; what it did to the disk."""
    with seam.use(RepeatableSeam()), Failpoints() as points:
        scenario.run(folder)
    return points.seen


def outcome(scenario: Scenario, folder: Path) -> Outcome:
    with Failpoints():  # where nothing waits for the real disk
        return scenario.outcome(folder)


def strikes(operations: list[Operation], *, most: int, seed: int) -> list[Strike]:
    """All that can be struck; a sample where that is more than `most`, with every kind in it as often as the other."""
    kinds: dict[object, list[Strike]] = {}
    for number, operation in enumerate(operations, 1):
        for fault in Fault:
            if fault.suits(operation):
                kind = operation.layer, operation.name, fault
                kinds.setdefault(kind, []).append(Strike(number, fault))
    chance = random.Random(seed)
    for kind in kinds.values():
        chance.shuffle(kind)
    rounds = [[strike for strike in row if strike] for row in itertools.zip_longest(*kinds.values())]
    for row in rounds:
        chance.shuffle(row)
    return [strike for row in rounds for strike in row][:most]


def check_clear(points: Failpoints, error: Exception | None) -> None:
    """A crash crashes; an error says what failed, at which file, in which run, and how to go on."""
    if points.fault.crashes:
        assert points.crashed
    elif error is not None:
        assert isinstance(error, OSError | AgoraError), repr(error)
        notes = "\n".join(getattr(error, "__notes__", ()))
        assert "in pipeline 'orders'" in notes
        assert "the next run" in notes
        assert points.struck is not None
        assert any(str(place) in str(error) for place in (points.struck.path, points.struck.path.parent))


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return request.param


def check_struck(scenario: Scenario, strike: Strike, folder: Path, whole: Undisturbed) -> None:
    """Strike a run on this folder: it ends in a clear error, or it is complete."""
    points, error = strike.run(scenario, folder)
    with noting(f"{scenario.name}: {strike}, {points.struck}; the run raised {error!r}"):
        assert points.struck is not None
        check_clear(points, error)
        if error is None and not points.crashed:
            assert outcome(scenario, folder) == whole.outcome


def check_completes(scenario: Scenario, folder: Path, whole: Undisturbed) -> None:
    complete(scenario, folder)
    assert outcome(scenario, folder) == whole.outcome


@contextlib.contextmanager
def noting(note: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(note)
        raise


def test_whatever_operation_fails_the_error_is_clear_and_the_next_run_loses_and_repeats_nothing(
    scenario: Scenario, tmp_path: Path
) -> None:
    folder = (
        tmp_path / "live"
    )  # the same for every run: paths are in tokens, and so in the size of what is saved
    whole = undisturbed(scenario, folder)
    assert len(whole.operations) > 80
    for strike in strikes(whole.operations, most=FIRST, seed=1):
        scenario.begin(folder)
        check_struck(scenario, strike, folder, whole)
        with noting(f"after {strike}: {whole.operations[strike.at - 1]}"):
            check_completes(scenario, folder, whole)


def test_whatever_operation_of_a_recovery_fails_the_run_after_it_loses_and_repeats_nothing(
    scenario: Scenario, tmp_path: Path
) -> None:
    folder, left = tmp_path / "live", tmp_path / "left"
    whole = undisturbed(scenario, folder)
    for first in strikes(whole.operations, most=RECOVERIES, seed=2):
        scenario.begin(folder)
        first.run(scenario, folder)
        shutil.copytree(folder, left)
        for second in strikes(complete(scenario, folder), most=SECOND, seed=first.at):
            shutil.rmtree(folder)
            shutil.copytree(left, folder)
            with noting(f"first {first}: {whole.operations[first.at - 1]}; recovering from it {second}"):
                check_struck(scenario, second, folder, whole)
                check_completes(scenario, folder, whole)
        shutil.rmtree(left)


@pytest.mark.parametrize("scenario", [*SCENARIOS, *APPENDING], ids=lambda scenario: scenario.name)
def test_whatever_operation_of_starting_over_is_struck_the_next_run_gives_everything_once(
    scenario: Scenario, tmp_path: Path
) -> None:
    """The next run is an ordinary one: what was begun is completed, and a target that is undone already isn't taken for
    one that was moved away behind a completed run."""
    folder, done = tmp_path / "live", tmp_path / "done"
    undisturbed(scenario, folder)
    whole = said(scenario, folder)
    shutil.copytree(folder, done)
    with seam.use(RepeatableSeam()), Failpoints() as points:
        scenario.run(folder, restart=True)
    assert said(scenario, folder) == whole
    for strike in strikes(points.seen, most=FIRST, seed=3):
        shutil.rmtree(folder)
        shutil.copytree(done, folder)
        struck, error = strike.run(scenario, folder, restart=True)
        with noting(f"{scenario.name}: {strike}, {struck.struck}; the run raised {error!r}"):
            check_clear(struck, error)
            complete(scenario, folder)
            assert said(scenario, folder) == whole


def said(scenario: Scenario, folder: Path) -> tuple[object, object]:
    """Output and letters; parts have other names, and letters other ids, once they were made anew."""
    came = outcome(scenario, folder)
    return came.output, [letter[1:] for letter in came.letters]
