"""The steps of W1 to W3, W8 and W9 as functions of one record, for all contenders that work row by row."""

from typing import Any

__all__ = ["FLIGHT_NUMBERS", "LATE", "add_euros", "add_gain", "is_large", "is_late", "whole_or_na"]

Record = dict[str, Any]

LATE = 60
"""Minutes behind its schedule from which on an arrival is late."""
FLIGHT_NUMBERS = (
    *(
        "year",
        "month",
        "day",
        "dep_time",
        "sched_dep_time",
        "dep_delay",
        "arr_time",
        "sched_arr_time",
        "arr_delay",
    ),
    *("flight", "air_time", "distance", "hour", "minute"),
)
"""The columns of whole numbers; the others are text."""


def is_large(order: Record) -> bool:
    return bool(order["amount"] > 500)


def add_euros(order: Record) -> Record:
    order["amount_eur"] = order["amount"] * 0.92
    return order


def whole_or_na(text: str) -> int | None:
    """A whole number; R writes NA where there is none."""
    return None if text == "NA" else int(text)


def is_late(flight: Record) -> bool:
    """Neither cancelled nor diverted, and more than an hour behind."""
    delay = flight["arr_delay"]
    return delay is not None and delay > LATE


def add_gain(flight: Record) -> Record:
    flight["gain"] = flight["dep_delay"] - flight["arr_delay"]
    return flight
