"""Sources that are broken on purpose, each in one way. `BROKEN` says which law each of them breaks."""

import itertools
import json

import trio
from testing.broken.labelled import Broken

from agora.sources.base import Block


class Numbers:
    """By the rules: eight records, checkpointable, one by one and in blocks of three."""

    supports_checkpoint = True
    count = 8

    def __init__(self):
        self.at = 0

    def identity(self):
        return {"numbers": self.count}

    async def prepare_resume(self, position):
        await trio.lowlevel.checkpoint()
        self.at = 0 if position is None else position

    def checkpoint(self):
        return self.at

    def make(self, number):
        return {"id": number}

    async def stream(self):
        while self.at < self.count:
            await trio.sleep(0.01)
            self.at += 1
            yield self.make(self.at - 1)

    async def blocks(self, demand):
        while self.at < self.count:
            await trio.lowlevel.checkpoint()
            start, stop = self.at, min(self.at + min(3, demand.rows), self.count)
            self.at = stop
            yield Block(
                [self.make(number) for number in range(start, stop)],
                position=lambda n, start=start: self.position(start, n),
            )

    def position(self, start, n):
        return start + n


# repeatable

_drawn = itertools.count()


class DrawnOnce(Numbers):
    """All objects draw from one iterator."""

    def make(self, number):
        return {"id": number, "drawn": next(_drawn)}


# agreement


class ShortBlocks(Numbers):
    """The last block is forgotten where it isn't full."""

    async def blocks(self, demand):
        async for block in super().blocks(demand):
            if self.at < self.count or len(block.rows) == 3:
                yield block


class EmptyBlock(Numbers):
    """Ends with a block of nothing."""

    async def blocks(self, demand):
        async for block in super().blocks(demand):
            yield block
        yield Block([], position=lambda n: self.at)


# positions


class BytesPosition(Numbers):
    """A position that isn't what it was when it has been JSON."""

    def checkpoint(self):
        return (self.at,)

    async def prepare_resume(self, position):
        await super().prepare_resume(None if position is None else position[0])


class LatePosition(Numbers):
    """A block's positions are counted from where the source is by then."""

    def position(self, start, n):
        return self.at - 3 + n if self.at % 3 == 0 else start + n


# identity


class NewIdentity(Numbers):
    """Another one each time."""

    def identity(self):
        return id(object()) + next(_drawn)


class GrowingIdentity(Numbers):
    """It changes while it is read."""

    def identity(self):
        return {"numbers": self.count, "read": self.at}


# fresh


class NeverFresh(Numbers):
    """Goes on where it was, though it is told to begin."""

    async def prepare_resume(self, position):
        await trio.lowlevel.checkpoint()
        if position is not None:
            self.at = position


# asking


class CountsAsking(Numbers):
    """The position is that of the last time it was asked, plus one."""

    asked = -1

    async def prepare_resume(self, position):
        await super().prepare_resume(position)
        self.asked = self.at - 1

    def checkpoint(self):
        self.asked += 1
        return self.asked

    blocks = None


# resume


class ReadsAhead(Numbers):
    """Reads two at a time, and says the position behind what it has read, not behind what it has given."""

    async def stream(self):
        while self.at < self.count:
            await trio.lowlevel.checkpoint()
            start = self.at
            self.at = min(self.at + 2, self.count)
            for number in range(start, self.at):
                yield self.make(number)


class OffByOne(Numbers):
    """Begins one too late, but not at the beginning."""

    async def prepare_resume(self, position):
        await super().prepare_resume(position + 1 if position else position)


class ForgetsTheEnd(Numbers):
    """Resumed at its very end, it begins again."""

    async def prepare_resume(self, position):
        await super().prepare_resume(None if position == self.count else position)


# cancelled


class Swallows(Numbers):
    """Takes a cancellation for the end."""

    blocks = None

    async def stream(self):
        while self.at < self.count:
            try:
                await trio.sleep(0.01)
            except trio.Cancelled:
                return
            self.at += 1
            yield self.make(self.at - 1)


# closing


class LeavesATask(Numbers):
    """A task reads ahead, and nobody ends it."""

    blocks = None

    async def stream(self):
        if self.at < self.count:
            trio.lowlevel.spawn_system_task(trio.sleep_forever)
        while self.at < self.count:
            self.at += 1
            yield self.make(self.at - 1)


class LeavesAFile(Numbers):
    """Closes its file only at the end."""

    kept = []  # noqa: RUF012  - so that no garbage collector closes it

    async def stream(self):
        file = open(__file__)  # noqa: SIM115  - the bug
        self.kept.append(file)
        while self.at < self.count:
            self.at += 1
            yield self.make(self.at - 1)
        file.close()


class RefusesToClose(Numbers):
    """Goes on when it is told to end."""

    async def stream(self):
        while self.at < self.count:
            self.at += 1
            try:
                yield self.make(self.at - 1)
            except GeneratorExit:
                yield None


# committed


class Queue(Numbers):
    """By the rules: a queue in a file, whose records go when they are acknowledged."""

    blocks = None

    def __init__(self, place):
        self.path = place / "queue.json"
        if not self.path.exists():
            self.path.write_text(json.dumps(list(range(5))))
        self.first = self.at = 0

    def left(self):
        return json.loads(self.path.read_text())

    def acknowledge(self, position):
        self.path.write_text(json.dumps([each for each in self.left() if each >= position]))

    def identity(self):
        return "queue"

    async def stream(self):
        for number in self.left():
            if number >= self.at:
                await trio.lowlevel.checkpoint()
                self.at = number + 1
                yield {"id": number}

    async def committed(self, position):
        await trio.lowlevel.checkpoint()
        self.acknowledge(position)


class AcknowledgesAll(Queue):
    """Acknowledges what was read, not what is durable."""

    async def committed(self, position):
        await trio.lowlevel.checkpoint()
        self.acknowledge(self.at + 1)


class AcknowledgesWhenClosed(Queue):
    """Takes the end of a run for the end of its work."""

    async def close(self):
        await trio.lowlevel.checkpoint()
        self.acknowledge(self.at)


class OnceOnly(Queue):
    """Can't be told twice."""

    async def committed(self, position):
        await trio.lowlevel.checkpoint()
        left = self.left()
        if position and position - 1 not in left:
            raise ValueError("acknowledged already")
        self.acknowledge(position)


BROKEN = [
    Broken(DrawnOnce, "repeatable"),
    Broken(ShortBlocks, "agreement"),
    Broken(EmptyBlock, "agreement"),
    Broken(BytesPosition, "positions"),
    Broken(LatePosition, "positions"),
    Broken(NewIdentity, "identity"),
    Broken(GrowingIdentity, "identity"),
    Broken(NeverFresh, "fresh"),
    Broken(CountsAsking, "asking"),
    Broken(ReadsAhead, "resume"),
    Broken(OffByOne, "resume"),
    Broken(ForgetsTheEnd, "resume"),
    Broken(Swallows, "cancelled"),
    Broken(LeavesATask, "closing"),
    Broken(LeavesAFile, "closing"),
    Broken(RefusesToClose, "closing"),
    Broken(AcknowledgesAll, "committed"),
    Broken(AcknowledgesWhenClosed, "repeatable"),
    Broken(OnceOnly, "committed"),
]
