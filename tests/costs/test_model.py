"""What a month costs: the sums that others worked out, and what must hold for any workload."""

import math

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dynamirror.costs import prices
from dynamirror.costs.alternatives import alternatives
from dynamirror.costs.model import monthly, total
from dynamirror.costs.prices import GB, MILLION, SECONDS
from dynamirror.costs.workload import Workload
from dynamirror.recovery.limits import TableSize

BUSY = Workload(changes=100, items=2_500_000)
BUSIER = Workload(changes=1_000, items=25_000_000)

workloads = st.builds(
    Workload,
    changes=st.just(0.0) | st.floats(1e-6, 1e6),
    items=st.just(0.0) | st.floats(1, 1e11),
    item_bytes=st.floats(1, 409_600),
    shards=st.integers(1, 10_000),
    window=st.floats(0, 300),
    reads=st.floats(0, 1e8),
    memory_mb=st.integers(128, 10_240),
    audit_minutes=st.none() | st.integers(1, 1_440),
    audit_units=st.none() | st.floats(1, 1e12),
    canary=st.booleans(),
)


def dollars(work: Workload) -> dict[str, float]:
    """Return the costs by part."""
    return {part.name: part.dollars for part in monthly(work)}


def test_a_hundred_changes_a_second_on_four_shards_are_sixteen_invocations() -> None:
    assert BUSY.invocations == pytest.approx(16, rel=0.01)
    parts = dollars(BUSY)
    assert parts["replicator: requests"] == pytest.approx(8.40, abs=0.05)
    assert parts["replicator: compute"] == pytest.approx(2.20, abs=0.10)
    # What one line of metrics, one of the batch, and Lambda's three did cost.
    before = BUSY.invocations * SECONDS * 1_350 / GB * prices.LOGS.dollars
    assert before == pytest.approx(28, abs=0.5)


@pytest.mark.parametrize(("work", "times"), [(BUSY, 1), (BUSIER, 10)])
def test_the_auditor_costs_a_pass_over_table_and_cache_a_day(work: Workload, times: int) -> None:
    parts = dollars(work)
    assert parts["auditor: compute"] + parts["watchdog"] <= 0.6 * times
    # A scanned item of 400 bytes takes a tenth of a unit, and looked up by key half a unit.
    units = 2_500_000 * times * (400 / 4_096 + 0.5) * 365 / 12
    expected = units / MILLION * prices.READ_UNITS.dollars
    assert parts["auditor: reads of the table"] == pytest.approx(expected, rel=0.01)


def test_a_rate_beyond_sixteen_invocations_makes_larger_batches() -> None:
    assert BUSIER.invocations == pytest.approx(BUSY.invocations, rel=0.01)
    assert BUSIER.polling.records == pytest.approx(62.5, rel=0.01)


def test_an_empty_mirror_costs_the_least_that_elasticache_bills() -> None:
    assert dollars(Workload())["cache: entries"] == pytest.approx(6.13, abs=0.01)


def test_fences_are_of_the_items_that_changed_within_26_hours() -> None:
    assert Workload(changes=1, items=1e9).fences == pytest.approx(93_600, rel=0.01)
    assert Workload(changes=1_000, items=1_000).fences == pytest.approx(1_000)
    assert Workload(changes=100).fences == 0


def test_a_day_of_audits_costs_the_same_in_fewer_and_larger_parts() -> None:
    hourly = Workload(changes=100, items=2_500_000, audit_minutes=60)
    often, rarely = dollars(BUSY), dollars(hourly)
    for part in ("auditor: reads of the table", "auditor: scans of the cache"):
        assert rarely[part] == pytest.approx(often[part])
    assert 0.8 * often["auditor: compute"] < rarely["auditor: compute"] < often["auditor: compute"]


@given(workloads)
def test_a_day_of_audits_keeps_to_its_read_units_and_in_the_auditor_s_own_parts(
    work: Workload,
) -> None:
    assume(work.audit_units and work.audit_minutes)
    assert work.audit_units
    assert work.audit_minutes
    size = TableSize(round(work.items), round(work.items * work.item_bytes))
    turns = 1_440 / work.audit_minutes
    assert work.audit_parts == pytest.approx(
        size.audit_parts(work.audit_units, turns), rel=0.02, abs=1
    )
    if work.audit_parts < 1_000_000:
        a_day = dollars(work)["auditor: reads of the table"] / (365 / 12)
        price = prices.READ_UNITS.dollars / MILLION
        assert a_day <= work.audit_units * price * 1.001


def test_a_tenth_of_the_read_units_is_a_tenth_of_the_auditor_s_price() -> None:
    whole = dollars(BUSY)
    units = BUSY.round_units / 10
    tenth = dollars(msgspec.structs.replace(BUSY, audit_units=units))
    for part in ("auditor: reads of the table", "auditor: scans of the cache"):
        assert tenth[part] == pytest.approx(whole[part] / 10, rel=0.01)


@given(workloads)
def test_the_default_s_logs_cost_less_than_the_requests(work: Workload) -> None:
    assert not work.log_batches
    parts = dollars(work)
    assert parts["replicator: logs"] <= parts["replicator: requests"]


def test_a_line_a_batch_costs_more_than_the_requests() -> None:
    parts = dollars(Workload(changes=100, items=2_500_000, log_batches=True))
    assert parts["replicator: logs"] > parts["replicator: requests"]


@given(workloads)
def test_no_workload_has_a_cost_that_is_negative_or_not_finite(work: Workload) -> None:
    parts = monthly(work)
    assert all(part.dollars >= 0 and math.isfinite(part.dollars) for part in parts)
    assert len({part.name for part in parts}) == len(parts)
    assert total(parts) >= prices.LEAST_STORED_GB * prices.HOURS * prices.STORED.dollars - 1e-6
    for other in alternatives(work):
        assert other.dollars >= 0
        assert math.isfinite(other.dollars)


def test_nodes_are_the_cheapest_that_hold_all() -> None:
    _, nodes, dax = alternatives(BUSY)
    assert (nodes.quantity, dax.quantity) == ("2 nodes cache.t4g.medium", "3 nodes dax.t3.small")
    _, nodes, dax = alternatives(Workload(items=1e9))
    assert nodes.quantity == "8 nodes cache.r7g.8xlarge"
    assert dax.quantity == "3 nodes dax.r5.16xlarge"


def test_each_price_names_its_unit_date_and_source() -> None:
    for price in prices.PRICES:
        assert price.dollars > 0
        assert price.unit
        assert price.as_of.endswith("2026")
        assert price.source.startswith("https://aws.amazon.com/")
    assert prices.REQUESTS.dollars / MILLION == pytest.approx(2e-7)
