"""Each alarm is raised by what its page says, and is over once that is mended.

The functions are those that are deployed, the alarms those of the template; the minutes are ours.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from tests.support.alarm_watch import Watch
from tests.support.builders import record
from tests.support.deadlines import wait_until

from dynamirror import handler
from dynamirror.emulators.process import free_port
from dynamirror.functions import auditor, canary, operator
from dynamirror.views.keyspace import canary_key, fence_key

Sandbox = Callable[..., None]
# A canary that is given this much waits a fifth of a second for its item.
SHORT = 0.3


def beat(watch: Watch, seconds: float = 60.0) -> Callable[[], Any]:
    return lambda: watch.invoke(canary.handler, seconds=seconds)


def audit(watch: Watch) -> Callable[[], Any]:
    return lambda: watch.invoke(auditor.handler)


def batch(watch: Watch, **attributes: Any) -> dict[str, Any]:
    """One change of the table, as Lambda hands it over."""
    change = record(1, {"id": {"S": "1"}, **attributes})
    return {"Records": [change | {"eventSourceARN": watch.world.arn}]}


def complete(watch: Watch) -> None:
    """Rebuild the mirror; what it logs is not a function's."""
    watch.world.rebuilt()


def test_canary_missing_is_raised_while_no_change_comes_through(watch: Watch) -> None:
    watch.pass_minutes(5, beat(watch, SHORT))
    assert watch.state("canary-missing") == "ALARM"
    watch.world.follow(function=handler.handler)
    watch.pass_minutes(1, beat(watch))
    assert watch.state("canary-missing") == "OK"


def test_canary_missing_is_raised_while_nobody_looks(watch: Watch) -> None:
    watch.world.follow(function=handler.handler)
    watch.pass_minutes(5, beat(watch))
    assert watch.state("canary-missing") == "OK"
    watch.pass_minutes(4)
    assert watch.state("canary-missing") == "OK"
    watch.pass_minutes(1)
    assert watch.state("canary-missing") == "ALARM"


def test_canary_late_is_raised_while_changes_take_long(watch: Watch) -> None:
    """The threshold is a second here."""

    def late(event: Any, context: Any) -> Any:
        came = monotonic()
        wait_until(lambda: monotonic() > came + 1.25)
        return handler.handler(event, context)

    def seen_late() -> None:
        assert beat(watch)()["seen"]

    delivery = watch.world.follow(function=late)
    watch.pass_minutes(3, seen_late)
    assert watch.state("canary-late") == "ALARM"
    assert watch.state("canary-missing") != "ALARM"
    delivery.stop()
    watch.world.follow(function=handler.handler)

    def is_over() -> bool:
        watch.pass_minutes(1, beat(watch))
        return watch.state("canary-late") == "OK"

    wait_until(is_over)


def test_entries_failed_is_raised_while_the_cache_is_full(watch: Watch) -> None:
    cache = watch.world.cache
    cache.broadcast(b"CONFIG", b"SET", b"maxmemory-policy", b"noeviction", b"maxmemory", b"1")
    try:
        watch.pass_minutes(3, lambda: watch.invoke(handler.handler, batch(watch)))
    finally:
        cache.broadcast(b"CONFIG", b"SET", b"maxmemory", b"0")
    assert watch.state("entries-failed") == "ALARM"
    watch.pass_minutes(3, lambda: watch.invoke(handler.handler, batch(watch)))
    assert watch.state("entries-failed") == "OK"
    assert watch.state("replicator-errors") != "ALARM", "it told which record it came to"


def test_errors_are_raised_while_the_cache_is_gone(watch: Watch, sandbox: Sandbox) -> None:
    sandbox(port=free_port())

    def raised() -> None:
        assert isinstance(watch.invoke(handler.handler, batch(watch)), Exception)

    watch.pass_minutes(3, raised)
    assert watch.state("replicator-errors") == "ALARM"
    assert watch.state("entries-failed") == "ALARM", "all records of the batch"
    sandbox()
    watch.pass_minutes(5, lambda: watch.invoke(handler.handler, batch(watch)))
    assert watch.state("replicator-errors") == "OK"


def test_operating_errors_is_raised_while_audits_fail(watch: Watch, sandbox: Sandbox) -> None:
    sandbox(port=free_port())
    watch.pass_minutes(1, audit(watch))
    assert watch.state("operating-errors") != "ALARM", "one may fail"
    watch.pass_minutes(9, audit(watch), every=5)
    assert watch.state("operating-errors") == "ALARM"
    sandbox()
    watch.pass_minutes(6, audit(watch), every=5)
    assert watch.state("operating-errors") == "OK"


def test_mirror_incomplete_is_raised_when_it_does_not_heal_in_time(watch: Watch) -> None:
    watch.world.put("1")
    complete(watch)
    watch.pass_minutes(5, audit(watch), every=5)
    assert watch.state("mirror-incomplete") == "OK"
    watch.world.cache.broadcast(b"FLUSHALL")
    watch.pass_minutes(30, audit(watch), every=5)
    assert watch.state("mirror-incomplete") == "OK", "a short rebuild wakes nobody"
    # The canary looks, too.
    watch.pass_minutes(1, beat(watch, SHORT))
    assert watch.state("mirror-incomplete") == "ALARM"
    watch.pass_minutes(10)
    assert watch.state("mirror-incomplete") == "ALARM", "who does not look does not know better"
    complete(watch)
    watch.pass_minutes(1, audit(watch))
    assert watch.state("mirror-incomplete") == "OK"


def test_mirror_incomplete_is_raised_by_what_only_the_auditor_may_know(watch: Watch) -> None:
    complete(watch)
    watch.world.switch(on=False)
    watch.world.switch(on=True)

    def both() -> None:
        beat(watch, SHORT)()  # which may not ask the table for its stream
        audit(watch)()

    watch.pass_minutes(35, both, every=5)
    assert watch.state("mirror-incomplete") == "ALARM"


def test_quarantine_not_empty_is_raised_until_a_redrive(watch: Watch) -> None:
    poison = batch(watch, broken={"NO_TYPE": "1"})
    watch.pass_minutes(1, lambda: watch.invoke(handler.handler, poison))
    watch.pass_minutes(1, beat(watch, SHORT))
    assert watch.state("quarantine-not-empty") == "ALARM"
    answer = watch.invoke(operator.handler, {"request": {"type": "redrive"}})
    assert answer["answer"]["healed"] == 1
    watch.pass_minutes(4)
    watch.pass_minutes(1, audit(watch))
    assert watch.state("quarantine-not-empty") == "OK"


def test_drift_found_is_raised_by_an_entry_that_another_wrote(watch: Watch) -> None:
    watch.world.put("1")
    complete(watch)
    watch.pass_minutes(5, audit(watch), every=5)
    assert watch.state("drift-found") == "OK"
    key = f"{watch.world.table}:1"
    cache = watch.world.cache
    cache.call(key, b"SET", key, b"spoilt")
    cache.call(key, b"UNLINK", fence_key(key))  # else a row must be later than the rebuild's
    watch.pass_minutes(1, audit(watch))
    assert watch.state("drift-found") == "ALARM"
    watch.pass_minutes(4)
    watch.pass_minutes(1, audit(watch))
    assert watch.state("drift-found") == "OK", "it was repaired"


def test_a_mirror_that_is_well_raises_nothing(watch: Watch) -> None:
    watch.world.follow(function=handler.handler)
    watch.world.put("1")
    complete(watch)

    def minute() -> None:
        beat(watch)()
        audit(watch)()
        watch.check()

    watch.pass_minutes(6, minute)
    assert watch.world.cache.call(key := canary_key(watch.world.table), b"GET", key)
    pages = watch.states()
    del pages["canary-late"]  # a second may be too short for a busy machine
    assert {page for page, state in pages.items() if state == "ALARM"} == set()
    unknown = {page for page, state in pages.items() if state != "OK"}
    assert unknown == {"cache-near-storage-limit"}, "ElastiCache told nothing here"


@pytest.mark.parametrize("page", ["canary-missing", "cache-near-storage-limit"])
def test_silence_is_not_taken_for_health(watch: Watch, page: str) -> None:
    watch.pass_minutes(10)
    assert watch.state(page) != "OK"
