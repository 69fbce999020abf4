"""From a checked config to a pipeline, through the same public calls that a program makes."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from agora.bound import BoundPipeline
from agora.config.model import ConfigFile, PipelineConfig, StepConfig
from agora.config.problems import problems_of
from agora.errors import ConfigError
from agora.pipeline import Pipeline
from agora.plugins import source_registry

__all__ = ["build"]

_STEP_METHODS = ("process", "expand", "process_batch", "process_columns")


def build(config: ConfigFile, name: str | None = None) -> BoundPipeline:
    """Make the named pipeline of the file, or its only one; no I/O, and new parts each time.

    Raises `ConfigError`: no such pipeline, several and none named, or what a part or the engine refuses, with
    the path of the key.
    """
    name, pipeline = config.choose(name)
    problems = _Collector(config, name)
    bound = _build(pipeline, name, problems)
    if problems.found or bound is None:
        raise ConfigError(*problems.found)
    return bound


@attrs.frozen(eq=False, repr=False)
class _Collector:
    """Gathers what parts and engine refuse, with the key that it is about."""

    config: ConfigFile
    name: str
    found: list[str] = attrs.field(factory=list, init=False)

    @contextmanager
    def at(self, *path: str | int) -> Iterator[None]:
        """What is raised inside is a problem of this key."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  - constructors and factories are users' code
            for problem in problems_of(error, ("pipelines", self.name, *path)):
                text = self.config.redact(f"{self.config.path}: {problem}")
                if text not in self.found:
                    self.found.append(text)


def _build(config: PipelineConfig, name: str, problems: _Collector) -> BoundPipeline | None:
    """The pipeline, or `None` when there are problems. After one, the rest is still made, to find the
    others.
    """
    state: Any = None
    with problems.at("state"):
        state = config.state and config.state.part.make()
    pipeline: Pipeline | None = None
    with problems.at("source"):
        source = _source(config.source.part.make(state))
        if hasattr(source, "base"):
            source.base = problems.config.path.absolute().parent
        pipeline = Pipeline(source, name=name, on_error=config.source.on_error)
    for index, step in enumerate(config.middlewares):
        with problems.at("middlewares", index):
            part = step.part.make(state)
            if pipeline is not None:
                pipeline = _add_step(pipeline, step, part)
    for index, sink in enumerate(config.sinks):
        with problems.at("sinks", index):
            part = sink.part.make(state)
            if pipeline is not None:
                options = _given(sink, "name", "where", "otherwise", "on_error")
                pipeline = pipeline.to(part, **_default_name(part, problems.config.path) | options)
    options = _given(config, "max_dead_letters", "batch_size", "linger", "require")
    for key in ("dlq", "backpressure", "tracer"):
        with problems.at(key):
            chosen = getattr(config, key)
            if chosen is not None:
                options[key] = chosen.part.make(state)
    if config.checkpoint is not None:
        from agora.state import CheckpointStore  # noqa: PLC0415  - most of what a state is made of

        options["checkpoint_store"] = CheckpointStore(state)
        options |= {
            f"checkpoint_{key}": value
            for key, value in _given(config.checkpoint, "every", "interval").items()
        }
    bound = None
    if pipeline is not None and not problems.found:
        with problems.at():
            bound = pipeline.build(**options)
    return bound


def _source(part: Any) -> Any:
    """An imported generator, list or other iterable is a source by way of the registered `iterable`."""
    if hasattr(part, "stream") or not (hasattr(part, "__iter__") or hasattr(part, "__aiter__")):
        return part
    return source_registry.get("iterable")(part)


def _default_name(sink: Any, file: Path) -> dict[str, str]:
    """A sink is named by its target as the file says it: the same from every directory, and after a move."""
    target, directory = getattr(sink, "target", None), f"{file.absolute().parent}{os.sep}"
    return {"name": target.replace(directory, "")} if isinstance(target, str) and directory in target else {}


def _add_step(pipeline: Pipeline, step: StepConfig, part: Any) -> Pipeline:
    options = _given(step, "name", "concurrency", "processes", "timeout", "on_error")
    if step.type is None:
        is_middleware = any(callable(getattr(part, method, None)) for method in _STEP_METHODS)
        verb: Callable[..., Pipeline] = pipeline.pipe if is_middleware else pipeline.map
        return verb(part, **options)
    verb = {"map": pipeline.map, "filter": pipeline.filter, "flat_map": pipeline.flat_map}[step.type]
    return verb(part, **options)


def _given(config: object, *keys: str) -> dict[str, Any]:
    """What the file gives, so that defaults stay with those who declare them."""
    values = {key: getattr(config, key) for key in keys}
    return {key: value for key, value in values.items() if value is not None and value is not False}
