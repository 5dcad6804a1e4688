"""The Lambda function: a batch of records in, the records to deliver again out."""

import json
import logging
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from tests.support.builders import STREAM_ARN, Time, item, record
from tests.support.scans import keys_in

from dynamirror.cache.client import Cache
from dynamirror.emulators.process import free_port
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError, ConfigError, RecordError
from dynamirror.handler import handler
from dynamirror.replication.replicator import Replicator
from dynamirror.views.keyspace import quarantine_key

SUCCESS: dict[str, list[Any]] = {"batchItemFailures": []}
SECRET = "s3cr3t-marker"
Build = Callable[..., Replicator]


def event(*records: Any) -> dict[str, Any]:
    """What Lambda hands over."""
    return {"Records": list(records)}


def again_from(identifier: str) -> dict[str, Any]:
    """What Lambda is told: deliver again from this record on."""
    return {"batchItemFailures": [{"itemIdentifier": identifier}]}


def read(cache: Cache, key: str) -> Any:
    """What an application sees."""
    text = cache.call(key, b"GET", key)
    return None if text is None else json.loads(text)


def ends_after(entries: int) -> Callable[[], float]:
    """A clock by which time is up before the entry of that number, counted from 0."""
    ticks = chain(repeat(0.0, entries + 1), repeat(1_000.0))
    return lambda: next(ticks)


def composite(sequence: int, pk: str, sk: str, **attributes: str) -> dict[str, Any]:
    """A record of a table with a sort key."""
    key = {"pk": {"S": pk}, "sk": {"S": sk}}
    image = key | {name: {"S": value} for name, value in attributes.items()}
    return record(sequence, image, Keys=key)


def test_an_item_that_was_written_can_be_read(replicator: Replicator, cache: Cache) -> None:
    assert replicator(event(record(1, item("1", name="Ada"))), Time()) == SUCCESS
    assert read(cache, "users:1") == {"id": "1", "name": "Ada"}


def test_an_item_that_was_deleted_is_gone(replicator: Replicator, cache: Cache) -> None:
    replicator(event(record(1, item("1"))), Time())
    assert replicator(event(record(2, None, item("1"))), Time()) == SUCCESS
    assert read(cache, "users:1") is None


def test_an_empty_batch_is_a_success(replicator: Replicator) -> None:
    assert replicator(event(), Time()) == SUCCESS


@pytest.mark.parametrize("wrong", [{}, {"Records": None}, {"Records": {}}, [], None, "x"])
def test_an_event_without_records_is_refused(replicator: Replicator, wrong: Any) -> None:
    with pytest.raises(RecordError, match="no list of Records"):
        replicator(wrong, Time())


@pytest.mark.parametrize("view_type", ["KEYS_ONLY", "OLD_IMAGE"])
def test_a_stream_without_new_images_is_refused(replicator: Replicator, view_type: str) -> None:
    one = record(1, item("1"), StreamViewType=view_type)
    with pytest.raises(ConfigError, match=f"view type {view_type}.*NEW_AND_OLD_IMAGES"):
        replicator(event(one), Time())


def test_a_stream_of_keys_only_is_refused_as_it_really_is(replicator: Replicator) -> None:
    one = record(1, item("1"), StreamViewType="KEYS_ONLY")
    del one["dynamodb"]["NewImage"]
    with pytest.raises(ConfigError, match="KEYS_ONLY"):
        replicator(event(one), Time())


def test_a_stream_of_new_images_feeds_the_default_view(
    replicator: Replicator, cache: Cache
) -> None:
    gone = record(2, None, item("2"), StreamViewType="NEW_IMAGE")
    del gone["dynamodb"]["OldImage"]
    batch = event(record(1, item("1"), StreamViewType="NEW_IMAGE"), gone)
    assert replicator(batch, Time()) == SUCCESS
    assert set(keys_in(cache, "users:*")) == {b"users:1"}


def test_a_view_whose_key_can_change_needs_old_images(
    build_replicator: Build, tmp_path: Path
) -> None:
    mirror = build_replicator(DYNAMIRROR_CONFIG=written(tmp_path, 'key = "{city}:{id}"'))
    one = record(1, item("1", city="Rome"), StreamViewType="NEW_IMAGE")
    with pytest.raises(ConfigError, match="needs the old image"):
        mirror(event(one), Time())


def written(folder: Path, text: str) -> str:
    """A `mirror.toml` with one view; gives its path."""
    path = folder / "mirror.toml"
    path.write_text(f"[[view]]\n{text}\n", encoding="utf-8")
    return str(path)


def test_a_function_that_is_given_little_time_still_makes_progress(replicator: Replicator) -> None:
    assert replicator(event(record(1, item("1"))), Time(1)) == SUCCESS


def test_the_time_that_is_up_names_the_first_record_as_it_is_spelt(
    replicator: Replicator, cache: Cache
) -> None:
    batch = event(record(120, item("1")), record(121, item("2")))
    assert replicator(batch, Time(0)) == again_from("000000000000000000120")
    assert list(keys_in(cache, "users:*")) == []


@pytest.mark.parametrize("spelt", ["7", "0007", "0" * 21 + "7", "1" + "0" * 39])
def test_an_identifier_is_spelt_as_in_the_record(replicator: Replicator, spelt: str) -> None:
    one = record(1, item("1"), SequenceNumber=spelt)
    assert replicator(event(one), Time(0)) == again_from(spelt)


@pytest.mark.parametrize("applied", [0, 1, 3, 4])
def test_the_lowest_sequence_number_not_applied_is_named(
    replicator: Replicator, cache: Cache, applied: int
) -> None:
    batch = [record(number, item(str(number))) for number in range(5)]
    replicator._clock = ends_after(applied)
    assert replicator(event(*batch), Time()) == again_from(f"{applied:021d}")
    assert len(list(keys_in(cache, "users:*"))) == applied


def test_the_lowest_number_is_named_even_if_it_comes_late_in_the_batch(
    replicator: Replicator,
) -> None:
    batch = [record(number, item(str(number))) for number in (5, 4, 9, 3, 10)]
    replicator._clock = ends_after(1)
    assert replicator(event(*batch), Time()) == again_from(f"{3:021d}")


def test_what_was_reported_can_be_delivered_again(replicator: Replicator, cache: Cache) -> None:
    batch = [record(number, item(str(number))) for number in range(5)]
    replicator(event(*batch), Time(0))
    assert replicator(event(*batch), Time()) == SUCCESS
    assert replicator(event(*batch), Time()) == SUCCESS
    assert len(list(keys_in(cache, "users:*"))) == 5


def test_the_report_of_every_batch_can_be_observed(replicator: Replicator) -> None:
    counts: list[tuple[int, int, int]] = []
    replicator._observe = lambda batch: counts.append(
        (batch.report.applied, batch.report.coalesced, batch.report.stale)
    )
    first, second = record(1, item("1")), record(2, item("1"))
    replicator(event(first, second), Time())
    replicator(event(first), Time())
    assert counts == [(1, 1, 0), (0, 0, 1)]


def test_of_a_hot_item_only_the_newest_record_is_decoded(
    replicator: Replicator, cache: Cache
) -> None:
    seen: list[tuple[int, int, int]] = []
    replicator._observe = lambda b: seen.append(
        (b.report.applied, b.report.coalesced, b.report.stale)
    )
    assert replicator(event(record(1, item("1", name="first"))), Time()) == SUCCESS
    numbers = [2, 5, 3, 5, 4]
    hot = [record(number, item("1", name=str(number))) for number in numbers]
    # What stands in the middle cannot be decoded, and need not be.
    hot[2]["eventName"] = "UPSERT"
    assert replicator(event(*hot, record(9, item("2"))), Time()) == SUCCESS
    assert seen[-1] == (2, 4, 0)
    assert json.loads(cache.call("users:1", b"GET", b"users:1"))["name"] == "5"
    assert cache.call(quarantine_key("users"), b"HLEN", quarantine_key("users")) == 0


def test_a_newest_record_that_cannot_be_decoded_does_not_hide_those_before_it(
    replicator: Replicator, cache: Cache
) -> None:
    assert replicator(event(record(1, item("1", name="first"))), Time()) == SUCCESS
    broken = record(4, item("1", name="lost"))
    broken["eventName"] = "UPSERT"
    hot = [record(2, item("1", name="2")), record(3, item("1", name="3")), broken]
    assert replicator(event(*hot), Time()) == SUCCESS
    assert json.loads(cache.call("users:1", b"GET", b"users:1"))["name"] == "3"
    assert cache.call(quarantine_key("users"), b"HLEN", quarantine_key("users")) == 1


def test_records_of_two_streams_are_told_apart(replicator: Replicator, cache: Cache) -> None:
    assert replicator(event(record(1, item("1"))), Time()) == SUCCESS
    again = STREAM_ARN.replace("2026-", "2027-")
    newer = record(1, item("1", name="newer"))
    newer["eventSourceARN"] = again
    assert replicator(event(newer, record(7, item("1", name="older"))), Time()) == SUCCESS
    assert json.loads(cache.call("users:1", b"GET", b"users:1"))["name"] == "newer"


def test_a_batch_of_two_tables_loses_no_change_of_key(
    build_replicator: Build, cache: Cache, tmp_path: Path
) -> None:
    config = tmp_path / "mirror.toml"
    config.write_text(
        '[[view]]\ntable = "users"\nkey = "user:{id}"\n'
        '[[view]]\nname = "places"\ntable = "desks"\nkey = "at:{place}:{id}"\n',
        encoding="utf-8",
    )
    replicator = build_replicator(DYNAMIRROR_CONFIG=str(config))

    def desk(sequence: int, new: str, old: str | None = None) -> dict[str, Any]:
        moved = record(sequence, item("1", place=new), item("1", place=old) if old else None)
        return moved | {"eventSourceARN": STREAM_ARN.replace("users", "desks")}

    assert replicator(event(record(1, item("1")), desk(1, "a")), Time()) == SUCCESS
    moves = desk(2, "b", "a"), desk(3, "c", "b")
    assert replicator(event(record(2, item("1")), *moves), Time()) == SUCCESS
    assert sorted(keys_in(cache, "at:*")) == [b"at:c:1"]


def test_a_sort_key_needs_to_be_declared(build_replicator: Build, cache: Cache) -> None:
    mirror = build_replicator(DYNAMIRROR_KEY_SCHEMA="pk, sk")
    batch = event(composite(1, "a", "b"), composite(2, "a", "c:d"), composite(3, "a:c", "d"))
    assert mirror(batch, Time()) == SUCCESS
    keys = {b"users:a:b", b"users:a:c%3Ad", b"users:a%3Ac:d"}
    assert set(keys_in(cache, "users:*")) == keys


@pytest.mark.parametrize("declared", ["pk", "pk,sk,more", "pk,other"])
def test_a_declared_key_that_is_not_the_tables_is_refused(
    build_replicator: Build, declared: str
) -> None:
    mirror = build_replicator(DYNAMIRROR_KEY_SCHEMA=declared)
    with pytest.raises(ConfigError, match=r"DYNAMIRROR_KEY_SCHEMA: .* is pk and sk"):
        mirror(event(composite(1, "a", "b")), Time())


def test_the_layout_of_the_original_example(
    build_replicator: Build, cache: Cache, tmp_path: Path
) -> None:
    config = written(tmp_path, 'key = "{id}"\nencoding = "attribute"\nattribute = "name"')
    mirror = build_replicator(DYNAMIRROR_CONFIG=config)
    ada, grace = item("42", name="Ada"), item("43", name="Grace")
    mirror(event(record(1, ada), record(2, grace)), Time())
    assert cache.call("42", b"GET", "42") == b"Ada"

    mirror(event(record(3, None, ada), record(4, item("43", name="Hopper"), grace)), Time())
    assert cache.call("42", b"EXISTS", "42") == 0
    assert cache.call("43", b"GET", "43") == b"Hopper"

    mirror(event(record(5, item("43"), item("43", name="Hopper"))), Time())
    assert cache.call("43", b"EXISTS", "43") == 0


def test_a_cache_that_cannot_be_reached_stops_the_batch(build_replicator: Build) -> None:
    mirror = build_replicator(ELASTICACHE_PORT=str(free_port()))
    with pytest.raises(CacheError, match="no connection"):
        mirror(event(record(1, item("1"))), Time())


def test_the_function_reads_its_environment(lambda_env: dict[str, str], cache: Cache) -> None:
    assert lambda_env
    assert handler(event(record(1, item("1", name="Ada"))), Time()) == SUCCESS
    assert read(cache, "users:1") == {"id": "1", "name": "Ada"}


def test_the_function_keeps_its_connection(lambda_env: dict[str, str], cache: Cache) -> None:
    assert lambda_env
    handler(event(record(1, item("1"))), Time())
    before = connections(cache)
    for number in range(2, 6):
        handler(event(record(number, item("1"))), Time())
    assert connections(cache) <= before


def connections(cache: Cache) -> set[bytes]:
    """The ids of all connections to the cluster's one node."""
    (clients,) = cache.broadcast(b"CLIENT", b"LIST")
    return {line.split()[0] for line in clients.splitlines()}


def test_the_function_replaces_a_lost_connection(lambda_env: dict[str, str], cache: Cache) -> None:
    assert lambda_env
    handler(event(record(1, item("1"))), Time())
    assert cache.broadcast(b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes") != [0]
    assert handler(event(record(2, item("2"))), Time()) == SUCCESS
    assert read(cache, "users:2") == {"id": "2"}


def test_a_missing_variable_is_named_in_one_sentence(
    lambda_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lambda_env
    monkeypatch.delenv("ELASTICACHE_HOST")
    with pytest.raises(ConfigError) as caught:
        handler(event(record(1, item("1"))), Time())
    assert str(caught.value) == "environment: ELASTICACHE_HOST: is missing; set it"


def test_the_function_logs_one_object_per_line(
    lambda_env: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert lambda_env
    monkeypatch.setenv("DYNAMIRROR_LOG_BATCHES", "true")
    handler(event(record(1, item("1")), record(2, item("2"))), Time())
    told, logged, incomplete = map(json.loads, capsys.readouterr().out.splitlines())
    assert told["_aws"]["CloudWatchMetrics"]
    assert incomplete["message"] == "mirror incomplete"
    assert logged["message"] == "batch applied"
    assert logged["records"] == 2
    assert logged["applied"] == 2
    assert logged["failed"] == 0
    assert logged["first_sequence_number"] == "000000000000000000001"


def test_a_batch_is_logged_only_if_asked_for(
    lambda_env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert lambda_env
    for number in (1, 2):
        handler(event(record(number, item("1"))), Time())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"] for line in lines if "_aws" not in line] == ["mirror incomplete"]


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """All that is logged, with all that goes along."""
    with caplog.at_level(logging.INFO):
        yield lambda: "\n".join(str(vars(one)) for one in caplog.records)


def secret_records() -> list[dict[str, Any]]:
    """Good, unmappable and undecodable records, all with a secret in them."""
    good = item("1", name=SECRET)
    unmappable = item("2", name={"N": SECRET})
    strange_tag = item("3", name={"X": SECRET})
    unwritable = item("4", name={"L": [{"S": SECRET + "\ud800"}]})
    keyless = record(5, item("5", name=SECRET))
    keyless["dynamodb"]["Keys"] = SECRET
    odd_time = record(6, item("6", name=SECRET), ApproximateCreationDateTime=SECRET)
    odd_number = record(7, item("7", name=SECRET), SequenceNumber=SECRET)
    odd_image = record(8, item("8"), NewImage=SECRET)
    odd_key = record(9, {"id": {"M": {SECRET: {"S": SECRET}}}, "name": {"S": SECRET}})
    return [
        *(record(1, good), record(2, unmappable), record(3, strange_tag), record(4, unwritable)),
        *(keyless, odd_time, odd_number, odd_image, odd_key),
    ]


@pytest.mark.parametrize("seconds", [60.0, 0.0])
def test_logs_hold_no_item_data(
    replicator: Replicator, logs: Callable[[], str], seconds: float
) -> None:
    replicator(event(*secret_records()), Time(seconds))
    assert "quarantined" in logs()
    assert SECRET not in logs()


def test_errors_hold_no_item_data(
    replicator: Replicator, valkey: EmbeddedValkey, cache: Cache, logs: Callable[[], str]
) -> None:
    assert valkey.port
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction", b"maxmemory", b"1")
    try:
        assert replicator(event(record(1, item("1", name=SECRET))), Time()) == again_from(
            f"{1:021d}"
        )
    finally:
        cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    assert "maxmemory" in logs()
    assert SECRET not in logs()


def test_two_streams_of_one_table_are_ordered_by_their_age(
    replicator: Replicator, cache: Cache
) -> None:
    older, newer = record(900, item("1", name="old")), record(1, item("1", name="new"))
    newer["eventSourceARN"] = STREAM_ARN.replace("05.678", "05.679")
    replicator(event(newer), Time())
    replicator(event(older), Time())
    assert read(cache, "users:1") == {"id": "1", "name": "new"}
