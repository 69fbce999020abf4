"""What a right config file becomes."""

import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from agora.config import load
from agora.config.parts import PIPELINE_STATE
from agora.errors import ConfigError

SINK = 'sinks = [{ type = "null" }]\n'


def source(loaded, options: str, **environment: str):
    text = f'[pipelines.p]\nsource = {{ type = "everything", {options} }}\n{SINK}'
    return loaded(text, environment=environment).pipelines["p"].source.part.make()


def test_the_example_of_the_design_is_understood(directory, write):
    (directory / "steps.py").write_text(
        "def add_euros(order):\n    return order\n"
        "class GeoLookup:\n"
        "    def __init__(self, url: str) -> None:\n        self.url = url\n"
        "    async def process(self, order):\n        return order\n"
    )
    file = write(
        """
        [pipelines.orders]
        source = { type = "csv", path = "orders.csv", types = { amount = "float" } }
        middlewares = [
            { type = "where", expression = "amount > 500" },
            { import = "steps:add_euros" },
            { import = "steps:GeoLookup", with = { url = "${GEO_URL}" }, concurrency = 100 },
        ]
        sinks = [{ type = "jsonl", path = "large.jsonl" }]
        checkpoint = { every = 1000 }
        dlq = { type = "state" }
        state = { type = "sqlite", path = ".agora/state.db" }
        backpressure = { type = "adaptive", max_in_flight = 5000 }
        """
    )
    config = load(file, environment={"GEO_URL": "https://geo.example"})
    assert config.path == file
    name, pipeline = config.choose()
    assert name == "orders"
    assert pipeline.source.part.make().path == directory / "orders.csv"
    assert pipeline.middlewares[0].part.make().expression == "amount > 500"
    assert pipeline.middlewares[1].part.make().__name__ == "add_euros"
    assert pipeline.middlewares[2].part.make().url == "https://geo.example"
    assert [step.concurrency for step in pipeline.middlewares] == [None, None, 100]
    assert pipeline.checkpoint.every == 1000
    assert pipeline.checkpoint.interval is None
    assert pipeline.dlq.part.needs_state
    state = pipeline.state.part.make()
    assert state.path == directory / ".agora/state.db"
    assert pipeline.backpressure.part.make().max_in_flight == 5000


def test_values_become_what_the_declaration_asks_for(loaded, directory):
    (directory / "helpers_all.py").write_text("def key(record): return record\nclass Money: pass\n")
    part = source(
        loaded,
        'path = ["a.csv", "/b/*.csv"], count = 3, share = 1, flag = true, mode = "safe", '
        'types = { a = "float", b = "Decimal", c = "date", d = "helpers_all:Money", e = "int?" }, '
        'names = ["x"], key = "helpers_all:key", retry = { attempts = 5 }, home = "here", '
        "anything = [1, { b = 2 }]",
    )
    assert part.path == (directory / "a.csv", Path("/b/*.csv"))
    assert (part.count, part.share, part.flag, part.mode) == (3, 1.0, True, "safe")
    assert isinstance(part.share, float)
    types = dict(part.types)
    assert types.pop("d").__name__ == "Money"
    assert types == {"a": float, "b": Decimal, "c": datetime.date, "e": "int?"}
    assert part.names == ["x"]
    assert part.key.__name__ == "key"
    assert part.retry.attempts == 5
    assert part.home == directory / "here"
    assert part.anything == [1, {"b": 2}]


def test_paths_are_relative_to_the_file_whatever_the_working_directory(loaded, directory, monkeypatch):
    monkeypatch.chdir("/")
    assert source(loaded, 'path = "data/*.csv"').path == directory / "data/*.csv"


def test_a_relative_file_name_gives_absolute_paths(write, directory, monkeypatch):
    write(f'[pipelines.p]\nsource = {{ type = "everything", path = "a.csv" }}\n{SINK}')
    monkeypatch.chdir(directory)
    config = load("pipeline.toml", environment={})
    assert config.pipelines["p"].source.part.make().path == directory / "a.csv"


def test_each_make_gives_a_new_object(loaded):
    config = loaded(f'[pipelines.p]\nsource = {{ type = "everything", path = "a" }}\n{SINK}')
    part = config.pipelines["p"].source.part
    assert part.make() is not part.make()


def test_variables_are_filled_in_anywhere_in_a_text(loaded):
    part = source(
        loaded,
        'path = "a", anything = ["${A}-${B}", "$$ ${A}", "$$${A}", "$A", "5 $", "$${A}"]',
        A="1",
        B="2",
    )
    assert part.anything == ["1-2", "$ 1", "$1", "$A", "5 $", "${A}"]
    assert {type(text) for text in part.anything} == {str}


def test_a_variable_may_hold_an_empty_text(loaded):
    assert source(loaded, 'path = "a", names = ["${EMPTY}"]', EMPTY="").names == [""]


def test_a_text_with_a_variable_may_become_a_number_or_a_truth_value(loaded):
    part = source(loaded, 'path = "a", count = "${N}", share = "0.${N}", flag = "${F}"', N="7", F="True")
    assert (part.count, part.share, part.flag) == (7, 0.7, True)


def test_secrets_are_in_no_repr(loaded):
    config = loaded(
        f'[pipelines.p]\nsource = {{ type = "everything", path = "a", names = ["${{SECRET}}"] }}\n{SINK}',
        environment={"SECRET": "hunter22"},
    )
    assert "hunter22" not in repr(config)


def test_a_part_that_works_on_state_gets_the_pipelines(loaded):
    config = loaded(
        '[pipelines.p]\nsource = { type = "everything", path = "a" }\n'
        'sinks = [{ type = "in-state", prefix = "x" }]\nstate = { type = "fake" }\n'
    )
    part = config.pipelines["p"].sinks[0].part
    assert part.arguments["state"] is PIPELINE_STATE
    state = object()
    assert part.make(state).state is state


def test_keys_of_the_place_stand_beside_the_parts_own(loaded, directory):
    (directory / "routes_keys.py").write_text("def large(record): return True\n")
    config = loaded(
        '[pipelines.p]\nsource = { type = "everything", path = "a", on_error = "skip" }\n'
        'sinks = [{ type = "null", name = "big", where = "routes_keys:large", on_error = "stop" },\n'
        '{ type = "null", otherwise = true }]\n'
        'batch_size = 7\nlinger = 0.5\nmax_dead_letters = 0.01\nrequire = "exactly_once"\n'
    )
    pipeline = config.pipelines["p"]
    big, rest = pipeline.sinks
    assert pipeline.source.on_error == "skip"
    assert (big.name, big.on_error, big.otherwise) == ("big", "stop", False)
    assert big.where({}) is True
    assert (rest.where, rest.otherwise) == (None, True)
    assert (pipeline.batch_size, pipeline.linger, pipeline.require) == (7, 0.5, "exactly_once")
    assert pipeline.max_dead_letters == 0.01


def test_max_dead_letters_keeps_a_count_a_count(loaded):
    config = loaded(
        f'[pipelines.p]\nsource = {{ type = "everything", path = "a" }}\n{SINK}max_dead_letters = 5\n'
    )
    assert isinstance(config.pipelines["p"].max_dead_letters, int)


IMPORTS = """
import attrs

def step(record): return record
def factory(n: int): return lambda record: n
def loose(**options): return options
def rows(): yield 1
THINGS = [1, 2]

@attrs.frozen
class Declared:
    size: int = 1
    def process(self, record): return record

declared = Declared(5)

class Outer:
    inner = Declared
"""


@pytest.fixture
def made(loaded, directory):
    """The object that one of `middlewares` becomes."""

    def made(table: str):
        (directory / "imports_many.py").write_text(IMPORTS)
        config = loaded(
            '[pipelines.p]\nsource = { type = "everything", path = "a" }\n'
            f"middlewares = [{{ {table} }}]\n{SINK}"
        )
        step = config.pipelines["p"].middlewares[0]
        return step.part.make(), step.type

    return made


@pytest.mark.parametrize("kind", ["map", "filter", "flat_map"])
def test_an_imported_function_may_say_how_it_is_meant(made, kind):
    function, found = made(f'type = "{kind}", import = "imports_many:step"')
    assert function(5) == 5
    assert found == kind


def test_an_imported_function_with_options_is_a_factory(made):
    function, kind = made('import = "imports_many:factory", with = { n = 3 }')
    assert function("x") == 3
    assert kind is None


def test_an_imported_class_is_made_with_its_options(made):
    part, _ = made('import = "imports_many:Declared", with = { size = 3 }')
    assert part.size == 3
    part, _ = made('import = "imports_many:Declared"')
    assert part.size == 1
    part, _ = made('import = "imports_many:Outer.inner"')
    assert part.size == 1


def test_an_imported_object_is_used_as_it_is(made):
    part, _ = made('import = "imports_many:declared"')
    assert part.size == 5


def test_a_factory_with_open_options_gets_them_as_they_are(made):
    options, _ = made('import = "imports_many:loose", with = { a = 1, b = ["x"] }')
    assert options == {"a": 1, "b": ["x"]}


def test_an_imported_function_makes_a_source(loaded, directory):
    (directory / "imports_source.py").write_text("def rows(n: int = 2): return list(range(n))\n")
    for table, rows in (
        ('import = "imports_source:rows"', [0, 1]),
        ('import = "imports_source:rows", with = { n = 3 }', [0, 1, 2]),
    ):
        config = loaded(f"[pipelines.p]\nsource = {{ {table} }}\n{SINK}")
        assert config.pipelines["p"].source.part.make() == rows


def test_the_only_pipeline_needs_no_name_and_several_do(loaded):
    one = f'[pipelines.a]\nsource = {{ type = "everything", path = "a" }}\n{SINK}'
    assert loaded(one).choose()[0] == "a"
    assert loaded(one).choose("a")[0] == "a"
    two = loaded(one + one.replace("pipelines.a", "pipelines.bcd"))
    assert two.choose("bcd")[0] == "bcd"
    with pytest.raises(ConfigError, match="name one of its pipelines: a, bcd"):
        two.choose()
    with pytest.raises(ConfigError, match="unknown pipeline 'bcc'; did you mean 'bcd'"):
        two.choose("bcc")
