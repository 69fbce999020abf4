"""A source that isn't the one of the checkpoint is refused, and what is different is said."""

from datetime import UTC, datetime
from typing import Any

import pytest

from agora import Checkpoint, SourceChanged
from agora.runtime.identity import check_identity


def check(was: Any, now: Any) -> None:
    made = Checkpoint(
        position=5, skip=0, ordinal=1_234, source=was, sinks={}, states={}, fence=0, run_id="r",
        saved_at=datetime(2026, 1, 1, tzinfo=UTC), completed=False,
    )  # fmt: skip
    check_identity("p", made, now)


@pytest.mark.parametrize(
    ("was", "now"),
    [(None, None), ([1, "a"], (1, "a")), ({"1": [2]}, {1: (2,)}), ({"a": 1, "b": 2}, {"b": 2, "a": 1})],
)
def test_identities_are_compared_as_json_reads_them_back(was: Any, now: Any) -> None:
    check(was, now)


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        (
            {"path": "a", "delimiter": ",", "gone": 1},
            {"path": "b", "delimiter": ",", "new": True},
            'a source with path = "a", gone = 1, new = null; now it has path = "b", gone = null, new = true',
        ),
        ("a", "b", 'of "a" and not of "b"'),
        ({"path": "a"}, None, 'of {"path": "a"} and not of null'),
    ],
)
def test_only_what_is_different_is_said(was: Any, now: Any, says: str) -> None:
    with pytest.raises(SourceChanged) as raised:
        check(was, now)
    assert says in str(raised.value)
    assert "made at record 1,234" in str(raised.value)
    assert "--allow-source-change" in str(raised.value)
