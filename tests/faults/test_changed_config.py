"""A config that was changed between a crash, or a completed run, and the next one: refused or resumed correctly, never
silently wrong. The tables say which: what was changed → what is to be expected."""

import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from agora import AgoraError, ConfigError, SinkChanged, SourceChanged

from .changing import RECORDS, SAVED, Setup, Sink, read, written
from .dying import Mortals

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


async def test_a_stateful_step_that_was_renamed_begins_anew_and_the_log_says_so(
    folder: Path, mortals: Mortals, caplog: pytest.LogCaptureFixture
) -> None:
    renamed = attrs.evolve(SEEN, steps=[("double", "double"), ("seen", "other")])
    mortals.kill(folder, partial(SEEN.build, folder))
    with caplog.at_level(logging.WARNING, "agora"):
        await renamed.build(folder).run()
    assert "state of a step 'seen', which isn't in the pipeline any more" in caplog.text
    runs = [(SEEN, range(SAVED)), (renamed, range(SAVED, RECORDS))]
    assert read(folder, Sink()) == written(runs, "out.jsonl")


COMPLETED_CHANGES: dict[str, tuple[Setup, dict[str, Any], tuple[type[AgoraError], str] | None]] = {
    "nothing": (BASE, {}, RESUMES),
    "a sink removed": (TWO, sinks(Sink()), RESUMES),
    "path of the sink": (BASE, sinks(Sink(file="other.jsonl")), RESUMES),
    "a sink added": (BASE, sinks(*TWO.sinks), RESUMES),
    "sink renamed": (NAMED, sinks(Sink(name="new")), (SinkChanged, "if_exists")),
    "columns of a CSV sink": (CSV, options(CSV.sinks[0], columns=["n", "twice"]), (SinkChanged, "columns")),
    "table": (TABLE, options(TABLE.sinks[0], table="u"), RESUMES),
    "path of the source": (BASE, {"source": "other.csv"}, (SourceChanged, "--allow-source-change")),
}


@pytest.mark.parametrize("change", COMPLETED_CHANGES)
async def test_a_config_changed_after_a_completed_run_is_refused_or_goes_on_with_what_is_new(
    folder: Path, change: str
) -> None:
    before, different, refusal = COMPLETED_CHANGES[change]
    after = attrs.evolve(before, **different)
    shutil.copy(folder / "in.csv", folder / "other.csv")
    await before.build(folder).run()
    with (folder / "in.csv").open("a") as file:
        file.writelines(f"{number},text {number}\n" for number in range(RECORDS, RECORDS + 8))
    if refusal is not None:
        kind, said = refusal
        with pytest.raises(kind, match=f"(?s){said}"):
            await after.build(folder).run()
        after = before
    assert (await after.build(folder).run()).read == 8
    runs = [(before, range(RECORDS)), (after, range(RECORDS, RECORDS + 8))]
    for sink in {repr(each): each for each in (*before.sinks, *after.sinks)}.values():
        of_sink = [
            (attrs.evolve(setup, sinks=[each for each in setup.sinks if each == sink]), numbers)
            for setup, numbers in runs
        ]
        assert read(folder, sink) == written(of_sink, sink.file)
