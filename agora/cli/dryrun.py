"""`agora run --dry-run`: the real source and steps, and sinks that only count.

Sinks, dead-letter queue and checkpoint store are replaced in the built pipeline and everything else is left,
so what is tried is the very pipeline that would run. It reads from the source's beginning, whatever the
checkpoint says: a dry run opens no state.
"""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import attrs
import trio

from agora.bound import BoundPipeline
from agora.cli.outcome import Exit, Output
from agora.cli.output import print_json, print_text
from agora.cli.supervise import run_interruptibly
from agora.context import RunContext
from agora.deadletter import DLQRecord
from agora.records import Record
from agora.runtime.handle import RunHandle
from agora.runtime.report import RunSummary
from agora.sinks.letters import letter_row
from agora.tracing import NoopTracer

__all__ = ["dry_run"]

_DEFAULT_RECORDS = 1_000
_LETTERS_SHOWN = 5


@attrs.define(eq=False)
class _Counting:
    """In place of a sink, or of the dead-letter queue: counts, and keeps the first few."""

    keep: int = 0
    count: int = 0
    kept: list[Record] = attrs.field(factory=list)

    async def write(self, records: Sequence[Record]) -> None:
        """Take them; a trio checkpoint."""
        self.count += len(records)
        self.kept.extend(records[: max(0, self.keep - len(self.kept))])
        await trio.lowlevel.checkpoint()


def dry_run(bound: BoundPipeline, max_records: int | None, output: Output) -> int:
    """Try the pipeline and print what would happen. 1 if a part's own check finds something, else 0.

    Raises what a real run would raise.
    """
    sinks = {spec.name: _Counting() for spec in bound.spec.sinks}
    letters = _Counting(keep=_LETTERS_SHOWN)
    dry = BoundPipeline(
        attrs.evolve(
            bound.spec,
            sinks=tuple(attrs.evolve(spec, sink=sinks[spec.name]) for spec in bound.spec.sinks),
            checkpoint_store=None,
            dlq=None if bound.spec.dlq is None else letters,
            require=None,
            tracer=NoopTracer(),
        )
    )

    findings: list[str] = []
    limit = max_records or _DEFAULT_RECORDS

    async def tried(*, task_status: trio.TaskStatus[RunHandle]) -> RunSummary:
        findings.extend(await _findings(bound))
        return await dry.run(max_records=limit, task_status=task_status)

    summary, interruption = run_interruptibly(dry, tried, limit)
    if summary is None:
        return interruption.exit_code or Exit.FAILED
    counts = {name: sink.count for name, sink in sinks.items()}
    report = _json_report if output.json else _text_report
    report(bound, summary, counts, letters, findings)
    if interruption.exit_code is not None and summary.status == "stopped":
        return interruption.exit_code
    return Exit.FAILED if findings else Exit.OK


async def _findings(bound: BoundPipeline) -> list[str]:
    """What the parts' own checks find."""
    spec = bound.spec
    parts: list[tuple[str, Any]] = [("source", spec.source)]
    parts += [(step.stage, step.part) for step in spec.chain.steps]
    parts += [(f"sink:{sink.name}", sink.sink) for sink in spec.sinks]
    found: list[str] = []
    for stage, part in parts:
        check = getattr(part, "check", None)
        if callable(check):
            found += [f"{stage}: {finding}" for finding in await check(_context(spec.name, stage)) or ()]
    return found


def _context(pipeline: str, stage: str) -> RunContext:
    logger = logging.LoggerAdapter(logging.getLogger(f"agora.{pipeline}"))
    span = nullcontext(NoopTracer().span("check").__enter__())
    return RunContext(
        pipeline=pipeline,
        run_id="dry-run",
        stage=stage,
        resumed_from=None,
        fence=0,
        state={},
        logger=logger,
        span=lambda name, attributes: span,
        count=lambda name, n: None,
    )


def _json_report(
    bound: BoundPipeline, summary: RunSummary, counts: dict[str, int], letters: _Counting, findings: list[str]
) -> None:
    print_json(
        {
            "dry_run": True,
            "pipeline": summary.pipeline,
            "plan": bound.explain().to_json(),
            "read": summary.read,
            "dropped": summary.dropped,
            "skipped": summary.skipped,
            "dead_lettered": summary.dead_lettered,
            "would_write": counts,
            "dead_letters": [letter_row(letter) for letter in letters.kept],
            "findings": findings,
        }
    )


def _text_report(
    bound: BoundPipeline, summary: RunSummary, counts: dict[str, int], letters: _Counting, findings: list[str]
) -> None:
    print_text(bound.explain())
    whole = "to the end" if summary.status == "completed" else "and stopped there"
    print_text(f"dry run: read {summary.read:,} records {whole}; nothing was written")
    for name, count in counts.items():
        print_text(f"  sink:{name} would be given {count:,}")
    print_text(f"  dropped {summary.dropped:,}, skipped {summary.skipped:,}, dead-lettered {letters.count:,}")
    for letter in letters.kept:
        print_text(f"    {_short(letter)}")
    for finding in findings:
        print_text(f"  finding: {finding}")


def _short(letter: DLQRecord) -> str:
    return f"{letter.stage}: {letter.error_type}: {letter.error_message}"
