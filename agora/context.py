"""What a part learns of the run it works in."""

import logging
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager

import attrs

from agora.checkpoint import Checkpoint
from agora.records import Json
from agora.tracing.base import Span

__all__ = ["RunContext"]


@attrs.frozen(kw_only=True)
class RunContext:
    """Handed to `open`, `on_start` and `lifespan`; one for each part, good for the length of the run."""

    pipeline: str
    run_id: str
    stage: str
    """The part's own stage name: `"source"`, `"middleware:NAME"`, `"sink:NAME"`."""
    resumed_from: Checkpoint | None
    fence: int
    """Fencing number of the run's lease; 0 without a checkpoint store."""
    transactional: bool = False
    """True where checkpoints are saved: `prepare`, `commit` and `recover` are called, with saved tokens.
    False: a sink's target is published whole at the end of a successful run."""
    takeover: bool = False
    """True where the lease was taken from a holder that isn't proven dead: it may still write to the files it
    has open."""
    replay: bool = False
    """True in a replay of dead letters. Without checkpoints, a sink then adds to its target in place of
    replacing it."""
    state: MutableMapping[str, Json]
    """A middleware's own durable mapping of text to JSON-able values, in no particular order. It holds what the
    checkpoint says when `on_start` is called; what is changed is cut with the stream and saved in the barrier's
    transaction. A list or dict that it gives may be changed in place. `ConfigError`, which ends the run: a value
    that isn't JSON, a checkpoint store that can't save it, and any use in a buffered step or another part."""
    logger: logging.LoggerAdapter[logging.Logger]
    _span: Callable[[str, dict[str, Json]], AbstractContextManager[Span]] = attrs.field(alias="span")
    _count: Callable[[str, int], None] = attrs.field(alias="count")

    def span(self, name: str, **attributes: Json) -> AbstractContextManager[Span]:
        """Open a span of the run's tracer, a child of the span that is open in this task."""
        return self._span(name, attributes)

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter of this part; it lands in `RunSummary.stages` and in metrics."""
        self._count(name, n)
