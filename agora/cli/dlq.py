"""`agora dlq`: look at dead letters, send them through the pipeline again, or throw them away."""

import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import Parameter

from agora.bound import BoundPipeline
from agora.cli.checkpoint import Yes
from agora.cli.outcome import Exit, Output, UsageError, ending
from agora.cli.output import confirmed, print_columns, print_json, print_text
from agora.cli.state import leased, letter_queue
from agora.cli.supervise import run_interruptibly, summary_object
from agora.cli.target import Name, Target, open_target
from agora.deadletter import DLQRecord
from agora.sinks.letters import letter_row

__all__ = ["list_letters", "purge_letters", "replay_letters", "show_letters"]

Ids = Annotated[
    tuple[str, ...] | None, Parameter(name="--id", help="This letter; may be given several times. Else all.")
]


def list_letters(
    target: Target,
    name: Name = None,
    /,
    *,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """List the dead letters of a pipeline, a line each."""

    def command() -> int:
        rows: list[Sequence[object]] = []
        visit = _print_json if output.json else lambda letter: rows.append(_row(letter))
        found = trio.run(_visit, open_target(target, name), None, visit)
        if rows:
            print_columns(("ID", "STAGE", "ATTEMPTS", "FAILED AT (UTC)", "ERROR"), rows)
        elif not found:
            print("agora: there are no dead letters", file=sys.stderr)
        return Exit.OK

    return ending(output, command)


def show_letters(
    target: Target,
    name: Name = None,
    /,
    *,
    ids: Ids = None,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Show dead letters with all that is known of them."""

    def command() -> int:
        show = _print_json if output.json else lambda letter: print_text(_text(letter))
        _refuse_unknown(ids, trio.run(_visit, open_target(target, name), ids, show))
        return Exit.OK

    return ending(output, command)


def replay_letters(
    target: Target,
    name: Name = None,
    /,
    *,
    ids: Ids = None,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Send dead letters through the pipeline again; what fails again stays, with one attempt more."""

    def command() -> int:
        bound = open_target(target, name)
        letter_queue(bound)
        if ids is not None:
            _refuse_unknown(ids, trio.run(_visit, bound, ids, lambda letter: None))
        work = partial(_replay, bound, ids)
        summary, interruption = run_interruptibly(bound, work, None)
        if summary is None:
            return interruption.exit_code or Exit.FAILED
        if output.json:
            print_json(summary_object(summary))
        else:
            print_text(summary)
        return Exit.OK

    return ending(output, command)


def purge_letters(
    target: Target,
    name: Name = None,
    /,
    *,
    ids: Ids = None,
    yes: Yes = False,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Throw dead letters away, for good."""

    def command() -> int:
        bound = open_target(target, name)
        letter_queue(bound)
        which = "all dead letters" if ids is None else f"{len(ids)} dead letter(s)"
        answer = confirmed(f"Throw away {which} of pipeline {bound.name}?", yes=yes)
        if answer is None:
            raise UsageError("without a terminal to ask on, purging needs --yes")
        if not answer:
            print("agora: nothing was changed", file=sys.stderr)
            return Exit.FAILED
        gone = trio.run(_purge, bound, ids)
        if output.json:
            print_json({"pipeline": bound.name, "purged": gone})
        else:
            print_text(f"pipeline {bound.name}: {len(gone):,} dead letter(s) purged")
        return Exit.OK

    return ending(output, command)


async def _replay(bound: BoundPipeline, ids: Sequence[str] | None, *, task_status: object) -> Any:
    del task_status  # a replay has no handle: the first signal cancels it, and no letter is lost by that
    return await bound.replay(ids)


async def _visit(
    bound: BoundPipeline, ids: Sequence[str] | None, visit: Callable[[DLQRecord], None]
) -> list[str]:
    """Call `visit` with each letter as it is read, and answer their ids: a queue may be larger than memory."""
    found: list[str] = []
    async with aclosing(letter_queue(bound).read(bound.name)) as letters:
        async for letter in letters:
            if ids is None or letter.id in ids:
                visit(letter)
                found.append(letter.id)
    return found


def _print_json(letter: DLQRecord) -> None:
    print_json(letter_row(letter))


async def _purge(bound: BoundPipeline, ids: Sequence[str] | None) -> list[str]:
    """Under the lease, so that no run or replay is at work on the same letters."""
    queue = letter_queue(bound)
    state = getattr(queue, "state", None)
    async with nullcontext() if state is None else leased(state, bound.name):
        found = await _visit(bound, ids, lambda letter: None)
        _refuse_unknown(ids, found)
        await queue.delete(found)
    return found


def _refuse_unknown(ids: Sequence[str] | None, found: Sequence[str]) -> None:
    missing = sorted(set(ids or ()).difference(found))
    if missing:
        raise UsageError(*(f"there is no dead letter {missed}" for missed in missing))


def _row(letter: DLQRecord) -> tuple[object, ...]:
    error = f"{letter.error_type}: {letter.error_message}"
    return letter.id, letter.stage, letter.attempts, f"{letter.failed_at:%Y-%m-%d %H:%M:%S}", error


def _text(letter: DLQRecord) -> str:
    """Every field; records as JSON on a line of their own."""
    lines = [f"dead letter {letter.id}"]
    for key, value in letter_row(letter).items():
        if key != "id":
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            lines.append(f"  {key:<13}  {text}")
    return "\n".join(lines)
