"""`agora run`: run a pipeline to its end, or until a signal.

The summary goes to stdout, unless the records do: then stdout is theirs and the summary goes to stderr.
"""

import sys
from functools import partial
from typing import Annotated

import attrs
from cyclopts import Parameter

from agora.bound import BoundPipeline
from agora.cli.outcome import Exit, Output, UsageError, ending
from agora.cli.output import print_json, print_text
from agora.cli.signals import Interruption
from agora.cli.supervise import run_interruptibly, say, summary_object, writes_stdout
from agora.cli.target import Name, Target, open_target
from agora.runtime.report import RunSummary

__all__ = ["run"]


@Parameter(name="*")
@attrs.frozen
class RunOptions:
    """What `agora run` may be told."""

    max_records: Annotated[int | None, Parameter(help="Stop, in order, after this many records.")] = None
    dry_run: Annotated[
        bool,
        Parameter(
            help="Check the parts, then take up to --max-records (or 1,000) records from the beginning "
            "through the steps, but write no sink, dead letter or state. Steps that act on the world do so.",
        ),
    ] = False
    restart: Annotated[
        bool, Parameter(help="Undo what earlier runs wrote and start over from the beginning.")
    ] = False
    allow_source_change: Annotated[
        bool, Parameter(help="Go on from the checkpoint though the source isn't what it was.")
    ] = False
    fail_on_dead_letters: Annotated[bool, Parameter(help="Exit with 3 if records were dead-lettered.")] = (
        False
    )


def run(
    target: Target,
    name: Name = None,
    /,
    *,
    options: RunOptions = RunOptions(),
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Run a pipeline until its source is exhausted.

    The first Ctrl-C (or SIGTERM) finishes what is in flight and saves a checkpoint; the second cancels.
    """

    def command() -> int:
        if options.max_records is not None and options.max_records < 1:
            raise UsageError(f"--max-records must be from 1, not {options.max_records}")
        if options.dry_run and (options.restart or options.allow_source_change):
            raise UsageError("--dry-run touches no state: leave out --restart and --allow-source-change")
        bound = open_target(target, name)
        if options.dry_run:
            from agora.cli.dryrun import dry_run  # noqa: PLC0415  - a real run needs none of it

            return dry_run(bound, options.max_records, output)
        work = partial(
            bound.run,
            restart=options.restart,
            allow_source_change=options.allow_source_change,
            max_records=options.max_records,
        )
        summary, interruption = run_interruptibly(bound, work, options.max_records)
        code = _told(bound, summary, interruption, output)
        if summary is not None and summary.dead_lettered:
            from agora.cli.state import can_be_read  # noqa: PLC0415  - most runs have no letters

            look = f"; see agora dlq list {target} {name or ''}".rstrip() if can_be_read(bound) else ""
            say(f"{summary.dead_lettered:,} of {summary.read:,} records were dead-lettered{look}")
            if code == Exit.OK and options.fail_on_dead_letters:
                code = Exit.DEAD_LETTERS
        return code

    return ending(output, command)


def _told(
    bound: BoundPipeline,
    summary: RunSummary | None,
    interruption: Interruption,
    output: Output,
) -> int:
    """Tell how it ended; the exit code."""
    if summary is None:
        code = interruption.exit_code or Exit.FAILED
        if output.json:
            print_json({"pipeline": bound.name, "status": "cancelled", "exit_code": code})
        return code
    if output.json:
        print_json(summary_object(summary))
    elif writes_stdout(bound):
        print(summary, file=sys.stderr, flush=True)
    else:
        print_text(summary)
    stopped = summary.status == "stopped"
    return interruption.exit_code if stopped and interruption.exit_code is not None else Exit.OK
