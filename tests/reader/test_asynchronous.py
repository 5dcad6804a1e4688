"""The same calls as coroutines."""

import asyncio
from typing import Any

from boto3.dynamodb.conditions import Key

from dynamirror.encoding import DYNAMODB_JSON
from dynamirror.reader import AsyncReader
from dynamirror.reader.guarded import Counts
from dynamirror.view import ViewSpec
from reader.conftest import MakeMirrored, source_of


def test_every_call_answers_as_the_readers_own(make: MakeMirrored) -> None:
    world = make(ViewSpec(encoding=DYNAMODB_JSON, collection=True), keys={"pk": "S", "sk": "N"})
    items = [{"pk": "a", "sk": number} for number in range(5)]
    world.put(*items)
    world.mirror(*items)
    world.is_complete()

    async def read() -> list[Any]:
        options = {"views": world.specs, "aws": world.aws}
        async with await AsyncReader.open(world.settings, world.name, **options) as reader:
            answers = await asyncio.gather(
                *(reader.get_item(Key=item) for item in items),
                reader.batch_get_item(RequestItems={world.name: {"Keys": items}}),
                reader.query(KeyConditionExpression=Key("pk").eq("a")),
            )
            assert reader.counts == Counts(hits=11)
            return list(answers)

    *single, batch, page = asyncio.run(read())
    assert [one["Item"] for one in single] == items
    assert batch["Responses"][world.name] == page["Items"] == items
    assert {source_of(one) for one in (*single, batch, page)} == {"cache"}
