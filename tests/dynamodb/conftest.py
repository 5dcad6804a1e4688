"""A table, a cache, and between us and the table's stream a proxy that injects faults."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.following import Following, Start

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.replication.replicator import build
from dynamirror.runner.event_source_mapping import EventSourceMapping
from dynamirror.runner.follower import Follower


@pytest.fixture
def follow(valkey: EmbeddedValkey, cache: Cache) -> Iterator[Start]:
    """Starts to mirror a table; stops at the end."""
    cache.broadcast(b"PING")
    with ExitStack() as stack:

        def start(aws: Aws, table: str, **options: Any) -> Following:
            replicator = build(valkey.settings())
            told: list[str] = options.pop("told", [])
            heal = options.pop("heal", True)
            mapping = EventSourceMapping(**options)
            follower = Follower(
                aws, table, replicator, mapping, notify=told.append, auto_rebuild=heal, margin=1
            )
            following = Following(follower)
            stack.callback(replicator.cache.close)
            stack.callback(following.stop)
            return following

        yield start
