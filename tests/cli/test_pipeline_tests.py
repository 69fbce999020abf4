"""`agora test` on real files."""

import json
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

STEPS = """
import os
from pathlib import Path
import attrs
import trio
from agora.state import StateBackend

@attrs.frozen
class Order:
    id: int
    note: str | None = None

def double(order):
    if order["id"] == "3":
        raise ValueError("no 3")
    order["twice"] = 2 * order["amount"]
    return order

def large(order):
    return order["amount"] > 4

def both(order):
    return [order, {**order, "again": True}]

async def hang(order):
    await trio.sleep_forever()

def unreachable(order):
    raise OSError("no network in a test")

def chatty(order):
    print("chatty")
    return {**order, "url": os.environ["GEO_URL"]}

def even(record):
    return record["n"] % 2 == 0

def odd_amount(value):
    return 2 * int(value) + 1

class Cumulated:
    def __init__(self):
        self.total = 0
    def snapshot(self):
        return self.total
    def restore(self, state):
        self.total = state
    def process(self, record):
        self.total += record["n"]
        return {"total": self.total}

class Lookup:
    def __init__(self, url):
        self.url = url
    async def process(self, record):
        await trio.sleep(0)
        return {**record, "from": self.url}

class Seen:
    def on_start(self, context):
        self.state = context.state
    def process(self, record):
        if str(record["n"]) in self.state:
            return None
        self.state[str(record["n"])] = True
        return record

class Kept:
    # Keeps what it has seen in the pipeline's state.
    def __init__(self, state: StateBackend):
        self.state = state
    async def process(self, record):
        if not self.state.is_open:
            await self.state.open()
        await self.state.put("seen", str(record["n"]), b"1")
        return {"seen": len([key async for key, _ in self.state.scan("seen")])}

class Tracer:
    enabled = True
    def span(self, *_, **__):
        raise AssertionError("a test is traced")

class Total:
    def __init__(self):
        self.total = 0
    def process(self, record):
        self.total += record["n"]
    def finish(self):
        return [{"total": self.total}]

class Reusing:
    def __init__(self):
        self.record = {}
    def process(self, record):
        self.record["n"] = record["n"]
        return self.record

def changed_and_dropped(record):
    record["n"] += 100

@attrs.define
class Lines:
    # A source of one's own.
    path: str
    opened: bool = attrs.field(default=False, init=False)
    async def open(self, context):
        self.opened = True
    async def stream(self):
        assert self.opened
        for line in Path(self.path).read_text().splitlines():
            yield {"line": line}

def is_a(record):
    return record["line"] == "a"

class Running:
    # Tells how many records are in it.
    def __init__(self):
        self.running = 0
    async def process(self, record):
        self.running += 1
        await trio.sleep(0.01)
        found = {"running": self.running}
        return found

async def endless():
    while True:
        yield {"n": 0}
"""
CSV = """
source = { type = "csv", path = "nowhere/orders.csv", types = { amount = "float" } }
middlewares = [{ type = "filter", import = "steps:large" }, { import = "steps:double" }]
sinks = [{ type = "jsonl", path = "nowhere/large.jsonl" }]
checkpoint = { every = 3 }
dlq = { type = "state" }
state = { type = "sqlite", path = "nowhere/state.db" }
"""
NUMBERS = 'source = { import = "steps:endless" }\n'


@pytest.fixture
def tested(directory, agora):
    """Write a pipeline and a test of it, run them, and answer how they ended; nothing else is left behind."""

    def tested(pipeline, test, *arguments):
        (directory / "steps.py").write_text(STEPS)
        (directory / "p.toml").write_text(
            f'format = "agora/1"\n[pipelines.p]\n{pipeline}\n[[pipelines.p.tests]]\nname = "t"\n{test}\n'
        )
        before = set(directory.rglob("*"))
        done = agora("test", "p.toml", *arguments)
        left = {path.name for path in set(directory.rglob("*")) - before}
        assert left <= {
            "__pycache__",
            "steps.cpython-311.pyc",
            *(path for path in left if path.endswith(".pyc")),
        }
        return done

    return tested


def passes(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def findings(done):
    """What is told below the one test that failed."""
    assert done.returncode == 1, done.stdout + done.stderr
    head, *lines, counts = done.stdout.splitlines()
    assert head == "FAILED  p: t"
    assert counts.startswith("0 passed, 1 failed in ")
    return [line.removeprefix("    ") for line in lines]


def test_records_go_through_the_real_steps(tested):
    assert passes(
        tested(
            CSV,
            """
            input = [{ id = "1", amount = "900.5" }, { id = "2", amount = "3" }]
            output = [{ id = "1", amount = 900.5, twice = 1801.0 }]
            dropped = [{ id = "2", amount = 3.0 }]
            skipped = 0
            """,
        )
    )


def test_text_is_read_by_the_source_itself(tested):
    test = '''
        text = """
id,amount
1,900.5
2,3
3,10
4,twelve
5,6,7
6,5
"""
        output = """
{"id":"1","amount":900.5,"twice":1801.0}
{"id":"6","amount":5.0,"twice":10.0}
"""
        dropped = 1
        dead_letters = [
            { stage = "middleware:double", error = "ValueError", message = "no 3", original = THIRD },
            { stage = "source", error = "AgoraError", original = { id = "4", amount = "twelve" } },
            { stage = "source", message = "line 6" },
        ]
    '''.replace("THIRD", '{ id = "3", amount = 10.0 }')
    assert passes(tested(CSV, test))
    shown = findings(tested(CSV, test.replace('"line 6"', '"line 9"')))
    assert shown[:2] == ["dead letters:", "  letter 3 differs"]
    assert shown[2].startswith(
        '    message: expected a part of it to be "line 9", found "orders.csv, line 6, byte '
    )


def test_a_file_of_input_and_one_of_output_are_relative_to_the_config_file(tested, directory, process):
    (directory / "given").mkdir()
    (directory / "given/in.csv").write_text("id,amount\n1,5\n")
    (directory / "given/out.jsonl").write_text('{"id":"1","amount":5.0,"twice":10.0}\n')
    test = 'file = "given/in.csv"\noutput_file = "given/out.jsonl"'
    assert passes(tested(CSV, test))
    assert process("test", str(directory / "p.toml"), cwd="/").returncode == 0
    (directory / "given/out.jsonl").write_text('{"id":"1","amount":5.0,"twice":11.0}')
    assert findings(tested(CSV, test)) == [
        "sink jsonl:nowhere/large.jsonl: wrote another text",
        "  @@ -1 +1 @@",
        '  -{"id":"1","amount":5.0,"twice":11.0} (no line end)',
        '  +{"id":"1","amount":5.0,"twice":10.0}',
    ]


def test_differences_are_told_field_by_field(tested):
    done = tested(
        CSV,
        """
        input = [{ id = "1", amount = "5" }, { id = "2", amount = "6" }, { id = "4", amount = "7" }]
        output = [
            { id = "1", amount = 5, twice = 10.5, note = "x" },
            { id = "4", amount = 7.0 },
            { id = "5", amount = 8.0, twice = 16.0 },
        ]
        dropped = 2
        dead_letters = [{ stage = "source" }]
        """,
    )
    assert findings(done) == [
        "sink jsonl:nowhere/large.jsonl:",
        "  record 1 differs",
        "    amount: expected 5, found 5.0",
        "    twice: expected 10.5, found 10.0",
        '    note: expected "x", it isn\'t there',
        "  record 2 was not expected",
        '    + { id = "2", amount = 6.0, twice = 12.0 }',
        "  record 3 differs",
        "    twice: expected no such field, found 14.0",
        "  expected record 3 is missing",
        '    - { id = "5", amount = 8.0, twice = 16.0 }',
        "dead letters:",
        "  expected letter 1 is missing",
        '    - { stage = "source" }',
        "dropped: expected 2, found 0",
    ]


def test_a_dead_letter_that_nobody_expects_fails_the_test(tested):
    done = tested(CSV, 'input = [{ id = "3", amount = "5" }]\noutput = []')
    assert findings(done) == [
        "dead letters:",
        "  letter 1 was not expected",
        '    + { stage = "middleware:double", error = "ValueError", message = "no 3", '
        'original = { id = "3", amount = 5.0 } }',
    ]
    assert passes(tested(CSV, 'input = [{ id = "3", amount = "5" }]\ndead_letters = 1'))


def test_inline_records_are_converted_as_if_they_were_read(tested):
    done = tested(
        CSV,
        """
        input = [{ id = "1", amount = "ten" }]
        dead_letters = [{ message = "input record 1: column 'amount'", original = { amount = "ten", id = "1" } }]
        """,
    )
    assert passes(done)


def test_what_csv_cant_give_is_refused(tested):
    done = tested(CSV, "input = [{ id = 1, amount = 5 }]\noutput = []")
    assert done.returncode == 2
    assert done.stderr == (
        "agora: p.toml: pipelines.p.tests[0].input[0].id: is text in a CSV file: "
        "write a text, or give the column a type\n"
    )


def test_what_a_column_of_csv_cant_become_is_a_letter_of_the_source(tested):
    pipeline = """
    source = { type = "csv", path = "x.csv", types = { n = "int", x = "float", s = "str" } }
    sinks = [{ type = "null" }]
    dlq = { type = "jsonl", path = "letters.jsonl" }
    """
    test = """
    input = [{ n = 1.5 }, { n = true }, { x = false }, { s = 5 }, { n = 1, x = 2, s = "5" }]
    output = [{ n = 1, x = 2.0, s = "5" }]
    dead_letters = [
        { stage = "source", message = "input record 1: column 'n': 1.5 is no integer", original = { n = 1.5 } },
        { stage = "source", message = "input record 2: column 'n': True is no integer", original = { n = true } },
        { stage = "source", message = "input record 3: column 'x': False is no number" },
        { stage = "source", message = "input record 4: column 's': 5 is no text" },
    ]
    """
    assert passes(tested(pipeline, test))


def test_a_schema_makes_instances_and_they_are_compared_by_their_fields(tested):
    pipeline = """
    source = { type = "jsonl", path = "nowhere.jsonl", schema = "steps:Order" }
    sinks = [{ type = "null" }]
    """
    assert passes(
        tested(
            pipeline,
            'input = [{ id = 1 }, { id = 2, note = "x" }]\noutput = [{ id = 1 }, { id = 2, note = "x" }]',
        )
    )


def test_types_that_toml_lacks_are_their_texts(tested):
    pipeline = """
    source = { type = "jsonl", path = "x", types = { amount = "decimal", key = "uuid", at = "datetime", on = "date" } }
    sinks = [{ type = "null" }]
    """
    test = """
    input = [{ amount = "2.50", key = KEY, at = 2026-11-02T01:02:03Z, on = "2026-11-02" }]
    output = [{ amount = "2.50", key = KEY, at = 2026-11-02T01:02:03Z, on = 2026-11-02 }]
    """.replace("KEY", '"00000000-0000-0000-0000-000000000005"')
    assert passes(tested(pipeline, test))
    assert findings(
        tested(pipeline, test.replace('output = [{ amount = "2.50"', 'output = [{ amount = "2.5"'))
    )[2:] == ['    amount: expected "2.5", found "2.50"']


TWO = """
source = { import = "steps:endless" }
sinks = [
    { type = "null", name = "even", where = "steps:even" },
    { type = "csv", path = "nowhere/odd.csv", otherwise = true },
]
"""


def test_routing_is_the_real_one(tested):
    test = """
    input = [{ n = 1 }, { n = 2 }, { n = 3 }]
    output = { even = [{ n = 2 }], "csv:nowhere/odd.csv" = [{ n = 1 }, { n = 3 }] }
    """
    assert passes(tested(TWO, test))
    text = (
        'input = [{ n = 1 }, { n = 2 }]\noutput = { "csv:nowhere/odd.csv" = "n\\n1\\n", even = [{ n = 2 }] }'
    )
    assert passes(tested(TWO, text))


def test_an_unknown_sink_step_or_stage_is_told_with_the_nearest(tested):
    done = tested(
        TWO,
        'input = []\noutput = { evn = [] }\nmocks = { x = {} }\ndead_letters = [{ stage = "sink:evn" }]',
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "agora: p.toml: pipelines.p.tests[0].mocks.x: there is no 'x'; there is none",
        "agora: p.toml: pipelines.p.tests[0].output.evn: there is no 'evn'; did you mean 'even'? "
        "known: csv:nowhere/odd.csv, even",
        "agora: p.toml: pipelines.p.tests[0].dead_letters[0].stage: there is no 'sink:evn'; "
        "did you mean 'sink:even'? known: sink:csv:nowhere/odd.csv, sink:even, source",
    ]


@pytest.mark.parametrize(
    ("sink", "text"),
    [
        ('{ type = "jsonl", path = "out.jsonl.gz" }', '{"n":1}\n'),
        ('{ type = "jsonl", path = "out.jsonl.zst" }', '{"n":1}\n'),
        ('{ type = "csv", path = "out.csv", delimiter = ";" }', "n\n1\n"),
        ('{ type = "stdout" }', '{"n":1}\n'),
    ],
)
def test_the_sinks_own_text_is_compared(tested, sink, text):
    assert passes(tested(f"{NUMBERS}sinks = [{sink}]", f"input = [{{ n = 1 }}]\noutput = {json.dumps(text)}"))


def test_a_sink_without_text_says_so(tested):
    done = tested(f'{NUMBERS}sinks = [{{ type = "null" }}]', 'input = [{ n = 1 }]\noutput = ""')
    assert findings(done) == ["sink null: writes no text: expect a list of records"]


@pytest.mark.parametrize(
    "sink",
    ['{ type = "sqlite", path = "x.db", table = "t" }', '{ type = "parquet", path = "x.parquet" }'],
)
def test_records_for_binary_targets_are_compared_before_they_are_encoded(tested, sink):
    assert passes(tested(f"{NUMBERS}sinks = [{sink}]", "input = [{ n = 1 }]\noutput = [{ n = 1 }]"))


def test_what_the_real_sink_cant_encode_is_a_dead_letter(tested):
    pipeline = f"""{NUMBERS}
    sinks = [{{ type = "jsonl", path = "x.jsonl" }}]
    dlq = {{ type = "jsonl", path = "letters.jsonl" }}
    """
    test = """
    input = [{ n = 1 }, { n = nan }, { n = 3 }]
    output = [{ n = 1 }, { n = 3 }]
    dead_letters = [
        { stage = "sink:jsonl:x.jsonl", message = "no JSON", original = { n = nan }, processed = { n = nan } },
    ]
    """
    assert passes(tested(pipeline, test))


def test_a_failure_may_be_expected(tested):
    pipeline = f'{NUMBERS}middlewares = [{{ import = "steps:unreachable" }}]\nsinks = [{{ type = "null" }}]'
    assert passes(
        tested(pipeline, 'input = [{ n = 1 }]\nfails = { error = "OSError", message = "no network" }')
    )
    assert findings(tested(pipeline, 'input = [{ n = 1 }]\nfails = { error = "ValueError" }'))[0] == (
        "run: was expected to fail with ValueError, and failed: OSError: no network in a test"
    )
    shown = findings(tested(pipeline, "input = [{ n = 1 }]\noutput = []"))
    assert shown[0] == "run: failed: OSError: no network in a test"
    assert any("middleware:unreachable" in line for line in shown[1:])
    assert findings(tested(f'{NUMBERS}sinks = [{{ type = "null" }}]', "input = [{ n = 1 }]\nfails = {}")) == [
        "run: was expected to fail, and completed"
    ]


def test_a_step_may_be_replaced_by_a_mock(tested):
    pipeline = f"""{NUMBERS}
    middlewares = [
        {{ import = "steps:unreachable" }},
        {{ import = "steps:Lookup", with = {{ url = "real" }}, concurrency = 5 }},
    ]
    sinks = [{{ type = "null" }}]
    """
    test = """
    input = [{ n = 1 }, { n = 2 }]
    output = [{ n = 2, from = "fake" }]
    mocks.unreachable = { type = "filter", import = "steps:even" }
    mocks.Lookup = { import = "steps:Lookup", with = { url = "fake" } }
    """
    assert passes(tested(pipeline, test))
    done = tested(pipeline, test.replace('"fake" } }', '"fake", retries = 3 } }'))
    assert done.returncode == 2
    assert done.stderr.startswith(
        "agora: p.toml: pipelines.p.tests[0].mocks.Lookup.with.retries: unknown key;"
    )


def test_variables_may_be_given_by_the_test(tested, monkeypatch):
    monkeypatch.setenv("GEO_URL", "outside")
    pipeline = f"""{NUMBERS}
    middlewares = [
        {{ import = "steps:Lookup", with = {{ url = "${{GEO_URL}}/${{UNSET_ELSEWHERE}}" }} }},
        {{ import = "steps:chatty" }},
    ]
    sinks = [{{ type = "null" }}]
    """
    test = 'input = [{ n = 1 }]\noutput = [{ n = 1, from = "inside/x", url = "inside" }]\n'
    given = 'environment = { GEO_URL = "inside", UNSET_ELSEWHERE = "x" }'
    assert passes(tested(pipeline, test + given))
    assert os.environ["GEO_URL"] == "outside"
    assert "UNSET_ELSEWHERE" not in os.environ
    done = tested(pipeline, test)
    assert done.returncode == 2
    assert "the environment variable UNSET_ELSEWHERE is not set" in done.stderr


def test_what_steps_print_is_no_result(tested):
    pipeline = f'{NUMBERS}middlewares = [{{ import = "steps:chatty" }}]\nsinks = [{{ type = "null" }}]'
    test = 'input = [{ n = 1 }]\noutput = [{ n = 1, url = "x" }]\nenvironment = { GEO_URL = "x" }'
    done = tested(pipeline, test, "--json")
    assert passes(done)
    assert [
        json.loads(line)["test" if n == 0 else "tests"] for n, line in enumerate(done.stdout.splitlines())
    ] == [
        "t",
        1,
    ]
    assert done.stderr == "chatty\n"


def test_steps_with_state_start_anew_in_each_test(tested):
    pipeline = f"""{NUMBERS}
    middlewares = [{{ import = "steps:Seen" }}, {{ import = "steps:Cumulated" }}]
    sinks = [{{ type = "null" }}]
    checkpoint = {{ every = 1 }}
    state = {{ type = "sqlite", path = "nowhere/state.db" }}
    """
    test = """
    input = [{ n = 1 }, { n = 1 }, { n = 2 }]
    output = [{ total = 1 }, { total = 3 }]
    dropped = [{ n = 1 }]
    [[pipelines.p.tests]]
    name = "again"
    input = [{ n = 1 }]
    output = [{ total = 1 }]
    """
    assert passes(tested(pipeline, test))


def test_limits_traces_and_demands_of_the_real_pipeline_dont_concern_a_test(tested):
    pipeline = CSV.replace("middlewares", "max_dead_letters = 0\nrequire = 'exactly_once'\nmiddlewares")
    pipeline += 'tracer = { import = "steps:Tracer" }'
    assert passes(tested(pipeline, 'input = [{ id = "3", amount = 5 }]\ndead_letters = 1'))


def test_a_step_on_the_pipelines_state_gets_one_in_memory(tested):
    pipeline = f"""{NUMBERS}
    middlewares = [{{ import = "steps:Kept" }}]
    sinks = [{{ type = "null" }}]
    state = {{ type = "sqlite", path = "state.db" }}
    """
    test = "input = [{ n = 1 }, { n = 1 }, { n = 2 }]\noutput = [{ seen = 1 }, { seen = 1 }, { seen = 2 }]"
    assert passes(tested(pipeline, test))


def test_a_mock_stands_under_the_policy_and_with_the_concurrency_of_the_step(tested):
    pipeline = f"""{NUMBERS}
    middlewares = [{{ import = "steps:Lookup", with = {{ url = "x" }}, concurrency = 3, on_error = "skip" }}]
    sinks = [{{ type = "null" }}]
    """
    given = "input = [{ n = 1 }, { n = 2 }, { n = 3 }]"
    running = 'mocks.Lookup = { import = "steps:Running" }'
    alone = "output = [{ running = 1 }, { running = 2 }, { running = 3 }]"
    assert passes(tested(pipeline, f"{given}\n{running}\noutput = [{', '.join(['{ running = 3 }'] * 3)}]"))
    assert passes(tested(pipeline, f"{given}\n{running.replace(' }', ', concurrency = 1 }')}\n{alone}"))
    failing = 'mocks.Lookup = { import = "steps:unreachable" }'
    assert passes(tested(pipeline, f"{given}\n{failing}\nskipped = 3"))


def test_text_for_a_compressed_encoded_or_globbed_source(tested):
    pipeline = """
    source = { type = "csv", path = PATH, encoding = "latin-1" }
    sinks = [{ type = "null" }]
    """
    for path in ('"x.csv.gz"', '"x.csv.zst"', '"in/[a-z]*.csv"', '["x.csv", "y.csv"]', '"x.csv"'):
        test = 'text = "n\\né\\n"\noutput = [{ n = "é" }]'
        assert passes(tested(pipeline.replace("PATH", path), test))


def test_a_sinks_own_options_hold(tested):
    pipeline = f'{NUMBERS}sinks = [{{ type = "stdout", nan = "null" }}]'
    assert passes(tested(pipeline, 'input = [{ n = nan }]\noutput = "{\\"n\\":null}\\n"'))


def test_csv_with_a_schema_takes_what_the_schema_takes(tested):
    pipeline = """
    source = { type = "csv", path = "x.csv", schema = "steps:Order" }
    sinks = [{ type = "null" }]
    """
    assert passes(tested(pipeline, 'input = [{ id = 1 }, { id = "2" }]\noutput = [{ id = 1 }, { id = 2 }]'))


def test_what_a_step_gives_at_the_end_comes_of_the_last_record(tested):
    pipeline = f'{NUMBERS}middlewares = [{{ import = "steps:Total" }}]\nsinks = [{{ type = "null" }}]'
    test = "input = [{ n = 1 }, { n = 2 }, { n = 3 }]\noutput = [{ total = 6 }]\ndropped = "
    count, listed = tested(pipeline, f"{test}2"), tested(pipeline, f"{test}[{{ n = 1 }}, {{ n = 2 }}]")
    assert count.returncode == listed.returncode == 0, count.stdout + listed.stdout


def test_records_are_shown_as_they_were_then(tested):
    pipeline = f'{NUMBERS}middlewares = [{{ import = "steps:STEP" }}]\nsinks = [{{ type = "null" }}]'
    given = "input = [{ n = 1 }, { n = 2 }]\n"
    reusing = f"{given}output = [{{ n = 1 }}, {{ n = 2 }}]\ndropped = []"
    assert passes(tested(pipeline.replace("STEP", "Reusing"), reusing))
    dropped = f"{given}output = []\ndropped = [{{ n = 1 }}, {{ n = 2 }}]"
    assert passes(tested(pipeline.replace("STEP", "changed_and_dropped"), dropped))


def test_a_record_that_the_source_skips_is_shown_as_it_was_read(tested):
    pipeline = """
    source = { type = "csv", path = "x.csv", types = { n = "int" }, on_error = "skip" }
    sinks = [{ type = "null" }]
    """
    assert passes(tested(pipeline, 'text = "n\\n1\\nx\\n"\noutput = [{ n = 1 }]\nskipped = [{ n = "x" }]'))


def test_a_source_of_ones_own_reads_text_by_its_path(tested):
    pipeline = """
    source = { import = "steps:Lines", with = { path = "x" } }
    middlewares = [{ type = "filter", import = "steps:is_a" }]
    sinks = [{ type = "null" }]
    """
    test = 'text = "a\\nb\\n"\noutput = [{ line = "a" }]\ndropped = '
    assert passes(tested(pipeline, f'{test}[{{ line = "b" }}]'))
    assert passes(tested(pipeline, f"{test}1"))


def test_a_file_of_output_must_be_there_and_be_text(tested, directory):
    pipeline = f'{NUMBERS}sinks = [{{ type = "stdout", name = "out" }}]'
    for files, at in (('"out.jsonl"', "output_file"), ('{ out = "out.jsonl" }', "output_file.out")):
        test = f"input = []\noutput_file = {files}"
        done = tested(pipeline, test)
        assert done.returncode == 2
        assert (
            done.stderr
            == f"agora: p.toml: pipelines.p.tests[0].{at}: there is no {directory / 'out.jsonl'}\n"
        )
    (directory / "out.jsonl").write_bytes(b"\xff")
    assert findings(tested(pipeline, test))[0].startswith(
        "sink out: the expected text can't be read: 'utf-8'"
    )


def test_a_directory_is_no_file_of_a_test(tested, directory):
    places = {
        'file = "."\noutput = []': "file",
        'input = []\noutput_file = "."': "output_file",
        'input = []\noutput_file = { out = "." }': "output_file.out",
    }
    pipeline = 'source = { type = "csv", path = "x.csv" }\nsinks = [{ type = "stdout", name = "out" }]'
    for test, at in places.items():
        done = tested(pipeline, test)
        assert done.returncode == 2
        assert done.stderr == (
            f"agora: p.toml: pipelines.p.tests[0].{at}: {directory} is a directory: give a file\n"
        )


def test_a_run_that_fails_publishes_no_text(tested):
    pipeline = f"""{NUMBERS}
    middlewares = [{{ import = "steps:unreachable" }}]
    sinks = [{{ type = "jsonl", path = "out.jsonl" }}]
    """
    assert passes(tested(pipeline, 'input = [{ n = 1 }]\nfails = {}\noutput = ""'))


def test_json_tells_texts_counts_and_fields(tested):
    test = """
    input = [{ n = 1 }]
    output = "x\\n"
    dropped = 1
    [[pipelines.p.tests]]
    name = "u"
    input = [{ n = 1 }]
    output = [{ m = 1, n = 2 }]
    """
    done = tested(f'{NUMBERS}sinks = [{{ type = "stdout" }}]', test, "--json")
    assert done.returncode == 1
    text, fields, _ = map(json.loads, done.stdout.splitlines())
    assert text["findings"] == [
        {
            "where": "sink stdout",
            "message": "wrote another text",
            "diff": ["@@ -1 +1 @@", "-x", '+{"n":1}'],
        },
        {"where": "dropped", "message": "expected 1, found 0"},
    ]
    (record,) = fields["findings"][0]["records"]
    assert record == {
        "kind": "changed",
        "index": 0,
        "expected": {"m": 1, "n": 2},
        "found": {"n": 1},
        "fields": [{"path": "m", "expected": 1}, {"path": "n", "expected": 2, "found": 1}],
    }


def test_originals_of_dead_letters_differ_field_by_field(tested):
    done = tested(
        CSV,
        """
        input = [{ id = "3", amount = 5 }]
        dead_letters = [{ original = { id = "4", amount = 5.0 }, stage = "source", error = "TypeError" }]
        """,
    )
    assert findings(done) == [
        "dead letters:",
        "  letter 1 differs",
        '    stage: expected "source", found "middleware:double"',
        '    error: expected "TypeError", found "ValueError"',
        '    original.id: expected "4", found "3"',
    ]


def test_an_error_is_known_by_its_full_and_its_last_name(tested):
    def letter(error):
        return tested(CSV, f'input = [{{ id = "3", amount = 5 }}]\ndead_letters = [{{ error = "{error}" }}]')

    assert passes(letter("ValueError"))
    assert passes(letter("builtins.ValueError"))
    assert findings(letter("builtins.KeyError"))[2] == (
        '    error: expected "builtins.KeyError", found "ValueError"'
    )
    unfit = 'input = [{ id = "3", amount = "x" }]\ndead_letters = [{ error = "NAME" }]'
    for name in ("AgoraError", "errors.AgoraError", "agora.errors.AgoraError"):
        assert passes(tested(CSV, unfit.replace("NAME", name)))
    assert findings(tested(CSV, unfit.replace("NAME", "builtins.AgoraError")))


def test_skipped_and_multiplied_records(tested):
    pipeline = f"""{NUMBERS}
    middlewares = [
        {{ import = "steps:unreachable", on_error = "skip" }},
        {{ type = "flat_map", import = "steps:both" }},
    ]
    sinks = [{{ type = "null" }}]
    """
    assert passes(
        tested(pipeline, "input = [{ n = 1 }, { n = 2 }]\nskipped = [{ n = 1 }, { n = 2 }]\noutput = []")
    )
    mocked = 'mocks.unreachable = { type = "filter", import = "steps:even" }'
    twice = "output = [{ n = 2 }, { n = 2, again = true }]\ndropped = [{ n = 1 }]"
    assert passes(tested(pipeline, f"input = [{{ n = 1 }}, {{ n = 2 }}]\n{twice}\n{mocked}"))


def test_columns_are_columns_here_too(tested):
    pipeline = """
    source = { type = "csv", path = "x.csv", types = { n = "int" } }
    middlewares = [{ type = "where", expression = "n > 1" }, { type = "compute", expressions = { m = "n * 2" } }]
    sinks = [{ type = "jsonl", path = "x.jsonl" }]
    """
    output = "output = [{ n = 2, m = 4 }, { n = 3, m = 6 }]\ndropped = 1"
    assert passes(tested(pipeline, f'text = "n\\n1\\n2\\n3\\n"\n{output}'))
    assert passes(tested(pipeline, f'input = [{{ n = "1" }}, {{ n = "2" }}, {{ n = 3 }}]\n{output}'))


def test_a_source_without_a_path_has_no_text(tested):
    done = tested(f'{NUMBERS}sinks = [{{ type = "null" }}]', 'text = "x"\noutput = []')
    assert done.returncode == 2
    assert done.stderr == (
        'agora: p.toml: pipelines.p.tests[0].text: import = "steps:endless" has no path to read it from: '
        "give input\n"
    )


def test_parquet_is_no_text_and_a_missing_file_is_told(tested, directory):
    pipeline = 'source = { type = "parquet", path = "x.parquet" }\nsinks = [{ type = "null" }]'
    done = tested(pipeline, 'text = "x"\noutput = []')
    assert done.returncode == 2
    assert done.stderr == "agora: p.toml: pipelines.p.tests[0].text: Parquet is no text: give file or input\n"
    assert tested(pipeline, 'file = "y.parquet"\noutput = []').returncode == 2
    pq.write_table(pa.table({"n": [1, 2]}), directory / "y.parquet")
    assert passes(tested(pipeline, 'file = "y.parquet"\noutput = [{ n = 1 }, { n = 2 }]'))


def test_a_test_that_hangs_fails_at_its_timeout(tested):
    pipeline = f'{NUMBERS}middlewares = [{{ import = "steps:hang" }}]\nsinks = [{{ type = "null" }}]'
    done = tested(pipeline, "input = [{ n = 1 }]\noutput = []\ntimeout = 0.05")
    assert findings(done) == ["run: took longer than 0.05 s (its timeout)"]


MANY = """
format = "agora/1"
[pipelines.a]
source = { import = "steps:endless" }
sinks = [{ type = "null" }]
[[pipelines.a.tests]]
name = "one <&> \\u0007 \\"quoted\\""
input = [{ text = "\\u0000 <&>" }]
output = []
[[pipelines.a.tests]]
name = "Two"
input = []
output = []
[pipelines.b]
source = { import = "steps:endless" }
sinks = [{ type = "null" }]
[[pipelines.b.tests]]
name = "two"
input = []
output = []
[pipelines.c]
source = { type = "csv", path = "${UNSET_IN_TESTS}" }
sinks = [{ type = "null" }]
"""


@pytest.fixture
def many(directory):
    (directory / "steps.py").write_text(STEPS)
    (directory / "many.toml").write_text(MANY)


@pytest.mark.usefixtures("many")
def test_tests_are_chosen_by_pipeline_and_by_name(agora):
    def names(*arguments):
        done = agora("test", "many.toml", *arguments, "--json")
        return [json.loads(line)["test"] for line in done.stdout.splitlines()[:-1]]

    assert len(names()) == 3
    assert names("a") == ['one <&> \x07 "quoted"', "Two"]
    assert names("-k", "two") == ["Two", "two"]
    assert names("b", "-k", "t?o") == ["two"]
    assert names("-k", "o*quoted") == ['one <&> \x07 "quoted"']


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["many.toml", "-k", "three"], "none of the 3 tests of many.toml has 'three' in its name"),
        (["many.toml", "c"], "pipeline 'c' of many.toml has no tests; write them as [[pipelines.c.tests]]"),
        (["many.toml", "d"], "unknown pipeline 'd'"),
        (["orders.toml"], "orders.toml has no tests; write them as [[pipelines.NAME.tests]]"),
        (["nowhere.toml"], "nowhere.toml: can't be read"),
        (["steps.py"], "is no TOML"),
    ],
)
def test_nothing_to_run_is_an_error(agora, monkeypatch, arguments, message):
    monkeypatch.setenv("UNSET_IN_TESTS", "x")
    done = agora("test", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        'format = "agora/1"\npipelines = 5',
        "[pipelines.p]",
        'format = "agora/1"\n[pipelines]\np = 5',
        'format = "agora/1"\n[pipelines.p]\ntests = 5',
        'format = "agora/1"\n[pipelines.p]\ntests = [5]',
        'format = "agora/2"\n[pipelines.p]\n[[pipelines.p.tests]]\nname = "x"',
    ],
)
def test_a_file_that_isnt_right_is_a_config_error(agora, directory, text):
    (directory / "wrong.toml").write_text(text)
    done = agora("test", "wrong.toml")
    assert done.returncode == 2
    assert done.stderr.startswith("agora: wrong.toml: ")


@pytest.mark.usefixtures("many")
def test_junit_xml_holds_whatever_a_test_is_called_and_says(agora, directory):
    assert agora("test", "many.toml", "--junit", "junit.xml").returncode == 1
    root = ET.fromstring((directory / "junit.xml").read_text())
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "0")
    assert float(root.get("time")) > 0
    one, two = root
    assert [(suite.tag, suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in root] == [
        ("testsuite", "a", "2", "1"),
        ("testsuite", "b", "1", "0"),
    ]
    failed, passed = one
    assert failed.get("name") == 'one <&> \\u0007 "quoted"'
    assert (failed.get("classname"), passed.get("classname")) == ("a", "a")
    (failure,) = failed
    assert failure.tag == "failure"
    assert failure.get("message") == "differs: sink null"
    assert '+ { text = "\\u0000 <&>" }' in failure.text
    assert list(passed) == []
    assert list(two) == list(two.findall("testcase"))
    assert float(failed.get("time")) >= 0


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sub", "--junit: sub is a directory: give a file"),
        ("nowhere/junit.xml", "--junit: there is no directory nowhere: make it first"),
        ("many.toml/junit.xml", "--junit: there is no directory many.toml: make it first"),
    ],
)
def test_where_no_results_can_be_written_no_test_runs(agora, directory, path, message):
    (directory / "sub").mkdir()
    done = agora("test", "many.toml", "b", "--junit", path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"agora: {message}\n")


@pytest.mark.usefixtures("many")
def test_results_that_may_not_be_written_over_are_a_usage_error(agora, directory, monkeypatch):
    (directory / "junit.xml").touch()
    monkeypatch.setattr(os, "access", lambda path, _: path != Path("junit.xml"))  # for root all is writable
    done = agora("test", "many.toml", "b", "--junit", "junit.xml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "agora: --junit: junit.xml may not be written: give another file\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[[tests]]\nname = "t"\ninput = []\noutput = []',
            "tests: unknown key; did you mean [[pipelines.NAME.tests]]?",
        ),
        (
            '[[pipelines.p.test]]\nname = "t"\ninput = []\noutput = []',
            "pipelines.p.test: unknown key; did you mean 'tests'? known: ",
        ),
        (
            '[[pipelines.q.tests]]\nname = "t"\ninput = []\noutput = []',
            "pipelines.q: there is no pipeline of this name, only tests of it; known: p",
        ),
        (
            '[pipelines.p.tests]\nname = "t"\ninput = []\noutput = []',
            "pipelines.p.tests: expected a list, found a table; write double brackets: [[pipelines.NAME.tests]]",
        ),
    ],
)
def test_tests_that_stand_elsewhere_are_told(agora, directory, text, message):
    (directory / "steps.py").write_text(STEPS)
    pipeline = f'format = "agora/1"\n[pipelines.p]\n{NUMBERS}sinks = [{{ type = "null" }}]\n'
    (directory / "p.toml").write_text(pipeline + text)
    done = agora("test", "p.toml")
    assert done.returncode == 2
    assert done.stderr.startswith(f"agora: p.toml: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("many")
def test_the_exit_code_of_a_process_says_how_it_went(process, directory):
    assert process("test", "many.toml", "b").returncode == 0
    done = process("test", "many.toml")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1].startswith("2 passed, 1 failed in ")
    assert process("test", "many.toml", "-k", "nothing").returncode == 2
    assert process("run", "many.toml", "b", "--max-records", "1").returncode == 2  # c needs its variable


@pytest.mark.usefixtures("many")
def test_json_tells_what_differs(agora):
    done = agora("test", "many.toml", "a", "-k", "one", "--json")
    result, counts = map(json.loads, done.stdout.splitlines())
    assert result["passed"] is False
    assert result["findings"] == [
        {
            "where": "sink null",
            "records": [{"kind": "unexpected", "index": 0, "found": {"text": "\x00 <&>"}}],
        }
    ]
    assert (counts["tests"], counts["failed"]) == (1, 1)
