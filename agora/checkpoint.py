"""The saved state of a pipeline between two records of its stream."""

from collections.abc import Mapping
from datetime import datetime

import attrs

from agora.records import Json, Position

__all__ = ["Checkpoint"]


@attrs.frozen(kw_only=True)
class Checkpoint:
    """Everything before it is handled, nothing after it is.

    Saved whole, in one state transaction, by the barrier; a resumed run starts from exactly this.
    """

    position: Position
    """Where the source goes on; only the source understands it."""
    skip: int = 0
    """Records to read and discard after `position` (a position may be coarser than a record)."""
    ordinal: int
    """Number of source records handled since the pipeline's first run; the next record gets this ordinal."""
    source: Json
    """The source's `identity()` when it was made."""
    sinks: Mapping[str, Json] = attrs.field(factory=dict)
    """Token of each sink, by the sink's name; `None` for a sink that has no `prepare`."""
    states: Mapping[str, Json] = attrs.field(factory=dict)
    """Of each stateful step, by its name: its `"snapshot"`, and as `"state"` how many keys its `context.state` has
    and which rows of the store hold them (`None`: it has used none)."""
    fence: int = 0
    """Fencing number of the lease under which it was saved."""
    run_id: str
    saved_at: datetime
    """Aware, UTC."""
    completed: bool = False
    """True when the source was exhausted and everything of it is handled."""
