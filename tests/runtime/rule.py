"""The rule that segments and buffered stages stand for: one record after the other, each through its steps.

Steps are made of plans, so that the rule knows what each does to a record; what a segment leaves is put in the same
words and compared.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import attrs
import trio
from hypothesis import strategies as st

from agora.deadletter import SOURCE_ENTRY, Entry
from agora.middlewares.step import Step, StepKind, step_from
from agora.runtime.batch import Batch, Failure, StreamOrigin
from agora.runtime.counting import StageCount
from agora.runtime.failing import StepRules
from agora.runtime.states import StepStates

Told = list[tuple[Any, ...]]


@attrs.frozen
class Plan:
    """A step: what it does to a record is told by the record's number and the step's own fates."""

    kind: str
    fates: tuple[str, ...]
    policy: Any
    awaits: bool = False
    waits: tuple[int, ...] = (0,)
    """Virtual seconds, where it awaits."""

    def fate(self, record: dict[str, Any]) -> str:
        return self.fates[record["id"] % len(self.fates)]

    def of(self, name: str, concurrency: int = 1) -> Step:
        told: Any = {"name": name, "on_error": self.policy, "concurrency": concurrency}
        if self.kind == "batch":
            return step_from(Batches(self), **told)
        kind = {"map": StepKind.MAP, "filter": StepKind.FILTER, "expand": StepKind.EXPAND}[self.kind]
        return step_from(self._awaiting if self.awaits else self.work, kind=kind, **told)

    async def _awaiting(self, record: dict[str, Any]) -> Any:
        await trio.sleep(self.waits[record["id"] % len(self.waits)])
        return self.work(record)

    def work(self, record: dict[str, Any]) -> Any:
        record["seen"].append(self.kind)  # in place: a record that passes on must be as it was
        fate = self.fate(record)
        if self.kind == "expand":
            return self._children(record, fate)
        if fate == "fail":
            raise ValueError(record["id"])
        return fate == "keep" if self.kind == "filter" else (record if fate == "keep" else None)

    def _children(self, record: dict[str, Any], fate: str) -> Iterator[Any]:
        if fate != "drop":
            yield {"id": record["id"], "seen": [*record["seen"], 1]}
        if fate == "fail":
            raise ValueError(record["id"])
        if fate == "keep":
            yield {"id": record["id"] + 1, "seen": [*record["seen"], 2]}


@attrs.frozen
class Batches:
    """A step that fails as a whole where one record fails, and has done nothing then."""

    plan: Plan

    async def process_batch(self, records: Sequence[dict[str, Any]]) -> list[Any]:
        fates = [self.plan.fate(record) for record in records]
        await trio.sleep(self.plan.waits[len(records) % len(self.plan.waits)])
        if "fail" in fates:
            raise ValueError(records[fates.index("fail")]["id"])
        for record in records:
            record["seen"].append("batch")
        return [record if fate == "keep" else None for record, fate in zip(records, fates, strict=True)]


@attrs.define
class Rule:
    """One record after the other."""

    plans: Sequence[Plan]
    letters: bool
    rows: Told = attrs.field(factory=list)
    failures: Told = attrs.field(factory=list)
    halt: tuple[Any, ...] | None = None
    counts: list[list[int]] = attrs.field(init=False)
    """Entered, left, dropped, failed."""

    def __attrs_post_init__(self) -> None:
        self.counts = [[0, 0, 0, 0] for _ in self.plans]

    def through(self, record: dict[str, Any], offset: int, start: int, entry: Any) -> None:
        for number in range(start, len(self.plans)):
            if self.halt is not None:
                return
            plan, count = self.plans[number], self.counts[number]
            count[0] += 1
            before = copied(record)
            fate = plan.fate(record)
            if plan.kind == "expand":
                self._children(record, before, offset, number, entry)
                return
            if fate == "fail":
                if not self._passes(number, offset, entry):
                    return
                record = before
            elif fate == "drop":
                count[2] += 1
                return
            else:
                record = {**record, "seen": [*record["seen"], plan.kind]}
            count[1] += 1
        if self.halt is None:
            self.rows.append((record["id"], tuple(record["seen"]), offset, said(entry)))

    def _children(
        self, record: dict[str, Any], before: dict[str, Any], offset: int, number: int, entry: Any
    ) -> None:
        plan, count = self.plans[number], self.counts[number]
        fate = plan.fate(record)
        seen = [*record["seen"], "expand"]
        children = [{"id": record["id"], "seen": [*seen, 1]}] if fate != "drop" else []
        if fate == "keep":
            children.append({"id": record["id"] + 1, "seen": [*seen, 2]})
        if fate == "fail" and plan.policy == "pass":
            children = [before]
            count[3] += 1
        for child in children:
            if self.halt is not None:
                return
            count[1] += 1
            self.through(child, offset, number + 1, self._behind(number, child) if self.letters else entry)
        if self.halt is None and fate == "fail" and plan.policy != "pass":
            self._passes(number, offset, entry)
        count[2] += not children

    def _behind(self, number: int, record: dict[str, Any]) -> Entry:
        following = None if number + 1 == len(self.plans) else f"s{number + 1}"
        return Entry(step=following, record=copied(record))

    def _passes(self, number: int, offset: int, entry: Any) -> bool:
        self.counts[number][3] += 1
        policy = self.plans[number].policy or "dead_letter"
        if policy == "pass":
            return True
        failure = (offset, f"middleware:s{number}", policy, said(entry))
        if policy == "stop":
            self.halt = failure
        else:
            self.failures.append(failure)
        return False


def copied(record: dict[str, Any]) -> dict[str, Any]:
    return {"id": record["id"], "seen": list(record["seen"])}


def said(entry: Any) -> Any:
    return (
        (entry.step, entry.record["id"], tuple(entry.record["seen"])) if isinstance(entry, Entry) else entry
    )


def of(failure: Failure, first: int) -> tuple[Any, ...]:
    assert isinstance(failure.error, ValueError)
    return (first + failure.offset, failure.stage, failure.policy, said(failure.entry))


def rules_of(steps: Sequence[Step], letters: bool) -> StepRules:
    """Rules with counts of their own."""
    return StepRules(
        steps=steps,
        default="dead_letter",
        letters=letters,
        counts={step.stage: StageCount() for step in steps},
        states=StepStates(pipeline="p", saves=False),
    )


def batches(numbers: Sequence[int], *borders: int) -> list[Batch]:
    """Records of these numbers, in batches that end at the borders."""
    ends = sorted({*borders, len(numbers)})
    made = []
    for start, end in pairwise([0, *ends]):
        rows = [{"id": number, "seen": []} for number in numbers[start:end]]
        origin = StreamOrigin(rows, None, None)
        made.append(Batch(first=start, count=len(rows), rows=rows, index=range(len(rows)), origin=origin))
    return made


def left(sent: Sequence[Batch], rules: StepRules) -> tuple[Any, ...]:
    """Rows, failures, halt and counts, by ordinal."""
    rows = [
        (row["id"], tuple(row["seen"]), batch.first + batch.index[place], said(batch.entry(place)))
        for batch in sent
        for place, row in enumerate(batch.rows)
    ]
    failures = [of(failure, batch.first) for batch in sent for failure in batch.failures]
    halt = sent[-1].halt
    counts = [[each.entered, each.left, each.dropped, each.failed] for each in rules.counts.values()]
    return rows, failures, None if halt is None else of(halt, sent[-1].first), counts


def by_rule(plans: Sequence[Plan], numbers: Sequence[int], letters: bool) -> tuple[Any, ...]:
    rule = Rule(plans, letters)
    for offset, number in enumerate(numbers):
        if rule.halt is None:
            rule.through({"id": number, "seen": []}, offset, 0, SOURCE_ENTRY)
    return rule.rows, rule.failures, rule.halt, rule.counts


Fates = st.lists(st.sampled_from(["keep", "keep", "drop", "fail"]), min_size=1, max_size=5).map(tuple)
Policies = st.sampled_from([None, "skip", "pass", "stop"])
Numbers = st.lists(st.integers(0, 20), max_size=8)


def plans_of(*kinds: str) -> Any:
    one = st.builds(Plan, st.sampled_from(kinds), Fates, Policies, st.booleans())
    return st.lists(one, min_size=1, max_size=3)
