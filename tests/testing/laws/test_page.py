"""docs/testing.md states the laws as they are."""

from pathlib import Path

import pytest

from agora.testing.laws import MIDDLEWARE_LAWS, PIPELINE_LAWS, SINK_LAWS, SOURCE_LAWS, STATE_BACKEND_LAWS
from agora.testing.simulation import INVARIANTS

PAGE = (Path(__file__).parents[3] / "docs/testing.md").read_text()


@pytest.mark.parametrize(
    "laws",
    [MIDDLEWARE_LAWS, SOURCE_LAWS, SINK_LAWS, STATE_BACKEND_LAWS, PIPELINE_LAWS],
    ids=["middlewares", "sources", "sinks", "state backends", "pipelines"],
)
def test_the_page_lists_the_laws(laws):
    assert f"| law | statement |\n| --- | --- |\n{table(laws)}\n" in PAGE


def test_the_page_lists_what_holds_of_simulations():
    assert f"| invariant | statement |\n| --- | --- |\n{table(INVARIANTS)}\n" in PAGE


def table(stated):
    return "".join(f"| `{each.name}` | {each.statement} |\n" for each in stated)
