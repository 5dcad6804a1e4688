"""The entries that the page shows, as table and cache change."""

import pytest
from tests.support.streams import Source

from dynamirror.errors import CacheError
from dynamirror.page.entry_sample import EntrySample
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.page.observer import Observer


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
