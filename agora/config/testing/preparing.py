"""From a test to the pipeline that it runs: the real one, but for where records come from and go to.

Steps, routing, policies and options are the file's. Source, sinks, dead-letter queue and state are doubles; the
sinks that come with agora still encode what they are given, into a directory of the test's own.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from agora.backpressure import Backpressure
from agora.bound import BoundPipeline
from agora.config.building import build
from agora.config.loading import read_step
from agora.config.model import (
    BackpressureConfig,
    ConfigFile,
    DlqConfig,
    PipelineConfig,
    SinkConfig,
    StateConfig,
    StepConfig,
)
from agora.config.parts import Part
from agora.config.problems import Problem, Problems, problems_of
from agora.config.testing.doubles import GivenSource, LetterTap, SinkTap, WatchedSource
from agora.config.testing.model import PipelineTest
from agora.errors import AgoraError, ConfigError
from agora.plugins import nearest
from agora.records import Malformed, Record
from agora.sinks import JsonLinesSink
from agora.sources import CsvSource
from agora.state import MemoryBackend

__all__ = ["Prepared", "in_environment", "prepare"]


@attrs.frozen(kw_only=True, eq=False)
class Prepared:
    """A test, ready to run once."""

    pipeline: str
    test: PipelineTest
    bound: BoundPipeline
    sinks: Mapping[str, SinkTap]
    letters: LetterTap
    watched: WatchedSource | None
    """Where the dropped or skipped records themselves are asked for."""
    directory: Path
    """The test's own; nothing else is written to."""


@contextlib.contextmanager
def in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """With these environment variables beside the others."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)


def prepare(config: ConfigFile, pipeline: str, index: int, directory: Path) -> Prepared:
    """Make the pipeline of a test. Writes into `directory` only, and opens nothing else.

    Raises `ConfigError` for what the pipeline refuses, and for what the test says of parts that there aren't.
    """
    real = build(config, pipeline)
    test: PipelineTest = config.pipelines[pipeline].tests[index]
    making = _Making(config=config, pipeline=pipeline, test=test, real=real, directory=directory)
    try:
        return making.prepared()
    except Problems as error:
        at = ("pipelines", pipeline, "tests", index)
        texts = [str(Problem(at + problem.path, problem.message)) for problem in error.problems]
        raise ConfigError(*(config.redact(f"{config.path}: {text}") for text in texts)) from None


@attrs.frozen(kw_only=True, eq=False)
class _Making:
    config: ConfigFile
    pipeline: str
    test: PipelineTest
    real: BoundPipeline
    directory: Path

    def prepared(self) -> Prepared:
        self._check_names()
        file = self.config.pipelines[self.pipeline]
        source: Any = self._source(file)
        watched = None
        if isinstance(self.test.dropped, list) or isinstance(self.test.skipped, list):
            source = watched = WatchedSource(source)
        taps = [self._tap(number, sink) for number, sink in enumerate(file.sinks)]
        letters = LetterTap()
        changed = attrs.evolve(
            file,
            source=attrs.evolve(file.source, part=_part(source)),
            middlewares=[self._step(step, own.name) for step, own in self._named_steps(file)],
            sinks=[
                attrs.evolve(sink, part=_part(tap), name=own.name)
                for sink, tap, own in zip(file.sinks, taps, self.real.spec.sinks, strict=True)
            ],
            state=file.state and StateConfig(part=_part(MemoryBackend())),
            dlq=file.dlq and DlqConfig(part=_part(letters)),
            checkpoint=None,
            tracer=None,
            require=None,
            max_dead_letters=None,
        )
        if watched is not None:
            one = BackpressureConfig(part=_part(Backpressure.fixed(1)))
            changed = attrs.evolve(changed, batch_size=1, backpressure=one)
        pipelines = {**self.config.pipelines, self.pipeline: changed}
        return Prepared(
            pipeline=self.pipeline,
            test=self.test,
            bound=build(attrs.evolve(self.config, pipelines=pipelines), self.pipeline),
            sinks={own.name: tap for own, tap in zip(self.real.spec.sinks, taps, strict=True)},
            letters=letters,
            watched=watched,
            directory=self.directory,
        )

    def _check_names(self) -> None:
        steps = [step.name for step in self.real.chain.steps]
        sinks = [sink.name for sink in self.real.spec.sinks]
        stages = ["source", *(f"middleware:{name}" for name in steps), *(f"sink:{name}" for name in sinks)]
        letters = self.test.dead_letters if isinstance(self.test.dead_letters, list) else []
        named: list[tuple[tuple[str | int, ...], str, Sequence[str]]] = [
            (("mocks", name), name, steps) for name in self.test.mocks
        ]
        for key in ("output", "output_file"):
            value = getattr(self.test, key)
            named += [((key, name), name, sinks) for name in value] if isinstance(value, Mapping) else []
        named += [
            (("dead_letters", number, "stage"), letter.stage, stages)
            for number, letter in enumerate(letters)
            if letter.stage is not None
        ]
        problems = [
            Problem(path, f"there is no {name!r}; {nearest(name, known)}")
            for path, name, known in named
            if name not in known
        ]
        files = self.test.output_file
        for name, file in files.items() if isinstance(files, Mapping) else [(None, files)]:
            if file is not None and (wrong := _is_no_file(file)):
                at = ("output_file",) if name is None else ("output_file", name)
                problems.append(Problem(at, wrong))
        if problems:
            raise Problems(*problems)

    def _named_steps(self, file: PipelineConfig) -> Iterator[tuple[StepConfig, Any]]:
        return zip(file.middlewares, self.real.chain.steps, strict=True)

    def _step(self, step: StepConfig, name: str) -> StepConfig:
        """The file's own step, or the one that stands in for it, with what stands beside the step in the file."""
        table = self.test.mocks.get(name)
        if table is None:
            return step
        try:
            mock = read_step(table, self.config.path.absolute().parent)
        except Problems as error:
            raise Problems(*problems_of(error, ("mocks", name))) from None
        concurrency = (
            step.concurrency if mock.concurrency is None and mock.processes is None else mock.concurrency
        )
        return attrs.evolve(mock, name=name, concurrency=concurrency, on_error=mock.on_error or step.on_error)

    def _source(self, file: PipelineConfig) -> Any:
        if self.test.input is not None:
            return GivenSource(_converted(self.test.input, self.real.spec.source))
        key = "text" if self.test.file is None else "file"
        part = file.source.part
        if "path" not in part.arguments:
            raise Problems.one(f"{part.says} has no path to read it from: give input", key)
        if self.test.file is not None and (wrong := _is_no_file(self.test.file)):
            raise Problems.one(wrong, key)
        path = self.test.file or self._written(part)
        return attrs.evolve(part, arguments={**part.arguments, "path": path}).make()

    def _written(self, part: Part) -> Path:
        if part.factory.__module__ == "agora.sources.parquet":
            raise Problems.one("Parquet is no text: give file or input", "text")
        given = part.arguments["path"]
        name = Path(os.fspath(given)).name if isinstance(given, str | os.PathLike) else ""
        path = self.directory / (name if name and not set("*?[") & set(name) else "input")
        path.write_bytes((self.test.text or "").encode(part.arguments.get("encoding") or "utf-8"))
        return path

    def _tap(self, number: int, sink: SinkConfig) -> SinkTap:
        factory, arguments = sink.part.factory, sink.part.arguments
        module = getattr(factory, "__module__", "")
        if module == "agora.sinks.stdout":
            file = self.directory / f"{number}.jsonl"
            return SinkTap(JsonLinesSink(file, nan=arguments.get("nan", "reject")), file)
        if not module.startswith("agora.sinks.") or "path" not in arguments:
            return SinkTap()
        place = self.directory / f"sink-{number}"
        place.mkdir()
        path = place / Path(os.fspath(arguments["path"])).name
        real = attrs.evolve(sink.part, arguments={**arguments, "path": path}).make()
        return SinkTap(real, path if module in ("agora.sinks.jsonl", "agora.sinks.csv") else None)


def _is_no_file(path: Path) -> str:
    """What is wrong with it, if anything."""
    if path.is_dir():
        return f"{path} is a directory: give a file"
    return "" if path.exists() else f"there is no {path}"


def _part(made: object) -> Part:
    return Part(says="a double", factory=lambda: made)


def _converted(given: Sequence[Any], source: Any) -> list[Record]:
    """As the source would have given them, had it read them."""
    convert: Callable[[Any], Record] | None = getattr(source, "convert", None)
    if isinstance(source, CsvSource):
        _check_text(given, source)
    records: list[Record] = []
    for number, record in enumerate(given):
        try:
            records.append(record if convert is None or not isinstance(record, dict) else convert(record))
        except Exception as error:  # noqa: BLE001  - a conversion may be the user's
            failure = AgoraError(f"input record {number + 1}: {error}")
            failure.__cause__ = error
            records.append(Malformed(record, failure, replayable=True))
    return records


def _check_text(given: Sequence[Any], source: CsvSource) -> None:
    """A file of CSV can't give what isn't text, but by a type: a test with it would be about something else."""
    if source.schema is not None:
        return
    problems = [
        Problem(("input", number, name), "is text in a CSV file: write a text, or give the column a type")
        for number, record in enumerate(given)
        if isinstance(record, dict)
        for name, value in record.items()
        if not isinstance(value, str) and name not in (source.types or {})
    ]
    if problems:
        raise Problems(*problems)
