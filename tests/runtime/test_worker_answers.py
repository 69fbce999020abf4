"""What comes back from a worker process, and what a worker that can't begin means: no process is started here."""

import pickle
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import attrs
import process_steps as steps
import pytest
import trio
import trio_parallel

from agora.errors import WorkerCrashed, WorkerError
from agora.middlewares.columnar import StepFaultError
from agora.middlewares.step import step_from
from agora.runtime import worker as inside
from agora.runtime.processes import StepWorker


@attrs.define(eq=False)
class Context:
    """In place of trio-parallel's: each call ends as is said, the last one for all that follow."""

    ends: list[Exception | None]
    calls: list[Callable[..., Any]] = attrs.field(factory=list)
    loaded: bool = False
    fresh: bool = False
    """Whether the next call comes to a process that has no function."""
    answer: inside.Answers | None = None
    """`None`: the records themselves."""

    def statistics(self) -> Any:
        return SimpleNamespace(idle_workers=int(self.loaded))

    async def run_sync(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.calls.append(fn)
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if end is not None:
            raise end
        fresh, self.loaded, self.fresh = self.fresh, True, False
        if fn is inside.load or fresh:
            return None
        return self.answer or inside.Answers(args[0], {})


def died(code: int) -> Exception:
    return trio_parallel.BrokenWorkerError("it died", SimpleNamespace(exitcode=code))


def worker(*ends: Exception | None) -> tuple[StepWorker, Context]:
    context = Context(list(ends))
    return StepWorker(step_from(steps.double, name="d", processes=1), stops=False, context=context), context


async def test_a_worker_that_is_killed_while_it_loads_is_started_again_twice() -> None:
    one, context = worker(died(-9), died(-9), None)
    assert await one.records([{"id": 1}]) == [{"id": 1}]
    assert context.calls == [inside.load] * 3 + [inside.work]


@pytest.mark.parametrize(
    ("end", "starts", "says"),
    [
        (died(-9), 3, "was killed by SIGKILL while it loaded the step's function"),
        (died(-200), 3, "was killed by signal 200 while it loaded"),
        (died(1), 1, "ended with exit code 1 while it loaded"),
        (
            ImportError("no module named steps"),
            1,
            "can't load its function: ImportError: no module named steps",
        ),
    ],
)
async def test_a_function_that_no_worker_can_load_ends_the_run(
    end: Exception, starts: int, says: str
) -> None:
    one, context = worker(end)
    [failed] = await one.records([{"id": 1}, {"id": 2}])
    assert isinstance(failed.error, StepFaultError)
    assert says in str(failed.error)
    assert context.calls == [inside.load] * starts


async def test_an_answer_that_breaks_off_is_a_crash_of_its_record() -> None:
    one, _ = worker(None, EOFError("half of it"))
    [failed] = await one.records([{"id": 1}])
    assert isinstance(failed.error, WorkerCrashed)
    assert "broke off while it worked on it: EOFError: half of it" in str(failed.error)


# Exceptions on their way back.


class Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")


class Disguised(Exception):
    """Comes out of pickle as something else."""

    def __reduce__(self) -> Any:
        return ValueError, ("plain",)


class OnceOnly(Exception):
    """Can be read where it was made, and nowhere else."""

    readable = True

    def __reduce__(self) -> Any:
        return _read, ()


def _read() -> Exception:
    if not OnceOnly.readable:
        raise LookupError("not here")
    return OnceOnly()


def raised(error: BaseException) -> Any:
    def fails(record: Any) -> Any:
        raise error

    loaded = inside.Loaded("s", "map", pickle.dumps(abs), stops=False)
    loaded.function = fails
    answers = loaded.work(pickle.dumps([1]), 1.0, columns=False)
    assert isinstance(answers, inside.Answers)
    assert pickle.loads(answers.values) == [None]
    return answers.raised[0]


def test_an_exception_without_words_is_told_by_its_name() -> None:
    answer = raised(Mute())
    assert (answer.name, answer.text) == ("Mute", "(no message: its __str__ failed)")


def test_an_exception_that_pickle_makes_another_one_of_is_told_in_words() -> None:
    answer = raised(Disguised("true"))
    assert (answer.pickled, answer.name, answer.text) == (None, "Disguised", "true")


@pytest.mark.parametrize(("code", "exit_code"), [(None, 0), (3, 3), ("words", 1)])
def test_the_exit_of_a_function_is_its_records_failure_with_pythons_exit_code(
    code: Any, exit_code: int
) -> None:
    assert raised(SystemExit(code)).exit_code == exit_code
    assert raised(KeyboardInterrupt()).exit_code == 0


async def test_an_exception_that_only_the_worker_can_read_arrives_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = raised(OnceOnly("why"))
    assert answer.pickled is not None
    monkeypatch.setattr(OnceOnly, "readable", False)
    one, context = worker(None)
    context.answer = inside.Answers(pickle.dumps([None]), {0: answer})
    [failed] = await one.records([{"id": 1}])
    assert type(failed.error) is WorkerError
    assert str(failed.error) == "OnceOnly: why"
    assert "in a worker process" in failed.error.__notes__[0]


def test_only_the_answers_that_can_not_be_sent_fail() -> None:
    loaded = inside.Loaded("s", "batch", pickle.dumps(_with_a_lock), stops=False)
    answers = loaded.work(pickle.dumps([1, 2, 3]), 0.0, columns=False)
    assert isinstance(answers, inside.Answers)
    assert pickle.loads(answers.values) == [1, None, 3]
    assert answers.raised[1].name == "PicklingError"


def _with_a_lock(records: Sequence[Any]) -> list[Any]:
    return [(lambda: None) if record == 2 else record for record in records]


def test_a_process_without_a_parent_has_nothing_to_end_with() -> None:
    inside._end_with_parent()  # it would end this process


def test_a_process_that_was_told_of_no_function_says_so() -> None:
    assert inside.work(pickle.dumps([1]), 1.0, False) is None


async def test_a_process_that_took_the_place_of_an_idle_one_is_loaded_before_it_works() -> None:
    one, context = worker(None)
    context.loaded = context.fresh = True
    assert await one.records([{"id": 1}]) == [{"id": 1}]
    assert context.calls == [inside.work, inside.load, inside.work]
