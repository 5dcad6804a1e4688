"""What `run` prints, logs and serves."""

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import environment, invoke, linux_only, listening, start
from tests.support.streams import Source

from dynamirror.cache import quarantine
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import SKIPPED, read_marker, record_gap
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.settings import load_views
from dynamirror.views.view import Schema, bind_views


class Place:
    """A table, an empty cache, and a command line whose environment names both."""

    def __init__(
        self, server: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, folder: Path
    ) -> None:
        self.source = Source(server)
        self.cache = cache
        self.folder = folder
        self.env = environment(
            folder,
            AWS_ENDPOINT_URL=server.endpoint_url,
            DYNAMODB_TABLE=self.source.name,
            **valkey.settings().to_env(),
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Popen[str]]:
        """Run it until the end."""
        process = start("run", "--interval", "0.1", *arguments, env=self.env)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def place(
    dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path
) -> Place:
    """Return an empty table and an empty cache."""
    return Place(dynamodb, valkey, cache, tmp_path)


def test_quarantined_items_count_in_the_report(place: Place) -> None:
    config = place.folder / "mirror.toml"
    config.write_text('[[view]]\nkey = "c:{city}:{id}"\n')
    for number in ("1", "2"):
        place.source.put(number, city={"SS": ["a", "b"]})
    place.source.put("3", city={"S": "x"})
    with place.running("--json", "--config", str(config), "--no-auto-rebuild") as process:
        wait_until(lambda: quarantine.count(place.cache, place.source.name) == 2)
        assert process.stdout
        totals = next(line for line in map(json.loads, process.stdout) if line.get("records") == 3)
    assert totals["quarantined"] == 2
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", totals["at"])


def test_what_a_rebuild_put_into_quarantine_counts_in_the_report(place: Place) -> None:
    """The stream may hold those items no longer."""
    config = place.folder / "mirror.toml"
    config.write_text('[[view]]\nkey = "c:{city}:{id}"\n')
    place.source.put("1", city={"SS": ["a", "b"]})
    views = bind_views(load_views(str(config)), Schema(place.source.name, ("id",), ("S",)))
    record_gap(place.cache, views, stream=place.source.arn, at=1, reason="a test")
    filled = invoke("backfill", "--config", str(config), env=place.env)
    assert "1 item could not become entries" in filled.stdout
    start_late = ("--latest", "--no-auto-rebuild")
    with place.running("--json", "--config", str(config), *start_late) as process:
        assert process.stdout
        assert process.stderr
        totals = json.loads(process.stdout.readline())
        assert (totals["records"], totals["quarantined"]) == (0, 1)
        wait_until(lambda: read_marker(place.cache, place.source.name).reason == SKIPPED)
        process.terminate()
        _output, errors = process.communicate(timeout=60)
    assert "ERROR" not in errors, "it was told to skip records"


def test_a_report_has_the_time_and_one_record_is_no_plural(place: Place) -> None:
    place.source.put("1", name={"S": "Ada"})
    with place.running("--no-auto-rebuild") as process:
        assert process.stdout
        report = next(line for line in process.stdout if " record" in line)
    assert re.match(r"\d\d:\d\d:\d\d UTC: 1 record, 1 invocation, 1 applied$", report)


def test_the_first_start_in_an_empty_cache_is_no_error(place: Place) -> None:
    place.source.put("1", name={"S": "Ada"})
    with place.running("--no-auto-rebuild") as process:
        assert process.stdout
        assert next(line for line in process.stdout if "the mirror is incomplete: " in line)
        assert next(line for line in process.stdout if "1 applied" in line)
        process.terminate()
        _output, errors = process.communicate(timeout=60)
    assert errors == ""


def test_a_cache_that_was_flushed_is_an_error(place: Place) -> None:
    with place.running("--no-auto-rebuild") as process:
        assert process.stdout
        assert process.stderr
        assert next(line for line in process.stdout if "the mirror is incomplete: " in line)
        place.cache.broadcast(b"FLUSHALL")
        line = process.stderr.readline()
    assert "ERROR dynamirror: mirror incomplete" in line
    assert "reason=the mirror has never been filled, or the cache has lost its data" in line


def read(url: str) -> str:
    """Return what is served at an address."""
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own http URL
        return str(answer.read().decode())


@linux_only
def test_metrics_and_health_listen_where_they_are_told(place: Place) -> None:
    options = ("--metrics", "0.0.0.0:0", "--health", "127.0.0.2:0", "--no-auto-rebuild")
    with place.running(*options) as process:
        assert process.stdout
        urls = {
            line.split()[0]: line.split()[-1]
            for line in (process.stdout.readline() for _ in range(3))
        }
        assert urls["metrics"].startswith("http://0.0.0.0:")
        assert read(f"{urls['health']}/livez") == "live\n"
        assert set(listening([process.pid])) == {"00000000", "0200007F"}
        text = read(f"http://127.0.0.1:{urls['metrics'].rpartition(':')[2]}")
    assert "dynamirror_records_total" in text
    assert "_created" not in text


@pytest.mark.parametrize("option", ["--metrics", "--health", "--page-port"])
@pytest.mark.parametrize("text", ["x", "127.0.0.1:", ":1", "1.2.3.4:x", "70000", "[::1:1", "-1"])
def test_what_is_no_address_to_listen_on_is_a_usage_error(
    place: Place, option: str, text: str
) -> None:
    done = invoke("run", option, text, env=place.env)
    assert done.returncode == 2
    assert option in done.stderr
    assert "Traceback" not in done.stderr
