"""The steps of the orders example: plain functions and one class."""

import datetime
from typing import Any

import trio

Order = dict[str, Any]

REGIONS = {"GB": "Europe", "FR": "Europe", "DE": "Europe", "AT": "Europe", "CH": "Europe", "SE": "Europe"}
REGIONS |= {"US": "Americas", "IN": "Asia"}


def is_large(order: Order) -> bool:
    amount: float = order["amount"]
    return amount > 500


def add_quarter(order: Order) -> Order:
    day: datetime.date = order["ordered_on"]
    order["quarter"] = f"{day.year}-Q{(day.month + 2) // 3}"
    return order


class RegionLookup:
    """Stands in for a web service: each answer takes a while, so many records ask at once."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds

    async def process(self, order: Order) -> Order:
        await trio.sleep(self.seconds)
        return order | {"region": REGIONS[order["country"]]}
