"""The benchmarks compare what is equal, hold to their targets, and run."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rounds import Comparison, interleaved, times

ROOT = Path(__file__).parent.parent.parent


def comparison(ratio: float, *, at_most: bool) -> Comparison:
    return Comparison(name="x", what="a 1 s, b 2 s", ratio=ratio, target=1.0, at_most=at_most)


@pytest.mark.parametrize(("ratio", "met"), [(0.9, True), (1.0, True), (1.1, False)])
def test_a_target_is_met_on_its_own_side_and_at_its_border(ratio, met):
    assert comparison(ratio, at_most=True).met is met
    assert comparison(2 - ratio, at_most=False).met is met
    assert ("MISSED" in str(comparison(ratio, at_most=True))) is not met


def test_outputs_that_differ_end_a_benchmark_before_anything_is_timed():
    calls = []
    with pytest.raises(AssertionError, match="outputs of one and two differ"):
        times({"one": lambda: calls.append(1) or 1, "two": lambda: calls.append(2) or 2}, rounds=3)
    assert calls == [1, 2]


def test_rounds_are_interleaved_and_another_begins_each():
    calls: list[str] = []
    contestants = {name: lambda name=name: calls.append(name) for name in "abc"}
    measured = times(contestants, rounds=3)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(seconds) for name, seconds in measured.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_ratio_of_speeds_and_one_of_times_look_at_the_same_rounds():
    def quick() -> None:
        sum(range(1_000))

    def slow() -> None:
        sum(range(200_000))

    contestants = {"ours": quick, "theirs": slow}
    [of_times] = interleaved("x", contestants, rounds=3, targets={"theirs": 1.0})
    [of_speeds] = interleaved("x", contestants, rounds=3, targets={"theirs": 1.0}, records=1_000)
    assert of_times.ratio < 1 < of_speeds.ratio
    assert (of_times.at_most, of_speeds.at_most) == (True, False)


def test_the_command_runs_one_and_prints_a_line_for_each_figure():
    command = [sys.executable, "-m", "benchmarks", "maps", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("five maps : nested calls")
    assert done.stdout.count("\n") == 1


def test_an_unknown_benchmark_is_a_usage_error():
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown benchmark ['nonsense']" in done.stderr


def test_memory_is_that_of_the_process_and_its_run_is_checked():
    command = [sys.executable, "-m", "benchmarks.peak", "5000"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert 10 << 20 < int(done.stdout) < 1 << 30
