"""`agora dlq`, `agora checkpoint` and `agora explain`."""

import json
import os
import pty
import subprocess
import sys

import pytest


@pytest.fixture
def letter(agora) -> str:
    """The id of the one dead letter of a run."""
    assert agora("run", "orders.toml").returncode == 0
    (line,) = agora("dlq", "list", "orders.toml", "--json").stdout.splitlines()
    return json.loads(line)["id"]


def test_letters_are_listed_a_line_each(agora, letter):
    done = agora("dlq", "list", "orders.toml")
    assert done.returncode == 0
    header, row = done.stdout.splitlines()
    assert header.split() == ["ID", "STAGE", "ATTEMPTS", "FAILED", "AT", "(UTC)", "ERROR"]
    assert row.startswith(letter)
    assert row.endswith("ValueError: no 5")


def test_no_letters_are_said_on_stderr(agora):
    done = agora("dlq", "list", "orders.toml")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "agora: there are no dead letters\n"
    assert agora("dlq", "list", "orders.toml", "--json").stdout == ""


def test_a_letter_is_shown_with_all_that_is_known(agora, letter):
    done = agora("dlq", "show", "orders.toml", "--id", letter)
    assert done.returncode == 0
    assert f"dead letter {letter}\n" in done.stdout
    assert '{"id":"5","amount":5.5}' in done.stdout
    shown = json.loads(agora("dlq", "show", "orders.toml", "orders", "--id", letter, "--json").stdout)
    assert shown["original"] == {"id": "5", "amount": 5.5}
    assert shown["stage"] == "middleware:double"


def test_an_unknown_letter_is_an_error_of_usage(agora, letter):
    for verb in ("show", "replay", "purge"):
        more = ["--yes"] if verb == "purge" else []
        done = agora("dlq", verb, "orders.toml", "--id", letter, "--id", "nothing", *more)
        assert done.returncode == 2
        assert done.stderr == "agora: there is no dead letter nothing\n"
    assert len(agora("dlq", "list", "orders.toml", "--json").stdout.splitlines()) == 1


def test_purging_needs_a_yes_where_nobody_can_be_asked(agora, letter):
    done = agora("dlq", "purge", "orders.toml")
    assert done.returncode == 2
    assert done.stderr == "agora: without a terminal to ask on, purging needs --yes\n"
    done = agora("dlq", "purge", "orders.toml", "--yes", "--json")
    assert json.loads(done.stdout) == {"pipeline": "orders", "purged": [letter]}
    assert agora("dlq", "list", "orders.toml", "--json").stdout == ""


def test_purging_by_id_leaves_the_others(agora, letter, directory):
    with (directory / "orders.csv").open("a") as orders:
        orders.write("5,50.5\n")
    agora("run", "orders.toml")
    assert agora("dlq", "purge", "orders.toml", "--id", letter, "--yes").returncode == 0
    (left,) = agora("dlq", "list", "orders.toml", "--json").stdout.splitlines()
    assert json.loads(left)["original"]["amount"] == 50.5


@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 0), (b"n\n", 1, 1), (b"\n", 1, 1)])
def test_purging_asks_on_a_terminal(agora, letter, directory, answer, code, left):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "agora", "dlq", "purge", "orders.toml"],
        cwd=directory,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.write(ours, answer)
    _, err = process.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code
    assert err.startswith(b"Throw away all dead letters of pipeline orders? [y/N] ")
    assert len(agora("dlq", "list", "orders.toml", "--json").stdout.splitlines()) == left


def test_replaying_delivers_what_now_succeeds(agora, letter, directory):
    steps = directory / "steps.py"
    steps.write_text(steps.read_text().replace('("3", "5")', '("3",)'))
    done = agora("dlq", "replay", "orders.toml", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["written"] == 1
    assert agora("dlq", "list", "orders.toml", "--json").stdout == ""
    written = [json.loads(line)["id"] for line in (directory / "large.jsonl").read_text().splitlines()]
    assert written == ["4", "6", "7", "8", "9", "5"]


def test_what_fails_again_stays_with_one_attempt_more(agora, letter):
    done = agora("dlq", "replay", "orders.toml", "--id", letter)
    assert done.returncode == 0
    (line,) = agora("dlq", "list", "orders.toml", "--json").stdout.splitlines()
    assert json.loads(line)["attempts"] == 2


@pytest.mark.parametrize("command", [["dlq", "list"], ["run"]])
def test_a_reader_that_has_gone_is_no_traceback(agora, letter, directory, command):
    process = subprocess.Popen(
        [sys.executable, "-m", "agora", *command, "orders.toml"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


@pytest.mark.parametrize("verb", ["list", "show", "replay", "purge"])
def test_a_pipeline_without_a_queue_says_what_it_needs(agora, write, verb):
    write('source = { import = "steps:few" }\nsinks = [{ type = "null" }]')
    done = agora("dlq", verb, "p.toml")
    assert done.returncode == 2
    assert done.stderr.startswith("agora: pipeline 'p' has no dead-letter queue; give it dlq = ")


def test_a_queue_that_is_a_file_can_only_be_looked_at(agora, write):
    write(
        'source = { import = "steps:few" }\nsinks = [{ type = "null" }]\n'
        'dlq = { type = "jsonl", path = "letters.jsonl" }'
    )
    done = agora("dlq", "list", "p.toml")
    assert done.returncode == 2
    assert "can be written only" in done.stderr


def test_the_checkpoint_is_shown_and_reset(agora, directory):
    none = agora("checkpoint", "show", "orders.toml")
    assert none.stdout == "pipeline orders has no checkpoint: a run starts from the beginning\n"
    assert json.loads(agora("checkpoint", "show", "orders.toml", "--json").stdout)["checkpoint"] is None
    agora("run", "orders.toml")
    shown = agora("checkpoint", "show", "orders.toml")
    assert shown.stdout.startswith("pipeline orders: 10 records are handled, by a completed run\n")
    assert (
        json.loads(agora("checkpoint", "show", "orders.toml", "--json").stdout)["checkpoint"]["ordinal"] == 10
    )
    refused = agora("checkpoint", "reset", "orders.toml")
    assert refused.returncode == 2
    assert refused.stderr == "agora: without a terminal to ask on, resetting needs --yes\n"
    assert agora("checkpoint", "reset", "orders.toml", "--yes").stdout == (
        "pipeline orders: the checkpoint at record 10 is forgotten\n"
    )
    assert agora("checkpoint", "show", "orders.toml").stdout == none.stdout
    assert (
        agora("checkpoint", "reset", "orders.toml", "--yes").stdout == "pipeline orders had no checkpoint\n"
    )


def test_the_checkpoint_says_how_many_keys_a_step_has_seen_and_reset_forgets_them(agora, directory):
    path = directory / "orders.toml"
    path.write_text(
        path.read_text().replace("middlewares = [", 'middlewares = [{ type = "deduplicate", key = "id" }, ')
    )
    agora("run", "orders.toml")
    shown = agora("checkpoint", "show", "orders.toml").stdout
    assert "  state of Deduplicate: 11 keys\n" in shown  # and how it tells records apart
    states = json.loads(agora("checkpoint", "show", "orders.toml", "--json").stdout)["checkpoint"]["states"]
    assert states["Deduplicate"]["state"]["keys"] == 11
    agora("checkpoint", "reset", "orders.toml", "--yes")
    (directory / "large.jsonl").unlink()
    again = agora("run", "orders.toml", "--json")
    assert json.loads(again.stdout)["dropped"] == 4  # by the filter


@pytest.mark.parametrize("verb", ["show", "reset"])
def test_a_pipeline_without_checkpoints_says_what_it_needs(agora, write, verb):
    write('source = { import = "steps:few" }\nsinks = [{ type = "null" }]')
    done = agora("checkpoint", verb, "p.toml")
    assert done.returncode == 2
    assert done.stderr.startswith("agora: pipeline 'p' has no checkpoints; give it checkpoint = ")


def test_explain_gives_text_json_and_mermaid_and_touches_nothing(agora, directory):
    text = agora("explain", "orders.toml")
    assert text.returncode == 0
    assert text.stdout.startswith("pipeline orders (linear)\n")
    assert "delivery: exactly once" in text.stdout
    plan = json.loads(agora("explain", "orders.toml", "orders", "--json").stdout)
    assert plan["guarantee"] == "exactly once"
    assert [stage["name"] for stage in plan["stages"]] == [
        "source",
        "middleware:large",
        "middleware:double",
        "sink:jsonl:large.jsonl",
    ]
    assert agora("explain", "orders.toml", "--mermaid").stdout.startswith("flowchart LR\n")
    assert not (directory / ".agora").exists()


def test_the_checkpoint_is_shown_in_words(agora, directory):
    agora("run", "orders.toml", "--max-records", "4")
    shown = agora("checkpoint", "show", "orders.toml").stdout
    assert "  source: type csv, paths ['orders.csv'], " in shown
    assert "  position: name orders.csv, offset 34, line 5, size 70" in shown.replace("item 0, ", "")
    assert "  sink jsonl:large.jsonl: " in shown
    assert "digest" not in shown
    assert "edges" not in shown
    assert "lease" not in shown
    told = json.loads(agora("checkpoint", "show", "orders.toml", "--json").stdout)
    assert told["lease"] is None
    assert told["checkpoint"]["position"]["head"]["digest"]


def test_the_state_is_copied_and_a_copy_that_is_there_is_refused(agora, directory):
    agora("run", "orders.toml")
    done = agora("checkpoint", "backup", "orders.toml", "copy.db")
    assert done.stdout.startswith("the state file ")
    assert done.returncode == 0
    again = agora("checkpoint", "backup", "orders.toml", "copy.db")
    assert again.returncode == 1
    assert "copy.db is there already" in again.stderr
    (directory / "orders.toml").write_text(
        (directory / "orders.toml").read_text().replace(".agora/state.db", "copy.db")
    )
    assert agora("checkpoint", "show", "orders.toml").stdout.startswith(
        "pipeline orders: 10 records are handled"
    )
