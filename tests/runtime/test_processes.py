"""Steps in worker processes: the same as in place; a process that dies or hangs costs its record and nothing else."""

import functools
import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import process_steps as steps
import psutil
import pyarrow as pa
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from process_columns import InColumns
from support import CountingStore, Records, run_virtual

from agora import (
    ConfigError,
    MiddlewareChain,
    Pipeline,
    WorkerCrashed,
    WorkerError,
    WorkerTimeout,
    middleware,
)
from agora.runtime.processes import StepWorker
from agora.sinks import JsonLinesSink, MemorySink
from agora.sources import IterableSource


@pytest.fixture(autouse=True)
def quick_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker imports the main module of its parent first, which is pytest here."""
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))


_OTHERS: set[psutil.Process] = set()
"""Processes that were there before a test: the fork server of tests/faults lives as long as the session."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process outlives its run; multiprocessing's own tracker ends with this process."""
    _OTHERS.clear()
    _OTHERS.update(workers())
    yield
    assert workers() == []


def workers() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child not in _OTHERS and "resource_tracker" not in " ".join(child.cmdline())
    ]


def numbered(count: int, **marks: str) -> list[dict[str, Any]]:
    """Records by number, some of which say what is to be done to their process: `at_7="exit"`."""
    records: list[dict[str, Any]] = [{"id": number} for number in range(count)]
    for place, what in marks.items():
        records[int(place.removeprefix("at_"))]["do"] = what
    return records


async def outcome(
    records: Any, step: Any, verb: str = "pipe", on_error: Any = None, **options: Any
) -> tuple[list[Any], dict[int, tuple[str, str]]]:
    """What was written, and of what was dead-lettered the type and the text of its error."""
    sink, letters = MemorySink(), MemorySink()
    source = records if hasattr(records, "batches") else IterableSource(records)
    pipeline = getattr(Pipeline(source, name="p"), verb)(step, on_error=on_error, **options)
    await pipeline.to(sink).build(dlq=letters, batch_size=32).run()
    return sink.records, {
        int(letter.id.split(":")[1]): (letter.error_type, letter.error_message) for letter in letters.records
    }


# The same as in place.


async def test_records_leave_in_source_order_from_several_processes() -> None:
    records, _ = await outcome(numbered(300), steps.where_it_runs, processes=2)
    assert [record["id"] for record in records] == list(range(300))
    assert os.getpid() not in {record["pid"] for record in records}


@pytest.mark.parametrize(
    ("verb", "step", "on_error"),
    [
        ("map", steps.mixed, "dead_letter"), ("map", steps.mixed, "pass"), ("filter", steps.odd, "dead_letter"),
        ("flat_map", steps.copies, "dead_letter"), ("flat_map", steps.copies, "pass"),
        ("pipe", steps.InBatches(), "dead_letter"), ("pipe", steps.decorated, "dead_letter"),
        ("map", functools.partial(steps.double), "dead_letter"),
    ],
)  # fmt: skip
async def test_what_comes_out_is_what_the_function_gives_in_place(
    verb: str, step: Any, on_error: str
) -> None:
    here = await outcome(numbered(60), step, verb, on_error)
    assert await outcome(numbered(60), step, verb, on_error, processes=1) == here


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.integers(0, 40), max_size=90),
    batch_size=st.integers(1, 40),
    on_error=st.sampled_from(["dead_letter", "skip", "pass", "stop"]),
    processes=st.integers(1, 3),
    step=st.sampled_from(["map", "flat_map", "batch"]),
    budget=st.sampled_from([0.0, math.inf]),
)
def test_any_records_in_any_batches_come_out_as_in_place(
    numbers: list[int], batch_size: int, on_error: Any, processes: int, step: str, budget: float
) -> None:
    """On a virtual clock the workers' code runs in place: chunks, which end early where time is short, order and
    failures are the engine's own."""

    def run(processes: int | None) -> Any:
        sink, letters = MemorySink(), MemorySink()
        source = Pipeline(IterableSource([{"id": number} for number in numbers]), name="p")
        options: Any = {"on_error": on_error, "processes": processes}
        if step == "map":
            pipeline: Any = source.map(steps.mixed, **options)
        elif step == "flat_map":
            pipeline = source.flat_map(steps.copies, **options)
        else:
            pipeline = source.pipe(steps.InBatches(), **options)
        try:
            run_virtual(pipeline.to(sink).build(dlq=letters, batch_size=batch_size).run)
        except Exception as error:
            ended = (type(error), error.args)
        else:
            ended = None
        return sink.records, [(each.id.split(":")[1], each.error_type) for each in letters.records], ended

    with mock.patch("agora.runtime.processes._BUDGET_IN_PLACE", budget):
        assert run(processes) == run(None)


@pytest.mark.parametrize("seed", range(12))
def test_what_a_worker_gave_back_stands_before_a_failure_that_ends_the_run(seed: int) -> None:
    """With a budget of nothing each worker takes several records, does one and gives back the others."""
    draw = random.Random(seed)
    sink = MemorySink()
    numbers = [1] * 30
    numbers[4 + seed] = 3  # which fails
    source = Pipeline(IterableSource([{"id": number} for number in numbers]), name="p")
    bound = source.map(steps.mixed, processes=2, on_error="stop").to(sink).build()
    with (
        mock.patch("agora.runtime.processes._BUDGET_IN_PLACE", 0.0),
        mock.patch.object(StepWorker, "share", lambda _, waiting: min(waiting, draw.randint(1, 5))),
        pytest.raises(LookupError),
    ):
        run_virtual(bound.run, seed=seed)
    assert len(sink.records) == 4 + seed


async def test_the_chain_of_a_pipeline_runs_the_function_in_place() -> None:
    bound = (
        Pipeline(IterableSource([]), name="p").map(steps.where_it_runs, processes=2).to(MemorySink()).build()
    )
    assert await bound.chain.process({"id": 1}) == {"id": 1, "pid": os.getpid()}
    assert isinstance(bound.chain, MiddlewareChain)


async def test_record_batches_travel_as_columns(tmp_path: Path) -> None:
    batches = [pa.RecordBatch.from_pylist(numbered(200)[start : start + 100]) for start in (0, 100)]

    class Batches:
        async def batches(self) -> Any:
            for batch in batches:
                yield batch

    here = await outcome(Batches(), InColumns())
    assert here[1].keys() == {49, 99, 149, 199}
    assert await outcome(Batches(), InColumns(), processes=2) == here
    rows = await outcome(numbered(200), InColumns(), processes=1)
    assert rows == here
    records, letters = await outcome(Batches(), InColumns(crash=70), processes=1)
    assert letters[70][0] == "agora.errors.WorkerCrashed"
    assert letters.keys() == {49, 70, 99, 149, 199}
    assert records == [record for record in here[0] if record["id"] != 70]


async def test_a_chunk_that_turns_slow_leaves_its_rest_to_others() -> None:
    slow = {f"at_{number}": "nap" for number in range(200, 220)}
    records, _ = await outcome(numbered(300, **slow), steps.by_what_it_says, processes=2)
    assert [record["id"] for record in records] == list(range(300))


# Processes that die or hang.


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("exit", "ended with exit code 3"),
        ("kill", "was killed by SIGKILL"),
        ("segfault", "was killed by SIGSEGV"),
    ],
)
async def test_a_process_that_dies_costs_its_record_and_no_other(what: str, says: str) -> None:
    records, letters = await outcome(numbered(100, at_40=what), steps.by_what_it_says, processes=2)
    assert [record["id"] for record in records] == [number for number in range(100) if number != 40]
    assert letters.keys() == {40}
    assert letters[40][0] == "agora.errors.WorkerCrashed"
    assert says in letters[40][1]


@pytest.mark.parametrize("what", ["hang", "spin"])
async def test_a_call_that_hangs_costs_its_record_and_no_other(what: str) -> None:
    records, letters = await outcome(
        numbered(100, at_40=what), steps.by_what_it_says, processes=2, timeout=0.5
    )
    assert [record["id"] for record in records] == [number for number in range(100) if number != 40]
    assert letters.keys() == {40}
    assert letters[40][0] == "agora.errors.WorkerTimeout"
    assert "0.5 s" in letters[40][1]


async def test_in_a_batch_only_the_culprits_fail() -> None:
    marked = numbered(130, at_1="exit", at_101="raise")
    records, letters = await outcome(marked, steps.InBatches(), processes=2)
    assert letters[1][0] == "agora.errors.WorkerCrashed"
    assert letters[101][0] == "KeyError"
    fine = [number for number in range(130) if number % 3 and number % 5 and number not in (1, 101)]
    assert [record["id"] for record in records] == fine


async def test_sys_exit_in_a_function_fails_its_record_with_the_exit_code() -> None:
    _, letters = await outcome(numbered(9, at_4="sys.exit"), steps.by_what_it_says, processes=1)
    assert letters.keys() == {4}
    assert letters[4][0] == "agora.errors.WorkerCrashed"


async def test_under_stop_a_crash_ends_the_run_with_its_cause_behind_what_stands_before_it() -> None:
    sink = MemorySink()
    pipeline = Pipeline(IterableSource(numbered(100, at_40="exit")), name="p")
    bound = pipeline.pipe(steps.by_what_it_says, processes=2).to(sink).build()
    with pytest.raises(WorkerCrashed, match="exit code 3") as raised:
        await bound.run()
    assert raised.value.exit_code == 3
    assert isinstance(raised.value, WorkerError)
    assert [record["id"] for record in sink.records] == list(range(40))


async def test_a_process_killed_while_it_is_idle_costs_nothing() -> None:
    send, receive = trio.open_memory_channel[Any](0)
    sink = MemorySink()
    bound = (
        Pipeline(IterableSource(receive), name="p").pipe(steps.where_it_runs, processes=1).to(sink).build()
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(bound.run)
        await send.send({"id": 0})
        while not sink.records:
            await trio.sleep(0.01)
        [worker] = workers()
        worker.kill()
        # Behind its last thread, and without taking its exit code from whom it belongs to.
        await trio.to_thread.run_sync(os.waitid, os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
        await send.send({"id": 1})
        await send.aclose()
    assert [record["id"] for record in sink.records] == [0, 1]
    assert sink.records[0]["pid"] != sink.records[1]["pid"]


# What can't be sent, and exceptions.


async def test_an_exception_arrives_as_itself_with_the_workers_traceback() -> None:
    pipeline = Pipeline(IterableSource(numbered(3, at_1="raise")), name="p")
    bound = pipeline.pipe(steps.by_what_it_says, processes=1).to(MemorySink()).build()
    with pytest.raises(KeyError) as raised:
        await bound.run()
    assert raised.value.args == ("no such thing",)
    [note] = [note for note in raised.value.__notes__ if "worker process" in note]
    assert 'raise KeyError("no such thing")' in note


async def test_what_can_not_be_sent_is_its_records_failure() -> None:
    records: list[Any] = numbered(70, at_8="lock", at_30="raise strangely", at_60="coroutine")
    records[20]["lock"] = math.nan.__class__  # a class can
    records[21]["lambda"] = lambda: None
    records[22]["unreadable"] = steps.Unreadable()
    written, letters = await outcome(records, steps.by_what_it_says, processes=2)
    assert {place: kind for place, (kind, _) in letters.items()} == {
        8: "_pickle.PicklingError", 21: "_pickle.PicklingError", 22: "ValueError",
        30: "agora.errors.WorkerError", 60: "TypeError",
    }  # fmt: skip
    assert letters[30][1] == "Strange: one and two"
    assert [record["id"] for record in written] == [n for n in range(70) if n not in letters]


async def test_noise_on_standard_output_is_not_taken_for_an_answer(capfd: pytest.CaptureFixture[str]) -> None:
    written, letters = await outcome(numbered(5, at_1="noise"), steps.by_what_it_says, processes=1)
    assert (len(written), letters) == (5, {})
    assert capfd.readouterr().out == "noise\nmore noise\n"


def local() -> Any:
    def inner(record: Any) -> Any:
        return record

    return inner


@pytest.mark.parametrize(
    ("step", "options", "says"),
    [
        (lambda record: record, {"processes": 2}, "lambdas"),
        (local(), {"processes": 2}, "functions inside functions"),
        (middleware(lambda record: record), {"processes": 2}, "lambdas"),
        (steps.later, {"processes": 2}, "async"),
        (steps.double, {"processes": 0}, "whole number from 1"),
        (steps.double, {"processes": True}, "whole number from 1"),
        (steps.double, {"processes": 2, "concurrency": 3}, "one of them"),
        (steps.double, {"processes": 2, "timeout": 0}, "above 0"),
        (steps.double, {"processes": 2, "timeout": math.inf}, "above 0"),
        (steps.double, {"timeout": 5}, "needs processes"),
        (types.SimpleNamespace(process=steps.double, snapshot=dict, restore=id), {"processes": 2}, "state"),
        (types.SimpleNamespace(process=steps.double, finish=list), {"processes": 2}, "finish"),
    ],
)
def test_what_can_not_run_in_processes_is_refused_when_it_is_built(
    step: Any, options: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        Pipeline(IterableSource([]), name="p").pipe(step, **options)


def test_without_trio_parallel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio_parallel", None)
    with pytest.raises(ConfigError, match=r"agora-trio\[processes\]"):
        Pipeline(IterableSource([]), name="p").pipe(steps.double, processes=2)


def test_a_pipeline_without_processes_loads_nothing_of_them() -> None:
    code = """
        import sys
        before = set(sys.modules)  # who measures coverage has multiprocessing
        import trio
        from agora import Pipeline
        from agora.sinks import MemorySink
        from agora.sources import IterableSource
        trio.run(Pipeline(IterableSource([1]), name='p').map(abs, concurrency=2).to(MemorySink()).build().run)
        print(sorted({"trio_parallel", "multiprocessing"} & set(sys.modules) - before))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("step", "says"), [(steps.Keeps, "lock"), (steps.Remembers, "context.state")])
async def test_what_on_start_made_unfit_ends_the_run(step: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        await outcome(numbered(3), step(), processes=2)


async def test_a_wrong_number_of_results_ends_the_run() -> None:
    with pytest.raises(TypeError, match="one result a record"):
        await outcome(numbered(10), steps.TooFew(), processes=1)


async def test_hooks_run_in_the_parent() -> None:
    step = steps.Scaled()
    written, _ = await outcome(numbered(3), step, processes=1)
    assert [record["scaled"] for record in written] == [0, 10, 20]
    assert step.ended


# Scripts.


def script(tmp_path: Path, end: str) -> "subprocess.CompletedProcess[str]":
    text = f"""
        import trio
        from agora import Pipeline
        from agora.sinks import JsonLinesSink
        from agora.sources import IterableSource

        def double(record):
            return record * 2

        print("imported")
        bound = Pipeline(IterableSource([1, 2]), name="p").map(double, processes=1).to(JsonLinesSink("o")).build()
        {end}
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_script_that_runs_behind_its_guard_works(tmp_path: Path) -> None:
    done = script(tmp_path, 'if __name__ == "__main__": trio.run(bound.run)')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o").read_text() == "2\n4\n"


def test_a_script_without_the_guard_is_told_of_it_and_runs_once(tmp_path: Path) -> None:
    done = script(tmp_path, "trio.run(bound.run)")
    assert done.returncode == 1
    assert '`if __name__ == "__main__":`, since each worker imports it' in done.stderr
    assert not (tmp_path / "o").exists()


# The life of a run.


async def hung_up(tmp_path: Path, nursery: trio.Nursery, **options: Any) -> Any:
    """A run, in the nursery, whose two workers are at work and never done."""
    paths = [tmp_path / name for name in ("one", "two")]
    source = IterableSource([{"path": str(path)} for path in paths])
    bound = (
        Pipeline(source, name="p").pipe(steps.begin_and_hang, processes=2, **options).to(MemorySink()).build()
    )
    handle = await nursery.start(bound.run)
    while not all(path.exists() and path.read_text() for path in paths):
        await trio.sleep(0.01)
    return handle


async def test_cancelling_a_run_kills_what_its_workers_do(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        await hung_up(tmp_path, nursery)
        assert len(workers()) == 2
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert workers() == []
    assert trio.current_time() - began < 3


async def test_an_error_elsewhere_ends_the_workers_too(tmp_path: Path) -> None:
    with pytest.RaisesGroup(RuntimeError):
        async with trio.open_nursery() as nursery:
            await hung_up(tmp_path, nursery)
            raise RuntimeError
    assert workers() == []


async def test_a_stopped_run_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        handle = await hung_up(tmp_path, nursery, timeout=1.0, on_error="skip")
        handle.stop()
        summary = await handle.wait()
    assert (summary.status, summary.skipped) == ("completed", 2)


async def test_workers_of_a_parent_that_is_killed_end_by_themselves(tmp_path: Path) -> None:
    code = f"""
        import trio, process_steps as steps
        from agora import Pipeline
        from agora.sinks import MemorySink
        from agora.sources import IterableSource
        if __name__ == "__main__":
            source = IterableSource([{{"path": {str(tmp_path / "one")!r}}}])
            trio.run(Pipeline(source, name="p").pipe(steps.begin_and_hang, processes=1).to(MemorySink()).build().run)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(code))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], env=environment)
    pid = ""
    with trio.fail_after(30):
        while not pid:
            await trio.sleep(0.02)
            pid = (tmp_path / "one").read_text() if (tmp_path / "one").exists() else ""
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        while psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE:
            await trio.sleep(0.02)


async def test_runs_within_a_nursery_have_workers_of_their_own() -> None:
    results: dict[str, list[Any]] = {}

    async def one(name: str) -> None:
        results[name], _ = await outcome(numbered(40), steps.where_it_runs, processes=1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, "a")
        nursery.start_soon(one, "b")
    pids = [{record["pid"] for record in results[name]} for name in "ab"]
    assert [len(each) for each in pids] == [1, 1]
    assert pids[0] != pids[1]


async def test_with_checkpoints_nothing_is_lost_or_repeated(tmp_path: Path) -> None:
    store, target = CountingStore(), tmp_path / "out.jsonl"
    await store.state.open()
    records = numbered(120, at_30="exit", at_80="kill")

    def bound(step: Any) -> Any:
        source = Records(120, make=records.__getitem__)
        pipeline = Pipeline(source, name="p").pipe(step, processes=2, name="s").to(JsonLinesSink(target))
        return pipeline.build(checkpoint_store=store, checkpoint_every=10)

    for place in (30, 80):
        with pytest.raises(WorkerCrashed):
            await bound(steps.by_what_it_says).run()
        assert store.saved[-1].ordinal <= place

        del records[place]["do"]
    summary = await bound(steps.by_what_it_says).run()
    await store.state.close()
    assert summary.status == "completed"
    assert target.read_text() == "".join(f'{{"id":{number}}}\n' for number in range(120))


def test_on_a_virtual_clock_the_function_runs_in_place() -> None:
    written, _ = run_virtual(outcome_in_place)
    assert {record["pid"] for record in written} == {os.getpid()}


async def outcome_in_place() -> Any:
    return await outcome(numbered(5), steps.where_it_runs, processes=2, timeout=1.0)


def test_the_plan_says_where_it_runs() -> None:
    pipeline = Pipeline(IterableSource([]), name="p").map(steps.double, processes=4, timeout=5)
    assert "in 4 processes, at most 5 s a call" in str(pipeline.to(MemorySink()).build().explain())
    assert issubclass(WorkerTimeout, WorkerError)
