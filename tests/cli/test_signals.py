"""The first Ctrl-C (or SIGTERM) drains and checkpoints, the second cancels; another runner is refused."""

import json
import signal

import pytest

from agora.cli.signals import Interruption

ENDLESS = """
source = { import = "steps:endless" }
sinks = [{ type = "jsonl", path = "o.jsonl" }]
batch_size = 1
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_finishes_what_is_in_flight(started, write, directory, number, code):
    write(f'{ENDLESS}middlewares = [{{ import = "steps:reached" }}]')
    process = started("run", "p.toml", "--json")
    assert process.stderr.readline() == "reached\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err == f"agora: {number.name}: finishing what is in flight; once more cancels it\n"
    summary = json.loads(out)
    assert summary["status"] == "stopped"
    assert summary["read"] == summary["written"] >= 4
    written = (directory / "o.jsonl").read_text().splitlines()
    assert [json.loads(line)["n"] for line in written] == list(range(summary["read"]))


def test_the_second_signal_cancels(started, write, directory):
    write(f'{ENDLESS}middlewares = [{{ import = "steps:stuck" }}]')
    process = started("run", "p.toml", "--json")
    assert process.stderr.readline() == "reached\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "agora: SIGINT: finishing what is in flight; once more cancels it\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "agora: SIGINT: cancelled\n"
    assert json.loads(out) == {"pipeline": "p", "status": "cancelled", "exit_code": 130}
    assert not (directory / "o.jsonl").exists()


def test_a_second_runner_is_refused_with_exit_code_4_and_so_is_a_reset(started, agora, directory, write):
    (directory / "orders.csv").write_text("id,amount\n" + "1,1\n" * 10)
    write(
        'source = { type = "csv", path = "orders.csv" }\nbatch_size = 1\n'
        'middlewares = [{ import = "steps:stuck" }]\nsinks = [{ type = "null" }]\n'
        'checkpoint = {}\ndlq = { type = "state" }\nstate = { type = "sqlite", path = "s.db" }'
    )
    process = started("run", "p.toml")
    assert process.stderr.readline() == "reached\n"
    for arguments in (["run"], ["checkpoint", "reset", "--yes"], ["dlq", "purge", "--yes"]):
        done = agora(*arguments, "p.toml")
        assert done.returncode == 4, done
        assert "pipeline 'p' is busy" in done.stderr
        assert "Traceback" not in done.stderr
    process.kill()
    process.communicate()
    assert agora("checkpoint", "reset", "--yes", "p.toml").returncode == 0


def test_a_signal_before_the_run_is_open_cancels_at_once():
    done = []
    interruption = Interruption(cancel=lambda: done.append("cancel"))
    assert interruption.received(signal.SIGTERM) == "SIGTERM: cancelled"
    assert done == ["cancel"]
    assert interruption.exit_code == 143


def test_the_last_signal_gives_the_exit_code():
    done = []
    interruption = Interruption(lambda: done.append("stop"), cancel=lambda: done.append("cancel"))
    assert interruption.exit_code is None
    interruption.received(signal.SIGINT)
    assert done == ["stop"]
    assert interruption.exit_code == 130
    interruption.received(signal.SIGTERM)
    interruption.received(signal.SIGTERM)
    assert done == ["stop", "cancel", "cancel"]
    assert interruption.exit_code == 143
