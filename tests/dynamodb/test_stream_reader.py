"""The reader gives each record of a shard once, in order, in the form Lambda has it."""

import base64
import json
from itertools import islice
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import STREAM_ARN
from tests.support.streams import Source

from dynamirror.dynamodb.client import Aws
from dynamirror.dynamodb.shards import Shard
from dynamirror.dynamodb.stream_reader import Record, StreamReader, TrimmedError
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.errors import SourceError


def read(
    reader: StreamReader, after: str | None = None, *, pages: int = 2, latest: bool = False
) -> list[Record]:
    (shard,) = reader.describe().shards
    found = islice(reader.pages(shard, after, latest=latest), pages)
    return [record for page in found for record in page.records]


def ids(records: list[Record]) -> list[str]:
    return [record["dynamodb"]["Keys"]["id"]["S"] for record in records]


def number(record: Record) -> str:
    return str(record["dynamodb"]["SequenceNumber"])


@pytest.fixture(scope="module")
def source(dynamodb: EmbeddedDynamoDB) -> Source:
    """A table with items 0 to 9 written one after the other."""
    source = Source(dynamodb)
    source.puts(range(10))
    return source


def test_records_come_in_the_order_they_were_written(source: Source) -> None:
    assert ids(read(source.reader())) == [*map(str, range(10))]


def test_reading_begins_after_the_position(source: Source) -> None:
    records = read(source.reader())
    assert ids(read(source.reader(), number(records[3]))) == ["4", "5", "6", "7", "8", "9"]
    assert ids(read(source.reader(), number(records[-1]))) == []


def test_reading_the_latest_begins_with_what_is_written_from_now_on(
    dynamodb: EmbeddedDynamoDB,
) -> None:
    source = Source(dynamodb)
    source.put("before")
    (shard,) = source.reader().describe().shards
    pages = source.reader().pages(shard, None, latest=True)
    assert next(pages).records == []
    source.put("after")
    assert ids(next(pages).records) == ["after"]


def test_more_than_a_page_is_read_without_loss(dynamodb: EmbeddedDynamoDB) -> None:
    source = Source(dynamodb)
    for start in range(0, 2500, 25):
        writes: Any = [
            {"PutRequest": {"Item": {"id": {"S": str(n)}}}} for n in range(start, start + 25)
        ]
        source.client.batch_write_item(RequestItems={source.name: writes})
    assert ids(read(source.reader(), pages=4)) == [*map(str, range(2500))]


def test_an_expired_iterator_is_renewed_where_reading_stood(source: Source) -> None:
    reader = source.reader(("get_records", "ExpiredIteratorException"))
    assert ids(read(reader)) == [*map(str, range(10))]
    first = number(read(source.reader())[0])
    reader = source.reader(("get_records", "ExpiredIteratorException"))
    assert ids(read(reader, first)) == [*map(str, range(1, 10))]


def test_an_iterator_that_expires_while_reading_the_latest_passes_nothing_over(
    dynamodb: EmbeddedDynamoDB,
) -> None:
    source = Source(dynamodb)
    (shard,) = source.reader().describe().shards
    reader = source.reader()
    pages = reader.pages(shard, None, latest=True)
    assert next(pages).records == []
    source.put("meanwhile")
    cast("Any", reader)._client._faults.append(("get_records", "ExpiredIteratorException"))
    assert ids(next(pages).records) == ["meanwhile"]


@pytest.mark.parametrize("method", ["get_shard_iterator", "get_records"])
def test_a_position_that_was_trimmed_is_an_error_that_says_so(source: Source, method: str) -> None:
    after = number(read(source.reader())[0])
    reader = source.reader((method, "TrimmedDataAccessException"))
    with pytest.raises(TrimmedError, match=rf"the records after {after} are gone .* is rebuilt$"):
        read(reader, after)


def test_what_is_refused_before_it_is_sent_is_one_line() -> None:
    reader = StreamReader(Aws("us-east-1", "http://127.0.0.1:1", ("a", "b")).streams(), "short")
    with pytest.raises(SourceError, match=r"^stream short: [^\n]+$"):
        reader.describe()


@pytest.mark.parametrize("method", ["describe_stream", "get_shard_iterator", "get_records"])
def test_other_faults_are_one_sentence(source: Source, method: str) -> None:
    with pytest.raises(SourceError, match=r"^(shard|stream) [^\n]*InternalServerError: said so$"):
        read(source.reader((method, "InternalServerError")))


def test_a_stream_that_is_not_there_is_one_sentence(dynamodb: EmbeddedDynamoDB) -> None:
    arn = "arn:aws:dynamodb:us-east-1:000000000000:table/nobody/stream/2026-01-02T03:04:05.678"
    with pytest.raises(SourceError, match=r"^stream arn:\S+: it is gone[^\n]*$"):
        StreamReader(dynamodb.aws.streams(), arn).describe()


def test_an_endpoint_where_nothing_listens_is_one_sentence() -> None:
    reader = StreamReader(Aws("us-east-1", "http://127.0.0.1:1", ("a", "b")).streams(), STREAM_ARN)
    with pytest.raises(
        SourceError, match=r"^stream \S+: cannot be reached at http://127.0.0.1:1/$"
    ):
        reader.describe()


def test_a_password_in_an_endpoint_is_not_repeated() -> None:
    """boto3 reads more variables with endpoints than we do."""
    url = "http://user:hunter2@127.0.0.1:1"
    reader = StreamReader(Aws("us-east-1", url, ("a", "b")).streams(), STREAM_ARN)
    with pytest.raises(SourceError, match=r"cannot be reached at http://\*\*\*@127.0.0.1:1/$"):
        reader.describe()


def test_binary_and_time_come_as_in_a_lambda_event(dynamodb: EmbeddedDynamoDB) -> None:
    source = Source(dynamodb)
    data = bytes(range(256))
    encoded = base64.b64encode(data).decode()
    source.put(
        "1",
        b={"B": data},
        bs={"BS": [data]},
        deep={"M": {"list": {"L": [{"B": data}, {"NULL": True}, {"BOOL": False}]}}},
        n={"N": "12345678901234567890123456789012345678"},
    )
    (record,) = read(source.reader())
    image = record["dynamodb"]["NewImage"]
    assert image["b"] == {"B": encoded}
    assert image["bs"] == {"BS": [encoded]}
    assert image["deep"] == {
        "M": {"list": {"L": [{"B": encoded}, {"NULL": True}, {"BOOL": False}]}}
    }
    assert image["n"] == {"N": "12345678901234567890123456789012345678"}
    assert isinstance(record["dynamodb"]["ApproximateCreationDateTime"], float)
    assert record["eventSourceARN"] == source.arn
    assert record["eventName"] == "INSERT"
    assert record["eventSource"] == "aws:dynamodb"
    assert json.loads(json.dumps(record)) == record


def test_who_deleted_is_spelt_as_in_a_lambda_event() -> None:
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/time-to-live-ttl-streams.html
    class Client:
        def get_shard_iterator(self, **_given: object) -> object:
            return {"ShardIterator": "1"}

        def get_records(self, **_given: object) -> object:
            service = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
            return {"Records": [{"dynamodb": {"SequenceNumber": "1"}, "userIdentity": service}]}

    reader = StreamReader(cast("Any", Client()), "arn")
    (page,) = reader.pages(Shard("1", None), None)
    assert page.closed
    assert page.records[0]["userIdentity"] == {
        "type": "Service",
        "principalId": "dynamodb.amazonaws.com",
    }


class Scripted:
    """A client for a stream of many shards and pages, listed and read piece by piece."""

    def __init__(self, shards: list[Shard], pages: list[list[int]], listed_at_once: int) -> None:
        self._shards = shards
        self._pages = pages
        self._listed_at_once = listed_at_once

    def describe_stream(self, **given: str) -> object:
        start = given.get("ExclusiveStartShardId")
        begin = next((i + 1 for i, s in enumerate(self._shards) if s.id == start), 0)
        part = self._shards[begin : begin + self._listed_at_once]
        more = begin + len(part) < len(self._shards)
        listed = [
            {"ShardId": s.id} | ({"ParentShardId": s.parent} if s.parent else {}) for s in part
        ]
        last = {"LastEvaluatedShardId": part[-1].id} if more else {}
        return {"StreamDescription": {"Shards": listed, **last}}

    def get_shard_iterator(self, **_given: str) -> object:
        return {"ShardIterator": "0"}

    def get_records(self, **given: Any) -> object:
        index = int(given["ShardIterator"])
        more = index + 1 < len(self._pages)
        records = [{"dynamodb": {"SequenceNumber": str(n)}} for n in self._pages[index]]
        return {"Records": records} | ({"NextShardIterator": str(index + 1)} if more else {})


@given(count=st.integers(1, 30), listed_at_once=st.integers(1, 7))
def test_all_shards_are_listed_with_their_parents(count: int, listed_at_once: int) -> None:
    shards = [Shard(f"s{n}", f"s{n - 3}" if n >= 3 else None) for n in range(count)]
    client = Scripted(shards, [[]], listed_at_once)
    assert StreamReader(cast("Any", client), "arn").describe().shards == shards


@given(st.lists(st.lists(st.integers(1, 99), max_size=3), min_size=1, max_size=6))
def test_only_the_last_page_of_a_closed_shard_is_closed(pages: list[list[int]]) -> None:
    client = Scripted([Shard("s", None)], pages, 1)
    found = list(StreamReader(cast("Any", client), "arn").pages(Shard("s", None), None))
    assert [[int(number(r)) for r in page.records] for page in found] == pages
    assert [page.closed for page in found] == [False] * (len(pages) - 1) + [True]


def test_an_answer_that_boto3_could_not_read_is_no_empty_page() -> None:
    class Damaged:
        def get_shard_iterator(self, **_given: Any) -> Any:
            return {"ShardIterator": "one"}

        def get_records(self, **_given: Any) -> Any:
            return {"ResponseMetadata": {"HTTPStatusCode": 200}}

    reader = StreamReader(cast("Any", Damaged()), "arn")
    with pytest.raises(SourceError, match="damaged"):
        next(reader.pages(Shard("s", None), None))
