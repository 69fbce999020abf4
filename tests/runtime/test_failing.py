"""What a failure leads to: whose policy decides, who is told, and where the culprits are looked for."""

from typing import Any

import pytest

from agora.deadletter import SOURCE_ENTRY, Entry
from agora.errors import WorkerError
from agora.middlewares.columnar import StepFaultError
from agora.middlewares.step import Step, StepKind, step_from
from agora.runtime.counting import StageCount
from agora.runtime.failing import StepRules, leaf, maybe_await, parts
from agora.runtime.states import StepStates
from agora.runtime.stepstate import StateMisuseError


class Plain:
    def process(self, record: Any) -> Any:
        return record


class Told(Plain):
    def __init__(self, raises: Exception | None = None) -> None:
        self.told: list[tuple[Any, Exception]] = []
        self.raises = raises

    async def on_error(self, record: Any, error: Exception) -> None:
        self.told.append((record, error))
        if self.raises is not None:
            raise self.raises


class Started(Plain):
    def on_start(self, context: Any) -> None: ...


class Living(Plain):
    def lifespan(self, context: Any) -> Any: ...


class Opened(Plain):
    def open(self, context: Any) -> None: ...


class Snapshot(Plain):
    def snapshot(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


def rules_of(*steps: Step, letters: bool = True, default: Any = "skip") -> StepRules:
    return StepRules(
        steps=steps,
        default=default,
        letters=letters,
        counts={step.stage: StageCount() for step in steps},
        states=StepStates(pipeline="p", saves=False),
    )


def double(record: Any) -> Any:
    return [record, record]


def test_the_culprits_of_a_batch_are_looked_for_in_halves() -> None:
    error = ValueError()
    assert parts(5, error) == [range(2), range(2, 5)]
    assert parts(2, error) == [range(1), range(1, 2)]


@pytest.mark.parametrize(("count", "size"), [(64, 1), (65, 2), (128, 2), (129, 3), (3, 1)])
def test_where_a_worker_died_with_them_they_are_looked_for_in_many_parts(count: int, size: int) -> None:
    found = parts(count, WorkerError("died"))
    assert [row for part in found for row in part] == list(range(count))
    assert {len(part) for part in found[:-1]} <= {size}
    assert len(found) <= 64


def test_groups_of_one_are_their_one_error_and_others_stay() -> None:
    error = KeyError()
    assert leaf(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    several = ExceptionGroup("", [error, ValueError()])
    assert leaf(ExceptionGroup("", [several])) is several
    assert leaf(error) is error


async def test_what_can_be_awaited_is() -> None:
    async def later() -> int:
        return 1

    assert (await maybe_await(later()), await maybe_await(2)) == (1, 2)


def test_the_step_s_own_policy_counts_before_the_pipeline_s_and_misuse_ends_the_run() -> None:
    own, other = step_from(Plain(), name="a", on_error="pass"), step_from(Plain(), name="b")
    rules = rules_of(own, other)
    assert (rules.policy(own, ValueError()), rules.policy(other, ValueError())) == ("pass", "skip")
    for error in (StateMisuseError(""), StepFaultError(""), ExceptionGroup("", [StateMisuseError("")])):
        assert rules.policy(own, error) == "stop"


async def test_a_failure_is_told_to_its_step_counted_and_said_with_its_place() -> None:
    part = Told()
    step = step_from(part, name="a", on_error="dead_letter")
    rules = rules_of(step)
    error = ValueError("x")
    for offset in (1, 2):
        failure = await rules.judge(step, f"r{offset}", ExceptionGroup("", [error]), offset=offset)
        assert failure is not None
        assert (failure.offset, failure.stage, failure.error, failure.policy) == (
            offset,
            "middleware:a",
            error,
            "dead_letter",
        )
        assert failure.entry == SOURCE_ENTRY
    entry = Entry(step="a", record="r")
    behind = await rules.judge(step, "r3", error, offset=3, entry=entry)
    assert behind is not None
    assert behind.entry == entry
    assert part.told == [("r1", error), ("r2", error), ("r3", error)]
    assert rules.count(step).failed == 3


async def test_an_observer_that_raises_ends_the_run_with_its_own_error() -> None:
    raised = KeyError("observer")
    step = step_from(Told(raised), name="a", on_error="pass")
    failure = await rules_of(step).judge(step, "r", ValueError(), offset=0)
    assert failure is not None
    assert (failure.error, failure.policy) == (raised, "stop")


async def test_what_may_pass_is_no_failure_but_counts_as_one() -> None:
    step = step_from(Plain(), name="a", on_error="pass")
    rules = rules_of(step)
    assert await rules.judge(step, "r", ValueError(), offset=0) is None
    assert rules.count(step).failed == 1


def test_an_entry_is_kept_behind_steps_that_a_replay_must_not_pass_again_where_there_are_letters() -> None:
    plain, expanding = step_from(Plain(), name="a"), step_from(double, kind=StepKind.EXPAND, name="b")
    stateful = step_from(Snapshot(), name="c")
    for letters in (True, False):
        rules = rules_of(plain, expanding, stateful, letters=letters)
        asked = [(rules.marks(step), rules.marking(step)()) for step in rules.steps]
        assert asked == [(False, False), (letters, letters), (letters, letters)]


@pytest.mark.parametrize(
    ("part", "may"),
    [(Plain(), False), (Started(), True), (Living(), True), (Opened(), True), (Snapshot(), True)],
)
def test_a_step_that_is_given_a_context_can_begin_to_use_its_state_with_any_record(
    part: Any, may: bool
) -> None:
    step = step_from(part, name="a")
    assert rules_of(step).may_mark(step) is may
    assert rules_of(step, letters=False).may_mark(step) is False


def test_the_entry_behind_a_step_is_at_the_next_one_with_a_copy_of_the_record() -> None:
    first, last = step_from(Plain(), name="a"), step_from(Plain(), name="b")
    rules = rules_of(first, last)
    record = {"n": 1}
    entry = rules.entry_after(first, record)
    record["n"] = 2
    assert entry == Entry(step="b", record={"n": 1})
    assert rules.entry_after(last, record) == Entry(step=None, record={"n": 2})
