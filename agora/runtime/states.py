"""`RunContext.state`: a mapping for each step whose content is cut with the stream and saved by the
barrier."""

from collections.abc import Iterator, Mapping, MutableMapping

import attrs

from agora.copying import keep
from agora.errors import ConfigError
from agora.middlewares.step import Step
from agora.records import Json
from agora.runtime.batch import Cut

__all__ = ["StepStates", "UnusableState"]


@attrs.frozen
class UnusableState(MutableMapping[str, Json]):
    """In place of a state that couldn't be cut at the right place; says why when it is used."""

    reason: str

    def _refuse(self) -> ConfigError:
        return ConfigError(self.reason)

    def __getitem__(self, key: str) -> Json:
        raise self._refuse()

    def __setitem__(self, key: str, value: Json) -> None:
        raise self._refuse()

    def __delitem__(self, key: str) -> None:
        raise self._refuse()

    def __iter__(self) -> Iterator[str]:
        raise self._refuse()

    def __len__(self) -> int:
        raise self._refuse()


@attrs.define
class StepStates:
    """The mappings of a run's steps, and what is saved of steps at a cut."""

    _mappings: dict[str, dict[str, Json]] = attrs.field(factory=dict)

    def mapping(self, step: Step) -> MutableMapping[str, Json]:
        """The step's own mapping."""
        if step.buffered:
            return UnusableState(
                f"step {step.name!r} runs with concurrency={step.concurrency}, so it can't use "
                "context.state: what is in it would depend on timing"
            )
        return self._mappings.setdefault(step.name, {})

    def cut(self, step: Step, cut: Cut) -> None:
        """Take what is to be saved of this step; called where the cut passes it."""
        snapshot = step.snapshot() if step.snapshot is not None else None
        mapping = self._mappings.get(step.name)
        if step.snapshot is not None or mapping:
            cut.states[step.name] = {"snapshot": keep(snapshot), "state": keep(mapping or {})}

    def restore(self, step: Step, saved: Mapping[str, Json]) -> None:
        """Give back what a checkpoint holds of this step."""
        state = saved.get(step.name)
        if not isinstance(state, dict):
            return
        mapping = state.get("state")
        if isinstance(mapping, dict) and not step.buffered:
            self._mappings.setdefault(step.name, {}).update(mapping)
        if step.restore is not None:
            step.restore(state.get("snapshot"))
