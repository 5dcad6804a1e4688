"""What the cache refuses for good is quarantined and blocks nothing; what may heal comes again."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.builders import Time, item, record, view
from tests.support.scans import scanned_keys
from tests.support.serverless import LONGEST, REFUSAL, Serverless

from dynamirror.cache.answers import REFUSED_FOR_GOOD, RETRIED, Failure, failure_reason
from dynamirror.cache.client import Cache
from dynamirror.cache.connection import AnswerError
from dynamirror.cache.quarantine import read_quarantine
from dynamirror.cache.writer import apply
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import ChangeVersion
from dynamirror.replication.replicator import Replicator
from dynamirror.settings import Settings
from dynamirror.views.batch_result import Report
from dynamirror.views.encoding import HASH
from dynamirror.views.entry import Delete, Entry, Put
from dynamirror.views.index import IndexSpec
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import Schema, View, Views, ViewSpec

FENCE_TTL = 93_600
DEFAULT = view()
AS_HASH = view(ViewSpec(encoding=HASH))
# Each of them is written as three letters in a key.
LONG = "%" * 1400
LARGE = "\x01" * 200_000  # six letters each in JSON


def put(sequence: int, key: str, of: View = DEFAULT, **attributes: str) -> Put:
    """An item that was written."""
    version = ChangeVersion(1_767_323_045_678, sequence, 1_790_000_000)
    found = item(key, **attributes)
    rendered = of.key_of(found)
    assert rendered is not None
    return Put(of, rendered, version, found)


def gone(sequence: int, key: str) -> Delete:
    """An item that was deleted."""
    entry = put(sequence, key)
    return Delete(DEFAULT, entry.key, entry.version, item(key))


def reasons(report: Report) -> list[str]:
    """Why entries were quarantined."""
    return [rejected.reason for rejected in report.quarantined]


@pytest.fixture
def serverless(single_valkey: EmbeddedValkey) -> Iterator[Serverless]:
    """A Valkey behind what refuses long keys."""
    with Serverless(single_valkey.port) as proxy:
        yield proxy


@pytest.fixture
def limited(serverless: Serverless) -> Iterator[Cache]:
    """The cache behind it, emptied."""
    limited = Cache(Settings(host="127.0.0.1", port=serverless.port, tls=False))
    limited.broadcast(b"FLUSHALL")
    yield limited
    limited.close()


@pytest.fixture
def small(cache: Cache) -> Iterator[Cache]:
    """A cache that takes no value of more than 1 MB."""
    cache.broadcast(b"CONFIG", b"SET", b"proto-max-bulk-len", b"1mb")
    yield cache
    cache.broadcast(b"CONFIG", b"SET", b"proto-max-bulk-len", b"512mb")


def replicator(cache: Cache, **options: int) -> Replicator:
    """A replicator with the default view."""
    views = Views.for_schema([ViewSpec(**options)], DEFAULT.schema)  # type: ignore[arg-type]
    return Replicator(cache, views, fence_ttl=FENCE_TTL)


@pytest.mark.parametrize("code", RETRIED)
def test_an_error_that_may_heal_is_retried(code: str) -> None:
    failure = Failure("it is so", AnswerError(f"{code} it is so script: on @user_script:12."))
    assert failure.is_retried
    assert not failure.is_final


@pytest.mark.parametrize("text", REFUSED_FOR_GOOD)
def test_an_error_that_no_retry_helps_is_final(text: str) -> None:
    assert Failure("it is so", AnswerError(f"{text}, or so")).is_final


def test_the_reason_of_a_right_that_a_script_lacks_is_whole() -> None:
    """A script answers it, or raises it with its place; the words in script: are in both."""
    text = "ERR ACL failure in script: User u has no permissions to run the 'zadd' command"
    for answered in (text, f"{text} script: b0a1, on @user_script:12."):
        assert failure_reason(AnswerError(answered)) == text.removeprefix("ERR ")


def test_a_script_that_was_killed_or_a_lost_connection_is_retried() -> None:
    killed = "ERR Error running script: Script killed by user with SCRIPT KILL. script: on @x:1."
    assert not Failure("killed", AnswerError(killed)).is_final
    assert not Failure("no answer in time").is_final


def test_a_right_that_the_scripts_lack_takes_no_entry_away(
    single_valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    """Within a script, its error has the code ERR; each record would lose its entry."""
    password = tmp_path / "password"
    password.write_text("p", encoding="utf-8")
    single = Cache(single_valkey.settings(user="limited", password_file=str(password)))
    admin = Cache(single_valkey.settings())
    rules = (b"reset", b"on", b">p", b"allkeys", b"+@all")
    with closing(admin), closing(single):
        admin.broadcast(b"ACL", b"SETUSER", b"limited", *rules)
        apply(single, [put(1, "a")], fence_ttl=FENCE_TTL)
        for right, entry in ((b"-set", put(2, "a")), (b"-unlink", gone(3, "a"))):
            admin.broadcast(b"ACL", b"SETUSER", b"limited", *rules, right)
            report = apply(single, [entry], fence_ttl=FENCE_TTL)
            assert (len(report.failed), report.quarantined) == (1, [])
            assert single.call("users:a", b"GET", b"users:a") is not None
        admin.broadcast(b"ACL", b"DELUSER", b"limited")


def test_a_key_too_long_for_serverless_is_quarantined_and_its_neighbours_go_on(
    limited: Cache,
) -> None:
    entries: list[Entry] = [put(1, "a"), put(2, LONG), put(3, "b"), gone(4, f"{LONG}x")]
    report = apply(limited, entries, fence_ttl=FENCE_TTL)
    assert report.applied == 2
    assert report.stale == 1, "under such a key nothing can be deleted"
    assert reasons(report) == [f"the cache refuses it for good: {REFUSAL.removeprefix('ERR ')}"]
    assert not report.failed


def test_the_shard_goes_on_after_a_key_too_long_for_serverless(limited: Cache) -> None:
    mirror = replicator(limited)
    event = {"Records": [record(n, item(key)) for n, key in enumerate(("a", LONG, "b"), 1)]}
    assert mirror(event, Time()) == {"batchItemFailures": []}
    (listed,) = read_quarantine(limited, "users")
    assert listed.note.reason.startswith("view default: the cache refuses it for good: Request")
    assert limited.call("users:b", b"GET", b"users:b")


@pytest.mark.parametrize("length", [LONGEST, LONGEST + 1])
def test_a_fence_has_to_fit_too(limited: Cache, length: int) -> None:
    name = "k" * (length - len(fence_key("users:")))
    report = apply(limited, [put(1, name)], fence_ttl=FENCE_TTL)
    fits = length == LONGEST
    assert (report.applied, len(report.quarantined)) == (fits, not fits)
    # The view with the limit comes to the same, without a request.
    spec = ViewSpec(max_key_bytes=LONGEST)
    mirror = replicator(limited, max_key_bytes=LONGEST)
    assert spec.bind(DEFAULT.schema).possible_key(item(name)) == (f"users:{name}" if fits else None)
    assert mirror({"Records": [record(2, item(name))]}, Time()) == {"batchItemFailures": []}
    assert len(read_quarantine(limited, "users")) == (not fits)


def test_a_key_that_is_known_to_be_too_long_is_not_sent(
    limited: Cache, serverless: Serverless
) -> None:
    mirror = replicator(limited, max_key_bytes=LONGEST)
    records = [record(1, item(LONG)), record(2, item("a")), record(3, old=item("ä" * 2100))]
    assert mirror({"Records": records}, Time()) == {"batchItemFailures": []}
    (listed,) = read_quarantine(limited, "users")
    assert listed.note.reason == (
        "view default: its key has 4,206 bytes, and the cache takes no more than 4,077, "
        "with the 19 that its fence has more"
    )
    assert serverless.refused == 0
    assert limited.call("users:a", b"GET", b"users:a")


def test_a_value_too_large_takes_its_old_entry_away_and_nothing_else(small: Cache) -> None:
    """The node closes the connection, and what came behind is sent again."""
    apply(small, [put(1, "3"), put(1, "450")], fence_ttl=FENCE_TTL)
    large = {3, 4, 199, 200, 450, 599}
    entries = [put(2, str(n), text=LARGE if n in large else "small") for n in range(600)]
    report = apply(small, entries, fence_ttl=FENCE_TTL)
    assert (report.applied, len(report.failed)) == (594, 0)
    assert {rejected.entry.key for rejected in report.quarantined} == {f"users:{n}" for n in large}
    assert set(reasons(report)) == {
        "the cache refuses it for good: Protocol error: invalid bulk length"
    }
    left = {int(key.decode().removeprefix("users:")) for key in scanned_keys(small, "users:*")}
    assert left == set(range(600)) - large
    assert apply(small, [put(1, "3")], fence_ttl=FENCE_TTL).stale == 1, "a tombstone is there"


def test_a_fence_that_another_application_wrote_takes_the_entry_away(cache: Cache) -> None:
    apply(cache, [put(1, "a"), put(1, "b")], fence_ttl=FENCE_TTL)
    fence = fence_key("users:a")
    cache.call(fence, b"UNLINK", fence)
    cache.call(fence, b"ZADD", fence, 0, b"theirs")
    report = apply(cache, [put(2, "a"), put(2, "b"), gone(3, "b")], fence_ttl=FENCE_TTL)
    assert report.applied == 1
    (reason,) = reasons(report)
    assert "WRONGTYPE" in reason
    assert list(scanned_keys(cache, "users:*")) == []
    assert cache.call(fence, b"ZSCORE", fence, b"theirs") is not None


@pytest.mark.parametrize(
    "words",
    [
        {"collection": True},
        {"index": IndexSpec("c"), "score": "n"},
        {"index": IndexSpec("c", "n")},
    ],
)
def test_a_fence_that_another_application_wrote_takes_the_member_away(
    cache: Cache, words: dict[str, Any]
) -> None:
    """A sorted set never lists an item that has no entry."""
    ranked = ViewSpec(name="ranked", **words).bind(Schema("users", ("id", "sk"), ("S", "S")))
    assert ranked.members is not None
    stored = {"id": {"S": "a"}, "sk": {"S": "b"}, "c": {"S": "x"}, "n": {"N": "5"}}
    key, index = ranked.key_of(stored), ranked.members.index_key(stored)
    assert key is not None
    versions = [ChangeVersion(1, sequence, 1) for sequence in (1, 2, 3)]
    assert apply(cache, [Put(ranked, key, versions[0], stored)], fence_ttl=FENCE_TTL).applied == 1
    fence = fence_key(key)
    cache.call(fence, b"UNLINK", fence)
    cache.call(fence, b"ZADD", fence, 0, b"theirs")
    report = apply(cache, [Put(ranked, key, versions[1], stored)], fence_ttl=FENCE_TTL)
    assert (len(report.quarantined), len(report.failed)) == (1, 0)
    assert cache.call(key, b"EXISTS", key) == 0
    assert cache.call(index, b"ZCARD", index) == 0
    # Where something else stands in place of the set, there is nothing to take away.
    cache.call(index, b"SET", index, b"theirs")
    report = apply(cache, [Delete(ranked, key, versions[2], stored)], fence_ttl=FENCE_TTL)
    assert (len(report.quarantined), len(report.failed)) == (1, 0)


def test_an_item_that_cannot_be_encoded_for_a_key_too_long_has_both_reasons(limited: Cache) -> None:
    poison = Put(DEFAULT, put(1, LONG).key, put(1, LONG).version, item(LONG, x={"X": "?"}))
    report = apply(limited, [poison, put(2, "a")], fence_ttl=FENCE_TTL)
    (reason,) = reasons(report)
    assert "unknown type" in reason or "X" in reason
    assert "max key size" in reason


def test_an_unknown_error_of_one_entry_that_its_neighbours_do_not_meet_is_quarantined(
    limited: Cache, serverless: Serverless
) -> None:
    serverless.refusals[b"odd"] = "ERR this is not for me"
    apply(limited, [put(1, "b")], fence_ttl=FENCE_TTL)
    report = apply(limited, [put(2, "a"), put(3, "b", name="odd")], fence_ttl=FENCE_TTL)
    assert reasons(report) == ["the cache refuses it for good: this is not for me"]
    assert serverless.refused == 3, "it was tried three times"
    assert list(scanned_keys(limited, "users:*")) == [b"users:a"]


def test_an_unknown_error_that_a_slot_meets_with_all_writes_is_not_the_entrys(
    limited: Cache, serverless: Serverless
) -> None:
    """Its neighbours may be on other nodes; listed, the item would stay in quarantine."""
    mirror = replicator(limited)
    records = [record(1, item("a")), record(2, item("b"))]
    serverless.refusals[b"users:a"] = "ERR the upstream is not available"
    assert mirror({"Records": records}, Time()) == {
        "batchItemFailures": [{"itemIdentifier": f"{1:021d}"}]
    }
    assert read_quarantine(limited, "users") == []
    serverless.refusals.clear()
    assert mirror({"Records": records}, Time()) == {"batchItemFailures": []}
    assert limited.call("users:a", b"GET", b"users:a") is not None


def test_an_unknown_error_of_a_lone_entry_blocks_no_shard(
    limited: Cache, serverless: Serverless
) -> None:
    """On a quiet table each batch is a record, and others wait behind it."""
    serverless.refusals[b"odd"] = "ERR this is not for me"
    mirror = replicator(limited)
    assert mirror({"Records": [record(1, item("a", name="odd"))]}, Time()) == {
        "batchItemFailures": []
    }
    assert len(read_quarantine(limited, "users")) == 1


def test_an_unknown_error_of_many_entries_blocks_no_shard(
    limited: Cache, serverless: Serverless
) -> None:
    serverless.refusals[b"odd"] = "ERR this is not for me"
    mirror = replicator(limited)
    records = [record(number, item(str(number), name="odd")) for number in range(1, 6)]
    assert mirror({"Records": records}, Time()) == {
        "batchItemFailures": [{"itemIdentifier": f"{4:021d}"}]
    }
    assert mirror({"Records": records[3:]}, Time()) == {"batchItemFailures": []}
    assert len(read_quarantine(limited, "users")) == 5


@pytest.mark.parametrize("refused", [b"EVALSHA", b"users:"])
@pytest.mark.parametrize("count", [1, 4])
def test_an_unknown_error_is_retried_where_it_may_be_the_servers(
    limited: Cache, serverless: Serverless, count: int, refused: bytes
) -> None:
    """It meets many, or any write."""
    serverless.refusals[refused] = "ERR not now"
    entries = [put(2, str(n), name="odd") for n in range(count)]
    report = apply(limited, entries, fence_ttl=FENCE_TTL)
    assert (report.applied, len(report.failed)) == (0, count)
    assert not report.quarantined


def test_a_full_cache_that_words_it_in_another_way_is_not_taken_for_a_refusal(
    single_valkey: EmbeddedValkey,
) -> None:
    """What deletes is carried out even then."""
    with (
        Serverless(single_valkey.port) as proxy,
        closing(Cache(Settings(host="127.0.0.1", port=proxy.port, tls=False))) as full,
    ):
        proxy.errors[b"OOM"] = b"-ERR the storage limit is reached"
        full.broadcast(b"CONFIG", b"SET", b"maxmemory", b"1")
        try:
            report = apply(full, [put(1, "a")], fence_ttl=FENCE_TTL)
        finally:
            full.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    assert (len(report.failed), report.quarantined) == (1, [])


def test_what_cannot_be_deleted_is_retried(limited: Cache, serverless: Serverless) -> None:
    """Else an entry that is out of date would stay."""
    apply(limited, [put(1, "a"), put(1, "b")], fence_ttl=FENCE_TTL)
    serverless.refusals[b"users:a"] = "NOPERM not yours"
    serverless.refusals[b"odd"] = "ERR syntax error"
    report = apply(limited, [put(2, "a", name="odd"), put(2, "b")], fence_ttl=FENCE_TTL)
    assert (report.applied, reasons(report)) == (1, [])
    assert [rejected.entry.key for rejected in report.failed] == ["users:a"]


def test_what_is_refused_is_listed_before_its_entry_goes(
    limited: Cache, serverless: Serverless
) -> None:
    """Else it would come again, stale by its tombstone, and be in neither place."""
    mirror = replicator(limited)
    good = record(2, item("b"))
    serverless.refusals[b"odd"] = "ERR this is not for me"
    serverless.refusals[b"quarantine"] = "OOM command not allowed"
    assert mirror({"Records": [record(1, item("a", name="odd")), good]}, Time()) == {
        "batchItemFailures": [{"itemIdentifier": f"{1:021d}"}]
    }
    serverless.refusals.clear()
    assert mirror({"Records": [record(1, item("a", name="odd")), good]}, Time()) == {
        "batchItemFailures": []
    }
    assert limited.call("users:a", b"GET", b"users:a") is not None
    assert read_quarantine(limited, "users") == []


def test_a_full_cache_is_not_taken_for_a_refusal(cache: Cache) -> None:
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"1")
    try:
        report = apply(cache, [put(1, "a"), put(1, "b", AS_HASH)], fence_ttl=FENCE_TTL)
    finally:
        cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    assert len(report.failed) == 2


@pytest.mark.parametrize(
    ("host", "longest"),
    [
        ("users-abc123.serverless.use1.cache.amazonaws.com", 4096),
        ("users-abc123.serverless.cnn1.cache.amazonaws.com.cn", 4096),
        ("master.users.abc123.use1.cache.amazonaws.com", None),
        ("serverless.example.com", None),
    ],
)
def test_only_an_endpoint_of_serverless_has_a_limit_by_itself(
    host: str, longest: int | None
) -> None:
    assert Settings(host=host).longest_key == longest
    assert Settings(host=host, max_key_bytes=100).longest_key == 100
    assert Settings(host=host).views()[0].max_key_bytes == longest


def test_the_docs_show_the_table_of_answers() -> None:
    page = (Path(__file__).parents[2] / "docs/quarantine.md").read_text(encoding="utf-8")
    for answers, outcome in ((REFUSED_FOR_GOOD, "quarantined"), (RETRIED, "retried")):
        for text, reason in answers.items():
            assert f"| `{text}` | {outcome} | {reason} |" in page
