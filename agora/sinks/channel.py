"""A memory channel, or any other `trio.abc.SendChannel`, as a sink: how a run feeds the app around it."""

import attrs
import trio

from agora.records import Record

__all__ = ["ChannelSink"]


@attrs.define(eq=False)
class ChannelSink:
    """Sends each record to the channel, waiting where it is full: that holds the whole run back.

    The channel stays its owner's: it isn't closed here, so it can serve several runs.
    `trio.BrokenResourceError` (the receiver is gone) ends the run. A trio checkpoint for each record.
    """

    channel: trio.abc.SendChannel[Record]

    @property
    def target(self) -> str:
        return "channel"

    async def write_record(self, record: Record) -> None:
        await self.channel.send(record)
