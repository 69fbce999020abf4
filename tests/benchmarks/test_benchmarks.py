"""The benchmarks compare what is equal, count what they say, hold to their targets, and run."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import attrs
import pytest

from benchmarks import data
from benchmarks.compare import difference
from benchmarks.comparison import Comparison
from benchmarks.contenders import loop, loop_orjson
from benchmarks.data import made, orders_csv
from benchmarks.disk import IN_MEMORY, file_system
from benchmarks.guard import fallen
from benchmarks.measure import Command, Cost, Failed, NotAvailable, interleaved, run
from benchmarks.report import BEGIN, END, write_section
from benchmarks.session import InMemoryError, Result, Session
from benchmarks.store import keep, kept
from benchmarks.targets import TARGETS, judged
from benchmarks.workloads import OWN_ENVIRONMENT, WORKLOADS, Entry, having, selected

ROOT = Path(__file__).parent.parent.parent
HERE = [entry for workload in WORKLOADS for entry in workload.entries if entry.module not in OWN_ENVIRONMENT]


@pytest.fixture(autouse=True)
def few_distinct_orders(monkeypatch):
    """Made in no time."""
    monkeypatch.setattr(data, "DISTINCT", 1_009)


def cost(seconds: float, *, cpu: float = 1.0, peak: int = 1 << 20, work: float | None = None) -> Cost:
    return Cost(seconds=seconds, cpu=cpu, peak=peak, work=seconds if work is None else work)


def result(name: str, records: int = 100, **seconds: list[float]) -> Result:
    [workload] = [one for one in WORKLOADS if one.name == name]
    costs = {label.replace("_", " "): [cost(one) for one in some] for label, some in seconds.items()}
    return Result(workload=workload, records=records, costs=costs, refused={})


def python(code: str, tmp_path: Path) -> Command:
    return Command(arguments=[sys.executable, "-I", "-c", code], log=tmp_path / "log", directory=tmp_path)


@pytest.mark.parametrize(("ratio", "met"), [(0.9, True), (1.0, True), (1.1, False)])
def test_a_comparison_is_met_on_its_own_side_and_at_its_border(ratio, met):
    comparison = partial(Comparison, name="x", what="a 1 s, b 2 s", target=1.0)
    assert comparison(ratio=ratio, at_most=True).met is met
    assert comparison(ratio=2 - ratio, at_most=False).met is met
    assert ("MISSED" in str(comparison(ratio=ratio, at_most=True))) is not met


def test_outputs_are_equal_by_value_and_order_not_by_text(tmp_path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_text('{"a": 1.0, "b": 552}\n{"a": 2}\n')
    other.write_text('{"b":552,"a":1e0}\n{"a":2}\n')
    assert difference(one, other) is None
    other.write_text('{"a":2}\n{"b":552,"a":1.0}\n')
    assert "record 0 is {'a': 2}" in difference(one, other)
    other.write_text('{"b":552,"a":1.0}\n')
    assert difference(one, other) == "fewer records than 1"
    other.write_text(one.read_text() + "{}\n")
    assert difference(one, other) == "more records than 2"
    assert difference(one, tmp_path / "none.jsonl") == "it wrote no none.jsonl"


def test_rounds_are_interleaved_and_another_begins_each():
    order: list[str] = []

    def once(name: str) -> Cost:
        order.append(name)
        return cost(1.0)

    costs = interleaved({name: partial(once, name) for name in "abc"}, 3)
    assert "".join(order) == "abc" + "bca" + "cab"
    assert {name: len(some) for name, some in costs.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_process_is_measured_by_itself_whatever_this_one_holds(tmp_path):
    held = bytearray(b"x") * (96 << 20)
    found = run(python("sum(range(2_000_000)); print('work seconds: 0.125')", tmp_path), "0")
    assert found.work == 0.125
    assert 0 < found.cpu < 30
    assert found.seconds > 0
    assert 1 << 20 < found.peak < len(held)


def test_a_process_tells_that_it_is_not_available_and_a_failed_one_is_no_measurement(tmp_path):
    with pytest.raises(NotAvailable, match="not yet"):
        run(python("import sys; print('not yet'); sys.exit(77)", tmp_path), "")
    with pytest.raises(Failed, match="exit code 1: ValueError: no"):
        run(python("raise ValueError('no')", tmp_path), "")


def test_a_contender_that_differs_is_told_and_not_timed(tmp_path, monkeypatch):
    [w4] = selected(["W4"])
    wrong = tmp_path / "wrong.py"
    wrong.write_text("import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('[1]')")
    monkeypatch.setattr(
        Session,
        "_arguments",
        lambda self, entry, source, target: (
            [sys.executable, "-I", str(wrong), str(target)]
            if entry.label == "agora rows"
            else [
                sys.executable,
                "-m",
                "benchmarks.contenders",
                entry.module,
                entry.task,
                str(source),
                str(target),
            ]
        ),
    )
    session = Session(directory=tmp_path / "data", rounds=1, only=["loop", "agora rows"])
    found = session.measure(w4)
    assert list(found.costs) == ["loop"]
    assert found.refused["agora rows"].startswith("differs: record 0 is 1")


def test_each_task_is_a_function_of_its_contender():
    for entry in HERE:
        if not entry.module:
            continue
        text = (ROOT / "benchmarks" / "contenders" / f"{entry.module}.py").read_text()
        assert f"def {entry.task}(" in text, entry


def test_inputs_are_the_same_each_time_and_made_once(tmp_path):
    orders_csv(tmp_path / "a.csv", 200)
    orders_csv(tmp_path / "b.csv", 300)
    first, second = (tmp_path / "a.csv").read_text(), (tmp_path / "b.csv").read_text()
    assert second.startswith(first)
    assert first.count("\n") == 201
    assert made(orders_csv, tmp_path / "a.csv", 5).read_text() == first
    orders_csv(tmp_path / "bad.csv", 200, bad=True)
    assert (tmp_path / "bad.csv").read_text().count(",unknown,") == 2
    orders_csv(tmp_path / "quoted.csv", 200, quoted=True)
    assert (tmp_path / "quoted.csv").read_text().count('"customer, ') == 200


def test_the_two_loops_by_hand_agree_with_each_other(tmp_path):
    source = made(partial(orders_csv, quoted=True), tmp_path / "orders.csv", 500)
    loop.csv_to_jsonl(source, tmp_path / "one.jsonl")
    loop_orjson.csv_to_jsonl(source, tmp_path / "other.jsonl")
    assert difference(tmp_path / "one.jsonl", tmp_path / "other.jsonl") is None
    assert 200 < len((tmp_path / "one.jsonl").read_text().splitlines()) < 300


def test_targets_are_judged_by_the_rounds_own_ratios_and_sorted_by_their_distance():
    results = {
        "W1": result("W1", loop=[3.0, 6.0, 9.0], agora_rows=[1.0, 2.0, 1.0], loop_orjson=[1.0, 2.0, 1.0]),
        "W6-100": result("W6-100", trio_pool=[1.0], agora_rows=[1.15], aiometer=[2.0]),
    }
    outcomes = judged(results)
    measured = {(one.target.workload, one.target.what): (one.measured, one.met) for one in outcomes}
    assert measured["W1", "speed of agora rows to loop"] == (3.0, True)
    assert measured["W1", "speed of agora rows to loop orjson"] == (1.0, False)
    assert measured["W1", "speed of agora columns to polars"] == (None, None)
    assert measured["W6-100", "time of agora rows to trio pool"] == (1.15, True)
    distances = [one.distance for one in outcomes if one.distance is not None]
    assert distances == sorted(distances)
    assert {one.target.workload for one in outcomes} == {"W1", "W6-100"}


def test_a_checkpoint_is_held_to_the_larger_of_the_work_and_its_fsyncs_and_a_barrier_to_its_cpu():
    found = Result(
        workload=selected(["W5"])[0],
        records=10_000,
        costs={
            "without": [cost(1.0, cpu=1.0)],
            "every 1,000": [cost(2.2, cpu=1.001)],
            "fsyncs of every 1,000": [cost(2.0)],
        },
        refused={},
    )
    measured = {one.target.what: one.measured for one in judged({"W5": found})}
    assert measured["time of every 1,000 to the larger of without and its fsyncs"] == pytest.approx(1.1)
    assert measured["µs of CPU a barrier"] == pytest.approx(100)


def test_growth_is_that_of_the_worst_size_over_the_smallest():
    results = {
        "W9-1": result("W9-1", records=10, agora_rows=[1.0]),
        "W9-10": result("W9-10", records=100, agora_rows=[11.0]),
        "W9-30": result("W9-30", records=300, agora_rows=[36.0]),
    }
    measured = {one.target.what: one.measured for one in judged(results)}
    assert measured == {"growth of the time a record": pytest.approx(1.2), "growth of the peak memory": 1.0}


def test_each_target_names_entries_that_there_are():
    by_name = {workload.name: workload for workload in WORKLOADS}
    for target in TARGETS:
        workload = by_name[target.workload]
        full = {
            one.name: Result(
                workload=one,
                records=1_000,
                costs={entry.label: [cost(1.0)] for entry in one.entries},
                refused={},
            )
            for one in (workload, by_name["W9-1"], by_name["W9-10"])
        }
        assert target.figure(full) is not None


def test_the_guard_sees_a_ratio_that_fell_or_is_gone(tmp_path):
    reference = tmp_path / "reference.json"
    reference.write_text(json.dumps({"W1": 2.0, "W4": 0.5}))
    assert fallen({"W1": 1.71, "W4": 0.43}, reference) == []
    assert fallen({"W1": 1.69, "W4": 0.5}, reference) == ["W1"]
    assert fallen({"W1": 2.0}, reference) == ["W4"]


def test_results_are_kept_and_a_page_is_written_between_its_marks(tmp_path):
    found = result("W4", loop=[1.0, 3.0], agora_rows=[2.0, 2.0])
    keep(tmp_path, found)
    assert kept(tmp_path) == [found]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        write_section(page, kept(tmp_path), judged({"W4": found}))
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| loop | 2.000 | 2.000 | 50 | 1.00 | 1 | 1.00 |" in text
    assert "| W4 | speed of agora rows to loop | ≥ 0.5 | 1 | 2.00 | met |" in text


@pytest.mark.parametrize("workload", ["W1", "W2", "W3", "W8"])
def test_outputs_of_all_contenders_are_equal(workload, tmp_path):
    [found] = [one for one in selected([workload]) if one.name == workload]
    session = Session(
        directory=tmp_path, rounds=0, records=1_000, only=[one.label for one in found.entries if one in HERE]
    )
    result = session.measure(attrs.evolve(found, small=1_000))
    assert result.refused == {}
    assert set(result.costs) == set(session.only)


def test_checkpointed_runs_are_equal_or_refused_in_memory(tmp_path):
    [_, found] = selected(["W5"])
    session = Session(directory=tmp_path, rounds=0, records=1_000)
    if file_system(tmp_path) in IN_MEMORY:
        with pytest.raises(InMemoryError, match="give --directory on a disk"):
            session.measure(found)
        return
    result = session.measure(found)
    assert result.refused == {}
    assert "fsync on" in result.disk


def test_the_command_measures_and_tells(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "W6-1000", "--check", "--directory", str(tmp_path)]
    for label in ("trio pool", "agora rows"):
        command += ["--only", label]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # aiometer wasn't measured
    assert "not measured" in done.stdout
    fields = json.loads((tmp_path / "results" / "W6-1000.json").read_text())
    assert {label: len(costs) for label, costs in fields["costs"].items()} == {
        "trio pool": 1,
        "agora rows": 1,
    }


def test_an_unknown_workload_is_a_usage_error():
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "unknown workload 'nonsense'" in done.stderr


def test_an_unknown_contender_is_a_usage_error_that_lists_those_that_there_are():
    command = [sys.executable, "-m", "benchmarks", "W4", "--only", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    message = "unknown contender 'nonsense' of these workloads: one of loop, agora rows, agora-etl rows"
    assert message in done.stderr


def test_a_workload_without_the_chosen_contenders_is_left_out():
    assert [one.name for one in having(selected(["W1"]), ["petl", "loop"])] == ["W1", "W1-quoted"]
    assert [one.name for one in having(selected(["W1"]), ["petl"])] == ["W1"]
    with pytest.raises(KeyError, match="fsyncs"):
        having(selected(["W1"]), ["petl", "fsyncs"])


def test_where_nobody_can_be_timed_there_are_no_rounds():
    assert interleaved({}, 3) == {}


def test_contenders_keep_their_compiled_modules(tmp_path):
    (tmp_path / "compiled.py").write_text("")
    script = (
        "from pathlib import Path; from benchmarks.measure import Command, run; import sys\n"
        f"here = Path({str(tmp_path)!r})\n"
        "run(Command(arguments=[sys.executable, '-c', 'import compiled'], log=here / 'log', directory=here), '')\n"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)
    assert len(list((tmp_path / "__pycache__").iterdir())) == 1


def test_an_entry_starts_a_task_or_code_of_its_own():
    assert all(bool(entry.module) != bool(entry.arguments) for entry in HERE)
    assert Entry("x", "loop", "five_maps").options == {}
