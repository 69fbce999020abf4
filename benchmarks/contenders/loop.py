"""By hand, with the standard library: what one writes first. The reference that outputs are compared with."""

import csv
import json
from pathlib import Path

from benchmarks.contenders.five import five, four, one, three, two
from benchmarks.contenders.harness import clock, load, save
from benchmarks.contenders.orders import FLIGHT_NUMBERS, add_euros, add_gain, is_large, is_late, whole_or_na


def csv_to_jsonl(source: Path, target: Path) -> None:
    with source.open(newline="") as rows, target.open("w") as out:
        for order in csv.DictReader(rows):
            record: dict[str, object] = dict(order)
            try:
                record["amount"] = float(order["amount"])
            except ValueError:  # the rows that are dead letters elsewhere
                continue
            if is_large(record):
                out.write(json.dumps(add_euros(record)) + "\n")


def flights(source: Path, target: Path) -> None:
    with source.open(newline="") as rows, target.open("w") as out:
        for row in csv.DictReader(rows):
            flight: dict[str, object] = dict(row)
            for name in FLIGHT_NUMBERS:
                flight[name] = whole_or_na(row[name])
            if is_late(flight):
                out.write(json.dumps(add_gain(flight)) + "\n")


def five_maps(source: Path, target: Path) -> None:
    numbers = load(source)
    results = []
    with clock():
        for number in numbers:
            results.append(five(four(three(two(one(number))))))  # noqa: PERF401  - a plain loop is the rival
    save(target, results)
