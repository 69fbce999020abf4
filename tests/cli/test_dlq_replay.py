"""`agora dlq replay` end to end: which letters, a dry run that changes nothing, and how it ends."""

import json
import signal
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import attrs
import pytest
import trio

from agora.state import SQLiteBackend, StateDLQSink, opened

STEPS = """
from pathlib import Path
import trio

def fixed():
    return Path("fixed").exists()

def check(order):
    if order["id"] in ("1", "3") and not fixed():
        raise ValueError(f"no {order['id']}")
    return order

def picky(order):
    if order["id"] == "5" and not fixed():
        raise KeyError("5")

async def slow(order):
    if fixed():
        print("reached", flush=True)
        await trio.sleep(0.2)
    return order
"""

PIPELINE = """
format = "agora/1"

[pipelines.orders]
source = { type = "csv", path = "in.csv", types = { amount = "float" } }
middlewares = [{ import = "mine:slow" }, { import = "mine:check", name = "check" }]
sinks = [{ type = "jsonl", path = "out.jsonl" }, { import = "mine:picky", name = "picky" }]
checkpoint = { every = 2 }
dlq = { type = "state" }
state = { type = "sqlite", path = "state.db" }
backpressure = { type = "fixed", max_buffer_size = 1 }
"""


@pytest.fixture
def letters(agora, directory: Path) -> list[dict]:
    """What a run of eight orders left: letters of the source, a step and a sink, and one that can't be replayed."""
    (directory / "mine.py").write_text(STEPS)
    (directory / "p.toml").write_text(PIPELINE)
    rows = [f"{number},{number}.5" for number in range(8)]
    rows[2], rows[6] = "2,many", "6,7,8"
    (directory / "in.csv").write_text("\n".join(["id,amount", *rows]) + "\n")
    done = agora("run", "p.toml")
    assert done.returncode == 0, done.stderr
    return listed(agora)


def listed(agora, *options: str) -> list[dict]:
    return [
        json.loads(line) for line in agora("dlq", "list", "p.toml", "--json", *options).stdout.splitlines()
    ]


def places(letters: list[dict]) -> list[int]:
    return [letter["checkpoint"]["ordinal"] for letter in letters]


def written(directory: Path) -> list[str]:
    return [json.loads(line)["id"] for line in (directory / "out.jsonl").read_text().splitlines()]


def snapshot(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_letters_of_the_test(letters) -> None:
    assert [(letter["stage"], letter["checkpoint"]["ordinal"]) for letter in letters] == [
        ("middleware:check", 1),
        ("source", 2),
        ("middleware:check", 3),
        ("sink:picky", 5),
        ("source", 6),
    ]


def age(directory: Path, days: dict[int, datetime]) -> None:
    """Set the time of failure of the letters of these ordinals."""

    async def change() -> None:
        queue = StateDLQSink(SQLiteBackend(directory / "state.db"))
        async with opened(queue.state):
            found = [letter async for letter in queue.read("orders")]
            await queue.write(
                [
                    attrs.evolve(letter, failed_at=days[letter.checkpoint["ordinal"]])
                    for letter in found
                    if letter.checkpoint["ordinal"] in days
                ]
            )

    trio.run(change)


def test_filters_choose_for_every_command_alike(agora, letters, directory: Path) -> None:
    age(
        directory,
        {
            1: datetime(2026, 3, 1, tzinfo=UTC),
            2: datetime(2026, 3, 1, 23, 30, tzinfo=UTC),
            3: datetime(2026, 3, 2, tzinfo=UTC),
            5: datetime(2026, 3, 2, 12, tzinfo=timezone(timedelta(hours=5))),  # 07:00 UTC
            6: datetime(2026, 3, 3, tzinfo=UTC),
        },
    )
    expected = {
        ("--stage", "middleware:check"): [1, 3],
        ("--stage", "source"): [2, 6],
        ("--stage", "middleware:nothing"): [],
        ("--error-type", "ValueError"): [1, 3],
        ("--error-type", "KeyError"): [5],
        ("--limit", "2"): [1, 2],
        ("--since", "2026-03-02"): [3, 5, 6],
        ("--until", "2026-03-02"): [1, 2],
        ("--since", "2026-03-01", "--until", "2026-03-02"): [1, 2],
        ("--since", "2026-03-02T00:00:01"): [5, 6],
        ("--until", "2026-03-02T00:00:00.000001"): [1, 2, 3],
        ("--since", "2026-03-02T07:00Z"): [5, 6],
        ("--since", "2026-03-02T08:00:00+01:00"): [5, 6],
        ("--since", "2026-03-02T08:00:01+01:00"): [6],
        ("--until", "2026-03-02T00:30+01:00"): [1],
        ("--since", "2026-03-01", "--stage", "middleware:check", "--error-type", "ValueError"): [1, 3],
        ("--since", "2026-03-02", "--limit", "1"): [3],
        ("--id", letters[0]["id"], "--id", letters[3]["id"]): [1, 5],
        ("--id", letters[0]["id"], "--stage", "source"): [],
    }
    for options, ordinals in expected.items():
        assert places(listed(agora, *options)) == ordinals, options
        dry = [
            json.loads(line)
            for line in agora("dlq", "replay", "p.toml", "--dry-run", "--json", *options).stdout.splitlines()
        ]
        of = {letter["id"]: letter["checkpoint"]["ordinal"] for letter in letters}
        if "--limit" not in options:  # which doesn't count what can't be replayed
            assert [of[line["id"]] for line in dry[:-1]] == ordinals, options
    shown = agora("dlq", "show", "p.toml", "--stage", "sink:picky").stdout
    assert shown.count("dead letter ") == 1
    done = agora("dlq", "list", "p.toml", "--stage", "middleware:nothing")
    assert done.stderr == "agora: there are no dead letters that match\n"
    gone = json.loads(agora("dlq", "purge", "p.toml", "--until", "2026-03-02", "--yes", "--json").stdout)
    assert gone["purged"] == [letters[0]["id"], letters[1]["id"]]
    assert places(listed(agora)) == [3, 5, 6]


def test_a_replay_sends_those_that_match_and_leaves_the_others(agora, letters, directory: Path) -> None:
    (directory / "fixed").touch()
    done = agora("dlq", "replay", "p.toml", "--stage", "middleware:check", "--limit", "1", "--json")
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert json.loads(line)["written"] == 1
    assert places(listed(agora)) == [2, 3, 5, 6]
    assert written(directory) == ["0", "4", "5", "7", "1"]


@pytest.mark.parametrize("verb", ["list", "show", "replay", "purge"])
def test_what_no_filter_can_mean_is_an_error_of_usage_and_changes_nothing(
    agora, letters, directory: Path, verb: str
) -> None:
    before = snapshot(directory)
    for options, message in (
        (["--since", "yesterday"], "--since 'yesterday' is no ISO 8601 date or time, such as 2026-11-24"),
        (["--until", "2026-13-01"], "--until '2026-13-01' is no ISO 8601"),
        (["--limit", "0"], "--limit must be from 1, not 0"),
        (["--limit", "many"], "many"),
        (["--id", "nothing", "--stage", "source"], "there is no dead letter nothing"),
    ):
        done = agora("dlq", verb, "p.toml", *options, *(["--yes"] if verb == "purge" else []))
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert snapshot(directory) == before


def test_a_dry_run_tells_what_would_go_where_and_changes_nothing(process, letters, directory: Path) -> None:
    before = snapshot(directory)
    done = process("dlq", "replay", "p.toml", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshot(directory) == before
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["ID", "STAGE", "ATTEMPTS", "WOULD", "ENTER", "AT"]
    entries = [row.split(maxsplit=3)[3] for row in rows[:5]]
    assert entries[0] == entries[2] == "source"
    assert entries[1].startswith("- (it would fail again: ")
    assert entries[3:] == ["sink:picky", "- (it is text that couldn't be split into a record)"]
    assert rows[5:8] == [
        "dry run: 3 dead letter(s) of pipeline orders would be sent; nothing was changed",
        "  2 would enter at source",
        "  1 would enter at sink:picky",
    ]
    assert rows[8] == "  2 can't be replayed and would stay:"
    assert rows[10] == "    1: it is text that couldn't be split into a record"


def test_a_dry_run_in_json_is_an_object_a_letter_and_one_for_all(agora, letters, directory: Path) -> None:
    before = snapshot(directory)
    done = agora("dlq", "replay", "p.toml", "--dry-run", "--json", "--stage", "sink:picky")
    assert snapshot(directory) == before
    letter, total = map(json.loads, done.stdout.splitlines())
    assert letter == {
        "id": letters[3]["id"],
        "stage": "sink:picky",
        "attempts": 1,
        "enters": "sink:picky",
        "reason": None,
    }
    assert total == {
        "pipeline": "orders",
        "dry_run": True,
        "would_be_sent": 1,
        "enters": {"sink:picky": 1},
        "cannot_be_replayed": 0,
        "reasons": {},
    }


def test_a_dry_run_says_which_letters_have_lost_their_place(agora, letters, directory: Path) -> None:
    toml = (directory / "p.toml").read_text()
    (directory / "p.toml").write_text(toml.replace('name = "picky"', 'name = "choosy"'))
    done = agora("dlq", "replay", "p.toml", "--dry-run", "--stage", "sink:picky")
    assert "the pipeline has no sink 'picky' anymore" in done.stdout
    assert "0 dead letter(s) of pipeline orders would be sent" in done.stdout


def test_looking_where_no_run_has_been_makes_no_state(agora, directory: Path) -> None:
    before = snapshot(directory)
    assert agora("dlq", "list", "orders.toml").stderr == "agora: there are no dead letters\n"
    done = agora("dlq", "replay", "orders.toml", "--dry-run")
    assert done.stdout == (
        "dry run: 0 dead letter(s) of pipeline orders would be sent; nothing was changed\n"
    )
    assert snapshot(directory) == before


def test_what_fails_again_stays_and_is_said_and_the_exit_code_is_0(process, letters, directory: Path) -> None:
    done = process("dlq", "replay", "p.toml")
    assert done.returncode == 0
    assert done.stderr == "agora: 4 of 4 dead letters failed again, and stay\n"
    assert "dead-lettered 4" in done.stdout
    listing = process("dlq", "list", "p.toml", "--json").stdout.splitlines()
    assert [json.loads(line)["attempts"] for line in listing] == [2, 2, 2, 2, 1]


def test_a_replay_doesnt_need_the_source(agora, letters, directory: Path) -> None:
    (directory / "in.csv").unlink()
    (directory / "fixed").touch()
    done = agora("dlq", "replay", "p.toml")
    assert done.returncode == 0, done.stderr
    assert places(listed(agora)) == [2, 6]
    assert written(directory) == ["0", "4", "5", "7", "1", "3"]


def test_a_signal_ends_a_replay_in_order_and_the_rest_stays(agora, letters, started, directory: Path) -> None:
    (directory / "fixed").touch()
    process = started("dlq", "replay", "p.toml", "--json")
    assert process.stdout.readline() == "reached\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert "finishing what is in flight" in err
    summary = json.loads(out.splitlines()[-1])
    assert (summary["status"], summary["written"]) == ("stopped", 1)
    assert written(directory) == ["0", "4", "5", "7", "1"]
    assert places(listed(agora)) == [2, 3, 5, 6]


def test_the_help_tells_what_there_is(process) -> None:
    done = process("dlq", "replay", "--help")
    assert done.returncode == 0
    for option in ("--id", "--stage", "--error-type", "--since", "--until", "--limit", "--dry-run", "--json"):
        assert option in done.stdout
    assert "UTC" in done.stdout
