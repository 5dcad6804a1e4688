"""The commands: what people see, what machines read, and exit statuses."""

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import environment, invoke, start

from dynamirror.cache.quarantine import ParkedItem, park
from dynamirror.emulators.process import free_port
from dynamirror.emulators.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from subprocess import CompletedProcess


class Commands:
    """Our command line, told where table and cache are."""

    def __init__(self, mirrored: Any, valkey: EmbeddedValkey, folder: Path) -> None:
        self.env = environment(folder)
        self.cache = ("--cache", f"127.0.0.1:{valkey.port}", "--no-tls")
        self.quarantine_args = ("quarantine", "--table", mirrored.table, *self.cache)
        url = mirrored.source.server.endpoint_url
        where = ("--table", mirrored.table, *self.cache, "--endpoint-url", url)
        self.redrive_args = ("redrive", *where)

    def quarantine(self, *arguments: str, status: int = 0) -> str:
        """Run `dynamirror quarantine`; gives its output."""
        return self._output(invoke(*self.quarantine_args, *arguments, env=self.env), status)

    def redrive(self, *arguments: str, status: int = 0) -> str:
        """Run `dynamirror redrive`; gives its output."""
        return self._output(invoke(*self.redrive_args, *arguments, env=self.env), status)

    def _output(self, done: "CompletedProcess[str]", status: int) -> str:
        assert done.returncode == status, done.stderr
        # Progress is told of what takes long.
        assert all(" of about " in line for line in done.stderr.splitlines())
        return done.stdout


@pytest.fixture
def commands(mirrored: Any, valkey: EmbeddedValkey, tmp_path: Path) -> Commands:
    """Our command line."""
    return Commands(mirrored, valkey, tmp_path)


def test_an_empty_quarantine(commands: Commands, mirrored: Any) -> None:
    said = f"0 items of table {mirrored.table} in quarantine\n"
    assert commands.quarantine() == said
    assert json.loads(commands.quarantine("--json")) == {
        "table": mirrored.table,
        "items": [],
        "overflow": 0,
    }
    assert commands.redrive().startswith(f"0 items of table {mirrored.table} healed, 0 left")


def test_what_is_in_quarantine_is_listed(commands: Commands, mirrored: Any) -> None:
    keyless = mirrored.poison("2")
    del keyless["dynamodb"]["Keys"]
    mirrored.deliver(mirrored.poison("[red]1\x9b"), keyless)
    text = commands.quarantine(status=1)
    assert text.splitlines()[0] == f"2 items of table {mirrored.table} in quarantine"
    assert '{"id":{"S":"[red]1\\x9b"}}' in text
    assert "unknown DynamoDB type tag 'X'" in text
    number = keyless["dynamodb"]["SequenceNumber"]
    assert f"record {number}" in text

    found = json.loads(commands.quarantine("--json", status=1))
    by_item = {one["item"]: one for one in found["items"]}
    assert set(by_item) == {'{"id":{"S":"[red]1\x9b"}}', f"record {number}"}
    assert [one["key"] for one in by_item.values() if one["key"]] == [{"id": {"S": "[red]1\x9b"}}]
    assert by_item[f"record {number}"]["sequence_number"] == number
    assert {one["count"] for one in found["items"]} == {1}
    assert all(one["first"] == one["last"] and one["reason"] for one in found["items"])


def test_the_overflow_is_told(commands: Commands, mirrored: Any) -> None:
    parked = [ParkedItem(mirrored.table, {"id": {"S": str(n)}}, "1", "x") for n in range(3)]
    park(mirrored.cache, parked, at="now", limit=1)
    assert "2 times an item was not listed" in commands.quarantine(status=1)
    assert json.loads(commands.quarantine("--json", status=1))["overflow"] == 2
    assert "2 times an item was not listed" in commands.redrive(status=1)


def test_redrive_heals_and_tells_what_is_left(commands: Commands, mirrored: Any) -> None:
    keyless = mirrored.poison("2")
    del keyless["dynamodb"]["Keys"]
    mirrored.deliver(mirrored.poison("1"), keyless)
    left = json.loads(commands.redrive("--json", status=1))
    assert (left["healed"], left["overflow"]) == (1, 0)
    assert [one["outcome"] for one in left["left"]] == ["no_key"]
    text = commands.redrive(status=1)
    assert "0 items" in text
    assert "the record does not name its item" in text
    assert mirrored.compare().entries == 1


def test_redrive_waits_until_no_item_is_too_fresh(commands: Commands, mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1", age=0))
    assert "1 item of" in commands.redrive()
    assert mirrored.compare().differences == 0


def test_redrive_need_not_wait(commands: Commands, mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1", age=-3_000))
    text = commands.redrive("--no-wait", status=1)
    assert "too fresh, try again in " in text
    assert len(mirrored.read_quarantine()) == 1


def test_a_wait_can_be_stopped(commands: Commands, mirrored: Any) -> None:
    mirrored.deliver(mirrored.poison("1", age=-3_000))
    before = _readers(mirrored)
    process = start(*commands.redrive_args, env=commands.env)
    try:
        wait_until(lambda: bool(_readers(mirrored) - before))
        process.send_signal(signal.SIGTERM)
        _output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    assert len(mirrored.read_quarantine()) == 1


def _readers(mirrored: Any) -> set[bytes]:
    """Return the ids of the clients whose last command read a hash, such as the quarantine."""
    (clients,) = mirrored.cache.broadcast(b"CLIENT", b"LIST", b"TYPE", b"normal")
    return {line.split()[0] for line in clients.splitlines() if b"cmd=hgetall" in line}


def test_an_item_can_be_discarded(commands: Commands, mirrored: Any) -> None:
    mirrored.deliver(*(mirrored.poison(str(number)) for number in range(3)))
    assert commands.quarantine("--discard", '{"id":{"S":"1"}}') == "1 item discarded\n"
    assert [item.name for item in mirrored.read_quarantine()] == [
        '{"id":{"S":"0"}}',
        '{"id":{"S":"2"}}',
    ]
    park(mirrored.cache, [ParkedItem(mirrored.table, None, "9", "x")], at="now", limit=1)
    assert commands.quarantine("--discard", "all") == "2 items discarded\n"
    assert commands.quarantine("--json").endswith('"overflow":0}\n')


def refused(*arguments: str, commands: Commands) -> str:
    """Run a command that must fail with one sentence."""
    done = invoke(*arguments, env=commands.env)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("dynamirror: ")
    return line.removeprefix("dynamirror: ")


def test_bad_input_is_one_sentence(commands: Commands, mirrored: Any) -> None:
    url = mirrored.source.server.endpoint_url
    nobody = ("--table", "nobody", *commands.cache, "--endpoint-url", url)
    assert "it does not exist" in refused("redrive", *nobody, commands=commands)
    unknown = refused(*commands.quarantine_args, "--discard", "x", commands=commands)
    assert unknown == f"--discard: x is not in the quarantine of table {mirrored.table}"
    closed = ("--cache", f"127.0.0.1:{free_port()}", "--no-tls")
    lost = refused("quarantine", "--table", "x", *closed, commands=commands)
    assert "no connection" in lost


@pytest.mark.parametrize("command", ["quarantine", "redrive"])
def test_a_table_must_be_named(commands: Commands, command: str) -> None:
    done = invoke(command, env=commands.env)
    assert done.returncode == 1
    assert "--table" in done.stderr
