"""One runner at a time: the decision on its own, then leases within one process."""

import contextlib
from datetime import UTC, datetime, timedelta

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

import agora.seam
from agora.errors import PipelineBusy, StateError
from agora.state import MemoryBackend, SQLiteBackend, opened
from agora.state.lease import (
    Busy,
    Free,
    Holder,
    LeaseTimes,
    Takeover,
    Watch,
    acquire,
    decide,
    fence_expectation,
    holder_of,
)
from agora.state.locks import FileLock

from .test_cancellation import cancelled_at

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TIMES = LeaseTimes()
QUICK = LeaseTimes(renew=0.02, fresh=0.05, watch=0.2, look=0.02)
HELD = Holder(fence=3, run_id="r", host="h", pid=1, since=NOON, renewed=NOON)


def decision(holder=HELD, *, lock_free=False, age=0.0, watched=0.0, renewed_meanwhile=False):
    return decide(
        holder,
        lock_free=lock_free,
        now=NOON + timedelta(seconds=age),
        watched=watched,
        renewed_meanwhile=renewed_meanwhile,
        times=TIMES,
    )


@pytest.mark.parametrize("age", [-1000, 0, 14.9, 15, 1000])
def test_never_held_released_or_proven_dead_is_free_at_once_whatever_the_clocks_say(age):
    assert decision(None, lock_free=None, age=age) == Free()
    assert decision(attrs.evolve(HELD, released=True), lock_free=None, age=age) == Free()
    assert decision(lock_free=True, age=age) == Free()


@pytest.mark.parametrize("lock_free", [False, None])
def test_held_and_renewed_within_fifteen_seconds_is_busy_at_once(lock_free):
    for age in (0, 14.9, -14.9):
        assert decision(lock_free=lock_free, age=age) == Busy()


@pytest.mark.parametrize("lock_free", [False, None])
@pytest.mark.parametrize("age", [15, 1000, -1000])
def test_held_but_not_renewed_is_watched_for_thirty_seconds_then_taken_over(lock_free, age):
    watched = 0.0
    while isinstance(step := decision(lock_free=lock_free, age=age, watched=watched), Watch):
        assert 0 < step.seconds <= TIMES.look
        watched += step.seconds
    assert step == Takeover()
    assert watched == pytest.approx(30)


@given(
    st.sampled_from([None, False]),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e6),
)
def test_one_that_renews_while_it_is_watched_is_never_taken_over(lock_free, age, watched):
    assert decision(lock_free=lock_free, age=age, watched=watched, renewed_meanwhile=True) == Busy()


async def test_each_holder_has_a_higher_fence(backend):
    async with opened(backend):
        fences = []
        for run in "abc":
            lease = await acquire(backend, "p", run)
            assert not lease.takeover
            fences.append(lease.fence)
            await lease.release()
        assert fences == [1, 2, 3]


async def test_pipelines_have_leases_of_their_own(backend):
    async with opened(backend):
        for name in ("p", "q", "p/../q", "ä" * 300, "\x00", ""):
            assert (await acquire(backend, name, "r")).fence == 1
            with pytest.raises(PipelineBusy):
                await acquire(backend, name, "r2")
        release_all(backend)


def release_all(backend):
    """As when the process ends: its locks are free."""
    if isinstance(backend, MemoryBackend):
        backend._locked.clear()


@pytest.fixture(autouse=True)
def _close_locks(monkeypatch):
    """Files of locks that a test keeps, as a process that ends would, are closed after it."""
    taken = []
    take = FileLock.take

    def remember(self):
        held = take(self)
        if held:
            taken.append(self)
        return held

    monkeypatch.setattr(FileLock, "take", remember)
    yield
    for lock in taken:
        lock.release()


async def test_a_held_lease_is_refused_naming_its_holder(backend):
    async with opened(backend):
        lease = await acquire(backend, "orders", "run-one")
        with pytest.raises(PipelineBusy, match=r"'orders'.*run-one on .*process \d+, since 20"):
            await acquire(backend, "orders", "run-two")
        await lease.release()
        second = await acquire(backend, "orders", "run-two")
        await second.release()


async def test_two_objects_on_one_file_share_their_leases(tmp_path):
    first, second = SQLiteBackend(tmp_path / "state.db"), SQLiteBackend(tmp_path / "." / "state.db")
    async with opened(first), opened(second):
        lease = await acquire(first, "p", "a")
        with pytest.raises(PipelineBusy):
            await acquire(second, "p", "b")
        await lease.release()
        other = await acquire(second, "p", "b")
        assert other.fence == 2
        await other.release()


async def test_of_many_that_start_at_once_exactly_one_gets_it(backend):
    outcomes = []

    async def start(number):
        try:
            outcomes.append((await acquire(backend, "p", f"{number}")).fence)
        except PipelineBusy:
            outcomes.append(None)

    async with opened(backend):
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(start, number)
        assert sum(fence is not None for fence in outcomes) == 1


async def test_one_that_froze_while_it_started_keeps_nobody_from_running(backend):
    """It has the lock of the next number, and has written no row that could be watched."""

    class Frozen(FailingState):
        async def apply(self, changes):
            self.begun.set()
            await self.wakes.wait()
            await self.backend.apply(changes)

    async with opened(backend):
        state = Frozen(backend)
        state.begun, state.wakes = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def start():
                with pytest.raises(PipelineBusy, match="run next"):
                    await acquire(state, "p", "frozen")

            await state.begun.wait()
            lease = await acquire(backend, "p", "next")
            assert not lease.takeover
            state.wakes.set()
        await lease.renew()
        await lease.release()
        assert (await acquire(backend, "p", "last")).fence > lease.fence


async def test_a_lease_that_is_taken_between_two_looks_at_it_is_busy_at_once(backend):
    class Between(FailingState):
        async def get(self, namespace, key):
            found = await self.backend.get(namespace, key)
            if namespace == "lease.fence" and not self.failing:
                self.failing = True
                await acquire(self.backend, "p", "other")
            return found

        async def apply(self, changes):
            await self.backend.apply(changes)

    async with opened(backend):
        with trio.fail_after(5), pytest.raises(PipelineBusy, match="run other"):
            await acquire(Between(backend), "p", "late")


class Later(agora.seam.Seam):
    """The wall clock an hour on, so that a lease taken just now looks old."""

    def now(self):
        return super().now() + timedelta(hours=1)


async def test_a_silent_holder_is_watched_then_taken_over_and_its_saves_are_refused(backend):
    async with opened(backend):
        frozen = await acquire(backend, "p", "frozen", times=QUICK)
        began = trio.current_time()
        with agora.seam.use(Later()):
            lease = await acquire(backend, "p", "next", times=QUICK)
        assert trio.current_time() - began >= QUICK.watch - QUICK.look
        assert lease.takeover
        assert lease.fence == frozen.fence + 1
        with pytest.raises(PipelineBusy, match="later runner"):
            await frozen.renew()
        with pytest.raises(StateError):
            await backend.apply([fence_expectation("p", frozen.fence)])
        await frozen.release()
        await lease.renew()
        with pytest.raises(PipelineBusy, match="next"):
            await acquire(backend, "p", "third", times=QUICK)
        await lease.release()


async def test_a_holder_that_renews_while_watched_is_busy_though_clocks_differ(backend):
    async with opened(backend), trio.open_nursery() as nursery:
        lease = await acquire(backend, "p", "alive", times=QUICK)
        nursery.start_soon(lease.keep)
        with agora.seam.use(Later()), pytest.raises(PipelineBusy, match="alive"):
            await acquire(backend, "p", "next", times=QUICK)
        nursery.cancel_scope.cancel()
    async with opened(backend):
        await lease.release()


async def test_a_lease_that_is_kept_stays_busy_for_long(backend):
    async with opened(backend), trio.open_nursery() as nursery:
        lease = await acquire(backend, "p", "alive", times=QUICK)
        nursery.start_soon(lease.keep)
        until = trio.current_time() + 3 * QUICK.watch
        while trio.current_time() < until:
            with pytest.raises(PipelineBusy):
                await acquire(backend, "p", "next", times=QUICK)
            await trio.sleep(QUICK.watch / 5)
        nursery.cancel_scope.cancel()


async def test_watching_can_be_cancelled_and_leaves_nothing(backend):
    async with opened(backend):
        lease = await acquire(backend, "p", "frozen")
        with agora.seam.use(Later()), trio.move_on_after(0.05) as scope:
            await acquire(backend, "p", "next")
        assert scope.cancelled_caught
        await lease.renew()
        await lease.release()


async def test_a_watcher_that_was_suspended_itself_does_not_count_that_time(backend):
    class Leaping(Later):
        """A monotonic clock that leaps an hour between any two looks, as after a suspension."""

        hours = 0

        def monotonic(self):
            self.hours += 1
            return self.hours * 3600.0

    async with opened(backend):
        lease = await acquire(backend, "p", "frozen")
        with agora.seam.use(Leaping()), trio.move_on_after(0.1) as scope:
            await acquire(backend, "p", "next", times=LeaseTimes(watch=30, look=0.01))
        assert scope.cancelled_caught
        await lease.release()


async def test_acquire_cancelled_at_any_step_holds_nothing(backend):
    async with opened(backend):
        for step in range(1, 200):
            fences = []

            async def take(fences=fences, step=step):
                fences.append(await acquire(backend, "p", f"{step}"))

            _, reached = await cancelled_at(step, take)
            for lease in fences:
                await lease.release()
            other = await acquire(backend, "p", "check")
            await other.release()
            if not reached:
                break
        assert 4 < step < 199


class FailingState:
    """A backend whose `apply` fails while told to."""

    def __init__(self, backend):
        self.backend, self.failing = backend, False

    def __getattr__(self, name):
        return getattr(self.backend, name)

    async def apply(self, changes):
        if self.failing:
            await trio.lowlevel.checkpoint()
            raise StateError("the disk is gone")
        await self.backend.apply(changes)


async def test_renewing_is_tried_again_and_given_up_before_a_watcher_would_take_over(backend):
    async with opened(backend):
        state = FailingState(backend)
        lease = await acquire(state, "p", "r", times=QUICK)
        state.failing = True
        began = trio.current_time()
        with pytest.raises(StateError, match=r"couldn't be renewed.*the disk is gone"):
            await lease.renew()
        assert trio.current_time() - began <= QUICK.watch
        state.failing = False
        await lease.renew()
        await lease.release()


async def test_a_release_that_cannot_be_written_still_frees_the_lock(backend):
    async with opened(backend):
        state = FailingState(backend)
        lease = await acquire(state, "p", "r")
        state.failing = True
        with pytest.raises(StateError, match="disk is gone"):
            await lease.release()
        following = await acquire(backend, "p", "next")
        assert not following.takeover
        await following.release()


async def test_what_was_released_is_not_renewed(backend):
    async with opened(backend):
        lease = await acquire(backend, "p", "r", times=QUICK)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.keep)  # ends by itself
            await lease.release()
        assert await holder_of(backend, "p") is None
    await lease.renew()  # though the state isn't open any more


async def test_a_renewal_under_way_is_waited_for_by_the_release(backend):
    class Slow(FailingState):
        async def apply(self, changes):
            waits, self.failing = self.failing, False
            if waits:
                self.begun.set()
                await self.goes_on.wait()
            await self.backend.apply(changes)

    async with opened(backend):
        state = Slow(backend)
        state.begun, state.goes_on = trio.Event(), trio.Event()
        lease = await acquire(state, "p", "r")
        state.failing = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease.renew)
            await state.begun.wait()
            nursery.start_soon(lease.release)
            await wait_all_tasks_blocked()
            state.goes_on.set()
        assert await holder_of(backend, "p") is None


async def test_a_renewal_that_fails_behind_a_release_that_was_given_up_fails_nobody(backend):
    class Hanging(FailingState):
        async def apply(self, changes):
            if self.failing:
                self.begun.set()
                await self.goes_on.wait()
                raise StateError("the state is closed")
            await self.backend.apply(changes)

    class MuchLater(agora.seam.Seam):
        def monotonic(self):
            return super().monotonic() + QUICK.watch

    async with opened(backend):
        state = Hanging(backend)
        state.begun, state.goes_on = trio.Event(), trio.Event()
        lease = await acquire(state, "p", "r", times=QUICK)
        state.failing = True
        async with trio.open_nursery() as nursery:
            with agora.seam.use(MuchLater()):
                nursery.start_soon(lease.renew)
            await state.begun.wait()
            with trio.CancelScope() as scope:
                scope.cancel()
                await lease.release()
            state.goes_on.set()


async def test_a_failed_claim_holds_nothing(backend):
    async with opened(backend):
        state = FailingState(backend)
        state.failing = True
        with pytest.raises(StateError, match="disk is gone"):
            await acquire(state, "p", "r")
        lease = await acquire(backend, "p", "next")
        assert lease.fence == 1
        await lease.release()


async def test_released_leases_leave_no_lock_files(tmp_path):
    backend = SQLiteBackend(tmp_path / "state.db")
    async with opened(backend):
        for _ in range(3):
            lease = await acquire(backend, "p", "r")
            with contextlib.suppress(PipelineBusy):
                await acquire(backend, "p", "other")
            await lease.release()
    assert [entry.name for entry in (tmp_path / "state.db.locks").iterdir()] == ["create.lock"]


async def test_under_a_virtual_clock_a_lease_is_renewed_never_and_virtual_time_is_the_tests(
    backend, autojump_clock
):
    async with opened(backend), trio.open_nursery() as nursery:
        lease = await acquire(backend, "p", "r")
        nursery.start_soon(lease.keep)
        await trio.sleep(100_000)
        assert lease._holder.renewals == 0
        await lease.renew()
        nursery.cancel_scope.cancel()


async def test_a_damaged_lease_is_an_error_naming_the_pipeline(backend):
    async with opened(backend):
        lease = await acquire(backend, "orders", "r")
        await lease.release()
        for namespace in ("lease.holder", "lease.fence"):
            await backend.put(namespace, "orders", b"?")
            with pytest.raises(StateError, match="'orders'"):
                await acquire(backend, "orders", "r")


def test_a_lock_whose_file_was_removed_while_waiting_for_it_is_none(tmp_path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.take()
    assert not second.take()
    first.release()
    assert second.take()
    assert not first.take()
    second.release()
    second.release()
    assert not (tmp_path / "lock").exists()
