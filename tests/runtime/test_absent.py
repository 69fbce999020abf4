"""What people are told of sinks that left the pipeline (`agora.runtime.absent`)."""

import pytest

from agora.runtime.absent import DLQ_NAME, gone


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a"], "sink 'a' isn't"),
        (["a", "b"], "sinks 'a', 'b' aren't"),
        ([DLQ_NAME], "the dead-letter queue isn't"),
        (["a", DLQ_NAME], "sink 'a' and the dead-letter queue aren't"),
    ],
)
def test_those_that_are_gone_are_named(names: list[str], says: str) -> None:
    assert gone(names) == f"{says} in the pipeline any more"
