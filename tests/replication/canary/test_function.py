"""The function tells CloudWatch what it saw, and never fails for what it has to tell."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from tests.support.builders import Time
from tests.support.deadlines import wait_until
from tests.support.emf_lines import EmfLine, emf_lines
from tests.support.sandboxes import fresh_logger
from tests.support.world import MakeWorld, World

from dynamirror.cache.completeness_marker import record_complete
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.process import free_port
from dynamirror.functions import canary, environment
from dynamirror.operations.service import Operations
from dynamirror.records.version import SnapshotVersion
from dynamirror.replication.canary_probe import CanaryProbe
from dynamirror.settings import Settings
from dynamirror.views.keyspace import RESERVED

Deploy = Callable[..., Operations]


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch, dynamodb: EmbeddedDynamoDB) -> Iterator[Deploy]:
    """A sandbox of the function, for a table and a cache."""
    made: list[Operations] = []

    def forget() -> None:
        environment.operations.cache_clear()
        canary._probe.cache_clear()

    def deploy_(settings: Settings, table: str, aws: Aws | None = None, keys: str = "id") -> Any:
        forget()
        env = settings.to_env() | {"DYNAMODB_TABLE": table, "DYNAMIRROR_KEY_SCHEMA": keys}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(environment, "Aws", lambda: aws or dynamodb.aws)
        made.append(environment.operations())
        return made[-1]

    with fresh_logger():
        yield deploy_
    for operations in made:
        operations.cache.close()
    forget()


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, EmfLine, list[Any]]]:
    """Invoke it; gives its answer, what CloudWatch is told, and what is logged."""

    def invoke_(seconds: float = 60.0) -> tuple[Any, EmfLine, list[Any]]:
        capsys.readouterr()
        answer = json.loads(json.dumps(canary.handler({}, Time(seconds))))
        (metrics,), logged = emf_lines(capsys.readouterr().out)
        # A replicator in this process logs, too, but no errors here.
        return answer, metrics, [line for line in logged if line["level"] != "INFO"]

    return invoke_


def test_a_beat_that_comes_through_is_told_with_its_latency(
    world: World, valkey: Any, deploy: Deploy, invoke: Any
) -> None:
    deploy(valkey.settings(), world.table)
    world.follow()
    wait_until(lambda: world.marker.gap is not None)
    record_complete(world.cache, world.views, SnapshotVersion(world.marker.gap + 1))  # type: ignore[operator]
    answer, metrics, logged = invoke()
    assert (answer["seen"], answer["error"], logged) == (True, "", [])
    assert metrics.table == world.table
    assert metrics.values == {
        "CanarySeen": 1,
        "CanaryLatency": answer["latency"] * 1000,
        "MirrorComplete": 1,
        "QuarantineSize": 0,
    }
    assert metrics.units["CanaryLatency"] == "Milliseconds"


def test_a_beat_that_does_not_is_told_within_the_time_that_is_left(
    world: World, valkey: Any, deploy: Deploy, invoke: Any
) -> None:
    deploy(valkey.settings(), world.table)
    answer, metrics, logged = invoke(1.5)
    assert answer["seen"] is False
    assert metrics.values == {"CanarySeen": 0, "MirrorComplete": 0, "QuarantineSize": 0}
    (line,) = logged
    assert (line["level"], line["message"]) == ("ERROR", "canary not seen")
    assert line["table"] == world.table
    assert "did not have it" in line["reason"]


def test_a_write_that_took_long_leaves_time_to_tell_that_it_was_not_seen(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, put = [0.0], world.client.put_item

    def put_slowly(**given: Any) -> Any:
        now[0] += 35  # DynamoDB may be asked four times, of which each takes ten seconds
        return put(**given)

    def wait(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(world.client, "put_item", put_slowly)
    canary = CanaryProbe(world.cache, world.client, world.schema, clock=lambda: now[0], wait=wait)
    assert not canary.probe(within=60).seen
    assert now[0] == pytest.approx(60), "and not 45 s after the write"
    now[0] = 0.0
    assert not canary.probe(within=20).seen
    assert now[0] == pytest.approx(35), "the cache was looked at once, and not waited for"


def test_a_cache_that_is_down_is_told_not_raised(
    world: World, valkey: Any, deploy: Deploy, invoke: Any
) -> None:
    deploy(valkey.settings(port=free_port()), world.table)
    answer, metrics, logged = invoke(1.5)
    assert answer["seen"] is False
    assert metrics.values == {"CanarySeen": 0}
    assert [line["message"] for line in logged] == ["canary not seen", "mirror not seen"]


def test_a_table_that_cannot_be_written_is_told_not_raised(
    world: World, valkey: Any, deploy: Deploy, invoke: Any
) -> None:
    deploy(valkey.settings(), f"{world.table}-gone")
    answer, metrics, (line,) = invoke()
    assert (answer["seen"], answer["at"]) == (False, 0)
    assert metrics.values["CanarySeen"] == 0
    assert "does not exist" in line["reason"]


@pytest.mark.parametrize("keys", [{"id": "N"}, {"id": "B", "n": "S"}])
def test_a_table_whose_partition_key_is_no_text_is_told_in_one_sentence(
    valkey: Any, dynamodb: EmbeddedDynamoDB, deploy: Deploy, invoke: Any, keys: Any
) -> None:
    table = f"t-{uuid4().hex[:12]}"
    create_table(dynamodb.aws.dynamodb(), table, keys)
    deploy(valkey.settings(), table, keys=",".join(keys))
    answer, metrics, (line,) = invoke()
    assert metrics.values["CanarySeen"] == 0
    assert answer["error"] == line["reason"]
    assert answer["error"].startswith(f"table {table}: its partition key id is not text (S)")


def test_it_asks_dynamodb_for_nothing_but_to_write_one_item(
    make_world: MakeWorld, valkey: Any, deploy: Deploy, invoke: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(keys={"id": "S", "n": "B"})
    operations = deploy(valkey.settings(), world.table, keys="id,n")
    asked: list[tuple[str, Any]] = []
    client = operations.client
    before = client._make_api_call  # type: ignore[attr-defined]

    def noted(operation: str, given: Any) -> Any:
        asked.append((operation, given))
        return before(operation, given)

    monkeypatch.setattr(client, "_make_api_call", noted)
    world.follow()
    for _time in range(2):
        answer, _metrics, _logged = invoke()
        assert answer["seen"], answer
    assert {operation for operation, _ in asked} == {"PutItem"}
    assert {given["Item"]["id"]["S"] for _, given in asked} == {f"{RESERVED}canary"}
    assert len(asked) == 3 + 1, "the type of the sort key is found out once"
