"""The state that a command looks at or changes: what is there, and the lease that changing it takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from glob import escape
from pathlib import Path
from typing import Any

import trio

from agora import seam
from agora.bound import BoundPipeline
from agora.cli.outcome import UsageError
from agora.state import CheckpointStore, opened
from agora.state.base import StateBackend
from agora.state.lease import acquire

__all__ = ["can_be_read", "checkpoint_store", "leased", "letter_queue", "nothing_saved"]


def checkpoint_store(bound: BoundPipeline) -> CheckpointStore:
    """The pipeline's checkpoint store. Raises `UsageError` where it has none."""
    store = bound.spec.checkpoint_store
    if not isinstance(store, CheckpointStore):
        raise UsageError(
            f"pipeline {bound.name!r} has no checkpoints; give it checkpoint = {{ … }} and a state"
        )
    return store


def letter_queue(bound: BoundPipeline) -> Any:
    """The pipeline's dead-letter queue. Raises `UsageError` where it has none that can be read."""
    queue = bound.spec.dlq
    if queue is None:
        raise UsageError(
            f'pipeline {bound.name!r} has no dead-letter queue; give it dlq = {{ type = "state" }}'
        )
    if not can_be_read(bound):
        raise UsageError(
            f"the dead-letter queue of pipeline {bound.name!r} ({type(queue).__name__}) can be written only: "
            "look at what it wrote"
        )
    return queue


def can_be_read(bound: BoundPipeline) -> bool:
    """Whether the dead-letter queue is one that letters can be read from and deleted in."""
    return all(callable(getattr(bound.spec.dlq, method, None)) for method in ("read", "delete"))


def nothing_saved(queue: Any) -> bool:
    """Whether the queue's state is a file that isn't there yet: looking at it would make it."""
    path = getattr(getattr(queue, "state", None), "path", None)
    return isinstance(path, Path) and not any(path.parent.glob(f"{escape(path.name)}*"))


@asynccontextmanager
async def leased(state: StateBackend, pipeline: str) -> AsyncIterator[None]:
    """Hold the pipeline's lease. Raises `PipelineBusy` while a run holds it.

    What the block raises comes out as itself. Cancellation gives the lease back.
    """
    failure: Exception | None = None
    async with opened(state):
        lease = await acquire(state, pipeline, seam.current().random_id())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lease.keep)
                try:
                    yield
                except Exception as error:  # noqa: BLE001  - raised below, outside the nursery, which would group it
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await lease.release()
    if failure is not None:
        raise failure
