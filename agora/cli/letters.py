"""Which dead letters a command is about: the options that `agora dlq`'s commands share."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from agora.bound import BoundPipeline
from agora.cli.outcome import UsageError
from agora.cli.state import letter_queue, nothing_saved
from agora.deadletter import DLQRecord

__all__ = ["Chosen", "refuse_unknown", "visit"]


@Parameter(name="*")
@attrs.frozen
class Chosen:
    """Letters that match all that is given; all of them where nothing is."""

    ids: Annotated[
        tuple[str, ...] | None, Parameter(name="--id", help="This letter; may be given several times.")
    ] = None
    stage: Annotated[
        str | None, Parameter(help='Letters of this stage: "source", "middleware:NAME", "sink:NAME".')
    ] = None
    error_type: Annotated[
        str | None, Parameter(help="Letters with an error of this class, by its full or last name.")
    ] = None
    since: Annotated[
        str | None,
        Parameter(
            help="Letters that failed then or later: an ISO 8601 date, or date and time; UTC, as `list` shows "
            "it, unless it says its offset."
        ),
    ] = None
    until: Annotated[str | None, Parameter(help="Letters that failed before; as --since.")] = None
    limit: Annotated[int | None, Parameter(help="So many letters at most, the earliest records'.")] = None

    def arguments(self) -> dict[str, Any]:
        """What a queue's `read` is told, without what wasn't given. Raises `UsageError`."""
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be from 1, not {self.limit}")
        given = {
            "ids": self.ids,
            "stage": self.stage,
            "error_type": self.error_type,
            "since": _moment("--since", self.since),
            "until": _moment("--until", self.until),
            "limit": self.limit,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def others(self) -> bool:
        """Whether anything but ids chooses."""
        return any(
            value is not None for value in (self.stage, self.error_type, self.since, self.until, self.limit)
        )


async def visit(
    bound: BoundPipeline, arguments: dict[str, Any], take: Callable[[DLQRecord], None]
) -> list[str]:
    """Call `take` with each letter as it is read, and answer their ids: a queue may be larger than memory."""
    found: list[str] = []
    queue = letter_queue(bound)
    if nothing_saved(queue):
        return found
    async with aclosing(queue.read(bound.name, **arguments)) as letters:
        async for letter in letters:
            take(letter)
            found.append(letter.id)
    return found


async def refuse_unknown(bound: BoundPipeline, ids: Sequence[str] | None) -> None:
    """Raise `UsageError` naming each of these that isn't in the queue, whatever else chooses."""
    if ids is None:
        return
    found = await visit(bound, {"ids": ids}, lambda letter: None)
    missing = sorted(set(ids).difference(found))
    if missing:
        raise UsageError(*(f"there is no dead letter {missed}" for missed in missing))


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} {text!r} is no ISO 8601 date or time, such as 2026-11-24, 2026-11-24T20:46:00 (UTC) or "
            "2026-11-24T20:46:00+01:00"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
