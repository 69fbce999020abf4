"""A replay in the middle of a run, really killed at every step of its barriers."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from agora.state import SQLiteBackend, StateDLQSink

from .replaying import LETTERS, PAUSE, PLACES, RECORDS


async def test_after_kill_9_at_any_step_of_a_replay_in_a_run_no_letter_is_lost_or_repeated(
    tmp_path: Path,
) -> None:
    script = Path(__file__).with_name("replaying.py")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"killed": [-signal.SIGKILL] * len(PLACES), "last": 0}, done.stderr
    written = [json.loads(line)["id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    good, rest = [each for each in range(PAUSE) if each not in LETTERS], list(range(PAUSE, RECORDS))
    behind = written.index(PAUSE)  # letters that the killed ones delivered stand before it
    delivered = behind - len(good)
    assert delivered >= 10
    assert written == [*good, *LETTERS[:delivered], *rest, *LETTERS[delivered:]]
    queue = StateDLQSink(SQLiteBackend(tmp_path / "state.db"))
    assert [letter async for letter in queue.read("replaying")] == []
