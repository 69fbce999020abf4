"""Pipelines from TOML files.

A file says which parts, each part's own attrs declaration says what may be said of it: nothing here lists
options.
"""

from typing import TYPE_CHECKING

from agora.lazily import lazily

if TYPE_CHECKING:
    from agora.config.building import build
    from agora.config.loading import load
    from agora.config.model import (
        CheckpointConfig,
        ConfigFile,
        PipelineConfig,
        SinkConfig,
        SourceConfig,
        StepConfig,
    )
    from agora.config.parts import Part

__all__ = [
    "CheckpointConfig",
    "ConfigFile",
    "Part",
    "PipelineConfig",
    "SinkConfig",
    "SourceConfig",
    "StepConfig",
    "build",
    "load",
]

_HOMES = {
    "CheckpointConfig": ".model",
    "ConfigFile": ".model",
    "Part": ".parts",
    "PipelineConfig": ".model",
    "SinkConfig": ".model",
    "SourceConfig": ".model",
    "StepConfig": ".model",
    "build": ".building",
    "load": ".loading",
}

__getattr__, __dir__ = lazily(__name__, _HOMES)
