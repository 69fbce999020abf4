"""Both sides of a step in worker processes without a process (`agora.runtime.worker`, `agora.runtime.processes`): what
the function's answers become, how large chunks are, and where the culprit of a lost one is looked for."""

import pickle
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import attrs
import process_steps as steps
import pyarrow as pa
import pytest
import trio
import trio_parallel
from process_columns import InColumns, Refusing

from agora.errors import WorkerCrashed, WorkerTimeout
from agora.middlewares.columnar import ColumnsResult
from agora.middlewares.step import Step, step_from
from agora.runtime import worker as inside
from agora.runtime.failing import Failed
from agora.runtime.processes import StepWorker
from agora.runtime.worker import Answers, Kind, Loaded


def loaded(function: Any, kind: Kind = "map", stops: bool = False) -> Loaded:
    made = Loaded("s", kind, pickle.dumps(abs), stops=stops)
    made.function = function
    return made


def worked(
    function: Any, records: Sequence[Any], kind: Kind = "map", stops: bool = False, budget: float = 60.0
) -> Any:
    """The values, and what was raised by position."""
    answers = loaded(function, kind, stops).work(pickle.dumps(list(records)), budget, columns=False)
    assert isinstance(answers, Answers)
    return pickle.loads(answers.values), {
        place: (each.name, each.text) for place, each in answers.raised.items()
    }


def odd_fails(record: int) -> Any:
    if record % 2:
        raise ValueError(f"odd {record}")
    return record * 10 or None


def test_each_record_has_its_value_or_its_error_and_none_drops_it() -> None:
    values = worked(odd_fails, [0, 1, 2, 3, 4])
    assert values == ([None, None, 20, None, 40], {1: ("ValueError", "odd 1"), 3: ("ValueError", "odd 3")})


def test_where_a_failure_stops_the_run_nothing_behind_it_is_run() -> None:
    assert worked(odd_fails, [2, 1, 4, 3], stops=True) == ([20, None], {1: ("ValueError", "odd 1")})


def test_a_filter_answers_true_or_false() -> None:
    assert worked(lambda record: record and [record], [0, 1], "filter") == ([False, True], {})


def children(record: int) -> Any:
    yield from range(record)
    if record == 3:
        raise ValueError("three")


def test_children_come_as_a_list_and_those_before_a_failure_with_it() -> None:
    values = worked(children, [0, 2, 3, 1], "flat_map")
    assert values == ([[], [0, 1], [0, 1, 2], [0]], {2: ("ValueError", "three")})


async def coroutine(record: Any) -> Any:
    return record


def test_a_coroutine_fails_its_record() -> None:
    values, raised = worked(coroutine, [1])
    assert (values, raised[0][0]) == ([None], "TypeError")
    assert "step 's' gave a coroutine: worker processes run plain functions" in raised[0][1]


def test_once_its_time_is_over_it_answers_for_what_it_has_done() -> None:
    def slow(record: Any) -> Any:
        time.sleep(0.002)
        return record

    assert worked(slow, [1, 2, 3], budget=0.0) == ([1], {})
    values, _ = worked(slow, range(100), budget=0.02)
    assert 2 <= len(values) < 100


def test_a_batch_is_one_call_whose_errors_are_answers() -> None:
    def batch(records: list[int]) -> Any:
        return (KeyError(record) if record == 2 else record + len(records) for record in records)

    assert worked(batch, [1, 2, 3], "batch") == ([4, None, 6], {1: ("KeyError", "2")})


def test_a_batch_that_raises_is_one_answer_with_its_traceback() -> None:
    raised = loaded(odd_fails, "batch").work(b"no pickle", 1.0, columns=False)
    assert isinstance(raised, inside.Raised)
    assert raised.name == "UnpicklingError"
    for kind in ("batch", "map"):
        failed = loaded(fails, kind).work(pickle.dumps([1]), 1.0, columns=False)  # type: ignore[arg-type]  # one of the kinds
        failed = failed if isinstance(failed, inside.Raised) else failed.raised[0]
        assert (failed.name, failed.text, failed.exit_code) == ("ValueError", "no", None)
        assert failed.traceback.startswith("Traceback")
        assert "in fails" in failed.traceback
        assert failed.pickled is not None
        assert isinstance(pickle.loads(failed.pickled), ValueError)


def fails(record: Any) -> Any:
    raise ValueError("no")


def columns(data: pa.RecordBatch) -> Any:
    numbers = data.column("n").to_pylist()
    kept = pa.array([number % 2 == 0 for number in numbers])
    errors = {at: ValueError(number) for at, number in enumerate(numbers) if number == 3}
    return ColumnsResult(data.filter(kept), kept, errors)


def numbers(*values: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"n": list(values)})


def test_columns_of_rows_are_asked_in_their_row_form() -> None:
    values, raised = worked(columns, [{"n": 1}, {"n": 2}, {"n": 3}], "columns")
    assert (values, raised) == ([None, {"n": 2}, None], {2: ("ValueError", "3")})


def test_what_one_process_holds_is_asked_by_its_own_functions() -> None:
    before = inside._loaded
    try:
        inside.load("s", "map", pickle.dumps(abs), True)
        answers = inside.work(pickle.dumps([-1, "x", -2]), 60.0, False)
        assert isinstance(answers, Answers)
        assert pickle.loads(answers.values) == [1, None]  # it stops
    finally:
        inside._loaded = before


# The run's side.


@attrs.define(eq=False)
class Context:
    """In place of trio-parallel's: works here, unless what is to happen to the records says otherwise."""

    happens: Callable[[list[Any]], None] = lambda records: None
    takes: float = 0.0
    chunks: list[int] = attrs.field(factory=list)
    loads: int = 0
    here: Loaded | None = None

    def statistics(self) -> Any:
        return SimpleNamespace(idle_workers=int(self.here is not None))

    async def run_sync(self, fn: Any, *arguments: Any, **options: Any) -> Any:
        assert options.pop("kill_on_cancel")
        assert options.pop("limiter").total_tokens == 1
        assert not options
        if fn is inside.load:
            self.loads += 1
            *told, stops = arguments
            self.here = Loaded(*told, stops=stops)
            await trio.lowlevel.checkpoint()
            return None
        assert self.here is not None
        job, _, in_columns = arguments
        if not in_columns:
            records = pickle.loads(job)
            self.chunks.append(len(records))
            try:
                self.happens(records)
            except BaseException:
                self.here = None
                raise
        await trio.sleep(self.takes)
        return self.here.work(job, 60.0, columns=in_columns)


def worker(context: Any, step: Step | None = None, stops: bool = False, **more: Any) -> StepWorker:
    step = step or step_from(steps.double, name="d", processes=2, **more)
    return StepWorker(step, stops=stops, context=context)


def record(number: int) -> dict[str, int]:
    return {"id": number}


def dies_with(*which: int) -> Callable[[list[Any]], None]:
    def happens(records: list[Any]) -> None:
        if any(each["id"] in which for each in records):
            raise trio_parallel.BrokenWorkerError("died", SimpleNamespace(exitcode=-11))

    return happens


async def test_chunks_grow_while_they_are_quick_and_leave_half_to_the_other_process() -> None:
    context = Context()
    one = worker(context)
    shares = []
    for _ in range(12):
        shares.append(share := one.share(10_000))
        assert len(await one.records([record(n) for n in range(share)])) == share
    assert shares[:4] == [1, 2, 4, 8]
    assert shares[-1] == 512
    assert [one.share(waiting) for waiting in (1, 2, 3, 100)] == [1, 1, 2, 50]
    assert context.loads == 1


async def test_slow_chunks_do_not_grow_and_one_that_was_cut_short_says_how_much_is_right(
    autojump_clock: trio.testing.MockClock,
) -> None:
    context = Context(takes=0.011)
    one = worker(context)
    await one.records([record(1)])
    assert one.share(100) == 1
    one._want = 8
    await one.records([record(n) for n in range(8)])
    assert one.share(100) == 8
    context.takes = 0.0

    async def short(fn: Any, *arguments: Any, **options: Any) -> Any:
        return Answers(pickle.dumps(pickle.loads(arguments[0])[:3]), {})

    one.context = SimpleNamespace(statistics=context.statistics, run_sync=short)
    assert len(await one.records([record(n) for n in range(8)])) == 3
    assert one.share(100) == 3


@pytest.mark.parametrize("count", [2, 64, 100, 200])
async def test_of_a_chunk_that_was_lost_only_the_culprits_fail(count: int) -> None:
    context = Context(dies_with(1, 70))
    one = worker(context)
    results = await one.records([record(n) for n in range(count)])
    assert len(results) == count
    failed = {at: result.error for at, result in enumerate(results) if isinstance(result, Failed)}
    assert sorted(failed) == [n for n in (1, 70) if n < count]
    for error in failed.values():
        assert isinstance(error, WorkerCrashed)
        assert "step 'd': its worker process was killed by SIGSEGV while it worked on it" in str(error)
        assert error.exit_code == -11
    assert max(context.chunks[1:], default=0) <= -(-count // 64)
    assert one.share(10_000) <= 16  # it begins with small ones again


async def test_where_it_stops_the_run_nothing_behind_the_culprit_is_run_again() -> None:
    context = Context(dies_with(3))
    results = await worker(context, stops=True).records([record(n) for n in range(8)])
    assert [isinstance(result, Failed) for result in results] == [False, False, False, True]
    assert sum(context.chunks[1:]) == 4


async def test_a_call_that_takes_too_long_is_given_up_with_its_record(
    autojump_clock: trio.testing.MockClock,
) -> None:
    context = Context(takes=2.0)
    one = worker(context, timeout=1.5)
    (failed,) = await one.records([record(1)])
    assert isinstance(failed.error, WorkerTimeout)
    assert "step 'd': not done within 1.5 s (timeout), its worker process was killed" in str(failed.error)
    context.takes = 1.51  # a chunk has the time of its longest record, and what it may take itself
    assert not any(isinstance(each, Failed) for each in await one.records([record(1), record(2)]))
    (alone,) = await one.records([record(1)])
    assert isinstance(alone, Failed)


async def test_what_a_function_gave_before_it_failed_comes_before_the_failure() -> None:
    one = worker(Context(), step_from(Doubling(), name="e", processes=1))
    first, second = await one.records([record(1), record(0)])
    drawn = []
    with pytest.raises(ValueError, match="after 1") as raised:
        for child in first:
            drawn.append(child)  # noqa: PERF402  - it raises behind them
    assert drawn == [record(1)]
    assert raised.value.__notes__[0].startswith("in a worker process:\nTraceback")
    assert isinstance(second, Failed)


class Doubling:
    def expand(self, each: Any) -> Any:
        for _ in range(each["id"]):
            yield each
        raise ValueError(f"after {each['id']}")


class Batches:
    def process_batch(self, records: Sequence[Any]) -> list[Any]:
        return [KeyError(each["id"]) if each["id"] == 2 else each for each in records]


@pytest.mark.parametrize("context", [None, Context()])
async def test_a_batch_answers_as_in_place(context: Any) -> None:
    one = worker(context, step_from(Batches(), name="b", processes=1))
    first, failed = await one.batch([record(1), record(2)])
    assert (first, type(failed)) == (record(1), KeyError)
    assert "in a worker process" in failed.__notes__[0]


async def test_what_cannot_be_sent_fails_and_what_the_function_raises_comes_as_it_is() -> None:
    one = worker(Context())
    (failed,) = await one.records([{"id": lambda: None}])
    assert isinstance(failed.error, pickle.PicklingError)
    assert "step 'd': the record can't be sent to a worker process" in str(failed.error)
    (raised,) = await one.records([{"no id": 1}])
    assert isinstance(raised, Failed)
    assert isinstance(raised.error, KeyError)


async def test_without_a_process_the_function_is_loaded_once_and_works_in_place() -> None:
    one = worker(None)
    for _ in range(2):
        values = await one.records([record(1), record(2)])
        assert len(values) == 2
    here = one._here
    await one.records([record(1)])
    assert one._here is here


def columnar(context: Any) -> StepWorker:
    return worker(context, step_from(InColumns(), name="c", processes=1))


def ids(*values: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"id": list(values)})


@pytest.mark.parametrize("context", [None, Context()])
async def test_columns_travel_with_what_is_kept_of_them_and_what_failed(context: Any) -> None:
    answer = await columnar(context).columns(ids(48, 49, 50, 51))
    assert answer.data.column("twice").to_pylist() == [100]
    assert answer.kept is not None
    assert answer.kept.to_pylist() == [False, False, True, False]
    assert [(at, str(error)) for at, error in answer.errors.items()] == [(1, "forty-nine")]
    whole = await worker(context and Context(), step_from(Refusing(7), name="r", processes=1)).columns(
        pa.RecordBatch.from_pydict({"n": [1, 2]})
    )
    assert (whole.kept, whole.data.num_rows) == (None, 2)


async def test_rows_of_a_columnar_step_are_asked_in_their_row_form() -> None:
    assert await columnar(None).batch([record(1), record(3)]) == [{"id": 1, "twice": 2}, None]


async def test_a_batch_has_the_time_that_was_said_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    one = worker(Context(takes=1.51), step_from(Batches(), name="b", processes=1, timeout=1.5))
    with pytest.raises(WorkerTimeout, match=r"step 'b': not done within 1\.5 s"):
        await one.batch([record(1), record(3)])


async def test_where_a_failure_stops_the_run_the_process_runs_nothing_behind_it() -> None:
    for context in (None, Context()):
        results = await worker(context, step_from(steps.mixed, name="m", processes=1), stops=True).records(
            [record(number) for number in (1, 2, 3, 4, 5)]
        )
        assert [isinstance(each, Failed) for each in results] == [False, False, True]


async def test_an_exit_in_a_function_is_told_with_its_code() -> None:
    one = worker(None, step_from(steps.by_what_it_says, name="x", processes=1))
    (failed,) = await one.records([{"id": 1, "do": "sys.exit"}])
    assert isinstance(failed.error, WorkerCrashed)
    assert failed.error.exit_code == 4
    assert "step 'x': its function raised SystemExit(4) in a worker process" in str(failed.error)


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        (("died", SimpleNamespace(exitcode=0)), "ended with exit code 0"),
        (("died", SimpleNamespace(exitcode=3)), "ended with exit code 3"),
        (("a process is missing",), "ended with exit code None"),
    ],
)
async def test_how_a_process_ended_is_said(ending: tuple[Any, ...], says: str) -> None:
    def happens(records: list[Any]) -> None:
        raise trio_parallel.BrokenWorkerError(*ending)

    (failed,) = await worker(Context(happens)).records([record(1)])
    assert f"its worker process {says} while it worked on it" in str(failed.error)


async def test_a_process_that_ends_in_order_while_it_loads_is_not_started_again() -> None:
    class Ending(Context):
        async def run_sync(self, fn: Any, *arguments: Any, **options: Any) -> Any:
            self.loads += 1
            await trio.lowlevel.checkpoint()
            raise trio_parallel.BrokenWorkerError("died", SimpleNamespace(exitcode=0))

    context = Ending()
    (failed,) = await worker(context).records([record(1)])
    assert context.loads == 1
    assert "ended with exit code 0 while it loaded the step's function" in str(failed.error)


def test_what_cannot_be_sent_back_says_of_which_step_it_is() -> None:
    _, raised = worked(lambda each: lambda: each, [1])
    assert raised[0][0] == "PicklingError"
    assert "step 's': what it gave can't be sent back from a worker process" in raised[0][1]
