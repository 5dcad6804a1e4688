"""What DynamoDB refuses is refused alike, whoever would have answered."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest
from boto3.dynamodb.conditions import Attr, ConditionExpressionBuilder, Key
from boto3.exceptions import DynamoDBNeedsKeyConditionError
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from tests.support.mirrored import MakeMirrored, Mirrored, source_of

from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import REGION
from dynamirror.errors import SourceError
from dynamirror.reader.values import attribute_of
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import Schema, ViewSpec

SPEC = ViewSpec(encoding=DYNAMODB_JSON, collection=True)
EMPTY = (
    "One or more parameter values are not valid. The AttributeValue for a key attribute cannot "
    "contain an empty {} value. Key: {}"
)
HASH_TOO_LONG = (
    "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size "
    "limit of2048 bytes"
)
RANGE_TOO_LONG = (
    "One or more parameter values were invalid: Aggregated size of all range keys has exceeded "
    "the size limit of 1024 bytes"
)
DIGITS = "Attempting to store more than 38 significant digits in a Number"
OVERFLOW = (
    "Number overflow. Attempting to store a number with magnitude larger than supported range"
)
UNDERFLOW = (
    "Number underflow. Attempting to store a number with magnitude smaller than supported range"
)
MISMATCH = "The provided key element does not match the schema"
REFUSED = ClientError(
    {
        "Error": {"Code": "ValidationException", "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": 400, "RequestId": "1"},  # type: ignore[typeddict-item]
    },
    "Query",
)
BAD_NUMBERS = [
    (10**38 + 1, DIGITS),
    (-(10**38) - 1, DIGITS),
    (Decimal("1." + "0" * 37 + "1"), DIGITS),
    (Decimal("1E+126"), OVERFLOW),
    (10**5000, OVERFLOW),
    (Decimal("-1E+126"), OVERFLOW),
    (Decimal("9.9E-131"), UNDERFLOW),
    (
        Decimal("-Infinity"),
        "The parameter cannot be converted to a numeric value: -Infinity",
    ),
]
# One past each of DynamoDB's limits; the emulator is as strict on all but the length of keys.
KEYS: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({"id": "S"}, {"id": ""}, EMPTY.format("string", "id")),
    ({"id": "B"}, {"id": b""}, EMPTY.format("binary", "id")),
    ({"pk": "S", "sk": "S"}, {"pk": "p", "sk": ""}, EMPTY.format("string", "sk")),
    ({"id": "S"}, {"id": "x" * 2049}, HASH_TOO_LONG),
    ({"id": "S"}, {"id": "😀" * 512 + "x"}, HASH_TOO_LONG),
    ({"id": "B"}, {"id": b"x" * 2049}, HASH_TOO_LONG),
    ({"pk": "S", "sk": "S"}, {"pk": "p", "sk": "é" * 513}, RANGE_TOO_LONG),
    ({"pk": "S", "sk": "B"}, {"pk": "p", "sk": b"x" * 1025}, RANGE_TOO_LONG),
    *(({"id": "N"}, {"id": number}, says) for number, says in BAD_NUMBERS),
    ({"id": "S"}, {}, MISMATCH),
    ({"id": "S"}, {"id": 7}, MISMATCH),
    ({"id": "S"}, {"id": Decimal("9E-131")}, UNDERFLOW),
    ({"pk": "S", "sk": "N"}, {"pk": "", "sk": Decimal("9E-131")}, UNDERFLOW),
    ({"id": "S"}, {"id": "7", "name": "Eve"}, MISMATCH),
    ({"id": "S"}, {"id": True}, MISMATCH),
    ({"id": "S"}, {"id": None}, MISMATCH),
    ({"id": "S"}, {"id": ["7"]}, MISMATCH),
    ({"id": "N"}, {"id": {1, 2}}, MISMATCH),
]


class Number(IntEnum):
    """A number that Python prints by its name."""

    ONE = 1


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, str, str]:
    """The operation, code and message of the refusal of a call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error: Any = caught.value
    metadata = error.response["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == 400
    assert metadata["RequestId"]
    return error.operation_name, error.response["Error"]["Code"], error.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("keys", "key", "says"), KEYS, ids=[f"{says[:40]}-{n}" for n, (_, _, says) in enumerate(KEYS)]
)
def test_a_key_that_dynamodb_refuses_is_refused_from_cache_and_table_alike(
    make: MakeMirrored, keys: dict[str, str], key: dict[str, Any], says: str
) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON), keys=keys)
    world.is_complete()
    reader = world.reader(on_miss="absent")
    code = "ValidationException"
    for consistent in (False, True):
        got = refused(reader.get_item, Key=key, ConsistentRead=consistent)
        assert got == ("GetItem", code, says)
        request = {world.name: {"Keys": [key], "ConsistentRead": consistent}}
        got = refused(reader.batch_get_item, RequestItems=request)
        assert got == ("BatchGetItem", code, says)
    number = next((one for one in key.values() if isinstance(one, (int, Decimal))), None)
    if says in (DIGITS, OVERFLOW):
        return  # boto3's serialiser refuses these with an error of decimal's
    assert refused(world.table.get_item, Key=key)[:2] == ("GetItem", code), number


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("S", "x" * 2048),
        ("S", "😀" * 512),
        ("B", b"x" * 2048),
        ("N", 10**38 - 1),
        ("N", 10**125),
        ("N", Decimal("9.9999999999999999999999999999999999999E+125")),
        ("N", Decimal("-1E-130")),
        ("N", Number.ONE),
        ("N", 0),
        ("N", Decimal("0E-10")),
    ],
)
def test_the_largest_and_smallest_keys_are_read(make: MakeMirrored, tag: str, value: Any) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON), keys={"id": tag})
    stored: Any = {"id": attribute_of(value), "name": {"S": "Eve"}}
    world.client.put_item(TableName=world.name, Item=stored)
    reader = world.reader()
    # The emulator finds a number only as it was written.
    assert "ResponseMetadata" in reader.get_item(Key={"id": value}, ConsistentRead=True)
    world.mirror_items(world.client.scan(TableName=world.name)["Items"])
    answer = reader.get_item(Key={"id": value})
    assert (answer["Item"]["name"], source_of(answer)) == ("Eve", "cache")


def test_a_key_of_a_type_that_boto3_does_not_know_is_its_error(make: MakeMirrored) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON), keys={"id": "N"})
    reader = world.reader()
    bad: list[Any] = [1.5, 1j, Decimal("NaN"), Decimal("Infinity")]
    for value in bad:
        raised = []
        for call in (reader.get_item, world.table.get_item):
            with pytest.raises(TypeError) as caught:
                call(Key={"id": value})
            raised.append(str(caught.value))
        assert raised[0] == raised[1]
    keys: list[Any] = ["7", ["7"], None]
    for key in keys:
        raised = []
        for call in (reader.get_item, world.table.get_item):
            with pytest.raises(ParamValidationError) as invalid:
                call(Key=key)
            raised.append(str(invalid.value))
        assert raised[0] == raised[1]


@pytest.mark.parametrize("consistent", [False, True])
def test_text_that_is_not_unicode_is_refused_before_anything_is_asked(
    make: MakeMirrored, *, consistent: bool
) -> None:
    reader = make(SPEC, keys={"pk": "S", "sk": "S"}).reader()
    bad = "\ud800"
    for key in ({"pk": bad, "sk": "s"}, {"pk": "p", "sk": bad * 1000}):
        with pytest.raises(ValueError, match="not valid Unicode"):
            reader.get_item(Key=key, ConsistentRead=consistent)
    for condition in (Key("pk").eq(bad), Key("pk").eq("p") & Key("sk").begins_with(bad)):
        with pytest.raises(ValueError, match="not valid Unicode"):
            reader.query(KeyConditionExpression=condition, ConsistentRead=consistent)


def test_a_key_that_comes_twice_is_refused(make: MakeMirrored) -> None:
    world = make(keys={"id": "N"})
    request = {world.name: {"Keys": [{"id": 1}, {"id": Decimal("1.0")}]}}
    says = "Provided list of item keys contains duplicates"
    got = refused(world.reader().batch_get_item, RequestItems=request)
    assert got == ("BatchGetItem", "ValidationException", says)


P = Key("pk").eq("p")
CONDITIONS: list[tuple[str, Any]] = [
    ("N", Key("sk").eq(1)),
    ("N", Key("pk").gt("p")),
    ("N", P & Key("n").eq(1)),
    ("N", P | Key("sk").eq(1)),
    ("N", ~Key("pk").eq("p")),
    ("N", P & Key("sk").gt(1) & Key("sk").lt(1)),
    ("N", P & Key("sk").eq(1) & Key("n").eq(1)),
    ("N", P & Key("sk").eq("1")),
    ("N", Key("pk").eq(1)),
    ("N", Key("pk").eq(True)),  # noqa: FBT003 - the value under test
    ("N", Key("pk").eq("")),
    ("S", P & Key("sk").eq("")),
    ("S", P & Key("sk").begins_with("")),
    ("B", P & Key("sk").begins_with(b"")),
    ("S", P & Key("sk").between("", "a")),
    ("N", Key("pk").eq("x" * 2049)),
    ("S", P & Key("sk").gt("x" * 1025)),
    ("N", P & Key("sk").begins_with(1)),
    ("N", P & Key("sk").between(2, 1)),
    ("N", P & Key("sk").between(2, "b")),
    *(("N", P & Key("sk").lt(number)) for number, _ in BAD_NUMBERS),
]


@pytest.fixture
def sent(world: Mirrored) -> Iterator[list[Any]]:
    """The body of each query that DynamoDB is sent, which refuses all, unlike the emulator."""
    arguments: list[Any] = []

    def refuse(params: Any, **_: Any) -> None:
        arguments.append(json.loads(params["body"]))
        raise REFUSED

    events = world.client.meta.events
    events.register("before-call.dynamodb.Query", refuse)
    yield arguments
    events.unregister("before-call.dynamodb.Query", refuse)


@pytest.fixture
def world(make: MakeMirrored, request: pytest.FixtureRequest) -> Mirrored:
    """A complete mirror whose sort key has the type that the test names, or is a number."""
    world = make(SPEC, keys={"pk": "S", "sk": getattr(request, "param", "N")})
    world.is_complete()
    return world


@pytest.mark.parametrize(
    ("world", "condition"),
    CONDITIONS,
    indirect=["world"],
    ids=[str(n) for n, _ in enumerate(CONDITIONS)],
)
def test_a_condition_that_dynamodb_refuses_is_left_to_it(
    world: Mirrored, sent: list[Any], condition: Any
) -> None:
    reader = world.reader()
    for consistent in (False, True):
        got = refused(reader.query, KeyConditionExpression=condition, ConsistentRead=consistent)
        assert got == ("Query", "ValidationException", "no")
    built = ConditionExpressionBuilder().build_expression(condition, is_key_condition=True)
    assert [one["KeyConditionExpression"] for one in sent] == [built.condition_expression] * 2


def test_a_start_outside_the_range_is_left_to_dynamodb(world: Mirrored, sent: list[Any]) -> None:
    sort = Key("sk")
    starts: list[tuple[Any, Any]] = [
        *((P, key) for key in ({}, {"pk": "p"}, {"pk": "p", "sk": "1"}, {"pk": "q", "sk": 1})),
        (P, {"pk": "p", "sk": 1, "n": 1}),
        (P & sort.gt(3), {"pk": "p", "sk": 3}),
        (P & sort.gte(3), {"pk": "p", "sk": Decimal("2.9")}),
        (P & sort.lt(3), {"pk": "p", "sk": 3}),
        (P & sort.lte(3), {"pk": "p", "sk": Decimal("3.1")}),
        (P & sort.eq(3), {"pk": "p", "sk": 4}),
        (P & sort.between(3, 5), {"pk": "p", "sk": 2}),
        (P & sort.between(3, 5), {"pk": "p", "sk": 6}),
    ]
    for condition, key in starts:
        arguments = {"KeyConditionExpression": condition, "ExclusiveStartKey": key}
        got = refused(world.reader().query, **arguments)
        assert got == ("Query", "ValidationException", "no")
    assert [one["ExclusiveStartKey"].keys() for one in sent] == [key.keys() for _, key in starts]


def test_a_query_begins_behind_its_start(world: Mirrored) -> None:
    sort = Key("sk")
    world.put(*({"pk": "p", "sk": number} for number in range(9)))
    world.mirror(*({"pk": "p", "sk": number} for number in range(9)))
    for condition, sk, left in [
        (sort.gt(3), 4, 4),
        (sort.lte(3), 3, 0),
        (sort.between(3, 5), 3, 2),
    ]:
        for call in (world.reader().query, world.table.query):
            answer = call(
                KeyConditionExpression=P & condition, ExclusiveStartKey={"pk": "p", "sk": sk}
            )
            assert answer["Count"] == left


def test_what_boto3_refuses_is_refused_as_it_does(make: MakeMirrored) -> None:
    world = make(SPEC, keys={"pk": "S", "sk": "N"})
    reader = world.reader()
    for arguments in ({"Limit": 0}, {"Limit": -1}, {"Limit": "1"}, {"ExclusiveStartKey": "p"}):
        raised = []
        for call in (reader.query, world.table.query):
            with pytest.raises(ParamValidationError) as caught:
                call(KeyConditionExpression=P, **arguments)
            raised.append(str(caught.value))
        assert raised[0] == raised[1]
    for condition in (P & Attr("sk").ne(1), Attr("pk").eq("p")):
        for call in (reader.query, world.table.query):
            with pytest.raises(DynamoDBNeedsKeyConditionError):
                call(KeyConditionExpression=condition)
    with pytest.raises(TypeError, match="built with boto3's Key"):
        reader.query(KeyConditionExpression=1)


def test_what_the_table_itself_refuses_comes_as_it_is(make: MakeMirrored) -> None:
    world = make(SPEC, keys={"pk": "S", "sk": "N"})
    reader = world.reader()
    world.client.delete_table(TableName=world.name)
    key = {"pk": "p", "sk": 1}
    calls: list[Callable[[], Any]] = [
        lambda: reader.get_item(Key=key),
        lambda: reader.batch_get_item(RequestItems={world.name: {"Keys": [key, {**key, "sk": 2}]}}),
        lambda: reader.query(KeyConditionExpression=P),
    ]
    for call in calls:
        with pytest.raises(world.client.exceptions.ResourceNotFoundException) as caught:
            call()
        assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_a_table_that_cannot_be_reached_is_botocores_own_error(make: MakeMirrored) -> None:
    world = make(SPEC, keys={"pk": "S", "sk": "N"})
    nowhere = Aws(REGION, "http://127.0.0.1:9", ("local", "local"))
    reader = world.reader(aws=nowhere, schema=Schema(world.name, ("pk", "sk"), ("S", "N")))
    with pytest.raises(EndpointConnectionError):
        reader.get_item(Key={"pk": "p", "sk": 1})


def test_a_damaged_answer_is_no_absent_item_and_is_not_quoted(make: MakeMirrored) -> None:
    world = make(SPEC, keys={"pk": "S", "sk": "N"})
    world.put({"pk": "p", "sk": 1, "secret": "hidden"})
    reader = world.reader()
    damaged = [b'{"Itme": {"secret": {"S": "hidden"}}}', b'{"secret": "hidden"']
    taken: list[bytes] = []
    calls: list[Callable[[], Any]] = [
        lambda: reader.get_item(Key={"pk": "p", "sk": 1}),
        lambda: reader.query(KeyConditionExpression=P),
    ]

    def damage(response_dict: dict[str, Any], **_: Any) -> None:
        response_dict["body"] = taken[0]
        response_dict["headers"]["content-length"] = str(len(taken[0]))

    events = world.client.meta.events
    events.register("before-parse.dynamodb", damage)
    try:
        for body in damaged:
            taken[:] = [body]
            for call in calls:
                with pytest.raises(SourceError, match="damaged") as caught:
                    call()
                assert "hidden" not in str(caught.value)
    finally:
        events.unregister("before-parse.dynamodb", damage)
