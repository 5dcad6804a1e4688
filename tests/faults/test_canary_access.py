"""The canary needs no more of the cache than docs/security.md grants."""

from tests.support.access import READER, REPLICATOR, ROOT, Login
from tests.support.builders import Time, record

from dynamirror.cache.client import Cache
from dynamirror.replication.canary_probe import CanaryMark, last
from dynamirror.replication.replicator import Replicator
from dynamirror.views.canary import NAME
from dynamirror.views.keyspace import canary_key, fence_key
from dynamirror.views.view import Schema, Views, ViewSpec


def test_the_narrow_patterns_of_the_docs_suffice_for_it(login: Login, admin: Cache) -> None:
    fences = "~dynamirror:fence:dynamirror:{users}:*"
    assert f"`{fences}`" in (ROOT / "docs/security.md").read_text(encoding="utf-8")
    narrow = f"~dynamirror:fence:{{users:* ~dynamirror:{{users}}:* {fences}"
    cache = login(REPLICATOR.replace("~dynamirror:*", narrow))
    views = Views((ViewSpec(),), lambda table, keys: Schema(table, tuple(keys)))
    said = {"at": {"N": "5"}, "nonce": {"S": "x"}}
    one = record(1, {"id": {"S": NAME}, "dynamirror": {"M": said}})
    answer = Replicator(cache, views, fence_ttl=93_600)({"Records": [one]}, Time())
    assert answer == {"batchItemFailures": []}
    assert last(cache, "users") == CanaryMark(5, "x")
    fence = fence_key(canary_key("users"))
    assert admin.call(fence, b"EXISTS", fence) == 1
    assert canary_key("users") not in READER, "applications have no use for it"
