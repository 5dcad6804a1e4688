"""A partition of generated items in the emulator."""

from collections.abc import Iterator
from random import Random

import pytest
from tests.support.generated_expressions import Partition, Requests, item

from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import REGION, EmbeddedDynamoDB, create_table

_ITEMS = 40


@pytest.fixture(scope="session")
def partition(dynamodb: EmbeddedDynamoDB) -> Iterator[Partition]:
    """A table `expressions` with the sort key `sk`, a number."""
    client = Aws(REGION, dynamodb.endpoint_url, ("local", "local")).dynamodb()
    create_table(client, "expressions", {"pk": "S", "sk": "N"}, view_type=None)
    requests = Requests(dynamodb.endpoint_url)
    random = Random(17)
    for number in range(_ITEMS):
        key = {"pk": {"S": "p"}, "sk": {"N": str(number)}}
        put = {"TableName": "expressions", "Item": {**item(random), **key}}
        assert requests.call("PutItem", put)[0] == 200
    _, answer = requests.call(
        "Query",
        {
            "TableName": "expressions",
            "KeyConditionExpression": "pk = :p",
            "ExpressionAttributeValues": {":p": {"S": "p"}},
        },
    )
    yield Partition(requests, answer["Items"])
    requests.close()
