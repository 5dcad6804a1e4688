"""Queries of attached clients: what is missing, and indexes that only the mirror has."""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.support.attaching import Attached, source_of
from tests.support.mirrored import MakeMirrored, Mirrored

from dynamirror.cache.client import Cache
from dynamirror.errors import CacheError
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.index import IndexSpec
from dynamirror.views.view import Schema, ViewSpec

ORDERED = ViewSpec(encoding=DYNAMODB_JSON, collection=True)
BY_KIND = ViewSpec(
    name="by-kind",
    key="{table}-by-kind:{{{kind}}}:{at}:{id}",
    encoding=DYNAMODB_JSON,
    index=IndexSpec(partition="kind", sort="at"),
)


def asked(world: Mirrored, name: str, value: str, **more: Any) -> dict[str, Any]:
    """Return the arguments of a query for one partition."""
    return {
        "TableName": world.name,
        "KeyConditionExpression": "#p = :p",
        "ExpressionAttributeNames": {"#p": name},
        "ExpressionAttributeValues": {":p": {"S": value}},
        **more,
    }


def lose(world: Mirrored, key: str) -> None:
    """Remove a key of the cache as an eviction does."""
    assert world.cache.call(key, b"UNLINK", key.encode()) == 1


@pytest.mark.parametrize("lost", ["entry", "index"])
def test_what_the_cache_has_lost_is_not_absent_from_a_query(
    make: MakeMirrored, client: Any, attached: Attached, lost: str
) -> None:
    world = make(ORDERED, keys={"pk": "S", "sk": "S"})
    keys = [{"pk": "p", "sk": sort} for sort in "ab"]
    world.put(*keys)
    world.mirror(*keys)
    world.is_complete()
    attachment = attached(client, world)
    query = asked(world, "pk", "p")
    assert source_of(client.query(**query)) == "cache"
    key = {"pk": {"S": "p"}, "sk": {"S": "a"}}
    collection, entry = world.view.collection, world.view.key_of(key)
    assert collection is not None
    assert entry is not None
    lose(world, entry if lost == "entry" else collection.index_key(key))
    assert client.query(**query)["Count"] == 2
    assert attachment.counts["Query"].reasons == {"missing": 1}


@pytest.mark.parametrize("on_miss", ["table", "absent"])
def test_a_query_of_a_table_without_sort_key_asks_dynamodb_for_what_is_missing(
    make: MakeMirrored, client: Any, attached: Attached, on_miss: str
) -> None:
    world = make()
    world.put({"id": "1"})
    world.is_complete()
    attached(client, world, on_miss=on_miss)
    answer = client.query(**asked(world, "id", "1"))
    assert answer["Count"] == (1 if on_miss == "table" else 0)


@pytest.mark.parametrize("described", [True, False])
def test_an_index_that_only_the_mirror_has_is_never_compared(
    make: MakeMirrored, client: Any, attached: Attached, *, described: bool
) -> None:
    world = make(ViewSpec(name="plain", encoding=DYNAMODB_JSON), BY_KIND)
    world.put({"id": "1", "kind": "k", "at": 1})
    world.mirror({"id": "1"})
    world.is_complete()
    schemas = () if described else (Schema(world.name, ("id",), ("S",)),)
    attachment = attached(client, world, shadow=1.0, schemas=schemas)
    for value, count in (("k", 1), ("none", 0)):
        answer = client.query(**asked(world, "kind", value, IndexName="by-kind"))
        assert (source_of(answer), answer["Count"]) == ("cache", count)
    world.is_incomplete()
    with pytest.raises(ClientError, match="index"):
        client.query(**asked(world, "kind", "k", IndexName="by-kind"))
    assert attachment.counts["Query"].reasons == {"incomplete": 1}
    assert attachment.faults == 0


def test_a_query_while_the_cache_is_down_is_counted_as_such(
    make: MakeMirrored, client: Any, attached: Attached, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any) -> Any:
        raise CacheError("down")

    world = make()
    world.put({"id": "1"})
    world.mirror({"id": "1"})
    world.is_complete()
    attachment = attached(client, world)
    query = asked(world, "id", "1")
    assert source_of(client.query(**query)) == "cache"
    monkeypatch.setattr(Cache, "execute", fail)
    monkeypatch.setattr(Cache, "read_one", fail)
    for _ in range(2):
        assert source_of(client.query(**query)) == "table"
    assert attachment.counts["Query"].reasons == {"down": 2}
