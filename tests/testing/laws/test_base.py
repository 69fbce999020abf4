"""What all checks share: the search, what is told of its find, and that values become code that makes them again."""

import datetime
import decimal
import math
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import attrs
import pyarrow as pa
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.testing.laws.base import Breach, Check, Law, LawBroken, Trial
from agora.testing.laws.code import Code, script
from agora.testing.laws.virtual import run_virtual
from agora.testing.seeding import current_seed, set_seed, use_seed

SMALL = Law("small", "A sum stays below 100.")
SHORT = Law("short", "There are at most three.")


@attrs.frozen
class Case:
    numbers: list
    note: str = ""


@attrs.frozen
class Point:
    """A record of the tests."""

    x: float
    _hidden: int = 0
    labels: list = attrs.field(factory=list)


def check_sums(part, *, strict=False, law=None, case=None):
    """The check that counterexamples of these tests call."""


class Part:
    pass


def sums(case):
    if len(case.numbers) > 3:
        raise Breach(SHORT, f"there are {len(case.numbers)}")
    if sum(case.numbers) >= 100:
        raise Breach(SMALL, f"the sum is {sum(case.numbers)}")


cases = st.builds(Case, st.lists(st.integers(0, 1000), max_size=8))


def found(trial, *, seed=1, examples=100):
    check = Check(check_sums, {"": Part, "strict": True}, examples, seed)
    with pytest.raises(LawBroken) as raised:
        check.prove([trial])
    return raised.value


def test_the_smallest_case_is_told_as_the_call_that_runs_it():
    broken = found(Trial([SMALL], cases.filter(lambda case: len(case.numbers) < 4), sums))
    assert broken.law == SMALL
    assert broken.seen == "the sum is 100"
    assert 'check_sums(Part, strict=True, law="small", case=Case(numbers=[100]))' in broken.code
    assert (
        str(broken)
        == textwrap.dedent("""\
        law 'small' is broken: A sum stays below 100.

          the sum is 100

        The smallest case found, as a test:

        """)
        + broken.code
        + "\nseed=1 (or pytest --agora-seed 1) searches the same way again."
    )


@pytest.mark.parametrize("seed", range(10))
def test_shrinking_stays_with_the_law_that_was_found(seed):
    broken = found(Trial([SMALL, SHORT], cases, sums), seed=seed)
    assert broken.seen == {"small": "the sum is 100", "short": "there are 4"}[broken.law.name]


def test_the_number_of_calls_is_bounded_and_the_find_stays_a_find():
    calls = []

    def run(case):
        calls.append(case)
        sums(case)

    broken = found(Trial([SMALL, SHORT], cases, run, calls=5))
    first = next(
        index for index, case in enumerate(calls) if len(case.numbers) > 3 or sum(case.numbers) >= 100
    )
    assert len(calls) <= first + 1 + 5 + 1  # the last: whether it breaks again
    assert broken.steady


def test_what_breaks_a_law_only_once_is_told_as_unsteady():
    calls = []

    def run(case):
        calls.append(case)
        if len(calls) == 7:
            raise Breach(SMALL, "this time")

    broken = found(Trial([SMALL], cases, run))
    assert broken.seen == "this time"
    assert "doesn't break it each time" in str(broken)
    assert not broken.steady


def test_what_a_trial_raises_itself_comes_out():
    def run(case):
        raise RuntimeError("no such part")

    with pytest.raises(RuntimeError, match="no such part"):
        Check(check_sums, {}, 10, 1).prove([Trial([SMALL], cases, run)])


def test_a_law_that_holds_says_nothing():
    Check(check_sums, {}, 10, 1).prove([Trial([SMALL], st.just(Case([1])), sums)])


def test_seeds():
    with use_seed(3):
        with use_seed(4):
            assert current_seed() == 4
        assert current_seed() == 3
    set_seed(5)
    try:
        assert current_seed() == current_seed() == 5
    finally:
        set_seed(None)
    assert current_seed() != current_seed()


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.timedeltas()
    | st.builds(Point, st.floats(allow_nan=False), st.integers(), st.lists(st.text(), max_size=2))
    | st.just(Path("a/b")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=3)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(plain)
def test_the_code_of_a_value_makes_it_again(value):
    code = Code()
    module = {}
    exec(script("test", code, f"global made\nmade = {code.of(value)}") + "\ntest()\n", module)
    assert Code().of(module["made"]) == Code().of(value)
    if "nan" not in repr(value):
        assert module["made"] == value
        assert type(module["made"]) is type(value)


def test_the_code_of_some_values():
    code = Code()
    assert (
        code.of({"a": [1, math.inf], "b": 'it\'s "x"'}) == """{"a": [1, float("inf")], "b": 'it\\'s "x"'}"""
    )
    assert code.of(decimal.Decimal("1.50")) == "decimal.Decimal('1.50')"
    assert code.of(uuid.UUID(int=1)).startswith("uuid.UUID('0000")
    assert code.of(Point(1.0, 2)) == "Point(x=1.0, hidden=2)"
    assert code.of(Point(1.0)) == "Point(x=1.0)"
    assert code.of(Point) == "Point"
    assert code.of(lambda: None) == "factory"
    assert code.of(LawBroken) == "LawBroken"
    assert code.names["agora.testing"] == {"LawBroken"}  # where users know it from
    assert code.imports == {"import decimal", "import uuid"}


def test_the_code_of_a_recordbatch_makes_it_again():
    batch = pa.RecordBatch.from_pylist([{"a": 1, "b": "x", "c": None}, {"a": None, "b": "y", "c": 1.5}])
    made = eval(Code().of(batch), {"pa": pa})
    assert made == batch
    assert made.schema == batch.schema


def test_a_run_that_hangs_ends():
    with pytest.raises(trio.TooSlowError):
        run_virtual(trio.sleep_forever)


def test_without_hypothesis_it_is_said_what_to_install():
    code = """
        import sys
        sys.modules["hypothesis"] = None
        import agora.testing
        agora.testing.faults
        try:
            agora.testing.check_middleware
        except ImportError as error:
            print(error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert run.stdout == "the laws need Hypothesis: pip install 'agora-trio[testing]'\n"


class Plain:
    """No attrs, no repr of its own."""

    __slots__ = ("__dict__", "first")

    def __init__(self, first, **more):
        self.first = first
        self.__dict__.update(more)


def test_an_object_without_a_repr_is_told_by_what_it_holds():
    inner = Plain(2)
    inner.itself = inner
    assert Code().of(Plain(1, inner=inner)) == "Plain(first=1, inner=Plain(first=2, itself=...))"


def test_what_cannot_be_imported_is_said_to_be_missing():
    code = Code()
    text = script("test_it", code, code.call(print, {"": lambda: None, "made": Plain}))
    assert text.splitlines()[1].startswith("# factory: what the check was given under this name")
