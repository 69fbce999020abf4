"""An open file in memory: what `Path.open(mode, buffering=0)` gives, on a node."""

import io
import os
from typing import Any

from agora.testing.faults.nodes import FileNode

__all__ = ["MemoryHandle"]


class MemoryHandle(io.RawIOBase):
    """Unbuffered; `mode` as of `agora.seam.Files.open`. It goes on with its file whatever becomes of the name."""

    def __init__(self, node: FileNode, name: str, mode: str) -> None:
        super().__init__()
        self.node, self.name = node, name
        self._reads = mode[0] == "r" or "+" in mode
        self._writes = mode != "rb"
        self._appends = mode[0] == "a"
        self._place = len(node.now) if self._appends else 0

    def readable(self) -> bool:
        self._check_open()
        return self._reads

    def writable(self) -> bool:
        self._check_open()
        return self._writes

    def seekable(self) -> bool:
        self._check_open()
        return True

    def tell(self) -> int:
        self._check_open()
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: len(self.node.now)}[whence]
        if start + offset < 0:
            raise OSError(22, os.strerror(22))
        self._place = start + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        if not self.readable():
            raise io.UnsupportedOperation("File not open for reading")
        view = memoryview(buffer)
        piece = self.node.now[self._place : self._place + len(view)]
        view[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def write(self, data: Any) -> int:
        if not self.writable():
            raise io.UnsupportedOperation("File not open for writing")
        content = bytes(data)
        if self._appends:
            self._place = len(self.node.now)
        if content:
            self.node.write(self._place, content)
        self._place += len(content)
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        if not self.writable():
            raise io.UnsupportedOperation("truncate")
        size = self._place if size is None else size
        if size < 0:
            raise OSError(22, os.strerror(22))
        if size != len(self.node.now):
            self.node.truncate(size)
        return size

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")
