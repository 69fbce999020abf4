"""What happened in a simulation, event for event."""

from collections.abc import Iterator
from itertools import groupby
from typing import Literal, NamedTuple, TypeAlias

import attrs

__all__ = ["Event", "Kind", "Trace"]

Kind: TypeAlias = Literal["step", "thread", "file", "state", "hazard", "life"]
"""`step`: trio gives a task its turn; `thread`: a call in a thread takes effect; `file` and `state`: an operation on
the disk, on a state backend; `hazard`: what was injected; `life`: a run begins or ends."""


class Event(NamedTuple):
    """One thing that happened."""

    time: float
    """Virtual seconds since the simulation began."""
    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.time:12.6f}  {self.kind:6}  {self.text}"


@attrs.define
class Trace:
    """Equal for equal seeds. `str()` leaves out the steps, saying how many there were."""

    seed: int
    events: list[Event] = attrs.field(factory=list)

    def add(self, time: float, kind: Kind, text: str) -> None:
        self.events.append(Event(time, kind, text))

    def __len__(self) -> int:
        return len(self.events)

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}, {len(self.events)} events", *self.lines()])

    def tail(self, lines: int) -> str:
        """The last lines of `str()`."""
        return "\n".join(list(self.lines())[-lines:])

    def lines(self) -> Iterator[str]:
        for is_step, events in groupby(self.events, lambda event: event.kind == "step"):
            if is_step:
                yield f"{'':12}  …       {sum(1 for _ in events)} steps"
            else:
                yield from map(str, events)
