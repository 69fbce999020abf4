"""A value with the checksum of its row, so that a flipped bit anywhere in it is damage that is reported, not an answer.

SQLite has none of its own: it finds a page that makes no sense, and takes a value that is merely another one. The key
and the time of expiry are part of it, since a row under another key is a lost one.
"""

import struct
import zlib
from typing import Any

import apsw

__all__ = ["opened", "register", "sealed"]

_SIZE = 4  # bytes of a CRC-32, ahead of the value


def sealed(namespace: str, key: str, expires: float | None, value: bytes) -> bytes:
    """What is stored."""
    return _checksum(namespace, key, expires, value) + value


def opened(namespace: str, key: str, expires: float | None, stored: bytes) -> bytes:
    """The value. `apsw.CorruptError`: the row isn't what was stored."""
    value = stored[_SIZE:]
    if stored[:_SIZE] != _checksum(namespace, key, expires, value):
        raise apsw.CorruptError(
            f"the row {key!r} of {namespace!r} isn't what was written: its checksum is another"
        )
    return value


def register(connection: apsw.Connection) -> None:
    """Make `sealed` a function of SQL in this connection, which a migration calls."""

    def function(*arguments: Any) -> Any:
        return sealed(*arguments)

    connection.create_scalar_function("agora_sealed", function, 4, deterministic=True)


def _checksum(namespace: str, key: str, expires: float | None, value: bytes) -> bytes:
    head = f"{namespace}\0{key}\0".encode("utf-8", "surrogatepass")
    if expires is not None:
        head += struct.pack("<d", expires)
    return zlib.crc32(value, zlib.crc32(head)).to_bytes(_SIZE, "big")
