"""The functions' protocol: what goes in, what comes out, and what is raised."""

import json
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.support.builders import Time
from tests.support.deadlines import wait_until
from tests.support.sandboxes import fresh_logger
from tests.support.scans import keys_in
from tests.support.streams import Source

from dynamirror.cache.completeness_marker import read_marker, record_gap
from dynamirror.cache.slot_scan import ALL_SLOTS, MovingError
from dynamirror.dynamodb.client import describe_table
from dynamirror.dynamodb.rate import Rate
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, write_items
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError
from dynamirror.functions import auditor, canary, environment, operator, steps, worker
from dynamirror.functions.invocation_time import StalledError
from dynamirror.operations.executions import execution_name
from dynamirror.operations.service import Operations
from dynamirror.recovery.audit_lease import LEASE_SECONDS, is_busy, lease, save_busy
from dynamirror.recovery.rebuild_state import LostError
from dynamirror.recovery.verification_state import VerificationState
from dynamirror.recovery.verify import Verification
from dynamirror.views.canary import NAME
from dynamirror.views.keyspace import audit_key, fence_key

# A page takes one of these, or three.
LARGE = {"S": "x" * 300_000}


@pytest.fixture
def operations(
    valkey: EmbeddedValkey,
    cache: Any,
    dynamodb: EmbeddedDynamoDB,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Operations]:
    """A sandbox whose environment points to a table and to the cluster, which is empty."""
    assert not list(keys_in(cache, "*"))
    for name in list(os.environ):
        if name.startswith(("ELASTICACHE_", "DYNAMIRROR_", "AWS_")):
            monkeypatch.delenv(name)
    for name, value in valkey.settings().to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DYNAMODB_TABLE", Source(dynamodb).name)
    monkeypatch.setattr(environment, "Aws", lambda: dynamodb.aws)
    environment.operations.cache_clear()
    made = environment.operations()
    with fresh_logger():
        yield made
    made.cache.close()
    environment.operations.cache_clear()


def put(operations: Operations, count: int, **attributes: Any) -> None:
    """Fill the table; the mirror's gap is old."""
    items = ({"id": {"S": str(one)}, **attributes} for one in range(count))
    write_items(operations.client, operations.table, items)
    stream = describe_table(operations.client, operations.table).stream_arn
    record_gap(operations.cache, operations.views, stream=stream, at=1_790_000_000, reason="none")


def take(seconds: float = 60.0, **step: Any) -> Any:
    """Have the worker take one step; what goes in and out is JSON."""
    answer = worker.handler(json.loads(json.dumps(step)), Time(seconds))
    return json.loads(json.dumps(answer))


def ask(**request: Any) -> Any:
    """Ask the operator."""
    return json.loads(json.dumps(operator.handler({"request": request})))


def begun(segments: int = 1, **options: Any) -> Any:
    """Begin a rebuild."""
    return take(step="begin", segments=segments, **options)


def rebuilt(segments: int = 1) -> None:
    """Do all the steps, one after the other, as JSON."""
    run = begun(segments)["run"]
    for index in range(segments):
        while not take(step="load", run=run, index=index)["done"]:
            pass
    for slots in take(step="ranges", run=run)["ranges"]:
        while not take(step="sweep", run=run, slots=slots)["done"]:
            pass
    take(step="finish", run=run)


def test_the_steps_in_their_order_make_the_mirror_complete(operations: Operations) -> None:
    assert ask(type="status")["answer"]["complete"] is False
    first = begun(3)
    assert list(first) == ["wait"]
    assert first["wait"] > 0, "rows must be newer than the gap, which is now"
    put(operations, 10)
    operations.cache.call("x", b"UNLINK", f"dynamirror:{{{operations.table}}}:mirror")
    put(operations, 10)
    rebuilt(3)
    status = ask(type="status")["answer"]
    assert (status["complete"], status["progress"]["items"]) == (True, 10)
    assert ask(type="verify", settle=0)["answer"]["items"] == 10


def test_what_is_left_over_is_handed_from_one_invocation_to_the_next(
    operations: Operations,
) -> None:
    put(operations, 7, large=LARGE)
    run = begun()["run"]
    # With no time but what is kept back, each takes one page.
    answers: list[Any] = []
    items = []
    for _ in range(3):
        answers.append(take(0, step="load", run=run, index=0))
        items.append(ask(type="status")["answer"]["progress"]["items"])
    assert [answer["done"] for answer in answers] == [False, False, True]
    assert items == sorted(items)
    assert items[-1] == 7
    assert all(set(answer) == {"done", "index", "wait"} for answer in answers), "no data"


def test_a_lane_goes_through_its_segments_and_resumes_in_the_middle(
    operations: Operations,
) -> None:
    put(operations, 40)
    run = begun(7)["run"]
    seen = []
    for lane in range(3):
        answer, index = {"done": False}, lane
        while not answer["done"]:
            answer = take(0, step="load", run=run, index=index, lanes=3)
            index = answer["index"]
            seen.append(index)
    # In no time, each invocation does a page, which is a segment here.
    assert seen == [3, 6, 6, 4, 4, 5, 5]
    status = ask(type="status")["answer"]
    assert (status["progress"]["done"], status["progress"]["items"]) == (True, 40)


def test_a_verification_whose_rate_never_gets_it_further_fails(operations: Operations) -> None:
    """A pause and the same again would not end before the execution does."""
    put(operations, 5)
    words: dict[str, Any] = {
        "id": "one",
        "index": 0,
        "lanes": 1,
        "segments": 1,
        "ranges": 1,
        "settle": 0,
    }
    with pytest.raises(StalledError, match=r"^rate: 1 read units a second"):
        take(0, step="verify", rate=1, **words)
    answer = {"done": False}
    while not answer["done"]:
        answer = take(60, step="verify", rate=100, **words | {"index": answer.get("index", 0)})
    assert take(step="sum", id="one", parts=2)["missing"] == 5


def test_a_verification_of_a_cluster_ends_where_a_single_server_replaces_it(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single server is one range, and the parts have no others to go on in."""
    put(operations, 1)
    words: dict[str, Any] = {"id": "one", "lanes": 4, "segments": 1, "ranges": 3, "settle": 0}
    assert take(step="verify", index=2, **words)["done"]
    monkeypatch.setattr(steps, "ranges", lambda _cache, _parts: [ALL_SLOTS])
    with pytest.raises(LostError, match="verify again"):
        take(step="verify", index=3, **words)


def test_a_sweep_is_handed_from_one_invocation_to_the_next(operations: Operations) -> None:
    """Each range is swept from its checkpoint on, and `status` shows how far it is."""
    put(operations, 20)
    run = begun()["run"]
    take(step="load", run=run, index=0)
    gone = [f"{operations.table}:gone-{number}" for number in range(50)]
    for key in gone:
        operations.cache.call(key, b"SET", key, b"{}")
    slots = take(step="ranges", run=run, concurrency=2)["ranges"]
    assert len(slots) == 1, "a small table needs no more"
    answers: list[Any] = []
    while not answers or not answers[-1]["done"]:
        answers.append(take(0, step="sweep", run=run, slots=slots[0]))
        assert set(answers[-1]) == {"done", "wait"}, "no data"
    assert len(answers) > 2, "16,384 slots are not looked at in one exchange"
    swept = take(step="finish", run=run)["swept"]
    assert (swept["done"], swept["entries"], swept["deleted"]) == (True, 70, 50)


def test_a_pause_longer_than_the_invocation_is_left_to_the_state_machine(
    operations: Operations,
) -> None:
    put(operations, 5, large=LARGE)
    run = begun()["run"]
    for page in range(1, 3):
        answer = take(60, step="load", run=run, index=0, rate=0.001)
        assert answer["done"] is False
        assert answer["wait"] >= 500
        assert ask(type="status")["answer"]["progress"]["items"] == page


def test_a_low_rate_slows_a_verification_and_a_sweep_and_both_end(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each invocation has time for one lookup, and goes on where the last one ended."""
    # The emulator reports no units of BatchGetItem: each lookup takes one, as expected.
    monkeypatch.setattr(Rate, "end", lambda *_units: None)
    put(operations, 8)
    run = begun()["run"]
    take(step="load", run=run, index=0)
    for number in range(5):
        key = f"{operations.table}:gone-{number}"
        operations.cache.call(key, b"SET", key, b"{}")
    (slots,) = take(step="ranges", run=run)["ranges"]
    sweep = until_done(step="sweep", run=run, slots=slots)
    assert take(step="finish", run=run)["progress"]["items"] == 8
    assert not [key for key in keys_in(operations.cache, "*gone-*") if b"fence" not in key]
    divided = take(900, step="divide", action="verify", segments=1, rate=1, settle=0)
    assert divided["rate"] == 1, "it is not refused"
    state = VerificationState(operations.cache, operations.table, "slow")
    lane: dict[str, Any] = {"id": "slow", "lanes": 2, "segments": 1, "ranges": 1, "settle": 0}
    take(step="verify", index=0, **lane)
    verify = until_done(step="verify", index=1, **lane)
    assert state.total(2).entries == 8
    assert not state.total(2).differences
    assert sweep >= 5
    assert verify >= 8


def until_done(**step: Any) -> int:
    """Take a step at a low rate until it is done, and return how many invocations it took."""
    for number in range(1, 100):
        answer = take(0.2, rate=0.1, **step)
        if answer["done"]:
            return number
    raise AssertionError("it never ends")


def sized(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, *, items: int, size: int
) -> None:
    """Have AWS describe the table as larger."""
    described = operations.client.describe_table(TableName=operations.table)["Table"]
    described |= {"ItemCount": items, "TableSizeBytes": size}
    monkeypatch.setattr(Operations, "_description", lambda _self: described)


def warnings() -> list[str]:
    return [text for text in ask(type="status")["answer"]["warnings"] if "rate: " in text]


def test_a_job_that_takes_longer_than_a_day_is_counted_and_shown_until_it_ends(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(operations, 1)
    sized(operations, monkeypatch, items=1_000_000, size=4096 * 1_000_000)
    capsys.readouterr()
    run = begun(rate=5)["run"]
    assert metrics(capsys) == {"LongJobs": 1}
    take(900, step="divide", action="verify", segments=1, rate=10, settle=0)
    assert metrics(capsys) == {"LongJobs": 1}
    rebuild, verification = warnings()
    assert "the rebuild of 1,000,000 units takes 2.3 days; a day would need 12" in rebuild
    assert "the verification of 1,500,000 units takes 1.7 days" in verification
    assert "LongJobs" not in capsys.readouterr().out
    take(900, step="divide", action="verify", segments=1, settle=0)
    assert warnings() == [rebuild], "the next one takes no longer"
    take(step="load", run=run, index=0)
    for slots in take(step="ranges", run=run)["ranges"]:
        take(step="sweep", run=run, slots=slots)
    take(step="finish", run=run)
    assert warnings() == []


@pytest.mark.parametrize(
    "step",
    [
        {"step": "begin", "segments": 1, "rate": 0.01},
        {"step": "divide", "action": "verify", "segments": 1, "rate": 1, "settle": 0},
        {"step": "divide", "action": "repair", "segments": 1, "settle": 600},
    ],
    ids=["rebuild", "verification", "settle"],
)
def test_a_job_that_cannot_end_is_refused_counted_and_shown(
    operations: Operations,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    step: dict[str, Any],
) -> None:
    put(operations, 1)
    sized(operations, monkeypatch, items=1_000_000, size=4096 * 1_000_000)
    capsys.readouterr()
    with pytest.raises(ConfigError, match=r"^(rate|settle): ") as raised:
        take(900, **step)
    assert metrics(capsys) == {"LongJobs": 1}
    (warning,) = [text for text in operations.status().warnings if "was refused" in text]
    assert warning.endswith(str(raised.value))


def test_slots_that_keep_moving_are_waited_for_outside_the_functions(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMIRROR_AUDIT_PARTS", "1")
    monkeypatch.setenv("DYNAMIRROR_AUDIT_SETTLE", "0")
    put(operations, 3)
    run = begun()["run"]
    take(step="load", run=run, index=0)
    (slots,) = take(step="ranges", run=run)["ranges"]
    lane: dict[str, Any] = {
        "id": "v",
        "index": 1,
        "lanes": 2,
        "segments": 1,
        "ranges": 1,
        "settle": 0,
    }

    def moving(*_range: Any, **_options: Any) -> Any:
        raise MovingError("a giant slot moved")

    with monkeypatch.context() as patch:
        patch.setattr("dynamirror.recovery.sweep.scan_range", moving)
        assert take(step="sweep", run=run, slots=slots) == {"done": False, "wait": 30}
        patch.setattr("dynamirror.recovery.verify.scan_range", moving)
        assert take(step="verify", **lane) == {"done": False, "index": 1, "wait": 30}
    assert take(step="sweep", run=run, slots=slots)["done"]
    assert take(step="verify", **lane)["done"]
    take(step="finish", run=run)
    with monkeypatch.context() as patch:
        patch.setattr("dynamirror.recovery.verify.scan_range", moving)
        assert auditor.handler({})["comparison"]["entries"] == 0
    assert auditor.handler({})["comparison"]["entries"] == 3


def test_an_auditor_that_is_killed_blocks_the_next_for_a_minute_only(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is short, and renewed while it works."""
    put(operations, 1)
    rebuilt()
    cache, table = operations.cache, operations.table

    def until() -> float:
        return float(json.loads(state_of_audit(operations)["busy"]))

    with lease(cache, table, seconds=30, renewal=0.01):
        first = until()
        wait_until(lambda: until() > first)
        assert is_busy(cache, table)
        assert auditor.handler({})["comparison"] is None
    assert not is_busy(cache, table)

    class Killed(BaseException):
        """An end that cleans nothing up."""

    def killed(*_arguments: Any, **_options: Any) -> Any:
        assert time.time() < until() <= time.time() + LEASE_SECONDS <= time.time() + 61
        raise Killed

    monkeypatch.setattr(Operations, "audit", killed)
    with pytest.raises(Killed):
        auditor.handler({})


def test_ranges_and_an_end_before_all_is_loaded_are_lost(operations: Operations) -> None:
    put(operations, 1)
    run = begun(2)["run"]
    take(step="load", run=run, index=0)
    for step in ("ranges", "finish"):
        with pytest.raises(LostError, match="not all segments are loaded"):
            take(step=step, run=run)
    begun(restart=True)
    for step in ("load", "ranges", "sweep", "finish"):
        with pytest.raises(LostError):
            take(step=step, run=run, index=1)


def test_the_rate_is_shared_by_those_that_run_at_a_time(operations: Operations) -> None:
    put(operations, 1)
    assert begun(4, rate=100, concurrency=2)["rate"] == 50
    divided = take(step="divide", action="repair", segments=3, rate=60, concurrency=9, settle=1)
    assert divided == {
        "lanes": [0, 1, 2, 3],
        "segments": 3,
        "ranges": 1,
        "parts": 4,
        "rate": 15,
        "repair": True,
    }
    assert take(step="divide", action="verify", segments=1, rate=0, settle=1)["rate"] is None


def test_the_size_of_a_table_decides_how_it_is_divided(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(operations, 1)
    # AWS's description of a billion items of 1 KB.
    described = operations.client.describe_table(TableName=operations.table)["Table"]
    large = {**described, "ItemCount": 10**9, "TableSizeBytes": 10**12}
    monkeypatch.setattr(Operations, "_description", lambda _self: large)
    began = begun(0, concurrency=40)
    assert began["run"]["segments"] == 3726
    assert (len(began["lanes"]), began["workers"]) == (1000, 40)
    divided = take(step="divide", action="verify", concurrency=40, settle=1)
    assert (divided["segments"], divided["ranges"], divided["parts"]) == (3726, 160, 3886)
    assert len(json.dumps(divided)) < 10_000


def test_a_job_that_cannot_end_is_refused_before_it_begins(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(operations, 1)
    described = operations.client.describe_table(TableName=operations.table)["Table"]
    large = {**described, "ItemCount": 10**9, "TableSizeBytes": 10**12}
    monkeypatch.setattr(Operations, "_description", lambda _self: large)
    divide: dict[str, Any] = {"step": "divide", "action": "verify", "concurrency": 2}
    with pytest.raises(ConfigError, match=r"^settle: .* 1,200 s .* a function has 880 s"):
        take(900, **divide, settle=300)
    with monkeypatch.context() as patch:
        tiny = {**described, "ItemCount": 1, "TableSizeBytes": 4096}
        patch.setattr(Operations, "_description", lambda _self: tiny)
        with pytest.raises(ConfigError, match=r"^rate: 2 functions .* give at least 0.044, or"):
            take(900, **divide, rate=0.01)
    with pytest.raises(ConfigError, match=r"^rate: .* kept for 7 days; give at least 1,231"):
        take(900, **divide, rate=100)
    with pytest.raises(ConfigError, match=r"^rate: .* run for 365 days; give at least 8"):
        begun(rate=5)
    assert ask(type="status")["answer"]["rebuild"] is None, "nothing has begun"
    capsys.readouterr()
    take(900, **divide, rate=2000)
    begun(rate=2000)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    reasons = [line["reason"] for line in lines if "reason" in line]
    assert [reason.partition(" takes ")[2] for reason in reasons] == [
        "4.3 days; a day would need 8,613",
        "1.4 days; a day would need 2,826",
    ]


def test_results_of_parts_are_added_outside_the_machine_s_state(
    operations: Operations,
) -> None:
    put(operations, 3)
    rebuilt()
    divided = take(step="divide", action="verify", segments=2, settle=0)
    assert divided["parts"] == 3
    shared: dict[str, Any] = {"id": "one", "lanes": 2, "segments": 2, "ranges": 1, "settle": 0}
    for lane in (0, 1):
        assert take(step="verify", index=lane, **shared)["done"]
    with pytest.raises(LostError, match="the cache has lost results"):
        take(step="sum", id="one", parts=4)
    for _attempt in range(2):
        total = take(step="sum", id="one", parts=3)
        assert (total["items"], total["entries"], total["missing"]) == (3, 3, 0)


def test_a_verification_is_handed_from_one_invocation_to_the_next(operations: Operations) -> None:
    put(operations, 9, large=LARGE)
    rebuilt()
    key = f"{operations.table}:5"
    operations.cache.call(key, b"UNLINK", key)
    shared: dict[str, Any] = {"id": "two", "lanes": 1, "segments": 1, "ranges": 1, "settle": 0}
    answers = [{"done": False, "index": 0}]
    while not answers[-1]["done"]:
        answer = take(0, step="verify", index=answers[-1]["index"], **shared)
        assert set(answer) == {"done", "index", "wait"}, "no data"
        answers.append(answer)
    numbers = [answer["index"] for answer in answers]
    assert numbers.count(0) > 2, "pages of the table"
    assert numbers.count(1) > 2, "slots of the cache"
    total = take(step="sum", id="two", parts=2)
    assert (total["items"], total["entries"], total["missing"]) == (9, 8, 1)


def test_a_million_segments_leave_room_in_the_machine_s_state(operations: Operations) -> None:
    put(operations, 1)
    # It has room for 256 KB; what the children answer is dropped.
    assert len(json.dumps(begun(1_000_000))) < 10_000
    divided = take(step="divide", action="verify", segments=1_000_000, settle=0)
    assert len(json.dumps(divided)) < 10_000


@pytest.mark.parametrize(
    ("running", "start"),
    [
        ((), True),
        (("rebuild-1-2",), False),
        (("x",), False),
        (("verify-1", "repair-2"), True),
        ((execution_name("rebuild", "other", "none-498805"),), True),
    ],
)
def test_a_rebuild_is_due_unless_one_is_under_way(
    operations: Operations, running: tuple[str, ...], *, start: bool
) -> None:
    answer = take(step="check", running=running)
    assert (answer["complete"], answer["start"]) == (False, start)
    prefix = execution_name("rebuild", operations.table, "")
    assert answer["name"].startswith(f"{prefix}none-")
    own = take(step="check", running=[answer["name"]])
    assert own["start"] is False
    put(operations, 1)
    assert take(step="check")["name"].startswith(f"{prefix}1790000000-")
    rebuilt()
    answer = take(step="check", running=running)
    assert (answer["complete"], answer["start"]) == (True, False)


def test_the_watchdog_gives_up_after_three_failed_rebuilds_in_a_row(
    operations: Operations, capsys: pytest.CaptureFixture[str]
) -> None:
    """A success, a rebuild that somebody stopped, or a mirror complete since then ends the row."""
    put(operations, 1)
    hour = int(time.time()) // 3600

    def recent(*statuses: str, table: str = operations.table, action: str = "rebuild") -> Any:
        turns = [f"1790000000-{hour - ago}" for ago, _ in enumerate(statuses)]
        arns = [
            f"arn:aws:states:eu:1:execution:m:{execution_name(action, table, turn)}"
            for turn in turns
        ]
        return take(step="check", recent=arns, statuses=statuses)

    assert recent("FAILED", "TIMED_OUT")["start"] is True
    given_up = recent("FAILED", "TIMED_OUT", "FAILED", "SUCCEEDED")
    assert given_up["start"] is False
    assert given_up["failed"].endswith(f"-{hour}"), "the newest"
    for ended in ("SUCCEEDED", "ABORTED"):
        assert recent("FAILED", "FAILED", ended, "FAILED", "FAILED")["start"] is True
    assert recent(*["FAILED"] * 3, table="other")["start"] is True
    assert recent(*["FAILED"] * 3, action="verify")["start"] is True

    execution = {"Name": "x", "Status": "FAILED", "Error": "ConfigError", "Cause": "no room"}
    capsys.readouterr()
    take(step="gaveup", execution=execution)
    assert metrics(capsys) == {"RebuildGivenUp": 1}
    warnings = ask(type="status")["answer"]["warnings"]
    assert "given up after three failed rebuilds in a row (x: FAILED: ConfigError: no room)" in str(
        warnings
    )
    rebuilt()
    status = ask(type="status")["answer"]
    assert not [warning for warning in status["warnings"] if "given up" in warning]
    record_gap(
        operations.cache,
        operations.views,
        stream=status["stream"],
        at=status["since"] + 1,
        reason="x",
    )
    old = [
        f"arn:x:{execution_name('rebuild', operations.table, f'1-{hour - ago}')}"
        for ago in (9, 10, 11)
    ]
    assert take(step="check", recent=old, statuses=["FAILED"] * 3)["start"] is True


def test_no_rebuild_is_due_where_it_could_not_help(operations: Operations) -> None:
    put(operations, 1)
    rebuilt()
    key = f"dynamirror:{{{operations.table}}}:mirror"
    operations.cache.call(key, b"HSET", key, b"stream", b"another")
    answer = take(step="check")
    assert (answer["complete"], answer["start"]) == (False, False)


def test_what_is_asked_for_is_looked_at_anew_each_time(operations: Operations) -> None:
    before = ask(type="status")["answer"]["table_stream"]
    change = operations.client.update_table
    change(TableName=operations.table, StreamSpecification={"StreamEnabled": False})
    assert before
    assert ask(type="status")["answer"]["table_stream"] == ""


@pytest.mark.parametrize("event", [{}, {"request": {"type": "?"}}, {"request": None}, None])
def test_an_unreadable_request_is_one_sentence(operations: Operations, event: Any) -> None:
    assert operations
    answer = operator.handler(event)
    assert list(answer) == ["error"]
    assert answer["error"].startswith("event: cannot be read: ")
    assert "\n" not in answer["error"]


def test_what_cannot_be_done_is_one_sentence(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert operations
    environment.operations.cache_clear()
    monkeypatch.delenv("DYNAMODB_TABLE")
    assert ask(type="status")["error"].startswith("environment: DYNAMODB_TABLE: is missing")
    monkeypatch.setenv("DYNAMODB_TABLE", "nowhere")
    assert ask(type="status")["error"].startswith("table nowhere: it does not exist")


@pytest.mark.parametrize(
    "step",
    [{"step": "?"}, {"step": "begin", "segments": -1}, {"step": "load", "index": 1}, {}],
)
def test_a_step_that_is_none_is_refused(operations: Operations, step: dict[str, Any]) -> None:
    assert operations
    with pytest.raises(ConfigError, match=r"^step: cannot be read: "):
        take(**step)


def metrics(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The values of the one metrics record that was written, and that it is one."""
    (line,) = (line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line)
    record = json.loads(line)
    (told,) = record["_aws"]["CloudWatchMetrics"]
    assert (told["Namespace"], told["Dimensions"]) == ("dynamirror", [["table"]])
    return {metric["Name"]: record[metric["Name"]][0] for metric in told["Metrics"]}


def test_the_auditor_goes_through_the_parts_repairs_and_tells(
    operations: Operations,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DYNAMIRROR_AUDIT_PARTS", "3")
    monkeypatch.setenv("DYNAMIRROR_AUDIT_SETTLE", "0")
    put(operations, 30)
    rebuilt()
    for one in range(30):
        key = f"{operations.table}:{one}"
        operations.cache.call(key, b"SET", key, b"spoilt")
        # Else no row is later than that of the rebuild, within one second.
        operations.cache.call(key, b"UNLINK", fence_key(key))
    found = []
    for part in (0, 1, 2):
        audited = auditor.handler({})
        assert (audited["part"], audited["of"]) == (part, 3)
        told = metrics(capsys)
        assert told["ItemsAudited"] == audited["comparison"]["items"]
        assert (told["MirrorComplete"], told["QuarantineSize"]) == (1, 0)
        found.append((told["DriftFound"], told["DriftRepaired"]))
    assert sum(drift for drift, _ in found) == 30
    assert sum(repaired for _, repaired in found) == 30
    key = audit_key(operations.table)
    last = json.loads(operations.cache.call(key, b"HGET", key, b"last"))
    assert last["part"] == 2
    assert last["round_seconds"] == 15 * 60
    assert auditor.handler({})["part"] == 0, "the next round"


def test_an_audit_that_time_ends_is_resumed_by_the_next_turn(
    operations: Operations,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DYNAMIRROR_AUDIT_PARTS", "1")
    monkeypatch.setenv("DYNAMIRROR_AUDIT_SETTLE", "0")
    put(operations, 9, large=LARGE)
    rebuilt()
    key = f"{operations.table}:5"
    operations.cache.call(key, b"UNLINK", key, fence_key(key))
    capsys.readouterr()
    found, turns = [], 0
    while "last" not in state_of_audit(operations):
        auditor.handler({}, Ending())
        found.append(metrics(capsys))
        turns += 1
    assert turns > 3
    sums = {name: sum(each[name] for each in found) for name in found[0]}
    assert (sums["ItemsAudited"], sums["DriftFound"], sums["DriftRepaired"]) == (9, 1, 1)


class Ending:
    """Lambda's context of an invocation that soon has no time for more."""

    def __init__(self) -> None:
        self._answers = iter((1000, 1000))

    def get_remaining_time_in_millis(self) -> int:
        """Return a second, twice."""
        return next(self._answers, 0)


def state_of_audit(operations: Operations) -> dict[str, bytes]:
    """The fields of the audit's state."""
    key = audit_key(operations.table)
    flat = operations.cache.call(key, b"HGETALL", key)
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def test_two_audits_of_a_table_do_not_run_at_a_time(operations: Operations) -> None:
    put(operations, 1)
    rebuilt()
    save_busy(operations.cache, operations.table, time.time() + 60)
    assert auditor.handler({})["comparison"] is None
    assert "turn" not in state_of_audit(operations)
    save_busy(operations.cache, operations.table, time.time() - 1)
    assert auditor.handler({})["comparison"]["items"] == 0, "one of many parts"


def test_a_day_s_read_units_decide_how_long_a_round_of_audits_takes(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMIRROR_AUDIT_SETTLE", "0")
    monkeypatch.setenv("DYNAMIRROR_AUDIT_MINUTES", "360")
    put(operations, 1)
    rebuilt()
    described = operations.client.describe_table(TableName=operations.table)["Table"]
    # A scan takes 8 units, the 8 lookups 4.
    sized = {**described, "ItemCount": 8, "TableSizeBytes": 8 * 4096}
    monkeypatch.setattr(Operations, "_description", lambda _self: sized)
    monkeypatch.setenv("DYNAMIRROR_AUDIT_UNITS", "24")
    first = auditor.handler({})
    assert (first["of"], first["round_seconds"]) == (2, 43_200)
    # A table that grows does not change the round under way.
    sized["ItemCount"], sized["TableSizeBytes"] = 80, 80 * 4096
    assert [auditor.handler({})["of"] for _ in range(2)] == [2, 20]
    monkeypatch.setenv("DYNAMIRROR_AUDIT_RATE", "0.001")
    with pytest.raises(ConfigError, match=r"^rate: "):
        auditor.handler({})


def test_a_change_that_is_a_minute_late_is_no_drift(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMIRROR_AUDIT_PARTS", "1")
    put(operations, 1)
    rebuilt()
    put(operations, 1, name={"S": "new"})
    now = [0.0]
    key = operations.views[0].key_of({"id": {"S": "0"}})
    assert key

    def wait(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 60:
            operations.cache.call(key, b"SET", key, b'{"id":"0","name":"new"}')

    patient = partial(Verification, clock=lambda: now[0], wait=wait)
    monkeypatch.setattr("dynamirror.operations.service.Verification", patient)
    found = auditor.handler({})["comparison"]
    assert now[0] > 60, "it was waited for"
    assert (found["different"], found["missing"], found["in_flight"]) == (0, 0, 0)


def test_an_incomplete_mirror_is_told_of_not_audited(
    operations: Operations, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not read_marker(operations.cache, operations.table).is_complete
    assert auditor.handler({})["comparison"] is None
    assert metrics(capsys) == {
        "MirrorComplete": 0,
        "MirrorDoubtful": 0,
        "QuarantineSize": 0,
        "ItemsAudited": 0,
    }


def test_a_wrong_setting_of_the_audit_is_refused(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert operations
    monkeypatch.setenv("DYNAMIRROR_AUDIT_PARTS", "none")
    with pytest.raises(ConfigError, match=r"^environment: .*DYNAMIRROR_AUDIT_PARTS"):
        auditor.handler({})


@pytest.fixture
def second(
    operations: Operations, dynamodb: EmbeddedDynamoDB, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Operations]:
    """A second table of the same mirror."""
    name = Source(dynamodb).name
    monkeypatch.setenv("DYNAMODB_TABLES", f"{operations.table},{name}")
    other = environment.operations(name)
    yield other
    other.cache.close()


def test_each_function_works_on_the_table_that_its_event_names(
    operations: Operations,
    second: Operations,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DYNAMIRROR_AUDIT_PARTS", "1")
    monkeypatch.setenv("DYNAMIRROR_AUDIT_SETTLE", "0")
    put(operations, 3)
    put(second, 5)
    table = second.table
    run = take(step="begin", segments=1, table=table)["run"]
    assert take(step="load", run=run, index=0, table=table)["done"]
    take(step="sweep", run=run, table=table)
    take(step="finish", run=run, table=table)
    assert ask(type="status", table=table)["answer"]["complete"] is True
    assert ask(type="status")["answer"]["complete"] is False
    assert len(list(keys_in(operations.cache, f"{table}:*"))) == 5
    assert not list(keys_in(operations.cache, f"{operations.table}:*"))
    capsys.readouterr()
    assert auditor.handler({"table": table})["comparison"]["items"] == 5
    line = json.loads(capsys.readouterr().out)
    assert (line["table"], line["MirrorComplete"]) == (table, [1])
    auditor.handler({})
    line = json.loads(capsys.readouterr().out)
    assert (line["table"], line["MirrorComplete"]) == (operations.table, [0])


def test_the_canary_of_each_table_writes_to_it(
    operations: Operations, second: Operations, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nothing delivers, so neither is seen.
    canary._probe.cache_clear()
    for event, of in ({}, operations), ({"table": second.table}, second):
        capsys.readouterr()
        assert canary.handler(event, Time(0.3))["seen"] is False
        line = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (line["table"], line["CanarySeen"]) == (of.table, [0])
        key = {"id": {"S": NAME}}
        assert "Item" in of.client.get_item(TableName=of.table, Key=key)
    canary._probe.cache_clear()


def test_a_table_that_the_mirror_lacks_is_refused(
    operations: Operations, second: Operations
) -> None:
    sentence = (
        f"event: table: 'nowhere' is no table of this mirror; its tables are {operations.table}, "
        f"{second.table}"
    )
    assert ask(type="status", table="nowhere") == {"error": sentence}
    with pytest.raises(ConfigError) as refused:
        take(step="check", table="nowhere")
    assert str(refused.value) == sentence
    assert ask(type="status", table=5)["error"].startswith("event: cannot be read: ")
