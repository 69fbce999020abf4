"""Signals during a run: the first stops it in order, the second cancels it.

The library installs no handler; this is the program's. A small synchronous machine decides, a task around it
receives.
"""

import signal
from collections.abc import Callable

import attrs
import trio

__all__ = ["Interruption", "receive_signals"]


@attrs.define(eq=False, repr=False)
class Interruption:
    """What the signals so far ask for."""

    stop: Callable[[], None] | None = None
    """Stops the run in order; `None` while it isn't running yet: then there is nothing to drain."""
    cancel: Callable[[], None] = attrs.field(kw_only=True)
    signal: int | None = None
    """The last one that came."""

    def received(self, number: int) -> str:
        """Act on a signal; what to tell the user."""
        first = self.signal is None
        self.signal = number
        name = signal.Signals(number).name
        if first and self.stop is not None:
            self.stop()
            return f"{name}: finishing what is in flight; once more cancels it"
        self.cancel()
        return f"{name}: cancelled"

    @property
    def exit_code(self) -> int | None:
        """What a shell expects of a program that a signal ended."""
        return None if self.signal is None else 128 + self.signal


async def receive_signals(
    interruption: Interruption, tell: Callable[[str], None], *, task_status: trio.TaskStatus[None]
) -> None:
    """Hand SIGINT and SIGTERM on, until cancelled."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            tell(interruption.received(number))
