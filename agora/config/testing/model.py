"""`[[pipelines.NAME.tests]]`, as attrs classes: their fields are the keys."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from agora.config.problems import Problem, found

__all__ = ["ExpectedFailure", "ExpectedLetter", "PipelineTest", "problems_of_tests"]

_EXPECTATIONS = ("output", "output_file", "dead_letters", "dropped", "skipped", "fails")


@attrs.frozen(kw_only=True)
class ExpectedLetter:
    """One of `dead_letters = [ … ]`."""

    stage: str | None = attrs.field(
        default=None, metadata={"doc": 'where it failed: "source", "middleware:NAME" or "sink:NAME"'}
    )
    error: str | None = attrs.field(
        default=None, metadata={"doc": "the exception's class, by its full or its last name"}
    )
    message: str | None = attrs.field(default=None, metadata={"doc": "a part of the exception's message"})
    original: Any = attrs.field(default=None, metadata={"doc": "the record as the source gave it"})
    processed: Any = attrs.field(default=None, metadata={"doc": "the record as the sink was given it"})


@attrs.frozen(kw_only=True)
class ExpectedFailure:
    """`fails = { … }`."""

    error: str | None = attrs.field(
        default=None, metadata={"doc": "the exception's class, by its full or its last name"}
    )
    message: str | None = attrs.field(default=None, metadata={"doc": "a part of the exception's message"})


@attrs.frozen(kw_only=True)
class PipelineTest:
    """One of `[[pipelines.NAME.tests]]`: an input, and what the pipeline makes of it."""

    name: str = attrs.field(metadata={"doc": "says what is tested; each once in a pipeline"})
    input: list[Any] | None = attrs.field(
        default=None,
        metadata={
            "doc": "records, which the source's `types` or `schema` then convert as if it had read them"
        },
    )
    text: str | None = attrs.field(
        default=None, metadata={"doc": "in place of `input`: text that the source itself reads"}
    )
    file: Path | None = attrs.field(
        default=None, metadata={"doc": "in place of `input`: a file that the source itself reads"}
    )
    output: list[Any] | str | Mapping[str, list[Any] | str] | None = attrs.field(
        default=None,
        metadata={
            "doc": "the records that the sink is given, in order, or the text that it writes; with several sinks "
            "a table of these by the sinks' names"
        },
    )
    output_file: Path | Mapping[str, Path] | None = attrs.field(
        default=None,
        metadata={"doc": "a file with the text that the sink writes; or a table, as for `output`"},
    )
    dead_letters: list[ExpectedLetter] | int = attrs.field(
        factory=list, metadata={"doc": "the dead letters, in order, or their number; without the key: none"}
    )
    dropped: list[Any] | int | None = attrs.field(
        default=None,
        metadata={"doc": "the source's records that came to nothing, in order, or their number"},
    )
    skipped: list[Any] | int | None = attrs.field(
        default=None, metadata={"doc": 'likewise, of those skipped by `on_error = "skip"`'}
    )
    fails: ExpectedFailure | None = attrs.field(
        default=None, metadata={"doc": "the run has to fail, with this error"}
    )
    extra_fields: Literal["error", "ok"] = attrs.field(
        default="error", metadata={"doc": "fields of a record that the expected one doesn't have"}
    )
    tolerance: float = attrs.field(
        default=0.0,
        validator=attrs.validators.ge(0),
        metadata={
            "doc": "how far two floats may differ, relative or absolute; else they are equal to the bit"
        },
    )
    mocks: Mapping[str, Mapping[str, Any]] = attrs.field(
        factory=dict, metadata={"doc": "steps to put in the place of others, by the others' names"}
    )
    environment: Mapping[str, str] = attrs.field(
        factory=dict, metadata={"doc": "environment variables while this test is prepared and run"}
    )
    timeout: float = attrs.field(
        default=60.0,
        validator=attrs.validators.gt(0),
        metadata={"doc": "seconds after which the test has failed"},
    )


def problems_of_tests(tests: Sequence[PipelineTest], raw: Any, sinks: int) -> Iterator[Problem]:
    """What is wrong with the tests of a pipeline with so many sinks, beyond the form of each value.

    `raw` is the list of tables that they came from: it tells which keys were given.
    """
    names = Counter(test.name for test in tests)
    for index, (test, table) in enumerate(zip(tests, raw, strict=True)):
        at = ("tests", index)
        if not test.name.strip():
            yield Problem((*at, "name"), f"expected a name, found {found(test.name)}")
        elif names[test.name] > 1:
            yield Problem(
                (*at, "name"), f"{names[test.name]} tests have the name {test.name!r}: give each its own"
            )
        given = [key for key in ("input", "text", "file") if key in table]
        if len(given) != 1:
            which = " and ".join(given) or "none"
            yield Problem(at, f"expected one of input, text and file, found {which}")
        if not any(key in table for key in _EXPECTATIONS):
            yield Problem(at, f"expects nothing; give one of {', '.join(_EXPECTATIONS)}")
        yield from (Problem((*at, *problem.path), problem.message) for problem in _of_values(test, table))
        for key in ("dropped", "skipped"):
            if test.fails is not None and isinstance(getattr(test, key), int):
                yield Problem((*at, key), "a run that fails has no counts: give the records")
        for key in ("output", "output_file"):
            value = getattr(test, key)
            if sinks > 1 and value is not None and not isinstance(value, Mapping):
                yield Problem((*at, key), f"the pipeline has {sinks} sinks: give a table by their names")


def _of_values(test: PipelineTest, table: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with single values, whatever else the test says."""
    for key in ("dead_letters", "dropped", "skipped"):
        value = getattr(test, key)
        if isinstance(value, int) and value < 0:
            yield Problem((key,), f"expected a number of at least 0, found {value}")
    for key in ("output", "output_file"):
        if table.get(key) == {}:
            yield Problem((key,), "expects nothing; give one of the sinks by its name")
    for key in ("file", "output_file"):
        given = table.get(key)
        paths = given if isinstance(given, Mapping) else {None: given}
        for name, path in paths.items():
            if path == "":
                yield Problem((key,) if name is None else (key, name), "expected a path, found ''")
