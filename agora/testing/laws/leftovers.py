"""What a run leaves behind that somebody has to end."""

import gc
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio

__all__ = ["Left", "left_by", "uncollected"]


@attrs.frozen
class Left:
    """What there is in this process that somebody has to end."""

    tasks: frozenset[trio.lowlevel.Task]
    threads: frozenset[threading.Thread]
    files: int

    @classmethod
    def now(cls) -> "Left":
        """Called in a task of trio."""
        return cls(
            frozenset(_tasks()), frozenset(t for t in threading.enumerate() if not t.daemon), _open_files()
        )

    def more_than(self, before: "Left") -> str | None:
        """What there is now that wasn't then, in words; `None` if nothing."""
        found = [f"the task {task.name}" for task in self.tasks - before.tasks]
        found += [f"the thread {thread.name}" for thread in self.threads - before.threads]
        if self.files > before.files:
            count = self.files - before.files
            found.append(f"{count} open file{'s' if count > 1 else ''}")
        return ", ".join(sorted(found)) or None


def _tasks() -> list[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    found, seen = [] if root is None else [root], []
    while found:
        task = found.pop()
        seen.append(task)
        found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return seen


def _open_files() -> int:
    try:
        return len(list(Path("/proc/self/fd").iterdir()))
    except OSError:  # no such place on this system
        return 0


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the garbage collector: the files that an earlier run left, closed by it now, would make up for those that
    this one leaves."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


async def left_by(main: Callable[[], Awaitable[object]]) -> str | None:
    """Run this; what is left then, in words. What nobody closed before it was forgotten is left, too."""
    with uncollected(), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        before = Left.now()
        await main()
        for _ in range(2):  # tasks that were cancelled end
            await trio.lowlevel.checkpoint()
        left = Left.now().more_than(before)
    for each in seen:
        if left is None and issubclass(each.category, ResourceWarning):
            left = f"to the garbage collector: {each.message}"
    return left
