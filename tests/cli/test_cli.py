"""The command line does the main job from end to end, and leaves nothing behind."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import airportsdata
import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import COMMAND, alive, environment, invoke, linux_only, run, start
from tests.support.streams import Source

from dynamirror import __version__
from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import describe_schema
from dynamirror.dynamodb.scan import scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.verify import compare
from dynamirror.views.view import View, ViewSpec

ROOT = Path(__file__).parents[2]

ORIGINAL = Path(__file__).parents[2] / "examples/original/mirror.toml"
# More than one request writes, and more than one batch of the stream.
AIRPORTS = 1_500
SHORT = (
    *("demo", "--no-page", "--json", "--seconds", "1"),
    *("--rate", "200", "--ids", "20", "--seed", "7"),
)


def last_line(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert process.returncode == 0, process.stderr
    summary = json.loads(process.stdout.splitlines()[-1])
    assert isinstance(summary, dict)
    return summary


def test_the_demo_proves_a_true_mirror(tmp_path: Path) -> None:
    done = run(
        *["demo", "--seconds", "2", "--rate", "200", "--ids", "20", "--seed", "7", "--json"],
        env=environment(tmp_path),
    )
    assert len(done.stdout.splitlines()) == 1
    summary = last_line(done)
    assert summary["written"] > 0
    assert summary["applied"] > 0
    assert (summary["differences"], summary["quarantined"], summary["stale"]) == (0, 0, 0)
    assert 0 < summary["items"] == summary["entries"] <= 20
    assert 0 < summary["lag_ms"]["p50"] <= summary["lag_ms"]["p99"]
    assert summary["seconds"] >= 2
    assert summary["seed"] == 7
    inspection = summary["inspection"]
    assert inspection["share"] == 1
    assert inspection["checks"] > 0
    assert list(inspection["within"]) == ["1", "10", "60"]
    assert sum(inspection["violations"].values()) == 0
    assert list(inspection["tables"]) == ["users"]
    assert not list(tmp_path.iterdir())


def test_two_demos_run_at_once(tmp_path: Path) -> None:
    """One is filled from a file, and one has the layout of the original."""
    airports = dict(islice(airportsdata.load("ICAO").items(), AIRPORTS))
    (file := tmp_path / "airports.json").write_text(json.dumps(airports))
    (folder := tmp_path / "tmp").mkdir()
    options = (("--load", str(file)), ("--view", str(ORIGINAL)))
    demos = [start(*SHORT, *words, env=environment(folder)) for words in options]
    try:
        outputs = [demo.communicate(timeout=60) for demo in demos]
    finally:
        for demo in demos:
            demo.kill()
            demo.wait()
    assert [demo.returncode for demo in demos] == [0, 0], outputs
    filled, original = (json.loads(output) for output, _errors in outputs)
    assert filled["loaded"] == AIRPORTS
    assert filled["items"] == filled["entries"] >= AIRPORTS
    assert 0 < original["items"] == original["entries"] <= 20
    assert (filled["differences"], original["differences"]) == (0, 0)


@contextmanager
def running(*arguments: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a command in its own session, and kill it at the end if it still runs."""
    process = start(*arguments, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@linux_only
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("phase", ["starting", "writing"])
def test_a_demo_that_is_stopped_leaves_nothing_behind(
    tmp_path: Path, phase: str, number: signal.Signals, status: int
) -> None:
    with running("demo", "--seconds", "600", env=environment(tmp_path)) as demo:
        if phase == "starting":
            wait_until(lambda: len(alive(tmp_path)) > 1)
        else:
            assert demo.stdout
            wait_until(lambda: str(demo.stdout and demo.stdout.readline()).startswith("writing:"))
        demo.send_signal(number)
        output, errors = demo.communicate(timeout=60)
    assert demo.returncode == status
    assert output.splitlines()[-1] == "stopped; nothing left behind"
    assert errors == ""
    wait_until(lambda: not alive(tmp_path))
    wait_until(lambda: not list(tmp_path.iterdir()))


@linux_only
def test_a_demo_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    with running("demo", "--seconds", "600", env=environment(tmp_path)) as demo:
        wait_until(lambda: len(alive(tmp_path)) >= 5)
        demo.kill()
    wait_until(lambda: not alive(tmp_path))
    wait_until(lambda: not list(tmp_path.iterdir()))


class Mirrored:
    """A table, the cache, and the options that name both."""

    def __init__(self, server: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache) -> None:
        self.source = Source(server)
        self.cache = cache
        schema, _ = describe_schema(self.source.client, self.source.name)
        self.view: View = ViewSpec().bind(schema)
        self.options = (
            *("--table", self.source.name, "--endpoint-url", server.endpoint_url),
            *("--cache", f"127.0.0.1:{valkey.port}", "--no-tls"),
        )

    def compare(self) -> Comparison:
        items = scan_table(self.source.client, self.source.name)
        return compare(items, self.cache, [self.view])

    def key(self, item_id: str) -> str:
        return f"{self.source.name}:{item_id}"


@pytest.fixture
def mirrored(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache) -> Mirrored:
    """Return an empty table and an empty cache."""
    return Mirrored(dynamodb, valkey, cache)


def test_run_mirrors_and_goes_on_after_it_was_killed(mirrored: Mirrored, tmp_path: Path) -> None:
    env = environment(tmp_path)
    source = mirrored.source
    source.puts(range(10))
    with running("run", *mirrored.options, env=env) as process:
        wait_until(lambda: mirrored.compare().entries == 10)
        process.kill()
    source.puts(range(10, 20))
    source.client.delete_item(TableName=source.name, Key={"id": {"S": "3"}})
    assert mirrored.compare().differences == 11
    with running("run", *mirrored.options, env=env) as process:
        wait_until(lambda: mirrored.compare().differences == 0)
        source.put("3", name={"S": "is back"})
        wait_until(lambda: mirrored.compare().differences == 0)
        process.terminate()
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output.startswith(f"mirroring table {source.name} into cache 127.0.0.1:")
    assert all("mirror incomplete" in line for line in errors.splitlines())

    done = invoke("verify", *mirrored.options, env=env)
    assert done.returncode == 0
    assert done.stdout == "20 items, 20 entries: 0 missing, 0 different, 0 orphaned\n"
    mirrored.cache.call(mirrored.key("4"), b"SET", mirrored.key("4").encode(), b"damaged")
    mirrored.cache.call(mirrored.key("5"), b"DEL", mirrored.key("5").encode())
    mirrored.cache.call(mirrored.key("x"), b"SET", mirrored.key("x").encode(), b"orphaned")
    done = invoke("verify", *mirrored.options, "--settle", "0", env=env)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "20 items, 20 entries: 1 missing, 1 different, 1 orphaned"
    assert f"  different: {mirrored.key('4')}" in done.stdout.splitlines()
    assert f"  orphaned: {mirrored.key('x')}" in done.stdout.splitlines()
    done = invoke("verify", *mirrored.options, "--settle", "0", "--json", env=env)
    assert done.returncode == 1
    fields = json.loads(done.stdout)
    assert (fields["differences"], fields["missing"], fields["left_over"]) == (3, 1, 1)
    assert fields["sample"]["missing"] == [mirrored.key("5")]


def test_run_reads_its_settings_from_the_environment_too(
    mirrored: Mirrored, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    (tmp_path / "mirror.toml").write_text('[[view]]\nkey = "names:{id}"\nencoding = "hash"\n')
    variables = valkey.settings(config=str(tmp_path / "mirror.toml")).to_env()
    env = environment(tmp_path, AWS_ENDPOINT_URL=mirrored.source.server.endpoint_url, **variables)
    mirrored.source.put("1", name={"S": "Ada"})
    with running("run", "--table", mirrored.source.name, env=env) as process:
        wait_until(lambda: mirrored.cache.call("names:1", b"HGET", b"names:1", b"name") == b"Ada")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert invoke("verify", "--table", mirrored.source.name, env=env).returncode == 0


def test_run_logs_why_it_tries_again(mirrored: Mirrored, tmp_path: Path) -> None:
    mirrored.cache.broadcast(b"ACL", b"SETUSER", b"default", b"-hset")
    try:
        with running("run", *mirrored.options, env=environment(tmp_path)) as process:
            assert process.stderr
            line = next(line for line in process.stderr if "trying again" in line)
    finally:
        mirrored.cache.broadcast(b"ACL", b"SETUSER", b"default", b"+@all")
    assert "no permissions to run the 'hset' command" in line


def test_simulate_with_one_seed_writes_one_result(
    dynamodb: EmbeddedDynamoDB, tmp_path: Path
) -> None:
    env = environment(tmp_path)
    tables = []
    for _ in range(2):
        source = Source(dynamodb)
        where = ("--table", source.name, "--endpoint-url", dynamodb.endpoint_url)
        options = ["--count", "40", "--rate", "1000", "--seed", "7", "--ids", "30", "--json"]
        done = invoke("simulate", *where, *options, env=env)
        assert last_line(done) == {"written": 40, "seed": 7}
        items = source.client.scan(TableName=source.name)["Items"]
        tables.append({item["id"]["S"]: item["name"]["S"] for item in items})
    assert tables[0] == tables[1]
    assert 0 < len(tables[0]) <= 30


def test_simulate_reports_its_writes_when_it_is_stopped(
    dynamodb: EmbeddedDynamoDB, tmp_path: Path
) -> None:
    source = Source(dynamodb)
    where = ("--table", source.name, "--endpoint-url", dynamodb.endpoint_url)
    with running(
        "simulate", *where, "--rate", "100", "--json", env=environment(tmp_path)
    ) as process:
        # The last write may not be counted yet.
        wait_until(lambda: source.client.scan(TableName=source.name)["Count"] > 4)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(output)["written"] > 3
    assert errors == ""


def test_simulate_needs_a_table_it_can_write(dynamodb: EmbeddedDynamoDB, tmp_path: Path) -> None:
    create_table(dynamodb.aws.dynamodb(), "with-sort-key", {"pk": "S", "sk": "S"})
    where = ("--table", "with-sort-key", "--endpoint-url", dynamodb.endpoint_url)
    done = invoke("simulate", *where, env=environment(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "dynamirror: table with-sort-key: its key is pk and sk; the simulator needs a table with "
        "the key id (S)\n"
    )


def test_the_version_is_shown(tmp_path: Path) -> None:
    done = run("--version", env=environment(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    done = invoke(env=environment(tmp_path))
    assert done.returncode == 2
    assert all(word in done.stdout for word in ("demo", "run", "simulate", "verify"))


@linux_only
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "cost"],
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    sentence = "dynamirror: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, sentence)


def test_letters_that_the_terminal_lacks_are_no_traceback(tmp_path: Path) -> None:
    env = environment(tmp_path, PYTHONIOENCODING="latin-1")
    done = run("view", "check", str(ROOT / "examples/single-table/mirror.toml"), env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "for instance user:USER#17  \\u2192  {" in done.stdout


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "--help"],
        env=environment(tmp_path),
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert b"Traceback" not in done.stderr
