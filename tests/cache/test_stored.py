"""Everything that version 0.1 stored in the cache is read by this version."""

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import difference, read_marker
from dynamirror.cache.quarantine import read_quarantine
from dynamirror.cache.writer import apply
from dynamirror.records.version import ChangeVersion, SnapshotVersion, parse
from dynamirror.recovery.audit import last_audit
from dynamirror.recovery.rebuild_state import RebuildState
from dynamirror.recovery.verify import compare
from dynamirror.replication.canary_probe import CanaryMark, last
from dynamirror.settings import load_views
from dynamirror.views.canary import is_canary
from dynamirror.views.entry import Entry, entry_of_row
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import Schema, View, bind_views, fingerprint

ROOT = Path(__file__).parents[2]
STORED = json.loads((ROOT / "tests/support/stored_by_0_1.json").read_text(encoding="utf-8"))
TABLE = "shop"
SCHEMA = Schema(TABLE, ("PK", "SK"), ("S", "S"))
FENCE_TTL = 93_600


@pytest.fixture
def views() -> tuple[View, ...]:
    """Bind the views that version 0.1 wrote; the example has not changed since."""
    specs = load_views(str(ROOT / "examples/single-table/mirror.toml"))
    return bind_views(specs, SCHEMA)


@pytest.fixture
def stored(cache: Cache) -> Cache:
    """Load everything that version 0.1 stored into the empty cluster."""
    for key, record in STORED["keys"].items():
        cache.call(key, *_command(key.encode(), record))
        if record["expires"]:
            cache.call(key, b"EXPIRE", key.encode(), FENCE_TTL)
    return cache


def _command(key: bytes, record: Mapping[str, Any]) -> tuple[bytes, ...]:
    value = record["value"]
    parts = [b64decode(text) for text in ([value] if isinstance(value, str) else value)]
    match record["type"]:
        case "string":
            return b"SET", key, *parts
        case "hash":
            return b"HSET", key, *parts
        case "zset":
            members = [word for member in parts for word in (b"0", member)]
            return b"ZADD", key, *members
    raise AssertionError(f"no command stores a {record['type']}")


def _fenced(cache: Cache, views: tuple[View, ...], letter: bytes) -> Iterator[tuple[Any, ...]]:
    """Yield item, view, key and version of the entries whose fences begin with a letter."""
    for item in STORED["items"]:
        for view in views:
            key = None if is_canary(item, SCHEMA) else view.render(item)
            fence = fence_key(key) if key else ""
            text = cache.call(fence, b"GET", fence) if key else None
            if text and text[:1] == letter:
                yield item, view, key, parse(text.decode())


def _outcome(cache: Cache, view: View, item: Any, version: Any) -> str:
    """Apply an item in one view with a version; return the outcome."""
    entry: Entry | None = entry_of_row(view, item, item, version)
    assert entry is not None
    report = apply(cache, [entry], fence_ttl=FENCE_TTL)
    assert (report.applied, report.stale) in {(1, 0), (0, 1)}
    return "applied" if report.applied else "stale"


def test_a_stored_marker_is_complete_for_the_same_views(
    stored: Cache, views: tuple[View, ...]
) -> None:
    marker = read_marker(stored, TABLE)
    assert marker.is_complete
    assert (marker.gap, marker.complete) == (1_795_677_832, 1_795_677_833)
    assert marker.views == fingerprint(views)
    assert difference(marker, STORED["stream"], fingerprint(views)) is None


def test_stored_entries_are_those_of_their_items(stored: Cache, views: tuple[View, ...]) -> None:
    comparison = compare(STORED["items"], stored, views)
    assert comparison.differences == comparison.in_flight == 0
    assert comparison.entries > 0


def test_a_stored_fence_of_a_change_refuses_duplicates_and_takes_newer_changes(
    stored: Cache, views: tuple[View, ...]
) -> None:
    fenced = list(_fenced(stored, views, b"c"))
    assert fenced
    for item, view, _, held in fenced:
        older = ChangeVersion(held.epoch, held.sequence - 1, held.created)
        newer = ChangeVersion(held.epoch, held.sequence + 1, held.created)
        outcomes = [_outcome(stored, view, item, one) for one in (older, held, newer, newer)]
        assert outcomes == ["stale", "stale", "applied", "stale"]


def test_a_stored_fence_of_a_row_refuses_older_changes_and_takes_newer_ones(
    stored: Cache, views: tuple[View, ...]
) -> None:
    fenced = list(_fenced(stored, views, b"r"))
    assert fenced
    for item, view, _, held in fenced:
        older = ChangeVersion(1_795_677_827_177, 10**20, held.as_of - 1)
        newer = ChangeVersion(1_795_677_827_177, 10**20, held.as_of)
        assert _outcome(stored, view, item, SnapshotVersion(held.as_of)) == "stale"
        assert [_outcome(stored, view, item, one) for one in (older, newer)] == ["stale", "applied"]


def test_a_stored_quarantine_is_read(stored: Cache) -> None:
    (item,) = read_quarantine(stored, TABLE)
    assert item.key == {"PK": {"S": "USER#9"}, "SK": {"S": "PROFILE"}}
    note, at = item.note, "2026-11-26T07:00:00+00:00"
    assert note.reason == "view users: an attribute of type L cannot stand in a key"
    assert (note.sequence_number, note.created) == ("123456789012345678901", 1_795_677_734)
    assert (note.first, note.last, note.count) == (at, at, 1)


def test_stored_checkpoints_are_read(stored: Cache) -> None:
    assert Checkpoints(stored, STORED["stream"]).load() == {
        "shardId-00000000000000000000-00000000": Checkpoint(
            "000000017956778345470000000066", created=1_795_677_834.7085302
        ),
        "shardId-0001-done": Checkpoint("5", finished=True),
    }


def test_a_stored_rebuild_is_read(stored: Cache, views: tuple[View, ...]) -> None:
    run = RebuildState(stored, TABLE).run()
    assert run is not None
    assert (run.id, run.as_of, run.segments) == ("31b93cd7770ed3c1", 1_795_677_833, 2)
    assert run.consistent
    assert run.views == fingerprint(views)
    assert run.begun == run.finished == "2026-11-26T07:23:54+00:00"
    progress = RebuildState(stored, TABLE).progress(run)
    assert progress.done
    assert (progress.items, progress.applied, progress.stale) == (40, 38, 0)
    assert (progress.quarantined, progress.units) == (0, 2.0)


def test_a_stored_audit_is_read(stored: Cache) -> None:
    audit = last_audit(stored, TABLE)
    assert audit is not None
    assert (audit.at, audit.part, audit.of) == ("2026-11-26T07:00:00+00:00", 6, 288)
    assert audit.comparison is not None
    assert (audit.comparison.items, audit.comparison.entries) == (3, 4)
    assert (audit.comparison.orphaned, audit.comparison.repaired) == (1, 1)
    assert audit.comparison.sample == {"left_over": ["user:USER%2399"]}


def test_a_stored_canary_is_read(stored: Cache) -> None:
    assert last(stored, TABLE) == CanaryMark(1_795_677_834_717, "0123456789abcdef")
