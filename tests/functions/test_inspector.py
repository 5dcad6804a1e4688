"""The inspector's functions: what they count of a cache that is right, late, wrong or down."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.builders import STREAM_ARN, item
from tests.support.judged import Counted, Inspected, on_the_clock
from tests.support.sandboxes import fresh_logger

from dynamirror.cache.client import Cache
from dynamirror.emulators.process import free_port
from dynamirror.errors import ConfigError, RecordError, SourceError
from dynamirror.functions import inspector
from dynamirror.functions.questions import InspectorSettings
from dynamirror.functions.runtime import log_invocation
from dynamirror.inspection.sampling import canonical_key, is_sampled, key_hash
from dynamirror.settings import Settings
from dynamirror.views.encoding import HASH
from dynamirror.views.index import IndexSpec
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import ViewSpec

Start = Callable[..., tuple[Inspected, Counted]]
TTL = ViewSpec(ttl="until")
MOVING = ViewSpec(key="users:{name}:{id}")
FUTURE = {"until": {"N": "4000000000"}}


@pytest.fixture
def start(cache: Cache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a table with inspector, and what it counts."""
    with fresh_logger():
        log_invocation(None)

        def started(
            spec: ViewSpec | None = None, *, at: Cache | None = None, **options: Any
        ) -> tuple[Inspected, Counted]:
            inspected = Inspected(at or cache, spec or ViewSpec(), **options)
            return on_the_clock(inspected, monkeypatch), Counted(lambda: capsys.readouterr().out)

        yield started


@pytest.mark.parametrize("spec", [ViewSpec(), ViewSpec(encoding=HASH), TTL, MOVING])
def test_a_mirror_that_is_right_is_consistent_at_each_age(start: Start, spec: ViewSpec) -> None:
    inspected, counted = start(spec)
    put = inspected.table.put
    inspected.change(put("1", name="a", **FUTURE), put("2", name="b"), put("1", name="c"))
    inspected.change(inspected.table.delete("2"))
    inspected.pass_seconds(100)
    assert inspected.queue.waiting == []
    counts = counted()
    checks = counts.values["ConsistencyChecks"]
    assert checks == (5 if spec is MOVING else 4), "and an entry that the item left"
    for age in (1, 10, 60):
        assert counts.within(age) == (checks, checks)
    assert len(counts.staleness) == checks
    assert max(counts.staleness) <= 1
    assert counts.violations == []
    assert "ConsistencyUndecided" not in counts.values


def test_what_is_late_is_inconsistent_until_it_comes_and_its_staleness_is_known(
    start: Start,
) -> None:
    inspected, counted = start()
    record = inspected.table.put("1")
    inspected.change(record, mirrored=False)
    inspected.pass_seconds(5)
    assert counted().within(1) == (0, 1)
    assert inspected.mirror.deliver([record]) is None
    inspected.pass_seconds(100)
    counts = counted()
    assert (counts.within(10), counts.within(60)) == ((1, 1), (1, 1))
    assert (len(counts.staleness), counts.violations) == (1, [])
    assert 5 < counts.staleness[0] <= 11


def spoil(cache: Cache, kind: str) -> None:
    """Change the entry of item 1 as no replicator does."""
    key = b"users:1"
    words = {
        "wrong_value": (b"SET", key, b'{"id":"other"}'),
        "missing": (b"UNLINK", key),
        "should_be_gone": (b"SET", key, b"x"),
    }
    cache.call("users:1", *words[kind])


@pytest.mark.parametrize("kind", ["wrong_value", "missing", "should_be_gone"])
def test_damage_behind_the_mirror_s_back_is_a_violation_of_its_kind(
    start: Start, cache: Cache, kind: str
) -> None:
    inspected, counted = start()
    change = inspected.table.put("1", secret="confidential")
    if kind == "should_be_gone":
        change = inspected.table.delete("1")
    inspected.change(change)
    inspected.pass_seconds(20)
    spoil(cache, kind)
    inspected.pass_seconds(100)
    counts = counted()
    assert (counts.kinds, counts.within(60)) == ({kind: 1.0}, (0, 1))
    assert counts.within(10) == (1, 1), "it was right until then"
    (line,) = counts.violations
    assert {name: line[name] for name in ("table", "view", "kind", "shown", "level")} == {
        "table": "users",
        "view": "default",
        "kind": kind,
        "shown": 10.0,
        "level": "ERROR",
    }
    assert line["item"] == key_hash(canonical_key(item("1"), ("id",)))
    assert line["sequence_number"] == change["dynamodb"]["SequenceNumber"]
    assert line["stream"] == STREAM_ARN.rpartition("/")[2]
    assert 60 < line["age"] < 70
    assert "confidential" not in json.dumps(line)


def test_a_lost_index_member_is_a_violation_of_its_own_kind(start: Start, cache: Cache) -> None:
    spec = ViewSpec(name="by-city", index=IndexSpec(partition="city"))
    inspected, counted = start(spec)
    inspected.change(inspected.table.put("1", city="Kyoto"))
    (message,) = inspected.messages()
    (question,) = message.questions
    index, member = question.expectation.index, question.expectation.member
    assert index
    assert member
    assert cache.call(index.decode(), b"ZREM", index, member) == 1
    inspected.pass_seconds(100)
    assert counted().kinds == {"wrong_index": 1.0}


def test_time_that_goes_back_is_counted_at_once(start: Start, cache: Cache) -> None:
    """The message carries what was seen; the same state, set again, is what a reader sees."""
    inspected, counted = start()
    inspected.change(inspected.table.put("1", name="old"))
    fence = fence_key("users:1").encode()
    entry, before = (cache.call("users:1", b"GET", key) for key in (b"users:1", fence))
    inspected.now += 1
    newest = inspected.table.put("1", name="new")
    inspected.change(newest)
    inspected.pass_seconds(5)
    cache.call("users:1", b"SET", b"users:1", entry)
    cache.call("users:1", b"SET", fence, before)
    inspected.pass_seconds(10)
    counts = counted()
    # Both changes were seen at the newer one's fence.
    assert counts.kinds == {"went_backwards": 2.0}
    assert {line["sequence_number"] for line in counts.violations} == {
        newest["dynamodb"]["SequenceNumber"]
    }
    assert counts.violations[0]["seen"] == before.decode()
    inspected.pass_seconds(100)
    assert counted().kinds["went_backwards"] == 2, "each once"
    assert counted().kinds["wrong_value"] >= 1, "and it stays wrong"


def test_a_fence_that_claims_too_much_hides_no_wrong_value(start: Start, cache: Cache) -> None:
    inspected, counted = start()
    inspected.change(inspected.table.put("1"), mirrored=False)
    (message,) = inspected.messages()
    claimed = message.questions[0].expectation.version
    sequence = f"{int(claimed[14:54]) + 1:040d}"
    fence = f"{claimed[:14]}{sequence}{claimed[54:]}".encode()
    cache.call("users:1", b"SET", fence_key("users:1").encode(), fence)
    inspected.pass_seconds(100)
    assert counted().kinds == {"missing": 1.0}


def test_a_question_that_comes_early_waits_for_its_time_only_if_nothing_is_shown(
    start: Start,
) -> None:
    inspected, counted = start(late=-0.3)
    record = inspected.table.put("1")
    inspected.change(record)
    inspected.pass_seconds(5)
    assert (counted().within(1), inspected.waited) == ((1, 1), [])
    inspected.change(inspected.table.put("2"), mirrored=False)
    inspected.pass_seconds(5)
    assert counted().within(1) == (1, 2)
    (waited,) = inspected.waited
    assert 0 < waited <= 1


def test_a_question_that_comes_late_is_not_counted_at_that_age(start: Start) -> None:
    inspected, counted = start(late=3.0)
    inspected.change(inspected.table.put("1"))
    inspected.pass_seconds(100)
    counts = counted()
    assert (counts.within(1), counts.within(10)) == ((0, 0), (0, 0))
    assert counts.within(60) == (1, 1)
    assert counts.values["ConsistencyUndecided"] == 2


def test_a_cache_that_is_down_decides_nothing(start: Start) -> None:
    down = Cache(Settings(host="127.0.0.1", port=free_port(), tls=False, timeout=0.1))
    inspected, counted = start(at=down)
    inspected.change(inspected.table.put("1"), mirrored=False)
    inspected.pass_seconds(100)
    counts = counted()
    assert [counts.within(age) for age in (1, 10, 60)] == [(0, 0)] * 3
    assert (counts.values["ConsistencyUndecided"], counts.kinds) == (3, {})
    assert inspected.queue.waiting == []


def test_an_item_that_moves_on_is_no_violation(start: Start) -> None:
    """The table is read only where the cache does not show what is expected."""
    inspected, counted = start()
    for number in range(5):
        inspected.change(inspected.table.put("1", number=str(number)))
    assert inspected.reads == 0
    inspected.pass_seconds(100)
    counts = counted()
    assert (counts.within(60), counts.violations) == ((5, 5), [])
    assert inspected.reads > 0


def test_only_a_share_of_the_items_is_inspected_and_never_the_canary(start: Start) -> None:
    inspected, counted = start(share=0.2)
    ids = [str(number) for number in range(300)]
    inspected.change(*inspected.table.puts([*ids, "dynamirror:canary"]), mirrored=False)
    sampled = {
        question.item["id"]["S"] for each in inspected.messages() for question in each.questions
    }
    assert sampled == {one for one in ids if is_sampled(canonical_key(item(one), ("id",)), 0.2)}
    assert 30 < len(sampled) < 90
    assert not counted().values


def test_messages_hold_keys_and_digests_and_no_values(start: Start) -> None:
    inspected, _counted = start()
    inspected.change(*inspected.table.puts(map(str, range(250)), secret="confidential"))
    texts = [text for _due, text in inspected.queue.waiting]
    assert sum(len(each.questions) for each in inspected.messages()) == 250
    assert len(texts) == 3
    assert not [text for text in texts if "confidential" in text]
    assert {key for text in texts for each in json.loads(text)["questions"] for key in each} == {
        *("expectation", "item")
    }


def test_a_queue_that_refuses_messages_once_gets_them_again(start: Start) -> None:
    inspected, counted = start()
    inspected.queue.refuses = {1}
    inspected.change(inspected.table.put("1"))
    inspected.pass_seconds(100)
    assert counted().within(60) == (1, 1)
    inspected.queue.refuses = set(range(1000))
    with pytest.raises(SourceError, match="queue: not all questions were taken"):
        inspected.change(inspected.table.put("1"))


def test_a_judge_that_fails_has_the_messages_repeated(start: Start) -> None:
    inspected, _counted = start()
    inspected.change(inspected.table.put("1"))
    inspected.judge_fails = True
    ((_due, text),) = inspected.queue.waiting
    with pytest.raises(SourceError, match="function judge: failed"):
        inspected.function.judge([{"messageId": "1", "body": text}])


def test_a_message_that_cannot_be_read_fails_alone(start: Start) -> None:
    inspected, counted = start()
    inspected.change(inspected.table.put("1"))
    ((_due, text),) = inspected.queue.waiting
    inspected.queue.waiting.clear()
    bad = {"messageId": "bad", "body": "{}"}
    assert inspected.function.judge([bad, {"messageId": "good", "body": text}]) == ["bad"]
    assert len(inspected.queue.waiting) == 1
    assert counted().values["ConsistencyChecks"] == 1


def test_a_record_that_cannot_be_compared_is_undecided(start: Start) -> None:
    inspected, counted = start(MOVING)
    inspected.function.sample([inspected.table.put("1", name={"SS": ["x"]})])
    record = inspected.table.put("2", name="a")
    record["dynamodb"]["SequenceNumber"] = "x"
    inspected.function.sample([record])
    assert counted().values == {"ConsistencyUndecided": 2}


@pytest.mark.parametrize("event", [{}, {"Records": 1}, None, {"Records": [{}]}])
def test_an_event_of_another_kind_is_refused(
    lambda_env: dict[str, str], monkeypatch: pytest.MonkeyPatch, event: Any
) -> None:
    assert lambda_env
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    inspector.inspector.cache_clear()
    with pytest.raises(RecordError):
        inspector.handler(event)
    inspector.inspector.cache_clear()


@pytest.mark.parametrize("text", ["", "x", "0", "10,1", "1,,2"])
def test_ages_that_do_not_ascend_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be seconds"):
        _ages = InspectorSettings(thresholds=text).ages
