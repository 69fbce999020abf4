"""A wrong config says the file, the key, what was expected, what was found, and the nearest valid name."""

import sys

import pytest

from agora.config import load
from agora.errors import ConfigError

SOURCE = 'source = { type = "everything", path = "a" }\n'
SINK = 'sinks = [{ type = "null" }]\n'
PIPELINE = f"[pipelines.orders]\n{SOURCE}{SINK}"


def in_pipeline(text: str) -> str:
    return f"[pipelines.orders]\n{SOURCE}{SINK}{text}\n"


def in_source(options: str) -> str:
    return f'[pipelines.orders]\nsource = {{ type = "everything", path = "a", {options} }}\n{SINK}'


def test_a_file_that_is_not_there(directory):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: can't be read: No such file or directory"):
        load(directory / "nowhere.toml")


def test_toml_syntax_names_the_line(problems):
    (problem,) = problems('format = "agora/1"\n[pipelines.a]\nsource = {\n', raw=True)
    assert problem.startswith("is no TOML: ")
    assert "line 3" in problem or "line 4" in problem or "end of document" in problem
    (problem,) = problems('format = "agora/1"\nx = = 1\n', raw=True)
    assert "line 2" in problem


def test_bytes_that_are_no_text_name_the_line(write):
    path = write("")
    path.write_bytes(b'format = "agora/1"\n# \xff\n')
    with pytest.raises(ConfigError, match="is no TOML: not UTF-8 at line 2"):
        load(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 'format: expected "agora/1", and there is none'),
        ('format = "agora/2"', "format: expected \"agora/1\", found 'agora/2'"),
        ("format = 1", 'format: expected "agora/1", found 1'),
        ('format = "agora/1"', "pipelines: missing; expected a table"),
        ('format = "agora/1"\npipelines = {}', "pipelines: expected at least one pipeline, found none"),
        ('format = "agora/1"\npipelines = 3', "pipelines: expected a table, found 3"),
        ('format = "agora/1"\n[pipelines]\na = 3', "pipelines.a: expected a table, found 3"),
    ],
)
def test_the_frame_of_the_file(problems, text, expected):
    assert problems(text, raw=True) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{PIPELINE}\n[pipeline.b]\n",
            "pipeline: unknown key; did you mean 'pipelines'? known: format, pipelines",
        ),
        (
            in_pipeline("batchsize = 5"),
            "pipelines.orders.batchsize: unknown key; did you mean 'batch_size'? known: "
            "backpressure, batch_size, checkpoint, dlq, linger, max_dead_letters, middlewares, require, "
            "sinks, source, state, tests, tracer",
        ),
        (f'[pipelines."my orders"]\n{SOURCE}{SINK}x = 1', 'pipelines."my orders".x: unknown key; '),
        (f"[pipelines.orders]\n{SINK}", "pipelines.orders.source: missing; expected a table"),
        (
            f"[pipelines.orders]\n{SOURCE}sinks = []",
            "pipelines.orders.sinks: expected at least one sink, found none",
        ),
        (f"[pipelines.orders]\n{SOURCE}sinks = 3", "pipelines.orders.sinks: expected a list, found 3"),
        (f"[pipelines.orders]\n{SOURCE}sinks = [3]", "pipelines.orders.sinks[0]: expected a table, found 3"),
        (
            f'[pipelines.orders]\nsource = "csv"\n{SINK}',
            "pipelines.orders.source: expected a table, found 'csv'",
        ),
        (in_pipeline("batch_size = 2.5"), "pipelines.orders.batch_size: expected an integer, found 2.5"),
        (in_pipeline('batch_size = "2"'), "pipelines.orders.batch_size: expected an integer, found '2'"),
        (in_pipeline("batch_size = true"), "pipelines.orders.batch_size: expected an integer, found true"),
        (in_pipeline('linger = "x"'), "pipelines.orders.linger: expected a number, found 'x'"),
        (
            in_pipeline('max_dead_letters = "x"'),
            "pipelines.orders.max_dead_letters: expected an integer or a number, found 'x'",
        ),
        (
            in_pipeline('require = "exactly-once"'),
            "pipelines.orders.require: expected 'exactly_once', found 'exactly-once'",
        ),
        (
            in_pipeline('state = { type = "fake" }\ncheckpoint = { evry = 5 }'),
            "pipelines.orders.checkpoint.evry: unknown key; did you mean 'every'? known: every, interval",
        ),
        (
            in_pipeline("checkpoint = { every = 5 }"),
            "pipelines.orders.checkpoint: needs the pipeline's state, and there is none; "
            'add state = { type = "sqlite", path = "…" }',
        ),
        (
            in_pipeline('dlq = { type = "in-state" }'),
            "pipelines.orders.dlq: needs the pipeline's state, and there is none; "
            'add state = { type = "sqlite", path = "…" }',
        ),
        (
            f'[pipelines.orders]\n{SOURCE}sinks = [{{ type = "null" }}, {{ type = "in-state" }}]',
            "pipelines.orders.sinks[1]: needs the pipeline's state, and there is none; ",
        ),
        (
            in_pipeline('backpressure = { type = "adaptve" }'),
            "pipelines.orders.backpressure.type: unknown backpressure type 'adaptve'; "
            "did you mean 'adaptive'? known: adaptive, fixed",
        ),
        (
            in_pipeline('backpressure = { type = "fixed", max_in_flight = 5 }'),
            "pipelines.orders.backpressure.max_in_flight: unknown key; known: max_buffer_size, type",
        ),
        (
            in_pipeline('backpressure = { type = "fixed", max_buffer_size = 0 }'),
            "pipelines.orders.backpressure: backpressure: max_buffer_size must be ",
        ),
        (
            in_pipeline('tracer = { type = "nop" }'),
            "pipelines.orders.tracer.type: unknown tracer type 'nop'; "
            "did you mean 'noop'? known: memory, noop, otel",
        ),
    ],
)
def test_keys_of_a_pipeline(problems, text, expected):
    (problem,) = problems(text)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("pth = 1", ".pth: unknown key; did you mean 'path'? known: anything, count, "),
        ('on_eror = "skip"', ".on_eror: unknown key; did you mean 'on_error'? "),
        (
            'on_error = "skp"',
            ".on_error: expected 'dead_letter' or 'stop' or 'skip' or 'pass', found 'skp'; ",
        ),
        ("count = 1.5", ".count: expected an integer, found 1.5"),
        ("count = 0", ": 'count' must be >= 1: 0"),
        ('share = "half"', ".share: expected a number, found 'half'"),
        ('flag = "yes"', ".flag: expected true or false, found 'yes'"),
        ("flag = 1", ".flag: expected true or false, found 1"),
        (
            'mode = "fsat"',
            ".mode: expected 'fast' or 'safe', found 'fsat'; did you mean 'fast'? known: fast, safe",
        ),
        ('names = "abc"', ".names: expected a list, found 'abc'"),
        ('names = ["a", 2]', ".names[1]: expected a string, found 2"),
        ("types = 3", ".types: expected a table, found 3"),
        ("types = { a = 3 }", ".types.a: expected a type or a string, found 3"),
        ("retry = 3", ".retry: expected a table, found 3"),
        (
            "retry = { atempts = 3 }",
            ".retry.atempts: unknown key; did you mean 'attempts'? known: attempts, wait",
        ),
        ("retry = { wait = -1 }", ".retry: 'wait' must be >= 0: -1.0"),
        ("home = 3", ".home: expected a path, found 3"),
        ('key = "nonsense"', ".key: expected \"module:attribute\", found 'nonsense'"),
        ('key = "json:lods"', ".key: 'json' has no 'lods'; did you mean 'loads'? "),
        ('key = "json:__name__"', ".key: expected a function, found json:__name__, which is str"),
        ("anything = 1, home = 2, count = 'x'", ".count: expected an integer, found 'x'"),
    ],
)
def test_options_of_a_part(problems, options, expected):
    found = problems(in_source(options))
    assert any(problem.startswith(f"pipelines.orders.source{expected}") for problem in found), found
    assert len(found) == (2 if "anything" in options else 1)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("path = 1", ': missing "type" or "import"'),
        ("type = 5", ".type: expected a string, found 5"),
        ('type = "evrything"', ".type: unknown source type 'evrything'; did you mean 'everything'? known: "),
        (
            'type = "everything"',
            ".path: missing; expected a path or a list (what to read)",
        ),
        ('type = "everything", path = 3', ".path: expected a path or a list, found 3"),
        ('type = "everything", path = ["a", 3]', ".path[1]: expected a path, found 3"),
        ("import = 5", '.import: expected "module:attribute", found 5'),
        ('import = "json"', ".import: expected \"module:attribute\", found 'json'"),
        (
            'import = "no_such_module:x"',
            ".import: there is no module 'no_such_module' beside the file or installed",
        ),
        ('import = "broken_module:x"', ".import: importing 'broken_module' failed: ZeroDivisionError: "),
        ('import = "needs_module:x"', ".import: importing 'needs_module' failed: ModuleNotFoundError: "),
        (
            'import = "json:loads", url = "x"',
            '.url: unknown key; options of an imported part go under "with"; ',
        ),
        ('type = "map", import = "json:loads"', ".type: expected no type beside an import, found 'map'"),
        ('import = "good_module:make", with = 3', ".with: expected a table, found 3"),
        ('import = "good_module:make", with = { m = 3 }', ".with.m: unknown key; known: n"),
        ('import = "good_module:make", with = { n = "x" }', ".with.n: expected an integer, found 'x'"),
        (
            'import = "good_module:THINGS", with = { n = 1 }',
            ".with: good_module:THINGS is an object and no class",
        ),
    ],
)
def test_the_part_itself(problems, directory, table, expected):
    (directory / "broken_module.py").write_text("1 / 0\n")
    (directory / "needs_module.py").write_text("import another_missing_module\n")
    (directory / "good_module.py").write_text("THINGS = [1]\ndef make(n: int = 1): return [n]\n")
    found = problems(f"[pipelines.orders]\nsource = {{ {table} }}\n{SINK}")
    assert any(problem.startswith(f"pipelines.orders.source{expected}") for problem in found), found


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('type = "fliter"', ".type: unknown middleware type 'fliter'; did you mean 'filter'? known: "),
        ('type = "map"', '.import: missing; expected "module:function"'),
        (
            'type = "where", import = "json:loads"',
            ".type: expected 'map' or 'filter' or 'flat_map' beside an import",
        ),
        ('import = "json:loads", concurrency = "x"', ".concurrency: expected an integer, found 'x'"),
        ('import = "json:loads", nme = "x"', ".nme: unknown key; "),
    ],
)
def test_steps(problems, table, expected):
    (problem,) = problems(in_pipeline(f"middlewares = [{{ import = 'json:dumps' }}, {{ {table} }}]"))
    assert problem.startswith(f"pipelines.orders.middlewares[1]{expected}")


def test_all_problems_of_a_file_come_at_once(problems):
    found = problems(
        """
        surprise = 1
        [pipelines.a]
        source = { type = "everything", pth = "x", count = "y" }
        middlewares = [{ import = "json:nothing_here" }]
        sinks = [{ type = "nul" }, { type = "null", x = 1, on_error = "never" }]
        linger = "z"
        [pipelines.b]
        source = { type = "everything", path = "${UNSET}", retry = { wait = "w" } }
        sinks = 5
        """
    )
    assert {problem.partition(": ")[0] for problem in found} == {
        "surprise",
        "pipelines.a.source.pth",
        "pipelines.a.source.path",
        "pipelines.a.source.count",
        "pipelines.a.middlewares[0].import",
        "pipelines.a.sinks[0].type",
        "pipelines.a.sinks[1].x",
        "pipelines.a.sinks[1].on_error",
        "pipelines.a.linger",
        "pipelines.b.source.path",
        "pipelines.b.source.retry.wait",
        "pipelines.b.sinks",
    }
    assert len(found) == 12


def test_a_variable_that_is_not_set_is_named_with_its_key_and_once(problems):
    text = in_source('count = "${N}", names = ["x", "${MISSING} and ${MISSING}"]')
    assert problems(text) == [
        "pipelines.orders.source.count: the environment variable N is not set",
        "pipelines.orders.source.names[1]: the environment variable MISSING is not set",
    ]


def test_a_brace_without_a_name_is_refused(problems):
    (problem,) = problems(in_source('names = ["${A:-b}"]'))
    assert problem == (
        "pipelines.orders.source.names[0]: expected ${NAME} after a $ with a brace, found '${A:-b}'"
    )


def test_a_value_of_a_variable_is_shown_in_no_message(problems, directory):
    secret = {"SECRET": "hunter22"}
    assert problems(in_source('mode = "${SECRET}"'), environment=secret)[0].startswith(
        "pipelines.orders.source.mode: expected 'fast' or 'safe', found '${SECRET}'"
    )
    assert problems(in_source('count = "${SECRET}"'), environment=secret) == [
        "pipelines.orders.source.count: expected an integer, found a text in '${SECRET}'"
    ]
    (directory / "leaking.py").write_text(
        "def make(text: str): return text\nraise ValueError('hunter22 is wrong')\n"
    )
    source = 'source = { import = "leaking:make", with = { text = "${SECRET}" } }'
    text = f"[pipelines.orders]\n{source}\n{SINK}"
    assert problems(text, environment=secret) == [
        "pipelines.orders.source.import: importing 'leaking' failed: ValueError: ${SECRET} is wrong"
    ]


def test_a_module_of_the_same_name_from_elsewhere_is_not_taken_for_the_one_beside_the_file(
    problems, directory
):
    (directory / "json.py").write_text("def loads(x): return x\n")
    (problem,) = problems(f'[pipelines.orders]\nsource = {{ import = "json:loads" }}\n{SINK}')
    assert problem.startswith("pipelines.orders.source.import: module 'json' is already imported from ")


def test_a_plugin_that_cannot_be_imported_is_a_problem_of_its_key(problems, directory):
    info = directory / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[agora.sources]\nbroken = plugin_of_config:Part\n")
    (directory / "plugin_of_config.py").write_text("1 / 0\n")
    sys.path.insert(0, str(directory))
    (problem,) = problems(f'[pipelines.orders]\nsource = {{ type = "broken" }}\n{SINK}')
    assert problem == (
        "pipelines.orders.source.type: source type 'broken' of distribution 'broken-plugin' "
        "(plugin_of_config:Part) can't be imported: ZeroDivisionError: division by zero"
    )
