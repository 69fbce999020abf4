"""What a state backend is, as a dictionary: the reference that every one is compared with. Pure."""

from collections.abc import Iterator, Sequence

import attrs

from agora.state.base import Change, Delete, Expect, Put

__all__ = ["Model", "Place"]

Place = tuple[str, str]
"""A namespace and a key."""


@attrs.define
class Model:
    """What a storage holds."""

    entries: dict[Place, tuple[bytes, float | None]] = attrs.field(factory=dict)
    """The value, and the moment at which it is gone."""

    def copy(self) -> "Model":
        return Model(dict(self.entries))

    def get(self, namespace: str, key: str, now: float) -> bytes | None:
        value, until = self.entries.get((namespace, key), (None, None))
        return value if until is None or now < until else None

    def scan(self, namespace: str, prefix: str, now: float) -> list[tuple[str, bytes]]:
        places = sorted(
            place for place in self.entries if place[0] == namespace and place[1].startswith(prefix)
        )
        found = [(key, self.get(namespace, key, now)) for _, key in places]
        return [(key, value) for key, value in found if value is not None]

    def refused(self, changes: Sequence[Change], now: float) -> Expect | None:
        """The first expectation that doesn't hold."""
        for change in changes:
            if isinstance(change, Expect) and self.get(change.namespace, change.key, now) != change.value:
                return change
        return None

    def apply(self, changes: Sequence[Change], now: float) -> None:
        """Make them, whatever was expected."""
        for change in changes:
            if isinstance(change, Put):
                until = None if change.ttl is None else now + change.ttl
                self.entries[change.namespace, change.key] = (change.value, until)
            elif isinstance(change, Delete):
                self.entries.pop((change.namespace, change.key), None)

    def try_apply(self, changes: Sequence[Change], now: float) -> Expect | None:
        """Make them if every expectation holds; else the first that doesn't."""
        refused = self.refused(changes, now)
        if refused is None:
            self.apply(changes, now)
        return refused

    def live(self, now: float) -> Iterator[tuple[Place, bytes]]:
        for namespace, key in sorted(self.entries):
            value = self.get(namespace, key, now)
            if value is not None:
                yield (namespace, key), value
