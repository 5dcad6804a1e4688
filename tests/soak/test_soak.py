"""A short run of `make soak` with processes of its own, and the page of the last published one."""

import msgspec
import pytest
from soak.changes import Mix
from soak.outages import Outages, Split
from soak.results import Outcome, outcome_of, read, share_text
from soak.run import Options, Run, replicated_cluster

from dynamirror.inspection.tally import Tally, ViewTally, Within, threshold_text
from soak import document, plot

OPTIONS = Options(
    seconds=3,
    rate=300,
    faults=("worker: killed", "cache: connections cut"),
    calm=0.5,
    thresholds=(1.0, 4.0),
    mix=Mix(items=800, hot=20, warm=200),
)


def test_a_short_soak_ends_as_the_table_is_and_finds_nothing() -> None:
    with replicated_cluster() as cluster, Run(OPTIONS, cluster) as run:
        outcome = outcome_of(OPTIONS, run.run())
    assert outcome.violated == outcome.differences == outcome.skipped == 0
    assert outcome.written > 10  # how many depends on what else the machine does
    assert outcome.checks > outcome.written / 2
    assert outcome.delivered.records >= outcome.written
    assert f"{outcome.decided:,} checks, 0 violations; consistent:" in outcome.sentence()
    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome


def test_the_page_and_its_picture_are_those_of_the_recorded_run() -> None:
    results = read()
    assert document.PAGE.read_text(encoding="utf-8") == document.render(results)
    assert plot.fingerprint(results) in document.PICTURE.read_text(encoding="utf-8")


def test_answers_in_an_outage_and_soon_after_it_are_counted_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outages = Outages()
    split = Split(outages)
    clock = iter((100.0, 105.0))
    monkeypatch.setattr("soak.outages.time.time", lambda: next(clock))
    with outages.declared("a node hangs"):
        pass
    assert outages.seconds == 5
    for at in (90, 99, 101, 114, 120, 130):
        asked = Within(asked=at, consistent=at - 1)
        counts = ViewTally(within={"1": asked, "60": asked})
        split.add(0, float(at), Tally(tables={"soak": {"orders": counts}}))
    # A minute's answers count with the outage for ten seconds; those of a second for one second.
    assert split.inside["1"].asked == (101 - 99) + (114 - 101)
    assert split.inside["60"].asked == (101 - 99) + (114 - 101) + (120 - 114)
    assert split.outside["60"].asked == 130 - split.inside["60"].asked
    assert split.outside["60"].consistent == split.outside["60"].asked - 1


def test_what_was_promised_is_checked_against_the_run() -> None:
    ours = read().ours
    violations = {**ours.violations, "missing": ours.violations["missing"] + 2}
    missing = msgspec.structs.replace(ours, violations=violations)
    assert "2 violations outside of outages" in missing.missed(is_whole=False)
    last = threshold_text(ours.thresholds[-1])
    lost = Within(asked=10, consistent=8 - ours.violated_in_outages)
    apart = msgspec.structs.replace(missing, inside={**ours.inside, last: lost})
    assert apart.violated == 0
    assert f"{apart.violated_in_outages:,} more in outages" in apart.sentence()
    assert apart.nines == ours.nines
    late = {**ours.outside, "60": Within(asked=10, consistent=9)}
    behind = msgspec.structs.replace(ours, outside=late)
    assert any("within a minute" in sentence for sentence in behind.missed(is_whole=False))
    slow = msgspec.structs.replace(ours, took=2_000.0)
    assert "took 2,000 s" in slow.missed(is_whole=True)


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert share_text(Within(asked=3_000_000, consistent=2_999_999)) == "99.99997 %"
    assert share_text(Within(asked=8, consistent=8)) == "100 %"
    assert share_text(Within()) == "nothing asked"
