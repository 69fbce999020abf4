"""What is to befall the runs of a simulation: drawn from its seed beforehand, so that it depends on nothing else."""

import enum
import math
import random
from collections.abc import Collection

import attrs

from agora.testing.faults.failpoints import Fault
from agora.testing.faults.nodes import Loss

__all__ = ["SLOW", "Ending", "Hazards", "LifePlan", "plans"]

_MOST_STEPS = 2_000
_MOST_OPERATIONS = 120
_MOST_CHANGES = 60
_MOST_RECORDS = 100
SLOW = 0.5
"""Mean seconds of a call from which on deadlines may pass."""
_LATENCIES = (0.0, 0.001, 0.05, 1.0)


class Ending(enum.Enum):
    """How a run ends, if it doesn't end before that."""

    COMPLETED = "left alone"
    CRASH = "the process dies; what it wrote is there"
    POWER_LOSS = "the machine dies; of what wasn't fsynced, any part is lost"
    FROZEN = "the process goes silent and keeps its locks, so that the next run has to take over"
    STALLED = "disk and state hang, another run takes over, and then they go on"
    CANCELLED = "the run is cancelled"
    STOPPED = "the run is asked to stop"
    DISK_FAILS = "an operation on the disk fails"
    STATE_FAILS = "a change of the state is refused, or made and then reported as failed"

    @property
    def kills(self) -> bool:
        """Whether nothing of the process is left."""
        return self in (Ending.CRASH, Ending.POWER_LOSS, Ending.FROZEN)


@attrs.frozen(kw_only=True)
class Hazards:
    """What may happen. The default is everything."""

    endings: Collection[Ending] = attrs.field(default=tuple(Ending))
    """Of which each run but the last has one, drawn anew; the last is always left alone."""
    most_runs: int = 4
    """Runs before the last one, at most."""
    latencies: Collection[float] = attrs.field(default=_LATENCIES)
    """Mean seconds that a call in a thread takes; one of these is drawn for each run. From 0.5 on the closing of a run
    may well take too long, which is then no failure of the simulation; the last run has none of those."""
    overdue: float = 0.02
    """The share of looks, by a stretch of work that doesn't wait, which find that the loop is overdue."""
    limited: float = 0.15
    """The share of runs before the last one that read only some records (`max_records`)."""
    afresh: float = 0.15
    """The share of runs before the last one that start over (`restart=True`), where all that the pipeline wrote can be
    undone."""

    @classmethod
    def none(cls) -> "Hazards":
        """One run, left alone, in which nothing takes time."""
        return cls(endings=(), most_runs=0, latencies=(0.0,), overdue=0.0, limited=0.0, afresh=0.0)


@attrs.frozen(kw_only=True)
class LifePlan:
    """What befalls one run."""

    seed: int
    """Of its scheduling, and of all that is drawn while it lasts."""
    ending: Ending = Ending.COMPLETED
    at: int = 0
    """Number, from 1, of the step or the operation at which it strikes."""
    on_disk: bool = False
    """Whether a death strikes at an operation on the disk, and not at a step of a task."""
    fault: Fault = Fault.EIO
    loss: Loss = attrs.field(factory=Loss.none)
    latency: float = 0.0
    overdue: float = 0.0
    max_records: int | None = None
    restart: bool = False
    in_one_thread: bool = False
    """Whether the state lets a barrier prepare and save in one call in a thread, as SQLite does."""
    silence: float = 60.0
    """Seconds from its end to the next run."""

    @property
    def left_alone(self) -> bool:
        """Whether nothing keeps it from being completed."""
        return self.ending is Ending.COMPLETED and self.max_records is None

    def __str__(self) -> str:
        asked = ["starts over"] if self.restart else []
        if self.max_records is not None:
            asked.append(f"reads {self.max_records} records at most")
        return "; ".join([*asked, self._end()])

    def _end(self) -> str:
        if self.ending is Ending.COMPLETED:
            return "left alone"
        on_disk = self.on_disk or self.ending in (Ending.DISK_FAILS, Ending.STATE_FAILS)
        what = f" ({self.fault.value})" if self.on_disk or self.ending is Ending.DISK_FAILS else ""
        return f"{self.ending.value}{what}, at {'operation' if on_disk else 'step'} {self.at}"


def plans(seed: int, hazards: Hazards) -> list[LifePlan]:
    """One plan a run, the last of which is left alone; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311  - it has to be repeatable
    count = chance.randint(1, hazards.most_runs) if hazards.most_runs and hazards.endings else 0
    endings = [chance.choice(list(hazards.endings)) for _ in range(count)]
    before = [_asked(_plan(ending, chance, hazards), chance, hazards) for ending in endings]
    return [*before, _plan(Ending.COMPLETED, chance, hazards)]


def _asked(plan: LifePlan, chance: random.Random, hazards: Hazards) -> LifePlan:
    """What somebody asks of a run."""
    limited, most = (
        chance.random() < hazards.limited,
        round(math.exp(chance.uniform(0, math.log(_MOST_RECORDS)))),
    )
    restart = chance.random() < hazards.afresh
    return attrs.evolve(plan, max_records=most - 1 if limited else None, restart=restart)


def _plan(ending: Ending, chance: random.Random, hazards: Hazards) -> LifePlan:
    on_disk = ending in (Ending.CRASH, Ending.POWER_LOSS) and chance.random() < 0.5
    most = _MOST_STEPS
    if on_disk or ending is Ending.DISK_FAILS:
        most = _MOST_OPERATIONS
    elif ending is Ending.STATE_FAILS:
        most = _MOST_CHANGES
    return LifePlan(
        seed=chance.getrandbits(48),
        ending=ending,
        at=round(math.exp(chance.uniform(0, math.log(most)))),
        on_disk=on_disk,
        fault=chance.choice([fault for fault in Fault if fault.crashes == on_disk]),
        loss=_loss(ending, chance),
        latency=_latency(ending, chance, hazards),
        overdue=hazards.overdue if chance.random() < 0.5 else 0.0,
        in_one_thread=chance.random() < 0.5,
        silence=chance.choice((20.0, 60.0, 3_600.0)),
    )


def _latency(ending: Ending, chance: random.Random, hazards: Hazards) -> float:
    drawn = chance.choice(list(hazards.latencies))
    return min(drawn, SLOW / 10) if ending is Ending.COMPLETED else drawn


def _loss(ending: Ending, chance: random.Random) -> Loss:
    if ending is not Ending.POWER_LOSS:
        return Loss.none()
    return Loss.total() if chance.random() < 0.3 else Loss.random(chance.getrandbits(32))
