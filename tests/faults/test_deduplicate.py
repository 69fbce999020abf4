"""Deduplicate in processes that are really killed: no duplicate is let through, and no record is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from agora.state import SQLiteBackend, StateDLQSink

LINES = 3_000
KILLS = int(os.environ.get("AGORA_DEDUPLICATE_KILLS", "4"))


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "agora", "run", "drill_seen:pipeline", "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(folder: Path) -> bytes:
    path = folder / "out.jsonl"
    return path.read_bytes() if path.exists() else b""


async def test_after_kills_the_output_is_the_first_of_each_key_in_order(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("drill_seen.py"), tmp_path)
    # each key comes again soon, and again long after: behind checkpoints, kills and resumes
    ids = [line * 7 % 1_000 if line % 3 else (line - 1) * 7 % 1_000 for line in range(LINES)]
    (tmp_path / "orders.csv").write_text("id,line\n" + "".join(f"{key},{at}\n" for at, key in enumerate(ids)))
    first = {key: line for line, key in reversed(list(enumerate(ids)))}
    refused = sorted(line for key, line in first.items() if key % 97 == 96)
    expected = [{"id": ids[line], "line": line} for line in sorted(set(first.values()) - set(refused))]
    size = sum(len(json.dumps(record, separators=(",", ":"))) + 1 for record in expected)

    for number in range(KILLS):
        process = start(tmp_path, DRILL_PAUSE="0.02")
        deadline = time.monotonic() + 60
        while len(output(tmp_path)) < size * (number + 0.5) / (KILLS + 1):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = start(tmp_path)
    _, err = last.communicate(timeout=60)
    assert last.returncode == 0, err
    assert [json.loads(line) for line in output(tmp_path).splitlines()] == expected
    letters = [letter async for letter in StateDLQSink(SQLiteBackend(tmp_path / "state.db")).read("drill")]
    assert [letter.original["line"] for letter in letters] == refused
