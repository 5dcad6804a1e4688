"""Read with aioboto3, whose table, client and session are attached to a mirror.

Run with aioboto3 and its botocore before ours in PYTHONPATH; prints what was found, as JSON.
"""

import asyncio
import json
import os
import sys
import threading
from typing import Any

import aioboto3
import botocore
from boto3.dynamodb.conditions import Attr, Key

from dynamirror import AsyncReader, Settings, attach, detach

TABLE = os.environ["DYNAMODB_TABLE"]
CONDITION = Key("pk").eq("a") & Key("sk").between(1, 3)


def source_of(answer: Any) -> str:
    """Where an answer came from."""
    return str(answer["ResponseMetadata"].get("dynamirror", {}).get("source", "table"))


async def read_table(session: aioboto3.Session) -> dict[str, Any]:
    """Read an attached table, as the application did before."""
    async with session.resource("dynamodb") as resource:
        table = await resource.Table(TABLE)
        own = await table.query(KeyConditionExpression=CONDITION, FilterExpression=Attr("n").gt(1))
        own_items = [await table.get_item(Key={"pk": "a", "sk": number}) for number in range(6)]
        attachment = attach(table)
        await table.get_item(Key={"pk": "a", "sk": 0})
        calls = [table.get_item(Key={"pk": "a", "sk": number % 6}) for number in range(120)]
        answers = await asyncio.gather(*calls)
        for number, answer in enumerate(answers):
            assert answer.get("Item") == own_items[number % 6].get("Item"), answer
        page = await table.query(KeyConditionExpression=CONDITION, FilterExpression=Attr("n").gt(1))
        assert page["Items"] == own["Items"]
        assert (page["Count"], page["ScannedCount"]) == (own["Count"], own["ScannedCount"])
        await table.put_item(Item={"pk": "b", "sk": 0})
        batch = await resource.batch_get_item(
            RequestItems={TABLE: {"Keys": [{"pk": "a", "sk": 1}, {"pk": "b", "sk": 0}]}}
        )
        assert len(batch["Responses"][TABLE]) == 2, batch
        assert attachment.faults == 0
        assert detach(table)
        return {
            "table": source_of(answers[0]),
            "missing": source_of(answers[5]),
            "query": source_of(page),
            "detached": source_of(await table.get_item(Key={"pk": "a", "sk": 0})),
        }


async def read_client(session: aioboto3.Session) -> dict[str, Any]:
    """Read with a client that is made after its session was attached, and with a reader."""
    attachment = attach(session)
    async with session.client("dynamodb") as client:
        key = {"pk": {"S": "a"}, "sk": {"N": "1"}}
        answer = await client.get_item(TableName=TABLE, Key=key)
        pages = client.get_paginator("query").paginate(
            TableName=TABLE,
            KeyConditionExpression="pk = :p",
            ExpressionAttributeValues={":p": {"S": "a"}},
            PaginationConfig={"PageSize": 2},
        )
        found = [page async for page in pages]
        attachment.detach()
        async with await AsyncReader.open(
            Settings.from_env(os.environ), TABLE, client=client
        ) as reader:
            one = await reader.get_item(Key={"pk": "a", "sk": 1})
            none = await reader.get_item(Key={"pk": "b", "sk": 0})
            assert none["Item"] == {"pk": "b", "sk": 0}
        assert attachment.faults == 0
        return {
            "client": source_of(answer),
            "pages": [len(page["Items"]) for page in found],
            "sources": sorted({source_of(page) for page in found}),
            "reader": [source_of(one), source_of(none)],
        }


async def main() -> None:
    """Read both ways."""
    session = aioboto3.Session()
    result = {**await read_table(session), **await read_client(session)}
    result["threads"] = [each.name for each in threading.enumerate()]
    result["botocore"] = botocore.__version__
    json.dump(result, sys.stdout)


asyncio.run(main())
