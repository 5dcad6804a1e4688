"""Reading the records of one shard after another."""

import base64
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from dynamirror.dynamodb.client import aws_errors, error_code
from dynamirror.dynamodb.shards import Shard
from dynamirror.errors import SourceError

if TYPE_CHECKING:
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

logger = logging.getLogger("dynamirror")

Record = dict[str, Any]

_GONE = "ResourceNotFoundException"
# GetRecords gives at most this many, or 1 MB.
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class RecordPage:
    """The answer to one GetRecords.

    Args:
        records: as Lambda hands them over; may be empty.
        closed: whether the shard has nothing more to give, ever.
    """

    records: list[Record]
    closed: bool


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """A stream's shards and its status.

    Args:
        shards: all that are listed.
        switched_off: whether nothing more will ever be written to it.
    """

    shards: list[Shard]
    switched_off: bool = False


class StreamReader:
    """Reads one stream.

    Args:
        client: boto3's dynamodbstreams client.
        arn: the stream's ARN.

    Attributes:
        answered_at: when AWS answered last, in monotonic seconds.
    """

    def __init__(self, client: "DynamoDBStreamsClient", arn: str) -> None:
        self._client = client
        self.arn = arn
        self.answered_at = monotonic()

    def describe(self) -> StreamDescription:
        """List all shards, and whether the stream was switched off.

        Raises:
            SourceError: the stream cannot be described; `StreamGoneError` if there is none.
        """
        shards: list[Shard] = []
        start: dict[str, Any] = {}
        while True:
            try:
                with aws_errors(f"stream {self.arn}"):
                    answer = self._client.describe_stream(StreamArn=self.arn, **start)
                    description = answer["StreamDescription"]
                self.answered_at = monotonic()
            except SourceError as error:
                if error_code(error.__cause__) == _GONE:
                    raise StreamGoneError(self.arn) from error
                raise
            shards += [
                Shard(shard["ShardId"], shard.get("ParentShardId"))
                for shard in description.get("Shards", [])
            ]
            last = description.get("LastEvaluatedShardId")
            if last is None:
                off = description.get("StreamStatus") == "DISABLED"
                return StreamDescription(shards, switched_off=off)
            start = {"ExclusiveStartShardId": last}

    def pages(
        self, shard: Shard, after: str | None, *, latest: bool = False
    ) -> Iterator[RecordPage]:
        """Read a shard page by page, without end until it is closed; empty pages included.

        Args:
            shard: the shard.
            after: sequence number of the last record that was dealt with; None for none yet.
            latest: without `after`, begin at what is written from now on, not at the oldest record.

        Raises:
            SourceError: the shard cannot be read; `TrimmedError` if records after `after` are gone,
                `ShardGoneError` if the whole shard is.
        """
        iterator = self._iterator(shard, after, latest=latest)
        while True:
            try:
                with aws_errors(f"shard {shard.id}"):
                    answer = self._client.get_records(ShardIterator=iterator, Limit=_PAGE)
                    given = answer["Records"]
                self.answered_at = monotonic()
            except SourceError as error:
                if error_code(error.__cause__) == "ExpiredIteratorException":
                    iterator = self._iterator(shard, after, latest=latest)  # they live 15 minutes
                    continue
                raise _loss(error, shard, after) from error
            records = [_as_lambda_has_it(record, self.arn) for record in given]
            latest = False  # from now on nothing may be passed over
            if records:
                after = records[-1]["dynamodb"]["SequenceNumber"]
            following = answer.get("NextShardIterator")
            yield RecordPage(records, closed=not following)
            if not following:
                return
            iterator = following

    def _iterator(self, shard: Shard, after: str | None, *, latest: bool) -> str:
        begin: dict[str, Any] = {"ShardIteratorType": "LATEST" if latest else "TRIM_HORIZON"}
        if after is not None:
            begin = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": after}
        try:
            with aws_errors(f"shard {shard.id}"):
                return self._client.get_shard_iterator(
                    StreamArn=self.arn, ShardId=shard.id, **begin
                )["ShardIterator"]
        except SourceError as error:
            raise _loss(error, shard, after) from error


class TrimmedError(SourceError):
    """Records that were still to be read are gone: the mirror has a gap."""

    def __init__(self, shard: Shard, after: str | None) -> None:
        super().__init__(
            f"shard {shard.id}: the records after {after or 'its beginning'} are gone (a stream "
            "keeps 24 hours); the mirror is incomplete until it is rebuilt"
        )


class ShardGoneError(SourceError):
    """A shard is not listed any more: it was trimmed, or its stream deleted."""


class StreamGoneError(SourceError):
    """There is no such stream: its table was deleted, or it was switched off a day ago."""

    def __init__(self, arn: str) -> None:
        super().__init__(f"stream {arn}: it is gone; was its table deleted?")


def _loss(error: SourceError, shard: Shard, after: str | None) -> SourceError:
    """Return the error that says what an error of AWS means for unread records."""
    match error_code(error.__cause__):
        case "TrimmedDataAccessException":
            return TrimmedError(shard, after)
        case code if code == _GONE:
            return ShardGoneError(f"shard {shard.id}: it is gone")
        case _:
            return error


def _as_lambda_has_it(record: Mapping[str, Any], arn: str) -> Record:
    """Give a record of GetRecords the form it has in a Lambda event.

    https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
    """
    given = _jsonable(record)
    if "userIdentity" in given:  # only here do the two spell names differently
        given["userIdentity"] = {k[0].lower() + k[1:]: v for k, v in given["userIdentity"].items()}
    return {**given, "eventSourceARN": arn}


def _jsonable(value: Any) -> Any:
    match value:
        case dict():
            return {name: _jsonable(content) for name, content in value.items()}
        case list():
            return [_jsonable(content) for content in value]
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case datetime():
            return value.timestamp()
        case _:
            return value
