"""The entries that the page shows, as table and cache change."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.streams import Source

from dynamirror.dynamodb.client import describe_table
from dynamirror.errors import CacheError
from dynamirror.page.entry_sample import EntrySample
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.page.observer import Observer
from dynamirror.views.encoding import HASH
from dynamirror.views.projection import Projection
from dynamirror.views.view import ViewSpec

PERSON: dict[str, Any] = {"kind": {"S": "person"}, "mail": {"S": "a@b"}, "name": {"S": "Ada"}}


def test_a_sample_is_renewed_after_the_cache_did_not_answer(
    mirror: MirrorSource, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer = Observer(mirror, EntrySample(mirror, most_rows=1, refresh_seconds=-1.0))

    def shown() -> list[str]:
        return [row.key.removeprefix(f"{source.name}:") for row in observer.observe(None).rows]

    def delete(item_id: str) -> None:
        source.client.delete_item(TableName=source.name, Key={"id": {"S": item_id}})

    assert shown() == ["1"]
    delete("1")
    assert shown() == ["1"]  # it is gone from both; nothing else is there yet
    source.put("2")
    with monkeypatch.context() as hanging:

        def execute(_commands: object) -> None:
            raise CacheError("no answer in time")

        hanging.setattr(mirror.cache, "execute", execute)
        assert shown() == ["1"]
    delete("2")
    source.put("3")
    for _ in range(3):
        keys = shown()
    assert keys == ["3"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": {"S": "robot"}}, "item is not in this view"),
        ({"name": None}, "item is not in this view"),  # there is no hash without a field
        ({"mail": {"S": "b@c"}}, "item has another key"),
        ({"mail": {"L": []}}, "item in quarantine"),
        ({"until": {"N": "1"}}, "item has expired"),
    ],
)
def test_a_row_without_an_entry_names_the_reason(
    mirror: MirrorSource, source: Source, changes: dict[str, Any], reason: str
) -> None:
    spec = ViewSpec(
        key="mail:{mail}:{id}",
        when={"kind": "person"},
        encoding=HASH,
        projection=Projection(include=frozenset({"name"})),
        ttl="until",
    )
    view = spec.bind(describe_table(source.client, source.name).schema)
    sample = EntrySample(replace(mirror, views=[view]))
    source.put("1", **PERSON)
    assert [row.table for row in sample.compare(None)] == ["name Ada"]
    source.put("1", **{name: value for name, value in (PERSON | changes).items() if value})
    (row,) = sample.compare(None)
    assert (row.key, row.table, row.absent) == ("mail:a@b:1", None, reason)
    source.client.delete_item(TableName=source.name, Key={"id": {"S": "1"}})
    assert [row.absent for row in sample.compare(None)] == ["no item"]
