"""Decoding stream records."""

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from tests.support.builders import CREATED, SCHEMA, STREAM_ARN, item, record, view
from tests.support.strategies import PROMISE, PROMISE_OF_EACH, is_one_sentence, json_values

from dynamirror.errors import ConfigError, RecordError
from dynamirror.records.stream_record import (
    Change,
    check_view_type,
    decode,
    keys,
    parse_stream_arn,
    sequence_number,
)
from dynamirror.records.version import ChangeVersion
from dynamirror.views.entry import Put, entries_of_change
from dynamirror.views.view import ViewSpec

EPOCH = 1767323045678
SECRET = "s3cret"
NO_SEQUENCE_NUMBERS: list[Any] = [
    *("", "abc", "-5", "+5", "1_0", " 1", "1.5", "\u0665", "9" * 41),
    *(5, 1.5, None, []),
]
NO_TIMES: list[Any] = ["yesterday", None, [], -1, 10**10, 1e300, float("nan"), float("inf")]


def from_get_records(record: dict[str, Any]) -> dict[str, Any]:
    """The same record as boto3 gives it: a datetime, and no stream ARN."""
    told = deepcopy(record)
    del told["eventSourceARN"]
    data = told["dynamodb"]
    data["ApproximateCreationDateTime"] = datetime.fromtimestamp(CREATED, UTC)
    return told


@pytest.mark.parametrize(
    ("raw", "new", "old"),
    [
        (record(7, new=item(name="a")), item(name="a"), None),
        (record(7, new=item(name="b"), old=item(name="a")), item(name="b"), item(name="a")),
        (record(7, old=item(name="a")), None, item(name="a")),
    ],
    ids=["INSERT", "MODIFY", "REMOVE"],
)
def test_lambda_and_get_records_tell_the_same_change(
    raw: dict[str, Any], new: dict[str, Any] | None, old: dict[str, Any] | None
) -> None:
    expected = Change(
        table="users",
        keys={"id": {"S": "1"}},
        version=ChangeVersion(EPOCH, 7, CREATED),
        new=new,
        old=old,
        carries_old=True,
    )
    assert decode(raw) == expected
    assert decode(from_get_records(raw), STREAM_ARN) == expected


def test_binary_of_lambda_and_of_get_records_becomes_the_same_entry() -> None:
    lambdas = {"id": {"B": "AP8="}, "list": {"L": [{"B": "YQ=="}]}, "set": {"BS": ["Yg==", "YQ=="]}}
    boto3s = {"id": {"B": b"\0\xff"}, "list": {"L": [{"B": b"a"}]}, "set": {"BS": [b"a", b"b"]}}
    entries = [
        *entries_of_change(view(), decode(record(new=lambdas))),
        *entries_of_change(view(), decode(from_get_records(record(new=boto3s)), STREAM_ARN)),
    ]
    one, two = (entry for entry in entries if isinstance(entry, Put))
    assert one.key == two.key
    assert view().encoding.encode(one.item) == view().encoding.encode(two.item)


def test_the_given_stream_arn_wins() -> None:
    other = STREAM_ARN.replace("users", "orders")
    assert decode(record(new=item()), other).table == "orders"


def test_the_creation_time_is_floored_to_the_second() -> None:
    raw = record(new=item(), ApproximateCreationDateTime=CREATED + 0.999)
    assert decode(raw).version.created == CREATED


def test_leading_zeros_do_not_count_in_a_sequence_number() -> None:
    raw = record(new=item(), SequenceNumber="000000000000000000042")
    assert decode(raw).version.sequence == 42
    assert sequence_number(raw) == "000000000000000000042"


def test_a_sequence_number_keeps_all_of_its_digits() -> None:
    digits = "1" + "0" * 38 + "7"
    assert decode(record(new=item(), SequenceNumber=digits)).version.sequence == int(digits)


def test_a_delete_by_ttl_is_a_delete() -> None:
    raw = record(old=item()) | {
        "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    }
    assert decode(raw) == decode(record(old=item()))
    assert decode(raw).new is None


@pytest.mark.parametrize("view_type", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_stream_without_new_images_is_refused_in_one_sentence(view_type: str) -> None:
    raw = record(old=item(), StreamViewType=view_type)
    with pytest.raises(ConfigError, match=f"users has the view type {view_type}") as refused:
        decode(raw)
    assert is_one_sentence(refused.value)
    assert "NEW_AND_OLD_IMAGES" in str(refused.value)


def test_a_stream_with_new_images_only_is_accepted() -> None:
    change = decode(record(new=item(), StreamViewType="NEW_IMAGE"))
    assert not change.carries_old
    check_view_type("NEW_IMAGE", "users")


def test_a_view_that_needs_old_images_refuses_a_stream_without_them() -> None:
    check_view_type("NEW_AND_OLD_IMAGES", "users", needs_old_image=True)
    with pytest.raises(ConfigError, match="needs the old image") as refused:
        check_view_type("NEW_IMAGE", "users", needs_old_image=True)
    assert is_one_sentence(refused.value)


@pytest.mark.parametrize(
    ("arn", "epoch"),
    [
        (STREAM_ARN, EPOCH),
        (STREAM_ARN.replace("arn:aws:", "arn:aws-cn:"), EPOCH),
        (STREAM_ARN.replace(".678", ".001"), EPOCH - 677),
        (STREAM_ARN.replace(".678", ""), EPOCH - 678),
    ],
)
def test_the_epoch_is_the_streams_creation_in_milliseconds(arn: str, epoch: int) -> None:
    stream = parse_stream_arn(arn)
    assert (stream.table, stream.epoch) == ("users", epoch)


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "users",
        "arn:aws:dynamodb:us-east-1:123456789012:table/users",
        "arn:aws:dynamodb:us-east-1:123456789012:table/users/stream/yesterday",
        "arn:aws:dynamodb:us-east-1:123456789012:table//stream/2026-01-02T03:04:05.678",
        "arn:aws:dynamodb:us-east-1:123456789012:table/users/index/2026-01-02T03:04:05.678",
        "arn:aws:kinesis:us-east-1:123456789012:stream/users",
        "nra:aws:dynamodb:us-east-1:123456789012:table/users/stream/2026-01-02T03:04:05.678",
    ],
)
def test_what_is_no_stream_arn_is_refused(arn: str) -> None:
    with pytest.raises(RecordError, match="is not the ARN of a DynamoDB stream"):
        parse_stream_arn(arn)


@pytest.mark.parametrize("field", ["eventName", "eventSourceARN", "dynamodb"])
def test_a_record_that_lacks_a_field_is_refused(field: str) -> None:
    raw = record(new=item(name=SECRET))
    del raw[field]
    with pytest.raises(RecordError, match=field) as refused:
        decode(raw)
    assert SECRET not in str(refused.value)
    assert is_one_sentence(refused.value)


@pytest.mark.parametrize(
    "field", ["Keys", "SequenceNumber", "ApproximateCreationDateTime", "NewImage"]
)
def test_a_record_whose_data_lack_a_field_is_refused(field: str) -> None:
    raw = record(new=item(name=SECRET))
    del raw["dynamodb"][field]
    with pytest.raises(RecordError, match=field) as refused:
        decode(raw)
    assert SECRET not in str(refused.value)
    assert is_one_sentence(refused.value)


def test_fields_that_are_not_needed_may_be_missing() -> None:
    raw = record(new=item())
    expected = decode(raw)
    for field in ("eventID", "eventVersion", "eventSource", "awsRegion"):
        del raw[field]
    for field in ("SizeBytes", "StreamViewType"):
        del raw["dynamodb"][field]
    assert decode(raw) == expected


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (record(new=item(SECRET)) | {"eventName": "UPSERT"}, "unknown event 'UPSERT'"),
        (record(new=item(SECRET)) | {"eventName": ["INSERT"]}, "unknown event"),
        (record(new=item(SECRET)) | {"eventName": "REMOVE"}, "REMOVE with NewImage"),
        (record(old=item(SECRET)) | {"eventName": "MODIFY"}, "MODIFY without NewImage"),
        (record(new=item(SECRET)) | {"eventSourceARN": [STREAM_ARN]}, "eventSourceARN"),
        (record(new=item(SECRET)) | {"eventSourceARN": "x"}, "'x' is not the ARN"),
        (record(new=item(SECRET)) | {"dynamodb": SECRET}, "not an object"),
        (record(new=item(SECRET)) | {"dynamodb": [SECRET]}, "not an object"),
        (record(new=item(SECRET), Keys={}), "no key attribute"),
        (record(new=item(SECRET), Keys=None), "no key attribute"),
        (record(new=item(SECRET), Keys=[SECRET]), "not an object"),
        (record(new=item(SECRET), NewImage=[SECRET]), "not an object"),
        (record(new=item(SECRET), OldImage=SECRET), "not an object"),
        (record(new=item(SECRET), StreamViewType=["NEW_IMAGE"]), "unknown StreamViewType"),
        (record(new=item(SECRET), StreamViewType="ALL"), "unknown StreamViewType 'ALL'"),
        *[
            (record(new=item(SECRET), SequenceNumber=number), "SequenceNumber")
            for number in NO_SEQUENCE_NUMBERS
        ],
        *[
            (record(new=item(SECRET), ApproximateCreationDateTime=time), "CreationDateTime")
            for time in NO_TIMES
        ],
    ],
)
def test_a_malformed_record_is_refused_without_telling_what_is_in_it(
    raw: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RecordError, match=reason) as refused:
        decode(raw)
    assert SECRET not in str(refused.value)
    assert is_one_sentence(refused.value)


def test_a_refused_record_is_named_by_its_sequence_number_and_stream() -> None:
    with pytest.raises(RecordError) as refused:
        decode(record(42, new=item()) | {"eventName": "UPSERT"})
    assert str(refused.value).startswith(f"record 000000000000000000042 of {STREAM_ARN}: ")


@PROMISE
@given(json_values)
def test_any_json_is_decoded_or_refused(raw: Any) -> None:
    with pytest.raises(RecordError):
        decode(raw)
    assert sequence_number(raw) is None
    assert keys(raw) is None


def paths(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where one can put something else into a JSON value."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path for name, each in inner for path in [(*above, name), *paths(each, (*above, name))]]


WHOLE = record(
    new=item(SECRET, list={"L": [{"N": "1"}, {"M": {"a": {"B": "YQ=="}}}]}, set={"NS": ["1"]}),
    old=item(SECRET, name=SECRET),
)
SPECS = [ViewSpec(), ViewSpec(key="by-name:{name}:{id}")]


@pytest.mark.parametrize("path", paths(WHOLE), ids=lambda path: ".".join(map(str, path)))
@PROMISE_OF_EACH
@given(replacement=json_values)
def test_a_record_with_anything_anywhere_becomes_an_entry_or_is_refused(
    path: tuple[Any, ...], replacement: Any
) -> None:
    """All the way from record to bytes, nothing but RecordError is raised, and it tells nothing."""
    raw = deepcopy(WHOLE)
    at: Any = raw
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = replacement
    try:
        change = decode(raw)
        assert len(str(change.version)) == 64
        for spec in SPECS:
            for entry in entries_of_change(spec.bind(SCHEMA), change):
                if isinstance(entry, Put):
                    entry.view.encoding.encode(entry.item)
    except RecordError as error:
        assert SECRET not in str(error)  # noqa: PT017 - it may as well be accepted


@pytest.mark.parametrize(
    "raw", [None, 5, "x", [], {}, {"dynamodb": []}, {"dynamodb": {"Keys": []}}], ids=repr
)
def test_what_a_broken_record_can_still_tell_is_asked_safely(raw: Any) -> None:
    assert sequence_number(raw) is None
    assert keys(raw) is None


def test_the_key_of_a_record_is_told_even_if_it_cannot_be_decoded() -> None:
    assert keys(record(new=item("7")) | {"eventName": "UPSERT"}) == {"id": {"S": "7"}}
