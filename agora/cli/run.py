"""`agora run`: run a pipeline to its end, or until a signal.

The summary goes to stdout, unless the records do: then stdout is theirs and the summary goes to stderr.
"""

import sys
from functools import partial
from typing import Annotated, Any

import attrs
import trio
from cyclopts import Parameter

from agora.bound import BoundPipeline
from agora.cli.dryrun import dry_run
from agora.cli.outcome import Exit, Output, UsageError, ending
from agora.cli.output import print_json
from agora.cli.progress import show_progress
from agora.cli.signals import Interruption, receive_signals
from agora.cli.target import Name, Target, open_target
from agora.runtime.handle import RunHandle
from agora.runtime.report import RunSummary

__all__ = ["run", "run_interruptibly", "summary_object"]


@Parameter(name="*")
@attrs.frozen
class RunOptions:
    """What `agora run` may be told."""

    max_records: Annotated[int | None, Parameter(help="Stop, in order, after this many records.")] = None
    dry_run: Annotated[
        bool,
        Parameter(
            negative="",
            help="Check the parts, then take up to --max-records (or 1,000) records from the beginning "
            "through the steps, but write no sink, dead letter or state. Steps that act on the world do so.",
        ),
    ] = False
    restart: Annotated[
        bool, Parameter(negative="", help="Undo what earlier runs wrote and start over from the beginning.")
    ] = False
    allow_source_change: Annotated[
        bool, Parameter(negative="", help="Go on from the checkpoint though the source isn't what it was.")
    ] = False
    fail_on_dead_letters: Annotated[
        bool, Parameter(negative="", help="Exit with 3 if records were dead-lettered.")
    ] = False


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
            return dry_run(bound, options.max_records, output)
        work = partial(
            bound.run,
            restart=options.restart,
            allow_source_change=options.allow_source_change,
            max_records=options.max_records,
        )
        summary, interruption = run_interruptibly(bound, work, options.max_records)
        return _told(bound, summary, interruption, options, output)

    return ending(output, command)


def run_interruptibly(
    bound: BoundPipeline, work: Any, total: int | None
) -> tuple[RunSummary | None, Interruption]:
    """Run `work(task_status=…)` on a loop of its own, with signals and progress.

    The summary, or `None` where a signal cancelled it. Raises what the run raises, by itself.
    """
    return trio.run(_supervise, bound, work, total)


async def _supervise(
    bound: BoundPipeline, work: Any, total: int | None
) -> tuple[RunSummary | None, Interruption]:
    scope = trio.CancelScope()
    interruption = Interruption(cancel=scope.cancel)
    show = sys.stderr.isatty() and not (writes_stdout(bound) and sys.stdout.isatty())
    summary: RunSummary | None = None
    failure: Exception | None = None
    async with trio.open_nursery() as helpers:
        started = _Started(helpers, interruption, partial(show_progress, name=bound.name, total=total), show)
        await helpers.start(receive_signals, interruption, _say)
        try:
            with scope:
                summary = await work(task_status=started)
        except Exception as error:  # noqa: BLE001  - raised below, outside the nursery, which would group it
            failure = error
        helpers.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return summary, interruption


@attrs.define
class _Started:
    """The task status of the run: from here on it can be stopped, and watched."""

    helpers: trio.Nursery
    interruption: Interruption
    watch: Any
    show: bool

    def started(self, handle: RunHandle) -> None:
        """The run is open."""
        self.interruption.stop = handle.stop
        if self.show:
            self.helpers.start_soon(self.watch, handle)


def _told(
    bound: BoundPipeline,
    summary: RunSummary | None,
    interruption: Interruption,
    options: RunOptions,
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
    else:
        print(summary, file=sys.stderr if writes_stdout(bound) else sys.stdout, flush=True)
    if summary.dead_lettered:
        _say(f"{summary.dead_lettered:,} of {summary.read:,} records were dead-lettered; see agora dlq list")
    if interruption.exit_code is not None and summary.status == "stopped":
        return interruption.exit_code
    return Exit.DEAD_LETTERS if summary.dead_lettered and options.fail_on_dead_letters else Exit.OK


def summary_object(summary: RunSummary) -> dict[str, Any]:
    """The summary's fields for `--json`; of the checkpoint it resumed from, what tells where that was."""
    fields: dict[str, Any] = attrs.asdict(summary, recurse=False)
    resumed = summary.resumed_from
    fields["resumed_from"] = resumed and {
        key: getattr(resumed, key) for key in ("ordinal", "position", "run_id", "saved_at", "completed")
    }
    return fields


def writes_stdout(bound: BoundPipeline) -> bool:
    """Whether records go to stdout."""
    return any(getattr(spec.sink, "target", None) == "stdout" for spec in bound.spec.sinks)


def _say(text: str) -> None:
    print(f"agora: {text}", file=sys.stderr, flush=True)
