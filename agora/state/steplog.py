"""State of steps on a backend: for each step a log of rows, of which a cut adds what has changed.

A row a key was weighed against it: keys come in no order that a B-tree likes, so that at ten million keys ten
thousand changes touch ten thousand pages, twice. A log is written at its end, so that a cut costs what has
changed, whatever the size; it is read in large pieces; and it is kept at about twice what is live by taking
its oldest rows away and saving again what in them is still in use, a little with each cut.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import attrs

from agora.errors import StateError
from agora.records import Json
from agora.state.base import Change, Delete, Put, StateBackend
from agora.state.sealed import seal, unseal
from agora.state.transaction import describe

__all__ = ["Place", "StepLog", "read_rows", "removals", "removals_of"]

_FORMAT = b"1"
_ROW_KEYS = 512
"""Changes in a row at most (and as many deletions): a row is decoded without a pause."""
_SLACK = 1_024
"""Out-of-date entries that a small log may hold, so that a state of one key isn't cleaned at each cut."""
_DIGITS = 16
_PARTS = 64


@attrs.frozen
class Place:
    """Which rows hold a step's state: those numbered `first` and on, up to `next`. Kept in the checkpoint."""

    keys: int
    first: int
    next: int

    @classmethod
    def of(cls, saved: Json) -> "Place | None":
        """What a checkpoint's `states[step]` says; `None` where the step had used no mapping."""
        place: Any = saved.get("state") if isinstance(saved, dict) else None
        return None if place is None else cls(**place)

    def saved(self) -> dict[str, Json]:
        """For the checkpoint."""
        return {"keys": self.keys, "first": self.first, "next": self.next}


@attrs.define(eq=False, repr=False)
class StepLog:
    """The rows of one step's state, as of the last cut: pure, it makes changes for a transaction."""

    pipeline: str
    step: str
    first: int = 0
    _rows: deque[tuple[int, tuple[str, ...]]] = attrs.field(factory=deque)
    """Of each row how many entries it has, and the keys that it sets. Tuples of texts: nothing here is looked
    at by Python's garbage collector."""
    _entries: int = 0
    _until: int = 0
    """The rows before this one are to be taken away; there are none while nothing is cleaned."""
    _newer: list[set[str]] = attrs.field(factory=list)
    """While there are, the keys that rows from there on tell of, so that what older ones say of them is out of
    date. In parts, since one large set would stop the loop when it grows."""

    @property
    def next(self) -> int:
        return self.first + len(self._rows)

    def loaded(self, put: Mapping[str, Json], gone: Sequence[str]) -> None:
        """Note a row that was read; in order."""
        self._note(put, gone)

    def append(
        self, put: dict[str, Json], gone: Sequence[str], live: int, current: Callable[[str], Json]
    ) -> list[Change]:
        """Rows for what has changed, and the removal of old ones.

        `live`: how many keys there are now; `current` gives the value of a key, or raises `KeyError`.
        """
        changes = self._clean(put, len(gone), live, current)
        items = list(put.items())
        for start in range(0, max(len(items), len(gone)), _ROW_KEYS):
            part = dict(items[start : start + _ROW_KEYS])
            gone_part = gone[start : start + _ROW_KEYS]
            key = _key(self.step, self.next)
            row = seal(_FORMAT, {"put": part, "gone": list(gone_part)})
            changes.append(Put(_namespace(self.pipeline), key, row))
            self._note(part, gone_part)
        return changes

    def _note(self, put: Mapping[str, Json], gone: Sequence[str]) -> None:
        self._rows.append((len(put) + len(gone), tuple(put)))
        self._entries += len(put) + len(gone)
        if self._newer:
            for keys in (put, gone):
                for key in keys:
                    self._newer[hash(key) % _PARTS].add(key)

    def _clean(
        self, put: dict[str, Json], gone: int, live: int, current: Callable[[str], Json]
    ) -> list[Change]:
        """Once more than half of the log is out of date, take the oldest rows away until a third is, and add to
        `put` what of them holds still. At most about twice as much as has changed, so that no cut pays for those
        before it; what comes meanwhile keeps the log below three times what is live.

        The oldest row's deletions can go with it, since nothing older is left that they would delete.
        """
        if not self._newer and self._entries + len(put) + gone > 2 * live + _SLACK:
            self._until, self._newer = self.next, [set() for _ in range(_PARTS)]
        changes: list[Change] = []
        budget = 2 * (len(put) + gone)
        while self._newer and budget > 0:
            if self.first >= self._until or self._entries + len(put) + gone <= 1.5 * live + _SLACK / 2:
                self._newer = []
                break
            size, keys = self._rows.popleft()
            changes.append(Delete(_namespace(self.pipeline), _key(self.step, self.first)))
            self.first += 1
            self._entries -= size
            budget -= size
            for key in keys:
                if key not in put and key not in self._newer[hash(key) % _PARTS]:
                    try:
                        put[key] = current(key)
                    except KeyError:
                        continue
        return changes


async def read_rows(
    state: StateBackend, pipeline: str, step: str, place: Place
) -> AsyncGenerator[tuple[dict[str, Json], list[str]]]:
    """The rows of a step in order: what each sets, and the keys that it deletes. `StateError`, naming all,
    for one that is missing or damaged."""
    expected = place.first
    prefix = f"{step}:"
    async with aclosing(state.scan(_namespace(pipeline), prefix)) as rows:
        async for key, data in rows:
            if len(key) != len(prefix) + _DIGITS:  # of a step whose name begins like this one's
                continue
            if key != _key(step, expected):
                break
            try:
                row = unseal(_FORMAT, data)
                read = row["put"], row["gone"]
            except (StateError, KeyError, TypeError) as error:
                raise _unreadable(state, pipeline, step, f"row {expected}: {error}") from error
            expected += 1
            yield read
    if expected != place.next:
        raise _unreadable(state, pipeline, step, f"row {expected} of {place.next} is missing")


def removals(pipeline: str, step: str, place: Place) -> list[Delete]:
    """What forgetting a step's state changes."""
    return [Delete(_namespace(pipeline), _key(step, number)) for number in range(place.first, place.next)]


async def removals_of(state: StateBackend, pipeline: str) -> list[Delete]:
    """What forgetting the state of all steps of a pipeline changes. Reads through it: what is to be forgotten
    may be what no checkpoint tells of anymore."""
    async with aclosing(state.scan(_namespace(pipeline))) as rows:
        return [Delete(_namespace(pipeline), key) async for key, _ in rows]


def _namespace(pipeline: str) -> str:
    return f"states:{pipeline}"


def _key(step: str, number: int) -> str:
    return f"{step}:{number:0{_DIGITS}d}"


def _unreadable(state: StateBackend, pipeline: str, step: str, why: str) -> StateError:
    return StateError(
        f"the state of step {step!r} of pipeline {pipeline!r} in {describe(state)} can't be read: {why};"
        " restore the state from a backup, or start over with restart=True"
    )
