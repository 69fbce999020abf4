"""`RunContext.state`: a mapping for each step whose content is cut with the stream and saved by the
barrier."""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import attrs

from agora.copying import keep
from agora.errors import ConfigError
from agora.middlewares.step import Step
from agora.records import Json
from agora.runtime.batch import Cut

__all__ = ["StateMisuseError", "StepState", "StepStates", "UnusableState"]


_ABSENT: Any = object()


class StateMisuseError(ConfigError):
    """A step used a state that it can't have. No record's fault: whatever the step's policy, the run ends."""


@attrs.frozen
class UnusableState(MutableMapping[str, Json]):
    """In place of a state that couldn't be cut at the right place; says why when it is used."""

    reason: str

    def _refuse(self) -> StateMisuseError:
        return StateMisuseError(self.reason)

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


@attrs.define(eq=False)
class StepState(MutableMapping[str, Json]):
    """One step's mapping. It notes that it is used, and can go back to what it was before a batch: what is
    touched is kept first, since a copy of the whole for each batch would cost as much as the state is large."""

    content: dict[str, Json] = attrs.field(factory=dict)
    used: bool = False
    _before: dict[str, Json] | None = None
    """The values, as they were before the batch, of the keys that it touched."""

    def begin(self) -> None:
        """What is touched from now on can be undone."""
        self._before = {}

    def undo(self) -> None:
        """Go back to where `begin` was called."""
        for key, value in (self._before or {}).items():
            if value is _ABSENT:
                self.content.pop(key, None)
            else:
                self.content[key] = value
        self._before = None

    def _touch(self, key: str) -> None:
        self.used = True
        if self._before is not None and key not in self._before:
            self._before[key] = keep(self.content[key]) if key in self.content else _ABSENT

    def __getitem__(self, key: str) -> Json:
        self._touch(key)  # its value may be changed in place
        return self.content[key]

    def __setitem__(self, key: str, value: Json) -> None:
        self._touch(key)
        self.content[key] = value

    def __delitem__(self, key: str) -> None:
        self._touch(key)
        del self.content[key]

    def __contains__(self, key: object) -> bool:
        self.used = True
        return key in self.content

    def __iter__(self) -> Iterator[str]:
        self.used = True
        return iter(self.content)

    def __len__(self) -> int:
        self.used = True
        return len(self.content)


@attrs.define
class StepStates:
    """The mappings of a run's steps, and what is saved of steps at a cut."""

    _mappings: dict[str, StepState] = attrs.field(factory=dict)

    def mapping(self, step: Step) -> MutableMapping[str, Json]:
        """The step's own mapping."""
        if step.buffered:
            return UnusableState(
                f"step {step.name!r} runs with concurrency={step.concurrency}, so it can't use "
                "context.state: what is in it would depend on timing"
            )
        return self._mappings.setdefault(step.name, StepState())

    def stateful(self, step: Step) -> bool:
        """Whether the step has state: by `snapshot`, or because it has used its mapping."""
        mapping = self._mappings.get(step.name)
        return step.stateful or (mapping is not None and mapping.used)

    def begin(self, step: Step) -> Json:
        """Make it possible to `undo` what the step does to its state from now on."""
        if step.name in self._mappings:
            self._mappings[step.name].begin()
        return keep(step.snapshot()) if step.snapshot is not None else None

    def undo(self, step: Step, begun: Json) -> None:
        """Take the step's state back to where `begin` gave `begun`."""
        if step.name in self._mappings:
            self._mappings[step.name].undo()
        if step.restore is not None:
            step.restore(begun)

    def cut(self, step: Step, cut: Cut) -> None:
        """Take what is to be saved of this step; called where the cut passes it."""
        snapshot = step.snapshot() if step.snapshot is not None else None
        mapping = self._mappings.get(step.name)
        content = {} if mapping is None else mapping.content
        if step.snapshot is not None or content:
            cut.states[step.name] = {"snapshot": keep(snapshot), "state": keep(content)}

    def restore(self, step: Step, saved: Mapping[str, Json], *, afresh: bool) -> None:
        """Give back what a checkpoint holds of this step. Of a step of which nothing is saved, `afresh`: what
        it was before its first run, since a run before this one in the same process may have failed, or be
        undone."""
        first = step.snapshot is not None and not step.initial
        if step.snapshot is not None and first:
            step.initial.append(keep(step.snapshot()))
        state = saved.get(step.name)
        if not isinstance(state, dict):
            if afresh and step.restore is not None and not first:
                step.restore(keep(step.initial[0]))
            return
        mapping = state.get("state")
        if isinstance(mapping, dict) and mapping and not step.buffered:
            self._mappings.setdefault(step.name, StepState()).update(keep(mapping))
        if step.restore is not None:
            step.restore(state.get("snapshot"))
