"""Proxies around the parts of a run that note where it is. They delegate all else, so the engine under test is the
engine as it is."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import IO, Any

import apsw

from agora.seam import Files, Seam
from agora.sources.base import Block, Demand

from .phases import Phase, Recorder

__all__ = ["WatchedSeam", "WatchedSink", "WatchedSource", "WatchedStore", "watching_sqlite"]


class WatchedFiles(Files):
    """Events before and after every change, and in the middle of a write."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def open(self, path: Path, mode: str) -> IO[bytes]:
        if mode == "rb":
            return super().open(path, mode)
        return self._around(super().open, path, mode)

    def write(self, handle: IO[bytes], data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        half = len(view) // 2
        self._recorder.event()
        super().write(handle, view[:half])
        self._recorder.event()
        super().write(handle, view[half:])
        self._recorder.event()

    def truncate(self, handle: IO[bytes], size: int) -> None:
        self._around(super().truncate, handle, size)

    def fsync(self, handle: IO[bytes]) -> None:
        self._around(super().fsync, handle)

    def sync_directory(self, path: Path) -> None:
        self._around(super().sync_directory, path)

    def replace(self, source: Path, target: Path) -> None:
        self._around(super().replace, source, target)

    def copy(self, source: Path, target: Path) -> None:
        self._around(super().copy, source, target)

    def unlink(self, path: Path) -> None:
        self._around(super().unlink, path)

    def make_directory(self, path: Path) -> None:
        self._around(super().make_directory, path)

    def _around(self, operation: Callable[..., Any], *args: Any) -> Any:
        self._recorder.event()
        done = operation(*args)
        self._recorder.event(fallible=False)  # what it gave (a handle) would be lost with it
        return done


class WatchedSeam(Seam):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.files = WatchedFiles(recorder)


@contextmanager
def watching_sqlite(recorder: Recorder) -> Iterator[None]:
    """Events before and after every statement of every connection that is made meanwhile."""

    def told(_: Any) -> None:
        recorder.event(fallible=False)  # SQLite doesn't hear of an error here

    def watch(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_STMT | apsw.SQLITE_TRACE_PROFILE, told)

    apsw.connection_hooks.append(watch)
    try:
        yield
    finally:
        apsw.connection_hooks.remove(watch)


class Watched:
    """All that isn't said here is the part's own."""

    def __init__(self, part: Any, recorder: Recorder) -> None:
        self._part = part
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    async def close(self) -> None:
        self._recorder.set(Phase.CLOSING, True)
        self._recorder.event()
        await self._part.close()
        self._recorder.event()


class WatchedSink(Watched):
    """A transactional sink."""

    async def write(self, records: Sequence[Any]) -> None:
        self._recorder.set(Phase.BETWEEN, False)
        with self._recorder.within(Phase.WRITE):
            await self._part.write(records)

    async def prepare(self) -> Any:
        step = Phase.PREPARE if self._recorder.at(Phase.STREAM) else Phase.START
        self._recorder.set(Phase.BETWEEN, step is Phase.PREPARE)
        with self._recorder.within(step):
            return await self._part.prepare()

    async def commit(self, token: Any) -> None:
        with self._recorder.within(Phase.COMMIT):
            await self._part.commit(token)

    async def recover(self, token: Any) -> None:
        with self._recorder.within(Phase.RECOVER):
            await self._part.recover(token)

    async def restart(self, token: Any) -> None:
        with self._recorder.within(Phase.RECOVER):
            await self._part.restart(token)


class WatchedStore(Watched):
    """A checkpoint store."""

    async def save(self, pipeline: str, checkpoint: Any, **more: Any) -> None:
        with self._recorder.within(Phase.SAVE):
            await self._part.save(pipeline, checkpoint, **more)

    async def amend(self, pipeline: str, checkpoint: Any, **more: Any) -> None:
        with self._recorder.within(Phase.SAVE):
            await self._part.amend(pipeline, checkpoint, **more)

    async def begin(self, *args: Any, **more: Any) -> None:
        with self._recorder.within(Phase.START):
            await self._part.begin(*args, **more)


class WatchedSource(Watched):
    """A source of blocks, which also is told what is committed: what it is told must be saved by then."""

    def __init__(self, part: Any, recorder: Recorder, saved: Callable[[], Any]) -> None:
        super().__init__(part, recorder)
        self._saved = saved

    @property
    def allow_change(self) -> bool:
        return bool(self._part.allow_change)

    @allow_change.setter
    def allow_change(self, allow: bool) -> None:
        self._part.allow_change = allow

    async def committed(self, position: Any) -> None:
        with self._recorder.within(Phase.TELL):
            checkpoint = await self._saved()
            assert checkpoint.position == position, f"told {position}, saved is {checkpoint.position}"
        self._recorder.set(Phase.BETWEEN, False)

    async def blocks(self, demand: Demand) -> AsyncGenerator[Block]:
        self._recorder.set(Phase.OPENING, False)
        self._recorder.enter(Phase.STREAM)
        async with aclosing(self._part.blocks(demand)) as blocks:
            while True:
                with self._recorder.within(Phase.SOURCE):
                    block = await anext(blocks, None)
                if block is None:
                    return
                yield block
