"""The entries that the page shows, as table and cache change."""

import pytest

from dynamirror.aws import describe_table
from dynamirror.cache import Cache
from dynamirror.errors import CacheError
from dynamirror.local.dynamodb import EmbeddedDynamoDB
from dynamirror.page import sampler
from dynamirror.page.sampler import Mirrored
from dynamirror.report import Tally
from dynamirror.view import ViewSpec
from streams import Source


def test_a_sample_is_renewed_after_the_cache_did_not_answer(
    dynamodb: EmbeddedDynamoDB, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(dynamodb)
    monkeypatch.setattr(sampler, "MOST_ROWS", 1)
    monkeypatch.setattr(sampler, "_LOOK_AROUND_SECONDS", -1.0)
    sample = sampler._Sample(
        Mirrored(
            title="a test",
            cache=cache,
            views=[ViewSpec().bind(describe_table(source.client, source.name).schema)],
            client=source.client,
            stream=lambda: source.arn,
            delivery=lambda: None,
            tally=Tally(),
        )
    )

    def shown() -> list[str]:
        return [row.key.removeprefix(f"{source.name}:") for row in sample.look(None).rows]

    def delete(item_id: str) -> None:
        source.client.delete_item(TableName=source.name, Key={"id": {"S": item_id}})

    source.put("1")
    assert shown() == ["1"]
    delete("1")
    assert shown() == ["1"]  # it is gone from both; nothing else is there yet
    source.put("2")
    with monkeypatch.context() as hanging:

        def execute(_commands: object) -> None:
            raise CacheError("no answer in time")

        hanging.setattr(cache, "execute", execute)
        assert shown() == ["1"]
    delete("2")
    source.put("3")
    for _ in range(3):
        seen = shown()
    assert seen == ["3"]
