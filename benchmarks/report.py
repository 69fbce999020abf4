"""What was measured, for people: tables and bars on the terminal, a section of docs/performance.md, a picture."""

import os
import platform
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import median
from benchmarks.session import Result
from benchmarks.targets import Outcome

__all__ = ["machine", "plot", "show", "show_targets", "write_section"]

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
MIB = 1 << 20
PACKAGES = ("trio", "msgspec", "pyarrow", "orjson", "polars", "duckdb", "petl", "aiometer")
HEAD = ("contender", "seconds", "of them work", "records/s", "CPU s", "peak MiB", "to agora")
BAR = 24


def machine() -> str:
    """The machine and the versions, in one line each."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    return (
        f"{date.today().isoformat()}; {model}, {cores} cores, {platform.system()} {platform.release()}\n"
        f"Python {platform.python_version()}, {versions}"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _rows(result: Result) -> Iterator[tuple[str, ...]]:
    """The quickest first; those that weren't timed last."""
    counts = result.workload.counts
    base = result.costs.get(result.workload.baseline)
    for label in sorted(result.costs, key=lambda name: median(result.costs[name], counts)):
        costs = result.costs[label]
        seconds = median(costs, counts)
        ratio = f"{median(base, counts) / seconds:.2f}" if base else ""
        yield (
            label,
            f"{median(costs, 'seconds'):.3f}",
            f"{median(costs, 'work'):.3f}",
            f"{result.records / seconds:,.0f}",
            f"{median(costs, 'cpu'):.2f}",
            f"{median(costs, 'peak') / MIB:.0f}",
            ratio,
        )


def _speed(row: Sequence[str]) -> float:
    return float(row[3].replace(",", ""))


def _title(result: Result) -> str:
    what = "" if result.workload.counts == "seconds" else ", without start-up"
    rounds = max(map(len, result.costs.values()), default=0)
    size = f"{result.records:,} records{what}; {rounds} rounds"
    return f"{result.workload.name}: {result.workload.title} ({size})"


def show(console: Console, result: Result) -> None:
    table = Table(
        title=_title(result), title_justify="left", caption=result.disk or None, caption_justify="left"
    )
    for name in HEAD:
        table.add_column(name, justify="left" if name == "contender" else "right", no_wrap=True)
    table.add_column("speed")
    rows = list(_rows(result))
    for row in rows:
        share = _speed(row) / _speed(rows[0])
        table.add_row(*row, "█" * max(1, round(share * BAR)))
    for label, reason in result.refused.items():
        table.add_row(label, *[""] * (len(HEAD) - 1), reason)
    console.print(table)


def _target_rows(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
    verdicts = {True: "met", False: "MISSED", None: "not measured"}
    for outcome in outcomes:
        measured = "" if outcome.measured is None else f"{outcome.measured:.3g}"
        distance = "" if outcome.distance is None else f"{outcome.distance:.2f}"
        target = outcome.target
        yield target.workload, target.what, target.shown, measured, distance, verdicts[outcome.met]


TARGET_HEAD = ("workload", "figure", "target", "measured", "of target", "")


def show_targets(console: Console, outcomes: Sequence[Outcome]) -> None:
    table = Table(title="targets, the farthest first", title_justify="left")
    for name in TARGET_HEAD:
        table.add_column(name)
    for row in _target_rows(outcomes):
        table.add_row(*row)
    console.print(table)


def write_section(page: Path, results: Sequence[Result], outcomes: Sequence[Outcome]) -> None:
    """Put the tables between the page's two marks."""
    lines = [machine().replace("\n", ".\n") + ".", ""]
    for result in results:
        lines += [f"### {_title(result)}", "", *_markdown(HEAD, _rows(result)), ""]
        lines += [f"- {label}: {reason}" for label, reason in result.refused.items()]
        lines += [""] * bool(result.refused)
        lines += [result.disk, ""] if result.disk else []
    lines += ["### Targets, the farthest first", "", *_markdown(TARGET_HEAD, _target_rows(outcomes)), ""]
    text = page.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    page.write_text("".join([before, BEGIN, "\n\n", "\n".join(lines), END, after]))


def _markdown(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def plot(path: Path, results: Sequence[Result]) -> None:
    """Bars of speed, one group a workload, by the ending of the path as SVG or PNG. Imports matplotlib."""
    import matplotlib as mpl  # noqa: PLC0415  - half a second that only a picture needs

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "agora"
    from matplotlib import pyplot  # noqa: PLC0415  - behind the choice of the backend

    shown = [result for result in results if len(result.costs) > 1]
    heights = [len(result.costs) + 1 for result in shown]
    figure, axes = pyplot.subplots(
        len(shown), 1, figsize=(9, 0.3 * sum(heights) + 0.5), squeeze=False, height_ratios=heights
    )
    for axis, result in zip(axes[:, 0], shown, strict=True):
        rows = list(_rows(result))[::-1]
        speeds = [_speed(row) for row in rows]
        labels = [row[0] for row in rows]
        colours = [
            "tab:orange" if "agora" in label and "etl" not in label else "tab:gray" for label in labels
        ]
        bars = axis.barh(labels, speeds, color=colours)
        axis.bar_label(bars, labels=[f" {speed:,.0f}/s" for speed in speeds], fontsize=7)
        axis.set_title(f"{result.workload.name}: {result.workload.title}", fontsize=9, loc="left")
        axis.set_xlim(0, max(speeds) * 1.18)
        axis.tick_params(labelsize=8)
        axis.xaxis.set_visible(False)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    pyplot.close(figure)
