"""State backends, driven step by step beside the model."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar

import attrs
import trio

from agora.errors import StateError
from agora.state.base import Change, Delete, Expect, ExpectationFailed, Put, StateBackend
from agora.testing.laws import statebackendcase as rules
from agora.testing.laws.base import Breach, Law
from agora.testing.laws.code import Code
from agora.testing.laws.statebackendmodel import Model, Place
from agora.testing.laws.virtual import run_timed

__all__ = ["Machine", "StateSubject", "told"]

T = TypeVar("T")

_FENCE = ("fence", "pipeline")
_VIRTUAL, _REAL = 1.0, 0.5
_MOST_REAL = 4


class _LeftError(Exception):
    """By which a transaction's block is left."""


@attrs.frozen
class StateSubject:
    """The backend that is tried."""

    factory: Callable[[], StateBackend]
    reopen: Callable[[Any], StateBackend] | None
    real_time: bool

    def run(self, main: Callable[..., Awaitable[None]], *args: object) -> None:
        """In a loop of its own."""
        if self.real_time:
            trio.run(main, *args)
        else:
            run_timed(main, *args)

    async def wait(self, units: int) -> None:
        """Let time pass; of the real one, not hours."""
        await trio.sleep(min(units, _MOST_REAL) * _REAL if self.real_time else units * _VIRTUAL)

    def timed(self, changes: Sequence[Change]) -> list[Change]:
        """Their ttl in seconds: half a unit less than it says, so that it never ends just when it is asked for."""
        unit = _REAL if self.real_time else _VIRTUAL
        return [
            attrs.evolve(change, ttl=(change.ttl - 0.5) * unit)
            if isinstance(change, Put) and change.ttl is not None
            else change
            for change in changes
        ]


@attrs.define(eq=False)
class Machine:
    """Objects on one storage, and the model of it. Raises `Breach` with `law` where they differ."""

    subject: StateSubject
    law: Law
    objects: list[StateBackend] = attrs.field(factory=list)
    """Those in use; the first one, where a step doesn't say."""
    model: Model = attrs.field(factory=Model)
    now: int = 0
    """Units that have passed."""
    places: set[Place] = attrs.field(factory=set)
    """All that was ever named: what is compared."""
    numbers: dict[int, int] = attrs.field(factory=dict)
    """The fencing number of each runner."""
    fence: int = 0
    _opened: list[StateBackend] = attrs.field(factory=list)
    """Once for each open that has no close yet."""

    @property
    def backend(self) -> StateBackend:
        return self.objects[0]

    @property
    def count(self) -> int:
        """How often the first object is open."""
        return sum(each is self.backend for each in self._opened)

    # --- their lives ---

    @asynccontextmanager
    async def life(self, objects: int = 1) -> AsyncGenerator[None]:
        """So many objects on one new storage, where there can be more than one; open in the block."""
        self.objects.append(self.subject.factory())
        try:
            for number in range(objects):
                if number and self.subject.reopen is not None:
                    self.objects.append(self.subject.reopen(self.backend))
                if number < len(self.objects):
                    await self.open(self.objects[number])
            yield
        finally:
            with trio.CancelScope(shield=True):
                for each in self._opened:
                    with suppress(Exception):  # what is wrong with it has been said, or is another law's
                        await each.close()

    async def open(self, backend: StateBackend) -> None:
        await self.attempt("open()", backend.open())
        self._opened.append(backend)

    async def close(self, backend: StateBackend) -> None:
        self._opened.remove(backend)
        await self.attempt("close()", backend.close())

    def counted(self) -> None:
        """The first object was opened by someone else."""
        self._opened.append(self.backend)

    def closed(self) -> None:
        """The first object was closed by someone else."""
        self._opened.remove(self.backend)

    async def attempt(self, what: str, call: Awaitable[T]) -> T:
        """Its answer; there is no reason to raise."""
        try:
            return await call
        except Exception as error:
            raise Breach(self.law, f"{what} raised {error!r}") from error

    # --- steps ---

    async def take(self, step: rules.StateStep) -> None:
        """Do it to both, and compare."""
        match step:
            case rules.Wait(units):
                await self.subject.wait(units)
                self.now += units
            case rules.Get(namespace, key):
                self.places.add((namespace, key))
                await self.compare([(namespace, key)], told(step))
            case rules.Scan():
                await self._scan(step)
            case rules.Open():
                await self.open(self.backend)
            case rules.Close():
                if self.count:
                    await self.close(self.backend)
            case rules.Reopen(closing):
                await self._reopen(closing)
            case rules.Take(runner):
                await self._take_number(runner)
            case rules.Save(runner, through):
                if runner in self.numbers:
                    saving: list[Change] = [
                        self._fenced(self.numbers[runner]),
                        Put("n", "saved", b"%d" % runner),
                    ]
                    await self._change(rules.Apply(saving, through), told(step))
            case _:
                await self._change(step, told(step))

    async def _change(self, step: rules.StateStep, what: str) -> None:
        changes = self.name(step)
        error = None
        try:
            await self.perform(step)
        except _LeftError:
            await self.compare(self.places, f"after {what}, whose block was left by an error,")
            return
        except Exception as raised:  # noqa: BLE001  - judged below
            error = raised
        if isinstance(step, rules.Transact):
            self.now += step.waits
        refused = self.model.refused(changes, self.now)
        self._judge(what, error, refused, changes)
        if error is None:
            self.model.apply(changes, self.now)
        await self.compare(self.places, f"after {what}")

    def _judge(
        self, what: str, error: Exception | None, refused: Expect | None, changes: Sequence[Change]
    ) -> None:
        if isinstance(error, StateError) and any(not _is_storable(change) for change in changes):
            return
        if isinstance(error, ExpectationFailed) and error.expectation == refused:
            return
        wanted = "" if refused is None else f"; expected ExpectationFailed for {told(refused)}"
        if error is None and refused is not None:
            raise Breach(self.law, f"{what} was made{wanted}")
        if isinstance(error, ExpectationFailed):
            wanted = wanted or "; all of them hold"
            raise Breach(
                self.law, f"{what} raised ExpectationFailed for {told(error.expectation)}{wanted}"
            ) from error
        if error is not None:
            raise Breach(self.law, f"{what} raised {error!r}{wanted}") from error

    def name(self, step: rules.StateStep) -> Sequence[Change]:
        """The changes of a step; their keys are looked at from now on."""
        changes: Sequence[Change] = ()
        if isinstance(step, rules.Apply | rules.Transact):
            changes = step.changes
        elif isinstance(step, Put | Delete):
            changes = [step]
        self.places |= {(each.namespace, each.key) for each in changes if _is_storable(each)}
        return changes

    async def perform(self, step: rules.StateStep) -> None:
        """Change the backend as a step says. Raises what it raises; `_LeftError` where a block is left by that."""
        match step:
            case rules.Apply(changes, through):
                await self.objects[through % len(self.objects)].apply(self.subject.timed(changes))
            case rules.Transact():
                await self._transact(step)
            case Delete(namespace, key):
                await self.backend.delete(namespace, key)
            case Put():
                [put] = self.subject.timed([step])
                assert isinstance(put, Put)
                await self.backend.put(put.namespace, put.key, put.value, ttl=put.ttl)

    async def _transact(self, step: rules.Transact) -> None:
        async with self.backend.transaction() as transaction:
            for change in self.subject.timed(step.changes):
                match change:
                    case Put(namespace, key, value, ttl):
                        transaction.put(namespace, key, value, ttl=ttl)
                    case Delete(namespace, key):
                        transaction.delete(namespace, key)
                    case Expect(namespace, key, value):
                        transaction.expect(namespace, key, value)
            if step.waits:
                await self.subject.wait(step.waits)
            if self.law.name == "transaction":  # where others run beside it, nobody knows what is there
                await self.compare(self.places, f"in the block of {told(step)}")
            if step.fails:
                raise _LeftError

    async def _scan(self, step: rules.Scan) -> None:
        async with aclosing(self.backend.scan(step.namespace, step.prefix)) as found:

            async def drawn() -> list[tuple[str, bytes]]:
                return [item async for item in found]

            seen = await self.attempt(told(step), drawn())
        expected = self.model.scan(step.namespace, step.prefix, self.now)
        if seen != expected:
            raise Breach(self.law, f"{told(step)} gave {seen!r}; expected {expected!r}")

    async def _reopen(self, closing: bool) -> None:
        assert self.subject.reopen is not None
        before = self.backend
        if closing:
            await self.close(before)
        self.objects[0] = self.subject.reopen(before)
        await self.open(self.backend)
        await self.compare(self.places, "behind the reopening")

    async def _take_number(self, runner: int) -> None:
        changes: list[Change] = [self._fenced(self.fence), Put(*_FENCE, b"%d" % (self.fence + 1))]
        await self._change(rules.Apply(changes, runner), f"taking number {self.fence + 1}")
        self.fence += 1
        self.numbers[runner] = self.fence

    def _fenced(self, number: int) -> Expect:
        return Expect(*_FENCE, b"%d" % number if number else None)

    # --- comparing ---

    async def compare(self, places: Sequence[Place] | set[Place], when: str) -> None:
        """Each of these keys holds what it holds in the model."""
        for namespace, key in sorted(places):
            seen = await self.attempt(f"get({namespace!r}, {key!r})", self.backend.get(namespace, key))
            expected = self.model.get(namespace, key, self.now)
            if seen != expected:
                raise Breach(self.law, f"{when} {key!r} in {namespace!r} is {seen!r}; expected {expected!r}")

    async def content(self) -> dict[Place, bytes]:
        """What the backend holds under all that was named."""
        found = {}
        for namespace, key in sorted(self.places):
            value = await self.attempt(f"get({namespace!r}, {key!r})", self.backend.get(namespace, key))
            if value is not None:
                found[namespace, key] = value
        return found


def told(value: object) -> str:
    """As code, on one line."""
    return " ".join(Code().of(value).split())


def _is_storable(change: Change) -> bool:
    try:
        (change.namespace + change.key).encode()
    except UnicodeEncodeError:
        return False
    return True
