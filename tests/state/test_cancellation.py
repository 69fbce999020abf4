"""What cancellation leaves behind: the change whole or not at all, and a backend that works on."""

import pytest
import trio

from agora.state import MemoryBackend, Put, SQLiteBackend, opened

CHANGES = [Put("n", "a", b"1"), Put("n", "b", b"2"), Put("n", "c", b"3")]


class Interrupter(trio.abc.Instrument):
    """Cancels a scope when its task is about to take its n-th step."""

    def __init__(self, scope, step):
        self.scope, self.step, self.steps = scope, step, 0
        self.task = trio.lowlevel.current_task()

    def task_scheduled(self, task):
        if task is self.task:
            self.steps += 1
            if self.steps == self.step:
                self.scope.cancel()


async def cancelled_at(step, call):
    """Whether `call` was cancelled, and whether it had `step` steps at all."""
    with trio.CancelScope() as scope:
        interrupter = Interrupter(scope, step)
        trio.lowlevel.add_instrument(interrupter)
        try:
            await call()
        finally:
            trio.lowlevel.remove_instrument(interrupter)
    return scope.cancelled_caught, interrupter.steps >= step


async def test_apply_cancelled_at_any_step_happened_whole_or_not_at_all(backend):
    async with opened(backend):
        for step in range(100):
            await backend.apply([Put("n", key, b"old") for key in "abc"])
            with_scope = step == 0
            if with_scope:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await backend.apply(CHANGES)
                assert scope.cancelled_caught
                happened = False
            else:
                cancelled, reached = await cancelled_at(step, lambda: backend.apply(CHANGES))
                happened = not cancelled
            found = [await backend.get("n", key) for key in "abc"]
            assert found == ([b"1", b"2", b"3"] if happened else [b"old"] * 3)
            if step and not reached:
                break
        assert step >= 2


async def test_an_open_that_is_cancelled_leaves_nothing_open(tmp_path):
    for make in (MemoryBackend, lambda: SQLiteBackend(tmp_path / "state.db")):
        for step in range(1, 100):
            backend = make()
            cancelled, reached = await cancelled_at(step, backend.open)
            assert backend.is_open is not cancelled
            if isinstance(backend, SQLiteBackend):
                assert (backend._connection is None) is cancelled
            if backend.is_open:
                await backend.close()
            if not reached:
                break


async def test_close_in_a_cancelled_scope_closes(backend):
    await backend.open()
    with trio.CancelScope() as scope:
        scope.cancel()
        await backend.close()
    assert not backend.is_open


async def test_opened_in_a_scope_cancelled_inside_it_closes(backend):
    with trio.CancelScope() as scope:
        async with opened(backend):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert not backend.is_open


async def test_a_scan_that_is_abandoned_holds_nothing(backend):
    async with opened(backend):
        await backend.apply([Put("n", f"{n}", b"") for n in range(600)])
        with trio.CancelScope() as scope:
            rows = backend.scan("n")
            async for _ in rows:
                scope.cancel()
                await trio.lowlevel.checkpoint()
        await rows.aclose()
        await backend.put("n", "k", b"v")
        assert await backend.get("n", "k") == b"v"


@pytest.mark.parametrize("fails", [False, True])
async def test_a_transaction_block_left_by_cancellation_or_error_changes_nothing(backend, fails):
    async with opened(backend):
        with trio.CancelScope() as scope:
            try:
                async with backend.transaction() as transaction:
                    transaction.put("n", "k", b"v")
                    if fails:
                        raise KeyError("mine")
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
            except KeyError:
                assert fails
        assert await backend.get("n", "k") is None
