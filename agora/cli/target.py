"""What a command works on: a pipeline of a config file, or one that a program built."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agora.bound import BoundPipeline
from agora.cli.outcome import UsageError
from agora.config import build, load
from agora.config.imports import import_object, names_object
from agora.config.problems import Problems
from agora.pipeline import Pipeline

__all__ = ["Name", "Target", "open_target"]

Target = Annotated[str, Parameter(help="A config file, or package.module:pipeline.")]
Name = Annotated[str | None, Parameter(help="The pipeline, where the file has several.")]


def open_target(target: str, name: str | None) -> BoundPipeline:
    """The pipeline that was meant. Raises `ConfigError` with all that is wrong."""
    if Path(target).exists() or not names_object(target):
        return build(load(target), name)
    if name is not None:
        raise UsageError(f"{target} is one pipeline: a name ({name}) is for config files")
    try:
        found = import_object(target, Path.cwd())
    except Problems as error:
        raise UsageError(*(f"{target}: {problem}" for problem in error.problems)) from error.__cause__
    if isinstance(found, Pipeline):
        return found.build()
    if isinstance(found, BoundPipeline):
        return found
    raise UsageError(f"{target} is {type(found).__name__}; expected a Pipeline, or what its build() gives")
