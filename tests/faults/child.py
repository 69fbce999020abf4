"""One run of a campaign's pipeline in a process of its own: forked by `forkserver`, or `agora run` with `target`."""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from agora import BoundPipeline, PipelineBusy, SinkChanged
from agora.state import lease
from agora.testing.faults import observing

from . import fickle, variants
from .fickle import FICKLE
from .phases import Phase, Recorder, Strike
from .variants import VARIANTS
from .watching import Strikes

__all__ = [
    "BUSY",
    "CHANGED",
    "COMPLETED",
    "FAILED",
    "NOTES",
    "REQUEST",
    "STOPPED",
    "STRUCK",
    "Request",
    "built",
    "run",
    "shorten_lease",
    "watched",
]

NOTES = "notes"
"""The name of the file of notes, in the run's folder."""

REQUEST = "CAMPAIGN_REQUEST"
"""The environment variable in which `target` finds its request."""

COMPLETED, FAILED, BUSY, STOPPED, STRUCK, CHANGED = 0, 1, 4, 10, 11, 12
"""Exit codes. `STRUCK`: the run ended by the error that was its strike; `CHANGED`: by `SinkChanged`."""


@attrs.frozen(kw_only=True)
class Request:
    """What to run."""

    variant: str
    folder: str
    strike: Strike | None = None
    attempt: int = 0
    max_records: int | None = None
    restart: bool = False
    lease: float | None = None
    """The unit of the lease's times, in seconds."""

    def to_json(self) -> dict[str, Any]:
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Request":
        strike = fields.pop("strike")
        return cls(**fields, strike=None if strike is None else Strike(**strike))


@contextlib.contextmanager
def watched(strike: Strike | None) -> Iterator[Recorder]:
    """Notes for what is built and run in this context. Without a strike of its own it works on the plain machine."""
    recorder = Recorder.open(Path(NOTES), strike)
    with contextlib.nullcontext() if strike is None else observing(Strikes(recorder)):
        yield recorder


def built(request: Request, recorder: Recorder) -> BoundPipeline:
    """The pipeline that is to run."""
    if request.variant in FICKLE:
        return fickle.build(FICKLE[request.variant], recorder, request.attempt)
    return variants.build(VARIANTS[request.variant], recorder)


def shorten_lease(unit: float) -> None:
    """So that a takeover needn't take half a minute."""
    times = lease.LeaseTimes(renew=unit, fresh=1.5 * unit, watch=3 * unit, look=0.1 * unit)
    lease.acquire.__kwdefaults__["times"] = times


def run(request: Request) -> int:
    """Run to the end; the exit code. What fails otherwise is raised."""
    os.chdir(request.folder)
    if request.lease is not None:
        shorten_lease(request.lease)
    with watched(request.strike) as recorder:
        bound = built(request, recorder)
        start = partial(bound.run, max_records=request.max_records, restart=request.restart)
        try:
            recorder.enter(Phase.OPENING)  # may itself be where an error strikes
            summary = trio.run(start)
        except PipelineBusy as error:
            print(error)
            return BUSY
        except SinkChanged as error:
            print(error)
            return CHANGED
        except Exception:
            if recorder.struck:
                return STRUCK
            raise
    settled = summary.written + summary.dropped + summary.dead_lettered
    if not any(step.multiplies for step in bound.chain.steps):
        assert summary.read == settled, f"read {summary.read}, of which {settled} have an outcome"
    return COMPLETED if summary.status == "completed" else STOPPED
