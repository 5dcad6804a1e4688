"""Which attributes a table's key has is not for one record to say; neither is it lost by one."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.support.builders import STREAM_ARN, Time, item, record
from tests.support.scans import keys_in
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import read_quarantine
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.errors import SourceError
from dynamirror.replication.replicator import Replicator

SUCCESS: dict[str, list[Any]] = {"batchItemFailures": []}
Build = Callable[..., Replicator]


@pytest.fixture
def table(dynamodb: EmbeddedDynamoDB, monkeypatch: pytest.MonkeyPatch) -> str:
    """A table that the replicator can describe."""
    aws = dynamodb.aws
    assert aws.credentials
    key, secret = aws.credentials
    for name, value in {
        "AWS_ENDPOINT_URL": dynamodb.endpoint_url,
        "AWS_REGION": aws.region,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
    }.items():
        monkeypatch.setenv(name, str(value))
    return Source(dynamodb).name


def event(table: str, *records: Any) -> dict[str, Any]:
    """What Lambda hands over."""
    arn = STREAM_ARN.replace("users", table)
    return {"Records": [one | {"eventSourceARN": arn} for one in records]}


def strange(sequence: int) -> dict[str, Any]:
    """A record that names another key attribute than the table's."""
    key = {"sku": {"S": "1"}}
    return record(sequence, key | {"name": {"S": "?"}}, Keys=key)


def goods(first: int) -> list[dict[str, Any]]:
    """Records that have nothing wrong with them."""
    return [record(first + number, item(str(first + number))) for number in range(3)]


def parked(cache: Cache, table: str) -> list[str]:
    """What is in quarantine."""
    return [one.name for one in read_quarantine(cache, table)]


def test_the_first_record_of_a_cold_function_does_not_define_the_table(
    build_replicator: Build, cache: Cache, table: str
) -> None:
    mirror = build_replicator()
    assert mirror(event(table, strange(1), *goods(2)), Time()) == SUCCESS
    assert set(keys_in(cache, f"{table}:*")) == {
        f"{table}:{number}".encode() for number in (2, 3, 4)
    }
    assert parked(cache, table) == ['{"sku":{"S":"1"}}']


@pytest.mark.parametrize("declared", [False, True])
def test_a_record_that_came_alone_to_a_cold_function_does_not_define_the_table_for_good(
    build_replicator: Build, cache: Cache, table: str, *, declared: bool
) -> None:
    mirror = build_replicator(**({"DYNAMIRROR_KEY_SCHEMA": "id"} if declared else {}))
    assert mirror(event(table, strange(1)), Time()) == SUCCESS
    assert mirror(event(table, *goods(2)), Time()) == SUCCESS
    assert mirror(event(table, strange(5), *goods(6)), Time()) == SUCCESS
    expected = {f"{table}:{number}".encode() for number in (2, 3, 4, 6, 7, 8)}
    assert set(keys_in(cache, f"{table}:*")) >= expected
    assert parked(cache, table) == ['{"sku":{"S":"1"}}']


def test_a_table_that_cannot_be_asked_is_not_guessed_at_if_its_records_differ(
    build_replicator: Build, cache: Cache, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    mirror = build_replicator()
    batch = event(table, strange(1), *goods(2))
    with pytest.raises(SourceError, match="cannot be reached"):
        mirror(batch, Time())
    assert list(keys_in(cache, "*")) == []
    monkeypatch.undo()


def test_what_a_table_that_cannot_be_asked_was_known_by_stays(
    build_replicator: Build, cache: Cache, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    mirror = build_replicator()
    assert mirror(event(table, *goods(2)), Time()) == SUCCESS
    for _ in range(2):
        assert mirror(event(table, strange(1), *goods(5)), Time()) == SUCCESS
    assert len(list(keys_in(cache, f"{table}:*"))) == 6
    assert parked(cache, table) == ['{"sku":{"S":"1"}}']


@pytest.mark.parametrize("number", ["-1", "-" + "9" * 39, "+2", " 2", "", 2, None])
@pytest.mark.parametrize("place", [0, 1, 4])
def test_a_sequence_number_that_is_none_is_parked_and_not_passed_over(
    build_replicator: Build, cache: Cache, number: Any, place: int
) -> None:
    mirror = build_replicator()
    mirror(event("users", record(1, item("1"))), Time())  # from now on, batches are coalesced
    wrong = record(2, item("1", name="?"), SequenceNumber=number)
    batch = [record(5 + one, item("1", name=str(one))) for one in range(4)]
    batch.insert(place, wrong)
    assert mirror(event("users", *batch), Time()) == SUCCESS
    (one,) = read_quarantine(cache, "users")
    assert "SequenceNumber" in one.note.reason
    assert cache.call("users:1", b"GET", b"users:1") == b'{"id":"1","name":"3"}'
