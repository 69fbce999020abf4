"""What a config file says, as attrs classes: their fields are the keys, their annotations what a key takes.

Numbers that `Pipeline.build` has defaults for are `None` where the file doesn't give them: the default stands
in one place only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import attrs

from agora.config.parts import Part
from agora.errors import ConfigError
from agora.middlewares.step import Policy
from agora.plugins import nearest

__all__ = [
    "BackpressureConfig",
    "CheckpointConfig",
    "ConfigFile",
    "DlqConfig",
    "PipelineConfig",
    "SinkConfig",
    "SourceConfig",
    "StateConfig",
    "StepConfig",
    "TracerConfig",
]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SourceConfig:
    """`source = { … }`."""

    part: Part
    on_error: Policy | None = attrs.field(
        default=None, metadata={"doc": "what becomes of a record that can't be read"}
    )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StepConfig:
    """One of `middlewares = [ … ]`.

    An imported middleware (a class, an object, a factory with `with`) is piped through, an imported plain or
    async function is a map step; `type = "map" | "filter" | "flat_map"` beside the import says how a function
    is meant.
    """

    part: Part
    type: Literal["map", "filter", "flat_map"] | None = attrs.field(default=None)
    name: str | None = attrs.field(default=None, metadata={"doc": "the step's name in summaries and letters"})
    concurrency: int | None = attrs.field(default=None, metadata={"doc": "records at once, leaving in order"})
    processes: int | None = attrs.field(
        default=None,
        metadata={"doc": "worker processes that run the function, for what is bound by the processor"},
    )
    timeout: float | None = attrs.field(
        default=None,
        metadata={"doc": "beside `processes`: seconds that a call may take; else the part's own"},
    )
    on_error: Policy | None = attrs.field(
        default=None, metadata={"doc": "what becomes of a record that fails"}
    )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SinkConfig:
    """One of `sinks = [ … ]`."""

    part: Part
    name: str | None = attrs.field(default=None, metadata={"doc": "the sink's name in summaries and letters"})
    where: Callable[..., Any] | str | None = attrs.field(
        default=None,
        metadata={"doc": 'takes records of which this is true: a function ("module:name"), or an expression'},
    )
    otherwise: bool = attrs.field(default=False, metadata={"doc": "takes what no `where` before it took"})
    on_error: Policy | None = attrs.field(default=None, metadata={"doc": "what becomes of a refused record"})


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StateConfig:
    """`state = { … }`."""

    part: Part


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DlqConfig:
    """`dlq = { … }`: any sink."""

    part: Part


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TracerConfig:
    """`tracer = { … }`."""

    part: Part


@attrs.frozen(kw_only=True, eq=False, repr=False)
class BackpressureConfig:
    """`backpressure = { type = "fixed" | "adaptive", … }`."""

    part: Part


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CheckpointConfig:
    """`checkpoint = { … }`; empty for the default cadence."""

    every: int | None = attrs.field(default=None, metadata={"doc": "handled records between two checkpoints"})
    interval: float | None = attrs.field(default=None, metadata={"doc": "seconds between two checkpoints"})


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PipelineConfig:
    """`[pipelines.NAME]`."""

    source: SourceConfig = attrs.field(metadata={"doc": "where records come from"})
    middlewares: list[StepConfig] = attrs.field(
        factory=list, metadata={"doc": "what happens to each record, in order"}
    )
    sinks: list[SinkConfig] = attrs.field(metadata={"doc": "where records go, each to all of them"})
    state: StateConfig | None = attrs.field(
        default=None, metadata={"doc": "where checkpoints and dead letters are kept"}
    )
    checkpoint: CheckpointConfig | None = attrs.field(
        default=None, metadata={"doc": "save where a run is, so that the next one resumes; needs `state`"}
    )
    dlq: DlqConfig | None = attrs.field(
        default=None, metadata={"doc": "where records that fail go; any sink, `state` for replay"}
    )
    max_dead_letters: int | float | None = attrs.field(
        default=None, metadata={"doc": "a count, or a share of what was read, above which the run fails"}
    )
    backpressure: BackpressureConfig | None = attrs.field(
        default=None, metadata={"doc": "how many records may be in flight"}
    )
    tracer: TracerConfig | None = attrs.field(default=None, metadata={"doc": "where spans go"})
    batch_size: int | None = attrs.field(default=None, metadata={"doc": "records in a batch at most"})
    linger: float | None = attrs.field(default=None, metadata={"doc": "seconds a part-filled batch may wait"})
    require: Literal["exactly_once"] | None = attrs.field(
        default=None, metadata={"doc": "refuse a pipeline that can't give it"}
    )
    tests: list[Any] = attrs.field(
        factory=list, metadata={"doc": "tables: inputs and what the pipeline makes of them, for `agora test`"}
    )
    """Each a `PipelineTest`, which a file without tests doesn't import."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConfigFile:
    """A whole file."""

    path: Path
    pipelines: dict[str, PipelineConfig]
    redact: Callable[[str], str] = attrs.field(repr=False, eq=False)
    """Takes values of environment variables out of a message."""

    def choose(self, name: str | None = None) -> tuple[str, PipelineConfig]:
        """The named pipeline, or the only one. Raises `ConfigError` that lists the names."""
        if name is None and len(self.pipelines) == 1:
            name = next(iter(self.pipelines))
        if name is None:
            raise ConfigError(f"{self.path}: name one of its pipelines: {', '.join(self.pipelines)}")
        if name not in self.pipelines:
            raise ConfigError(f"{self.path}: unknown pipeline {name!r}; {nearest(name, self.pipelines)}")
        return name, self.pipelines[name]
