"""Assertions on spans: what fits, and what is said of what doesn't."""

import re
from typing import Any

import pytest

from agora.testing.spans import AssertingTracer


@pytest.fixture
def tracer() -> AssertingTracer:
    tracer = AssertingTracer()
    with tracer.span("run", attributes={"pipeline": "p"}):
        with tracer.span("sink", attributes={"records": 3}):
            pass
        with pytest.raises(ValueError, match="bad"), tracer.span("sink", attributes={"records": 4}):
            raise ValueError("bad")
    return tracer


@pytest.mark.parametrize(
    "wanted",
    [
        {}, {"parent": "run"}, {"attributes": {"records": 4}}, {"error": ValueError}, {"error": Exception},
        {"count": 2},
        {"parent": "run", "attributes": {"records": 3}, "count": 1},
    ],
)  # fmt: skip
def test_what_is_there_is_found(tracer: AssertingTracer, wanted: Any) -> None:
    assert tracer.assert_span("sink", **wanted).name == "sink"
    tracer.assert_no_span("source")


@pytest.mark.parametrize(
    ("name", "wanted", "complaint"),
    [
        ("source", {}, "no span 'source'; finished are:\n  sink under run {'records': 3}\n"),
        ("sink", {"parent": "walk"}, "its parent is 'run', not 'walk'"),
        ("run", {"parent": "walk"}, "its parent is None, not 'walk'"),
        ("sink", {"attributes": {"records": 5}}, "sink under run {'records': 3}: records is 3, not 5"),
        ("sink", {"attributes": {"bytes": 5}}, "it has no attribute 'bytes'"),
        ("sink", {"error": OSError}, "its error is ValueError('bad'), not a OSError"),
        ("sink", {"count": 1}, "2 spans, not 1: 'sink'"),
        (
            "sink",
            {"parent": "x", "attributes": {"records": 3}},
            "no span 'sink' under 'x' with {'records': 3}; those of",
        ),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    tracer: AssertingTracer, name: str, wanted: Any, complaint: str
) -> None:
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        tracer.assert_span(name, **wanted)


def test_a_span_that_should_not_be_there_is_shown(tracer: AssertingTracer) -> None:
    with pytest.raises(AssertionError, match=re.escape("1 of no span 'run':\n  run {'pipeline': 'p'}")):
        tracer.assert_no_span("run")
    with pytest.raises(AssertionError, match=r"\(none\)"):
        AssertingTracer().assert_span("run")
