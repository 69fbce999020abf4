"""A config file becomes the pipeline that a program would have built."""

import json
from functools import partial

import pytest
import trio

from agora.config import build, load
from agora.errors import ConfigError
from agora.plugins import middleware_registry

STEPS = """
import trio
from agora import middleware

def double(n): return n * 2
async def later(n):
    await trio.lowlevel.checkpoint()
    return n
def odd(n): return n % 2
def twice(n): return [n, n]
def adder(by: int):
    def add(n): return n + by
    return add
def numbers():
    yield from range(4)
async def async_numbers():
    for n in range(4):
        yield n

@middleware
def decorated(n): return n + 1

class Add:
    min_concurrency = 1
    def __init__(self, by: int = 1): self.by = by
    def process(self, n): return n + self.by

add_five = Add(5)
LIST = [0, 1, 2, 3]
seen = []
def collect(n): seen.append(n)
def large(n): return n > 1
"""


@pytest.fixture
def run(loaded, directory):
    """Run a text's only pipeline, with `steps_build.collect` as its sink, and answer what it was given."""

    async def run(middlewares: str, source: str = 'import = "steps_build:LIST"'):
        (directory / "steps_build.py").write_text(STEPS)
        config = loaded(
            f"[pipelines.p]\nsource = {{ {source} }}\nmiddlewares = [{middlewares}]\n"
            'sinks = [{ import = "steps_build:collect" }]\n'
        )
        bound = build(config)
        await bound.run()
        import steps_build  # noqa: PLC0415  - it exists only now

        return list(steps_build.seen)

    return run


@pytest.mark.parametrize(
    ("middlewares", "expected"),
    [
        ("", [0, 1, 2, 3]),
        ('{ import = "steps_build:double" }', [0, 2, 4, 6]),
        ('{ type = "map", import = "steps_build:double" }', [0, 2, 4, 6]),
        ('{ type = "filter", import = "steps_build:odd" }', [1, 3]),
        ('{ type = "flat_map", import = "steps_build:twice" }', [0, 0, 1, 1, 2, 2, 3, 3]),
        ('{ import = "steps_build:later", concurrency = 3 }', [0, 1, 2, 3]),
        ('{ import = "steps_build:double", processes = 2, timeout = 30 }', [0, 2, 4, 6]),
        ('{ import = "steps_build:adder", with = { by = 10 } }', [10, 11, 12, 13]),
        ('{ type = "map", import = "steps_build:adder", with = { by = 10 } }', [10, 11, 12, 13]),
        ('{ import = "steps_build:decorated" }', [1, 2, 3, 4]),
        ('{ import = "steps_build:Add" }', [1, 2, 3, 4]),
        ('{ import = "steps_build:Add", with = { by = 2 } }', [2, 3, 4, 5]),
        ('{ import = "steps_build:add_five" }', [5, 6, 7, 8]),
        ('{ import = "steps_build:double" }, { import = "steps_build:double" }', [0, 4, 8, 12]),
    ],
)
async def test_steps_do_what_the_file_says(run, middlewares, expected):
    assert await run(middlewares) == expected


async def test_a_timeout_is_the_parts_own_where_there_are_no_processes(run, request):
    class Waits:
        def __init__(self, timeout: float = 1.0):
            self.timeout = timeout

        def process(self, n):
            return self.timeout

    middleware_registry.register("waits", Waits)
    request.addfinalizer(partial(middleware_registry.unregister, "waits"))
    assert await run('{ type = "waits", timeout = 2.5 }') == [2.5] * 4
    with pytest.raises(ConfigError, match="timeout: unknown key"):
        await run('{ import = "steps_build:double", timeout = 2.5 }')


@pytest.mark.parametrize(
    "source",
    [
        'import = "steps_build:LIST"',
        'import = "steps_build:numbers"',
        'import = "steps_build:async_numbers"',
        'type = "iterable", items = [0, 1, 2, 3]',
    ],
)
async def test_sources_of_ones_own_are_iterables_or_make_them(run, source):
    assert await run("", source) == [0, 1, 2, 3]


async def test_records_are_routed_by_where_and_otherwise(loaded, directory):
    (directory / "steps_build.py").write_text(STEPS)
    config = loaded(
        '[pipelines.p]\nsource = { import = "steps_build:LIST" }\n'
        'sinks = [{ type = "memory", where = "steps_build:large", name = "large" },\n'
        '         { type = "memory", otherwise = true, name = "rest" }]\n'
    )
    bound = build(config)
    await bound.run()
    large, rest = bound.spec.sinks
    assert (large.name, rest.name) == ("large", "rest")
    assert large.sink.records == [2, 3]
    assert rest.sink.records == [0, 1]


async def test_files_state_and_letters_work_together(loaded, directory):
    (directory / "steps_build.py").write_text("def check(order):\n    return {'n': int(order['n'])}\n")
    (directory / "in.csv").write_text("n\n1\nx\n3\n")
    config = loaded(
        '[pipelines.p]\nsource = { type = "csv", path = "in.csv" }\n'
        'middlewares = [{ import = "steps_build:check" }]\n'
        'sinks = [{ type = "jsonl", path = "out/o.jsonl" }]\n'
        'checkpoint = { every = 1, interval = 60 }\ndlq = { type = "state" }\n'
        'state = { type = "sqlite", path = "state/s.db" }\n'
        'batch_size = 2\nmax_dead_letters = 2\ntracer = { type = "memory" }\n'
        'backpressure = { type = "fixed", max_buffer_size = 10 }\n'
    )
    bound = build(config)
    assert bound.spec.dlq.state is bound.spec.checkpoint_store.state
    assert (bound.spec.checkpoint_every, bound.spec.checkpoint_interval) == (1, 60.0)
    assert (bound.spec.batch_size, bound.spec.max_dead_letters) == (2, 2)
    summary = await bound.run()
    assert (summary.written, summary.dead_lettered) == (2, 1)
    written = (directory / "out/o.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in written] == [{"n": 1}, {"n": 3}]
    assert (directory / "state/s.db").exists()
    assert bound.spec.tracer.spans
    letters = [letter async for letter in bound.spec.dlq.read("p")]
    assert [letter.original for letter in letters] == [{"n": "x"}]


def test_a_sink_is_named_as_the_file_says_it_from_wherever_it_runs(loaded, monkeypatch):
    text = (
        '[pipelines.p]\nsource = { type = "everything", path = "a" }\n'
        'sinks = [{ type = "jsonl", path = "a/b.jsonl" }, { type = "null" }, { type = "null" }]\n'
    )
    monkeypatch.chdir("/")
    names = [sink.name for sink in build(loaded(text)).spec.sinks]
    assert names[0] == "jsonl:a/b.jsonl"
    assert len(set(names)) == 3


def test_defaults_of_build_are_left_to_build(loaded):
    text = '[pipelines.p]\nsource = { type = "everything", path = "a" }\nsinks = [{ type = "null" }]\n'
    spec = build(loaded(text)).spec
    assert (spec.batch_size, spec.linger) == (512, 0.1)
    assert spec.checkpoint_store is None


def test_zero_dead_letters_may_be_allowed(loaded):
    text = (
        '[pipelines.p]\nsource = { type = "everything", path = "a" }\nsinks = [{ type = "null" }]\n'
        'dlq = { type = "memory" }\nmax_dead_letters = 0\n'
    )
    assert build(loaded(text)).spec.max_dead_letters == 0


def test_each_build_makes_new_parts(loaded):
    config = loaded(
        '[pipelines.p]\nsource = { type = "everything", path = "a" }\nsinks = [{ type = "memory" }]\n'
    )
    one, two = build(config), build(config)
    assert one.spec.source is not two.spec.source
    assert one.spec.sinks[0].sink is not two.spec.sinks[0].sink


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('middlewares = [{ import = "json:__name__" }]', ".middlewares[0]: "),
        (
            'middlewares = [{ import = "json:dumps", concurrency = 0 }]',
            ".middlewares[0]: step 'dumps': concurrency",
        ),
        ('middlewares = [{ import = "refusing:Refusing" }]', ".middlewares[0]: not today"),
        ('middlewares = [{ import = "refusing:crash", with = {} }]', ".middlewares[0]: KeyError: 'x'"),
        ("batch_size = 0", ": batch_size=0: expected a whole number of records from 1"),
        ("linger = -1", ": linger=-1.0: expected seconds from 0"),
        ("max_dead_letters = 3", ": max_dead_letters needs a dlq"),
        ('require = "exactly_once"', ": exactly once can't be given: there is no checkpoint store"),
    ],
)
def test_what_the_engine_or_a_constructor_refuses_names_the_key(loaded, directory, text, expected):
    (directory / "refusing.py").write_text(
        "class Refusing:\n    def __init__(self): raise ValueError('not today')\n"
        "    def process(self, record): return record\n"
        "def crash(): return {}['x']\n"
    )
    config = loaded(
        f'[pipelines.p]\nsource = {{ type = "everything", path = "a" }}\nsinks = [{{ type = "null" }}]\n{text}\n'
    )
    with pytest.raises(ConfigError) as caught:
        build(config)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{config.path}: pipelines.p{expected}")


def test_refusals_of_several_parts_come_at_once_without_secrets(loaded, directory):
    (directory / "refusing.py").write_text(
        "class Refusing:\n"
        "    def __init__(self, token: str): raise ValueError(f'{token} is no token')\n"
        "    def process(self, record): return record\n"
    )
    config = loaded(
        '[pipelines.p]\nsource = { import = "refusing:Refusing", with = { token = "${TOKEN}" } }\n'
        'middlewares = [{ import = "refusing:Refusing", with = { token = "${TOKEN}" } }]\n'
        'sinks = [{ type = "null" }]\n',
        environment={"TOKEN": "hunter22"},
    )
    with pytest.raises(ConfigError) as caught:
        build(config)
    assert [problem.removeprefix(f"{config.path}: ") for problem in caught.value.problems] == [
        "pipelines.p.source: ${TOKEN} is no token",
        "pipelines.p.middlewares[0]: ${TOKEN} is no token",
    ]


def test_the_functions_are_functions_whatever_was_imported_before():
    import agora.config.building  # noqa: PLC0415  - the import is the test
    import agora.config.loading  # noqa: F401, PLC0415  - the import is the test

    assert callable(build)
    assert callable(load)


COLUMNS = """\
format = "agora/1"
[pipelines.orders]
source = { type = "csv", path = "orders.csv", types = { amount = "float" } }
middlewares = [
    { type = "where", expression = "amount > 500" },
    { type = "compute", expressions = { euros = "amount * 0.5" }, name = "euros", on_error = "skip" },
    { type = "cast", types = { n = "int" } },
    { type = "rename", names = { n = "number" } },
    { type = "select", columns = ["id", "euros", "number"] },
]
sinks = [
    { type = "jsonl", path = "large.jsonl", where = "number > 3" },
    { type = "jsonl", path = "rest.jsonl", otherwise = true },
]
"""


def test_a_pipeline_of_columns_is_said_without_a_line_of_python(tmp_path):
    (tmp_path / "orders.csv").write_text("id,amount,n\na,500,1\nb,600,2\nc,700,4\n")
    (tmp_path / "p.toml").write_text(COLUMNS)
    trio.run(build(load(tmp_path / "p.toml")).run)
    assert (tmp_path / "large.jsonl").read_text() == '{"id":"c","euros":350.0,"number":4}\n'
    assert (tmp_path / "rest.jsonl").read_text() == '{"id":"b","euros":300.0,"number":2}\n'


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("amount > 500", "amount >", "middlewares[0]"),
        ("number > 3", "number >", "sinks[0]"),
        ("number > 3", "stps:foo", "there is no module 'stps'"),
        ('{ euros = "amount * 0.5" }', "{}", "at least one field"),
        ('{ n = "int" }', '{ n = "itn" }', "itn"),
    ],
)
def test_what_is_wrong_with_an_expression_is_told_with_its_place(tmp_path, before, after, message):
    (tmp_path / "p.toml").write_text(COLUMNS.replace(before, after))
    with pytest.raises(ConfigError) as caught:
        build(load(tmp_path / "p.toml"))
    assert message in str(caught.value)
