"""petl: tables that are read row by row, on demand."""

from pathlib import Path

import petl

from benchmarks.contenders.orders import FLIGHT_NUMBERS, is_late, whole_or_na


def csv_to_jsonl(source: Path, target: Path) -> None:
    orders = petl.convert(petl.fromcsv(source), "amount", float)
    large = petl.select(orders, lambda order: order["amount"] > 500)
    petl.tojson(petl.addfield(large, "amount_eur", lambda order: order["amount"] * 0.92), target, lines=True)


def flights(source: Path, target: Path) -> None:
    table = petl.convert(petl.fromcsv(source), FLIGHT_NUMBERS, whole_or_na)
    late = petl.select(table, is_late)
    gained = petl.addfield(late, "gain", lambda flight: flight["dep_delay"] - flight["arr_delay"])
    petl.tojson(gained, target, lines=True)
