"""State backends that are broken on purpose, each in one way. `BROKEN` says which law each of them breaks."""

import contextlib
from fnmatch import fnmatchcase

import attrs
import trio
from testing.broken.labelled import Broken

import agora.seam
from agora.state import Expect, ExpectationFailed, MemoryBackend, Put
from agora.state.transaction import Buffer, buffered, check_text


class Sound(MemoryBackend):
    """In memory, for several objects on one storage. What is broken is made of this."""

    def identity(self):
        return f"memory:{id(self._entries):x}"


def another(backend):
    """A second object on the same storage."""
    made = type(backend)()
    made._entries = backend._entries
    return made


# opening


class ClosedByTheFirst(Sound):
    """The first close closes it for all."""

    async def close(self):
        await trio.lowlevel.checkpoint()
        self._users = 0


class OpenForEver(Sound):
    async def close(self):
        await trio.lowlevel.checkpoint()


# values


class OneNamespace(Sound):
    """Keys are the same in all namespaces."""

    def look(self, namespace, key):
        return super().look("all", key)

    def change(self, changes):
        super().change([attrs.evolve(change, namespace="all") for change in changes])


class EmptyIsAbsent(Sound):
    """Tells an empty value from none by its truth."""

    async def get(self, namespace, key):
        return await super().get(namespace, key) or None


# scan


class InsertionOrder(Sound):
    async def scan(self, namespace, prefix=""):
        await trio.lowlevel.checkpoint()
        for key in list(self._entries.get(namespace, ())):
            value = self.look(namespace, key)
            if value is not None and key.startswith(prefix):
                yield key, value


class Wildcards(Sound):
    """The prefix is a pattern, as by LIKE."""

    async def scan(self, namespace, prefix=""):
        pattern = prefix.replace("%", "*").replace("_", "?") + "*"
        async for key, value in super().scan(namespace, ""):
            if fnmatchcase(key, pattern):
                yield key, value


class OrderOfUnits(Sound):
    """Sorts as UTF-16 does, in which what is beyond 16 bits comes before the last that are within."""

    async def scan(self, namespace, prefix=""):
        found = [item async for item in super().scan(namespace, prefix)]
        for item in sorted(found, key=lambda item: item[0].encode("utf-16-be")):
            yield item


# expiry


class CountedFromOpen(Sound):
    """A ttl counts from when the backend was opened."""

    began = 0.0

    async def open(self):
        await super().open()
        self.began = agora.seam.current().now().timestamp()

    def change(self, changes):
        passed = agora.seam.current().now().timestamp() - self.began
        super().change(
            [
                attrs.evolve(change, ttl=change.ttl - passed)
                if isinstance(change, Put) and change.ttl is not None
                else change
                for change in changes
            ]
        )


class ExpiredIsExpected(Sound):
    """An Expect sees what has expired, until somebody has asked for it."""

    def change(self, changes):
        for change in changes:
            entry = self._entries.get(change.namespace, {}).get(change.key)
            held = None if entry is None else entry.value
            if isinstance(change, Expect) and held != change.value:
                raise ExpectationFailed(change, "refused")
        super().change([change for change in changes if not isinstance(change, Expect)])


class KeepsTheTtl(Sound):
    """A put without a ttl leaves the one that the key had."""

    def change(self, changes):
        kept = {}
        for change in changes:
            entry = self._entries.get(change.namespace, {}).get(change.key)
            if isinstance(change, Put) and change.ttl is None and entry is not None and entry.expires:
                kept[change.namespace, change.key] = entry.expires
        super().change(changes)
        for (namespace, key), expires in kept.items():
            if key in self._entries[namespace]:
                self._entries[namespace][key] = attrs.evolve(self._entries[namespace][key], expires=expires)


# expectations


class AbsenceIgnored(Sound):
    """Expect(…, None) is taken for "whatever"."""

    def change(self, changes):
        super().change([c for c in changes if not (isinstance(c, Expect) and c.value is None)])


class NamesTheLast(Sound):
    """Of several expectations that failed it names the last."""

    def change(self, changes):
        try:
            super().change(changes)
        except ExpectationFailed:
            super().change([change for change in reversed(changes) if isinstance(change, Expect)])
            raise


# atomicity


class OneByOne(Sound):
    """Makes changes as it comes to them, until one is refused."""

    def change(self, changes):
        for change in changes:
            super().change([change])


# transaction


class ForgetsExpectations(Sound):
    def transaction(self):
        return self._transaction()

    @contextlib.asynccontextmanager
    async def _transaction(self):
        buffer = Buffer()
        yield buffer
        await self.apply([change for change in buffer.changes if not isinstance(change, Expect)])


class AppliesAfterErrors(Sound):
    @contextlib.asynccontextmanager
    async def transaction(self):
        buffer = Buffer()
        try:
            yield buffer
        finally:
            await self.apply(buffer.changes)


class WritesThrough(Sound):
    """What is put in a block can be seen at once."""

    @contextlib.asynccontextmanager
    async def transaction(self):
        async with buffered(self) as buffer:
            yield Through(self, buffer)


@attrs.frozen
class Through:
    backend: object
    buffer: Buffer

    def put(self, namespace, key, value, *, ttl=None):
        self.backend.change([Put(namespace, key, value, ttl)])

    def __getattr__(self, name):
        return getattr(self.buffer, name)


# fencing


class KnowsItsFences(Sound):
    """Compares numbers with what this object wrote last, as long as it knows that."""

    known = None

    def change(self, changes):
        for change in changes:
            if isinstance(change, Expect) and change.namespace == "fence" and self.known is not None:
                if self.known != change.value:
                    raise ExpectationFailed(change, "refused")
                changes = [each for each in changes if each is not change]
        super().change(changes)
        for change in changes:
            if isinstance(change, Put) and change.namespace == "fence":
                self.known = change.value


class ForgivesInTime(Sound):
    """A number is checked for as long as it is fresh."""

    took = 0.0

    def change(self, changes):
        now = agora.seam.current().now().timestamp()
        fenced = [c for c in changes if isinstance(c, Expect) and c.namespace == "fence"]
        takes = any(isinstance(c, Put) and c.namespace == "fence" for c in changes)
        if takes:
            self.took = now
        elif fenced and now - self.took > 300:
            changes = [change for change in changes if change not in fenced]
        super().change(changes)


# durability


class WritesAtTheEnd(Sound):
    """What was put is written when it is closed."""

    def __init__(self):
        super().__init__()
        self.stored = {}

    async def close(self):
        await super().close()
        self.stored.clear()
        self.stored.update({namespace: dict(entries) for namespace, entries in self._entries.items()})


def another_read(backend):
    made = WritesAtTheEnd()
    made.stored = backend.stored
    made._entries = {namespace: dict(entries) for namespace, entries in backend.stored.items()}
    return made


# identity


class NamedByTheObject(Sound):
    def identity(self):
        return f"memory:{id(self):x}"


class OneName(Sound):
    def identity(self):
        return "memory"


# concurrency


class LooksThenLeaps(Sound):
    """Looks at expectations, lets others run, and then changes."""

    async def apply(self, changes):
        await trio.lowlevel.checkpoint()
        for change in changes:
            if isinstance(change, Expect) and self.look(change.namespace, change.key) != change.value:
                raise ExpectationFailed(change, "refused")
        await trio.lowlevel.cancel_shielded_checkpoint()
        self.change([change for change in changes if not isinstance(change, Expect)])


# cancellation


class AChangeATime(Sound):
    """Under a lock that others wait for; but a cancellation comes between two changes."""

    def __init__(self):
        super().__init__()
        self.lock = trio.Lock()

    async def apply(self, changes):
        check_text(changes, "here")
        async with self.lock:
            expected = [change for change in changes if isinstance(change, Expect)]
            self.change(expected)
            for change in changes:
                if not isinstance(change, Expect):
                    await trio.lowlevel.checkpoint()
                    self.change([change])

    async def get(self, namespace, key):
        async with self.lock:
            return self.look(namespace, key)


class CountsFirst(Sound):
    """An open that is cancelled has been counted."""

    async def open(self):
        self._users += 1
        await trio.lowlevel.checkpoint()


class LeftOpen(Sound):
    """A close that is cancelled doesn't close."""

    async def close(self):
        await trio.lowlevel.checkpoint()
        self._users -= 1


class Swallows(Sound):
    async def apply(self, changes):
        with trio.CancelScope() as scope:
            try:
                await super().apply(changes)
            except trio.Cancelled:
                scope.cancel()


# checkpoints


class AtOnce(Sound):
    """What is known is answered without a checkpoint."""

    async def get(self, namespace, key):
        return self.look(namespace, key)


BROKEN = [
    Broken(ClosedByTheFirst, "opening"),
    Broken(OpenForEver, "opening"),
    Broken(OneNamespace, "values"),
    Broken(EmptyIsAbsent, "values"),
    Broken(InsertionOrder, "scan"),
    Broken(Wildcards, "scan"),
    Broken(OrderOfUnits, "scan"),
    Broken(CountedFromOpen, "expiry"),
    Broken(ExpiredIsExpected, "expiry"),
    Broken(KeepsTheTtl, "expiry"),
    Broken(AbsenceIgnored, "expectations"),
    Broken(NamesTheLast, "expectations"),
    Broken(OneByOne, "atomicity"),
    Broken(ForgetsExpectations, "transaction"),
    Broken(AppliesAfterErrors, "transaction"),
    Broken(WritesThrough, "transaction"),
    Broken(KnowsItsFences, "fencing"),
    Broken(ForgivesInTime, "fencing"),
    Broken(WritesAtTheEnd, "durability"),
    Broken(NamedByTheObject, "identity"),
    Broken(OneName, "identity"),
    Broken(LooksThenLeaps, "concurrency"),
    Broken(AChangeATime, "cancellation"),
    Broken(CountsFirst, "cancellation"),
    Broken(LeftOpen, "cancellation"),
    Broken(Swallows, "cancellation"),
    Broken(AtOnce, "checkpoints"),
]
REOPEN = {WritesAtTheEnd: another_read}
