"""One runner per pipeline: a lease in the state backend, with a fencing number that every holder raises.

Two rows: the fence, written once by each holder and expected by each of its saves, so that a stale runner is
refused whatever the clocks say; and the holder, rewritten by every renewal. Beside them the holder keeps a
lock that ends with its process (`agora.state.locks`): free means dead, so that after a crash the next run
starts at once.
"""

import os
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import TypeAlias, cast

import attrs
import trio

import agora.seam
from agora import tagged
from agora.errors import PipelineBusy, StateError
from agora.state.base import Expect, ExpectationFailed, Put, StateBackend
from agora.state.locks import HolderLock

__all__ = [
    "DEFAULT_TIMES",
    "Busy",
    "Decision",
    "Free",
    "Holder",
    "Lease",
    "LeaseTimes",
    "Takeover",
    "Watch",
    "acquire",
    "decide",
    "fence_expectation",
    "holder_of",
]

_FENCES = "lease.fence"
_HOLDERS = "lease.holder"


@attrs.frozen(kw_only=True)
class LeaseTimes:
    """Seconds of the real clock."""

    renew: float = 10
    """Between two renewals."""
    fresh: float = 15
    """A lease renewed within this time is refused at once."""
    watch: float = 30
    """One that isn't is watched for this long, then taken over; a holder that can't renew for so long ends
    itself."""
    look: float = 1
    """Between two looks of a watcher, and two tries of a renewal that failed."""


DEFAULT_TIMES = LeaseTimes()


@attrs.frozen(kw_only=True)
class Holder:
    """Who holds the lease: the row that renewals rewrite."""

    fence: int
    run_id: str
    host: str
    pid: int
    since: datetime
    renewed: datetime
    renewals: int = 0
    released: bool = False
    unsettled: Sequence[str] = ()
    """Names of the sinks that may hold what isn't committed: those of this run until it ends in order, and those of
    runs before it that didn't."""

    def __str__(self) -> str:
        return (
            f"run {self.run_id} on {self.host}, process {self.pid}, since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        )


@attrs.frozen
class Free:
    """Nobody holds it: never held, released, or its holder is proven dead."""


@attrs.frozen
class Busy:
    """Its holder lives."""


@attrs.frozen
class Watch:
    """It may be frozen: look again after `seconds`."""

    seconds: float


@attrs.frozen
class Takeover:
    """Its holder has been silent for its time, but isn't proven dead."""


Decision: TypeAlias = Free | Busy | Watch | Takeover


def decide(
    holder: Holder | None,
    *,
    lock_free: bool | None,
    now: datetime,
    watched: float,
    renewed_meanwhile: bool,
    times: LeaseTimes,
) -> Decision:
    """What a would-be runner does next.

    `lock_free`: whether the holder's lock is free, `None` where the backend has no locks. `now`: the wall
    clock, which only decides whether watching is needed at all. `watched`: seconds of the watcher's own
    monotonic clock since it first saw this holder's row as it is.
    """
    if holder is None or holder.released or lock_free:
        return Free()
    if renewed_meanwhile or (watched == 0 and abs((now - holder.renewed).total_seconds()) < times.fresh):
        return Busy()
    if watched >= times.watch:
        return Takeover()
    return Watch(min(times.look, times.watch - watched))


def fence_expectation(pipeline: str, fence: int) -> Expect:
    """The condition under which a holder of the lease with this number may save."""
    return Expect(_FENCES, pipeline, b"%d" % fence)


async def holder_of(state: StateBackend, pipeline: str) -> Holder | None:
    """Who holds the lease, or held it last and didn't give it back (a crash); on an open backend. `None`: nobody."""
    _, holder = await _read(state, pipeline)
    return None if holder is None or holder.released else holder


async def acquire(
    state: StateBackend,
    pipeline: str,
    run_id: str,
    *,
    sinks: Iterable[str] = (),
    times: LeaseTimes = DEFAULT_TIMES,
) -> "Lease":
    """The lease of this pipeline, on an open backend; `sinks` are the names of those that the run will write to.

    `PipelineBusy` names a holder that lives; one that may be frozen is watched for up to `times.watch`
    seconds, which can be cancelled. Whoever is cancelled or refused holds nothing.
    """
    watch = _Watch(times)
    while True:
        fence, holder = await _read(state, pipeline)
        held = holder is not None and not holder.released
        old = _lock(state, pipeline, fence) if held else None
        lock_free = None if old is None else await _in_thread(old.take)
        try:
            decision = watch.look(holder, lock_free)
            if isinstance(decision, Busy):
                raise PipelineBusy(f"pipeline {pipeline!r} is busy: {holder}; wait for it to end, or stop it")
            if not isinstance(decision, Watch):
                inherited = frozenset(() if holder is None else holder.unsettled)
                claim = _Claim(run_id, frozenset(sinks), inherited, takeover=isinstance(decision, Takeover))
                lease = await _claim(state, pipeline, fence, claim, times)
                if lease is not None:
                    return lease
        finally:
            await _give_back(old)
        if isinstance(decision, Watch):
            await agora.seam.current().sleep(decision.seconds)


@attrs.frozen
class _Claim:
    run_id: str
    sinks: frozenset[str]
    inherited: frozenset[str]
    takeover: bool = attrs.field(kw_only=True)


async def _claim(
    state: StateBackend, pipeline: str, last: int, claim: _Claim, times: LeaseTimes
) -> "Lease | None":
    """The lease with a number after `last`; `None` where another runner was faster.

    Its lock is taken before its row is written: a row whose lock is free means a dead holder, at any moment. Another
    one that is just starting has the lock of one number, and who writes first has the lease: it may have frozen there,
    and then there is no row of it that could be watched.
    """
    seam = agora.seam.current()
    fence = last + 1
    while (lock := _lock(state, pipeline, fence)) is not None and not await _in_thread(lock.take):
        fence += 1
    now = seam.now()
    holder = Holder(
        fence=fence,
        run_id=claim.run_id,
        host=socket.gethostname(),
        pid=os.getpid(),
        since=now,
        renewed=now,
        unsettled=sorted(claim.inherited | claim.sinks),
    )
    began = seam.monotonic()
    try:
        await state.apply(
            [
                Expect(_FENCES, pipeline, b"%d" % last if last else None),
                Put(_FENCES, pipeline, b"%d" % holder.fence),
                Put(_HOLDERS, pipeline, _encode(holder)),
            ]
        )
    except ExpectationFailed:
        await _give_back(lock)
        return None
    except BaseException:
        await _give_back(lock)
        raise
    return Lease(state, pipeline, holder, lock, times, began, claim.takeover, claim.inherited)


@attrs.define(eq=False)
class Lease:
    """Held from `acquire` to `release`; `keep` runs in a task of the holder's nursery meanwhile."""

    _state: StateBackend
    _pipeline: str
    _holder: Holder
    _lock: HolderLock | None
    _times: LeaseTimes
    _renewed: float
    """Seconds of the real monotonic clock, taken before the last renewal that succeeded began."""
    takeover: bool
    """Whether the holder before wasn't proven dead: it may wake and write to what it has open."""
    inherited: frozenset[str]
    """Names of the sinks that runs before this one left with what may not be committed."""
    _released: bool = attrs.field(default=False, init=False)
    _writing: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    """A renewal that is under way when the lease is given back must not come behind that."""

    @property
    def fence(self) -> int:
        """The fencing number, 1 or more; higher than that of every holder before."""
        return self._holder.fence

    async def check(self) -> None:
        """`PipelineBusy` where a later runner has taken over. A trio checkpoint."""
        if await self._state.get(_FENCES, self._pipeline) != b"%d" % self.fence:
            raise PipelineBusy(
                f"pipeline {self._pipeline!r}: a later runner has taken over from this run"
                f" ({self._holder.run_id}, fence {self.fence})"
            )

    def settle(self, unsettled: Iterable[str]) -> None:
        """What `release` will say: these sinks, and no others, may hold what isn't committed."""
        self._holder = attrs.evolve(self._holder, unsettled=sorted(unsettled))

    async def keep(self) -> None:
        """Renew until cancelled or released. `PipelineBusy`: a later runner has taken over; `StateError`: renewing
        failed for long."""
        while not self._released:
            await agora.seam.current().sleep(self._times.renew)
            await self.renew()

    async def renew(self) -> None:
        """Renew now, unless it is released; retried while it fails, for as long as a watcher would wait. Errors as
        of `keep`."""
        seam = agora.seam.current()
        while not self._released:
            began = seam.monotonic()
            try:
                await self._write_renewal(seam.now())
            except ExpectationFailed as error:
                raise PipelineBusy(
                    f"pipeline {self._pipeline!r}: a later runner has taken over from this run"
                    f" ({self._holder.run_id}, fence {self.fence}), which had not renewed its lease for"
                    f" {began - self._renewed:.0f} s"
                ) from error
            except StateError as error:
                await self._try_later(error)
            else:
                self._renewed = began
                return

    async def _try_later(self, error: StateError) -> None:
        if self._released:  # `release` tells its own error, and the state may be closed by now
            return
        silent = agora.seam.current().monotonic() - self._renewed
        if silent + self._times.look >= self._times.watch:
            raise StateError(
                f"the lease of pipeline {self._pipeline!r} couldn't be renewed for {silent:.0f} s: {error}"
            ) from error
        await agora.seam.current().sleep(self._times.look)

    async def release(self) -> None:
        """Give it back, so that the next run starts at once. The caller shields it.

        A lease that was taken over is left to its new holder. `StateError` when the row can't be written; the
        lock is given back all the same, so that the next run finds its holder dead.
        """
        self._released = True
        try:
            async with self._writing:
                await self._write(attrs.evolve(self._holder, released=True))
        except ExpectationFailed:
            pass  # a later runner holds it: nothing of it is ours
        finally:
            lock, self._lock = self._lock, None
            await _give_back(lock)

    async def _write_renewal(self, now: datetime) -> None:
        async with self._writing:
            if not self._released:
                self._holder = attrs.evolve(self._holder, renewed=now, renewals=self._holder.renewals + 1)
                await self._write(self._holder)

    async def _write(self, holder: Holder) -> None:
        await self._state.apply(
            [fence_expectation(self._pipeline, self.fence), Put(_HOLDERS, self._pipeline, _encode(holder))]
        )


@attrs.define
class _Watch:
    """What a would-be runner has seen so far."""

    _times: LeaseTimes
    _first: Holder | None = attrs.field(default=None, init=False)
    _looked: float | None = attrs.field(default=None, init=False)
    _watched: float = attrs.field(default=0, init=False)

    def look(self, holder: Holder | None, lock_free: bool | None) -> Decision:
        seam = agora.seam.current()
        moment = seam.monotonic()
        if self._looked is None:
            self._first = holder
        else:  # a watcher that was itself suspended between two looks hasn't watched meanwhile
            self._watched += min(moment - self._looked, 2 * self._times.look)
        self._looked = moment
        return decide(
            holder,
            lock_free=lock_free,
            now=seam.now(),
            watched=self._watched,
            renewed_meanwhile=holder != self._first,
            times=self._times,
        )


_READS = 5
"""Tries to get both rows as one change left them; in a state that somebody has repaired by hand they may differ."""


async def _read(state: StateBackend, pipeline: str) -> tuple[int, Holder | None]:
    fence, holder = await _read_both(state, pipeline)
    for _ in range(_READS):
        if holder is None or holder.fence == fence:
            break
        fence, holder = await _read_both(state, pipeline)
    return fence, holder


async def _read_both(state: StateBackend, pipeline: str) -> tuple[int, Holder | None]:
    fence = await state.get(_FENCES, pipeline)
    row = await state.get(_HOLDERS, pipeline)
    try:
        return (0 if fence is None else int(fence)), (None if row is None else Holder(**tagged.decode(row)))
    except (StateError, ValueError, TypeError) as error:
        raise StateError(
            f"the lease of pipeline {pipeline!r} in {state.identity()} can't be read: {error};"
            " restore the state from a backup"
        ) from error


def _encode(holder: Holder) -> bytes:
    return tagged.encode(attrs.asdict(holder))


def _lock(state: StateBackend, pipeline: str, fence: int) -> HolderLock | None:
    """The lock of one holder: each has its own, since a frozen one never gives its lock back."""
    make = cast("Callable[[str], HolderLock] | None", getattr(state, "holder_lock", None))
    if make is None:
        return None
    digest = blake2b(pipeline.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return make(f"{re.sub(r'[^A-Za-z0-9_-]+', '-', pipeline)[:40]}-{digest}.{fence}")


async def _in_thread(take: Callable[[], bool]) -> bool:
    try:
        return await agora.seam.current().in_thread(take)
    except OSError as error:
        raise StateError(f"the lock of a lease can't be taken: {error}") from error


async def _give_back(lock: HolderLock | None) -> None:
    if lock is not None:
        with trio.CancelScope(shield=True):
            await agora.seam.current().in_thread(lock.release)
