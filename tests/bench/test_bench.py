"""A tiny run of `make bench`, and the page that is made of the recorded one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench.ratios import REQUIRED, Ratio, Required
from bench.results import Results, read

from bench import cost, document

ROOT = Path(__file__).parents[2]
# What is promised of speed is measured where it is quiet; here, only what no noise can hide.
BATCHED_AT_LEAST = 5.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The record of a run with few records, without Node.js, whose packages are not installed."""
    output = tmp_path_factory.mktemp("bench") / "results.json"
    words = ("--rounds", "3", "--starts", "1", "--records", "1000", "--no-node", "--output")
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words, str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "what is promised" in done.stdout
    return read(output)


def test_a_run_takes_every_figure_of_the_recorded_one_but_those_of_node(tiny: Results) -> None:
    recorded = read(document.RESULTS)
    assert {name for name in recorded.figures if "node" not in name} == set(tiny.figures)
    assert all(one.low <= one.median <= one.high for one in tiny.figures.values())
    assert {name for name, one in tiny.figures.items() if one.median <= 0} == set()


def test_a_batch_is_worth_it(tiny: Results) -> None:
    one_by_one = tiny.median("apply.uniform.1.json.loopback")
    assert tiny.median("apply.uniform.1000.json.loopback") > BATCHED_AT_LEAST * one_by_one


def test_the_far_cache_is_a_millisecond_further(tiny: Results) -> None:
    added = tiny.figures["ping.1ms"].low - tiny.figures["ping.loopback"].low
    assert added > 0.5


def test_the_recorded_run_is_whole() -> None:
    recorded = read(document.RESULTS)
    assert [ratio.name for ratio in recorded.ratios] == [required.name for required in REQUIRED]


def test_the_page_is_that_of_the_recorded_run() -> None:
    assert document.PAGE.read_text(encoding="utf-8") == document.render(read(document.RESULTS)), (
        "run python -m bench.document"
    )


def test_the_pictures_are_those_of_the_recorded_run() -> None:
    fingerprint = read(document.RESULTS).fingerprint()
    names = re.findall(r"\]\((images/.*?)\)", document.PAGE.read_text(encoding="utf-8"))
    assert len(names) == 3
    for name in names:
        assert fingerprint in (document.PAGE.parent / name).read_text(encoding="utf-8")


def test_a_ratio_is_the_median_of_each_round_s() -> None:
    required = Required("ours of theirs", "ours", "theirs", 2)
    rounds = {"ours": [10.0, 30.0, 100.0], "theirs": [10.0, 10.0, 10.0]}
    assert required.of(rounds) == Ratio("ours of theirs", 3, 2, at_least=True)
    assert required.of({"ours": [1.0]}) is None


@pytest.mark.parametrize(
    ("at_least", "bound", "is_kept"),
    [(True, 1.0, True), (True, 1.1, False), (False, 1.0, True), (False, 0.9, False)],
)
def test_a_promise_is_kept_at_its_very_bound(
    *, at_least: bool, bound: float, is_kept: bool
) -> None:
    assert Ratio("one", 1.0, bound, at_least).is_kept is is_kept


def test_a_bill_rounds_each_invocation_up_to_a_millisecond() -> None:
    bill = cost.billed("ours", 1_000, cost.ONE_VCPU_MB, wall_us=2.0005, cpu_us=1.0)
    assert bill.milliseconds == 3
    assert bill.requests == 1_000
    assert bill.gb_seconds == pytest.approx(3 * 1769 / 1024)
    assert bill.dollars("arm64") == pytest.approx(0.0002 + 3 * 1769 / 1024 * 0.0000133334)


def test_half_a_cpu_doubles_cpu_time_and_no_waiting() -> None:
    half = cost.ONE_VCPU_MB // 2
    bill = cost.billed("ours", 1_000, half, wall_us=30, cpu_us=10)
    assert bill.milliseconds == pytest.approx(20 + 20, abs=1)
