"""How many examples a property is tried with: some every day, many in `nox -s properties`."""

import os

__all__ = ["examples"]

_MANY = bool(os.environ.get("AGORA_MANY_EXAMPLES"))


def examples(every_day: int, many: int) -> int:
    """For Hypothesis' `max_examples`."""
    return many if _MANY else every_day
