"""The life of parts by itself: who is in use, and leaving in reverse, in time, whatever goes wrong; and the shields
with their one deadline. Under a virtual clock that counts as the real one."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from agora import seam
from agora.errors import AgoraError
from agora.runtime.closing import Closing
from agora.runtime.parts import OpenParts, reserved


class Simulated(seam.Seam):
    simulated = True


@pytest.fixture
def clock(autojump_clock: trio.testing.MockClock) -> Iterator[trio.testing.MockClock]:
    with seam.use(Simulated()):
        yield autojump_clock


def context(stage: str) -> Any:
    return SimpleNamespace(stage=stage)


def test_a_part_is_held_by_one_run_until_it_is_over() -> None:
    part, other = [1], [2]
    with reserved("first", [part, other, part]):
        with (
            pytest.raises(
                trio.BusyResourceError, match=r"'second': list is in use by a run of pipeline 'first'"
            ),
            reserved("second", [[3], part]),
        ):
            pass
        with reserved("second", [[3]]):
            pass
    with reserved("second", [part, other]):
        pass


class Living:
    """Notes its life."""

    def __init__(self, told: list[str], name: str, fails: str = "") -> None:
        self.told, self.name, self.fails = told, name, fails

    def _note(self, what: str) -> None:
        self.told.append(f"{what} {self.name}")
        if what == self.fails:
            raise OSError(what)

    @asynccontextmanager
    async def lifespan(self, context: Any) -> AsyncGenerator[None]:
        self._note("enter")
        yield
        self._note("leave")

    def open(self, context: Any) -> None:
        self._note("open")

    async def close(self) -> None:
        self._note("close")


async def lived(enter: Callable[[OpenParts], Awaitable[object]]) -> tuple[list[Exception], list[Exception]]:
    """What went wrong in closing, and what was lost before."""
    lost: list[Exception] = []
    async with trio.open_nursery() as nursery:
        parts = OpenParts(nursery=nursery, closing=Closing(seconds=10.0, grace=1.0), on_lost=lost.append)
        try:
            await enter(parts)
        finally:
            errors = await parts.close()
        nursery.cancel_scope.cancel()
    return errors, lost


async def test_parts_are_left_in_reverse_each_closed_before_its_lifespan_ends(clock: Any) -> None:
    told: list[str] = []

    async def pushed() -> None:
        told.append("pushed")

    async def enter(parts: OpenParts) -> None:
        await parts.enter(Living(told, "a"), context("a"))
        await parts.enter(object(), context("nothing to open"))
        parts.push("p", pushed)
        await parts.enter(Living(told, "b"), context("b"))

    assert await lived(enter) == ([], [])
    assert told == [
        "enter a",
        "open a",
        "enter b",
        "open b",
        "close b",
        "leave b",
        "pushed",
        "close a",
        "leave a",
    ]


@pytest.mark.parametrize(("fails", "left"), [("enter", []), ("open", ["close b", "leave b"])])
async def test_a_part_that_fails_to_open_is_left_as_far_as_it_got(
    clock: Any, fails: str, left: list[str]
) -> None:
    told: list[str] = []

    async def enter(parts: OpenParts) -> None:
        await parts.enter(Living(told, "a"), context("a"))
        with pytest.raises(OSError, match=fails):
            await parts.enter(Living(told, "b", fails), context("b"))

    assert await lived(enter) == ([], [])
    assert told[told.index(f"{fails} b") + 1 :] == [*left, "close a", "leave a"]


async def test_an_error_of_closing_is_named_and_the_rest_is_closed(clock: Any) -> None:
    told: list[str] = []

    async def enter(parts: OpenParts) -> None:
        await parts.enter(Living(told, "a"), context("sink:a"))
        await parts.enter(Living(told, "b", "close"), context("sink:b"))

    errors, _ = await lived(enter)
    assert [(str(error), error.__notes__) for error in errors] == [
        ("close", ["while closing sink:b (Living.close)"])
    ]
    assert told[-3:] == ["leave b", "close a", "leave a"]


async def test_what_a_lifespan_raises_when_it_is_left_or_before_is_told_with_its_place(clock: Any) -> None:
    told: list[str] = []

    async def enter(parts: OpenParts) -> None:
        await parts.enter(Living(told, "a", "leave"), context("sink:a"))

    errors, lost = await lived(enter)
    assert errors == []
    assert [(str(error), error.__notes__) for error in lost] == [("leave", ["in the lifespan of sink:a"])]


async def test_a_lifespan_whose_own_task_fails_is_lost_with_that_error(clock: Any) -> None:
    async def fails() -> None:
        await trio.sleep(1)
        raise KeyError("its own task")

    class Short:
        @asynccontextmanager
        async def lifespan(self, context: Any) -> AsyncGenerator[None]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fails)
                yield

    async def enter(parts: OpenParts) -> None:
        await parts.enter(Short(), context("source"))
        await trio.sleep(2)

    _, (lost,) = await lived(enter)
    assert (type(lost), lost.__notes__) == (KeyError, ["in the lifespan of source"])


async def test_a_lifespan_that_ends_before_it_is_told_to_is_lost(clock: Any) -> None:
    class Gone:
        @asynccontextmanager
        async def lifespan(self, context: Any) -> AsyncGenerator[None]:
            with trio.move_on_after(1):
                yield

    async def enter(parts: OpenParts) -> None:
        await parts.enter(Gone(), context("source"))
        await trio.sleep(2)

    _, (lost,) = await lived(enter)
    assert isinstance(lost, AgoraError)
    assert "the lifespan of source ended before the run" in str(lost)


async def test_ctrl_c_in_closing_comes_out_once_the_rest_is_left(clock: Any) -> None:
    told: list[str] = []

    async def struck() -> None:
        raise KeyboardInterrupt

    async def enter(parts: OpenParts) -> None:
        await parts.enter(Living(told, "a"), context("a"))
        parts.push("b", struck)

    with pytest.raises(BaseExceptionGroup) as raised:
        await lived(enter)
    assert raised.group_contains(KeyboardInterrupt)
    assert told[-2:] == ["close a", "leave a"]


async def test_parts_share_the_time_of_closing_and_each_has_its_grace_in_every_case(clock: Any) -> None:
    ended: list[float] = []

    async def hangs() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time() - began)

    async def enter(parts: OpenParts) -> None:
        for name in ("a", "b", "c"):
            parts.push(name, hangs)

    began = trio.current_time()
    errors, _ = await lived(enter)
    assert [round(time, 3) for time in ended] == [10.0, 11.0, 12.0]
    assert [str(error) for error in errors] == [
        f"{name} hasn't closed within 10 s and was cancelled" for name in ("c", "b", "a")
    ]


async def test_a_lifespan_that_does_not_leave_is_cancelled_at_the_deadline(clock: Any) -> None:
    class Stuck:
        @asynccontextmanager
        async def lifespan(self, context: Any) -> AsyncGenerator[None]:
            yield
            await trio.sleep_forever()

    async def enter(parts: OpenParts) -> None:
        await parts.enter(Stuck(), context("source"))

    began = trio.current_time()
    await lived(enter)
    assert round(trio.current_time() - began, 3) == 10.0


# The shields.


async def test_a_shield_holds_off_a_cancellation_until_closing_has_had_its_time(clock: Any) -> None:
    closing = Closing(seconds=5.0, grace=1.0)
    with trio.CancelScope() as outside:
        outside.cancel()
        with closing.shield() as shield:
            await trio.sleep(100)  # nobody closes yet
            closing.begin()
            began = trio.current_time()
            closing.begin()  # once
            await trio.sleep(100)
    assert shield.cancelled_caught
    assert trio.current_time() - began == 5.0
    with closing.shield() as late:
        await trio.sleep(1)
    assert late.cancelled_caught


async def test_a_limit_ends_with_closing_and_with_what_is_outside(clock: Any) -> None:
    closing = Closing(seconds=5.0)
    with trio.move_on_after(2) as outside, closing.limit() as inside:
        await trio.sleep_forever()
    assert (outside.cancelled_caught, inside.cancelled_caught) == (True, False)
    closing.begin()
    with closing.limit() as inside:
        await trio.sleep_forever()
    assert inside.cancelled_caught
    with closing.limit(until=trio.current_time() + 3) as inside:
        await trio.sleep(2)
    assert not inside.cancelled_caught


async def test_each_further_part_has_until_the_deadline_or_its_grace(clock: Any) -> None:
    closing = Closing(seconds=5.0, grace=2.0)
    assert closing.for_one_more() == trio.current_time() + 2.0
    closing.begin()
    deadline = trio.current_time() + 5.0
    assert closing.for_one_more() == deadline
    await trio.sleep(4)
    assert closing.for_one_more() == trio.current_time() + 2.0


async def test_closing_begins_when_its_watch_is_cancelled(clock: Any) -> None:
    closing = Closing(seconds=5.0)
    async with trio.open_nursery() as nursery:
        await nursery.start(closing.watch)
        nursery.cancel_scope.cancel()
    with closing.shield() as shield:
        await trio.sleep(6)
    assert shield.cancelled_caught


async def test_under_a_clock_that_jumps_closing_has_its_time_in_real_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    closing = Closing(seconds=30.0)
    closing.begin()
    with closing.shield() as shield:
        await trio.sleep(10_000)  # virtual: no part waited so long
    assert not shield.cancelled_caught
    closing.end()
    assert closing._timer is not None
    assert not closing._timer.is_alive()
    Closing().end()  # which never began


async def test_each_part_is_given_its_own_context(clock: Any) -> None:
    given: list[Any] = []

    class Told:
        @asynccontextmanager
        async def lifespan(self, context: Any) -> AsyncGenerator[None]:
            given.append(context)
            yield

        async def open(self, context: Any) -> None:
            given.append(context)

    told = context("a")

    async def enter(parts: OpenParts) -> None:
        await parts.enter(Told(), told)

    await lived(enter)
    assert given == [told, told]
