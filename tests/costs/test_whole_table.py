"""What a job over a whole table takes in AWS, from what was measured for an item."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamirror.costs import figures, prices, whole_table
from dynamirror.costs.whole_table import JobCost, forecast

JOB = JobCost(
    name="any",
    worker_us=30.0,
    commands=1.0,
    exchanges=0.01,
    kilobytes=0.2,
    scripts=0.25,
    keys=2.0,
    read_units=0.5,
    pages=0.0001,
    look_ups=0.01,
    transitions=3.0,
)
FREE_READS = msgspec.structs.replace(JOB, read_units=0.0)


@given(st.integers(1_000_000, 10**11), st.integers(2, 1_000))
def test_time_units_and_dollars_grow_with_the_items_and_no_faster(items: int, times: int) -> None:
    one, many = (forecast(JOB, number, workers=8) for number in (items, items * times))
    for name in ("seconds", "read_units", "ecpus", "gb_seconds"):
        assert getattr(many, name) == pytest.approx(times * getattr(one, name))
    assert many.dollars <= times * one.dollars * 1.000001


def test_an_item_takes_the_worker_s_time_and_its_waits() -> None:
    waits = 0.01 * whole_table.EXCHANGE_WAIT_US + 0.0001 * whole_table.PAGE_WAIT_US
    waits += 0.01 * whole_table.LOOK_UP_WAIT_US
    assert JOB.microseconds == pytest.approx(30.0 + waits)
    found = forecast(FREE_READS, 1e9, workers=8)
    assert found.seconds == pytest.approx(1000 * (30.0 + waits) / 8)
    assert found.limit == "workers"


def test_a_command_counts_by_its_data_or_its_time() -> None:
    scripts = 0.25 * figures.CHANGE_ECPUS
    assert JOB.ecpus == pytest.approx(0.75 + scripts + 2 * figures.SCANNED_KEY_ECPUS)
    assert msgspec.structs.replace(JOB, kilobytes=5.0).ecpus == 5.0


def test_dollars_are_the_sum_of_named_prices() -> None:
    found = forecast(FREE_READS, 1e9, workers=16, parts=100)
    assert found.invocations == pytest.approx(
        100 + found.seconds * 16 / whole_table.INVOCATION_SECONDS, rel=0.01
    )
    assert found.transitions == 3 * found.invocations
    gb_seconds = found.seconds * 16 * figures.OPERATOR_MB / 1024
    assert found.gb_seconds == pytest.approx(gb_seconds)
    found = forecast(JOB, 1e9, workers=1)
    bill = (
        found.gb_seconds * prices.GB_SECONDS_ARM64.dollars
        + found.read_units / 1e6 * prices.READ_UNITS.dollars
        + found.ecpus / 1e6 * prices.ECPUS.dollars
        + found.invocations / 1e6 * prices.REQUESTS.dollars
        + found.transitions / 1e6 * prices.TRANSITIONS.dollars
    )
    assert found.dollars == pytest.approx(bill)


def test_more_workers_take_less_time_until_the_table_or_the_cache_limits_them() -> None:
    few, many = (forecast(FREE_READS, 1e9, workers=workers) for workers in (10, 100))
    assert many.seconds == pytest.approx(few.seconds / 10)
    limited = forecast(JOB, 1e9, workers=10_000)
    assert limited.limit == "table"
    assert limited.read_units / limited.seconds == pytest.approx(whole_table.TABLE_READ_UNITS)
    throttled = forecast(FREE_READS, 1e9, workers=10_000, cache_seconds=7_200.0)
    assert (throttled.seconds, throttled.limit) == (7_200.0, "cache")
    # All of them wait, and cost their time meanwhile.
    gigabytes = figures.OPERATOR_MB / 1024
    assert throttled.gb_seconds == pytest.approx(7_200 * 10_000 * gigabytes)


def test_a_job_whose_invocations_run_one_at_a_time_takes_no_less_time_with_more() -> None:
    alone = msgspec.structs.replace(JOB, most_workers=1)
    assert forecast(alone, 1e9, workers=128) == forecast(JOB, 1e9, workers=1)
