"""The canary is one item, known by its key and by nothing else."""

from base64 import b64encode
from typing import Any

import pytest
from tests.support.builders import STREAM_ARN

from dynamirror.errors import ConfigError
from dynamirror.records.stream_record import parse_stream_arn
from dynamirror.views.canary import is_canary, item_key, view_of, views_for
from dynamirror.views.keyspace import RESERVED, canary_key, fence_key
from dynamirror.views.view import Schema, ViewSpec

NAME = "dynamirror:canary"
ONE = Schema("users", ("id",), ("S",))


def two(tag: str) -> Schema:
    """A table with a sort key."""
    return Schema("users", ("id", "n"), ("S", tag))


@pytest.mark.parametrize(
    ("schema", "key"),
    [
        (ONE, {"id": {"S": NAME}}),
        (two("S"), {"id": {"S": NAME}, "n": {"S": NAME}}),
        (two("N"), {"id": {"S": NAME}, "n": {"N": "0"}}),
        (two("B"), {"id": {"S": NAME}, "n": {"B": NAME.encode()}}),
    ],
)
def test_its_key_is_known_as_it_is_written_and_as_a_stream_has_it(schema: Schema, key: Any) -> None:
    assert item_key(schema) == key
    undeclared = Schema(schema.table, schema.keys)
    assert is_canary(key | {"more": {"S": "x"}}, undeclared)
    streamed = {
        name: {"B": b64encode(value["B"]).decode()} if "B" in value else value
        for name, value in key.items()
    }
    assert is_canary(streamed, undeclared)


@pytest.mark.parametrize(
    "key",
    [
        {"id": {"S": "canary"}, "n": {"S": NAME}},
        {"id": {"S": NAME}, "n": {"S": ""}},
        {"id": {"S": NAME}, "n": {"N": "1"}},
        {"id": {"B": NAME}, "n": {"S": NAME}},
        {"id": {"S": NAME}, "n": None},
        {"id": [], "n": {"S": NAME}},
    ],
)
def test_an_item_with_another_key_is_the_user_s(key: Any) -> None:
    views = [ViewSpec().bind(two("S"))]
    assert not is_canary(key, two("S"))
    assert views_for(key, views) is views


@pytest.mark.parametrize("tag", ["N", "B"])
def test_a_table_whose_partition_key_is_no_text_has_none(tag: str) -> None:
    with pytest.raises(ConfigError) as caught:
        item_key(Schema("users", ("id",), (tag,)))
    assert str(caught.value) == (
        "table users: its partition key id is not text (S), so it cannot have a canary; do without "
        "one (context canary=false, or run without --canary)"
    )


def test_no_user_s_view_writes_its_entry_or_its_fence() -> None:
    table = parse_stream_arn(STREAM_ARN).table
    entry = canary_key(table)
    assert entry == f"{RESERVED}{{users}}:canary"
    assert view_of(ONE).key_of({}) == entry
    for template in ("{id}", "dynamirror{id}", "x:{id}"):
        view = ViewSpec(key=template).bind(ONE)
        for one in (entry, fence_key(entry), NAME, entry.removeprefix("dynamirror")):
            assert view.key_of({"id": {"S": one}}) not in (entry, fence_key(entry))
            assert view.identifier()(entry) is None
