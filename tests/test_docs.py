"""The documentation is true: its code runs, and answers what the page says it does."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]*) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
_VARYING = [
    (re.compile(r"\b[0-9a-f]{16}\b"), "RUN"),
    (re.compile(r"(?<=:)[0-9a-f]{12}\b"), "LETTER"),
    (re.compile(r"\b\d+\.\d\d s\b"), "TIME"),
    (re.compile(r"\(\d[\d,]*/s\)"), "RATE"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "WHEN"),
    (re.compile(r"(?<=: )/\S*/(?=\w+\.csv)"), ""),
]


@attrs.frozen
class Block:
    kind: str
    mark: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            found["kind"],
            found["mark"] or "",
            found["text"],
            text.count("\n", 0, found.start("text")),
        )
        for found in _BLOCK.finditer(text)
    ]


def steady(text: str) -> str:
    """Without what differs from run to run."""
    for pattern, stand_in in _VARYING:
        text = pattern.sub(stand_in, text)
    return text


def run_python(block: Block, page: Path, names: dict[str, object]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
    return out.getvalue()


def run_console(block: Block) -> None:
    """Each `$ command`, and what stands under it."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        if command.startswith("agora "):
            command = f"{sys.executable} -m {command}"
        done = subprocess.run(
            command,
            shell=True,
            check=False,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert steady(done.stdout) == steady(expected), command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_is_what_happens(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").mkdir()
    for name in ("orders.csv", "steps.py", "pipeline.toml"):
        copy = tmp_path / "examples/orders" / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((ROOT / "examples/orders" / name).read_bytes())
    (tmp_path / "orders.csv").write_text("id,amount\n1,900\n2,3\n")
    names: dict[str, object] = {"__name__": "page"}
    said = ""
    for block in blocks_of(page):
        if block.mark.startswith("file: "):
            (tmp_path / block.mark.removeprefix("file: ")).write_text(block.text)
        elif block.mark.startswith("same as: "):
            assert block.text == (ROOT / block.mark.removeprefix("same as: ")).read_text()
        elif block.mark == "not run":
            pass
        elif block.kind == "python":
            said = run_python(block, page, names)
        elif block.kind == "text":
            assert said == block.text, f"{page.name}, line {block.line}"
        elif block.kind == "console":
            run_console(block)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_reached_from_the_index():
    index = (ROOT / "docs/index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index
