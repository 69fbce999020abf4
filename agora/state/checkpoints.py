"""Checkpoints on a state backend: one row a pipeline, replaced whole by every barrier.

Of the state of steps (`context.state`) a checkpoint holds the place only: the rows themselves change beside
it, in its transaction (`agora.state.steplog`), since saving them whole would cost each barrier their size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager

import attrs

from agora.checkpoint import Checkpoint
from agora.errors import PipelineBusy, StateError
from agora.records import Json
from agora.state.base import Change, Delete, ExpectationFailed, Put, StateBackend
from agora.state.lease import fence_expectation
from agora.state.sealed import seal, unseal
from agora.state.steplog import removals_of
from agora.state.transaction import describe, opened
from agora.threaded import blocking_form, with_blocking_form

__all__ = ["CheckpointStore", "checkpoints_in"]

_NAMESPACE = "checkpoint"
_GENESIS = "checkpoint.genesis"
_FORMAT = b"2"


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
            raise self._unreadable(pipeline, error) from error

    @with_blocking_form(lambda store: store._put_here())
    async def save(self, pipeline: str, checkpoint: Checkpoint, *, also: Sequence[Change] = ()) -> None:
        """Replace the checkpoint, and make the changes `also`, in one transaction.

        With a fence it happens only while the lease of that number holds: `PipelineBusy` once a later runner
        has taken over. On any other error, or when cancelled, it happened whole or not at all.
        """
        await self._put(pipeline, checkpoint, also)

    async def amend(self, pipeline: str, checkpoint: Checkpoint, *, also: Sequence[Change] = ()) -> None:
        """As `save`, where the place is the one that was saved before, and only what is said of it changes: that the
        source is exhausted there, or isn't anymore."""
        await self._put(pipeline, checkpoint, also)

    async def begin(
        self,
        pipeline: str,
        tokens: Mapping[str, Json],
        fence: int,
        *,
        afresh: bool,
        instead: Checkpoint | None = None,
        also: Sequence[Change] = (),
    ) -> None:
        """Save the base token of each sink (the genesis), under the fence, before anything is written.

        `afresh`: also forget the checkpoint and the state of steps; or save another `instead` of it. That and the
        changes `also` are in the same transaction.
        """
        changes: list[Change] = [Put(_GENESIS, pipeline, seal(_FORMAT, dict(tokens)))]
        async with opened(self.state):
            if afresh:
                changes += [Delete(_NAMESPACE, pipeline), *await removals_of(self.state, pipeline)]
            elif instead is not None:
                changes.append(Put(_NAMESPACE, pipeline, _encode(instead)))
            await self._apply(pipeline, [*changes, *also], fence)

    async def genesis(self, pipeline: str) -> Mapping[str, Json]:
        """The base tokens that `begin` saved; none where no run began."""
        async with opened(self.state):
            data = await self.state.get(_GENESIS, pipeline)
        if data is None:
            return {}
        try:
            tokens: Mapping[str, Json] = unseal(_FORMAT, data)
        except StateError as error:
            raise self._unreadable(pipeline, error) from error
        return tokens

    async def delete(self, pipeline: str) -> None:
        """Forget the checkpoint and the state of steps; the next run starts from the beginning. None there is no
        error."""
        async with opened(self.state):
            await self.state.apply(
                [
                    Delete(_NAMESPACE, pipeline),
                    Delete(_GENESIS, pipeline),
                    *await removals_of(self.state, pipeline),
                ]
            )

    async def list(self) -> list[str]:
        """Names of the pipelines that have a checkpoint, sorted."""
        names = []
        async with opened(self.state), aclosing(self.state.scan(_NAMESPACE)) as found:
            async for name, _ in found:
                names.append(name)
        return names

    async def _put(self, pipeline: str, checkpoint: Checkpoint, also: Sequence[Change]) -> None:
        await self._apply(pipeline, [Put(_NAMESPACE, pipeline, _encode(checkpoint)), *also], checkpoint.fence)

    def _put_here(self) -> Callable[..., None] | None:
        """`save` for who is in a thread already; `None` where the backend isn't open, or knows only to be awaited."""
        apply = blocking_form(self.state.apply) if self.state.is_open else None
        if apply is None:
            return None

        def put(pipeline: str, checkpoint: Checkpoint, *, also: Sequence[Change] = ()) -> None:
            number = checkpoint.fence
            changes = [Put(_NAMESPACE, pipeline, _encode(checkpoint)), *also]
            with _only_while_held(pipeline, number):
                apply(_fenced(pipeline, number, changes))

        return put

    async def _apply(self, pipeline: str, changes: Sequence[Change], number: int) -> None:
        async with opened(self.state):
            with _only_while_held(pipeline, number):
                await self.state.apply(_fenced(pipeline, number, changes))

    def _unreadable(self, pipeline: str, error: StateError) -> StateError:
        return StateError(
            f"the checkpoint of pipeline {pipeline!r} in {describe(self.state)} can't be read: {error};"
            " restore the state from a backup, or start over with restart=True"
        )


def checkpoints_in(changes: Sequence[Change]) -> list[tuple[str, Checkpoint | None]]:
    """The pipelines whose checkpoint these changes replace, and by what; `None`: it is forgotten."""
    return [
        (change.key, _decode(change.value) if isinstance(change, Put) else None)
        for change in changes
        if isinstance(change, Put | Delete) and change.namespace == _NAMESPACE
    ]


def _fenced(pipeline: str, number: int, changes: Sequence[Change]) -> Sequence[Change]:
    return [fence_expectation(pipeline, number), *changes] if number > 0 else changes


@contextmanager
def _only_while_held(pipeline: str, number: int) -> Iterator[None]:
    """`PipelineBusy` where it is the fence that the changes met with."""
    try:
        yield
    except ExpectationFailed as error:
        if number <= 0 or error.expectation != fence_expectation(pipeline, number):
            raise
        raise PipelineBusy(
            f"pipeline {pipeline!r}: a later runner has taken over, so this run (fence {number})"
            " saves nothing more"
        ) from error


def _encode(checkpoint: Checkpoint) -> bytes:
    return seal(
        _FORMAT,
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
        },
    )


def _decode(data: bytes) -> Checkpoint:
    fields = unseal(_FORMAT, data)
    try:
        return Checkpoint(**fields)
    except TypeError as error:
        raise StateError(f"it doesn't hold what a checkpoint holds: {error}") from error
