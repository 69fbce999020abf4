"""Reading a source directly, as the engine is to read it, with all that it says of positions."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs

from agora.records import Json, Malformed, Record
from agora.sources.base import Block, Demand
from agora.testing.laws.base import Breach
from agora.testing.laws.living import alive, awaited
from agora.testing.laws.outcomes import text_of
from agora.testing.laws.recordedstore import not_json
from agora.testing.laws.sourcecase import FORMS, Form, SourceCase
from agora.testing.laws.sourcelaws import AGREEMENT, ASKING, CLOSING, POSITIONS

__all__ = ["Place", "Reading", "checkpointable", "forms", "read"]


@attrs.frozen
class Place:
    """Where a reading can go on."""

    position: Json
    skip: int = 0


@attrs.define
class Reading:
    """What was read."""

    records: list[str] = attrs.field(factory=list)
    """As code."""
    places: dict[int, Place] = attrs.field(factory=dict)
    """By how many of the records are in front of it."""
    malformed: set[str] = attrs.field(factory=set)
    """Those of them that stand for what couldn't be read."""
    identity: Json = None
    identity_behind: Json = None
    """What it was when all was read."""
    exhausted: bool = False

    @property
    def sound(self) -> list[str]:
        return [record for record in self.records if record not in self.malformed]

    def add(self, records: Sequence[Record]) -> None:
        for record in records:
            if record is None:
                raise Breach(AGREEMENT, f"Record {len(self.records)} was None, which is no record")
            self.records.append(text_of(record))
            if isinstance(record, Malformed):
                self.malformed.add(self.records[-1])


def forms(source: Any) -> list[Form]:
    """How it gives its records."""
    return [form for form in FORMS if callable(getattr(source, form, None))]


def checkpointable(source: Any) -> bool:
    return bool(getattr(source, "supports_checkpoint", False))


async def read(
    source: Any,
    form: Form,
    case: SourceCase,
    *,
    start: Place | None = None,
    most: int,
    places: bool = True,
) -> Reading:
    """Open it, go to `start`, read `most` records at most, close it. `places=False`: positions aren't asked for."""
    reading, skip = Reading(), 0 if start is None else start.skip
    async with alive(source, "source"):
        if callable(getattr(source, "identity", None)):
            reading.identity = source.identity()
        if checkpointable(source):
            await awaited(source.prepare_resume(None if start is None else start.position))
            if places and not skip:
                reading.places[0] = _asked(source)
        reader = {"stream": _stream, "blocks": _blocks, "batches": _batches}[form]
        positions = places and checkpointable(source)
        if most > 0:
            await reader(source, case, reading, most, skip, positions)
        if callable(getattr(source, "identity", None)):
            reading.identity_behind = source.identity()
    return reading


async def _stream(
    source: Any, case: SourceCase, reading: Reading, most: int, skip: int, positions: bool
) -> None:
    async with _closing(source.stream()) as records:
        async for record in records:
            if skip:
                skip -= 1
                continue
            reading.add([record])
            for _ in range(case.asked(len(reading.records) - 1) if positions else 0):
                _note(reading, len(reading.records), _asked(source))
            if len(reading.records) >= most:
                return
    reading.exhausted = True


async def _blocks(
    source: Any, case: SourceCase, reading: Reading, most: int, skip: int, positions: bool
) -> None:
    demand, number = Demand(rows=case.wanted(0)), 0
    said: Callable[[], None] | None = None
    async with _closing(source.blocks(demand)) as blocks:
        async for block in blocks:
            if said is not None:
                said()
            if not len(block.rows):
                raise Breach(AGREEMENT, "A block was empty")
            dropped = min(skip, len(block.rows))
            skip -= dropped
            begun = len(reading.records) - dropped
            reading.add(list(block.rows)[dropped:])
            if positions and block.position is not None:
                said = _said_of(reading, block, begun, dropped)
                said()
            number += 1
            demand.rows = case.wanted(number)
            if len(reading.records) >= most:
                del reading.records[most:]
                return
    if said is not None:
        said()
    reading.exhausted = True


def _said_of(reading: Reading, block: Block, begun: int, dropped: int) -> Callable[[], None]:
    """Asks the block for all of its positions; the same each time."""
    assert block.position is not None
    position = block.position

    def ask() -> None:
        for rows in range(dropped, len(block.rows) + 1):
            place = Place(_checked(position(rows)), block.skip(rows))
            known = reading.places.get(begun + rows) if dropped < rows < len(block.rows) else None
            if known is not None and known != place:
                raise Breach(
                    POSITIONS, f"The position behind record {begun + rows - 1} was {known}, later {place}"
                )
            reading.places[begun + rows] = place

    return ask


async def _batches(
    source: Any, case: SourceCase, reading: Reading, most: int, skip: int, positions: bool
) -> None:
    before: Json = _asked(source).position if positions else None
    async with _closing(source.batches()) as batches:
        async for batch in batches:
            rows = batch.to_pylist()
            dropped = min(skip, len(rows))
            begun = len(reading.records) - dropped
            skip -= dropped
            reading.add(rows[dropped:])
            if positions:
                for count in range(dropped, len(rows)):
                    reading.places[begun + count] = Place(before, count)
                before = _asked(source).position
                reading.places[begun + len(rows)] = Place(before)
            if len(reading.records) >= most:
                del reading.records[most:]
                return
    reading.exhausted = True


def _asked(source: Any) -> Place:
    return Place(_checked(source.checkpoint()))


def _note(reading: Reading, count: int, place: Place) -> None:
    known = reading.places.setdefault(count, place)
    if known != place:
        raise Breach(
            ASKING,
            f"Behind record {count - 1} the position was {known.position}, asked again {place.position}",
        )


def _checked(position: Json) -> Json:
    if not_json(position):
        raise Breach(POSITIONS, f"The position {position!r} isn't what it was when it has been JSON")
    return position


@asynccontextmanager
async def _closing(stream: Any) -> AsyncGenerator[AsyncIterator[Any]]:
    """A generator, or what `trio.as_safe_channel` gives."""
    if hasattr(stream, "__aenter__"):
        async with stream as inner:
            yield aiter(inner)
        return
    try:
        yield aiter(stream)
    finally:
        if hasattr(stream, "aclose"):
            await _close(stream)


async def _close(stream: Any) -> None:
    try:
        await stream.aclose()
    except BaseExceptionGroup as group:  # noqa: ASYNC103  - all but the GeneratorExit goes on
        rest = group.split(GeneratorExit)[1]
        if rest is not None:
            raise rest from None
    except Exception as error:
        raise Breach(CLOSING, f"Closed, its generator raised {error!r}") from error
