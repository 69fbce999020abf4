"""A dead-letter queue in a state backend, so that letters are saved in the transaction of their checkpoint.

A letter's row is found from its id alone, by calculation: writing, removing and reading in stream order need
neither an index nor a look-up, and both changes can ride in a barrier's transaction (`changes`, `removals`).
"""

import re
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any

import attrs

from agora import tagged
from agora.deadletter import DLQRecord, Entry, entry_fields
from agora.errors import StateError
from agora.state.base import Delete, Put, StateBackend
from agora.state.transaction import describe, opened

__all__ = ["StateDLQSink"]

_FIELDS = tuple(field.name for field in attrs.fields(DLQRecord))
_OTHERS = "dlq.other"
_ID = re.compile(
    r"(?P<pipeline>.+):(?P<ordinal>[0-9]{1,20})(?:\.(?P<nth>[0-9]{1,10}))?:(?P<digest>[0-9a-f]{12})",
    re.DOTALL,
)


@attrs.define(eq=False)
class StateDLQSink:
    """Keeps letters in a backend; one that isn't open is opened for the length of each call.

    The same id twice is one letter, the later one. Ids that `agora.deadletter.letter_id` makes are read in
    stream order page by page; letters with other ids are kept too, and those of one pipeline are sorted in
    memory when read.
    """

    state: StateBackend = attrs.field(
        metadata={"doc": "The backend; the checkpoints' own, for letters in their transaction."}
    )

    async def open(self, context: object = None) -> None:
        """Open the backend (counted)."""
        del context
        await self.state.open()

    async def close(self) -> None:
        """Close the backend (counted)."""
        await self.state.close()

    async def write(self, records: Sequence[DLQRecord]) -> None:
        """Keep all of these, durably, or raise `StateError` and keep none."""
        if records:
            async with opened(self.state):
                await self.state.apply(self.changes(records))

    async def read(
        self,
        pipeline: str,
        *,
        ids: Collection[str] | None = None,
        stage: str | None = None,
        error_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        classes: Iterable[type] = (),
    ) -> AsyncGenerator[DLQRecord]:
        """This pipeline's letters that match all that is given, in the order of their ordinals; `limit` of
        them at most.

        `error_type`: the qualified name, or its last part. `since` ≤ the time of failure < `until`, both
        aware. `classes`: see `agora.tagged.decode`. Letters written meanwhile may come or not. `StateError`:
        one is damaged.
        """
        known = tuple(classes)
        if limit is not None and limit <= 0:
            return
        async with opened(self.state), aclosing(self._rows(pipeline, ids)) as rows:
            async for key, data in rows:
                letter = self._decode(key, data, known)
                if (
                    letter.pipeline == pipeline
                    and (stage is None or letter.stage == stage)
                    and (
                        error_type is None
                        or error_type in (letter.error_type, letter.error_type.rpartition(".")[2])
                    )
                    and (since is None or letter.failed_at >= since)
                    and (until is None or letter.failed_at < until)
                ):
                    yield letter
                    if limit is not None:
                        limit -= 1
                        if limit == 0:
                            return

    async def delete(self, ids: Iterable[str]) -> None:
        """Remove these letters, all at once; ids that aren't there are no error."""
        async with opened(self.state):
            await self.state.apply(self.removals(ids))

    async def count(self, pipeline: str) -> int:
        """How many letters of this pipeline there are. Reads through them."""
        found = 0
        async with opened(self.state), aclosing(self._rows(pipeline, None)) as rows:
            async for _ in rows:
                found += 1
        return found

    def changes(self, records: Iterable[DLQRecord]) -> list[Put]:
        """What `write` would change, for a transaction of this backend."""
        return [Put(*_place(record.id), _encode(record)) for record in records]

    def removals(self, ids: Iterable[str]) -> list[Delete]:
        """What `delete` would change, for a transaction of this backend."""
        return [Delete(*_place(letter)) for letter in ids]

    async def removals_of(self, pipeline: str) -> list[Delete]:
        """What removing all letters of this pipeline would change. Reads through them; they aren't decoded where
        their ids tell whose they are."""
        removals = []
        async with opened(self.state):
            async with aclosing(self.state.scan(_namespace(pipeline))) as rows:
                async for key, _ in rows:
                    removals.append(Delete(_namespace(pipeline), key))
            async with aclosing(self.state.scan(_OTHERS)) as rows:
                async for key, data in rows:
                    if self._decode(key, data, ()).pipeline == pipeline:
                        removals.append(Delete(_OTHERS, key))
        return removals

    async def _rows(self, pipeline: str, ids: Collection[str] | None) -> AsyncGenerator[tuple[str, bytes]]:
        """Stored letters of this pipeline, in stream order, with the key that tells it."""
        if ids is not None:
            for namespace, key in sorted(map(_place, set(ids)), key=lambda place: place[1]):
                data = await self.state.get(namespace, key)
                if data is not None:
                    yield key, data
            return
        others = await self._others(pipeline)
        async with aclosing(self.state.scan(_namespace(pipeline))) as rows:
            async for key, data in rows:
                while others and others[-1][0] < key:
                    yield others.pop()
                yield key, data
        while others:
            yield others.pop()

    async def _others(self, pipeline: str) -> list[tuple[str, bytes]]:
        """Letters whose ids don't tell their place, with a key that does; the last comes first."""
        found = []
        async with aclosing(self.state.scan(_OTHERS)) as rows:
            async for key, data in rows:
                letter = self._decode(key, data, ())
                if letter.pipeline == pipeline:
                    found.append((_key(_ordinal(letter), 0, key), data))
        found.sort(key=lambda row: row[0], reverse=True)
        return found

    def _decode(self, key: str, data: bytes, classes: tuple[type, ...]) -> DLQRecord:
        try:
            fields: dict[str, Any] = tagged.decode(data, classes)
            entry = fields["entry"]
            if isinstance(entry, dict):
                fields["entry"] = Entry(**entry)
            return DLQRecord(**fields)
        except (StateError, TypeError, KeyError) as error:
            raise StateError(
                f"the letter at {key!r} in {describe(self.state)} can't be read: {error}"
            ) from error


def _place(letter: str) -> tuple[str, str]:
    """Namespace and key of the letter with this id."""
    found = _ID.fullmatch(letter)
    if found is None:
        return _OTHERS, letter
    return _namespace(found["pipeline"]), _key(int(found["ordinal"]), int(found["nth"] or 0), found["digest"])


def _namespace(pipeline: str) -> str:
    return f"dlq:{pipeline}"


def _key(ordinal: int, nth: int, rest: str) -> str:
    return f"{ordinal:020d}:{nth:010d}:{rest}"


def _ordinal(letter: DLQRecord) -> int:
    ordinal = letter.checkpoint.get("ordinal") if isinstance(letter.checkpoint, dict) else None
    return ordinal if isinstance(ordinal, int) else 0


def _encode(letter: DLQRecord) -> bytes:
    fields = {name: getattr(letter, name) for name in _FIELDS}
    if isinstance(letter.entry, Entry):
        fields["entry"] = entry_fields(letter.entry)
    return tagged.encode(fields)
