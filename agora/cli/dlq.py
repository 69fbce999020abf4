"""`agora dlq`: look at dead letters, send them through the pipeline again, or throw them away."""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Any

import msgspec
import trio
from cyclopts import Parameter

from agora.bound import BoundPipeline
from agora.cli.checkpoint import Yes
from agora.cli.letters import Chosen, refuse_unknown, visit
from agora.cli.outcome import Exit, Output, UsageError, ending
from agora.cli.outlook import show_outlook
from agora.cli.output import confirmed, print_columns, print_json, print_text
from agora.cli.state import leased, letter_queue
from agora.cli.supervise import run_interruptibly, say, summary_object
from agora.cli.target import Name, Target, open_target
from agora.deadletter import DLQRecord
from agora.sinks.letters import letter_row

__all__ = ["list_letters", "purge_letters", "replay_letters", "show_letters"]

DryRun = Annotated[
    bool,
    Parameter(
        help="Only show what would enter the pipeline where, and what can't be replayed; change nothing."
    ),
]


def list_letters(
    target: Target,
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008  - frozen
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """List the dead letters of a pipeline, a line each."""

    def command() -> int:
        bound = open_target(target, name)
        rows: list[Sequence[object]] = []
        take = _print_json if output.json else lambda letter: rows.append(_row(letter))
        found = trio.run(_chosen, bound, chosen, take)
        if rows:
            print_columns(("ID", "STAGE", "ATTEMPTS", "FAILED AT (UTC)", "ERROR"), rows)
        elif not found:
            matching = " that match" if chosen.others else ""
            print(f"agora: there are no dead letters{matching}", file=sys.stderr)
        return Exit.OK

    return ending(output, command)


def show_letters(
    target: Target,
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008  - frozen
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Show dead letters with all that is known of them."""

    def command() -> int:
        show = _print_json if output.json else lambda letter: print_text(_text(letter))
        trio.run(_chosen, open_target(target, name), chosen, show)
        return Exit.OK

    return ending(output, command)


def replay_letters(
    target: Target,
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008  - frozen
    dry_run: DryRun = False,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Send dead letters through the pipeline again; what fails again stays, with one attempt more.

    The first Ctrl-C (or SIGTERM) ends it in order behind the letter at hand; the second cancels: what no
    checkpoint covers stays in the queue.
    """

    def command() -> int:
        bound = open_target(target, name)
        letter_queue(bound)
        arguments = chosen.arguments()
        trio.run(refuse_unknown, bound, chosen.ids)
        if dry_run:
            return show_outlook(bound, arguments, output)
        summary, interruption = run_interruptibly(bound, partial(bound.replay, **arguments), None)
        if summary is None:
            return interruption.exit_code or Exit.FAILED
        if output.json:
            print_json(summary_object(summary))
        else:
            print_text(summary)
        if summary.dead_lettered:
            say(f"{summary.dead_lettered:,} of {summary.read:,} dead letters failed again, and stay")
        stopped = summary.status == "stopped"
        return interruption.exit_code if stopped and interruption.exit_code is not None else Exit.OK

    return ending(output, command)


def purge_letters(
    target: Target,
    name: Name = None,
    /,
    *,
    chosen: Chosen = Chosen(),  # noqa: B008  - frozen
    yes: Yes = False,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Throw dead letters away, for good."""

    def command() -> int:
        bound = open_target(target, name)
        letter_queue(bound)
        arguments = chosen.arguments()
        trio.run(refuse_unknown, bound, chosen.ids)
        which = "all dead letters" if chosen.ids is None else f"{len(chosen.ids)} dead letter(s)"
        if chosen.others:
            which = "the dead letters that match"
        answer = confirmed(f"Throw away {which} of pipeline {bound.name}?", yes=yes)
        if answer is None:
            raise UsageError("without a terminal to ask on, purging needs --yes")
        if not answer:
            print("agora: nothing was changed", file=sys.stderr)
            return Exit.FAILED
        gone = trio.run(_purge, bound, arguments)
        if output.json:
            print_json({"pipeline": bound.name, "purged": gone})
        else:
            print_text(f"pipeline {bound.name}: {len(gone):,} dead letter(s) purged")
        return Exit.OK

    return ending(output, command)


async def _chosen(bound: BoundPipeline, chosen: Chosen, take: Callable[[DLQRecord], None]) -> list[str]:
    arguments = chosen.arguments()
    await refuse_unknown(bound, chosen.ids)
    return await visit(bound, arguments, take)


def _print_json(letter: DLQRecord) -> None:
    print_json(letter_row(letter))


async def _purge(bound: BoundPipeline, arguments: dict[str, Any]) -> list[str]:
    """Under the lease, so that no run or replay is at work on the same letters."""
    queue = letter_queue(bound)
    state = getattr(queue, "state", None)
    async with nullcontext() if state is None else leased(state, bound.name):
        found = await visit(bound, arguments, lambda letter: None)
        await queue.delete(found)
    return found


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
