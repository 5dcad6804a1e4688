"""A short run of `make scale-replication`, and what must hold of any simulated fleet."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scale.event_source import EventSource, Lane, Mapping, Served
from scale.real_handler import RealShards
from scale.replication import SCENARIOS, Fleet, Report, Scenario, run
from scale.replication_page import HEADINGS, PAGE, markdown, rows, sentences

from dynamirror.cache.client import Cache
from dynamirror.costs.polling import Polling
from dynamirror.handler import handler

FLEET = Fleet(shards=20, rate=60, seconds=4.5, sample=1)


@pytest.fixture
def real(lambda_env: dict[str, str], cache: Cache, monkeypatch: pytest.MonkeyPatch) -> RealShards:
    """The handler; it gives a cache that hangs little time."""
    assert lambda_env
    monkeypatch.setenv("ELASTICACHE_TIMEOUT", "0.2")
    return RealShards(handler, cache)


def test_a_fleet_on_the_real_handler_loses_nothing_in_any_scenario(real: RealShards) -> None:
    report = run(FLEET, real, rounds=3)
    assert [each.scenario for each in report.results] == list(SCENARIOS)
    changes = FLEET.shards * FLEET.rate * FLEET.seconds
    for each in report.results:
        assert each.differences == 0, each.scenario.name
        assert each.outcome.out_of_order == 0, each.scenario.name
        assert each.outcome.records == pytest.approx(changes, rel=0.01), each.scenario.name
        # A second child is simulated.
        assert each.real_records >= 0.6 * FLEET.rate * FLEET.seconds, each.scenario.name
        assert each.real_invocations > 0
    by_name = {each.scenario.name: each.outcome for each in report.results}
    usual, half = by_name["as deployed"], by_name["the cache takes half"]
    hung = by_name["the cache hangs"]
    assert usual.failed == usual.throttled == 0
    assert by_name["window of 1 s"].invocations < usual.invocations / 2
    assert half.failed > 0
    assert half.lag_max > usual.lag_max
    assert hung.peak_backlog > 5 * usual.peak_backlog
    assert by_name["a tenth of the shards splits"].lag_max > usual.lag_max, "children wait"


def test_the_report_is_plain_data_and_a_table(real: RealShards) -> None:
    report = run(FLEET, real, rounds=1, scenarios=SCENARIOS[:1])
    plain: Any = json.loads(msgspec.json.encode(report))
    assert msgspec.convert(plain, Report, strict=False) == report
    assert {len(row) for row in rows(report)} == {len(HEADINGS)}
    assert len(sentences(report)) == 5
    recorded = PAGE.read_text(encoding="utf-8")
    headings = [line for line in recorded.splitlines() if line.startswith("#")]
    assert all(line in markdown(report) for line in headings)
    assert f"| {' | '.join(HEADINGS)} |" in recorded
    assert all(f"| {scenario.name} |" in recorded for scenario in SCENARIOS)
    assert report.limits.lanes_by_requests_window > report.limits.lanes_by_requests


def simulated(
    mapping: Mapping, *, shards: int, rate: float, seconds: float = 20, split: int = 0
) -> Any:
    """Simulate a function that takes 10 ms."""
    source = EventSource(mapping, lambda _lane, records, _now: Served(0.01, records))
    lanes = [source.add_shard(rate) for _ in range(shards)]
    for each in lanes[:split]:
        source.split(each, seconds / 2)
    return source.run(seconds)


@pytest.mark.parametrize(("rate", "window"), [(100, 0), (100, 1), (1, 0), (1, 2)])
def test_lambda_invokes_as_often_as_the_costs_have_it(rate: float, window: float) -> None:
    outcome = simulated(Mapping(window=window), shards=40, rate=rate)
    expected = Polling(rate, window, 1_000).invocations * 40 * 20
    # The costs have changes at random, here they are evenly spaced.
    assert outcome.invocations == pytest.approx(expected, rel=0.35)


def test_a_shard_s_children_wait_until_it_is_drained() -> None:
    outcome = simulated(Mapping(), shards=20, rate=50, split=10)
    assert outcome.out_of_order == 0
    assert outcome.records == pytest.approx(20 * 50 * 20, rel=0.01)
    assert outcome.shards == 20


def test_an_account_permits_ten_requests_a_second_for_each_concurrent_invocation() -> None:
    outcome = simulated(Mapping(concurrency=20), shards=100, rate=50, seconds=5)
    assert outcome.throttled > 0
    assert 20 * 10 * 0.9 < outcome.calls / outcome.seconds <= 20 * 10
    assert outcome.records == pytest.approx(100 * 50 * 5, rel=0.01), "throttled, not lost"


def test_no_more_run_at_a_time_than_the_account_permits() -> None:
    source = EventSource(Mapping(concurrency=7), lambda _lane, records, _now: Served(1, records))
    for _ in range(30):
        source.add_shard(10)
    outcome = source.run(5)
    assert outcome.peak_concurrency == 7
    assert outcome.throttled > 0


@given(seed=st.integers(0, 2**32))
def test_each_change_is_applied_once_and_in_order_whatever_fails(seed: int) -> None:
    rng = random.Random(seed)
    reached: dict[Lane, int] = {}

    def serve(lane: Lane, records: int, _now: float) -> Served:
        assert reached.get(lane, 0) == lane.done, "it goes on where it was"
        applied = rng.choice([0, records, records // 2])
        reached[lane] = lane.done + applied
        return Served(rng.choice([0.001, 0.3, 2.0]), applied)

    mapping = Mapping(
        batch_size=rng.choice([1, 7, 100]),
        window=rng.choice([0.0, 1.0]),
        factor=rng.choice([1, 3]),
        concurrency=rng.choice([1, 50]),
        cold_seconds=0.1,
    )
    source = EventSource(mapping, serve)
    lanes = [source.add_shard(rate) for rate in (3, 10)]
    source.split(lanes[0], 1)
    outcome = source.run(2)
    assert outcome.out_of_order == 0
    for lane in source.lanes:
        assert lane.done == lane.arrived(2) == reached.get(lane, 0)
    assert outcome.records == sum(lane.done for lane in source.lanes)
    assert not any(lane.pieces for lane in source.lanes)


def test_scenarios_have_names_of_their_own() -> None:
    assert len({each.name for each in SCENARIOS}) == len(SCENARIOS)
    assert SCENARIOS[0] == Scenario("as deployed")
