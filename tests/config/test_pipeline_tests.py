"""The form of `[[pipelines.NAME.tests]]` is checked with the file, and needs nothing that a run doesn't need."""

import pytest

from agora.config import load
from agora.errors import ConfigError

PIPELINE = """
[pipelines.p]
source = {{ type = "everything", path = "in" }}
sinks = [{sinks}]
[[pipelines.p.tests]]
{test}
"""
ONE = '{ type = "null" }'


@pytest.fixture
def test_problems(problems):
    def test_problems(test, sinks=ONE):
        found = problems(PIPELINE.format(sinks=sinks, test=test))
        return [problem.removeprefix("pipelines.p.tests[0]") for problem in found]

    return test_problems


def test_a_test_is_read(loaded, directory):
    config = loaded(
        PIPELINE.format(
            sinks=ONE,
            test="""
            name = "a"
            file = "in.csv"
            output = [{ n = 1 }]
            dead_letters = [{ stage = "source", error = "ValueError", original = { n = "x" } }]
            dropped = 3
            skipped = [5]
            """,
        )
    )
    (test,) = config.pipelines["p"].tests
    assert test.file == directory / "in.csv"
    assert test.output == [{"n": 1}]
    assert test.dead_letters[0].original == {"n": "x"}
    assert (test.dropped, test.skipped) == (3, [5])


def test_a_pipeline_without_tests_has_none(loaded):
    text = '[pipelines.p]\nsource = { type = "everything", path = "in" }\nsinks = [{ type = "null" }]'
    assert loaded(text).pipelines["p"].tests == []


@pytest.mark.parametrize(
    ("test", "found"),
    [
        ("input = []\noutput = []", [".name: missing; expected a string (says what is tested; each once in a"
          " pipeline)"]),
        ('name = "a"\noutput = []', [": expected one of input, text and file, found none"]),
        ('name = "a"\ninput = []\ntext = ""\noutput = []', [": expected one of input, text and file, found input"
          " and text"]),
        ('name = "a"\ninput = []', [": expects nothing; give one of output, output_file, dead_letters, dropped,"
          " skipped, fails"]),
        ('name = "a"\ninput = 5\noutput = []', [".input: expected a list, found 5"]),
        ('name = "a"\ninput = []\noutput = 5', [".output: expected a list or a string or a table, found 5"]),
        ('name = "a"\ninput = []\ndropped = true', [".dropped: expected a list or an integer, found true"]),
        ('name = "a"\ninput = []\ndropped = 1\nfails = {}',
          [".dropped: a run that fails has no counts: give the records"]),
        ('name = "a"\ninput = []\noutput = []\ntolerance = -1', [": 'tolerance' must be >= 0: -1"]),
        ('name = "a"\ninput = []\noutput = []\nextra_fields = "no"', [".extra_fields: expected 'error' or 'ok',"]),
        ('name = "a"\ninput = []\ndead_letters = [{ type = "x" }]', [".dead_letters[0].type: unknown key; known:"]),
        ('name = "a"\ninput = []\nfails = { because = "x" }', [".fails.because: unknown key; known: error, message"]),
        ('name = "a"\ninput = []\nmocks = { x = 5 }\noutput = []', [".mocks.x: expected a table, found 5"]),
        ('name = "a"\ninput = []\noutputs = []', [".outputs: unknown key; did you mean 'output'?"]),
        ('name = "a"\ninput = []\noutput = {}', [".output: expects nothing; give one of the sinks by its name"]),
        ('name = "a"\ninput = []\ndropped = 1\noutput_file = {}',
          [".output_file: expects nothing; give one of the sinks by its name"]),
        ('name = " "\ninput = []\noutput = []', [".name: expected a name, found ' '"]),
        ('name = "a"\ninput = []\ndropped = -1\nskipped = -2\ndead_letters = -3',
          [f".{key}: expected a number of at least 0, found {count}" for key, count in
           (("dead_letters", -3), ("dropped", -1), ("skipped", -2))]),
        ('name = "a"\nfile = ""\noutput_file = ""',
          [".file: expected a path, found ''", ".output_file: expected a path, found ''"]),
        ('name = "a"\ninput = []\noutput_file = { null = "" }', [".output_file.null: expected a path, found ''"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_test_is_told(test_problems, test, found):
    told = test_problems(test)
    assert len(told) == len(found), told
    assert all(text.startswith(start) for text, start in zip(told, found, strict=True)), told


def test_two_sinks_need_names(test_problems):
    told = test_problems('name = "a"\ninput = []\noutput = []\noutput_file = "x"', sinks=f"{ONE}, {ONE}")
    assert told == [
        ".output: the pipeline has 2 sinks: give a table by their names",
        ".output_file: the pipeline has 2 sinks: give a table by their names",
    ]


def test_two_tests_have_two_names(problems):
    again = '[[pipelines.p.tests]]\nname = "a"\ninput = []\noutput = []'
    text = PIPELINE.format(sinks=ONE, test='name = "a"\ninput = []\noutput = []') + again
    assert problems(text) == [
        f"pipelines.p.tests[{index}].name: 2 tests have the name 'a': give each its own" for index in (0, 1)
    ]


def test_texts_of_tests_are_data_and_no_variables(loaded):
    test = 'name = "a"\ninput = [{ price = "$$5 ${UNSET}" }]\noutput = []\nenvironment = { A = "${B}" }'
    (read,) = loaded(PIPELINE.format(sinks=ONE, test=test)).pipelines["p"].tests
    assert read.input == [{"price": "$$5 ${UNSET}"}]
    assert read.environment == {"A": "${B}"}


def test_a_run_imports_no_mock_and_reads_no_file_of_a_test(loaded):
    test = 'name = "a"\nfile = "nowhere"\noutput = []\nmocks = { x = { import = "nowhere:nothing" } }'
    assert loaded(PIPELINE.format(sinks=ONE, test=test)).pipelines["p"].tests


def test_only_one_pipeline_may_be_looked_at(write):
    other = '\n[pipelines.q]\nsource = { type = "nothing" }'
    path = write(PIPELINE.format(sinks=ONE, test='name = "a"\ninput = []\noutput = []') + other)
    assert list(load(path, only="p").pipelines) == ["p"]


def test_single_brackets_are_no_test(problems):
    text = PIPELINE.format(sinks=ONE, test='name = "a"\ninput = []\noutput = []')
    assert problems(text.replace("[[pipelines.p.tests]]", "[pipelines.p.tests]")) == [
        "pipelines.p.tests: expected a list, found a table; write double brackets: [[pipelines.NAME.tests]]"
    ]


def test_tests_of_no_pipeline_are_told_with_the_nearest(problems, write):
    stray = '[[pipelines.orders.tests]]\nname = "a"\ninput = []\noutput = []\n'
    whole = '[pipelines.{}]\nsource = {{ type = "everything", path = "in" }}\nsinks = [{{ type = "null" }}]\n'
    no_such = "pipelines.orders: there is no pipeline of this name, only tests of it; "
    both = whole.format("order") + whole.format("x")
    assert problems(both + stray) == [no_such + "did you mean 'order'? known: order, x"]
    assert problems(stray) == [no_such + "the file defines none"]
    told = problems(both + "sink = 1\n" + stray)
    assert [problem.partition(";")[0] for problem in told] == [
        no_such.partition(";")[0],
        "pipelines.x.sink: unknown key",
    ]
    path = write(both + stray)
    assert list(load(path, only="x").pipelines) == ["x"]
    with pytest.raises(ConfigError, match="did you mean 'order'"):
        load(path, only="orders")


@pytest.mark.parametrize("key", ["test", "tests"])
def test_tests_stand_below_their_pipeline(problems, key):
    text = PIPELINE.format(sinks=ONE, test='name = "a"\ninput = []\noutput = []')
    assert problems(f'{text}\n[[{key}]]\nname = "b"') == [
        f"{key}: unknown key; did you mean [[pipelines.NAME.tests]]?"
    ]
