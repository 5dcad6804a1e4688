"""A cache that is down: the table answers, and the cache is left alone for a while."""

from typing import Any

import pytest
from boto3.dynamodb.conditions import Key
from tests.support.deadlines import wait_until
from tests.support.mirrored import MakeMirrored, source_of

from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.reader.circuit_breaker import CircuitBreaker
from dynamirror.reader.guarded_cache import ReadCounts
from dynamirror.views.encoding import DYNAMODB_JSON
from dynamirror.views.view import ViewSpec

SPEC = ViewSpec(encoding=DYNAMODB_JSON, collection=True)


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_try_at_a_time() -> None:
    clock = Clock()
    breaker = CircuitBreaker(failures=3, pause=5.0, clock=clock)
    breaker.failed()
    breaker.failed()
    breaker.succeeded()
    assert [breaker.failed() for _ in range(3)] == [False, False, True]
    assert not breaker.admits()
    clock.now = 5.1
    assert [breaker.admits() for _ in range(3)] == [True, False, False]
    assert not breaker.failed()
    clock.now = 10.0
    assert not breaker.admits()
    clock.now = 10.3
    assert breaker.admits()
    breaker.succeeded()
    assert breaker.admits()
    assert breaker.admits()


def test_while_the_cache_is_down_the_table_answers_and_the_cache_is_hardly_asked(
    make: MakeMirrored, caplog: pytest.LogCaptureFixture
) -> None:
    with EmbeddedValkey(cluster=False) as server:
        world = make(SPEC, keys={"pk": "S", "sk": "S"})
        world.settings, world.cache = server.settings(timeout=0.5), Cache(server.settings())
        item = {"pk": "a", "sk": "b"}
        world.put(item)
        world.mirror(item)
        world.is_complete()
        world.cache.close()
        reader = world.reader(pause=0.3)
        request = {world.name: {"Keys": [item]}}

        def sources() -> set[str]:
            get = reader.get_item(Key=item)
            batch = reader.batch_get_item(RequestItems=request)
            page = reader.query(KeyConditionExpression=Key("pk").eq("a"))
            assert get["Item"] == batch["Responses"][world.name][0] == page["Items"][0] == item
            return {source_of(one) for one in (get, batch, page)}

        assert sources() == {"cache"}
        assert reader.counts == ReadCounts(hits=3)
        server.stop()
        assert sources() == {"table"}
        assert reader.counts == ReadCounts(hits=3, fallbacks=3)
        assert [one.message for one in caplog.records if one.name == "dynamirror"] == [
            "cache left alone"
        ]
        with EmbeddedValkey(cluster=False, port=world.settings.port) as again:
            world.cache = Cache(again.settings())
            wait_until(
                lambda: source_of(reader.query(KeyConditionExpression=Key("pk").eq("a"))) == "table"
            )
            world.mirror(item)
            world.is_complete()
            world.cache.close()
            wait_until(lambda: sources() == {"cache"}, 10)


def test_a_cache_that_hangs_costs_few_timeouts(
    make: MakeMirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Command] = []

    def ask(cache: Cache, command: Command) -> Any:
        asked.append(command)
        return real(cache, command)

    real = Cache.read_one
    monkeypatch.setattr(Cache, "read_one", ask)
    with EmbeddedValkey(cluster=False) as server:
        world = make(ViewSpec(encoding=DYNAMODB_JSON))
        world.settings, world.cache = server.settings(timeout=0.5), Cache(server.settings())
        world.put({"id": "1"})
        world.mirror({"id": "1"})
        reader = world.reader(failures=2, pause=60)
        assert source_of(reader.get_item(Key={"id": "1"})) == "cache"
        world.cache.broadcast(b"CLIENT", b"PAUSE", b"60000", b"ALL")
        world.cache.close()
        for _ in range(20):
            assert reader.get_item(Key={"id": "1"})["Item"] == {"id": "1"}
        assert len(asked) == 1 + 2
        assert reader.counts == ReadCounts(hits=1, fallbacks=20)
