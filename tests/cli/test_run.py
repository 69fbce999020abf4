"""`agora run` on real files."""

import json
import os
import pty
import subprocess
import sys

import pytest

WRITTEN = [{"id": str(n), "amount": n + 0.5, "twice": 2 * n + 1.0} for n in (4, 6, 7, 8, 9)]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_writes_its_output_and_ends_with_the_summary(process, directory):
    done = process("run", "orders.toml")
    assert done.returncode == 0
    assert lines(directory / "large.jsonl") == WRITTEN
    assert done.stdout.startswith("orders: completed in ")
    assert "read 10" in done.stdout
    assert done.stderr == "agora: 1 of 10 records were dead-lettered; see agora dlq list orders.toml\n"


def test_a_pipeline_may_be_named(agora):
    assert agora("run", "orders.toml", "orders").returncode == 0


def test_a_wrong_name_is_answered_with_the_nearest(agora):
    done = agora("run", "orders.toml", "order")
    assert done.returncode == 2
    assert (
        done.stderr == "agora: orders.toml: unknown pipeline 'order'; did you mean 'orders'? known: orders\n"
    )


def test_paths_are_relative_to_the_file(process, directory):
    done = process("run", str(directory / "orders.toml"), cwd="/")
    assert done.returncode == 0
    assert lines(directory / "large.jsonl") == WRITTEN


def test_json_is_one_object_on_one_line(agora):
    done = agora("run", "orders.toml", "--json")
    (line,) = done.stdout.splitlines()
    summary = json.loads(line)
    assert summary["pipeline"] == "orders"
    assert summary["status"] == "completed"
    assert (summary["read"], summary["written"], summary["dropped"], summary["dead_lettered"]) == (
        10,
        5,
        4,
        1,
    )
    assert summary["resumed_from"] is None
    assert summary["stages"]["source"]
    again = json.loads(agora("run", "orders.toml", "--json").stdout)
    assert again["read"] == 0
    assert again["resumed_from"]["ordinal"] == 10
    assert again["resumed_from"]["completed"] is True


def test_dead_letters_fail_the_command_only_when_asked_to(agora):
    done = agora("run", "orders.toml", "--fail-on-dead-letters")
    assert done.returncode == 3
    assert done.stdout.startswith("orders: completed in ")
    assert agora("run", "orders.toml", "--fail-on-dead-letters").returncode == 0


def test_max_records_stops_in_order_and_the_next_run_goes_on(agora, directory):
    done = agora("run", "orders.toml", "--max-records", "6", "--json")
    assert done.returncode == 0
    summary = json.loads(done.stdout)
    assert (summary["status"], summary["stop_reason"], summary["read"]) == ("stopped", "max_records", 6)
    assert lines(directory / "large.jsonl") == WRITTEN[:1]
    assert json.loads(agora("run", "orders.toml", "--json").stdout)["read"] == 4
    assert lines(directory / "large.jsonl") == WRITTEN


def test_restart_starts_over(agora, directory):
    agora("run", "orders.toml")
    done = agora("run", "orders.toml", "--restart", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["read"] == 10
    assert lines(directory / "large.jsonl") == WRITTEN


def test_records_have_stdout_for_themselves(process, write):
    write('source = { import = "steps:few" }\nsinks = [{ type = "stdout" }]')
    done = process("run", "p.toml")
    assert done.returncode == 0
    assert done.stdout == '{"n":0}\n{"n":1}\n{"n":2}\n'
    assert done.stderr.startswith("p: completed in ")


def test_a_pipeline_of_a_program_runs(agora, directory):
    (directory / "app.py").write_text(
        "from agora import Pipeline\n"
        "from agora.sinks import JsonLinesSink\n"
        "from agora.sources import IterableSource\n"
        "class jobs:\n"
        "    unbound = Pipeline(IterableSource([{'n': 1}]), name='u').to(JsonLinesSink('u.jsonl'))\n"
        "bound = jobs.unbound.build()\n"
    )
    for target in ("app:jobs.unbound", "app:bound"):
        assert agora("run", target).returncode == 0
        assert (directory / "u.jsonl").read_text() == '{"n":1}\n'
        (directory / "u.jsonl").unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "parameter TARGET requires an argument"),
        (["rnu", "orders.toml"], 'Unknown command "rnu"'),
        (["run", "orders.toml", "--max-record", "3"], "--max-record"),
        (["run", "orders.toml", "--max-records", "x"], "--max-records"),
        (["run", "orders.toml", "--max-records", "0"], "--max-records must be from 1, not 0"),
        (["run", "orders.toml", "--dry-run", "--restart"], "--dry-run touches no state"),
        (["run", "nowhere.toml"], "nowhere.toml: can't be read: No such file or directory"),
        (["run", "."], ".: can't be read: Is a directory"),
        (["run", "steps:large"], "steps:large is function; expected a Pipeline"),
        (["run", "steps:lrge"], "steps:lrge: 'steps' has no 'lrge'; did you mean 'large'?"),
        (["run", "no_such_module:x"], "no_such_module:x: there is no module 'no_such_module'"),
        (["run", "steps:large", "name"], "a name (name) is for config files"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(agora, arguments, message):
    done = agora(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("agora: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_all_problems_of_a_config_are_told_a_line_each(agora, write):
    write('source = { type = "cvs", path = "a" }\nsinks = [{ type = "jsonl", pth = "b" }]')
    done = agora("run", "p.toml")
    assert done.returncode == 2
    first, second, third = done.stderr.splitlines()
    assert first.startswith(
        "agora: p.toml: pipelines.p.source.type: unknown source type 'cvs'; did you mean 'csv'?"
    )
    assert second.startswith("agora: p.toml: pipelines.p.sinks[0].pth: unknown key; did you mean 'path'?")
    assert third.startswith("agora: p.toml: pipelines.p.sinks[0].path: missing; expected ")


def test_problems_come_as_json_when_asked_for(agora, write):
    write('source = { type = "cvs" }\nsinks = [{ type = "null" }]')
    done = agora("run", "p.toml", "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert told["exit_code"] == 2
    assert told["error"]["type"] == "ConfigError"
    assert len(told["error"]["problems"]) == 1


def test_a_failed_run_tells_the_error_with_its_notes_and_no_traceback(process, write):
    write('source = { import = "steps:broken" }\nsinks = [{ type = "null" }]')
    done = process("run", "p.toml")
    assert done.returncode == 1
    first, *notes = done.stderr.splitlines()
    assert first == "agora: OSError: the disk is gone"
    assert any("pipeline 'p'" in note for note in notes)
    assert "Traceback" not in done.stderr
    told = process("run", "p.toml", "--traceback").stderr
    assert "Traceback" in told
    assert "the disk is gone" in told


def test_a_dry_run_shows_what_would_happen_and_writes_nothing(agora, directory):
    before = sorted(directory.iterdir())
    done = agora("run", "orders.toml", "--dry-run")
    assert done.returncode == 0
    assert [path for path in sorted(directory.iterdir()) if path.name != "__pycache__"] == before
    assert done.stdout.startswith("pipeline orders (linear)\n")
    assert "dry run: read 10 records to the end; nothing was written" in done.stdout
    assert "sink:jsonl:large.jsonl would be given 5" in done.stdout
    assert "middleware:double: ValueError: no 5" in done.stdout


def test_a_dry_run_reads_no_more_than_it_is_told(agora):
    done = agora("run", "orders.toml", "--dry-run", "--max-records", "6", "--json")
    told = json.loads(done.stdout)
    assert told["read"] == 6
    assert told["would_write"] == {"jsonl:large.jsonl": 1}
    assert told["dead_lettered"] == 1
    assert told["dead_letters"][0]["error_message"] == "no 5"
    assert told["plan"]["pipeline"] == "orders"


def test_a_dry_run_after_a_run_leaves_the_checkpoint_alone(agora):
    agora("run", "orders.toml")
    before = agora("checkpoint", "show", "orders.toml", "--json").stdout
    assert agora("run", "orders.toml", "--dry-run").returncode == 0
    assert agora("checkpoint", "show", "orders.toml", "--json").stdout == before


def test_a_dry_run_tells_what_the_parts_own_checks_find(agora, directory, write):
    (directory / "checking.py").write_text(
        "class Sink:\n"
        "    async def write(self, records): raise OSError('written')\n"
        "    async def check(self, context): return [f'{context.stage} is not reachable']\n"
    )
    write('source = { import = "steps:few" }\nsinks = [{ import = "checking:Sink" }]')
    done = agora("run", "p.toml", "--dry-run")
    assert done.returncode == 1
    assert "finding: sink:Sink: sink:Sink is not reachable" in done.stdout


def test_there_is_a_progress_bar_on_a_terminal(directory):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "agora", "run", "orders.toml"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert b"10 read" in shown
    assert b"\x1b[" in shown
    assert out.startswith(b"orders: completed in ")


def test_nothing_heavy_is_imported_for_the_version():
    code = (
        "import sys; sys.argv = ['agora', '--version']\n"
        "from agora.cli import main\n"
        "try: main()\n"
        "except SystemExit as exit: print(exit.code)\n"
        "heavy = ('pyarrow', 'trio', 'cattrs', 'agora.pipeline', 'agora.runtime')\n"
        "print([module for module in heavy if module in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    version, code, heavy = done.stdout.splitlines()
    assert version.count(".") == 2
    assert (code, heavy) == ("0", "[]")


def test_the_end_of_a_command_collects_nothing_of_what_was_imported():
    code = (
        "import atexit, gc, sys; sys.argv = ['agora', '--version']\n"
        "from agora.cli import main\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000))\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[1] == "True"


HEAVY = (
    *("pyarrow", "pandas", "numpy", "sqlglot", "zstandard", "apsw", "opentelemetry", "rich.progress"),
    *("trio_parallel", "multiprocessing", "pickle", "zoneinfo", "difflib"),
    *("agora.state.lease", "agora.runtime.replay", "agora.runtime.identity", "agora.cli.dryrun"),
)
"""What a run of plain rows, without checkpoints, has no use for."""


def test_a_run_of_rows_imports_nothing_that_it_does_not_need(process, directory, write):
    (directory / "spying.py").write_text(
        "import sys\n"
        f"HEAVY = {HEAVY}\n"
        "def spy(record):\n"
        "    return {'loaded': [m for m in HEAVY if m in sys.modules]}\n"
    )
    write(
        'source = { type = "csv", path = "in.csv", types = { a = "float" } }\n'
        'middlewares = [{ import = "spying:spy" }]\nsinks = [{ type = "jsonl", path = "out.jsonl" }]'
    )
    (directory / "in.csv").write_text("a,b\n1,2\n")
    process("run", "p.toml")
    assert (directory / "out.jsonl").read_text() == '{"loaded":[]}\n'


def test_garbage_is_collected_while_a_command_works(process, directory, write):
    (directory / "spying.py").write_text(
        "import gc\ndef spy(record):\n    return {'collects': gc.isenabled(), 'spares': gc.get_freeze_count() > 1000}\n"
    )
    write(
        'source = { type = "csv", path = "in.csv" }\nmiddlewares = [{ import = "spying:spy" }]\n'
        'sinks = [{ type = "jsonl", path = "out.jsonl" }]'
    )
    (directory / "in.csv").write_text("a\n1\n")
    process("run", "p.toml")
    assert (directory / "out.jsonl").read_text() == '{"collects":true,"spares":true}\n'


def test_help_names_the_commands_and_the_exit_codes(agora):
    done = agora("--help")
    assert done.returncode == 0
    for word in ("run", "explain", "dlq", "checkpoint", "Exit codes"):
        assert word in done.stdout
    help_of_run = agora("run", "--help").stdout
    assert "--max-records" in help_of_run
    assert "--no-" not in help_of_run
    assert "--empty-id" not in agora("dlq", "show", "--help").stdout


def test_letters_in_a_file_are_told_without_a_command_that_cannot_read_them(agora, write):
    write(
        'source = { type = "csv", path = "orders.csv", types = { amount = "float" } }\n'
        'middlewares = [{ import = "steps:double" }]\nsinks = [{ type = "null" }]\n'
        'dlq = { type = "jsonl", path = "letters.jsonl" }'
    )
    done = agora("run", "p.toml", "--fail-on-dead-letters")
    assert done.returncode == 3
    assert done.stderr == "agora: 2 of 10 records were dead-lettered\n"


def test_a_project_that_was_moved_as_a_whole_goes_on(agora, directory, tmp_path, monkeypatch):
    assert agora("run", "orders.toml", "--max-records", "4").returncode == 0
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in list(directory.iterdir()):
        if path != moved:
            path.rename(moved / path.name)
    monkeypatch.chdir(moved)
    done = agora("run", "orders.toml", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["read"] == 6
