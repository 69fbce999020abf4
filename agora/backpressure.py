"""Backpressure: how many records may be in flight, and who decides it."""

from typing import Literal

import attrs

from agora.errors import ConfigError

__all__ = ["AdaptiveLimit", "Backpressure"]


def _whole(name: str, value: int, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"backpressure: {name} must be a whole number from {least}, not {value!r}")
    return value


@attrs.frozen
class Backpressure:
    """The in-flight limit in records. Make one with `fixed` or `adaptive`."""

    kind: Literal["fixed", "adaptive"]
    min_in_flight: int
    max_in_flight: int
    target_latency: float
    """Seconds that a sink's write of a batch, or a checkpoint, should take."""

    @classmethod
    def fixed(cls, max_buffer_size: int = 200) -> "Backpressure":
        """Always the same limit. `fixed(1)` interleaves source, chain and sink record by record."""
        size = _whole("max_buffer_size", max_buffer_size)
        return cls("fixed", size, size, 0.0)

    @classmethod
    def adaptive(
        cls, min_in_flight: int = 16, max_in_flight: int = 10_000, target_latency: float = 0.1
    ) -> "Backpressure":
        """A limit between the two bounds, moved by the measured latency of writes and checkpoints.

        `target_latency` in seconds. Additive increase, multiplicative decrease (as TCP's congestion
        avoidance, RFC 5681).
        """
        low, high = _whole("min_in_flight", min_in_flight), _whole("max_in_flight", max_in_flight)
        if low > high:
            raise ConfigError(f"backpressure: min_in_flight={low} is above max_in_flight={high}")
        if not target_latency > 0:
            raise ConfigError(f"backpressure: target_latency must be above 0 seconds, not {target_latency!r}")
        return cls("adaptive", low, high, float(target_latency))


@attrs.define
class AdaptiveLimit:
    """The pure controller behind `Backpressure.adaptive`: additive up, multiplicative down, a fast start.

    Batches are cut to a quarter of the limit, so the limit moves what a write takes. What was cut under another limit
    is still on its way after a move and must not count again: each observation says under which limit it was cut.

    The additive step is a share of the limit at the last decrease, not of the bounds: a step that suits a span of
    thousands makes a limit of forty jump over its target and back. Far above the last decrease, and before the first
    one, nothing is known of where the target lies, so the limit grows by a factor until it is found (slow start in
    TCP's terms, though it is the fast part).
    """

    config: Backpressure
    limit: int = attrs.field(init=False)
    _known: int | None = attrs.field(init=False, default=None)
    """The limit after the last decrease; `None` while searching."""

    SEARCH = 1.5
    """Factor of an increase while searching."""
    INCREASE = 0.05
    """Share of the limit at the last decrease that one good observation adds."""
    DECREASE = 0.8

    def __attrs_post_init__(self) -> None:
        self.limit = self.config.min_in_flight

    def observe(self, latency: float, cut_under: int, *, used: bool = True) -> int:
        """Take one measured latency, in seconds, of work that was cut under the limit `cut_under`; the new
        limit. A limit that held nothing back isn't `used`: good latencies say nothing about a higher one."""
        config = self.config
        if latency > config.target_latency:
            if cut_under <= self.limit:
                self.limit = self._known = max(config.min_in_flight, int(self.limit * self.DECREASE))
        elif used and cut_under >= self.limit:
            self.limit = min(config.max_in_flight, self._increased())
        return self.limit

    def _increased(self) -> int:
        if self._known is not None and self.limit >= 2 * self._known:
            self._known = None
        if self._known is None:
            return max(self.limit + 1, int(self.limit * self.SEARCH))
        return self.limit + max(1, int(self._known * self.INCREASE))
