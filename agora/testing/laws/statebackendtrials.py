"""How each law of state backends is tried."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial

import attrs
import trio
from trio.testing import assert_checkpoints

from agora.state.base import Change, Delete, Expect, ExpectationFailed, Put, StateBackend
from agora.testing.laws import statebackendcase as rules
from agora.testing.laws import statebackendlaws as laws
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.statebackendcase import StateCase, StateStep
from agora.testing.laws.statebackendmodel import Model, Place
from agora.testing.laws.statebackendrun import Machine, StateSubject, told
from agora.testing.laws.stepping import Stepper
from agora.testing.simulation.scheduling import seeded_scheduling

__all__ = ["StateTrials"]

_SUSPENSIONS = 12
"""More than this are not tried of one call."""

_Answers = dict[int, list[object]]
"""By task, what each of its steps gave."""


@attrs.frozen
class StateTrials:
    """One method a law, or several that are alike; each runs one case, and raises `Breach`."""

    subject: StateSubject

    def sequence(self, law: Law, objects: int = 1) -> Callable[[StateCase], None]:
        """Steps one after the other, compared with the model."""

        async def run(tried: StateCase) -> None:
            machine = Machine(self.subject, law)
            async with machine.life(objects):
                for step in tried.steps:
                    await machine.take(step)

        return partial(self.subject.run, run)

    def opening(self, tried: StateCase) -> None:
        self.subject.run(self._opening, tried)

    def identity(self, tried: StateCase) -> None:
        self.subject.run(self._identity)

    def concurrency(self, tried: StateCase) -> None:
        self.subject.run(self._concurrency, tried)

    def cancellation(self, tried: StateCase) -> None:
        """At each suspension in turn, until there are no more."""
        if tried.cancel_at is not None:
            self.subject.run(self._cancellation, tried, [])
            return
        for at in range(1, _SUSPENSIONS):
            one, suspensions = attrs.evolve(tried, cancel_at=at), list[int]()
            try:
                self.subject.run(self._cancellation, one, suspensions)
            except Breach as breach:
                raise Breach(breach.law, breach.seen, one) from breach.__cause__
            if suspensions[0] < at:
                return

    def checkpoints(self, tried: StateCase) -> None:
        self.subject.run(self._checkpoints)

    async def _opening(self, tried: StateCase) -> None:
        machine = Machine(self.subject, laws.OPENING)
        async with machine.life(0):
            _require_open(machine, "at first")
            for step in tried.steps:
                if isinstance(step, Put) and not machine.count:
                    continue
                await machine.take(step)
                _require_open(machine, f"after {told(step)}")
                if machine.count:
                    await machine.compare(machine.places, f"after {told(step)}")
                else:
                    machine.places.clear()  # whether it outlives the last close is another law's

    async def _identity(self) -> None:
        one, other = Machine(self.subject, laws.IDENTITY), Machine(self.subject, laws.IDENTITY)
        async with one.life(2), other.life(1):
            found = [each.identity() for each in one.objects]
            if len(set(found)) > 1:
                raise Breach(laws.IDENTITY, f"two objects on one storage: {found[0]!r} and {found[1]!r}")
            if other.backend.identity() in found:
                raise Breach(laws.IDENTITY, f"two storages: {found[0]!r} is the identity of both")

    async def _checkpoints(self) -> None:
        machine = Machine(self.subject, laws.CHECKPOINTS)
        async with machine.life(1):
            backend = machine.backend
            put = Put("n", "a", b"1")
            await _require_checkpoint("put", partial(backend.put, "n", "a", b"1"))
            await _require_checkpoint("get", partial(backend.get, "n", "a"))
            await _require_checkpoint("scan", partial(_first, backend))
            await _require_checkpoint("apply", partial(backend.apply, [put]))
            await _require_checkpoint("a transaction", partial(machine.perform, rules.Transact([put])))
            await _require_checkpoint("delete", partial(backend.delete, "n", "a"))
            await _require_checkpoint("open", partial(machine.open, backend))
            await _require_checkpoint("close", partial(machine.close, backend))

    # --- cancellation ---

    async def _cancellation(self, tried: StateCase, suspensions: list[int]) -> None:
        machine = Machine(self.subject, laws.CANCELLATION)
        async with machine.life(1):
            *before, last = tried.steps
            for step in before:
                if machine.count or isinstance(step, rules.Open):
                    await machine.take(step)
            if not machine.count and not isinstance(last, rules.Open):
                await machine.open(machine.backend)
            if before and not isinstance(before[-1], rules.Open | rules.Close):
                await machine.compare(machine.places, "before the cancellation")
            tasks = trio.lowlevel.current_statistics().tasks_living
            suspensions.append(await self._cancelled(machine, last, tried.cancel_at))
            if machine.count:
                await machine.take(Put("n", "next", b"1"))
            left = trio.lowlevel.current_statistics().tasks_living - tasks
            if left > 0:
                raise Breach(laws.CANCELLATION, f"{told(last)}, cancelled, left {left} tasks running")
            while machine.count:
                await machine.close(machine.backend)
            _require_open(machine, f"{told(last)}, cancelled; after the last close")

    async def _cancelled(self, machine: Machine, step: StateStep, at: int | None) -> int:
        """How many suspensions there were."""
        stepper, finished = Stepper(cancel_at=at), False
        with stepper.scope:
            try:
                await stepper.drive(_call(machine, step), told(step))
            except Exception as error:
                raise Breach(laws.CANCELLATION, f"{told(step)}, cancelled, raised {error!r}") from error
            finished = True
        what = f"{told(step)}, cancelled at suspension {at},"
        if stepper.swallowed:
            raise Breach(laws.CANCELLATION, "; ".join(stepper.swallowed))
        if isinstance(step, rules.Open):
            if finished:
                machine.counted()
            _require_open(machine, what)
        elif isinstance(step, rules.Close):
            machine.closed()
            _require_open(machine, what)
        else:
            await _require_whole(machine, step, what, finished=finished)
        return stepper.suspensions

    # --- concurrency ---

    async def _concurrency(self, tried: StateCase) -> None:
        machine = Machine(self.subject, laws.CONCURRENCY)
        async with machine.life(2):
            for step in tried.steps:
                await machine.take(step)
            for each in tried.tasks:
                for step in each:
                    machine.name(step)
            stepper = Stepper(waits=tried.waits)
            answers: _Answers = {number: [] for number in range(len(tried.tasks))}
            with seeded_scheduling(tried.order):
                async with trio.open_nursery() as nursery:
                    for number, steps in enumerate(tried.tasks):
                        nursery.start_soon(_task, machine, steps, stepper, answers[number])
            content = await machine.content()
        if not _serial(machine.model, tried.tasks, answers, content, machine.now):
            gave = "\n".join(
                f"task {number}: {told(step)} gave {answer}"
                for number, steps in enumerate(tried.tasks)
                for step, answer in zip(steps, answers[number], strict=True)
            )
            raise Breach(
                laws.CONCURRENCY, f"in no order one after the other:\n{gave}\nand behind it {content!r}"
            )


async def _task(
    machine: Machine, steps: Sequence[StateStep], stepper: Stepper, answers: list[object]
) -> None:
    for step in steps:
        answer = await stepper.drive(_answer(machine, step), told(step))
        answers.append(answer)


async def _answer(machine: Machine, step: StateStep) -> object:
    """What a step gives: a value, the expectation that failed, or nothing."""
    if isinstance(step, rules.Get):
        return await machine.attempt(told(step), machine.backend.get(step.namespace, step.key))
    try:
        await machine.perform(step)
    except ExpectationFailed as failed:
        return failed.expectation
    except Exception as error:
        raise Breach(laws.CONCURRENCY, f"{told(step)} raised {error!r}") from error
    return None


def _serial(
    model: Model,
    tasks: Sequence[Sequence[StateStep]],
    answers: _Answers,
    content: dict[Place, bytes],
    now: float,
) -> bool:
    """Whether some order of all steps gives these answers and this content."""
    return _continues(
        model, [list(zip(steps, answers[i], strict=True)) for i, steps in enumerate(tasks)], content, now
    )


def _continues(
    model: Model, rest: Sequence[Sequence[tuple[StateStep, object]]], content: dict[Place, bytes], now: float
) -> bool:
    if not any(rest):
        return dict(model.live(now)) == content
    for number, steps in enumerate(rest):
        if not steps:
            continue
        (step, answer), *others = steps
        after = model.copy()
        if _modelled(after, step, now) == answer and _continues(
            after, [*rest[:number], others, *rest[number + 1 :]], content, now
        ):
            return True
    return False


def _modelled(model: Model, step: StateStep, now: float) -> object:
    if isinstance(step, rules.Get):
        return model.get(step.namespace, step.key, now)
    return model.try_apply(_changes_of(step), now)


def _changes_of(step: StateStep) -> Sequence[Change]:
    if isinstance(step, rules.Apply | rules.Transact):
        return step.changes
    assert isinstance(step, Put | Delete | Expect)
    return [step]


# --- what must hold ---


async def _call(machine: Machine, step: StateStep) -> None:
    if isinstance(step, rules.Open):
        await machine.backend.open()
    elif isinstance(step, rules.Close):
        await machine.backend.close()
    else:
        await machine.perform(step)


def _require_open(machine: Machine, when: str) -> None:
    if machine.backend.is_open != (machine.count > 0):
        raise Breach(
            machine.law,
            f"{when} is_open is {machine.backend.is_open}, with {machine.count} open() that have no close() yet",
        )


async def _require_whole(machine: Machine, step: StateStep, what: str, *, finished: bool) -> None:
    changes = machine.name(step)
    after = machine.model.copy()
    after.apply(changes, machine.now)
    content = await machine.content()
    whole, none = dict(after.live(machine.now)), dict(machine.model.live(machine.now))
    if content == whole:
        machine.model = after
    elif finished or content != none:
        allowed = f"{whole!r}" if finished else f"{whole!r} or {none!r}"
        raise Breach(laws.CANCELLATION, f"{what} left {content!r}; expected {allowed}")


async def _require_checkpoint(what: str, call: Callable[[], object]) -> None:
    try:
        with assert_checkpoints():
            await call()  # type: ignore[misc]  # what it gives is awaitable
    except AssertionError as error:
        raise Breach(laws.CHECKPOINTS, f"{what} returned without a checkpoint") from error


async def _first(backend: StateBackend) -> None:
    async with aclosing(backend.scan("n")) as found:
        await anext(found)
