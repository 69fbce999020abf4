"""agora: structured-concurrency ETL and streaming pipelines on trio.

Names are imported on first use, so that `agora --version` doesn't pay for the engine.
"""

from typing import TYPE_CHECKING

from agora._version import __version__
from agora.lazily import lazily

if TYPE_CHECKING:
    from agora.backpressure import Backpressure
    from agora.bound import BoundPipeline
    from agora.checkpoint import Checkpoint
    from agora.context import RunContext
    from agora.deadletter import DLQRecord
    from agora.errors import (
        AgoraError,
        ConfigError,
        PipelineBusy,
        RecordsRejected,
        SinkChanged,
        SourceChanged,
        StateError,
        TooManyDeadLetters,
        WorkerCrashed,
        WorkerError,
        WorkerTimeout,
    )
    from agora.middlewares.chain import MiddlewareChain
    from agora.middlewares.function import middleware
    from agora.pipeline import Pipeline
    from agora.runtime.handle import RunHandle
    from agora.runtime.plan import Plan
    from agora.runtime.report import RunSummary

_HOMES = {
    "AgoraError": "agora.errors",
    "Backpressure": "agora.backpressure",
    "BoundPipeline": "agora.bound",
    "Checkpoint": "agora.checkpoint",
    "ConfigError": "agora.errors",
    "DLQRecord": "agora.deadletter",
    "MiddlewareChain": "agora.middlewares.chain",
    "Pipeline": "agora.pipeline",
    "PipelineBusy": "agora.errors",
    "Plan": "agora.runtime.plan",
    "RecordsRejected": "agora.errors",
    "RunContext": "agora.context",
    "RunHandle": "agora.runtime.handle",
    "RunSummary": "agora.runtime.report",
    "SinkChanged": "agora.errors",
    "SourceChanged": "agora.errors",
    "StateError": "agora.errors",
    "TooManyDeadLetters": "agora.errors",
    "WorkerCrashed": "agora.errors",
    "WorkerError": "agora.errors",
    "WorkerTimeout": "agora.errors",
    "middleware": "agora.middlewares.function",
}

__all__ = [
    "AgoraError",
    "Backpressure",
    "BoundPipeline",
    "Checkpoint",
    "ConfigError",
    "DLQRecord",
    "MiddlewareChain",
    "Pipeline",
    "PipelineBusy",
    "Plan",
    "RecordsRejected",
    "RunContext",
    "RunHandle",
    "RunSummary",
    "SinkChanged",
    "SourceChanged",
    "StateError",
    "TooManyDeadLetters",
    "WorkerCrashed",
    "WorkerError",
    "WorkerTimeout",
    "__version__",
    "middleware",
]

__getattr__, __dir__ = lazily(__name__, _HOMES)
