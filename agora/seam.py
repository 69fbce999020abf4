"""The one seam between agora and the machine: threads, files, the real clock and randomness.

Everything that a deterministic simulation or a fault-injection test must replace is reached through `current()`.
Two designs were weighed: passing a seam object into every part's constructor, and a context variable that is
read when a part opens. The second won: users' constructors stay free of it, and a run inside a test is covered whole.
"""

import contextlib
import contextvars
import glob
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar, cast

import attrs
import trio
import trio.lowlevel

__all__ = ["Files", "Seam", "Status", "current", "is_virtual", "use"]

T = TypeVar("T")
P = ParamSpec("P")

_THREADS = 40
_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("agora_thread_limiter")


def is_virtual() -> bool:
    """Whether the running trio loop is on a virtual clock (`trio.testing.MockClock`)."""
    # trio.testing pulls in all of pytest where that is installed (270 ms); without it there is no MockClock.
    testing = sys.modules.get("trio.testing")
    return testing is not None and isinstance(trio.lowlevel.current_clock(), testing.MockClock)


class Files:
    """The file operations of agora, each a plain blocking call. Fault injection replaces this object.

    Handles are unbuffered binary files: what `write` has returned for is with the operating system. What is asked of
    a path follows links. Errors are `OSError`s, as the operating system gives them.
    """

    def open(self, path: Path, mode: str) -> IO[bytes]:
        """Open unbuffered, `mode` one of `rb`, `r+b`, `w+b`, `x+b`, `ab`."""
        return cast("IO[bytes]", path.open(mode, buffering=0))

    def write(self, handle: IO[bytes], data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`, whatever number of system calls that takes."""
        view = memoryview(data)
        with _naming(handle):
            while view:
                written = handle.write(view)
                view = view[written:]

    def truncate(self, handle: IO[bytes], size: int) -> None:
        with _naming(handle):
            handle.truncate(size)

    def fsync(self, handle: IO[bytes]) -> None:
        with _naming(handle):
            os.fsync(handle.fileno())

    def sync_directory(self, path: Path) -> None:
        """Make the names in this directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, atomically, over what is there."""
        os.replace(source, target)

    def copy(self, source: Path, target: Path) -> None:
        """Copy the content to a new inode at `target`."""
        shutil.copyfile(source, target)

    def unlink(self, path: Path) -> None:
        """Remove the file; one that isn't there is no error."""
        path.unlink(missing_ok=True)

    def make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        path.rmdir()

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with all that is in it, as far as that is possible."""
        shutil.rmtree(path, ignore_errors=True)

    # --- asking ---

    def exists(self, path: Path) -> bool:
        return path.exists()

    def is_taken(self, path: Path) -> bool:
        """Whether there is anything of this name, be it a link to nowhere."""
        return os.path.lexists(path)

    def is_directory(self, path: Path) -> bool:
        return path.is_dir()

    def status(self, path: Path) -> "Status":
        return _status(path.stat())

    def status_of(self, handle: IO[bytes]) -> "Status":
        """Of an open file, whatever its name stands for now."""
        return _status(os.fstat(handle.fileno()))

    def names(self, path: Path) -> list[str]:
        """What is in a directory, in no order."""
        return os.listdir(path)

    def matches(self, pattern: str) -> list[str]:
        """Paths that match a glob (`**` for any depth), without directories, in no order."""
        found = glob.glob(
            pattern, recursive=True
        )  # of `a/**` it gives `a/`, though there may be no such thing
        return [name for name in found if not name.endswith(os.sep) and not os.path.isdir(name)]

    def real(self, path: Path) -> Path:
        """Absolute, with links resolved; whether it exists or not."""
        return Path(os.path.realpath(path))


@attrs.frozen
class Status:
    """What a file is: its size in bytes, and what tells it from every other file that there is."""

    size: int
    identity: tuple[int, int]


def _status(found: os.stat_result) -> Status:
    return Status(found.st_size, (found.st_dev, found.st_ino))


@contextlib.contextmanager
def _naming(handle: IO[bytes]) -> Iterator[None]:
    """The system says that there is no space, and not where."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = handle.name
        raise


class Seam:
    """The real machine."""

    simulated = False
    """Whether nothing real is waited for: then a deadline is kept by trio's virtual clock."""

    def __init__(self) -> None:
        self.files = Files()

    def overdue_flag(self) -> list[None]:
        """For `agora.runtime.pace`: a list that is non-empty while the loop is overdue."""
        return []

    def monotonic(self) -> float:
        """Seconds of the real monotonic clock, also under a virtual trio clock."""
        return time.monotonic()

    def now(self) -> datetime:
        """Wall-clock time, aware, UTC."""
        return datetime.now(UTC)

    def random_id(self) -> str:
        """A new id: 16 hexadecimal digits."""
        return secrets.token_hex(8)

    async def sleep(self, seconds: float) -> None:
        """Sleep by the real clock. Under a virtual clock it never returns: nothing real passes there."""
        if is_virtual():
            await trio.sleep_forever()
        await trio.sleep(seconds)

    async def in_thread(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking `fn` in a worker thread under agora's own limiter; not abandoned on cancellation.

        Under a virtual clock it runs in place, since virtual time would run away while a thread works.
        A trio checkpoint, before the call; cancellation is not delivered while `fn` runs.
        """
        if is_virtual():
            await trio.lowlevel.checkpoint()
            return fn(*args, **kwargs)
        try:
            limiter = _limiter.get()
        except LookupError:
            limiter = trio.CapacityLimiter(_THREADS)
            _limiter.set(limiter)

        def call() -> T:
            return fn(*args, **kwargs)

        return await trio.to_thread.run_sync(call, limiter=limiter)


_current: contextvars.ContextVar[Seam] = contextvars.ContextVar("agora_seam", default=Seam())  # noqa: B039  - no state


def current() -> Seam:
    """The seam of this context; the real machine unless a test replaced it."""
    return _current.get()


@contextlib.contextmanager
def use(seam: Seam) -> Iterator[Seam]:
    """Replace the seam for this context and the tasks started in it."""
    token: contextvars.Token[Any] = _current.set(seam)
    try:
        yield seam
    finally:
        _current.reset(token)
