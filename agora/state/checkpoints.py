"""Checkpoints on a state backend: one row a pipeline, replaced whole by every barrier.

A row begins with its format and a checksum, so that damage is found where it is read rather than resumed
from; the rest is tagged JSON, since positions and snapshots come from users' parts and may hold more than
JSON can say.
"""

import zlib
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import attrs

from agora import tagged
from agora.checkpoint import Checkpoint
from agora.errors import PipelineBusy, StateError
from agora.state.base import Change, Delete, ExpectationFailed, Put, StateBackend
from agora.state.lease import fence_expectation
from agora.state.transaction import describe, opened

__all__ = ["CheckpointStore"]

_NAMESPACE = "checkpoint"
_FORMAT = b"1"


@attrs.frozen
class CheckpointStore:
    """Where a pipeline's checkpoints are kept. A backend that isn't open is opened for the length of each
    call."""

    state: StateBackend

    async def load(self, pipeline: str) -> Checkpoint | None:
        """The last checkpoint of this pipeline. `StateError`, naming both, for one that can't be read."""
        async with opened(self.state):
            data = await self.state.get(_NAMESPACE, pipeline)
        if data is None:
            return None
        try:
            return _decode(data)
        except StateError as error:
            raise StateError(
                f"the checkpoint of pipeline {pipeline!r} in {describe(self.state)} can't be read: {error};"
                " restore the state from a backup, or start over with restart=True"
            ) from error

    async def save(self, pipeline: str, checkpoint: Checkpoint, *, also: Sequence[Change] = ()) -> None:
        """Replace the checkpoint, and make the changes `also`, in one transaction.

        With a fence it happens only while the lease of that number holds: `PipelineBusy` once a later runner
        has taken over. On any other error, or when cancelled, it happened whole or not at all.
        """
        changes: list[Change] = [Put(_NAMESPACE, pipeline, _encode(checkpoint)), *also]
        fence = fence_expectation(pipeline, checkpoint.fence) if checkpoint.fence > 0 else None
        if fence is not None:
            changes.append(fence)
        async with opened(self.state):
            try:
                await self.state.apply(changes)
            except ExpectationFailed as error:
                if error.expectation != fence:
                    raise
                raise PipelineBusy(
                    f"pipeline {pipeline!r}: a later runner has taken over, so this run ({checkpoint.run_id},"
                    f" fence {checkpoint.fence}) saves nothing more"
                ) from error

    async def delete(self, pipeline: str) -> None:
        """Forget the checkpoint; the next run starts from the beginning. None there is no error."""
        async with opened(self.state):
            await self.state.apply([Delete(_NAMESPACE, pipeline)])

    async def list(self) -> list[str]:
        """Names of the pipelines that have a checkpoint, sorted."""
        names = []
        async with opened(self.state), aclosing(self.state.scan(_NAMESPACE)) as found:
            async for name, _ in found:
                names.append(name)
        return names


def _encode(checkpoint: Checkpoint) -> bytes:
    body = tagged.encode(
        {
            "position": checkpoint.position,
            "skip": checkpoint.skip,
            "ordinal": checkpoint.ordinal,
            "source": checkpoint.source,
            "sinks": dict(checkpoint.sinks),
            "states": dict(checkpoint.states),
            "fence": checkpoint.fence,
            "run_id": checkpoint.run_id,
            "saved_at": checkpoint.saved_at,
            "completed": checkpoint.completed,
        }
    )
    return b"%s %08x %s" % (_FORMAT, zlib.crc32(body), body)


def _decode(data: bytes) -> Checkpoint:
    version, _, rest = data.partition(b" ")
    if version != _FORMAT:
        raise StateError(
            f"its format is {version[:20]!r}, this agora reads {_FORMAT!r}: a newer agora, or damage"
        )
    checksum, _, body = rest.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        raise StateError("it is damaged (its checksum doesn't match)")
    fields: dict[str, Any] = tagged.decode(body)
    return Checkpoint(**fields)
