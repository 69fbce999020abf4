"""Text that is hard to read: each named trouble comes, only where it is asked for, and the sources agree with the
plain parsers on what remains."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, find, given, settings

from agora import Pipeline
from agora.sinks import MemorySink
from agora.sources import CsvSource, JsonLinesSource
from agora.testing import strategies
from agora.testing.strategies import CsvTrouble, JsonTrouble

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
SEARCH = settings(max_examples=3_000, database=None, phases=[Phase.generate], deadline=None)
SHRUNK = settings(max_examples=500, database=None, phases=[Phase.generate, Phase.shrink], deadline=None)
Wanted = Callable[[str], Any]


def _rows(text: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True))
    except csv.Error:
        return []


def _cells(text: str) -> list[str]:
    return [cell for row in _rows(text) for cell in row]


def _complaint(text: str) -> str:
    try:
        list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        return str(error)
    return ""


CSV: dict[CsvTrouble, Wanted] = {
    CsvTrouble.QUOTE_INSIDE: lambda text: any('"' in cell and cell in text for cell in _cells(text)),
    CsvTrouble.QUOTED: lambda text: any({*cell} & {*',\n\r'} for cell in _cells(text)),
    CsvTrouble.BLANK_LINE: lambda text: [] in _rows(text),
    CsvTrouble.BLANKS: lambda text: any(cell != cell.strip(" \t") for cell in _cells(text)),
    CsvTrouble.BOM: lambda text: text.startswith("\ufeff"),
    CsvTrouble.CR_LF: lambda text: "\r\n" in text,
    CsvTrouble.CR: lambda text: "\r" in text.replace("\r\n", ""),
    CsvTrouble.NO_LAST_END: lambda text: text and text[-1] not in "\n\r",
    CsvTrouble.RAGGED: lambda text: {len(row) for row in _rows(text)} & {1, 3},
    CsvTrouble.NUL: lambda text: "\x00" in text,
    CsvTrouble.SEPARATORS: lambda text: {*text} & {*"\u2028\x85\x0b\x0c"},
    CsvTrouble.LONG: lambda text: any(len(cell) == 40 for cell in _cells(text)),
    CsvTrouble.AFTER_QUOTE: lambda text: "expected after" in _complaint(text),
    CsvTrouble.UNCLOSED: lambda text: "unexpected end" in _complaint(text),
    CsvTrouble.SURROGATE: lambda text: any("\ud800" <= each <= "\udfff" for each in text),
}  # fmt: skip


@pytest.mark.parametrize("trouble", CsvTrouble)
def test_each_csv_trouble_comes(trouble: CsvTrouble) -> None:
    assert find(strategies.csv_texts(troubles=CsvTrouble), CSV[trouble], settings=SEARCH)
    assert find(strategies.csv_texts(troubles=[trouble]), CSV[trouble], settings=SEARCH)


@FEW
@given(text=strategies.csv_texts(troubles=[]))
def test_csv_without_troubles_is_plain(text: str) -> None:
    assert text == "" or text.endswith("\n")
    assert {len(line.split(",")) for line in text.split("\n")[:-1]} <= {2}
    assert not [trouble for trouble, wanted in CSV.items() if wanted(text)]


def test_what_csv_text_shrinks_towards() -> None:
    def least(wanted: Wanted) -> str:
        return find(strategies.csv_texts(), wanted, settings=SHRUNK)

    assert least(lambda _: True) == ""
    assert least(lambda text: "," in text and text.endswith("\n")) == "0,0\n"


def test_a_header_stands_first_and_fields_are_as_many_as_asked_for() -> None:
    text = find(
        strategies.csv_texts(3, header=["x", "y", "z"], delimiter=";", troubles=[]),
        lambda text: text.count("\n") > 1,
        settings=SHRUNK,
    )
    assert text == "x;y;z\n0;0;0\n"


@FEW
@given(
    text=strategies.csv_texts(
        troubles=set(CsvTrouble) - {CsvTrouble.AFTER_QUOTE, CsvTrouble.UNCLOSED, CsvTrouble.SURROGATE}
    )
)
def test_the_source_reads_them_as_csv_does(text: str, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "nasty.csv"
    path.write_bytes(text.encode())
    found = _read(CsvSource(path, header=False, columns=["x", "y"]))
    expected = [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")) if row]
    assert found == [dict(zip("xy", row, strict=True)) for row in expected if len(row) == 2]


def _read(source: Any) -> list[Any]:
    sink = MemorySink()
    trio.run(Pipeline(source, name="p", on_error="skip").to(sink).build().run)
    return sink.records


def _documents(text: str) -> list[Any]:
    found = []
    for line in text.removeprefix("\ufeff").split("\n"):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _tokens(text: str) -> list[str]:
    """All numbers of all documents, as they stand there."""
    found: list[str] = []
    for line in text.removeprefix("\ufeff").split("\n"):
        try:
            json.loads(line, parse_float=found.append, parse_int=found.append, parse_constant=found.append)
        except ValueError:
            continue
    return found


def _twice(text: str) -> bool:
    twice = []

    def notice(pairs: list[tuple[str, Any]]) -> None:
        twice.extend([pairs] if len({key for key, _ in pairs}) < len(pairs) else [])

    for line in text.split("\n"):
        try:
            json.loads(line, object_pairs_hook=notice)
        except ValueError:
            continue
    return bool(twice)


def _is_big(token: str) -> bool:
    return token.lstrip("-").isdigit() and not -(2**63) <= int(token) < 2**63


def _lines(text: str) -> list[str]:
    """Those that end."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")[:-1]


def _holds_surrogates(text: str) -> bool:
    return CSV[CsvTrouble.SURROGATE](json.dumps(_documents(text), ensure_ascii=False))


JSON: dict[JsonTrouble, Wanted] = {
    JsonTrouble.EXPONENT: lambda text: "1e16" in _tokens(text) or "-0" in _tokens(text),
    JsonTrouble.BIG_INTEGER: lambda text: any(map(_is_big, _tokens(text))),
    JsonTrouble.BEYOND_DOUBLE: lambda text: {"1e400", "-1e400"} & {*_tokens(text)},
    JsonTrouble.NAN: lambda text: {"NaN", "Infinity", "-Infinity"} & {*_tokens(text)},
    JsonTrouble.DUPLICATE_KEY: _twice,
    JsonTrouble.ESCAPES: lambda text: r"\/" in text,
    JsonTrouble.SURROGATE: _holds_surrogates,
    JsonTrouble.DEEP: lambda text: "[" * 30 in text or '{"a":' * 30 in text,
    JsonTrouble.WHITE_SPACE: lambda text: any(
        line.strip() and line != line.strip(" \t\r") for line in _lines(text)
    ),
    JsonTrouble.BLANK_LINE: lambda text: any(not line.strip() for line in _lines(text)),
    JsonTrouble.BOM: lambda text: text.startswith("\ufeff"),
    JsonTrouble.CR_LF: lambda text: "\r\n" in text,
    JsonTrouble.NO_LAST_END: lambda text: text and not text.endswith("\n"),
    JsonTrouble.NOT_OBJECT: lambda text: any(not isinstance(each, dict) for each in _documents(text)),
    JsonTrouble.BROKEN: lambda text: len(_documents(text)) < sum(bool(line.strip()) for line in _lines(text)),
}


@pytest.mark.parametrize("trouble", JsonTrouble)
def test_each_json_trouble_comes(trouble: JsonTrouble) -> None:
    assert find(strategies.json_lines(), JSON[trouble], settings=SEARCH)
    assert find(strategies.json_lines(troubles=[trouble]), JSON[trouble], settings=SEARCH)


@FEW
@given(text=strategies.json_lines(troubles=[]))
def test_json_lines_without_troubles_are_plain(text: str) -> None:
    assert len(_documents(text)) == text.count("\n")
    assert not [
        trouble for trouble, wanted in JSON.items() if trouble is not JsonTrouble.EXPONENT and wanted(text)
    ]


def test_what_json_lines_shrink_towards() -> None:
    assert find(strategies.json_lines(), lambda _: True, settings=SHRUNK) == ""
    assert find(strategies.json_lines(troubles=[]), lambda text: text, settings=SHRUNK) == "{}\n"


LETTERS = {JsonTrouble.SURROGATE, JsonTrouble.BEYOND_DOUBLE, JsonTrouble.NAN}


@FEW
@given(text=strategies.json_lines(troubles=set(JsonTrouble) - LETTERS))
def test_the_source_reads_them_as_json_does(text: str, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "nasty.jsonl"
    path.write_bytes(text.encode())
    expected = [each for each in _documents(text) if isinstance(each, dict)]
    assert list(map(repr, _read(JsonLinesSource(path)))) == list(map(repr, expected))


@FEW
@given(text=strategies.json_lines() | strategies.csv_texts() | strategies.texts())
def test_files_can_hold_all_that_was_not_asked_for(text: str) -> None:
    assert text.encode().decode() == text


def test_texts_have_lone_surrogates_where_they_are_asked_for() -> None:
    assert find(strategies.texts(surrogates=True), CSV[CsvTrouble.SURROGATE], settings=SEARCH)
    assert find(strategies.json_values(extreme=True), lambda value: value == 2**63, settings=SEARCH) == 2**63


def test_a_deep_document_is_as_deep_as_asked_for(tmp_path: Path) -> None:
    text = find(
        strategies.json_lines(depth=500, troubles=[JsonTrouble.DEEP]),
        lambda text: "[" * 499 in text,
        settings=SEARCH,
    )
    (tmp_path / "deep").write_text(text)
    assert len(_read(JsonLinesSource(tmp_path / "deep"))) == text.count("\n")
