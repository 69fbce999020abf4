"""`agora test`: run the tests that stand in a config file beside its pipelines.

All of them are prepared before the first one runs, so that what is wrong with the file or with a test is told, with
exit code 2, before anything has happened.
"""

import contextlib
import os
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from agora.cli.outcome import Exit, Output, UsageError, ending
from agora.cli.output import print_json, print_text
from agora.cli.testreport import junit, result_object, result_text
from agora.config import ConfigFile, load
from agora.config.model import PipelineConfig
from agora.config.testing.preparing import Prepared, in_environment, prepare
from agora.config.testing.running import TestResult, run_test
from agora.errors import ConfigError
from agora.plugins import options_of

__all__ = ["run_tests"]

File = Annotated[Path, Parameter(help="A config file.")]
Pipeline = Annotated[str | None, Parameter(help="The pipeline whose tests to run; else those of all.")]


def run_tests(
    file: File,
    pipeline: Pipeline = None,
    /,
    *,
    pattern: Annotated[
        str | None,
        Parameter(
            name=["-k", "--match"],
            help="Only tests with this in their names, whatever the case; * and ? stand for others.",
        ),
    ] = None,
    junit_file: Annotated[
        Path | None, Parameter(name="--junit", help="Write the results as JUnit XML into this file.")
    ] = None,
    output: Output = Output(),  # noqa: B008  - frozen
) -> int:
    """Run the tests of a config file: 0 if all pass, 1 if one fails, 2 if there is none or the file isn't right.

    Steps are the real ones and do what they do. The source is replaced by the test's input; sinks write nowhere but
    into a temporary directory; state is in memory.
    """

    def command() -> int:
        if junit_file is not None:
            _check_writable(junit_file)
        with tempfile.TemporaryDirectory(prefix="agora-test-") as directory:
            prepared = list(_prepared(file, pipeline, pattern, Path(directory).resolve()))
            results = [_ran(each, output) for each in prepared]
        if junit_file is not None:
            junit_file.write_bytes(junit(results))
        _tell_counts(results, output)
        return Exit.OK if all(result.passed for result in results) else Exit.FAILED

    return ending(output, command)


def _check_writable(file: Path) -> None:
    """As far as can be told without opening it: it may be a pipe, and no file is to be left by what then fails."""
    if file.is_dir():
        raise UsageError(f"--junit: {file} is a directory: give a file")
    if not file.parent.is_dir():
        raise UsageError(f"--junit: there is no directory {file.parent}: make it first")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UsageError(f"--junit: {file} may not be written: give another file")


def _prepared(file: Path, pipeline: str | None, pattern: str | None, directory: Path) -> Iterator[Prepared]:
    chosen, there_are = _chosen(file, pipeline, pattern)
    if not chosen:
        whose = f"pipeline {pipeline!r} of {file}" if pipeline else str(file)
        if there_are:
            raise UsageError(f"none of the {there_are} tests of {whose} has {pattern!r} in its name")
        raise UsageError(f"{whose} has no tests; write them as [[pipelines.{pipeline or 'NAME'}.tests]]")
    loaded = lru_cache(_loaded)
    problems: list[str] = []
    found: list[Prepared] = []
    for number, (name, index, environment) in enumerate(chosen):
        place = directory / str(number)
        place.mkdir()
        try:
            with in_environment(dict(environment)):
                found.append(prepare(loaded(file, name, environment), name, index, place))
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError(*problems)
    yield from found


def _loaded(file: Path, pipeline: str, _environment: tuple[tuple[str, str], ...]) -> ConfigFile:
    """The file as it is in this environment, which the caller has set: a pipeline may need what only its tests give."""
    return load(file, only=pipeline)


_KEYS = {option.name for option in options_of(PipelineConfig)}
"""Of a pipeline."""
_Choice = tuple[str, int, tuple[tuple[str, str], ...]]


def _chosen(file: Path, pipeline: str | None, pattern: str | None) -> tuple[list[_Choice], int]:
    """Pipeline, index and environment of each test to run, and how many there are without the pattern.

    Nothing is checked here but what is asked for: where the file isn't as it should be, loading it says so.
    """
    pipelines = _tests_of(file, pipeline)
    if pipeline is not None and pipeline not in pipelines:
        load(file).choose(pipeline)  # raises, with the nearest name
    names = [pipeline] if pipeline is not None else list(pipelines)
    every = [(name, index, test) for name in names for index, test in enumerate(pipelines[name])]
    return [
        (name, index, _environment_of(test))
        for name, index, test in every
        if pattern is None or _matches(str(test.get("name", "")), pattern)
    ], len(every)


def _tests_of(file: Path, only: str | None) -> dict[str, list[dict[str, Any]]]:
    try:
        raw = tomllib.loads(file.read_bytes().decode())
    except (OSError, ValueError):
        load(file)  # raises, saying what is wrong
        raise
    pipelines = raw.get("pipelines")
    if raw.get("format") is None or not isinstance(pipelines, dict) or raw.keys() - {"format", "pipelines"}:
        load(file, only=only)  # raises
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, table in pipelines.items():
        tests = table.get("tests", []) if isinstance(table, dict) else None
        if not isinstance(tests, list) or not all(isinstance(test, dict) for test in tests):
            load(file, only=name)  # raises: that's no pipeline, or these are no tests
        if not tests and only in (None, name) and table.keys() - _KEYS:
            load(file, only=name)  # raises: an unknown key may be what its tests were written as
        found[name] = tests or []
    return found


def _environment_of(test: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    environment = test.get("environment")
    if not isinstance(environment, dict):
        return ()
    return tuple((name, value) for name, value in environment.items() if isinstance(value, str))


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name.casefold(), f"*{pattern.casefold()}*")


def _ran(prepared: Prepared, output: Output) -> TestResult:
    with contextlib.redirect_stdout(sys.stderr):  # what a step prints must not be taken for results
        result = run_test(prepared)
    if output.json:
        print_json(result_object(result))
    else:
        print_text(result_text(result))
    return result


def _tell_counts(results: Sequence[TestResult], output: Output) -> None:
    failed = sum(not result.passed for result in results)
    seconds = sum(result.seconds for result in results)
    if output.json:
        print_json({"tests": len(results), "failed": failed, "seconds": round(seconds, 6)})
        return
    counts = f"{len(results) - failed:,} passed" + (f", {failed:,} failed" if failed else "")
    print_text(f"{counts} in {seconds:.2f} s")
