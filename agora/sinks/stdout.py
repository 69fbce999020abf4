"""JSON lines on standard output: for pipes and for looking."""

import os
import sys
from collections.abc import Sequence

import attrs
import trio

from agora import seam
from agora.errors import RecordsRejected
from agora.records import Record
from agora.sinks.encode import JsonEncoder, NanPolicy

__all__ = ["StdoutSink"]


def _write_out(data: bytes) -> None:
    """Blocking. Past Python's own buffer where there is a descriptor: what is left in that buffer when a pipe
    is closed would be tried again, and reported, at the interpreter's end."""
    try:
        sys.stdout.flush()
        descriptor = sys.stdout.fileno()
    except (AttributeError, ValueError):  # replaced by an object without a descriptor, as in a notebook
        sys.stdout.write(data.decode())
        sys.stdout.flush()
        return
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@attrs.define(eq=False)
class StdoutSink:
    """Writes each record as one line of JSON to standard output, at once.

    What can't be written as JSON is rejected. A closed pipe raises `BrokenPipeError`, which ends the run.
    What is written can't be undone: delivery is at least once. `write` is a trio checkpoint; cancellation
    takes effect before it writes, never halfway through a line.
    """

    nan: NanPolicy = attrs.field(
        default="reject",
        metadata={"doc": '"reject" refuses records with NaN or infinities; "null" writes them as null.'},
    )

    @property
    def target(self) -> str:
        return "stdout"

    async def write(self, records: Sequence[Record]) -> None:
        text, rejected = JsonEncoder(self.nan).lines(records)
        if text:
            await seam.current().in_thread(_write_out, text)
        else:
            await trio.lowlevel.checkpoint()
        if rejected:
            raise RecordsRejected(rejected)
