"""What the disk alone takes of a checkpointed run: a barrier's two appends and syncs, and nothing between them."""

import os
from pathlib import Path

from benchmarks.contenders.harness import clock

PAGE = 4_096


def barriers(source: Path, target: Path, *, every: int) -> None:
    """As many as a run over the source has: the sink's file is synced, then one transaction of the state's log."""
    with source.open("rb") as lines:
        records = sum(1 for _ in lines) - 1
    written = bytes(source.stat().st_size * every // records // 2)  # the filter keeps half
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    sink, log = os.open(target, flags), os.open(target.with_suffix(".log"), flags)
    with clock():
        for _ in range(records // every):
            os.write(sink, written)
            os.fsync(sink)
            os.write(log, bytes(2 * PAGE))
            os.fdatasync(log)
