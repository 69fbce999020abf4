"""Hypothesis strategies: records of any declaration, text that is hard to read, what goes wrong, and when it happens.

What a part takes is drawn from what it is declared with: `records(Order)`, `records({"amount": float})`,
`records(pa.schema(...))`. Each strategy's docstring says what it yields and what it shrinks towards.
"""

from typing import TYPE_CHECKING

from agora.lazily import lazily
from agora.testing.needs import require_hypothesis

if TYPE_CHECKING:
    from agora.testing.strategies.arrow import record_batches, schemas
    from agora.testing.strategies.csvtexts import CsvTrouble, csv_texts
    from agora.testing.strategies.declared import records
    from agora.testing.strategies.failures import failpoints, failure_plans, life_plans, losses, spoiled
    from agora.testing.strategies.jsontexts import JsonTrouble, json_lines
    from agora.testing.strategies.schedules import (
        batch_sizes,
        borders,
        concurrencies,
        limits,
        suspensions,
        waits,
    )
    from agora.testing.strategies.values import json_values, texts

__all__ = [
    "CsvTrouble",
    "JsonTrouble",
    "batch_sizes",
    "borders",
    "concurrencies",
    "csv_texts",
    "failpoints",
    "failure_plans",
    "json_lines",
    "json_values",
    "life_plans",
    "limits",
    "losses",
    "record_batches",
    "records",
    "schemas",
    "spoiled",
    "suspensions",
    "texts",
    "waits",
]

_MODULES = {
    "CsvTrouble": ".csvtexts",
    "JsonTrouble": ".jsontexts",
    "batch_sizes": ".schedules",
    "borders": ".schedules",
    "concurrencies": ".schedules",
    "csv_texts": ".csvtexts",
    "failpoints": ".failures",
    "failure_plans": ".failures",
    "json_lines": ".jsontexts",
    "json_values": ".values",
    "life_plans": ".failures",
    "limits": ".schedules",
    "losses": ".failures",
    "record_batches": ".arrow",
    "records": ".declared",
    "schemas": ".arrow",
    "spoiled": ".failures",
    "suspensions": ".schedules",
    "texts": ".values",
    "waits": ".schedules",
}

require_hypothesis("the strategies")

__getattr__, __dir__ = lazily(__name__, _MODULES)
