"""What a handle is told of the letters that are to be replayed reaches the run as it was said."""

from datetime import UTC, datetime
from typing import Any

from agora.runtime.handle import RunHandle, RunOutcome


async def test_the_choice_of_letters_is_passed_on() -> None:
    asked: list[Any] = []

    async def replay(*arguments: Any, **options: Any) -> Any:
        asked.append((arguments, options))
        return "summary"

    def never(*_: Any) -> Any:
        raise AssertionError

    handle = RunHandle(
        "p", "r", outcome=RunOutcome(), stop=never, checkpoint=never, stats=never, replay=replay
    )
    told: dict[str, Any] = {
        "stage": "source",
        "error_type": "E",
        "since": datetime(2020, 1, 1, tzinfo=UTC),
        "until": datetime(2021, 1, 1, tzinfo=UTC),
        "limit": 3,
        "classes": (int,),
    }
    assert await handle.replay(["a"], **told) == "summary"
    assert asked == [((["a"],), told)]
