"""Records in the shapes that AWS documents are mirrored, refused or parked as they should be.

The shapes follow Lambda's example event, and Record and StreamRecord of the Streams API reference;
the values are our own.
https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_GetRecords.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.builders import Time
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import read_quarantine
from dynamirror.errors import ConfigError
from dynamirror.records.stream_record import decode
from dynamirror.replication.replicator import Replicator

TABLE = "ExampleTableWithStream"
KEY = f"{TABLE}:17"
SUCCESS: dict[str, list[Any]] = {"batchItemFailures": []}
SHAPES: dict[str, Any] = json.loads((Path(__file__).parent / "shapes/lambda.json").read_text())
REFUSED = ("MODIFY, OLD_IMAGE", "INSERT, KEYS_ONLY")
PARKED = ("INSERT without a time and with a short number, as in older examples",)
REMOVED = [name for name in SHAPES if name.startswith("REMOVE")]
WRITTEN = [name for name in SHAPES if name not in (*REFUSED, *PARKED, *REMOVED)]


def deliver(replicator: Replicator, *names: str) -> None:
    """Deliver one batch."""
    assert replicator({"Records": [SHAPES[name] for name in names]}, Time()) == SUCCESS


@pytest.mark.parametrize("name", WRITTEN)
def test_a_write_is_mirrored(replicator: Replicator, cache: Cache, name: str) -> None:
    deliver(replicator, name)
    message = SHAPES[name]["dynamodb"]["NewImage"]["Message"]["S"]
    stored = json.loads(cache.call(KEY, b"GET", KEY))
    assert (stored["Id"], stored["Message"]) == (17, message)
    assert read_quarantine(cache, TABLE) == []


@pytest.mark.parametrize("name", REMOVED)
def test_a_removal_is_mirrored_whoever_removed(
    replicator: Replicator, cache: Cache, name: str
) -> None:
    deliver(replicator, "INSERT")
    deliver(replicator, name)
    assert list(keys_in(cache, f"{TABLE}*")) == []
    assert read_quarantine(cache, TABLE) == []


def test_the_attributes_of_a_global_table_are_mirrored_like_any(
    replicator: Replicator, cache: Cache
) -> None:
    deliver(replicator, "MODIFY of a global table's replica")
    text = cache.call(KEY, b"GET", KEY)
    assert b'"aws:rep:updatetime":1435366136.123001' in text
    assert json.loads(text)["aws:rep:deleting"] is False
    assert json.loads(text)["aws:rep:updateregion"] == "eu-west-1"


@pytest.mark.parametrize("name", REFUSED)
def test_a_stream_without_new_images_is_refused(replicator: Replicator, name: str) -> None:
    with pytest.raises(ConfigError, match="NEW_AND_OLD_IMAGES"):
        replicator({"Records": [SHAPES[name]]}, Time())


@pytest.mark.parametrize("name", PARKED)
def test_a_record_that_cannot_be_ordered_is_parked(
    replicator: Replicator, cache: Cache, name: str
) -> None:
    deliver(replicator, name, "INSERT")
    (item,) = read_quarantine(cache, TABLE)
    assert item.key == {"Id": {"N": "17"}}
    assert item.note.sequence_number == "112"
    assert "ApproximateCreationDateTime" in item.note.reason
    assert cache.call(KEY, b"EXISTS", KEY) == 1


def test_of_all_shapes_the_newest_decides(replicator: Replicator, cache: Cache) -> None:
    for names in ((*WRITTEN, *REMOVED), REMOVED, WRITTEN):
        deliver(replicator, *names)
        assert b"from afar" in cache.call(KEY, b"GET", KEY)


@pytest.mark.parametrize("name", [*WRITTEN, *REMOVED])
def test_get_records_gives_the_same_change_as_lambda(name: str) -> None:
    shape = SHAPES[name]
    data = dict(shape["dynamodb"])
    created = datetime.fromtimestamp(data["ApproximateCreationDateTime"], UTC)
    record = {key: value for key, value in shape.items() if key != "eventSourceARN"}
    if "userIdentity" in record:  # boto3 spells it with capitals
        record["userIdentity"] = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
    record["dynamodb"] = data | {"ApproximateCreationDateTime": created}
    assert decode(record, shape["eventSourceARN"]) == decode(shape)
