"""The fixtures for applications: isolated tests, and writes that are visible after a wait."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest
from msgspec.structs import replace

from dynamirror import Reader, Settings, settings
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.testing.mirror import Mirror

VIEWS = """
[[view]]
name = "people"
key = "user:{id}"
[[view]]
name = "by mail"
key = "mail:{mail}:{id}"
[[table]]
name = "people"
keys = { id = "S" }
"""


@pytest.fixture
def mirror_config(tmp_path: Path) -> Path:
    """Return two views of one table, which the fixture creates."""
    path = tmp_path / "mirror.toml"
    path.write_text(VIEWS, encoding="utf-8")
    return path


def create(dynamodb: Any, name: str, *, stream: bool = True) -> Any:
    """Create a table with the key `id`."""
    return dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": stream, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        if stream
        else {"StreamEnabled": False},
    )


def test_every_write_is_visible_after_a_wait(dynamodb: Any, mirror: Mirror, valkey: Any) -> None:
    people = dynamodb.Table("people")
    for number in range(50):
        people.put_item(Item={"id": str(number % 7), "n": number})
        mirror.wait()
        assert json.loads(valkey.get(f"user:{number % 7}"))["n"] == number
    people.delete_item(Key={"id": "0"})
    mirror.wait()
    assert valkey.get("user:0") is None


@pytest.mark.parametrize("attempt", range(3))
def test_a_test_finds_nothing_of_the_test_before(
    dynamodb: Any, mirror: Mirror, valkey: Any, attempt: int
) -> None:
    people = dynamodb.Table("people")
    assert people.scan()["Items"] == []
    assert list(valkey.scan_iter("user:*")) == []
    people.put_item(Item={"id": f"left by {attempt}"})
    create(dynamodb, "mine")  # fails if the one before is still there
    mirror.wait()
    assert list(valkey.scan_iter("user:*")) == [f"user:left by {attempt}".encode()]


def test_nothing_is_visible_while_the_mirror_is_paused(
    dynamodb: Any, mirror: Mirror, valkey: Any
) -> None:
    people = dynamodb.Table("people")
    people.put_item(Item={"id": "1", "n": 1})
    with mirror.paused():
        people.put_item(Item={"id": "1", "n": 2})
        assert json.loads(valkey.get("user:1"))["n"] == 1
        with pytest.raises(DynamirrorError, match="is paused"):
            mirror.wait()
    mirror.wait()
    assert json.loads(valkey.get("user:1"))["n"] == 2


def test_a_quarantined_item_fails_the_wait_once(dynamodb: Any, mirror: Mirror, valkey: Any) -> None:
    people = dynamodb.Table("people")
    people.put_item(Item={"id": "1", "mail": ["a list"]})
    with pytest.raises(DynamirrorError, match=r"people: the quarantine lists 1: .*by mail"):
        mirror.wait()
    people.put_item(Item={"id": "2", "mail": "ada@example.com"})
    mirror.wait()
    assert valkey.exists("mail:ada@example.com:2")


def test_a_wait_that_cannot_end_reports_why(dynamodb: Any, mirror: Mirror, valkey: Any) -> None:
    valkey.config_set("maxmemory-policy", "noeviction")
    valkey.config_set("maxmemory", 1)
    try:
        dynamodb.Table("people").put_item(Item={"id": "1"})
        with pytest.raises(DynamirrorError, match=r"people: the cache did not catch up within 1 s"):
            mirror.wait(timeout=1)
    finally:
        valkey.config_set("maxmemory", 0)
    mirror.wait()
    with pytest.raises(DynamirrorError, match=r"did not catch up within 0 s$"):
        mirror.wait(timeout=0)


def test_an_application_with_clients_of_its_own_reaches_the_emulators(mirror: Mirror) -> None:
    """It reads its settings from the environment, as in production."""
    boto3.resource("dynamodb").Table("people").put_item(Item={"id": "1", "n": 1})
    mirror.wait()
    settings = Settings.from_env(os.environ)
    with Reader(settings, "people", view="people", on_miss="absent") as reader:
        answer = reader.get_item(Key={"id": "1"})
        absent = reader.get_item(Key={"id": "2"})
    assert answer["Item"] == {"id": "1", "n": 1}
    assert [one["ResponseMetadata"]["dynamirror"]["source"] for one in (answer, absent)] == [
        "cache",
        "cache",
    ]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every variable lead elsewhere, as in the shell of somebody who works on a real cache."""
    names = [*settings._VARIABLES.values(), *settings._SECRETS]
    for name in (*names, "AWS_DEFAULT_PROFILE", "AWS_PROFILE"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://elsewhere.example")
    for name in ("AWS_USE_DUALSTACK_ENDPOINT", "AWS_USE_FIPS_ENDPOINT"):
        monkeypatch.setenv(name, "true")


@pytest.mark.usefixtures("elsewhere")
def test_no_variable_of_the_shell_leads_an_application_elsewhere(mirror: Mirror) -> None:
    found = Settings.from_env(os.environ)
    assert replace(found, region=None) == replace(mirror.settings, region=None)
    boto3.client("dynamodb").put_item(TableName="people", Item={"id": {"S": "1"}})
    mirror.wait()
    with Reader.from_env(table="people", view="people") as reader:
        assert reader.get_item(Key={"id": "1"})["Item"] == {"id": "1"}


def test_a_table_is_followed_once_and_nothing_runs_after_the_test(
    dynamodb: Any, emulated_aws: Aws, embedded_valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    create(dynamodb, "people")
    path = tmp_path / "views.toml"
    path.write_text("[[view]]\n", encoding="utf-8")
    before = set(threading.enumerate())
    with Mirror(emulated_aws, embedded_valkey.settings(config=str(path))) as mirror:
        mirror.follow("people")
        dynamodb.Table("people").put_item(Item={"id": "1"})
        mirror.follow("people")
        mirror.wait()
        assert len([one for one in threading.enumerate() if one.name == "delivery"]) == 1
    assert set(threading.enumerate()) <= before


def test_tables_whose_entries_would_meet_are_refused(dynamodb: Any, mirror: Mirror) -> None:
    orders = create(dynamodb, "orders")
    with pytest.raises(ConfigError, match="views people"):
        mirror.follow("orders")
    orders.delete()


class TestDefaultView:
    @pytest.fixture
    def mirror_config(self) -> None:
        """Use the default view."""

    def test_any_number_of_tables_is_followed(
        self, dynamodb: Any, mirror: Mirror, valkey: Any
    ) -> None:
        for name in ("orders", "users"):
            table = create(dynamodb, name)
            mirror.follow(name)
            table.put_item(Item={"id": "1"})
        mirror.wait()
        assert valkey.get("orders:1") == valkey.get("users:1") == b'{"id":"1"}'
        with pytest.raises(ConfigError, match="name the table to read"):
            mirror.reader()
        assert mirror.reader("users").get_item(Key={"id": "1"})["Item"] == {"id": "1"}

    def test_a_table_that_cannot_be_mirrored_is_refused(
        self, dynamodb: Any, mirror: Mirror
    ) -> None:
        create(dynamodb, "still", stream=False)
        with pytest.raises(ConfigError, match="the stream of table still is off"):
            mirror.follow("still")
        create(dynamodb, "filled").put_item(Item={"id": "1"})
        with pytest.raises(ConfigError, match="filled already has items"):
            mirror.follow("filled")
