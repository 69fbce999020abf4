"""Results of `agora test` for people, for programs and for continuous integration."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any
from xml.etree import ElementTree as ET

from agora.config.testing.comparing import FieldDifference, RecordDifference
from agora.config.testing.plain import ABSENT, toml
from agora.config.testing.running import Finding, TestResult

__all__ = ["junit", "result_object", "result_text"]

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that an XML document can't hold, in whatever form."""


def result_text(result: TestResult) -> str:
    """One line for a test that passed; below one that failed, what differs."""
    head = f"{'passed' if result.passed else 'FAILED'}  {result.pipeline}: {result.test}"
    return "\n".join([head, *(f"    {line}" for line in _lines(result))])


def result_object(result: TestResult) -> dict[str, Any]:
    """The same for a program."""
    return {
        "pipeline": result.pipeline,
        "test": result.test,
        "passed": result.passed,
        "seconds": round(result.seconds, 6),
        "findings": [_finding_object(finding) for finding in result.findings],
    }


def junit(results: Sequence[TestResult]) -> bytes:
    """A JUnit XML document, a test suite a pipeline."""
    root = ET.Element("testsuites", _counts(results))
    for pipeline, group in groupby(results, lambda result: result.pipeline):
        tests = list(group)
        suite = ET.SubElement(root, "testsuite", {"name": _xml(pipeline), **_counts(tests), "skipped": "0"})
        for result in tests:
            case = ET.SubElement(
                suite,
                "testcase",
                {"classname": _xml(pipeline), "name": _xml(result.test), "time": f"{result.seconds:.6f}"},
            )
            if not result.passed:
                where = ", ".join(dict.fromkeys(finding.where for finding in result.findings))
                failure = ET.SubElement(
                    case, "failure", {"message": _xml(f"differs: {where}"), "type": "failed"}
                )
                failure.text = _xml("\n".join(_lines(result)))
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _counts(results: Sequence[TestResult]) -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(not result.passed for result in results)),
        "errors": "0",
        "time": f"{sum(result.seconds for result in results):.6f}",
    }


def _xml(text: str) -> str:
    return _NOT_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _lines(result: TestResult) -> Iterator[str]:
    for finding in result.findings:
        first, *more = (finding.message or "differs").splitlines()
        yield f"{finding.where}: {first}" if finding.message else f"{finding.where}:"
        yield from (f"  {line}" for line in (*more, *finding.lines))
        noun = "letter" if finding.where == "dead letters" else "record"
        for record in finding.records:
            yield from (f"  {line}" for line in _record_lines(record, noun))


def _record_lines(record: RecordDifference, noun: str) -> Iterator[str]:
    number = record.index + 1
    if record.kind == "missing":
        yield f"expected {noun} {number} is missing"
        yield f"  - {toml(record.expected)}"
    elif record.kind == "unexpected":
        yield f"{noun} {number} was not expected"
        yield f"  + {toml(record.actual)}"
    else:
        yield f"{noun} {number} differs"
        yield from (f"  {_field_line(field)}" for field in record.fields)


def _field_line(field: FieldDifference) -> str:
    wanted = (
        f"{field.says} {toml(field.expected)}" if field.expected is not ABSENT else "expected no such field"
    )
    came = f"found {toml(field.actual)}" if field.actual is not ABSENT else "it isn't there"
    return f"{field.path}: {wanted}, {came}" if field.path else f"{wanted}, {came}"


def _finding_object(finding: Finding) -> dict[str, Any]:
    found: dict[str, Any] = {"where": finding.where}
    if finding.message:
        found["message"] = finding.message
    if finding.lines:
        found["diff"] = list(finding.lines)
    if finding.records:
        found["records"] = [_record_object(record) for record in finding.records]
    return found


def _record_object(record: RecordDifference) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": record.kind, "index": record.index}
    found |= {
        key: value
        for key, value in (("expected", record.expected), ("found", record.actual))
        if value is not ABSENT
    }
    if record.fields:
        found["fields"] = [
            {"path": field.path}
            | ({} if field.expected is ABSENT else {"expected": field.expected})
            | ({} if field.actual is ABSENT else {"found": field.actual})
            for field in record.fields
        ]
    return found
