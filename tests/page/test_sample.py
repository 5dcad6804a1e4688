"""The entries that the page shows, as table and cache change."""

import pytest

from dynamirror.errors import CacheError
from dynamirror.page import sampler
from dynamirror.page.sampler import Mirrored
from streams import Source


def test_a_sample_is_renewed_after_the_cache_did_not_answer(
    mirrored: Mirrored, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "MOST_ROWS", 1)
    monkeypatch.setattr(sampler, "_LOOK_AROUND_SECONDS", -1.0)
    sample = sampler._Sample(mirrored)

    def shown() -> list[str]:
        return [row.key.removeprefix(f"{source.name}:") for row in sample.look(None).rows]

    def delete(item_id: str) -> None:
        source.client.delete_item(TableName=source.name, Key={"id": {"S": item_id}})

    assert shown() == ["1"]
    delete("1")
    assert shown() == ["1"]  # it is gone from both; nothing else is there yet
    source.put("2")
    with monkeypatch.context() as hanging:

        def execute(_commands: object) -> None:
            raise CacheError("no answer in time")

        hanging.setattr(mirrored.cache, "execute", execute)
        assert shown() == ["1"]
    delete("2")
    source.put("3")
    for _ in range(3):
        seen = shown()
    assert seen == ["3"]
