"""Built-in parts in simulated worlds: an everyday number of seeds; `nox -s simulate` has the time for 10,000."""

import os

import pytest

from .campaign import NAMES, failure

SEEDS = int(os.environ.get("AGORA_SIMULATIONS", "11"))
"""Of each pipeline."""


@pytest.mark.parametrize("name", NAMES)
def test_built_in_parts_keep_their_promises_whatever_happens(name: str) -> None:
    for seed in range(SEEDS):
        assert failure(name, seed) is None, failure(name, seed)
