"""A file that records are appended to: whole at the end of a run, or part of the barrier.

Without checkpoints everything goes to a file beside the target, which `publish` renames into place. With
checkpoints (or `live`) the target is appended in place and cut back to the last token by `recover`; only
where an existing target is replaced does a file beside it wait for the first commit, so that until then the
old content can come back.
"""

import glob
import os
from pathlib import Path
from typing import IO, Literal

import attrs
import trio

from agora import seam
from agora.context import RunContext
from agora.errors import ConfigError, SinkChanged
from agora.records import Json
from agora.sinks.compress import Compression, compress, compression_of
from agora.sinks.disk import cut, edges, look_at, same_file
from agora.sinks.existing import ends_whole
from agora.sinks.recovery import EDGE, FileToken, Found, fingerprint, settled_size, undone_size

__all__ = ["AppendFile", "IfExists", "PublishWhen", "as_path"]

IfExists = Literal["error", "append", "replace"]
PublishWhen = Literal["end", "live"]

_BUFFER = 256 * 1024
_COMPRESSED_BUFFER = 1024 * 1024


def as_path(path: "str | os.PathLike[str]") -> Path:
    return Path(path)


@attrs.define(eq=False)
class AppendFile:
    """Takes bytes in pieces of whole records. One run at a time; `open` begins anew.

    Every async method is a trio checkpoint; one that is cancelled has done nothing. A failed write leaves the
    file at the end of the last whole piece and keeps what was accepted before, for the next try.
    """

    path: Path
    if_exists: IfExists | None
    compression: Compression
    live: bool

    _in_place: bool = attrs.field(init=False, default=False)
    _completed: bool = attrs.field(init=False, default=False)
    _takeover: bool = attrs.field(init=False, default=False)
    _fence: int = attrs.field(init=False, default=0)
    _target: Path = attrs.field(init=False, factory=Path)
    _at: Path = attrs.field(
        init=False, factory=Path
    )  # the file that is written: the target, or one beside it
    _packing: Compression = attrs.field(init=False, default="none")
    _begun: bool = attrs.field(init=False, default=False)
    _published: bool = attrs.field(init=False, default=False)
    _created: bool = attrs.field(init=False, default=True)
    _exists: bool = attrs.field(
        init=False, default=False
    )  # the file at `_at`, as far as this run made or found it
    _base: int = attrs.field(init=False, default=0)
    _offset: int = attrs.field(init=False, default=0)
    _head: bytes = attrs.field(init=False, default=b"")
    _tail: bytes = attrs.field(init=False, default=b"")
    _joint: bytes = attrs.field(init=False, default=b"")  # ends the last line of what was there before
    _buffer: bytearray = attrs.field(init=False, factory=bytearray)
    _handle: IO[bytes] | None = attrs.field(init=False, default=None)
    _torn: bool = attrs.field(init=False, default=False)  # bytes beyond `_offset` may be on disk
    _unsynced: bool = attrs.field(init=False, default=False)
    _new_entries: list[Path] = attrs.field(init=False, factory=list)  # directories to sync
    _lost: OSError | None = attrs.field(init=False, default=None)  # an fsync that failed can't be made good
    _prepared: tuple[bool, int] = attrs.field(init=False, default=(False, 0))
    _wanted: bool = attrs.field(init=False, default=False)  # make the file even if there is nothing to write

    # --- a run ---

    async def open(self, context: RunContext) -> None:
        """Make nothing yet. `ConfigError` for a directory, `SinkChanged` where `if_exists="error"` already
        tells."""
        self._begin_run(context)
        await seam.current().in_thread(self._check_target)

    def _begin_run(self, context: RunContext) -> None:
        self._in_place = context.transactional or self.live
        self._completed = context.resumed_from is not None and context.resumed_from.completed
        self._takeover, self._fence = context.takeover, context.fence
        self._target = Path(os.path.abspath(self.path))
        self._packing = compression_of(self.path, self.compression)
        self._begun = self._published = self._torn = self._unsynced = self._wanted = False
        self._lost = self._handle = None
        self._buffer, self._new_entries = bytearray(), []
        self._set_new(self._target)
        if not self._in_place:
            self._at = self._beside(f"{seam.current().random_id()}.tmp")

    def _check_target(self) -> None:
        if self._target.is_dir():
            raise ConfigError(f"{self.path} is a directory: give the name of a file in it")
        if not self._in_place and self.if_exists == "error":
            self._refuse_existing()

    @property
    def empty(self) -> bool:
        """Whether nothing was written or accepted yet, so that a header is due. After `begin`."""
        return not self._offset and not self._buffer

    @property
    def at(self) -> Path:
        """The file that is written: the target, or one beside it."""
        return self._at

    async def begin(self) -> None:
        """Settle what becomes of an existing target, once, where `recover` hasn't. Then no trio checkpoint.

        `SinkChanged` where there is one and `if_exists` says so.
        """
        if not self._begun:
            await seam.current().in_thread(self._settle_existing)
            self._begun = True

    async def append(self, data: bytes) -> None:
        """Take whole records. `OSError`: not taken; what was taken before is kept."""
        await self.begin()
        data = self._joint + data if data else data
        limit = _BUFFER if self._packing == "none" else _COMPRESSED_BUFFER
        if len(self._buffer) + len(data) < limit:
            await trio.lowlevel.checkpoint()
            self._buffer += data
            self._joint = b"" if data else self._joint
        else:
            await seam.current().in_thread(self._write_through, data)

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
        if self._handle is None and not self._exists:
            await trio.lowlevel.checkpoint()
        else:
            await seam.current().in_thread(self._close)

    # --- the barrier ---

    async def prepare(self) -> dict[str, Json]:
        await self.begin()
        if self._buffer or self._unsynced or self._torn or self._lost or (self._wanted and not self._exists):
            await seam.current().in_thread(self._sync)
        else:
            await trio.lowlevel.checkpoint()
        self._prepared = (self._exists, self._offset)
        return self._token().to_json()

    async def commit(self, token: Json) -> None:
        pending = FileToken.from_json(token).pending
        if pending is not None and self._exists:
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

    def _settle_existing(self) -> None:
        files = seam.current().files
        if not self._target.exists():
            return
        policy = self.if_exists or ("error" if self._in_place and not self.live else "replace")
        if policy == "error":
            self._refuse_existing()
        if policy == "replace":
            if self._in_place:
                self._at = self._beside(f"{self._fence}.new")
                files.unlink(self._at)
            return
        size = self._target.stat().st_size
        if not self._in_place:
            try:
                files.copy(self._target, self._at)
            except BaseException:
                files.unlink(self._at)
                raise
        self._set_found(self._at, size, created=False, base=size)

    def _refuse_existing(self) -> None:
        if self._target.exists():
            raise SinkChanged(
                f"{self.path} exists, and no checkpoint of this pipeline knows it: move it away, or say "
                'if_exists="append" or if_exists="replace"'
            )

    def _write_through(self, data: bytes) -> None:
        self._write(bytes(self._buffer) + data)
        self._buffer.clear()
        self._joint = b"" if data else self._joint

    def _write(self, data: bytes) -> None:
        packed = compress(data, self._packing)
        handle = self._writable()
        self._unsynced = True
        try:
            seam.current().files.write(handle, packed)
        except BaseException:
            self._cut_back()
            raise
        self._offset += len(packed)
        if len(self._head) < EDGE:
            self._head += packed[: EDGE - len(self._head)]
        self._tail = (self._tail + packed)[-EDGE:]

    def _writable(self) -> IO[bytes]:
        """The open file, at the end of the last whole record, with nothing behind it."""
        if self._handle is not None:
            return self._handle
        files = seam.current().files
        if self._exists:
            handle = files.open(self._at, "r+b")
        else:
            self._make_parents()
            try:
                handle = files.open(self._at, "x+b")
            except FileExistsError as error:
                raise SinkChanged(
                    f"{self._at} has appeared since this run began: another one writes it"
                ) from error
            self._exists = True
            self._new_entries.append(self._at.parent)
        try:
            if self._torn or os.fstat(handle.fileno()).st_size != self._offset:
                files.truncate(handle, self._offset)
            handle.seek(self._offset)
        except BaseException:
            handle.close()
            raise
        self._handle, self._torn = handle, False
        return handle

    def _make_parents(self) -> None:
        """With the directories whose entries are then to be synced."""
        made = [parent for parent in self._at.parents if not parent.exists()]
        if made:
            seam.current().files.make_directory(self._at.parent)
            self._new_entries.extend(parent.parent for parent in made)

    def _cut_back(self) -> None:
        """After a failed write. Where this fails too, the next write begins with it."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        try:
            seam.current().files.truncate(handle, self._offset)
        except OSError:
            self._torn = True
        finally:
            handle.close()

    def _sync(self) -> None:
        files = seam.current().files
        if self._lost is not None:
            raise OSError(
                f"{self.path}: an earlier fsync failed, so what was written can't be relied on"
            ) from self._lost
        if self._buffer or (self._wanted and not self._exists):
            self._write_through(b"")
        handle = self._writable()
        try:
            files.fsync(handle)
            while self._new_entries:
                files.sync_directory(self._new_entries[-1])
                self._new_entries.pop()
        except OSError as error:
            self._lost = error
            raise
        self._unsynced = False

    def _publish(self) -> None:
        if self.if_exists == "error":
            self._refuse_existing()
        self._sync()
        self._release()
        self._rename(self._at, self._target)
        self._published = True

    def _put_in_place(self) -> None:
        if self._at != self._target:
            self._rename(self._at, self._target)
            self._at = self._target

    def _rename(self, source: Path, target: Path) -> None:
        files = seam.current().files
        files.replace(source, target)
        files.sync_directory(target.parent)

    def _close(self) -> None:
        try:
            if not self._in_place:
                if not self._published:
                    self._release()
                    seam.current().files.unlink(self._at)
            elif self._prepared != (self._exists, self._offset) or self._torn:
                self._discard_unprepared()
        finally:
            self._release()
            self._buffer.clear()
            self._exists = False

    def _discard_unprepared(self) -> None:
        files = seam.current().files
        exists, self._offset = self._prepared
        self._torn = True
        handle = self._writable()
        if exists:
            files.truncate(handle, self._offset)
        elif self._created and same_file(
            handle, self._at
        ):  # not one that another runner has put there meanwhile
            files.unlink(self._at)

    def _release(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()

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
            if pending.exists():
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
            self._set_new(self._target if where is not None else self._beside(f"{self._fence}.new"))

    def _drop_strays(self) -> None:
        """Files beside the target that runs before this one left."""
        for stray in self._target.parent.glob(f".{glob.escape(self._target.name)}.*.new"):
            seam.current().files.unlink(stray)

    # --- bookkeeping ---

    def _beside(self, suffix: str) -> Path:
        return self._target.with_name(f".{self._target.name}.{suffix}")

    def _set_new(self, at: Path) -> None:
        self._at, self._created, self._exists = at, True, False
        self._base = self._offset = 0
        self._head = self._tail = self._joint = b""
        self._prepared = (False, 0)

    def _set_found(self, at: Path, size: int, *, created: bool, base: int) -> None:
        """All at once, after the last thing that can fail: half of it would have `close` remove what was
        there."""
        head, tail = edges(at, size)
        foreign = not created and size == base
        self._joint = b"\n" if foreign and not ends_whole(at) else b""
        self._head, self._tail = head, tail
        self._created, self._base = created, base
        self._at, self._exists, self._offset = at, True, size
        self._prepared = (True, size)

    def _token(self) -> FileToken:
        return FileToken(
            path=str(self.path),
            created=self._created,
            base=self._base,
            exists=self._exists,
            size=self._offset,
            edges=fingerprint(self._head, self._tail),
            pending=None if self._at == self._target else self._at.name,
        )
