"""The exceptions that agora raises. All derive from `AgoraError`.

An error of a user's part (a source, step, sink) is not wrapped: `run()` raises the original itself, with notes.
"""

from collections.abc import Mapping, Sequence

__all__ = [
    "AgoraError",
    "ConfigError",
    "PipelineBusy",
    "RecordsRejected",
    "SinkChanged",
    "SourceChanged",
    "StateError",
    "TooManyDeadLetters",
    "WorkerCrashed",
    "WorkerError",
    "WorkerTimeout",
]


class AgoraError(Exception):
    """Base of every error that agora itself raises."""


class ConfigError(AgoraError):
    """A pipeline, its options or its config file can't be what was asked for.

    `problems` holds every problem that was found, one text each; the message lists them all.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


class StateError(AgoraError):
    """A state backend can't be read or written, is damaged, or an expectation of a transaction didn't hold."""


class SourceChanged(AgoraError):
    """The source isn't the one that the checkpoint was made with (replaced, shortened, reordered)."""


class SinkChanged(AgoraError):
    """The sink's target isn't what the checkpoint's token says, or exists before a first run."""


class PipelineBusy(AgoraError):
    """Another runner holds the lease of this pipeline."""


class TooManyDeadLetters(AgoraError):
    """More records were dead-lettered than `max_dead_letters` allows."""


class WorkerError(AgoraError):
    """A worker process didn't give an answer for a record; also in place of an exception that can't be brought over
    from there."""


class WorkerCrashed(WorkerError):
    """The worker process ended while it worked on a record. `exit_code`: what it ended with; negative: the signal that
    killed it."""

    def __init__(self, message: str, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class WorkerTimeout(WorkerError):
    """The worker process was killed, since it took longer than `timeout` over a record."""


class RecordsRejected(AgoraError):
    """Raised by `Sink.write`: these records of the batch were refused, all others were accepted.

    `errors` maps the index in the batch (0-based) to the reason.
    """

    def __init__(self, errors: Mapping[int, Exception]) -> None:
        self.errors: Mapping[int, Exception] = dict(errors)
        first = min(self.errors, default=None)
        detail = "" if first is None else f"; the first, at index {first}: {self.errors[first]}"
        super().__init__(f"{len(self.errors)} record(s) rejected{detail}")
