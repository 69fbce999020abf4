"""Text files in columns: wherever blocks end, rows, positions and ends are those of single rows."""

import gzip
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties import examples

from agora.columns import Columns
from agora.sources import CsvSource, Demand, JsonLinesSource, Malformed, csvparser, filerun, reader, textfile

GOOD = [(1, "a"), (20, "bc"), (300, "")]
OTHERS = [(4, "é"), (5, 'say "x"'), (6, "two\nlines"), (None, "no number")]


@st.composite
def many(draw: st.DrawFn) -> list[Any]:
    """Rows that columns are made of, a few others among them."""
    rows: list[Any] = [GOOD[n % 3] for n in range(draw(st.integers(1, 150)))]
    for other in draw(st.lists(st.sampled_from(OTHERS), max_size=2)):
        rows.insert(draw(st.integers(0, len(rows))), other)
    return rows


def csv_line(row: Any) -> str:
    number, text = row
    quoted = '"' + text.replace('"', '""') + '"' if set(text) & set('"\n') else text
    return f"{'' if number is None else number},{quoted}"


def json_line(row: Any) -> str:
    number, text = row
    return f'{{"n": {"null" if number is None else number}, "t": {text!r}}}'.replace("'", '"').replace(
        'say "x"', r"say \"x\""
    )


def written(kind: str, path: Path, rows: list[Any], *, ended: bool, packed: bool) -> Any:
    lines = ["n,t", *map(csv_line, rows)] if kind == "csv" else list(map(json_line, rows))
    data = ("\n".join(lines) + "\n" * ended).encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    return CsvSource(path, types={"n": int}) if kind == "csv" else JsonLinesSource(path)


def told(row: Any) -> Any:
    return repr((row.original, str(row.error))) if isinstance(row, Malformed) else repr(row)


async def read(source: Any, position: Any, *, columns: bool) -> tuple[list[Any], list[Any], bool]:
    """Rows, the position after each, and whether any came in columns."""
    rows: list[Any] = []
    places: list[Any] = []
    any_columns = False
    await source.prepare_resume(position)
    async for block in source.blocks(Demand(rows=100, columns=columns)):
        any_columns |= isinstance(block.rows, Columns)
        rows += map(told, block.rows)
        places += [block.position(n) for n in range(1, len(block.rows) + 1)]
    return rows, places, any_columns


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=examples(120, 3000),
    deadline=None,
)
@given(
    kind=st.sampled_from(["csv", "jsonl"]),
    rows=many(),
    ended=st.booleans(),
    packed=st.booleans(),
    size=st.sampled_from([30, 64, 200, 500]),
    data=st.data(),
)
def test_rows_and_places_are_those_of_the_plain_path(
    kind: str, rows: Any, ended: bool, packed: bool, size: int, data: Any, tmp_path_factory: Any
) -> None:
    source = written(kind, tmp_path_factory.mktemp("x") / "f", rows, ended=ended, packed=packed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "HEAD", 64)
        patch.setattr(csvparser, "_HEADER", 64)
        patch.setattr(reader.ByteReader._next, "__defaults__", (64,))
        plain, places, _ = trio.run(lambda: read(source, None, columns=False))
        at = data.draw(st.integers(0, len(places)))
        position = places[at - 1] if at else None
        patch.setattr(textfile, "_COLUMNS_BLOCK", size)
        patch.setattr(textfile, "_TRIES", data.draw(st.sampled_from([1, 2, 1_000])))
        patch.setattr(filerun, "_WORTH", 0)
        found, found_places, _ = trio.run(lambda: read(source, position, columns=True))
    assert found == plain[at:]
    assert found_places == places[at:]
