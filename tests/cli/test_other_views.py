"""A command refuses to write into a mirror that was written in other views than its own."""

from pathlib import Path

import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import environment, invoke, start
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.cache.completeness_marker import (
    CompletenessMarker,
    other_views,
    read_marker,
    record_complete,
    record_gap,
)
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import SnapshotVersion
from dynamirror.settings import load_views
from dynamirror.views.keyspace import completeness_marker_key
from dynamirror.views.view import Schema, View, ViewSpec, bind_views

VIEWS = """
[[view]]
name = "people"
key = "people:{id}"

[[view]]
name = "typed"
key = "typed:{id}"
encoding = "dynamodb-json"
"""
NAMES = "people (people:{id}), typed (typed:{id})"
WRITERS = (
    *(("verify", "--repair"), ("backfill",), ("redrive",)),
    *(("run",), ("run", "--ha"), ("run", "--latest", "--no-auto-rebuild", "--page")),
)


class Mirror:
    """A complete mirror of one item in two views, and a command line without their file."""

    def __init__(
        self, server: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, folder: Path
    ) -> None:
        source = Source(server)
        source.put("1", name={"S": "Ada"})
        self.table = source.name
        self.cache = cache
        self.config = folder / "mirror.toml"
        self.config.write_text(VIEWS)
        self.views = bind_views(load_views(str(self.config)), Schema(source.name, ("id",), ("S",)))
        record_gap(cache, self.views, stream=source.arn, at=1, reason="a test")
        record_complete(cache, self.views, SnapshotVersion(2))
        self.env = environment(
            folder,
            AWS_ENDPOINT_URL=server.endpoint_url,
            DYNAMODB_TABLE=source.name,
            **valkey.settings().to_env(),
        )

    @property
    def marker(self) -> CompletenessMarker:
        """Return the marker in the cache."""
        return read_marker(self.cache, self.table)

    def is_complete_in(self, views: str) -> bool:
        """Return whether one look at the marker finds it complete, in those views."""
        marker = self.marker
        return marker.is_complete and views in marker.view_names

    def stored_keys(self) -> set[bytes]:
        """Return all keys of the cache."""
        (keys,) = self.cache.broadcast(b"KEYS", b"*")
        return set(keys)


@pytest.fixture
def mirror(
    dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path
) -> Mirror:
    """Return a mirror in two views."""
    return Mirror(dynamodb, valkey, cache, tmp_path)


def test_a_command_that_writes_refuses_other_views_and_names_the_mirrors(mirror: Mirror) -> None:
    before, keys = mirror.marker, mirror.stored_keys()
    sentence = (
        f"dynamirror: the mirror of table {mirror.table} was written in the views {NAMES}, not in "
        "default ({table}:{id}); set --config or DYNAMIRROR_CONFIG to the mirror's views, or give "
        "--new-views if you changed them on purpose\n"
    )
    for command in WRITERS:
        done = invoke(*command, env=mirror.env)
        assert (done.returncode, done.stderr) == (1, sentence), command
    assert mirror.marker == before
    assert mirror.stored_keys() == keys


def test_verify_without_repair_compares_and_names_the_mirrors_views(mirror: Mirror) -> None:
    done = invoke("verify", "--settle", "0", env=mirror.env)
    assert done.stdout.startswith("1 item, 0 entries: 1 missing")
    assert done.stderr.startswith(f"note: the mirror of table {mirror.table} was written in")
    assert NAMES in done.stderr


def test_status_names_the_mirrors_views(mirror: Mirror) -> None:
    done = invoke("status", env=mirror.env)
    assert done.returncode == 1
    name = f"table {mirror.table}"
    found = f"{name}: the mirror is incomplete: the views have changed: "
    sentence = f"the mirror of {name} was written in the views {NAMES}, not in default ("
    assert done.stdout.startswith(found + sentence)


def test_inspect_names_the_mirrors_views(mirror: Mirror) -> None:
    done = invoke("inspect", "--for", "0.1", env=mirror.env)
    assert done.stderr.startswith(f"note: the mirror of table {mirror.table} was written in")
    assert NAMES in done.stderr
    own = invoke("inspect", "--for", "0.1", "--config", str(mirror.config), env=mirror.env)
    assert own.stderr == ""


def test_with_its_own_views_or_an_override_the_mirror_is_written(mirror: Mirror) -> None:
    own = invoke("verify", "--repair", "--settle", "0", "-c", str(mirror.config), env=mirror.env)
    assert "2 of 2 differences repaired" in own.stdout
    assert own.stderr == ""
    new = invoke("verify", "--repair", "--settle", "0", "--new-views", env=mirror.env)
    assert "1 of 1 differences repaired" in new.stdout
    assert f"{mirror.table}:1".encode() in mirror.stored_keys()


def test_run_rebuilds_in_views_that_were_changed_on_purpose(mirror: Mirror) -> None:
    process = start("run", "--new-views", env=mirror.env)
    try:
        wait_until(lambda: mirror.is_complete_in("default ("))
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert f"{mirror.table}:1".encode() in mirror.stored_keys()
    assert invoke("redrive", env=mirror.env).returncode == 0


def test_names_are_not_known_of_a_mirror_of_the_version_before(mirror: Mirror) -> None:
    key = completeness_marker_key(mirror.table)
    mirror.cache.call(key, b"HDEL", key.encode(), b"named")
    sentence = other_views(mirror.marker, _default_views(mirror.table))
    assert sentence is not None
    assert "their names are not known, because version 0.1 wrote the mirror" in sentence
    assert other_views(mirror.marker, mirror.views) is None


def test_names_that_the_version_before_left_behind_count_for_nothing(mirror: Mirror) -> None:
    key = completeness_marker_key(mirror.table)
    mirror.cache.call(key, b"HSET", key.encode(), b"views", b"of 0.1")
    assert mirror.marker.view_names == ""


def test_a_view_of_the_same_name_and_key_was_written_in_an_earlier_form(mirror: Mirror) -> None:
    specs = load_views(str(mirror.config))
    mirror.config.write_text(VIEWS.replace("dynamodb-json", "hash"))
    changed = bind_views(load_views(str(mirror.config)), mirror.views[0].schema)
    assert other_views(mirror.marker, changed) == (
        f"the mirror of table {mirror.table} was written in an earlier form of the views {NAMES}"
    )
    assert other_views(mirror.marker, bind_views(specs, mirror.views[0].schema)) is None


def test_an_empty_cache_refuses_no_views(cache: Cache) -> None:
    assert other_views(read_marker(cache, "t"), _default_views("t")) is None


def _default_views(table: str) -> tuple[View, ...]:
    return bind_views((ViewSpec(),), Schema(table, ("id",), ("S",)))
