"""A figure of one process against its target, for benchmarks that compare agora with itself."""

import attrs

__all__ = ["Comparison"]


@attrs.frozen(kw_only=True)
class Comparison:
    """One figure and its target."""

    name: str
    what: str
    """What is compared, for people: `"agora 1.02 s, bare pool 1.00 s"`."""
    ratio: float
    target: float
    at_most: bool
    """Whether the ratio must be at most the target, or at least."""

    @property
    def met(self) -> bool:
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target

    def __str__(self) -> str:
        sign, verdict = "≤" if self.at_most else "≥", "ok" if self.met else "MISSED"
        return f"{self.name:<24} {self.ratio:6.3f}  {sign} {self.target:<5g} {verdict:<7} {self.what}"
