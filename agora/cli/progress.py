"""The progress of a run on a terminal; in a pipe there is none."""

import math
import sys
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from agora.runtime.handle import RunHandle

__all__ = ["show_progress"]

_EVERY = 0.1  # seconds between two looks


async def show_progress(handle: "RunHandle", name: str, total: int | None) -> None:
    """Draw on stderr until cancelled, then leave the last state there. rich is imported only for it.

    It draws from this task and not from a thread of rich's own: a run leaves no thread behind.
    """
    # Imported here: only a terminal pays for it.
    from rich.console import Console  # noqa: PLC0415  - see above
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415  - see above

    console = Console(file=sys.stderr)
    columns = (
        SpinnerColumn(),
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, auto_refresh=False, redirect_stdout=False) as progress:
        task = progress.add_task(name, total=total, counts="")
        try:
            while True:
                _draw(progress, task, handle)
                await trio.sleep(_EVERY)
        finally:
            _draw(progress, task, handle)


def _draw(progress: "Progress", task: "TaskID", handle: "RunHandle") -> None:
    stats = handle.stats()
    rate = stats.rate if math.isfinite(stats.rate) else 0.0
    counts = f"{stats.read:,} read, {stats.written:,} written, {rate:,.0f}/s"
    if stats.dead_lettered:
        counts += f", [red]{stats.dead_lettered:,} dead-lettered[/red]"
    progress.update(task, completed=stats.read, counts=counts)
    progress.refresh()
