"""What all checks are built of: laws, the search for a counterexample, and how it is told.

A check has one `Trial` a law: where cases come from, and what is done with one. A case is a frozen attrs object that
holds all there is to know of an example (records, batch borders, schedule, …), so the same case has the same outcome.
A trial raises `Breach` with what was seen. `prove` drives Hypothesis through all trials of a check, and makes of the
smallest case that breaks a law the `LawBroken` that the user sees.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

import attrs
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from agora.testing.laws.code import Code, script
from agora.testing.seeding import current_seed

__all__ = ["Breach", "Check", "Law", "LawBroken", "Trial", "checked_records"]

C = TypeVar("C")


def checked_records(records: object) -> None:
    """`TypeError`, with what to give, unless it is a strategy."""
    if not isinstance(records, SearchStrategy):
        said = "" if records is None else f" instead of {records!r:.60}"
        raise TypeError(
            f'give records=, a Hypothesis strategy of records such as strategies.records({{"id": int}}){said}'
        )


@attrs.frozen
class Law:
    """What a part must keep to."""

    name: str
    """Unique among those of its kind of part; said where a single case is run: `law="order"`."""
    statement: str
    """One sentence, for the error and the documentation."""


class LawBroken(AssertionError):  # noqa: N818  - what is found, as agora.errors names them
    """A part breaks a law. The message has the law, what was seen, and the smallest counterexample as a test."""

    def __init__(self, law: Law, seen: str, code: str, seed: int | None, *, steady: bool = True) -> None:
        self.law = law
        self.seen = seen
        self.code = code
        """A module with one test that fails as long as the law is broken."""
        self.seed = seed
        """That of the search; `None` where a single case was run."""
        self.steady = steady
        """False: the same case didn't break the law each time, so the part isn't deterministic."""
        super().__init__(self._message())

    def _message(self) -> str:
        lines = [f"law {self.law.name!r} is broken: {self.law.statement}", "", _indented(self.seen), ""]
        if not self.steady:
            lines += [
                "The same case doesn't break it each time: the part depends on more than it is given.",
                "",
            ]
        lines += ["The smallest case found, as a test:", "", self.code]
        if self.seed is not None:
            lines.append(
                f"seed={self.seed} (or pytest --agora-seed {self.seed}) searches the same way again."
            )
        return "\n".join(lines)


class Breach(Exception):  # noqa: N818  - no error of the kit's: it is what was looked for
    """Raised by a trial: this law is broken. `seen`: what was seen, and what was expected. `case`: the one of several
    that the trial made of its own, which breaks it alone."""

    def __init__(self, law: Law, seen: str, case: object = None) -> None:
        self.law = law
        self.seen = seen
        self.case = case
        super().__init__(f"{law.name}: {seen}")


@attrs.frozen
class Trial(Generic[C]):
    """How a law is tried, or several by the same runs."""

    laws: Sequence[Law]
    cases: SearchStrategy[C]
    run: Callable[[C], None]
    """Synchronous. Raises `Breach` where the case breaks the law; what else it raises comes out of the check."""
    examples: int | None = None
    """Fewer than the check's where one takes long."""
    calls: int = 500
    """How often a case is run at most once one was found: what bounds the time of shrinking, and the same each time."""


@attrs.frozen
class Check:
    """A check that was called: what it was called with, so that a counterexample can be told as the same call."""

    function: Callable[..., None]
    arguments: Mapping[str, object]
    """Those that a single case needs, too: the factory (under `""`: it goes by position) and the profile."""
    examples: int
    seed: int | None = None

    def run(self, trials: Sequence[Trial[C]], law: str | None, case: C | None, kind: type[C]) -> None:
        """Search all laws, or try a single case of one. `TypeError` where only one of these two is given."""
        if (law is None) != (case is None) or not isinstance(case, kind | None):
            raise TypeError(f"law= and case= go together: the name of a law, and a {kind.__name__}")
        if law is None or case is None:
            self.prove(trials)
        else:
            self.replay(trials, law, case)

    def prove(self, trials: Sequence[Trial[C]]) -> None:
        """Search each law for a counterexample, in order. Raises `LawBroken` for the first one that has one."""
        seed = current_seed() if self.seed is None else self.seed
        for trial in trials:
            examples = min(self.examples, trial.examples or self.examples)
            search = _Search(trial, examples, seed)
            found = search.smallest()
            if found is not None:
                breach, case = found
                raise self._broken(
                    breach, breach.case or case, seed, steady=search.steady
                ) from breach.__cause__

    def replay(self, trials: Sequence[Trial[C]], law: str, case: C) -> None:
        """Run this one case of the law with this name. Raises `LawBroken`; `ValueError` for an unknown name."""
        known = dict.fromkeys(each.name for trial in trials for each in trial.laws)
        if law not in known:
            raise ValueError(f"law={law!r}: expected one of {', '.join(known)}")
        for trial in trials:
            if law not in (each.name for each in trial.laws):
                continue
            try:
                trial.run(case)
            except Breach as breach:
                if breach.law.name == law:
                    raise self._broken(breach, case, None) from breach.__cause__

    def _broken(self, breach: Breach, case: object, seed: int | None, *, steady: bool = True) -> LawBroken:
        code = Code()
        call = code.call(self.function, {**self.arguments, "law": breach.law.name, "case": case})
        name = breach.law.name.replace(" ", "_").replace("-", "_")
        return LawBroken(breach.law, breach.seen, script(f"test_{name}", code, call), seed, steady=steady)


@attrs.define
class _Search(Generic[C]):
    """Hypothesis' search for one law."""

    trial: Trial[C]
    examples: int
    seed: int
    steady: bool = True
    _failing: dict[str, tuple[Breach, C]] = attrs.field(factory=dict)
    """Cases that broke a law, by their code: not run again, so that the last word is the same as the first."""
    _smallest: tuple[Breach, C] | None = None
    _shrinking: int = 0

    def smallest(self) -> tuple[Breach, C] | None:
        @settings(
            max_examples=self.examples,
            database=None,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis_seed(self.seed)
        @given(self.trial.cases)
        def search(case: C) -> None:
            self._try(case)

        try:
            search()
        except (Breach, Flaky):
            self.steady = self._breaks_again()
            return self._smallest
        return None

    def _breaks_again(self) -> bool:
        """Whether the case that was found breaks the law once more."""
        if self._smallest is not None:
            try:
                self.trial.run(self._smallest[1])
            except Breach:
                return True
        return False

    def _try(self, case: C) -> None:
        if self._smallest is None:
            self._run(case)
            return
        known = self._failing.get(Code().of(case))
        if known is not None:
            self._smallest = known
            raise known[0]
        if self._shrinking < self.trial.calls:
            self._shrinking += 1
            self._run(case)

    def _run(self, case: C) -> None:
        try:
            self.trial.run(case)
        except Breach as breach:
            if self._smallest is not None and breach.law != self._smallest[0].law:
                return  # one law at a time: shrinking must not slip to another
            self._smallest = breach, case
            self._failing[Code().of(case)] = breach, case
            raise


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
