"""From the text of a file to `ConfigFile`: read, fill in variables, structure, and tell all problems at once.

The whole file is checked, also what isn't going to run: a file that is half right is found in review and not
at night.
"""

import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs

from agora.backpressure import Backpressure
from agora.config.imports import importable
from agora.config.interpolate import Interpolation
from agora.config.model import (
    BackpressureConfig,
    ConfigFile,
    DlqConfig,
    PipelineConfig,
    SinkConfig,
    SourceConfig,
    StateConfig,
    StepConfig,
    TracerConfig,
)
from agora.config.parts import PartReader
from agora.config.problems import Problem, Problems, found, problems_of
from agora.config.values import make_converter, structure_options
from agora.errors import ConfigError
from agora.plugins import (
    Option,
    Registry,
    middleware_registry,
    nearest,
    options_of,
    sink_registry,
    source_registry,
    state_registry,
    tracer_registry,
)

__all__ = ["FORMAT", "load", "read_step"]

FORMAT = "agora/1"

_backpressure_registry = Registry("agora.backpressures", "backpressure type")
_backpressure_registry.register("fixed", Backpressure.fixed)
_backpressure_registry.register("adaptive", Backpressure.adaptive)

# Whether an imported function, without options, is the part itself or makes it.
_PARTS: Mapping[type, tuple[Registry, bool]] = {
    SourceConfig: (source_registry, False),
    StepConfig: (middleware_registry, True),
    SinkConfig: (sink_registry, True),
    DlqConfig: (sink_registry, True),
    StateConfig: (state_registry, False),
    TracerConfig: (tracer_registry, False),
    BackpressureConfig: (_backpressure_registry, False),
}
_IMPORTED_STEPS = ("map", "filter", "flat_map")
_TESTS = ("tests", "test")
"""Keys at the top of a file that are meant for tests of a pipeline."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _Document:
    """The keys of a whole file."""

    format: str
    pipelines: dict[str, PipelineConfig]


def load(
    path: str | os.PathLike[str], *, environment: Mapping[str, str] | None = None, only: str | None = None
) -> ConfigFile:
    """Read and check a config file; blocking, no loop needed. `environment` is what `${VAR}` is looked up in;
    with `only`, no other pipeline than this one is looked at.

    Modules that the file imports are imported. Raises `ConfigError` with every problem of the file in
    `.problems`, each with the file, the path of the key, what was expected and what was found.
    """
    file = Path(path)
    interpolation = Interpolation(os.environ if environment is None else environment)
    try:
        document = _structure(_read(file), only, file, interpolation)
    except Problems as error:
        # The cause is left out: it may hold values of the environment.
        raise ConfigError(
            *dict.fromkeys(interpolation.redact(f"{file}: {problem}") for problem in error.problems)
        ) from None
    return ConfigFile(path=file, pipelines=document.pipelines, redact=interpolation.redact)


def read_step(table: Mapping[str, Any], directory: Path) -> StepConfig:
    """A step of a table as in `middlewares`, of a file in `directory`. Raises `Problems`."""
    return _converter(directory).structure(table, StepConfig)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode())
    except OSError as error:
        raise Problems.one(f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise Problems.one(f"is no TOML: not UTF-8 at line {line}") from None
    except tomllib.TOMLDecodeError as error:
        raise Problems.one(f"is no TOML: {error}") from None


def _without_others(raw: dict[str, Any], only: str | None) -> dict[str, Any]:
    pipelines = raw.get("pipelines")
    if not isinstance(pipelines, dict) or only not in pipelines:
        return raw
    return {**raw, "pipelines": {only: pipelines[only]}}


def _without_stray_tests(raw: dict[str, Any], only: str | None) -> tuple[dict[str, Any], list[Problem]]:
    """The file, or what it says of `only`, without tests that belong to no pipeline; and what is wrong with these.

    They would else be told as pipelines that lack a source and sinks.
    """
    problems = [
        Problem((key,), "unknown key; did you mean [[pipelines.NAME.tests]]?") for key in _TESTS if key in raw
    ]
    rest = {key: value for key, value in _without_others(raw, only).items() if key not in _TESTS}
    if not isinstance(raw.get("pipelines"), dict):
        return rest, problems
    known = [name for name, table in raw["pipelines"].items() if not _is_only_tests(table)]
    looked_at = rest["pipelines"]
    for name in looked_at:
        if name not in known:
            hint = nearest(name, known) if known else "the file defines none"
            message = f"there is no pipeline of this name, only tests of it; {hint}"
            problems.append(Problem(("pipelines", name), message))
    return {**rest, "pipelines": {name: looked_at[name] for name in looked_at if name in known}}, problems


def _is_only_tests(pipeline: Any) -> bool:
    return isinstance(pipeline, dict) and pipeline.keys() == {"tests"}


def _filled(raw: dict[str, Any], interpolation: Interpolation) -> dict[str, Any]:
    """With variables filled in, but for tests: their texts are data, and a run needs no variable of theirs."""
    kept: dict[str, Any] = {}
    pipelines = raw.get("pipelines")
    if isinstance(pipelines, dict):
        kept = {name: at["tests"] for name, at in pipelines.items() if isinstance(at, dict) and "tests" in at}
        bare = {name: _without_tests(at) for name, at in pipelines.items()}
        raw = {**raw, "pipelines": bare}
    table: dict[str, Any] = interpolation.fill(raw)
    for name, tests in kept.items():
        table["pipelines"][name]["tests"] = tests
    return table


def _without_tests(pipeline: Any) -> Any:
    if not isinstance(pipeline, dict):
        return pipeline
    return {key: value for key, value in pipeline.items() if key != "tests"}


def _structure(raw: dict[str, Any], only: str | None, file: Path, interpolation: Interpolation) -> _Document:
    if raw.get("format") != FORMAT:
        what = f"found {found(raw['format'])}" if "format" in raw else "and there is none"
        raise Problems.one(f'expected "{FORMAT}", {what}', "format")
    rest, problems = _without_stray_tests(raw, only)
    table = _filled(rest, interpolation)
    problems += [Problem(path, message) for path, message in interpolation.problems]
    unfilled = {path for path, _ in interpolation.problems}
    try:
        document = _Document(
            **structure_options(_converter(file.absolute().parent), options_of(_Document), table)
        )
    except Problems as error:
        # What an unset variable leaves behind is no problem of its own.
        problems += [problem for problem in error.problems if problem.path not in unfilled]
    if problems:
        raise Problems(*problems)
    if not document.pipelines:
        raise Problems.one("expected at least one pipeline, found none", "pipelines")
    return document


def _converter(directory: Path) -> cattrs.Converter:
    importable(directory)
    converter = make_converter(directory)
    for kind, (registry, bare_function_is_part) in _PARTS.items():
        reader = PartReader(
            converter=converter,
            directory=directory,
            registry=registry,
            bare_function_is_part=bare_function_is_part,
            imported_types=_IMPORTED_STEPS if kind is StepConfig else (),
        )
        converter.register_structure_hook(kind, _part_hook(reader, kind))
    converter.register_structure_hook(PipelineConfig, _pipeline_hook(converter))
    return converter


def _part_hook(reader: PartReader, kind: type[Any]) -> Callable[[Any, Any], Any]:
    """Keys of the place where the part stands (`name`, `on_error`, …) beside the part's own options."""
    common = [option for option in options_of(kind) if option.name not in ("part", "type")]

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise Problems.one(f"expected a table, found {found(value)}")
        # Many parts have a timeout of their own.
        names = [option.name for option in common if option.name != "timeout" or "processes" in value]
        problems: list[Problem] = []
        arguments: dict[str, Any] = {}
        try:
            arguments = structure_options(
                reader.converter, common, {name: value[name] for name in names if name in value}
            )
        except Problems as error:
            problems += error.problems
        try:
            own = {name: inner for name, inner in value.items() if name not in names}
            arguments["part"] = reader.read(own, also=names)
        except Problems as error:
            problems += error.problems
        if problems:
            raise Problems(*problems)
        if value.get("type") in reader.imported_types:
            arguments["type"] = str(value["type"])
        return kind(**arguments)

    return structure


def _pipeline_hook(converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    options: tuple[Option, ...] = options_of(PipelineConfig)

    def structure(value: Any, _: Any) -> PipelineConfig:
        if not isinstance(value, dict):
            raise Problems.one(f"expected a table, found {found(value)}")
        problems = [*_needs_state(value)]
        if isinstance(value.get("tests"), dict):
            problems.append(Problem(("tests",), _SINGLE))
            value = _without_tests(value)
        try:
            arguments = structure_options(converter, options, value)
        except Problems as error:
            raise Problems(*error.problems, *problems) from None
        config = PipelineConfig(**arguments)
        for key, part in (
            ("dlq", config.dlq),
            *((("sinks", n), sink) for n, sink in enumerate(config.sinks)),
        ):
            if config.state is None and part is not None and part.part.needs_state:
                problems.append(Problem(key if isinstance(key, tuple) else (key,), _NO_STATE))
        if not config.sinks:
            problems.append(Problem(("sinks",), "expected at least one sink, found none"))
        if config.tests:
            try:
                config = attrs.evolve(config, tests=_tests(converter, config))
            except Problems as error:
                problems += error.problems
        if problems:
            raise Problems(*problems)
        return config

    return structure


def _tests(converter: cattrs.Converter, config: PipelineConfig) -> list[Any]:
    from agora.config.testing.model import PipelineTest, problems_of_tests  # noqa: PLC0415  - most files have none

    try:
        tests = converter.structure(config.tests, list[PipelineTest])
    except Exception as error:
        raise Problems(*problems_of(error, ("tests",))) from error
    problems = list(problems_of_tests(tests, config.tests, len(config.sinks)))
    if problems:
        raise Problems(*problems)
    return tests


_SINGLE = "expected a list, found a table; write double brackets: [[pipelines.NAME.tests]]"
_NO_STATE = 'needs the pipeline\'s state, and there is none; add state = { type = "sqlite", path = "…" }'


def _needs_state(table: Mapping[str, Any]) -> list[Problem]:
    if "checkpoint" in table and "state" not in table:
        return [Problem(("checkpoint",), _NO_STATE)]
    return []
