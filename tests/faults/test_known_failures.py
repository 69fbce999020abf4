"""What other systems were seen to get wrong after a crash, each with real files, real state and a process that dies."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from agora import AgoraError, ConfigError, SinkChanged, SourceChanged

from .changing import Setup, Sink, read, written
from .dying import Mortals, Place

RECORDS = 40
SAVED = 20
"""Where the last checkpoint is when a run has died at its record 25."""


def write_source(folder: Path, numbers: range = range(RECORDS), name: str = "in.csv") -> None:
    rows = "".join(f"{number},text {number}\n" for number in numbers)
    (folder / name).write_text("n,text\n" + rows)


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    with Mortals() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_source(tmp_path)
    return tmp_path


def undisturbed(setup: Setup, sink: Sink = Sink()) -> list[dict[str, Any]]:  # noqa: B008  - frozen
    return written([(setup, range(RECORDS))], sink.file)


# --- a crash before the first checkpoint of the first run was complete ---


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "sqlite"])
@pytest.mark.parametrize(
    "place",
    [
        "before genesis",
        "after genesis",
        "after a write",
        "before prepare",
        "after prepare",
        "within save",
        "after save",
        "before commit",
        "after commit",
    ],
)
async def test_a_crash_before_the_first_checkpoint_was_complete_loses_and_repeats_nothing(
    folder: Path, mortals: Mortals, kind: str, place: str
) -> None:
    sink = Sink(kind, f"out.{kind}")
    setup = Setup(sinks=[sink, Sink(file="second.jsonl")])
    mortals.kill(folder, partial(setup.build, folder), Place(place))
    summary = await setup.build(folder).run()
    assert summary.read == (20 + 10 if place in AFTER_THE_DECISION else RECORDS)
    assert read(folder, sink) == undisturbed(setup, sink)
    assert read(folder, setup.sinks[1]) == undisturbed(setup, setup.sinks[1])


AFTER_THE_DECISION = ("after save", "before commit", "after commit")


# --- a config that was changed between crash and resume ---

BASE = Setup()
CSV = Setup(sinks=[Sink("csv", "out.csv", options={"columns": ["n", "text", "twice"]})])
PARQUET = Setup(sinks=[Sink("parquet", "out.parquet", options={"part_rows": 7})])
TABLE = Setup(sinks=[Sink("sqlite", "out.db", options={"table": "t"})])
NAMED = Setup(sinks=[Sink(name="out")])
TWO = Setup(sinks=[Sink(), Sink("csv", "two.csv")])
SEEN = Setup(steps=[("double", "double"), ("seen", "seen")])


def sinks(*sinks: Sink) -> dict[str, Any]:
    return {"sinks": sinks}


def options(sink: Sink, **options: Any) -> dict[str, Any]:
    return sinks(attrs.evolve(sink, options={**sink.options, **options}))


RESUMES = None

CHANGES: dict[str, tuple[Setup, dict[str, Any], tuple[type[AgoraError], str] | None]] = {
    # what was changed: (the setup that died, what is different, how the next run is refused)
    "nothing": (BASE, {}, RESUMES),
    "batch_size": (BASE, {"batch_size": 13}, RESUMES),
    "batch_size, smaller": (BASE, {"batch_size": 1}, RESUMES),
    "checkpoint_every": (BASE, {"every": 7}, RESUMES),
    "concurrency": (BASE, {"concurrency": 5}, RESUMES),
    "concurrency, back to linear": (attrs.evolve(BASE, concurrency=5), {"concurrency": 1}, RESUMES),
    "a step removed": (BASE, {"steps": []}, RESUMES),
    "a step added": (BASE, {"steps": [("double", "double"), ("triple", "triple")]}, RESUMES),
    "steps reordered": (
        attrs.evolve(BASE, steps=[("double", "double"), ("triple", "triple")]),
        {"steps": [("triple", "triple"), ("double", "double")]},
        RESUMES,
    ),
    "a filter added": (BASE, {"steps": [("odd", "odd"), ("double", "double")]}, RESUMES),
    "a step renamed": (BASE, {"steps": [("double", "other")]}, RESUMES),
    "a step moved around a stateful one": (
        SEEN,
        {"steps": [("seen", "seen"), ("double", "double")]},
        RESUMES,
    ),
    "a stateful step added": (BASE, {"steps": SEEN.steps}, RESUMES),
    "types of the source": (BASE, {"source_options": {"types": {"n": float}}}, RESUMES),
    "path of the source": (
        BASE,
        {"source": "other.csv"},
        (SourceChanged, r"in\.csv.*other\.csv.*--allow-source-change"),
    ),
    "encoding of the source": (
        BASE,
        {"source_options": {"types": {"n": int}, "encoding": "latin-1"}},
        (SourceChanged, "iso8859-1.*--allow-source-change"),
    ),
    "delimiter of the source": (
        BASE,
        {"source_options": {"delimiter": ";"}},
        (SourceChanged, "--allow-source-change"),
    ),
    "path of the sink": (
        BASE,
        sinks(Sink(file="other.jsonl")),
        (SinkChanged, r"sink 'jsonl:.*out\.jsonl' isn't in the pipeline any more"),
    ),
    "path of a sink with a name of its own": (
        NAMED,
        sinks(Sink(name="out", file="other.jsonl")),
        (SinkChanged, r"out\.jsonl.*other\.jsonl|other\.jsonl.*out\.jsonl|missing"),
    ),
    "sink renamed": (
        NAMED,
        sinks(Sink(name="new")),
        (SinkChanged, "sink 'out' isn't in the pipeline any more"),
    ),
    "kind of a sink of one name": (
        NAMED,
        sinks(Sink("csv", "out.csv", name="out")),
        (SinkChanged, ""),
    ),
    "a sink added": (BASE, sinks(Sink(), Sink("csv", "two.csv")), RESUMES),
    "a sink removed": (
        TWO,
        sinks(Sink()),
        (SinkChanged, r"sink 'csv:.*two\.csv' isn't in the pipeline any more"),
    ),
    "sinks reordered": (TWO, sinks(*reversed(TWO.sinks)), RESUMES),
    "where of a sink": (BASE, sinks(Sink(where="odd")), RESUMES),
    "if_exists": (BASE, options(Sink(), if_exists="replace"), RESUMES),
    "compression of a sink": (
        BASE,
        options(Sink(), compression="gzip"),
        (SinkChanged, "holds uncompressed content, the sink is to write gzip"),
    ),
    "columns of a CSV sink, reordered": (
        CSV,
        options(CSV.sinks[0], columns=["twice", "text", "n"]),
        (SinkChanged, "columns"),
    ),
    "columns of a CSV sink, fewer": (
        CSV,
        options(CSV.sinks[0], columns=["n", "twice"]),
        (SinkChanged, "columns"),
    ),
    "delimiter of a CSV sink": (
        CSV,
        options(CSV.sinks[0], delimiter=";"),
        (SinkChanged, "parted by ',', the sink is to write ';'"),
    ),
    "part_rows": (PARQUET, options(PARQUET.sinks[0], part_rows=3), RESUMES),
    "table": (TABLE, options(TABLE.sinks[0], table="u"), (SinkChanged, "isn't in the pipeline any more")),
    "table of a sink with a name of its own": (
        attrs.evolve(TABLE, sinks=[attrs.evolve(TABLE.sinks[0], name="out")]),
        sinks(Sink("sqlite", "out.db", name="out", options={"table": "u"})),
        (SinkChanged, "table 't', the sink of this name now writes 'u'"),
    ),
    "key of a table": (TABLE, options(TABLE.sinks[0], key="n"), (ConfigError, "no primary key")),
    "the state file": (BASE, {"state": "new.db"}, (SinkChanged, "if_exists")),
    "the pipeline's name": (BASE, {"name": "q"}, (SinkChanged, "if_exists")),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_config_changed_after_a_crash_is_refused_or_resumed_correctly(
    folder: Path, mortals: Mortals, change: str
) -> None:
    before, different, refusal = CHANGES[change]
    after = attrs.evolve(before, **different)
    shutil.copy(folder / "in.csv", folder / "other.csv")
    mortals.kill(folder, partial(before.build, folder))
    if refusal is not None:
        kind, said = refusal
        with pytest.raises(kind, match=f"(?s){said}"):
            await after.build(folder).run()
        after = before  # as a person would who was told so: nothing was harmed by the refused run
    summary = await after.build(folder).run()
    assert summary.resumed_from is not None
    assert summary.resumed_from.ordinal == SAVED
    assert summary.read == RECORDS - SAVED
    runs = [(before, range(SAVED)), (after, range(SAVED, RECORDS))]
    for sink in {each.file: each for each in (*before.sinks, *after.sinks)}.values():
        assert read(folder, sink) == written(runs, sink.file)
