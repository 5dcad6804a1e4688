"""A mirror is operated from the command line: status, backfill, verify."""

import json
import signal
from pathlib import Path

import pytest
from tests.support.deadlines import wait_until
from tests.support.places import TableAndCache
from tests.support.processes import invoke, start

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import read_marker, record_gap
from dynamirror.dynamodb.client import describe_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.operations.service import Operations
from dynamirror.recovery.limits import TableSize
from dynamirror.views.view import ViewSpec


class Place(TableAndCache):
    """A table, a cache, and a command line whose environment names both."""

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """Run a command, and return its output."""
        done = invoke(*arguments, env=self.env)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def key(self, item_id: str) -> str:
        """Return the key of an entry."""
        return f"{self.source.name}:{item_id}"

    def be_ready(self) -> None:
        """Record a gap so old that a backfill need not wait."""
        table = describe_table(self.source.client, self.source.name)
        views = [ViewSpec().bind(table.schema)]
        record_gap(self.cache, views, stream=table.stream_arn, at=1, reason="a test")


@pytest.fixture
def place(
    dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path
) -> Place:
    """Return an empty table and an empty cache."""
    return Place(dynamodb, valkey, cache, tmp_path)


def test_a_mirror_is_incomplete_until_it_is_filled(place: Place) -> None:
    place.source.puts(range(30))
    output = place("status", status=1)
    assert "the mirror is incomplete: the mirror has never been filled" in output
    place.be_ready()
    output = place("backfill", "--segments", "3")
    assert "30 items read, 30 entries applied" in output
    assert output.endswith("the mirror is complete\n")
    output = place("status", status=1)
    assert "the mirror is complete, since 20" in output
    assert "but not live: no replicator has been seen" in output
    status = json.loads(place("status", "--json", status=1))
    assert (status["complete"], status["live"]) == (True, False)
    assert status["progress"]["items"] == 30
    assert status["rebuild"]["segments"] == 3
    assert place("verify") == "30 items, 30 entries: 0 missing, 0 different, 0 orphaned\n"


def test_a_backfill_deletes_orphaned_entries_and_counts_them(place: Place) -> None:
    place.source.puts(range(3))
    place.be_ready()
    for key in (place.key("gone"), "another:1"):
        place.cache.call(key, b"SET", key.encode(), b"x")
    summary = json.loads(place("backfill", "--eventual", "--rate", "1000", "--json"))
    assert (summary["complete"], summary["items"], summary["left_over"]) == (True, 3, 1)
    assert place.cache.call("another:1", b"GET", b"another:1") == b"x"


def test_verify_repairs_what_it_finds(place: Place) -> None:
    place.source.puts(range(10))
    place.be_ready()
    place("backfill")
    for key in (place.key("4"), place.key("gone")):
        place.cache.call(key, b"SET", key.encode(), b"damaged")
    result = json.loads(place("verify", "--settle", "0", "--json", status=1))
    assert (result["differences"], result["repaired"]) == (2, 0)
    assert result["sample"] == {"different": [place.key("4")], "left_over": [place.key("gone")]}
    # A repair needs a snapshot row that is newer than those before.
    wait_until(lambda: invoke("verify", "--repair", "--settle", "1", env=place.env).returncode == 0)
    assert json.loads(place("verify", "--json"))["differences"] == 0
    assert place("verify", "--segment", "1/2").count(" 0 missing") == 1
    assert place("verify", "--sample", "50").count(" 0 missing") == 1


def test_a_rate_that_makes_a_job_long_is_reported_before_it_begins(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = TableSize(items=1_000, size=4096 * 100_000)
    monkeypatch.setattr(Operations, "size", lambda _self: size)
    place.source.puts(range(3))
    place.be_ready()
    for command, sentence in (
        ("backfill", "note: rate: at 20 read units a second, the rebuild of 100,000 units takes"),
        ("verify", "note: rate: at 20 read units a second, the verification of 150,000 units"),
    ):
        slow = invoke(command, "--rate", "20", env=place.env)
        assert (slow.returncode, sentence in slow.stderr) == (0, True), slow.stderr
        assert "note: " not in invoke(command, "--rate", "1000", env=place.env).stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_backfill_that_is_interrupted_goes_on_later(
    place: Place, number: signal.Signals, status: int
) -> None:
    place.source.puts(range(3))
    process = start("backfill", env=place.env)
    wait_until(lambda: read_marker(place.cache, place.source.name).gap is not None)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (status, "")
    assert "Traceback" not in errors
    assert "3 items read" in place("backfill")
