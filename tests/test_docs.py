"""The documentation is true: its code runs, and answers what the page says it does."""

import contextlib
import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest

from agora import plugins
from agora.config import build, load

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^>\n]*) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_MARK = re.compile(r"(file|same as): \S+|not run: \S.+|")
_KINDS = {"python", "text", "console", "sh", "toml", "csv"}
_FORMAT = 'format = "agora/1"\n'
_VARYING = [
    (re.compile(r"\b[0-9a-f]{16}\b"), "RUN"),
    (re.compile(r"(?<=:)[0-9a-f]{12}\b"), "LETTER"),
    (re.compile(r"\b\d+\.\d\d ?s\b"), "TIME"),
    (re.compile(r"(?<=\bseed[= ])\d+"), "SEED"),
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
        if found["kind"]
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


def shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would type it, with this environment's `agora`, and nobody at the keyboard."""
    return subprocess.run(
        command,
        shell=True,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_console(block: Block) -> None:
    """Each `$ command`, and what stands under it."""
    first, *parts = re.split(r"^\$ ", block.text, flags=re.M)
    assert first == "", f"a console block begins with a command, not with {first!r}"
    for part in parts:
        command, _, expected = part.partition("\n")
        assert steady(shell(command).stdout) == steady(expected), command


def run_sh(block: Block) -> None:
    """Each line, or what a backslash joins to it, is a command that has to succeed."""
    for command in block.text.replace("\\\n", "").splitlines():
        done = shell(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}"


def check_toml(text: str, path: Path) -> None:
    """A config file is one whose pipelines can be built; of what a distribution declares, the groups must exist."""
    if text.startswith(_FORMAT):
        path.write_text(text)
        config = load(path)
        for name in config.pipelines:
            assert build(config, name).name == name
        return
    groups = tomllib.loads(text)["project"]["entry-points"]
    registries = [each.group for each in vars(plugins).values() if isinstance(each, plugins.Registry)]
    assert groups.keys() <= {*registries}, "no such group"


@attrs.define
class Reader:
    """Goes through a page from top to bottom, in one directory and one Python module."""

    page: Path
    directory: Path
    names: dict[str, object] = attrs.field(factory=lambda: {"__name__": "page"})
    said: str | None = None
    """What the last Python block printed."""

    def read(self, block: Block) -> None:
        assert block.kind in _KINDS, f"nothing checks a block of the kind {block.kind!r}"
        assert _MARK.fullmatch(block.mark), f"{block.mark!r} is no mark of tests/test_docs.py"
        mark, _, value = block.mark.partition(": ")
        if mark == "not run":
            return
        if mark == "same as":
            assert block.text == (ROOT / value).read_text(), f"isn't {value}"
        elif mark == "file":
            (self.directory / value).write_text(block.text)
        elif block.kind == "python":
            self.said = run_python(block, self.page, self.names)
        elif block.kind == "text":
            assert self.said is not None, "not what was printed: nothing was"
            assert steady(self.said) == steady(block.text), "not what was printed"
        elif block.kind == "console":
            run_console(block)
        elif block.kind == "sh":
            run_sh(block)
        else:
            assert block.kind == "toml", "a file needs a name"
        if block.kind == "toml" and mark != "same as":
            check_toml(block.text, self.directory / (value or "pipeline.toml"))


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """An empty directory to work in, with what the README's clone has; nothing of a page is left behind.

    Nothing compiled is kept there: a page may change a module within the second in which it was compiled and without
    changing its size, which is all that Python looks at.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "examples/orders").mkdir(parents=True)
    for name in ("orders.csv", "steps.py", "pipeline.toml"):
        (tmp_path / "examples/orders" / name).write_bytes((ROOT / "examples/orders" / name).read_bytes())
    (tmp_path / "orders.csv").write_text("id,amount\n1,900\n2,3\n")
    before, modules = dict(os.environ), set(sys.modules)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_is_what_happens(page, directory):
    reader = Reader(page, directory)
    for block in blocks_of(page):
        try:
            reader.read(block)
        except Exception as error:
            error.add_note(f"{page.name}, line {block.line + 1}")
            raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_is_overlooked(page):
    """Each fence opens or closes a block that the test above knows, or one without a language: a drawing."""
    text = page.read_text()
    fences = re.findall(r"^[ >]*(?:```|~~~).*$", text, re.M)
    assert len(fences) == 2 * len(_BLOCK.findall(text))


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("```pytohn\n```", "nothing checks"),
        ("<!-- not run -->\n```sh\nfalse\n```", "is no mark"),
        ("<!-- not run: -->\n```sh\nfalse\n```", "is no mark"),
        ("<!-- not running: because -->\n```sh\nfalse\n```", "is no mark"),
        ("```sh\nfalse\n```", "false"),
        ("```sh\nexit 3 # comment\n```", "exit 3"),
        ("```console\n$ echo 5\n6\n```", "echo 5"),
        ("```console\necho 5\n```", "begins with a command"),
        ("```python\nprint(5)\n```\n```text\n6\n```", "not what was printed"),
        ("```text\n6\n```", "not what was printed"),
        ("```csv\n6\n```", "a file needs a name"),
        ("<!-- same as: README.md -->\n```text\n6\n```", "isn't README.md"),
        ('```toml\nformat = "agora/1"\n```', "pipelines: missing"),
        ('```toml\n[project.entry-points."agora.sinsk"]\n```', "no such group"),
        ("```python\nraise ValueError(5)\n```", "5"),
        ("<!-- not shown:\n```python\nraise ValueError(5)\n```\n-->", "5"),
    ],
)
def test_a_block_that_isnt_true_is_found(block, complaint, directory):
    page = directory / "page.md"
    page.write_text(f"# Page\n\n{block}\n")
    reader = Reader(page, directory)
    with pytest.raises(Exception, match=re.escape(complaint)):
        for each in blocks_of(page):
            reader.read(each)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_reached_from_the_index():
    index = (ROOT / "docs/index.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index
