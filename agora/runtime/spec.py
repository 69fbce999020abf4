"""What a run is made from: the pipeline as it was built, frozen."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs

from agora.backpressure import Backpressure
from agora.middlewares.chain import MiddlewareChain
from agora.middlewares.step import Policy
from agora.records import Record
from agora.tracing.base import Tracer

__all__ = ["DEFAULT_EVERY", "DEFAULT_INTERVAL", "PipelineSpec", "SinkSpec"]

DEFAULT_EVERY = 10_000
"""Records between two checkpoints, where nothing is said."""
DEFAULT_INTERVAL = 5.0
"""Seconds between two checkpoints, where nothing is said."""
_COLUMNS = 65_536
_MIXED = 8_192


@attrs.frozen(kw_only=True)
class SinkSpec:
    """A sink at its place."""

    name: str
    sink: Any
    where: Callable[[Record], object] | None = None
    otherwise: bool = False
    on_error: Policy | None = None


@attrs.frozen(kw_only=True)
class PipelineSpec:
    """Everything that `Pipeline` and `build` were told. Parts are duck-typed by their contracts."""

    name: str
    source: Any
    source_policy: Policy | None
    chain: MiddlewareChain
    sinks: Sequence[SinkSpec]
    checkpoint_store: Any
    checkpoint_every: int | None
    checkpoint_interval: float | None
    dlq: Any
    max_dead_letters: int | float | None
    backpressure: Backpressure | None
    tracer: Tracer
    batch_size: int
    linger: float
    require: Literal["exactly_once"] | None = None

    @property
    def default_policy(self) -> Policy:
        """What a failure leads to where nothing is said."""
        return "dead_letter" if self.dlq is not None else "stop"

    @property
    def checkpointing(self) -> bool:
        """Whether checkpoints are saved: there is a store, and the source opted in."""
        return self.checkpoint_store is not None and bool(getattr(self.source, "supports_checkpoint", False))

    @property
    def cut_every(self) -> int | None:
        """Records between two cuts."""
        if not self.cuts:
            return None
        return self.checkpoint_every if self._said else DEFAULT_EVERY

    @property
    def cut_interval(self) -> float | None:
        """Seconds between two cuts."""
        if not self.cuts:
            return None
        return self.checkpoint_interval if self._said else DEFAULT_INTERVAL

    @property
    def cuts(self) -> bool:
        """Whether the stream is cut at all: for checkpoints, or for sinks that are live."""
        return self.checkpointing or any(is_live(spec.sink) for spec in self.sinks)

    @property
    def _said(self) -> bool:
        return self.checkpoint_every is not None or self.checkpoint_interval is not None

    @property
    def columns(self) -> bool:
        """Whether the source is asked for columns: where the first step takes them, or there is none and every sink
        does."""
        if self.chain.steps:
            return self.chain.steps[0].columns is not None
        return bool(self.sinks) and all(takes_columns(spec.sink) for spec in self.sinks)

    @property
    def rows_at_once(self) -> int:
        """Records of a batch at most. Columns want large batches; where they turn into rows on their way, these
        are to stay in the processor's cache."""
        if not self.columns:
            return self.batch_size
        through = all(step.columns is not None for step in self.chain.steps)
        whole = through and all(takes_columns(spec.sink) for spec in self.sinks)
        return max(self.batch_size, _COLUMNS if whole else _MIXED)

    @property
    def limits(self) -> Backpressure:
        """The backpressure that holds: what was given, or a limit that keeps every stage busy."""
        if self.backpressure is not None:
            return self.backpressure
        concurrency = sum(step.concurrency for step in self.chain.steps if step.buffered)
        return Backpressure.fixed(max(4 * self.rows_at_once, 8 * concurrency))

    @property
    def letters_in_transaction(self) -> bool:
        """Whether dead letters are saved by the barrier: the queue lives on the checkpoints' own state."""
        if not self.checkpointing or not hasattr(self.dlq, "changes"):
            return False
        ours, theirs = getattr(self.checkpoint_store, "state", None), getattr(self.dlq, "state", None)
        return (
            ours is not None
            and theirs is not None
            and (ours is theirs or ours.identity() == theirs.identity())
        )


def takes_columns(sink: Any) -> bool:
    """Whether a sink is written RecordBatches, where it is columns that come."""
    return callable(getattr(sink, "write_columns", None))


def is_live(sink: Any) -> bool:
    """Whether a sink wants barriers without checkpoints too."""
    return bool(getattr(sink, "live", False))
