"""Both backends against a dictionary: whatever is done to them, they hold what it holds."""

import contextlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from trio.testing import MockClock

import agora.seam
from agora.state import Delete, Expect, ExpectationFailed, MemoryBackend, Put, SQLiteBackend

namespaces = st.sampled_from(["a", "b", "ä"])
keys = st.sampled_from(
    ["", "k", "k1", "k2", "kö", "l", "k\x00", "k%", "k_", "\U0001f600", "\uffff"]
) | st.text(st.characters(codec="utf-8"), max_size=3)
values = st.binary(max_size=4)
ttls = st.none() | st.integers(1, 20)
changes = st.lists(
    st.builds(Put, namespaces, keys, values, ttls)
    | st.builds(Delete, namespaces, keys)
    | st.builds(Expect, namespaces, keys, st.none() | values),
    max_size=6,
)


class Clock(agora.seam.Seam):
    def __init__(self) -> None:
        super().__init__()
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


class Backends(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name, "state.db")
        self.clock = Clock()
        self.memory = MemoryBackend()
        self.file = SQLiteBackend(self.path)
        self.model: dict[tuple[str, str], tuple[bytes, datetime | None]] = {}
        for backend in (self.memory, self.file):
            self.run(backend.open)

    def run(self, call, *args):
        async def main():
            with agora.seam.use(self.clock):
                return await call(*args)

        return trio.run(main, clock=MockClock())

    def live(self) -> dict[tuple[str, str], bytes]:
        return {
            place: value
            for place, (value, expires) in self.model.items()
            if expires is None or self.clock.moment < expires
        }

    def change_model(self, changes) -> bool:
        live = self.live()
        if any(
            isinstance(change, Expect) and live.get((change.namespace, change.key)) != change.value
            for change in changes
        ):
            return False
        for change in changes:
            if isinstance(change, Put):
                expires = None if change.ttl is None else self.clock.moment + timedelta(seconds=change.ttl)
                self.model[change.namespace, change.key] = (change.value, expires)
            elif isinstance(change, Delete):
                self.model.pop((change.namespace, change.key), None)
        return True

    @rule(changes=changes)
    def apply(self, changes) -> None:
        expected = self.change_model(changes)
        for backend in (self.memory, self.file):
            if expected:
                self.run(backend.apply, changes)
            else:
                with pytest.raises(ExpectationFailed) as failed:
                    self.run(backend.apply, changes)
                assert failed.value.expectation in changes

    @rule(changes=changes, fails=st.booleans())
    def transaction(self, changes, fails) -> None:
        expected = not fails and self.change_model(changes)

        async def transact(backend):
            async with backend.transaction() as transaction:
                for change in changes:
                    match change:
                        case Put():
                            transaction.put(change.namespace, change.key, change.value, ttl=change.ttl)
                        case Delete():
                            transaction.delete(change.namespace, change.key)
                        case Expect():
                            transaction.expect(change.namespace, change.key, change.value)
                if fails:
                    raise KeyError

        for backend in (self.memory, self.file):
            try:
                self.run(transact, backend)
            except (ExpectationFailed, KeyError):
                assert not expected
            else:
                assert expected

    @rule(namespace=namespaces, key=keys)
    def expect_what_is_there(self, namespace, key) -> None:
        self.apply([Expect(namespace, key, self.live().get((namespace, key))), Put(namespace, key, b"seen")])

    @rule(seconds=st.integers(1, 15))
    def time_passes(self, seconds) -> None:
        self.clock.moment += timedelta(seconds=seconds)

    @rule()
    def reopen_the_file(self) -> None:
        self.run(self.file.close)
        self.file = SQLiteBackend(self.path)
        self.run(self.file.open)

    @rule(namespace=namespaces, key=keys)
    def get(self, namespace, key) -> None:
        for backend in (self.memory, self.file):
            assert self.run(backend.get, namespace, key) == self.live().get((namespace, key))

    @rule(namespace=namespaces, prefix=keys)
    def scan(self, namespace, prefix) -> None:
        self.check_scan(namespace, prefix)

    @invariant()
    def hold_the_same(self) -> None:
        for namespace in ("a", "b", "ä"):
            self.check_scan(namespace, "")

    def check_scan(self, namespace, prefix) -> None:
        expected = sorted(
            (key, value)
            for (space, key), value in self.live().items()
            if space == namespace and key.startswith(prefix)
        )

        async def collect(backend):
            async with contextlib.aclosing(backend.scan(namespace, prefix)) as rows:
                return [row async for row in rows]

        for backend in (self.memory, self.file):
            assert self.run(collect, backend) == expected

    def teardown(self) -> None:
        if hasattr(self, "file"):
            self.run(self.file.close)
            self.directory.cleanup()


TestBackends = Backends.TestCase
TestBackends.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
