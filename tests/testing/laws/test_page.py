"""docs/testing.md states the laws as they are."""

from pathlib import Path

import pytest

from agora.testing.laws import PIPELINE_LAWS, STATE_BACKEND_LAWS

PAGE = (Path(__file__).parents[3] / "docs/testing.md").read_text()


@pytest.mark.parametrize("laws", [STATE_BACKEND_LAWS, PIPELINE_LAWS], ids=["state backends", "pipelines"])
def test_the_page_lists_the_laws(laws):
    table = "".join(f"| `{law.name}` | {law.statement} |\n" for law in laws)
    assert f"| law | statement |\n| --- | --- |\n{table}\n" in PAGE
