"""`agora dlq replay --dry-run`: where each letter would enter the pipeline, and why some can't.

Nothing of the pipeline is run or opened but its queue, to read: a step may act on the world, so a try of it would be
no dry run. What a step or a sink would say of a letter today is therefore not told.
"""

from collections import Counter
from contextlib import aclosing
from typing import Any

import attrs
import trio

from agora.bound import BoundPipeline
from agora.cli.outcome import Exit, Output
from agora.cli.output import print_columns, print_json, print_text
from agora.cli.state import nothing_saved
from agora.runtime.addressing import LetterFilter, Outlook, outlooks

__all__ = ["show_outlook"]


@attrs.define
class _Report:
    """What was found, told letter by letter with `--json`, else as a table at the end."""

    json: bool
    entering: Counter[str] = attrs.field(factory=Counter)
    staying: Counter[str] = attrs.field(factory=Counter)
    rows: list[tuple[object, ...]] = attrs.field(factory=list)

    def add(self, outlook: Outlook) -> None:
        letter = outlook.letter
        if outlook.enters is None:
            self.staying[outlook.reason or ""] += 1
        else:
            self.entering[outlook.enters] += 1
        if self.json:
            print_json(
                {
                    "id": letter.id,
                    "stage": letter.stage,
                    "attempts": letter.attempts,
                    "enters": outlook.enters,
                    "reason": outlook.reason,
                }
            )
        else:
            enters = outlook.enters or f"- ({outlook.reason})"
            self.rows.append((letter.id, letter.stage, letter.attempts, enters))


def show_outlook(bound: BoundPipeline, arguments: dict[str, Any], output: Output) -> int:
    """Print what a replay of these letters would do, and change nothing."""
    chosen = LetterFilter.of(bound.spec, **arguments)
    report = _Report(output.json)

    async def look() -> None:
        if nothing_saved(bound.spec.dlq):
            return
        async with aclosing(outlooks(bound.spec, chosen)) as found:
            async for outlook in found:
                report.add(outlook)

    trio.run(look)
    if output.json:
        print_json(
            {
                "pipeline": bound.name,
                "dry_run": True,
                "would_be_sent": report.entering.total(),
                "enters": report.entering,
                "cannot_be_replayed": report.staying.total(),
                "reasons": report.staying,
            }
        )
        return Exit.OK
    if report.rows:
        print_columns(("ID", "STAGE", "ATTEMPTS", "WOULD ENTER AT"), report.rows)
    sent, stay = report.entering.total(), report.staying.total()
    print_text(
        f"dry run: {sent:,} dead letter(s) of pipeline {bound.name} would be sent; nothing was changed"
    )
    for stage, count in report.entering.items():
        print_text(f"  {count:,} would enter at {stage}")
    if stay:
        print_text(f"  {stay:,} can't be replayed and would stay:")
        for reason, count in report.staying.items():
            print_text(f"    {count:,}: {reason}")
    return Exit.OK
