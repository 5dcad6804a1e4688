"""The state machines on the emulator's Step Functions, with real functions and a real cache."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.deadlines import wait_until
from tests.support.emulated_aws import Deployed
from tests.support.processes import linux_only

from dynamirror.dynamodb.scan import scan_table
from dynamirror.operations.executions import execution_name
from dynamirror.recovery.rebuild_state import RebuildState
from dynamirror.recovery.verify import compare
from dynamirror.views.keyspace import completeness_marker_key

# Three of these make a page.
LARGE = {"S": "x" * 300_000}


def is_true(deployed: Deployed) -> bool:
    """Whether the cache holds what the table holds."""
    operations = deployed.operations
    items = scan_table(operations.client, deployed.table)
    return not compare(items, operations.cache, operations.views).differences


def test_a_backfill_fills_the_cache_and_drops_what_is_not_in_the_table(deployed: Deployed) -> None:
    deployed.put(*range(500))
    deployed.note_old_gap()
    gone = f"{deployed.table}:gone"
    deployed.operations.cache.call(gone, b"SET", gone, b"{}")
    output = deployed.run(deployed.rebuild, segments=3, maxConcurrency=3)
    assert output["progress"]["items"] == 500
    assert output["run"]["segments"] == 3
    assert output["run"]["finished"]
    assert output["swept"]["deleted"] == 1
    assert deployed.operations.status().complete
    assert is_true(deployed)


def test_a_verification_adds_all_parts_up_and_a_repair_mends_them(deployed: Deployed) -> None:
    deployed.put(*range(200))
    deployed.note_old_gap()
    deployed.run(deployed.rebuild, segments=2)
    cache = deployed.operations.cache
    for one in range(20):
        key = f"{deployed.table}:{one}"
        cache.call(key, b"SET", key, b"spoilt")
    found = deployed.run(deployed.rebuild, action="repair", segments=4, settle=1)
    assert (found["items"], found["different"], found["repaired"]) == (200, 20, 20)
    assert len(found["sample"]["different"]) == 10
    again = deployed.run(deployed.rebuild, action="verify", segments=3)
    assert (again["items"], again["entries"], again["different"]) == (200, 200, 0)


@linux_only
def test_a_function_killed_in_the_middle_of_a_segment_goes_on_where_it_had_come_to(
    deployed: Deployed,
) -> None:
    deployed.put(*range(15), large=LARGE)  # five pages, each of one unit for the emulator
    deployed.note_old_gap()
    cache, table = deployed.operations.cache, deployed.table
    execution = deployed.start(deployed.rebuild, segments=1, rate=2)

    def items() -> int:
        run = RebuildState(cache, table).run()
        return RebuildState(cache, table).progress(run).items if run else 0

    wait_until(lambda: items() > 0)
    before = items()
    for process in Path("/proc").glob("[0-9]*"):
        if f"AWS_LAMBDA_FUNCTION_NAME={table}-worker" in environment_of(process):
            os.kill(int(process.name), signal.SIGKILL)
    seen = [before]
    while deployed.cloud.states.describe_execution(executionArn=execution)["status"] == "RUNNING":
        seen.append(items())
        time.sleep(0.05)
    output = json.loads(deployed.end(execution)["output"])
    assert 0 < before < 15
    assert seen == sorted(seen), "no page is loaded twice"
    assert output["progress"]["items"] == 15
    assert is_true(deployed)


def environment_of(process: Path) -> str:
    """The environment of a process; nothing if it is gone."""
    try:
        return (process / "environ").read_text(errors="replace")
    except OSError:
        return ""


def test_a_pause_for_the_rate_is_made_outside_the_function(deployed: Deployed) -> None:
    deployed.put(*range(6), large=LARGE)
    deployed.note_old_gap()
    name = f"{deployed.table}-worker"
    deployed.cloud.functions.update_function_configuration(FunctionName=name, Timeout=9)
    # At a tenth of a unit a second, a page takes longer than the function has.
    execution = deployed.start(deployed.rebuild, segments=1, rate=0.1)
    state = deployed.end(execution)
    assert state["status"] == "SUCCEEDED", state
    assert json.loads(state["output"])["progress"]["items"] == 6
    assert is_true(deployed)
    log = (deployed.cloud.server.folder / "log").read_text(errors="replace")
    assert f"Lambda {name} timed out" not in log


def test_a_rebuild_whose_state_is_lost_begins_anew(deployed: Deployed) -> None:
    deployed.put(*range(15), large=LARGE)
    deployed.note_old_gap()
    cache, table = deployed.operations.cache, deployed.table
    execution = deployed.start(deployed.rebuild, segments=1, rate=2)

    def run() -> Any:
        return RebuildState(cache, table).run()

    wait_until(lambda: bool(run()) and RebuildState(cache, table).progress(run()).items > 0)
    first = run().id
    cache.call(table, b"UNLINK", f"dynamirror:{{{table}}}:rebuild")
    state = deployed.end(execution)
    assert state["status"] == "SUCCEEDED", state
    assert json.loads(state["output"])["run"]["id"] != first
    assert "BeginAnew" in deployed.steps(execution)
    assert is_true(deployed)


def test_the_watchdog_starts_one_rebuild_of_an_incomplete_mirror(deployed: Deployed) -> None:
    deployed.put(*range(20))
    first = deployed.run(deployed.watch, table=deployed.table)
    assert "ExecutionArn" in first
    (name,) = deployed.names()
    assert name.startswith(execution_name("rebuild", deployed.table, "none-"))
    second = deployed.run(deployed.watch, table=deployed.table)
    assert second["check"]["start"] is False, "one is under way"
    key = completeness_marker_key(deployed.table)
    deployed.operations.cache.call(key, b"HSET", key, b"gap", int(time.time()) - 60)
    assert deployed.end(first["ExecutionArn"])["status"] == "SUCCEEDED"
    assert is_true(deployed)
    third = deployed.run(deployed.watch, table=deployed.table)
    assert third["check"]["complete"] is True
    assert deployed.names() == [name]


def test_the_watchdog_gives_up_a_rebuild_that_failed_three_times_and_says_why(
    deployed: Deployed,
) -> None:
    deployed.put(1)
    hour = int(time.time()) // 3600
    for ago in (3, 2, 1):
        name = execution_name("rebuild", deployed.table, f"none-{hour - ago}")
        # No such concurrency can be, and so the worker refuses to begin.
        failed = deployed.end(deployed.start(deployed.rebuild, name, maxConcurrency=0))
        assert (failed["status"], failed["error"]) == ("FAILED", "ConfigError")
    watched = deployed.run(deployed.watch, table=deployed.table)
    assert watched["check"]["failed"].endswith(f"none-{hour - 1}")
    assert len(deployed.names()) == 3, "no other was started"
    (warning,) = [each for each in deployed.operations.status().warnings if "given up" in each]
    assert "ConfigError: step: cannot be read" in warning
    deployed.note_old_gap()
    deployed.run(deployed.rebuild, segments=1)
    assert deployed.run(deployed.watch, table=deployed.table)["check"]["failed"] == ""


def test_work_goes_on_over_many_invocations(deployed: Deployed) -> None:
    """Load, sweep and verification: each invocation has time for one batch."""
    deployed.put(*range(9), large=LARGE)
    deployed.note_old_gap()
    cache, worker = deployed.operations.cache, f"{deployed.table}-worker"
    gone = f"{deployed.table}:gone"
    cache.call(gone, b"SET", gone, b"{}")
    found = deployed.cloud.functions.get_function_configuration(FunctionName=worker)
    variables = found["Environment"]["Variables"] | {"DYNAMIRROR_INVOCATION_SECONDS": "0"}
    deployed.cloud.functions.update_function_configuration(
        FunctionName=worker, Environment={"Variables": variables}
    )
    output = deployed.run(deployed.rebuild, segments=1)
    assert (output["progress"]["items"], output["swept"]["deleted"]) == (9, 1)
    total = deployed.run(deployed.rebuild, action="verify", segments=1, settle=0)
    assert (total["items"], total["entries"]) == (9, 9)
    assert is_true(deployed)
    steps = deployed.logged_steps("worker")
    for step in ("load", "sweep", "verify"):
        resumed = [done for name, done in steps if name == step]
        assert resumed.count(False) > 1, step
        assert resumed.count(True) >= 1, step


@pytest.fixture
def other(deployed: Deployed) -> Iterator[Deployed]:
    """A second table of the mirror."""
    second = deployed.with_second_table()
    yield second
    second.operations.cache.close()


def test_an_execution_works_on_the_table_that_its_input_names(
    deployed: Deployed, other: Deployed
) -> None:
    deployed.put(*range(3))
    other.put(*range(7))
    other.note_old_gap()
    filled = deployed.run(deployed.rebuild, table=other.table, segments=2)
    assert filled["progress"]["items"] == 7
    found = deployed.run(deployed.rebuild, table=other.table, action="verify", segments=2)
    assert (found["items"], found["entries"], found["different"]) == (7, 7, 0)
    assert other.operations.status().complete
    assert not deployed.operations.status().complete
    watched = deployed.run(deployed.watch, table=other.table)
    assert watched["check"]["complete"] is True
    state = deployed.end(deployed.start(deployed.rebuild, table="nowhere"))
    assert (state["status"], state["error"]) == ("FAILED", "ConfigError")


def test_an_unknown_action_is_refused(deployed: Deployed) -> None:
    state = deployed.end(deployed.start(deployed.rebuild, action="nonsense"))
    assert (state["status"], state["error"]) == ("FAILED", "ConfigError")


def test_a_function_s_errors_have_the_names_that_the_machine_waits_for(deployed: Deployed) -> None:
    assert deployed.invoke("worker", {"step": "nonsense"})["errorType"] == "ConfigError"
