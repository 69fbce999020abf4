"""Stopping a run from a place that may be reached before the run has begun."""

import attrs

from agora.runtime.handle import RunHandle

__all__ = ["Stopper"]


@attrs.define(eq=False)
class Stopper:
    """A `task_status` for a run, and how to stop that run: at once, or as soon as it has begun."""

    _handle: RunHandle | None = attrs.field(default=None, init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    def started(self, handle: RunHandle | None = None) -> None:
        """As of a `trio.TaskStatus`."""
        assert handle is not None
        self._handle = handle
        if self._stopped:
            handle.stop()

    def stop(self) -> None:
        """May be called at any time, from anywhere in the run's thread."""
        self._stopped = True
        if self._handle is not None:
            self._handle.stop()
