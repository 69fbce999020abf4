"""What a step's failure leads to, as far as its segment decides it: the hook is told, and `"pass"` is
applied."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from agora.copying import keep
from agora.deadletter import SOURCE_ENTRY, Entry
from agora.errors import WorkerError
from agora.middlewares.columnar import StepFaultError
from agora.middlewares.step import Policy, Step
from agora.records import Record
from agora.runtime.batch import EntryPoint, Failure
from agora.runtime.counting import StageCount
from agora.runtime.states import StepStates
from agora.runtime.stepstate import StateMisuseError

__all__ = ["Failed", "StepRules", "leaf", "maybe_await", "parts"]

_PARTS = 64


@attrs.frozen(eq=False, repr=False)
class Failed:
    """An exception as a result, told apart from an exception that is a record."""

    error: Exception


def parts(count: int, error: Exception) -> list[range]:
    """The parts of `count` rows, which failed together, in which the culprits are looked for: halves; more where each
    further round costs a worker process (see `agora.runtime.processes`)."""
    if not isinstance(error, WorkerError):
        return [range(count // 2), range(count // 2, count)]
    size = -(-count // _PARTS)
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def leaf(error: Any) -> Any:
    """The one exception inside groups of one, as nurseries make them; a group of several stays what it is."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def maybe_await(value: object) -> object:
    """The value, awaited where it is awaitable: hooks may be plain or async."""
    return await value if inspect.isawaitable(value) else value


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StepRules:
    """What the segments of one chain share: counters, the default policy, where replays would start."""

    steps: Sequence[Step]
    default: Policy
    letters: bool
    """Whether there is a dead-letter queue, so that letters need an entry."""
    counts: Mapping[str, StageCount]
    states: StepStates

    def count(self, step: Step) -> StageCount:
        return self.counts[step.stage]

    def marks(self, step: Step) -> bool:
        """Whether a replay must not pass this step again, so that an entry is kept behind it."""
        return self.letters and (step.multiplies or self.states.stateful(step))

    def marking(self, step: Step) -> Callable[[], bool]:
        """`marks` of this step, with all that doesn't change looked up: to be asked for each record."""
        if not self.letters:
            return lambda: False
        if step.multiplies or step.stateful:
            return lambda: True
        return self.states.using(step)

    def may_mark(self, step: Step) -> bool:
        """Whether it can come to that: a step that is given a context can begin to use its state with any
        record."""
        given = any(callable(getattr(step.part, hook, None)) for hook in ("on_start", "lifespan", "open"))
        return self.letters and (given or self.marks(step))

    def policy(self, step: Step, error: Exception) -> Policy:
        """What this failure of the step leads to."""
        return (
            "stop"
            if isinstance(leaf(error), StateMisuseError | StepFaultError)
            else step.on_error or self.default
        )

    def entry_after(self, step: Step, record: Record) -> EntryPoint:
        """The entry of a record that left this step, a copy of it as it is now."""
        place = next(place for place, known in enumerate(self.steps, start=1) if known.name == step.name)
        following = None if place == len(self.steps) else self.steps[place].name
        return Entry(step=following, record=keep(record))

    async def judge(
        self, step: Step, record: Record, error: Exception, *, offset: int, entry: EntryPoint = SOURCE_ENTRY
    ) -> Failure | None:
        """Tell the step's `on_error`, and decide; `None`: the record goes on as it entered the step."""
        error = leaf(error)
        policy = self.policy(step, error)
        hook = getattr(step.part, "on_error", None)
        if callable(hook):
            try:
                await maybe_await(hook(record, error))
            except Exception as raised:  # noqa: BLE001  - an observer that raises ends the run with its own error
                error, policy = raised, "stop"
        self.count(step).failed += 1
        if policy == "pass":
            return None
        return Failure(offset=offset, stage=step.stage, error=error, policy=policy, entry=entry)
