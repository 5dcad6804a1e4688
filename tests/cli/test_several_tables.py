"""Commands work on all tables of a mirror, or on those that are named."""

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from time import time
from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import environment, start
from tests.support.scans import keys_in
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker, record_gap
from dynamirror.cli import main
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.functions import environment as functions_environment
from dynamirror.functions import operator
from dynamirror.inspection.stored import store_tally
from dynamirror.inspection.tally import Tally, ViewTally, Within
from dynamirror.operations.executions import may_rebuild
from dynamirror.views.view import Schema, ViewSpec

Command = Callable[..., tuple[int, list[str], list[str]]]
VIEW = '[[view]]\nname = "{0}"\ntable = "{0}"\nkey = "{0}:{{id}}"\n'
TABLE = '[[table]]\nname = "{0}"\nkeys = {{ id = "S" }}\n'


class Place:
    """Two tables of one item each, their mirror.toml, and an empty cache."""

    def __init__(
        self, server: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, folder: Path
    ) -> None:
        self.sources = [Source(server), Source(server)]
        self.tables = [source.name for source in self.sources]
        self.cache = cache
        for source in self.sources:
            source.put("1", name={"S": "Ada"})
        self.config = folder / "mirror.toml"
        self.write(*self.tables)
        self.variables = {"AWS_ENDPOINT_URL": server.endpoint_url, **valkey.settings().to_env()}
        self.variables["DYNAMIRROR_CONFIG"] = str(self.config)

    def write(self, *tables: str) -> None:
        """Write the mirror.toml of these tables."""
        texts = [text.format(table) for text in (TABLE, VIEW) for table in tables]
        self.config.write_text("\n".join(texts))

    def fill(self) -> None:
        """Put the entries of both items into the cache."""
        for table in self.tables:
            key = f"{table}:1"
            self.cache.call(key, b"SET", key.encode(), b'{"id":"1","name":"Ada"}')


@pytest.fixture
def place(
    dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path
) -> Place:
    """Return two tables and an empty cache."""
    return Place(dynamodb, valkey, cache, tmp_path)


@pytest.fixture(autouse=True)
def _variables(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of a command."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ELASTICACHE_", "DYNAMIRROR_", "DYNAMODB_")):
            monkeypatch.delenv(name)
    for name, value in place.variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command, and return its exit status and the lines of its output and its errors."""

    def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr("sys.argv", ["dynamirror", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        output, errors = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, output.splitlines(), errors.splitlines()

    return run


def test_a_command_without_table_shows_a_block_for_each_of_the_file(
    place: Place, command: Command
) -> None:
    status, output, errors = command("status")
    first, second = place.tables
    blocks = "\n".join(output).split("\n\n")
    assert (status, errors, len(blocks)) == (1, [], 2)
    assert blocks[0].startswith(f"table {first}: the mirror is incomplete: ")
    assert blocks[1].startswith(f"table {second}: the mirror is incomplete: ")
    status, output, _errors = command("quarantine")
    assert status == 0
    assert output == [
        f"0 items of table {first} in quarantine",
        "",
        f"0 items of table {second} in quarantine",
    ]


def test_json_has_a_line_for_each_table_and_the_exit_status_is_the_worst(
    place: Place, command: Command
) -> None:
    place.fill()
    status, output, _errors = command("verify", "--json", "--settle", "0")
    comparisons = list(map(json.loads, output))
    assert status == 0
    assert [one["table"] for one in comparisons] == place.tables
    assert [(one["items"], one["differences"]) for one in comparisons] == [(1, 0), (1, 0)]
    place.cache.call(key := f"{place.tables[0]}:1", b"DEL", key.encode())
    status, output, _errors = command("verify", "--json", "--settle", "0")
    assert status == 1
    assert [json.loads(line)["differences"] for line in output] == [1, 0]
    status, output, _errors = command("verify", "--settle", "0")
    assert [line.partition(",")[0] for line in output if "item" in line] == [
        f"table {table}: 1 item" for table in place.tables
    ]


@pytest.mark.parametrize(
    "command_line", ["run", "backfill", "verify --repair", "view check MIRROR --table {0}"]
)
def test_tables_whose_views_could_write_one_key_are_refused(
    place: Place, command: Command, command_line: str
) -> None:
    """A command binds the views of one table at a time, and would not see it."""
    place.write(*place.tables)
    text = place.config.read_text(encoding="utf-8")
    for table in place.tables:
        text = text.replace(f'key = "{table}:', 'key = "same:')
    place.config.write_text(text, encoding="utf-8")
    line = command_line.format(place.tables[0]).split()
    status, output, (error,) = command(
        *(str(place.config) if word == "MIRROR" else word for word in line)
    )
    assert (status, output) == (1, [])
    assert "could both write one key, because the keys of both begin with 'same:'" in error
    assert all(table in error for table in place.tables)
    assert not list(keys_in(place.cache, "*"))


def test_a_table_without_views_does_not_end_the_watch_of_the_others(
    place: Place, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dynamirror.cli.status.time.sleep", interrupt)
    first, second = place.tables
    place.write(second)
    status, output, _errors = command("status", "-t", first, "-t", second, "--watch", "--json")
    assert status == 130
    without, with_views = map(json.loads, output)
    assert f"no view is for table {first}" in without["error"]
    assert with_views["table"] == second


def test_a_table_that_cannot_be_read_does_not_keep_a_command_from_the_others(
    place: Place, command: Command
) -> None:
    place.fill()
    place.write("nobody", *place.tables)
    status, output, errors = command("verify", "--json", "--settle", "0")
    assert status == 1
    missing, *comparisons = map(json.loads, output)
    assert missing["table"] == "nobody"
    assert missing["error"].startswith("table nobody: it does not exist in this account")
    assert errors == [f"dynamirror: {missing['error']}"]
    assert [one["differences"] for one in comparisons] == [0, 0]


def test_tables_are_named_by_option_before_environment_before_file(
    place: Place, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = place.tables

    def shown(*options: str) -> list[str]:
        _status, output, _errors = command("quarantine", "--json", *options)
        return [json.loads(line)["table"] for line in output]

    assert shown() == [first, second]
    monkeypatch.setenv("DYNAMODB_TABLE", second)
    assert shown() == [second]
    monkeypatch.setenv("DYNAMODB_TABLES", f"{second}, {first}")
    assert shown() == [second, first]
    assert shown("-t", first) == [first]
    assert shown("--table", first, "--table", second) == [first, second]


def test_backfill_and_redrive_work_on_every_table(place: Place, command: Command) -> None:
    for source in place.sources:  # after an old gap, a backfill need not wait
        view = ViewSpec().bind(Schema(source.name, ("id",), ("S",)))
        record_gap(place.cache, [view], stream=source.arn, at=1, reason="a test")
    status, output, errors = command("backfill", "--json", "--new-views")
    assert (status, errors) == (0, [])
    assert [json.loads(line)["table"] for line in output] == place.tables
    assert all(read_marker(place.cache, table).is_complete for table in place.tables)
    status, output, _errors = command("redrive", "--json")
    assert (status, [json.loads(line)["table"] for line in output]) == (0, place.tables)


def test_an_item_is_discarded_from_the_quarantine_of_one_table(
    place: Place, command: Command
) -> None:
    names = ", ".join(place.tables)
    assert command("quarantine", "--discard", "all") == (
        2,
        [],
        [f"dynamirror: --discard: is for one table; name it with --table, one of {names}"],
    )


def test_the_page_of_run_needs_one_table(place: Place, command: Command) -> None:
    names = ", ".join(place.tables)
    assert command("run", "--page") == (
        2,
        [],
        [f"dynamirror: --page: shows one table; name it with --table, one of {names}"],
    )


def test_run_needs_a_table(place: Place, command: Command) -> None:
    place.config.write_text('[[view]]\nkey = "a:{id}"\n')
    sentence = (
        "dynamirror: no table is named; give --table NAME, or --config with a file that has a "
        "[[table]]"
    )
    assert command("run") == (1, [], [sentence])


def answer(url: str) -> tuple[int, str]:
    """Return the status and the text of an HTTP answer."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - our own http URL
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_run_serves_reports_and_probes_each_table_and_names_the_one_in_trouble(
    place: Place, tmp_path: Path
) -> None:
    place.write(*place.tables, "nobody")
    env = environment(tmp_path, **place.variables)
    arguments = ["--json", "--interval", "0.2", "--canary", "1", "--metrics", "0", "--health", "0"]
    process = start("run", *arguments, env=env)
    try:
        assert process.stdout
        assert process.stderr
        lines = [process.stderr.readline() for _ in range(4)]
        assert "ERROR dynamirror: table not followed table=nobody reason=" in lines[0]
        assert lines[1].startswith(f"mirroring tables {', '.join(place.tables)}, nobody into cache")
        metrics, health = (line.split()[-1] for line in lines[2:])
        is_seen = [f'dynamirror_canary_seen{{table="{table}"}} 1.0' for table in place.tables]
        wait_until(lambda: all(line in answer(metrics)[1] for line in is_seen))
        text = answer(metrics)[1]
        assert text.count("# TYPE dynamirror_mirror_complete ") == 1
        assert 'dynamirror_mirror_complete{table="nobody"} 0.0' in text
        for table in place.tables:
            assert re.search(rf'dynamirror_shard_behind_seconds{{.*table="{table}".*}}', text)
            assert f'dynamirror_records_total{{table="{table}"}}' in text
        assert answer(f"{health}/livez") == (200, "live\n")
        code, reason = answer(f"{health}/readyz")
        assert code == 503
        assert "table nobody: not followed: table nobody: it does not exist" in reason
        reports: set[str] = set()
        while not reports >= set(place.tables):
            reports.add(json.loads(process.stdout.readline())["table"])
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.communicate()


class Deployed:
    """A stack whose operator function runs here; its outputs are those given."""

    def __init__(self, outputs: dict[str, str]) -> None:
        self.outputs = outputs
        self.jobs: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []

    def describe_stacks(self, **_name: str) -> dict[str, Any]:
        """Return the stack."""
        outputs = [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs.items()]
        return {"Stacks": [{"Outputs": outputs}]}

    def invoke(self, *, Payload: bytes, **_name: str) -> dict[str, Any]:  # noqa: N803 - AWS's name
        """Invoke the operator function."""
        event = json.loads(Payload)
        self.requests.append(event["request"])
        if "Tables" not in self.outputs:  # an operator of the version before knows no other table
            event["request"].pop("table", None)
        return {"Payload": BytesIO(json.dumps(operator.handler(event)).encode())}

    def start_execution(
        self,
        *,
        input: str,  # noqa: A002 - AWS's name
        name: str,
        **_options: str,
    ) -> dict[str, str]:
        """Start the state machine, which does nothing."""
        self.jobs.append(json.loads(input) | {"name": name})
        return {"executionArn": "arn"}

    def describe_execution(self, **_options: str) -> dict[str, str]:
        """Return that it has succeeded."""
        return {"status": "SUCCEEDED", "output": "{}"}


@pytest.fixture
def deployed(
    place: Place, dynamodb: EmbeddedDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployed]:
    """Return the stack of both tables; no command is given anything of them but its name."""
    # The function's environment, of which a command with --via reads nothing.
    stack = Deployed({"Tables": json.dumps(place.tables), "StateMachineArn": "arn"})
    for name, value in {
        "DYNAMODB_TABLE": place.tables[0],
        "DYNAMODB_TABLES": ",".join(place.tables),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Aws, "client", lambda _aws, _service, **_options: stack)
    monkeypatch.setattr(functions_environment, "Aws", lambda: dynamodb.aws)
    functions_environment.operations.cache_clear()
    yield stack
    functions_environment.operations().cache.close()
    for table in place.tables:
        functions_environment.operations(table).cache.close()
    functions_environment.operations.cache_clear()


@pytest.mark.usefixtures("deployed")
def test_via_a_stack_all_its_tables_answer_or_the_named_one(place: Place, command: Command) -> None:
    def tables(*options: str) -> list[str]:
        _status, output, errors = command("status", "--json", "--via", "Dynamirror-shop", *options)
        assert errors == []
        return [json.loads(line)["table"] for line in output]

    assert tables() == place.tables
    assert tables("--table", place.tables[1]) == [place.tables[1]]
    sentence = (
        "dynamirror: --table: Dynamirror-shop has no table nobody; its tables are "
        f"{', '.join(place.tables)}"
    )
    assert command("status", "--via", "Dynamirror-shop", "-t", "nobody") == (1, [], [sentence])


@pytest.mark.usefixtures("deployed")
def test_via_a_stack_the_counts_of_inspectors_are_shown(place: Place, command: Command) -> None:
    table = place.tables[0]
    counts = ViewTally(within={"1": Within(48_000, 48_000)})
    tally = Tally(at=time(), tables={table: {"default": counts}})
    store_tally(place.cache, table, "an inspector", tally)
    options = ("--via", "Dynamirror-shop", "--table", table)
    nines = "at least 4.2 nines (95%), 48,000 checks"
    _status, output, _errors = command("status", *options)
    assert f"  inspection  {nines}" in output
    _status, (line,), _errors = command("status", "--json", *options)
    assert json.loads(line)["inspection"]["within"]["1"]["proven"] == nines


def test_via_a_stack_the_state_machine_gets_the_table(
    place: Place, command: Command, deployed: Deployed
) -> None:
    _status, output, _errors = command("backfill", "--json", "--via", "Dynamirror-shop")
    assert [json.loads(line)["table"] for line in output] == place.tables
    assert [job["table"] for job in deployed.jobs] == place.tables
    for job in deployed.jobs:
        tables = [table for table in place.tables if may_rebuild(job["name"], table)]
        assert tables == [job["table"]], "the watchdog of the other table does not wait for it"


@pytest.mark.parametrize("is_stack", [True, False])
def test_an_operator_of_the_version_before_answers_for_its_table_and_for_no_other(
    place: Place, command: Command, deployed: Deployed, *, is_stack: bool
) -> None:
    first, second = place.tables
    deployed.outputs = {"TableName": first} if is_stack else {}
    status, output, _errors = command("status", "--json", "--via", "old")
    assert (status, json.loads(output[0])["table"]) == (1, first)
    _status, output, _errors = command("redrive", "--json", "--via", "old", "--table", first)
    assert json.loads(output[0])["table"] == first
    deployed.requests.clear()
    status, output, errors = command("redrive", "--via", "old", "--table", second)
    assert (status, output) == (1, [])
    assert errors == [f"dynamirror: --table: old has no table {second}; its table is {first}"]
    assert all(request["type"] == "status" for request in deployed.requests)
