"""The simulator writes random changes, as the original's did, and reports their results."""

import json
import os
import random
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from tests.support.streams import Source

from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.errors import ConfigError
from dynamirror.functions import simulator
from dynamirror.functions.simulator import Operation, operations, read_settings, simulate

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def random_operations(seed: int, count: int, *, ids: int = 100) -> list[Operation]:
    return list(islice(operations(random.Random(seed), ids=ids, now=lambda: NOON), count))


class Table:
    """A client that fails at the calls for which `fails` is true."""

    def __init__(self, *fails: bool) -> None:
        self._fails = list(fails)
        self.items: dict[str, Any] = {}

    def _fail_or_not(self) -> None:
        if self._fails and self._fails.pop(0):
            raise ClientError({"Error": {"Code": "Throttled", "Message": "slow down"}}, "PutItem")

    def put_item(self, *, TableName: str, Item: Any) -> None:  # noqa: N803 - boto3's names
        assert TableName == "users"
        self._fail_or_not()
        self.items[Item["id"]["S"]] = Item

    def delete_item(self, *, TableName: str, Key: Any) -> None:  # noqa: N803 - boto3's names
        assert TableName == "users"
        self._fail_or_not()
        self.items.pop(Key["id"]["S"], None)


def simulated(*fails: bool, count: int = 4) -> tuple[int, dict[str, Any]]:
    answer = simulate(cast("Any", Table(*fails)), "users", count, random.Random(7))
    assert set(answer) == {"statusCode", "body"}
    return answer["statusCode"], json.loads(answer["body"])


def test_two_of_three_are_upserts() -> None:
    counts = Counter(operation.action for operation in random_operations(1, 6000))
    assert 3800 < counts["upsert"] < 4200
    assert counts["upsert"] + counts["delete"] == 6000


def test_ids_are_1_to_100() -> None:
    counts = Counter(operation.id for operation in random_operations(2, 6000))
    assert set(counts) == {str(number) for number in range(1, 101)}


@given(seed=st.integers(), ids=st.integers(1, 5))
def test_ids_keep_within_the_number_asked_for(seed: int, ids: int) -> None:
    assert {op.id for op in random_operations(seed, 30, ids=ids)} <= {
        str(n) for n in range(1, ids + 1)
    }


@given(seed=st.integers())
def test_a_seeded_run_repeats(seed: int) -> None:
    assert random_operations(seed, 50) == random_operations(seed, 50)


def test_an_upsert_carries_name_and_time_and_a_delete_only_the_id() -> None:
    for operation in random_operations(3, 100):
        if operation.action == "delete":
            assert operation.item is None
        else:
            assert operation.name
            assert operation.item == {
                "id": {"S": operation.id},
                "name": {"S": operation.name},
                "timestamp": {"S": "2026-01-02T12:00:00.000000+00:00"},
            }


def test_the_time_is_now_by_default() -> None:
    before = datetime.now(UTC)
    stamps = [op.timestamp for op in islice(operations(random.Random(1)), 20) if op.timestamp]
    assert all(before <= datetime.fromisoformat(stamp) <= datetime.now(UTC) for stamp in stamps)


@pytest.mark.parametrize(
    ("fails", "status", "errors"),
    [
        ((), 200, 0),
        ((True,), 207, 1),
        ((False, True, True, True), 207, 3),
        ((True, True, True, True), 500, 4),
    ],
)
def test_the_status_reports_whether_all_some_or_none_succeeded(
    fails: tuple[bool, ...], status: int, errors: int
) -> None:
    code, body = simulated(*fails)
    assert code == status
    assert body["summary"] == {
        "totalOperations": 4,
        "successCount": 4 - errors,
        "errorCount": errors,
    }
    assert [result["status"] for result in body["operations"]].count("error") == errors


def test_each_operation_is_reported_with_its_result() -> None:
    _, body = simulated(*[True])
    failed, succeeded, *_ = body["operations"]
    assert failed["error"] == "table users: Throttled: slow down"
    assert "error" not in succeeded
    for result in body["operations"]:
        assert set(result) - {"error"} == (
            {"action", "id", "status"}
            if result["action"] == "delete"
            else {"action", "id", "name", "timestamp", "status"}
        )


def test_settings_come_from_the_environment() -> None:
    assert read_settings({"DYNAMODB_TABLE": "users", "CHANGES_COUNT": "25"}) == ("users", 25)
    assert read_settings({"DYNAMODB_TABLE": "users"}) == ("users", 10)


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({}, "environment: DYNAMODB_TABLE: is missing; set it to the table's name"),
        (
            {"DYNAMODB_TABLE": ""},
            "environment: DYNAMODB_TABLE: is missing; set it to the table's name",
        ),
        *(
            (
                {"DYNAMODB_TABLE": "users", "CHANGES_COUNT": count},
                f"environment: CHANGES_COUNT: must be a whole number from 1, not {count!r}",
            )
            for count in ("0", "-1", "ten", "1.5", "", " 1", "٣")
        ),
    ],
)
def test_wrong_settings_are_one_sentence(env: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(env)
    assert str(caught.value) == sentence


def test_the_handler_makes_the_number_of_changes_asked_for(
    dynamodb: EmbeddedDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(dynamodb)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    variables = {
        "AWS_ENDPOINT_URL": dynamodb.endpoint_url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_REGION": "us-east-1",
        "DYNAMODB_TABLE": source.name,
        "CHANGES_COUNT": "30",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    simulator.dynamodb_client.cache_clear()
    try:
        answer = simulator.handler({}, None)
    finally:
        simulator.dynamodb_client.cache_clear()
    body = json.loads(answer["body"])
    assert answer["statusCode"] == 200
    assert body["summary"]["successCount"] == 30
    expected: dict[str, str] = {}
    for result in body["operations"]:
        expected.pop(result["id"], None)
        if result["action"] == "upsert":
            expected[result["id"]] = result["name"]
    items = source.client.scan(TableName=source.name)["Items"]
    assert {item["id"]["S"]: item["name"]["S"] for item in items} == expected
