"""`Deduplicate`: drops a record whose key was seen before, exactly, and across crashes.

What was seen is in `context.state`, so that it is saved in the transaction of the checkpoint that covers the
records: no duplicate slips through behind a crash, and none that has to come again is taken for one. A Bloom filter
would need a tenth of the memory and drop records that nobody has seen.
"""

import datetime
import hashlib
import heapq
import math
import uuid
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any, TypeAlias

import attrs
import msgspec
import trio

from agora import seam, tagged
from agora.context import RunContext
from agora.errors import ConfigError
from agora.middlewares.step import is_async_callable
from agora.records import Json, Record

__all__ = ["Deduplicate"]

Key: TypeAlias = Callable[..., Any] | str | Sequence[str]

_KEY = "key"
_AHEAD = "clock"
"""Entries of the state beside those of records, whose texts all begin in another way."""
_TURN = 512
"""Records, or keys, between two turns of the loop."""
_LONGEST = 23
"""Characters of a key's text that are kept as they are: with its header such a text takes 64 bytes."""
_VALUES = (
    str, int, float, type(None), bytes, Decimal, uuid.UUID,
    datetime.date, datetime.time, datetime.timedelta,
)  # fmt: skip


def _checked_key(_: object, __: object, key: Any) -> None:
    if is_async_callable(key):
        raise ConfigError(f"key={key!r}: expected a plain function, this one is async")
    if callable(key) or (isinstance(key, str) and key):
        return
    if isinstance(key, str) or not isinstance(key, Sequence) or not key:
        raise ConfigError(f"key={key!r}: expected a field's name, a list of them, or a function")
    for name in key:
        if not isinstance(name, str):
            raise ConfigError(f"key={key!r}: {name!r} is no field's name")


def _checked_ttl(_: object, __: object, ttl: Any) -> None:
    if ttl is None or (isinstance(ttl, datetime.timedelta) and ttl > datetime.timedelta(0)):
        return
    if not isinstance(ttl, int | float) or isinstance(ttl, bool) or not 0 < ttl < math.inf:
        raise ConfigError(f"ttl={ttl!r}: expected seconds or a timedelta above 0, or None for ever")


@attrs.define(eq=False)
class Deduplicate:
    """Drops a record whose key was seen less than `ttl` before; the time counts from the one that was let through.

    Keys are compared as JSON: `1`, `1.0` and `"1"` are three, `None` is a value as any other. Nothing else is
    approximate; a key of more than 23 characters is kept as its 128-bit BLAKE2 digest. A record without the
    field, or whose function raises, fails by itself (`LookupError`, or what was raised), and follows the
    step's policy. A record that fails in a later step stays seen: its letter replays from behind this one.

    The clock is the machine's, read once a batch, so `ttl` covers the time between runs too. Set back, it
    stands still for the keys that are there: none expires early, and each expires `ttl` later by the new clock
    at the latest. Set ahead, it counts as time gone by.

    Keys are forgotten a few with each record, at latest a 64th of `ttl` late. A key in memory takes 64 bytes and its
    share of a table, about 130 in all.
    """

    key: Key = attrs.field(
        validator=_checked_key,
        metadata={"doc": "what tells records apart: a field, a list of fields, or a function of the record"},
    )
    ttl: float | datetime.timedelta | None = attrs.field(
        default=None,
        validator=_checked_ttl,
        metadata={"doc": "seconds for which a key is remembered; for ever where nothing is given"},
    )
    _text: Callable[[Record], str] = attrs.field(init=False, repr=False)
    _lifetime: int | None = attrs.field(init=False, repr=False)
    """`ttl` in microseconds, in which a time has no rounding."""
    _seen: MutableMapping[str, Any] = attrs.field(init=False, repr=False, factory=dict)
    """By a key's text, the time at which it was let through."""
    _expiry: "Expiry" = attrs.field(init=False, repr=False)
    _latest: int = attrs.field(init=False, repr=False, default=0)
    _ahead: int = attrs.field(init=False, repr=False, default=0)
    """By how much our time is ahead of the clock, since that was set back."""

    def __attrs_post_init__(self) -> None:
        self._text = _text_of(self.key)
        self._lifetime = None if self.ttl is None else _microseconds(self.ttl)
        self._expiry = Expiry(self._lifetime or 1)

    async def on_start(self, context: RunContext) -> None:
        """Take over what earlier runs have seen. A trio checkpoint every 512 keys. `ConfigError`: that was told
        apart by another key."""
        seen: MutableMapping[str, Any] = context.state
        self._seen = seen
        known, fields = seen.get(_KEY), _fields(self.key)
        if len(seen) and known != fields:
            raise ConfigError(
                f"{context.stage} has seen records by {_said(known)} so far, and is now told {_said(fields)}, by which "
                "it can't know them again: give the step another name to begin anew, or start over with restart=True"
            )
        self._expiry = Expiry(self._lifetime or 1)
        self._latest, self._ahead = 0, seen.get(_AHEAD, 0)
        if self._lifetime is None:
            return
        pairs = iter(seen.items())
        latest = 0
        while some := list(islice(pairs, _TURN)):
            for key, at in some:
                if key not in (_KEY, _AHEAD):
                    self._expiry.add(key, at)
                    latest = max(latest, at)
            await trio.lowlevel.checkpoint()
        self._latest = latest

    async def process_batch(self, records: Sequence[Record]) -> list[Record | None | Exception]:
        """One result a record. A trio checkpoint every 512 records."""
        now, lifetime, seen = self._now(), self._lifetime, self._seen
        if _KEY not in seen:
            seen[_KEY] = _fields(self.key)
        results: list[Record | None | Exception] = []
        for number, record in enumerate(records, start=1):
            try:
                key = self._text(record)
            except Exception as error:  # noqa: BLE001  - the step's policy decides
                results.append(error)
                continue
            at = seen.get(key)
            if at is not None and (lifetime is None or now - at < lifetime):
                results.append(None)
            else:
                seen[key] = now
                results.append(record)
                if lifetime is not None:
                    self._expiry.add(key, now)
            if number % _TURN == 0 and number < len(records):
                self._forget(now, 2 * _TURN)
                await trio.lowlevel.checkpoint()
        self._forget(now, 2 * _TURN)
        return results

    def _forget(self, now: int, most: int) -> None:
        """Delete up to so many keys that have expired."""
        if self._lifetime is None:
            return
        for key in self._expiry.due(now, most):
            if now - self._seen.get(key, now) >= self._lifetime:  # it may have been let through again since
                del self._seen[key]

    def _now(self) -> int:
        now = _microseconds(seam.current().now().timestamp()) + self._ahead
        if now < self._latest:
            self._ahead += self._latest - now
            self._seen[_AHEAD] = self._ahead
            now = self._latest
        self._latest = now
        return now


@attrs.define(eq=False)
class Expiry:
    """Keys by the span of time in which they were added: what has expired is found without looking at the rest.

    Filled chunks are tuples of texts, which Python's garbage collector doesn't look into.
    """

    lifetime: int
    _span: int = attrs.field(init=False)
    _spans: dict[int, tuple[list[tuple[str, ...]], list[str]]] = attrs.field(factory=dict)
    _order: list[int] = attrs.field(factory=list)
    """A heap of the spans that there are."""

    def __attrs_post_init__(self) -> None:
        self._span = max(self.lifetime // 64, 1)

    def add(self, key: str, at: int) -> None:
        """A key that expires `lifetime` after `at`."""
        number = at // self._span
        span = self._spans.get(number)
        if span is None:
            span = self._spans[number] = ([], [])
            heapq.heappush(self._order, number)
        chunks, last = span
        last.append(key)
        if len(last) >= _TURN:
            chunks.append(tuple(last))
            last.clear()

    def due(self, now: int, most: int) -> Iterable[str]:
        """Take out keys of spans that have expired as a whole: `most` at least, where there are as many."""
        while most > 0 and self._order and (self._order[0] + 1) * self._span + self.lifetime <= now:
            chunks, last = self._spans[self._order[0]]
            chunk: Sequence[str] = chunks.pop() if chunks else last
            if not chunks and chunk is last:
                del self._spans[heapq.heappop(self._order)]
            most -= len(chunk)
            yield from chunk


def _microseconds(seconds: float | datetime.timedelta) -> int:
    if isinstance(seconds, datetime.timedelta):
        return seconds // datetime.timedelta(microseconds=1)
    return max(round(seconds * 1_000_000), 1)


def _fields(key: Key) -> Json:
    """What is kept of the key's definition: the fields; of a function, that it is one."""
    return "()" if callable(key) else [key] if isinstance(key, str) else list(key)


def _said(fields: Json) -> str:
    if isinstance(fields, list):
        return f"the field{'s' if len(fields) > 1 else ''} {', '.join(map(repr, fields))}"
    return "a function"


def _text_of(key: Key) -> Callable[[Record], str]:
    """A function from a record to its key as a text, equal for equal keys only."""
    if callable(key):
        return lambda record: _text(key(record))
    names = (key,) if isinstance(key, str) else tuple(key)
    if len(names) == 1:
        [name] = names
        return lambda record: _text(_field(record, name))
    return lambda record: _text([_field(record, name) for name in names])


def _field(record: Record, name: str) -> Any:
    try:
        if type(record) is dict or isinstance(record, Mapping):
            return record[name]
        return getattr(record, name)
    except (KeyError, AttributeError):
        raise LookupError(f"the record has no field {name!r}, which tells it from others") from None


def _text(value: Any) -> str:
    kind = type(value)
    if kind is int:
        text = str(value)
    elif kind is str:
        text = "=" + value
    else:
        _check(value)
        text = msgspec.json.encode(tagged.to_jsonable(value), order="sorted").decode()
    if len(text) <= _LONGEST:
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return "#" + b2a_base64(digest, newline=False)[:22].decode()


def _check(value: Any, depth: int = 0) -> None:
    """Refuse what isn't equal to itself once it is written down."""
    if isinstance(value, list | tuple) and depth < 50:
        for inner in value:
            _check(inner, depth + 1)
    elif isinstance(value, dict) and depth < 50:
        for inner in (*value, *value.values()):
            _check(inner, depth + 1)
    elif not isinstance(value, _VALUES):
        raise TypeError(f"a key can't be {value!r:.80}: {type(value).__qualname__} has no form as JSON")
