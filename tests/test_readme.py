"""The README's two commands are real, and the gate calls the second."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS = re.findall(r"^(sh \S+)", (ROOT / "README.md").read_text().split("## Two commands")[1], re.M)


def test_there_are_two_commands_and_the_gate_calls_the_second():
    assert COMMANDS == ["sh dev/example", "sh dev/check"]
    assert "sh dev/check" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("script", ["dev/example", "dev/check", "dev/lint", "dev/activate.sh"])
def test_scripts_are_plain_shell(script):
    done = subprocess.run(["sh", "-n", ROOT / script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_script_fails_quietly():
    for script in ("dev/example", "dev/check", "dev/lint", ".ci/run"):
        assert re.search(r"^set -eu", (ROOT / script).read_text(), re.M), script


def test_the_first_command_is_what_the_readme_shows():
    text = (ROOT / "dev/example").read_text()
    assert "pip install --quiet ." in text
    assert "agora run examples/orders/pipeline.toml" in text


def test_no_place_of_a_single_machine_is_in_the_project():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True).stdout
    if not listed:
        pytest.skip("no git checkout")
    private = re.compile(rb"/(?:home|Users|root|work)/\w|/tmp/venv|\bindex-url\b|\bextra-index\b")
    found = [
        name
        for name in listed.decode().split("\0")
        if name != "tests/test_readme.py"
        and (ROOT / name).is_file()
        and private.search((ROOT / name).read_bytes())
    ]
    assert found == []
