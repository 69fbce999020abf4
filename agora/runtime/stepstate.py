"""`RunContext.state` of one step: a mapping that knows what has changed since the last cut.

A cut costs what was touched, not what there is. A value that can't change is saved when it is set; one that
can, a list or a dict, also when it was handed out, since it may be changed in place; and for as long as
somebody keeps hold of it, it is looked at again at each cut.
"""

import sys
from collections.abc import ItemsView, Iterator, MutableMapping
from typing import Any

import attrs

from agora import tagged
from agora.copying import keep
from agora.errors import ConfigError
from agora.records import Json
from agora.state.base import Change
from agora.state.steplog import Place, StepLog

__all__ = ["StateMisuseError", "StepState", "UnusableState"]

_SHARDS = 256
"""A dict of ten million keys stops the loop for 0.8 s when it grows, one of 40,000 for 1 ms (measured)."""
_MASK = _SHARDS - 1
_FLUSH = 4_096
"""Changes that wait at most until they are made rows, so that a cut finds few, however far the last one is."""
_DEEPEST = 90
"""Levels of a value; below what `tagged` keeps."""
_ABSENT: Any = object()
_FIXED = frozenset({str, int, float, bool, type(None)})


def _references(table: dict[str, list[Json]], key: str) -> int:
    value = table[key]
    return sys.getrefcount(value)


_ALONE = _references({"": []}, "")
"""What `sys.getrefcount` says in a function like that one of a value that only its dict holds."""


class StateMisuseError(ConfigError):
    """A step used a state that it can't have. No record's fault: whatever the step's policy, the run ends."""


@attrs.frozen
class UnusableState(MutableMapping[str, Json]):
    """In place of a state that couldn't be cut at the right place, or saved; says why when it is used."""

    reason: str

    def _refuse(self) -> StateMisuseError:
        return StateMisuseError(self.reason)

    def __getitem__(self, key: str) -> Json:
        raise self._refuse()

    def __setitem__(self, key: str, value: Json) -> None:
        raise self._refuse()

    def __delitem__(self, key: str) -> None:
        raise self._refuse()

    def __iter__(self) -> Iterator[str]:
        raise self._refuse()

    def __len__(self) -> int:
        raise self._refuse()


class _Items(ItemsView[str, Json]):
    _mapping: "StepState"

    def __iter__(self) -> Iterator[tuple[str, Json]]:
        return self._mapping.pairs()


@attrs.define(eq=False)
class StepState(MutableMapping[str, Json]):
    """One step's mapping, in no particular order. It notes that it is used and what is touched, and can go back
    to what it was before a batch: what is touched is kept first, since a copy of the whole for each batch would
    cost as much as the state is large."""

    step: str
    log: StepLog | None = None
    """Where changes are saved; `None` in a run without checkpoints."""
    used: bool = False
    _shards: list[dict[str, Json]] = attrs.field(factory=lambda: [{} for _ in range(_SHARDS)])
    _changed: dict[str, None] = attrs.field(factory=dict)
    """Keys whose value, none or one that can't change in place, was set since it was last made a row."""
    _loose: dict[str, None] = attrs.field(factory=dict)
    """Keys whose value can change in place and was set or handed out since the last cut."""
    _held: dict[str, bytes] = attrs.field(factory=dict)
    """Keys whose value somebody kept hold of over the last cut, and what was saved of it."""
    _waiting: list[Change] = attrs.field(factory=list)
    """Rows for the next cut."""
    _before: dict[str, Json] | None = None
    """The values, as they were before the batch, of the keys that it touched."""

    # The mapping.

    def __getitem__(self, key: str) -> Json:
        self.used = True
        value = self._shards[hash(key) & _MASK][key]
        if type(value) not in _FIXED:
            self._touch_loose(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """As of any mapping; without an exception for a key that isn't there."""
        self.used = True
        value = self._shards[hash(key) & _MASK].get(key, _ABSENT)
        if value is _ABSENT:
            return default
        if type(value) not in _FIXED:
            self._touch_loose(key)
        return value

    def __setitem__(self, key: str, value: Json) -> None:
        self.used = True
        if type(key) is not str:
            raise StateMisuseError(f"step {self.step!r}: a key of context.state must be text, not {key!r}")
        if self._held:
            self._held.pop(key, None)
        if type(value) in _FIXED:
            if self._shards[hash(key) & _MASK].get(key, _ABSENT) is value:
                return
            self._touch(key)
        else:
            self._check(key, value)
            self._touch_loose(key)
        self._shards[hash(key) & _MASK][key] = value

    def __delitem__(self, key: str) -> None:
        self.used = True
        shard = self._shards[hash(key) & _MASK]
        if key not in shard:
            raise KeyError(key)
        if self._held:
            self._held.pop(key, None)
        self._touch(key)
        del shard[key]

    def clear(self) -> None:
        """Delete every key."""
        for key in list(self):
            del self[key]

    def __contains__(self, key: object) -> bool:
        self.used = True
        return key in self._shards[hash(key) & _MASK]

    def __iter__(self) -> Iterator[str]:
        self.used = True
        for shard in self._shards:
            yield from shard

    def items(self) -> ItemsView[str, Json]:
        """As of any mapping; without a look-up for each key."""
        return _Items(self)

    def pairs(self) -> Iterator[tuple[str, Json]]:
        """What `items()` iterates over."""
        self.used = True
        for shard in self._shards:
            for key, value in shard.items():
                if type(value) not in _FIXED:
                    self._touch_loose(key)
                yield key, value

    def __len__(self) -> int:
        self.used = True
        return self._size

    @property
    def _size(self) -> int:
        return sum(map(len, self._shards))

    # Batches that can be undone.

    def begin(self) -> None:
        """What is touched from now on can be undone."""
        self._before = {}

    def undo(self) -> None:
        """Go back to where `begin` was called."""
        before, self._before = self._before or {}, None
        for key, value in before.items():
            if value is not _ABSENT:
                self[key] = value
            elif key in self:
                del self[key]

    # Saving.

    def load(self, put: dict[str, Json], gone: list[str]) -> None:
        """Take over a saved row; in order, before the first use."""
        assert self.log is not None
        shards = self._shards
        same: Json = None
        for key, value in put.items():
            if type(value) is int and type(same) is int and value == same:
                shards[hash(key) & _MASK][key] = same  # one object, as it was when a step set it: a time, say
            else:
                shards[hash(key) & _MASK][key] = same = value
        for key in gone:
            shards[hash(key) & _MASK].pop(key, None)
        self.log.loaded(put, gone)

    def cut(self) -> tuple[Place | None, list[Change]]:
        """What is to be saved where a cut passes: the place for the checkpoint (`None`: nothing is or was in the
        state), and the changes of rows since the last cut. `StateMisuseError` for a value that isn't JSON."""
        if self.log is None:
            return None, []
        put: dict[str, Json] = {}
        for key in [*self._loose, *(key for key in self._held if key not in self._loose)]:
            self._look_at(key, put)
        self._loose.clear()
        self._flush(put)
        changes, self._waiting = self._waiting, []
        size = self._size
        place = Place(size, self.log.first, self.log.next)
        return (place if size or place.next else None), changes

    def _look_at(self, key: str, put: dict[str, Json]) -> None:
        """Whether the value of this key, which may have been changed in place, is to be saved."""
        value = self._shards[hash(key) & _MASK].get(key, _ABSENT)
        if value is _ABSENT or type(value) in _FIXED:  # then it was set, and is among the changed ones
            return
        held = sys.getrefcount(value) > _ALONE
        self._check(key, value)
        saved, text = self._held.pop(key, None), None
        if held or saved is not None:
            text = tagged.encode(value)
        if held and text is not None:
            self._held[key] = text
        if saved is None or text != saved:
            put[key] = value

    def _touch(self, key: str) -> None:
        if self._before is not None and key not in self._before:
            self._keep_before(key, self._before)
        if self.log is not None:
            if len(self._changed) >= _FLUSH:
                self._flush({})
            self._changed[key] = None

    def _touch_loose(self, key: str) -> None:
        if self._before is not None and key not in self._before:
            self._keep_before(key, self._before)
        if self.log is not None:
            self._loose[key] = None

    def _keep_before(self, key: str, before: dict[str, Json]) -> None:
        shard = self._shards[hash(key) & _MASK]
        before[key] = keep(shard[key]) if key in shard else _ABSENT

    def _flush(self, put: dict[str, Json]) -> None:
        """Make rows of `put` and of what has changed. What may still change in place waits for the cut."""
        assert self.log is not None
        gone = []
        for key in self._changed:
            value = self._shards[hash(key) & _MASK].get(key, _ABSENT)
            if value is _ABSENT:
                gone.append(key)
            elif type(value) in _FIXED:
                put[key] = value
        self._changed.clear()
        if put or gone:
            self._waiting += self.log.append(put, gone, self._size, self._current)

    def _current(self, key: str) -> Json:
        """Its value, for a row that replaces an old one: perhaps in the middle of a change."""
        if key in self._held:
            self._held[key] = b""
        return self._shards[hash(key) & _MASK][key]

    def _check(self, key: str, value: object, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise self._not_json(key, f"it is nested deeper than {_DEEPEST} levels")
        if isinstance(value, dict):
            for name, inner in value.items():
                if not isinstance(name, str):
                    raise self._not_json(key, f"{name!r} is a key in it, which must be text")
                if type(inner) not in _FIXED:
                    self._check(key, inner, depth + 1)
        elif isinstance(value, list):
            for inner in value:
                if type(inner) not in _FIXED:
                    self._check(key, inner, depth + 1)
        elif not isinstance(value, str | int | float):
            raise self._not_json(key, f"{value!r:.80} is of type {type(value).__qualname__}")

    def _not_json(self, key: str, why: str) -> StateMisuseError:
        return StateMisuseError(
            f"step {self.step!r}: context.state[{key!r}] isn't JSON-able (text, numbers, true, false, None, lists "
            f"of them, dicts of them by text): {why}"
        )
