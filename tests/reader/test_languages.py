"""The examples of docs/reading.md, run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.node import run_node
from tests.support.written_docs import blocks, section

from dynamirror.cache.client import Cache
from dynamirror.cache.writer import apply
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import SnapshotVersion
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, attribute
from dynamirror.views.entry import entry_of_row
from dynamirror.views.view import Schema, ViewSpec

READING = Path(__file__).parents[2] / "docs/reading.md"
USER = {"id": {"S": "7"}, "name": {"S": "Eve"}, "n": {"N": "1.50"}}
USERS = (
    ViewSpec("json", key="users:{id}"),
    ViewSpec("typed", key="typed:{id}", encoding=DYNAMODB_JSON),
    ViewSpec("hash", key="hash:{id}", encoding=HASH),
    ViewSpec("name", key="name:{id}", encoding=attribute("name")),
)


@pytest.fixture
def filled(single_valkey: EmbeddedValkey) -> EmbeddedValkey:
    """The entries that the examples read."""
    cache = Cache(single_valkey.settings())
    cache.broadcast(b"FLUSHALL")
    users, orders = Schema("users", ("id",), ("S",)), Schema("orders", ("pk", "sk"), ("S", "S"))
    days = ("2026-01-01", "2026-01-02", "2026-{01}%03")
    items: list[Any] = [{"pk": {"S": "c1"}, "sk": {"S": day}} for day in days]
    rows = [entry_of_row(spec.bind(users), USER, USER, SnapshotVersion(1)) for spec in USERS]
    view = ViewSpec(collection=True).bind(orders)
    rows += [entry_of_row(view, item, item, SnapshotVersion(1)) for item in items]
    assert apply(cache, filter(None, rows), fence_ttl=93_600).applied == 7
    cache.close()
    return single_valkey


def test_node_reads_every_encoding_and_a_collection(tmp_path: Path, filled: EmbeddedValkey) -> None:
    (example,) = blocks(section(READING.read_text(encoding="utf-8"), "Node (ioredis)"))
    (tmp_path / "reading.cjs").write_text(example.text, encoding="utf-8")
    where = {"ELASTICACHE_HOST": "127.0.0.1", "ELASTICACHE_PORT": str(filled.port)}
    assert json.loads(run_node(tmp_path, "reading.cjs", env=where)) == {
        "user": {"id": "7", "n": 1.5, "name": "Eve"},
        "price": "1.50",
        "fields": {"id": "7", "n": "1.50", "name": "Eve"},
        "name": "Eve",
        "absent": None,
        "orders": [{"pk": "c1", "sk": "2026-{01}%03"}, {"pk": "c1", "sk": "2026-01-02"}],
    }


def test_what_is_typed_into_redis_cli_works(filled: EmbeddedValkey) -> None:
    (lines,) = re.findall(r"```sh\n(.*?)```", READING.read_text(encoding="utf-8"), re.DOTALL)
    cache, answers = Cache(filled.settings()), []
    for line in lines.splitlines():
        words = line.removeprefix("redis-cli -c ").partition("  #")[0].split()
        command = [word.strip("'") for word in words]
        answers.append(cache.call(command[1], *command))
    cache.close()
    assert answers == [
        b'{"id":"7","n":1.50,"name":"Eve"}',
        b'{"id":{"S":"7"},"n":{"N":"1.50"},"name":{"S":"Eve"}}',
        [b"id", b"7", b"n", b"1.50", b"name", b"Eve"],
        b"Eve",
        [b"2026-01-01", b"2026-01-02", b"2026-{01}%03"],
        b'{"pk":"c1","sk":"2026-01-02"}',
    ]
