"""What a file has to be, and what has to be done to it, when a run finds its target again: pure decisions.

A token says how long the file was and what it looked like at both ends. Names and inodes are not in it: a
target that was copied to another disk and back is still the target, one that was replaced under the same name
is not.
"""

import hashlib
from typing import Any

import attrs

from agora.errors import SinkChanged
from agora.records import Json

__all__ = ["EDGE", "FileToken", "Found", "fingerprint", "settled_size", "undone_size"]

EDGE = 4096
"""Bytes at the start, and at the end, of a file that its fingerprint covers."""


def fingerprint(head: bytes, tail: bytes) -> str:
    """Of the first and the last `EDGE` bytes (fewer, where the file is shorter)."""
    return hashlib.blake2b(head + tail, digest_size=12).hexdigest()


@attrs.frozen(kw_only=True)
class FileToken:
    """What the target has to hold. JSON-able through `to_json`."""

    path: str
    """For messages only; the target is found by the sink's own path."""
    created: bool
    """The pipeline made the file: undone, it is removed; else it is cut to `base`."""
    base: int
    """Bytes that were there before the pipeline's first run."""
    exists: bool
    """Whether the file is there at all, which may be empty."""
    size: int
    """Bytes, always at the end of a whole record."""
    edges: str
    """`fingerprint` of the first `size` bytes."""
    pending: str | None = None
    """Name, beside the target, of the file that takes the target's place at the commit
    (`if_exists="replace"`)."""

    def to_json(self) -> dict[str, Json]:
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_json(cls, token: Json) -> "FileToken":
        """`SinkChanged` for a token that no file sink made."""
        if isinstance(token, dict):
            known: dict[str, Any] = {name: token[name] for name in _FIELDS if name in token}
            if len(known) == len(_FIELDS):
                return cls(**known)
        raise SinkChanged(
            f"the checkpoint holds {token!r} for this sink, which isn't a file's token: the sink of this "
            "name was of another kind when it was saved. Give the sink a new name=, or run with restart=True"
        )


_FIELDS = tuple(field.name for field in attrs.fields(FileToken))


@attrs.frozen(kw_only=True)
class Found:
    """What is there now. `size` is `None` where nothing is; `edges` of the token's `size` bytes, `""` where
    shorter."""

    size: int | None
    edges: str = ""


_WAYS_OUT = "Put it back as it was; or move it away and start over with restart=True (`agora run --restart`)"


def settled_size(token: FileToken, found: Found, *, completed: bool) -> int | None:
    """The size to cut the file to; `None` where there is to be none (removed, or begun anew).

    `completed`: the checkpoint is of a completed run, so nothing was written after it. `SinkChanged` where
    the file isn't the one that the token was made for.
    """
    if found.size is None:
        if not token.exists or completed:
            return None
        raise SinkChanged(f"{token.path} is missing: {token.size} bytes of it are committed. {_WAYS_OUT}")
    if completed and found.size > token.size:
        raise SinkChanged(
            f"{token.path} has {found.size} bytes, {found.size - token.size} more than when its run "
            "completed: something else wrote to it, or the state is older than the file. Remove what was "
            "added, or move the file away: the next run then begins a new one"
        )
    if not token.exists:
        return None
    if found.size < token.size:
        raise SinkChanged(
            f"{token.path} was shortened: it has {found.size} bytes, {token.size} are committed. {_WAYS_OUT}"
        )
    if found.edges != token.edges:
        raise SinkChanged(
            f"{token.path} was replaced or changed: its first {token.size} bytes aren't those that were "
            f"committed. {_WAYS_OUT}"
        )
    return token.size


def undone_size(token: FileToken, found: Found, *, completed: bool) -> int | None:
    """As `settled_size`, for a restart: without anything that this pipeline wrote, also where it is undone
    already."""
    if not token.created and found.size == token.base:
        return token.base
    if found.size is None or settled_size(token, found, completed=completed) is None:
        return None
    return None if token.created else token.base
