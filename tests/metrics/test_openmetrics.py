"""`run --metrics` serves the catalogue to whoever scrapes it on this machine."""

import json
import signal
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import MagicMock

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain_families
from tests.support.deadlines import wait_until
from tests.support.processes import environment, invoke, linux_only, listening, start
from tests.support.scans import keys_in
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.cli.run_canaries import Canaries
from dynamirror.cli.run_upkeep import CacheReadings, show_upkeep
from dynamirror.dynamodb.client import describe_schema
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError
from dynamirror.inspection.judgement import ViolationKind
from dynamirror.inspection.measured import measured
from dynamirror.inspection.tally import Tally, ViewTally, Within
from dynamirror.metrics.openmetrics import Endpoint
from dynamirror.replication.replicator import build
from dynamirror.views.batch_result import BatchResult, Report
from dynamirror.views.canary import ATTRIBUTE, NAME
from dynamirror.views.keyspace import canary_key

if TYPE_CHECKING:
    from subprocess import Popen

    from dynamirror.runner.followers import Followers

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scraped(url: str, accept: str = OPENMETRICS) -> tuple[str, str]:
    """What a scraper gets: content type and text."""
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - http, ours
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - same
        return answer.headers["Content-Type"], answer.read().decode()


def samples(url: str, table: str) -> dict[str, float]:
    """All samples of a table but buckets, by name."""
    kind, text = scraped(url)
    assert kind.startswith("application/openmetrics-text")
    found = {}
    parse: Any = text_string_to_metric_families
    for family in parse(text):
        for sample in family.samples:
            assert sample.labels["table"] == table
            if "le" not in sample.labels:
                found[sample.name] = sample.value
    return found


class Mirror:
    """A `run` of its own, for a table of its own."""

    def __init__(self, source: Source, process: "Popen[str]", url: str) -> None:
        self.source = source
        self.process = process
        self.url = url

    @property
    def samples(self) -> dict[str, float]:
        """What it tells now."""
        return samples(self.url, self.source.name)


@pytest.fixture
def env(dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path) -> Any:
    """What the command line is told of table and cache; the cache is empty."""
    assert not list(keys_in(cache, "*"))
    return environment(
        tmp_path, AWS_ENDPOINT_URL=dynamodb.endpoint_url, **valkey.settings().to_env()
    )


@contextmanager
def mirroring(source: Source, *arguments: str, env: dict[str, str]) -> Iterator[Mirror]:
    """Run it until the end."""
    process = start("run", "--table", source.name, "--metrics", "0", *arguments, env=env)
    try:
        assert process.stdout
        line = next(line for line in process.stdout if line.startswith("metrics at "))
        yield Mirror(source, process, line.split()[-1])
    finally:
        process.kill()
        process.communicate()


@linux_only
def test_a_scrape_tells_what_was_written_and_how_the_mirror_is(
    dynamodb: EmbeddedDynamoDB, env: dict[str, str], cache: Cache
) -> None:
    source = Source(dynamodb)
    source.puts(range(10))
    source.put("bad", name={"S": "x"}, worse={"NS": ["1", "2"]})
    with mirroring(source, "--canary", "1", "--no-auto-rebuild", env=env) as mirror:
        assert mirror.url.startswith("http://127.0.0.1:")
        assert set(listening([mirror.process.pid])) == {"0100007F"}, "on this machine only"
        source.client.delete_item(TableName=source.name, Key={"id": {"S": "3"}})
        now: dict[str, float] = {}

        def is_counted() -> bool:
            """A batch is seen before it is counted, and a scrape may come while it is."""
            now.clear()
            now.update(mirror.samples)
            return (
                now.get("dynamirror_canary_latency_seconds_count", 0) >= 1
                and now.get("dynamirror_records_total", 0) >= 12 + 1
                and now["dynamirror_records_total"] == sum(map(now.__getitem__, outcomes))
                and now["dynamirror_replication_lag_seconds_count"]
                == now["dynamirror_batch_duration_seconds_count"]
            )

        outcomes = [f"dynamirror_{one}_total" for one in ("applied", "stale", "coalesced")]
        wait_until(is_counted)
        assert now["dynamirror_canary_seen"] == 1
        assert 0 < now["dynamirror_canary_latency_seconds_sum"] < 60
        assert now["dynamirror_failed_total"] == now["dynamirror_quarantined_total"] == 0
        assert now["dynamirror_replication_lag_seconds_count"] >= 1
        assert now["dynamirror_mirror_complete"] == 0
        assert now["dynamirror_quarantine_size"] == 0
        assert 0 <= now["dynamirror_shard_behind_seconds"] < 60
        key = f"dynamirror:{{{source.name}}}:quarantine"
        cache.call(key, b"HSET", key, b"one", b"{}")
        assert mirror.samples["dynamirror_quarantine_size"] == 1
        kind, text = scraped(mirror.url, "text/plain")
        assert kind.startswith("text/plain")
        assert any(family.name == "dynamirror_records" for family in plain_families(text))
        status = json.loads(invoke("status", "--json", "--table", source.name, env=env).stdout)
        assert status["canary"] <= status["at"]
        assert 0 <= status["lag"] < 60
        (position,) = status["positions"].values()
        assert position["after"]
        assert position["created"] <= status["at"]
        mirror.process.send_signal(signal.SIGINT)
        assert mirror.process.wait(30) == 130
    with pytest.raises(OSError, match="refused"):
        scraped(mirror.url)
    assert NAME in {one["id"]["S"] for one in source.client.scan(TableName=source.name)["Items"]}


def test_a_port_that_is_taken_is_told_in_one_sentence(
    dynamodb: EmbeddedDynamoDB, env: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = invoke("run", "--table", Source(dynamodb).name, "--metrics", port, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith(f"dynamirror: --metrics: 127.0.0.1:{port} is not available (")
    assert len(done.stderr.splitlines()) == 1


def test_a_table_that_cannot_have_a_canary_is_refused_in_one_sentence(
    dynamodb: EmbeddedDynamoDB, env: dict[str, str]
) -> None:
    create_table(dynamodb.aws.dynamodb(), "numbered", {"id": "N"})
    done = invoke("run", "--table", "numbered", "--canary", "1", env=env)
    assert done.returncode == 1
    assert done.stderr.startswith("dynamirror: table numbered: its partition key id is not text")


def test_an_inspection_is_served_with_its_violations_by_kind_and_its_staleness() -> None:
    counts = ViewTally.begun([1.0, 60.0])
    counts.checks = 5
    counts.within["60"] = Within(asked=4, consistent=3, undecided=1)
    counts.add_violation(ViolationKind.MISSING)
    for age in (0.1, 3.0, 5_000.0):
        counts.add_staleness(age)
    tally = Tally(tables={"users": {"one": counts, "two": counts}})
    with Endpoint(0) as endpoint:
        endpoint.show_inspection("users", lambda: measured(tally, "users"))
        endpoint.show_inspection("orders", lambda: None)
        _, text = scraped(endpoint.url)
        parse: Any = text_string_to_metric_families
        found = {
            (sample.name, sample.labels.get("kind") or sample.labels.get("le")): sample.value
            for family in parse(text)
            for sample in family.samples
            if sample.labels["table"] == "users"
        }
    assert found["dynamirror_consistency_checks_total", None] == 10
    assert found["dynamirror_consistency_undecided_total", None] == 2
    assert found["dynamirror_asked_within_60s_total", None] == 8
    assert found["dynamirror_consistent_within_60s_total", None] == 6
    violations = {
        kind: value
        for (name, kind), value in found.items()
        if name == "dynamirror_consistency_violations_total"
    }
    assert violations == {kind.value: 2 * (kind == "missing") for kind in ViolationKind}
    assert found["dynamirror_staleness_seconds_bucket", "0.5"] == 2
    assert found["dynamirror_staleness_seconds_bucket", "600.0"] == 4
    assert found["dynamirror_staleness_seconds_bucket", "+Inf"] == 6


def test_batches_that_end_with_an_error_are_counted_from_0_on() -> None:
    batch = BatchResult("users", 3, Report(), 0, 3, None, 0.0, 0.0)
    with Endpoint(0) as endpoint:
        endpoint.show_mirror("users", complete=lambda: True, quarantined=lambda: 0, behind=dict)
        now = samples(endpoint.url, "users")
        assert now["dynamirror_invocation_errors_total"] == now["dynamirror_failed_total"] == 0
        endpoint.observe(batch)
        endpoint.observe(msgspec.structs.replace(batch, error="CacheError: it is gone"))
        now = samples(endpoint.url, "users")
    assert now["dynamirror_invocation_errors_total"] == 1
    assert now["dynamirror_failed_total"] == 6


def test_a_scrape_waits_once_for_a_cache_that_does_not_answer() -> None:
    now, asked = [0.0], []

    class Silent:
        """Each call would take a timeout."""

        def call(self, key: str, *_words: object) -> object:
            asked.append(key)
            raise CacheError("it does not answer")

        def broadcast(self, *_words: object) -> object:
            return self.call("all")

    readings = CacheReadings(cast("Cache", Silent()), clock=lambda: now[0])
    for table in ("orders", "users", "carts"):
        assert readings.is_doubtful(table) is None
        assert readings.quarantined(table) is None
        assert readings.memory_share(table) is None
    assert len(asked) == 1
    now[0] += 6
    assert readings.quarantined("orders") is None
    assert len(asked) == 2, "the next scrape tries again"


def test_a_process_that_stands_by_serves_no_age_of_checks_that_it_does_not_make() -> None:
    follower = SimpleNamespace(
        leads=False,
        healer=SimpleNamespace(
            check_age=lambda: 9_000.0, _rebuild_began=None, check_errors=0, rebuild_errors=0
        ),
    )
    followers = cast("Followers", SimpleNamespace(follower=lambda _table: follower))
    with Endpoint(0) as endpoint:
        show_upkeep(endpoint, "users", cast("CacheReadings", MagicMock()), followers)
        assert "dynamirror_check_age_seconds" not in samples(endpoint.url, "users")
        follower.leads = True
        assert samples(endpoint.url, "users")["dynamirror_check_age_seconds"] == 9_000


def test_a_value_that_cannot_be_read_is_missing_and_the_others_are_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Endpoint(0) as endpoint:
        endpoint.show_mirror("users", complete=[].pop, quarantined=lambda: 3, behind=dict)
        now = samples(endpoint.url, "users")
    assert "dynamirror_mirror_complete" not in now
    assert now["dynamirror_quarantine_size"] == 3
    assert [entry.getMessage() for entry in caplog.records] == ["fault of the program"]


def test_the_result_of_a_canary_is_served_for_as_long_as_the_canary_runs(
    dynamodb: EmbeddedDynamoDB, cache: Cache, valkey: EmbeddedValkey
) -> None:
    assert cache
    replicator = build(valkey.settings())
    source = Source(dynamodb)
    replicator.views.bind(describe_schema(source.server.aws.dynamodb(), source.name)[0])
    key, numbers = canary_key(source.name), count()
    canaries = Canaries(
        *(source.server.aws, replicator, 1.0), say=lambda *_words: None, is_only=True
    )
    with Endpoint(0) as endpoint:
        canaries.show(endpoint, [source.name])
        with canaries.running(source.name):

            def is_served() -> bool:
                """Put a newer item into the cache, as its replication would."""
                mark = {"at": 10**14, "nonce": str(next(numbers))}
                cache.call(key, b"SET", key, json.dumps({ATTRIBUTE: mark}).encode())
                return "dynamirror_canary_seen" in samples(endpoint.url, source.name)

            wait_until(is_served)
        assert "dynamirror_canary_seen" not in samples(endpoint.url, source.name)
    replicator.cache.close()
