"""`ttl`: an entry goes when its item's time has come, and not before."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import SCHEMA, Time, item, record
from tests.support.deadlines import wait_until
from tests.support.strategies import PROMISE, json_values, numbers

from dynamirror.cache.client import Cache
from dynamirror.recovery.verify import compare
from dynamirror.replication.replicator import Replicator
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import Schema, Views, ViewSpec

VIEW = ViewSpec(ttl="until").bind(SCHEMA)


class Mirror:
    """A view with expiry, of an encoding."""

    def __init__(self, cache: Cache, encoding: str, ttl: str = "until") -> None:
        self.cache = cache
        cache.broadcast(b"FLUSHALL")
        specs = parse_views(f'[[view]]\nencoding = "{encoding}"\nttl = "{ttl}"')
        self.views = Views(specs, lambda table, _keys: Schema(table, ("id",), ("S",)))
        self.replicator = Replicator(cache, self.views, fence_ttl=93_600)
        self.sequence = 0

    def put(self, until: Any, old: Any = None) -> Any:
        self.sequence += 1
        image = item("1", until=until) if until is not None else item("1")
        self.replicator({"Records": [record(self.sequence, image, old)]}, Time())
        return image

    def expires(self) -> int:
        """In seconds since 1970; -1 for never, -2 for no entry."""
        return int(self.cache.call("users:1", b"EXPIRETIME", b"users:1"))


@pytest.mark.parametrize("encoding", ["json", "hash"])
def test_an_entry_expires_when_its_item_does(store: Cache, encoding: str) -> None:
    mirror = Mirror(store, encoding)
    image = mirror.put({"N": "4102444800"})
    assert mirror.expires() == 4_102_444_800
    image = mirror.put({"N": "4102444801.9"}, image)
    assert mirror.expires() == 4_102_444_801
    image = mirror.put(None, image)
    assert mirror.expires() == -1
    image = mirror.put({"S": "4102444800"}, image)
    assert mirror.expires() == -1
    mirror.put({"N": "1000000000"}, image)
    assert mirror.expires() == -2


@pytest.mark.parametrize("encoding", ["json", "hash"])
@pytest.mark.parametrize("digits", ["0", "-1", "1", "-1E+125", "0.5"])
def test_what_expired_long_ago_is_not_there(store: Cache, encoding: str, digits: str) -> None:
    mirror = Mirror(store, encoding)
    image = mirror.put({"N": digits})
    assert mirror.expires() == -2
    assert compare([image], store, mirror.views.bind(SCHEMA)).differences == 0


@pytest.mark.parametrize("encoding", ["json", "hash"])
@pytest.mark.parametrize("digits", ["100000000000", "9E+125"])
def test_what_expires_in_a_thousand_years_stays(store: Cache, encoding: str, digits: str) -> None:
    mirror = Mirror(store, encoding)
    mirror.put({"N": digits})
    assert mirror.expires() == -1


@pytest.mark.parametrize("encoding", ["json", "hash"])
def test_an_entry_goes_by_itself(store: Cache, encoding: str) -> None:
    mirror = Mirror(store, encoding)
    seconds, _micros = store.broadcast(b"TIME")[0]
    image = mirror.put({"N": str(int(seconds) + 2)})
    assert mirror.expires() == int(seconds) + 2
    wait_until(lambda: mirror.expires() == -2)
    assert compare([image], store, mirror.views.bind(SCHEMA)).differences == 0


def test_a_nested_attribute_may_tell_when(store: Cache) -> None:
    mirror = Mirror(store, "json", "meta.until")
    image = item("1", meta={"M": {"until": {"N": "4102444800"}}})
    mirror.replicator({"Records": [record(1, image)]}, Time())
    assert mirror.expires() == 4_102_444_800


@pytest.mark.parametrize("damage", [(b"PERSIST",), (b"EXPIREAT", b"4102444000")])
def test_a_wrong_expiry_is_a_difference(store: Cache, damage: tuple[bytes, ...]) -> None:
    mirror = Mirror(store, "json")
    image = mirror.put({"N": "4102444800"})
    store.call("users:1", damage[0], b"users:1", *damage[1:])
    assert compare([image], store, mirror.views.bind(SCHEMA)).different == 1


@PROMISE
@given(digits=numbers)
def test_any_number_is_a_time_that_valkey_takes_or_never(digits: str) -> None:
    expires = VIEW.expires(item(until={"N": digits}))
    number = Decimal(digits)
    if number >= 10**11:
        assert expires is None
    else:
        assert expires == max(1, int(number))


@PROMISE
@given(value=json_values | st.sampled_from([{"N": "1E+999999"}, {"N": "NaN"}, {"N": "-sNaN"}]))
def test_what_is_no_number_is_never(value: Any) -> None:
    expires = VIEW.expires({"until": value})
    assert expires is None or 1 <= expires < 10**11
