"""A file that records are appended to: whole at the end of a run, or part of the barrier.

Without checkpoints everything goes to a file beside the target, which `publish` renames into place. With
checkpoints (or `live`) the target is appended in place and cut back to the last token by `recover`; only
where an existing target is replaced does a file beside it wait for the first commit, so that until then the
old content can come back.
"""

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio

from agora import seam
from agora.columns import in_place
from agora.context import RunContext
from agora.errors import ConfigError, SinkChanged
from agora.records import Json
from agora.sinks.appender import Appender
from agora.sinks.compress import Compression, compression_of
from agora.sinks.disk import cut, look_at
from agora.sinks.encode import Rejections
from agora.sinks.existing import check_packing, ends_whole
from agora.sinks.recovery import FileToken, Found, settled_size, undone_size

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["AppendFile", "IfExists", "PublishWhen", "as_path"]

IfExists = Literal["error", "append", "replace"]
PublishWhen = Literal["end", "live"]

Lines: TypeAlias = "Callable[[pa.RecordBatch], tuple[bytes | memoryview, Rejections]]"
"""The text of all rows that can be written, and the others' errors."""

_BUFFER = 256 * 1024
_COMPRESSED_BUFFER = 1024 * 1024


def as_path(path: "str | os.PathLike[str]") -> Path:
    return Path(path)


@attrs.define(eq=False, repr=False)
class AppendFile:
    """Takes bytes in pieces of whole records. One run at a time; `open` begins anew.

    Every async method is a trio checkpoint; one that is cancelled has done nothing. A failed write leaves the
    file at the end of the last whole piece and keeps what was accepted before, for the next try.
    """

    path: Path
    if_exists: IfExists | None
    compression: Compression
    live: bool

    _policy: IfExists | None = attrs.field(init=False, default=None)  # `if_exists` of this run
    _in_place: bool = attrs.field(init=False, default=False)
    _completed: bool = attrs.field(init=False, default=False)
    _takeover: bool = attrs.field(init=False, default=False)
    _fence: int = attrs.field(init=False, default=0)
    _target: Path = attrs.field(init=False, factory=Path)
    _file: Appender = attrs.field(init=False)  # at the target, or beside it
    _begun: bool = attrs.field(init=False, default=False)
    _published: bool = attrs.field(init=False, default=False)
    _created: bool = attrs.field(init=False, default=True)
    _base: int = attrs.field(init=False, default=0)
    _joint: bytes = attrs.field(init=False, default=b"")  # ends the last line of what was there before
    _pieces: list[bytes | memoryview] = attrs.field(init=False, factory=list)  # accepted, and not written yet
    _held: int = attrs.field(init=False, default=0)  # bytes of them
    _prepared: int | None = attrs.field(init=False, default=None)  # size; `None`: no file
    _wanted: bool = attrs.field(init=False, default=False)  # make the file even if there is nothing to write

    def __attrs_post_init__(self) -> None:
        self._set_new(self._target)

    # --- a run ---

    def explain(self) -> str:
        """How it delivers exactly once, for the plan."""
        kind = compression_of(self.path, self.compression)
        where = "" if kind == "none" else f", at the border of two {kind} members"
        return f"the file is appended to in place, and cut back to the checkpoint{where}"

    async def open(self, context: RunContext) -> None:
        """Make nothing yet. `ConfigError` for a directory, `SinkChanged` where `if_exists="error"` already
        tells."""
        self._begin_run(context)
        await seam.current().in_thread(self._check_target)

    def _begin_run(self, context: RunContext) -> None:
        self._in_place = context.transactional or self.live
        self._completed = context.resumed_from is not None and context.resumed_from.completed
        self._takeover, self._fence = context.takeover, context.fence
        # Without checkpoints a target is replaced whole; a replay has only the letters, and adds them.
        self._policy = "append" if context.replay and not context.transactional else self.if_exists
        self._target = Path(os.path.abspath(self.path))
        self._begun = self._published = self._wanted = False
        self._drop_pieces()
        in_place = self._in_place
        self._set_new(self._target if in_place else self._beside(f"{seam.current().random_id()}.tmp"))

    def _check_target(self) -> None:
        if seam.current().files.is_directory(self._target):
            raise ConfigError(f"{self.path} is a directory: give the name of a file in it")
        if not self._in_place and self._policy == "error":
            self._refuse_existing()

    @property
    def empty(self) -> bool:
        """Whether nothing was written or accepted yet, so that a header is due. After `begin`."""
        return not self._file.offset and not self._held

    @property
    def at(self) -> Path:
        """The file that is written: the target, or one beside it."""
        return self._file.at

    async def begin(self) -> None:
        """Settle what becomes of an existing target, once, where `recover` hasn't. Then no trio checkpoint.

        `SinkChanged` where there is one and `if_exists` says so.
        """
        if not self._begun:
            await seam.current().in_thread(self._begin)

    async def append(self, data: bytes | memoryview) -> None:
        """Take whole records. `OSError`: not taken; what was taken before is kept."""
        await self.begin()
        if self._has_room(data):
            await trio.lowlevel.checkpoint()
            self._append(data)
        else:
            await seam.current().in_thread(self._append, data)

    async def append_lines(self, lines: Lines, batch: "pa.RecordBatch") -> Rejections:
        """`append` the text of the batch, made in the same turn in a thread where that pays; what has none."""
        await self.begin()
        if in_place(batch):
            text, rejected = lines(batch)
            await self.append(text)
            return rejected
        return await seam.current().in_thread(self._append_lines, lines, batch)

    def must_be_ours(self) -> None:
        """`SinkChanged` where another runner has put a file in the place of the one that was written. Blocks."""
        self._file.must_be_ours()

    def finish(self) -> None:
        """Nothing more will come: the target is to exist, even if it stays empty."""
        self._wanted = True

    async def publish(self) -> None:
        """The target is whole under its name, durable, when this returns."""
        await self.begin()
        self._wanted = True
        if self._in_place:
            await self.commit(await self.prepare())
        else:
            await seam.current().in_thread(self._publish)

    async def close(self) -> None:
        """Close the file and discard what is neither prepared nor published."""
        if not self._file.exists:
            await trio.lowlevel.checkpoint()
        else:
            await seam.current().in_thread(self._close)

    # --- the barrier ---

    def prepare_here(self) -> dict[str, Json]:
        """`prepare`, blocking: for who is in a thread already."""
        self._begin()
        if self._held or self._file.needs_sync or (self._wanted and not self._file.exists):
            self._sync()
        self._prepared = self._size
        return self._token().to_json()

    async def prepare(self) -> dict[str, Json]:
        return await seam.current().in_thread(self.prepare_here)

    async def commit(self, token: Json) -> None:
        known = FileToken.from_json(token)
        if known.exists and self._file.at != self._target:
            await seam.current().in_thread(self._put_in_place)
        else:
            await trio.lowlevel.checkpoint()

    async def recover(self, token: Json) -> None:
        known = FileToken.from_json(token)
        await seam.current().in_thread(self._recover, known)
        self._begun = True

    async def restart(self, token: Json) -> None:
        known = FileToken.from_json(token)
        await seam.current().in_thread(self._undo, known)
        self._begun = True

    # --- blocking, in a thread ---

    def _begin(self) -> None:
        if not self._begun:
            self._settle_existing()
            self._begun = True

    def _settle_existing(self) -> None:
        files = seam.current().files
        if not files.exists(self._target):
            return
        policy = self._policy or ("error" if self._in_place and not self.live else "replace")
        if policy == "error":
            self._refuse_existing()
        if policy == "replace":
            if self._in_place:
                self._drop_strays()
                self._set_new(self._beside(f"{self._fence}.new"))
            return
        size = files.status(self._target).size
        if self._in_place:
            self._set_found(self._target, size, created=False, base=size)
            return
        beside = self._file.at
        try:
            files.copy(self._target, beside)
            self._set_found(beside, size, created=False, base=size)
        except BaseException:
            files.unlink(beside)
            raise

    def _refuse_existing(self) -> None:
        if seam.current().files.exists(self._target):
            raise SinkChanged(
                f"{self.path} exists, and no checkpoint of this pipeline knows it: move it away, or say "
                'if_exists="append" or if_exists="replace"'
            )

    def _has_room(self, data: bytes | memoryview) -> bool:
        """Whether the buffer takes it, with no I/O."""
        limit = _BUFFER if self._file.packing == "none" else _COMPRESSED_BUFFER
        return self._held + len(self._joint) + len(data) < limit

    def _append_lines(self, lines: Lines, batch: "pa.RecordBatch") -> Rejections:
        text, rejected = lines(batch)
        self._append(text)
        return rejected

    def _append(self, data: bytes | memoryview) -> None:
        if not data:
            return
        joined = self._joint + data if self._joint else data
        if self._has_room(data):
            self._pieces.append(joined)
            self._held += len(joined)
        else:
            self._write_through(joined)
        self._joint = b""

    def _write_through(self, data: bytes | memoryview) -> None:
        self._file.write(b"".join([*self._pieces, data]) if self._pieces else data)
        self._drop_pieces()

    def _drop_pieces(self) -> None:
        self._pieces.clear()
        self._held = 0

    def _sync(self) -> None:
        if self._held or (self._wanted and not self._file.exists):
            self._write_through(b"")
        self._file.sync()

    def _publish(self) -> None:
        if self._policy == "error":
            self._refuse_existing()
        self._sync()
        self._file.release()
        self._rename(self._file.at, self._target)
        self._published = True

    def _put_in_place(self) -> None:
        self._rename(self._file.at, self._target)
        self._file.at = self._target

    def _rename(self, source: Path, target: Path) -> None:
        files = seam.current().files
        files.replace(source, target)
        files.sync_directory(target.parent)

    def _close(self) -> None:
        try:
            if not self._in_place:
                if not self._published:
                    self._file.discard(None)
            elif self._prepared != self._size or self._file.torn:
                self._file.discard(self._prepared)
        finally:
            self._file.release()
            self._drop_pieces()
            self._file.exists = False

    # --- recovery, blocking ---

    def _recover(self, token: FileToken) -> None:
        where, found = self._look(token)
        size = None if where is None else settled_size(token, found, completed=self._completed)
        self._leave(token, where, found, size)

    def _undo(self, token: FileToken) -> None:
        where, found = self._look(token)
        size = None if where is None else undone_size(token, found, completed=self._completed)
        self._leave(token, where, found, size)

    def _look(self, token: FileToken) -> tuple[Path | None, Found]:
        """The file that the token speaks of; `None` where the target isn't this pipeline's yet."""
        if token.pending is not None:
            if not token.exists:
                return None, Found(size=None)
            pending = self._target.with_name(token.pending)
            if seam.current().files.exists(pending):
                return pending, look_at(pending, token)
        return self._target, look_at(self._target, token)

    def _leave(self, token: FileToken, where: Path | None, found: Found, size: int | None) -> None:
        """Make the target what was decided, and this object what goes on from there."""
        files = seam.current().files
        if where is not None and size is not None:
            if self._takeover:
                copy = self._beside(f"{self._fence}.copy.new")
                files.copy(where, copy)
                cut(copy, size)
                self._rename(copy, self._target)
            else:
                if found.size != size:
                    cut(where, size)
                if where != self._target:
                    self._rename(where, self._target)
        elif where is not None and found.size is not None:
            files.unlink(where)
            files.sync_directory(where.parent)
        self._drop_strays()
        if size is not None:
            self._set_found(self._target, size, created=token.created, base=token.base)
        else:
            ours = where == self._target  # what is there else is to be replaced, and stays until then
            self._set_new(self._target if ours else self._beside(f"{self._fence}.new"))

    def _drop_strays(self) -> None:
        """Files beside the target that runs before this one left."""
        files = seam.current().files
        for stray in files.matches(
            f"{glob.escape(str(self._target.parent))}/.{glob.escape(self._target.name)}.*.new"
        ):
            files.unlink(Path(stray))

    # --- bookkeeping ---

    def _beside(self, suffix: str) -> Path:
        return self._target.with_name(f".{self._target.name}.{suffix}")

    @property
    def _size(self) -> int | None:
        return self._file.offset if self._file.exists else None

    def _set_new(self, at: Path) -> None:
        self._file = Appender(at, compression_of(self.path, self.compression))
        self._created, self._base, self._joint, self._prepared = True, 0, b"", None

    def _set_found(self, at: Path, size: int, *, created: bool, base: int) -> None:
        """Assigned only after the last thing that can fail: half of it would have `close` remove the file."""
        packing = compression_of(self.path, self.compression)
        check_packing(at, packing)
        file = Appender.found(at, packing, size)
        foreign = not created and size == base
        joint = b"\n" if foreign and not ends_whole(at) else b""
        self._file, self._created, self._base, self._joint, self._prepared = file, created, base, joint, size

    def _token(self) -> FileToken:
        return FileToken(
            path=str(self.path),
            created=self._created,
            base=self._base,
            exists=self._file.exists,
            size=self._file.offset,
            edges=self._file.edges,
            pending=None if self._file.at == self._target else self._file.at.name,
        )
