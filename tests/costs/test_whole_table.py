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
    kilobytes=0.2,
    scripts=0.25,
    keys=2.0,
    read_units=0.5,
    pages=0.0001,
    look_ups=0.01,
    transitions=3.0,
)


@given(st.integers(1_000_000, 10**11), st.integers(2, 1_000))
def test_time_units_and_dollars_grow_with_the_items_and_no_faster(items: int, times: int) -> None:
    one, many = forecast(JOB, items), forecast(JOB, items * times)
    for name in ("lambda_hours", "read_units", "ecpus", "gb_seconds"):
        assert getattr(many, name) == pytest.approx(times * getattr(one, name))
    assert many.dollars <= times * one.dollars * 1.000001


def test_an_item_takes_the_worker_s_time_and_its_waits() -> None:
    waits = figures.RECORD_WAIT_US + 0.0001 * whole_table.PAGE_WAIT_US
    waits += 0.01 * whole_table.LOOK_UP_WAIT_US
    assert JOB.microseconds == pytest.approx(30.0 + waits)


def test_a_command_counts_by_its_data_or_its_time() -> None:
    scripts = 0.25 * figures.CHANGE_ECPUS
    assert JOB.ecpus == pytest.approx(0.75 + scripts + 2 * figures.SCANNED_KEY_ECPUS)
    assert msgspec.structs.replace(JOB, kilobytes=5.0).ecpus == 5.0


def test_dollars_are_the_sum_of_named_prices() -> None:
    found = forecast(JOB, 1e9)
    seconds = found.lambda_hours * 3600
    assert found.invocations == pytest.approx(seconds / whole_table.INVOCATION_SECONDS, rel=0.01)
    assert found.transitions == 3 * found.invocations
    gb_seconds = seconds * figures.OPERATOR_MB / 1024
    assert found.gb_seconds == pytest.approx(gb_seconds)
    bill = (
        gb_seconds * prices.GB_SECONDS_ARM64.dollars
        + found.read_units / 1e6 * prices.READ_UNITS.dollars
        + found.ecpus / 1e6 * prices.ECPUS.dollars
        + found.invocations / 1e6 * prices.REQUESTS.dollars
        + found.transitions / 1e6 * prices.TRANSITIONS.dollars
    )
    assert found.dollars == pytest.approx(bill)


def test_more_workers_take_less_time_and_ask_for_more_each_second() -> None:
    found = forecast(JOB, 1e9)
    assert found.hours(100) == pytest.approx(found.hours(10) / 10)
    assert found.ecpus_a_second(100) == pytest.approx(10 * found.ecpus_a_second(10))
    assert found.read_units_a_second(1) == pytest.approx(found.read_units / found.hours(1) / 3600)
