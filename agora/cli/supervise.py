"""A run under the command line's eyes: signals, and progress on a terminal."""

import sys
from functools import partial
from typing import Any

import attrs
import trio

from agora.bound import BoundPipeline
from agora.cli.progress import show_progress
from agora.cli.signals import Interruption, receive_signals
from agora.runtime.handle import RunHandle
from agora.runtime.report import RunSummary

__all__ = ["run_interruptibly", "say", "summary_object", "writes_stdout"]


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
        await helpers.start(receive_signals, interruption, say)
        try:
            with scope:
                summary = await work(task_status=started)
        except Exception as error:  # noqa: BLE001  - raised below, outside the nursery, which would group it
            failure = error
        helpers.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return summary, interruption


@attrs.define(eq=False, repr=False)
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


def say(text: str) -> None:
    """A line on stderr."""
    print(f"agora: {text}", file=sys.stderr, flush=True)
