"""The handler in a sandbox of its own."""

from collections.abc import Iterator

import pytest
from tests.support.sandboxes import fresh_handler

from dynamirror.cache.client import Cache
from dynamirror.emulators.valkey import EmbeddedValkey


@pytest.fixture
def lambda_env(
    valkey: EmbeddedValkey, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """A fresh Lambda sandbox whose environment points to the cluster, which is empty."""
    assert not list(cache.scan("*"))
    with fresh_handler(valkey.settings(), monkeypatch) as env:
        yield env
