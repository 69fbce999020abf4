"""Runs a prepared test, and says what differs from what it expects."""

import difflib
import gzip
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio
import zstandard

from agora.config.testing.comparing import FieldDifference, RecordDifference, Rules, compare, compare_records
from agora.config.testing.doubles import SinkTap
from agora.config.testing.model import ExpectedFailure, PipelineTest
from agora.config.testing.plain import ABSENT, plain
from agora.config.testing.preparing import Prepared, in_environment
from agora.deadletter import DLQRecord
from agora.runtime.report import RunSummary

__all__ = ["Finding", "TestResult", "run_test"]


@attrs.frozen(kw_only=True)
class Finding:
    """Something that isn't as expected."""

    where: str
    """`"run"`, `"sink jsonl:large.jsonl"`, `"dead letters"`, `"dropped"` or `"skipped"`."""
    message: str = ""
    records: Sequence[RecordDifference] = ()
    lines: Sequence[str] = ()
    """A unified diff, where text was compared."""


@attrs.frozen(kw_only=True)
class TestResult:
    """How a test went."""

    pipeline: str
    test: str
    seconds: float
    findings: Sequence[Finding]

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.findings


@attrs.frozen
class _Ended:
    """How the run ended: one of the three."""

    summary: RunSummary | None = None
    error: Exception | None = None
    overdue: bool = False


def run_test(prepared: Prepared) -> TestResult:
    """Run it to its end, or to its timeout. Blocks; calls `trio.run`. Raises nothing that the pipeline raises."""
    started = time.perf_counter()
    with in_environment(prepared.test.environment):
        ended = trio.run(partial(_run, prepared))
    seconds = time.perf_counter() - started
    findings = _Findings(prepared, ended).all()
    return TestResult(pipeline=prepared.pipeline, test=prepared.test.name, seconds=seconds, findings=findings)


async def _run(prepared: Prepared) -> _Ended:
    watched = prepared.watched
    status: Any = trio.TASK_STATUS_IGNORED if watched is None else watched
    summary: RunSummary | None = None
    with trio.move_on_after(prepared.test.timeout):
        try:
            summary = await prepared.bound.run(task_status=status)
        except Exception as error:  # noqa: BLE001  - whatever a step raises is a result
            return _Ended(error=error)
    if summary is not None and watched is not None:
        watched.trim(summary)
    return _Ended(summary=summary, overdue=summary is None)


@attrs.frozen
class _Findings:
    """Holds what came against what was expected."""

    prepared: Prepared
    ended: _Ended

    @property
    def test(self) -> PipelineTest:
        return self.prepared.test

    def all(self) -> list[Finding]:
        if self.ended.overdue:
            return [Finding(where="run", message=f"took longer than {self.test.timeout:g} s (its timeout)")]
        found = [self._ending()]
        if found[0] is not None and self.ended.error is not None:
            return [found[0]]  # what else is missing is missing because of it
        for name, tap in self.prepared.sinks.items():
            found += [self._output(name, tap), self._output_file(name, tap)]
        found += [self._letters(), self._sources("dropped"), self._sources("skipped")]
        return [finding for finding in found if finding is not None]

    def _ending(self) -> Finding | None:
        wanted, error = self.test.fails, self.ended.error
        if wanted is None:
            return None if error is None else Finding(where="run", message=f"failed: {self._told(error)}")
        if error is None:
            return Finding(where="run", message=f"was expected to fail{_named(wanted)}, and completed")
        if _is_named(wanted.error, _type_name(error)) and (wanted.message or "") in str(error):
            return None
        return Finding(
            where="run", message=f"was expected to fail{_named(wanted)}, and failed: {self._told(error)}"
        )

    def _output(self, name: str, tap: SinkTap) -> Finding | None:
        wanted = _of_sink(self.test.output, name)
        if wanted is None:
            return None
        if isinstance(wanted, str):
            return self._text(name, tap, wanted)
        came = [plain(record) for record in tap.records]
        return self._records(f"sink {name}", wanted, came)

    def _output_file(self, name: str, tap: SinkTap) -> Finding | None:
        wanted = _of_sink(self.test.output_file, name)
        if wanted is None:
            return None
        try:
            text = Path(wanted).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            return Finding(where=f"sink {name}", message=f"the expected text can't be read: {error}")
        return self._text(name, tap, text)

    def _text(self, name: str, tap: SinkTap, wanted: str) -> Finding | None:
        where = f"sink {name}"
        if tap.file is None:
            return Finding(where=where, message="writes no text: expect a list of records")
        came = _read(tap.file)
        if came == wanted:
            return None
        before, after = wanted.splitlines(keepends=True), came.splitlines(keepends=True)
        lines = [
            line[:-1] if line.endswith("\n") else f"{line} (no line end)"
            for line in list(difflib.unified_diff(before, after, "expected", "found", n=1))[2:]
        ]
        return Finding(where=where, message="wrote another text", lines=lines)

    def _letters(self) -> Finding | None:
        wanted = self.test.dead_letters
        came = [
            _letter(letter, self._shown(letter.error_message)) for letter in self.prepared.letters.letters
        ]
        if isinstance(wanted, int):
            return self._count("dead letters", wanted, len(came))
        expected = [
            {
                key: plain(value)
                for key, value in attrs.asdict(letter, recurse=False).items()
                if value is not None
            }
            for letter in wanted
        ]
        records = compare_records(expected, came, self._compare_letters)
        return Finding(where="dead letters", records=records) if records else None

    def _sources(self, kind: str) -> Finding | None:
        wanted = getattr(self.test, kind)
        if wanted is None:
            return None
        if not isinstance(wanted, int):
            came = [plain(record) for record in getattr(self.prepared.watched, kind)]
            return self._records(kind, wanted, came)
        assert self.ended.summary is not None  # beside `fails` there are no counts
        return self._count(kind, wanted, getattr(self.ended.summary, kind))

    def _records(self, where: str, wanted: Sequence[Any], came: Sequence[Any]) -> Finding | None:
        rules = self._rules()
        records = compare_records(wanted, came, lambda expected, actual: compare(expected, actual, rules))
        return Finding(where=where, records=records) if records else None

    def _count(self, where: str, wanted: int, came: int) -> Finding | None:
        return None if wanted == came else Finding(where=where, message=f"expected {wanted}, found {came}")

    def _compare_letters(
        self, expected: Mapping[str, Any], letter: Mapping[str, Any]
    ) -> list[FieldDifference]:
        found: list[FieldDifference] = []
        for key, value in expected.items():
            came = letter.get(key, ABSENT)
            if key in ("original", "processed"):
                found += [
                    attrs.evolve(difference, path=f"{key}.{difference.path}" if difference.path else key)
                    for difference in compare(value, came, self._rules())
                ]
            elif key == "message" and value not in came:
                found.append(FieldDifference(key, value, came, says="expected a part of it to be"))
            elif (key == "error" and not _is_named(value, came)) or (key == "stage" and value != came):
                found.append(FieldDifference(key, value, came))
        return found

    def _rules(self) -> Rules:
        return Rules(extra_fields=self.test.extra_fields == "ok", tolerance=self.test.tolerance)

    def _told(self, error: Exception) -> str:
        notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
        return self._shown(f"{_type_name(error).removeprefix('builtins.')}: {error}{notes}")

    def _shown(self, message: str) -> str:
        """Without the directory that the user knows nothing of."""
        return message.replace(f"{self.prepared.directory}{os.sep}", "")


def _of_sink(given: Any, name: str) -> Any:
    return given.get(name) if isinstance(given, Mapping) else given


def _read(file: Path) -> str:
    if not file.exists():
        return ""
    data = file.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    elif data.startswith(b"\x28\xb5\x2f\xfd"):
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            data = reader.read()
    return data.decode(errors="replace")


def _letter(letter: DLQRecord, message: str) -> dict[str, Any]:
    found = {
        "stage": letter.stage,
        "error": letter.error_type.removeprefix("builtins."),
        "message": message,
        "original": plain(letter.original),
        "processed": plain(letter.processed),
    }
    return {key: value for key, value in found.items() if value is not None}


def _type_name(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _is_named(wanted: str | None, name: str) -> bool:
    if wanted is None or name.endswith(f".{wanted}"):
        return True
    return name in (wanted, wanted.removeprefix("builtins."))  # letters tell of those without their module


def _named(wanted: ExpectedFailure) -> str:
    error = f" with {wanted.error}" if wanted.error else ""
    return f"{error}{f' and {wanted.message!r} in its message' if wanted.message else ''}"
