"""Where a batch ends and where a cut falls: the pure half of the source task.

Everything here is synchronous, so that a timer, `stop()` or `checkpoint()` can end a part-filled batch on
the spot while the source's generator is suspended in a fetch. The awaiting half is `reading`.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from itertools import compress

import attrs
import trio

from agora.copying import keep
from agora.deadletter import SOURCE_ENTRY
from agora.middlewares.step import Policy
from agora.records import Malformed, Position, Record
from agora.runtime.batch import Batch, BlockOrigin, Cut, End, Failure, Interlude, Origin, StreamOrigin
from agora.runtime.credits import Credits
from agora.sources.base import Block

__all__ = ["Intake", "IntakeOptions"]

_NEVER = 1 << 62


@attrs.frozen(kw_only=True, eq=False, repr=False)
class IntakeOptions:
    """What decides where batches end."""

    batch_size: int
    checkpoint_every: int | None
    """Records of this run between two cuts; `None`: no cuts by count."""
    cuts: bool
    """Whether there are cuts at all."""
    max_records: int | None
    copies: bool
    """Whether letters will ask for originals that the source can't make again."""
    malformed_policy: Policy


@attrs.define(kw_only=True, eq=False, repr=False)
class Intake:
    """Takes what the source gives, sends batches on. One object a run."""

    options: IntakeOptions
    credits: Credits
    send: Callable[[Batch], None]
    ask_position: Callable[[], Position] | None
    """The source's `checkpoint`, for records that come one by one."""
    ordinal: int
    """Ordinal of the next record that is read."""
    position: Position
    skip: int = 0
    """Records still to be discarded after a resume at a coarse position."""
    read: int = 0
    """Records of this run."""
    granted: int = 0
    """Credits taken from the account and not yet used by a record."""
    ended: End | None = None
    stop_reason: str | None = None
    began: float = 0.0
    """Time (trio's clock) at which the part-filled batch got its first record."""
    on_pending: Callable[[], None] = attrs.field(default=lambda: None)
    """Called when a batch gets its first record."""
    held: list[None] = attrs.field(factory=list)
    """Non-empty while nothing may be taken: behind a cut with an interlude, until `release`. A list, since looking at
    it costs 4 ns a record."""

    _rows: list[Record] = attrs.field(factory=list)
    _copies: list[Record] = attrs.field(factory=list)
    _positions: list[Position] = attrs.field(factory=list)
    _malformed: list[int] = attrs.field(factory=list)
    _place: Callable[[], tuple[Position, int]] | None = None
    _discarded: int = 0
    """Records passed over behind `position`."""
    _cut_at: int = 0
    """`read` at the last cut."""
    _border: int = attrs.field(init=False)
    """`read` at the next border: where a cut falls by count, or reading ends."""
    _last_cut: Cut | None = None
    _deferred: deque[tuple[trio.Event | None, Interlude | None]] = attrs.field(factory=deque)
    """Cuts that were asked for while held: one made there would carry states from the middle of an interlude."""
    _released: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def __attrs_post_init__(self) -> None:
        self._border = self._next_border()

    # What the shell asks.

    def wanted(self) -> int:
        """Credits that the next whole batch takes: a quarter of the limit, so that several batches are on
        their way."""
        return min(self.whole(), self._border - self.read)

    def whole(self) -> int:
        """Records of a whole batch where no border comes before."""
        return max(1, min(self.options.batch_size, self.credits.limit // 4))

    def room(self) -> int:
        """Records that the batch in hand can still take."""
        return min(self.granted, self._border - self.read)

    @property
    def pending(self) -> bool:
        return bool(self._rows)

    @property
    def anything_new(self) -> bool:
        """Whether something was read since the last cut."""
        return self.read > self._cut_at

    @property
    def cut_ahead(self) -> bool:
        """Whether a cut is on its way to the writer."""
        return self._last_cut is not None and not self._last_cut.reached

    def here(self) -> tuple[Position, int]:
        """The position after the last record that was taken, and how many records behind that are to be discarded."""
        position, skip = (self.position, self._discarded) if self._place is None else self._place()
        return position, skip + self.skip

    # What the source gives.

    def take_block(self, block: Block, start: int, count: int) -> None:
        """Send `count` rows of the block, from `start`, as a batch of their own."""
        rows = block.rows[start : start + count]
        copies = [keep(row) for row in rows] if self.options.copies and block.original is None else None
        malformed = block.malformed
        if malformed:
            low, high = bisect_left(malformed, start), bisect_left(malformed, start + count)
            malformed = [position - start for position in malformed[low:high]]
        self._stand(block, start + count)
        self._count(count)
        self._emit(rows, BlockOrigin(block, start, copies), malformed)

    def discard_rows(self, block: Block) -> int:
        """Pass over the first rows of the block, as many as are still to be skipped; their number."""
        count = min(self.skip, len(block.rows))
        if count:
            self.skip -= count
            self._stand(block, count)
        return count

    def discard_record(self) -> None:
        """Pass over a record that is still to be skipped."""
        self.skip -= 1
        self._discarded += 1

    def take_record(self, record: Record) -> bool:
        """Take one record of a generator; True if it ended a batch."""
        if record is None:
            raise TypeError("the source yielded None, which is no record")
        position = None if self.ask_position is None else self.ask_position()
        if not self._rows:
            self.began = trio.current_time()
            self.on_pending()
        if type(record) is Malformed:
            self._malformed.append(len(self._rows))
        self._rows.append(record)
        if self.options.copies:
            self._copies.append(keep(record))
        if self.ask_position is not None:
            self._positions.append(self.position)
            self.position, self._discarded = position, 0
        self._count(1)
        if self.granted == 0 or self.read == self._border:
            self.flush()
            return True
        return False

    def fail(self, error: Exception) -> None:
        """The source itself failed: everything before is sent, then the end of the run."""
        halt = Failure(offset=len(self._rows), stage="source", error=error, policy="stop", entry=None)
        self._send_pending(halt=halt)
        self.ended = "stopped"

    # Borders.

    def flush(self) -> None:
        """Send the part-filled batch, if there is one."""
        if self._rows:
            self._send_pending()

    def cut(self, saved: trio.Event | None = None, interlude: Interlude | None = None) -> None:
        """Cut here: send what is there with a cut behind it, also when nothing is new. With an `interlude`, what
        follows is held until `release`; cuts that are asked for meanwhile are made then."""
        if self.ended is not None:
            return
        if self.held:
            self._deferred.append((saved, interlude))
            return
        cut = self._new_cut(saved)
        cut.interlude = interlude
        if interlude is not None:
            self.held.append(None)
        self._send_pending(cut=cut)

    def release(self) -> None:
        """Go on behind an interlude."""
        self.held.clear()
        while self._deferred and not self.held:
            self.cut(*self._deferred.popleft())
        if not self.held:
            self._released.unpark_all()

    async def until_released(self) -> None:
        """Wait until nothing is held. Not a trio checkpoint where nothing is."""
        while self.held:
            await self._released.park()

    def end(self, end: End, reason: str | None = None) -> None:
        """The last batch, with the last cut if anything is new or the end itself is."""
        if self.ended is not None:
            return
        self.ended, self.stop_reason = end, reason
        cut = None
        if self.options.cuts and (self.anything_new or end == "exhausted"):
            cut = self._new_cut(None)
            cut.completed, cut.final = end == "exhausted", True
        self._send_pending(cut=cut, end=end)

    def close(self) -> None:
        """Whoever asks for a cut or an end from now on is too late."""
        if self.ended is None:
            self.ended = "stopped"

    # Inside.

    def _next_border(self) -> int:
        every, most = self.options.checkpoint_every, self.options.max_records
        border = _NEVER if every is None else self.read + every
        return border if most is None else min(border, most)

    def _stand(self, block: Block, rows: int) -> None:
        """From here on the place is behind the first `rows` of the block; asked for when a cut falls."""
        position = block.position
        if position is not None:
            self._place = lambda: (position(rows), block.skip(rows))

    def _count(self, n: int) -> None:
        self.read += n
        self.ordinal += n
        self.granted -= n

    def _new_cut(self, saved: trio.Event | None) -> Cut:
        self._cut_at = self.read
        position, skip = self.here()
        self._last_cut = Cut(ordinal=self.ordinal, position=position, skip=skip, saved=saved)
        return self._last_cut

    def _send_pending(
        self, *, cut: Cut | None = None, end: End | None = None, halt: Failure | None = None
    ) -> None:
        rows, self._rows = self._rows, []
        copies, self._copies = self._copies, []
        positions, self._positions = self._positions, []
        malformed, self._malformed = self._malformed, []
        kept = copies if self.options.copies else None
        origin = StreamOrigin(rows, kept, positions if self.ask_position is not None else None)
        self._emit(rows, origin, malformed, cut=cut, end=end, halt=halt)

    def _emit(
        self,
        rows: Sequence[Record],
        origin: Origin,
        malformed: Sequence[int],
        *,
        cut: Cut | None = None,
        end: End | None = None,
        halt: Failure | None = None,
    ) -> None:
        if self.read == self._border:
            self._border = self._next_border()
            if self.ended is None and self.read == self.options.max_records:
                self.ended, self.stop_reason, end = "stopped", "max_records", "stopped"
            if cut is None and self.options.cuts and self.anything_new and halt is None:
                cut = self._new_cut(None)
        batch = Batch(
            first=self.ordinal - len(rows),
            count=len(rows),
            rows=rows,
            index=range(len(rows)),
            origin=origin,
            limit=self.credits.limit,
            cut=cut,
            end=end,
        )
        if malformed:
            self._set_aside(batch, malformed)
        if halt is not None and batch.halt is None:
            batch.halt = halt
        self.send(batch)

    def _set_aside(self, batch: Batch, malformed: Sequence[int]) -> None:
        """Turn the rows that couldn't be read into failures."""
        policy = self.options.malformed_policy
        for position in malformed:
            unread: Malformed = batch.rows[position]
            failure = Failure(
                offset=position,
                stage="source",
                error=unread.error,
                policy=policy,
                entry=SOURCE_ENTRY if unread.replayable else None,
                original=unread.original,
            )
            if policy == "stop":
                batch.truncate(position, failure)
                good = [row for row in range(position) if row not in set(malformed)]
                batch.remove([row for row in malformed if row < position], [batch.rows[row] for row in good])
                return
            batch.failures.append(failure)
        read = bytearray(b"\1") * len(batch.rows)
        for position in malformed:
            read[position] = 0
        batch.remove(malformed, list(compress(batch.rows, read)))
