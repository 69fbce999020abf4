"""What a run tells of itself: live statistics and the summary at its end."""

from collections.abc import Mapping
from typing import Literal

import attrs

from agora.checkpoint import Checkpoint
from agora.runtime.counting import StageCount

__all__ = ["RunStats", "RunSummary", "StageSummary"]


@attrs.frozen(kw_only=True)
class StageSummary:
    """What went through one stage in this run, in records."""

    entered: int
    left: int
    dropped: int
    failed: int
    counts: Mapping[str, int]
    """What the part itself counted, by `RunContext.count`."""

    @classmethod
    def of(cls, count: StageCount) -> "StageSummary":
        return cls(
            entered=count.entered,
            left=count.left,
            dropped=count.dropped,
            failed=count.failed,
            counts=dict(count.counts),
        )


@attrs.frozen(kw_only=True)
class RunStats:
    """A look at a run under way."""

    read: int
    written: int
    dropped: int
    dead_lettered: int
    skipped: int
    in_flight: int
    in_flight_limit: int
    checkpoint: Checkpoint | None
    """The last one that was saved, by this run or an earlier one."""
    rate: float
    """Records read a second, since the run's start."""


@attrs.frozen(kw_only=True)
class RunSummary:
    """What a run did. Without steps that multiply, `read = written + dropped + dead_lettered + skipped`."""

    pipeline: str
    run_id: str
    status: Literal["completed", "stopped"]
    """`"completed"`: the source was exhausted."""
    stop_reason: str | None
    read: int
    """Source records of this run."""
    written: int
    """Records accepted by every sink that they were routed to."""
    dropped: int
    """Source records of which nothing came, or that no sink wanted."""
    dead_lettered: int
    skipped: int
    checkpoints: int
    """Checkpoints saved by this run."""
    resumed_from: Checkpoint | None
    duration: float
    """Seconds."""
    stages: Mapping[str, StageSummary]
    peak_in_flight: int

    def __str__(self) -> str:
        rate = self.read / self.duration if self.duration > 0 else 0.0
        reason = f" ({self.stop_reason})" if self.stop_reason else ""
        lines = [
            f"{self.pipeline}: {self.status}{reason} in {self.duration:.2f} s, run {self.run_id}",
            f"  read {self.read:,} ({rate:,.0f}/s), written {self.written:,}, dropped {self.dropped:,}, "
            f"dead-lettered {self.dead_lettered:,}, skipped {self.skipped:,}",
        ]
        if self.resumed_from is not None:
            done = "a completed run; read only what is new" if self.resumed_from.completed else "a checkpoint"
            lines.append(f"  resumed after record {self.resumed_from.ordinal:,} from {done}")
        if self.checkpoints:
            lines.append(f"  checkpoints {self.checkpoints:,}")
        return "\n".join(lines)
