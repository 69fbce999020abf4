"""Pipelines from TOML files.

A file says which parts, each part's own attrs declaration says what may be said of it: nothing here lists
options.
"""

from importlib import import_module
from typing import TYPE_CHECKING

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

_HOMES = {"build": "building", "load": "loading", "Part": "parts"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'model')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
