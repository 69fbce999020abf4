"""The lease between real processes: killed, frozen, woken."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import trio

from agora.checkpoint import Checkpoint
from agora.errors import PipelineBusy
from agora.state import CheckpointStore, SQLiteBackend, opened
from agora.state.lease import LeaseTimes, acquire

QUICK = LeaseTimes(fresh=0.2, watch=0.4, look=0.02)

HOLDER = """
import os, signal, sys, time, trio
from datetime import UTC, datetime
from agora.checkpoint import Checkpoint
from agora.errors import PipelineBusy
from agora.state import CheckpointStore, SQLiteBackend
from agora.state.lease import acquire

async def main():
    backend = SQLiteBackend(sys.argv[1])
    await backend.open()
    lease = await acquire(backend, "p", "holder")
    print("holds", lease.fence, flush=True)
    while command := (await trio.to_thread.run_sync(sys.stdin.readline)).strip():
        try:
            match command:
                case "save":
                    await CheckpointStore(backend).save("p", Checkpoint(
                        position=None, ordinal=99, source=None, fence=lease.fence, run_id="holder",
                        saved_at=datetime.now(UTC),
                    ))
                case "renew":
                    await lease.renew()
                case "freeze":
                    os.kill(os.getpid(), signal.SIGSTOP)
                case "fork":
                    child = os.fork()
                    if child == 0:
                        time.sleep(60)
                        os._exit(0)
                    print(child, flush=True)
        except PipelineBusy:
            print("refused", flush=True)
        else:
            print("done", flush=True)

trio.run(main)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def holder(path):
    """Another process that holds the lease and renews it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "holds 1\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def tell(process, command) -> None:
    process.stdin.write(command + "\n")
    process.stdin.flush()


async def freeze(process) -> None:
    """Stopped between two commands, so not inside a transaction (which would lock the file for all)."""
    tell(process, "freeze")
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


async def acquire_when_stale(backend, times=QUICK):
    """Refused at once while the holder's last renewal is fresh; then watched."""
    while True:
        try:
            return await acquire(backend, "p", "next", times=times)
        except PipelineBusy:
            await trio.sleep(times.look)


def checkpoint(lease, ordinal):
    return Checkpoint(
        position=None,
        ordinal=ordinal,
        source=None,
        fence=lease.fence,
        run_id="next",
        saved_at=datetime.now(UTC),
    )


async def test_while_another_process_holds_it_it_is_busy_and_after_kill_9_it_is_free_at_once(holder, path):
    async with opened(SQLiteBackend(path)) as backend:
        with pytest.raises(PipelineBusy, match=f"process {holder.pid}"):
            await acquire(backend, "p", "next")
        tell(holder, "save")
        assert holder.stdout.readline() == "done\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        began = trio.current_time()
        lease = await acquire(backend, "p", "next")
        assert trio.current_time() - began < 1
        assert (lease.fence, lease.takeover) == (2, False)
        assert (await CheckpointStore(backend).load("p")).ordinal == 99
        await lease.release()


async def test_a_frozen_holder_is_taken_over_and_saves_nothing_when_woken(holder, path):
    async with opened(SQLiteBackend(path)) as backend:
        await freeze(holder)
        lease = await acquire_when_stale(backend)
        assert (lease.fence, lease.takeover) == (2, True)
        store = CheckpointStore(backend)
        await store.save("p", checkpoint(lease, 1))
        holder.send_signal(signal.SIGCONT)
        assert holder.stdout.readline() == "done\n"  # the freezing
        for command in ("save", "renew"):
            tell(holder, command)
            assert holder.stdout.readline() == "refused\n"
        assert (await store.load("p")).ordinal == 1
        with pytest.raises(PipelineBusy, match="next"):
            await acquire(backend, "p", "third")
        await lease.release()


async def test_a_frozen_holder_that_is_killed_while_watched_is_free_at_once(holder, path):
    async with opened(SQLiteBackend(path)) as backend:
        await freeze(holder)
        leases = []

        async def take():
            leases.append(await acquire_when_stale(backend, LeaseTimes(fresh=0.1, watch=1000, look=0.02)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.sleep(0.3)  # now it is watched, or soon will be: both ways lead to the same end
            holder.kill()
        (lease,) = leases
        assert (lease.fence, lease.takeover) == (2, False)
        await lease.release()


async def test_a_fork_of_a_dead_holder_keeps_its_lock_but_not_its_lease(holder, path):
    tell(holder, "fork")
    child = int(holder.stdout.readline())
    try:
        holder.kill()
        holder.wait()
        async with opened(SQLiteBackend(path)) as backend:
            lease = await acquire_when_stale(backend)
            assert (lease.fence, lease.takeover) == (2, True)
            await lease.release()
    finally:
        os.kill(child, signal.SIGKILL)
