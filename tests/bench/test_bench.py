"""A tiny run of `make bench`, and the page that is made of the recorded one."""

import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.latency import Times
from bench.ratios import REQUIRED, Ratio, Required, worst
from bench.records import Feed
from bench.results import KEPT_RUNS, Record, Results, Sample, read
from bench.runtime_api import RuntimeApi
from bench.servers import Secure, ServerCpu
from bench.small import Small
from bench.start import CAN_START, unpack
from valkey import Valkey

from bench import cost, document
from dynamirror.cache.client import Cache
from dynamirror.costs.figures import ONE_VCPU_MB
from dynamirror.emulators.valkey import EmbeddedValkey

ROOT = Path(__file__).parents[2]
# What is promised of speed is measured where it is quiet; here, only what no noise can hide.
BATCHED_AT_LEAST = 5.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The record of a run with few records, without Node.js, whose packages are not installed."""
    output = tmp_path_factory.mktemp("bench") / "results.json"
    words = ("--rounds", "1", "--starts", "1", "--records", "1000", "--no-node", "--output")
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
    (run,) = read(output).runs
    return run


def test_a_run_takes_every_figure_of_the_recorded_one_but_those_of_node(tiny: Results) -> None:
    recorded = set(read(document.RESULTS).worst.figures)
    with_node = {name for name in recorded if "node" in name or name.endswith("deployed.original")}
    assert recorded - with_node == set(tiny.figures)
    assert all(one.low <= one.median <= one.high for one in tiny.figures.values())
    assert {name for name, one in tiny.figures.items() if one.median <= 0} == set()


def test_a_batch_is_worth_it(tiny: Results) -> None:
    one_by_one = tiny.median("apply.uniform.1.json.loopback")
    assert tiny.median("apply.uniform.1000.json.loopback") > BATCHED_AT_LEAST * one_by_one


def test_the_far_cache_is_a_millisecond_further(tiny: Results) -> None:
    added = tiny.figures["ping.1ms"].low - tiny.figures["ping.loopback"].low
    assert added > 0.5


def test_tls_takes_part_on_every_way_to_the_cache(tiny: Results) -> None:
    assert tiny.median("ping.tls") > tiny.median("ping.loopback")
    for batch in (100, 1_000, 10_000):
        assert tiny.median(f"apply.uniform.{batch}.json.tls") > 0
    for batch in (1, 10, 100):
        assert tiny.median(f"deployed.{batch}") > 0


@pytest.mark.skipif(not CAN_START, reason="Lambda's runtime client is for Linux")
def test_the_function_s_part_of_a_start_is_less_than_all_of_it(tiny: Results) -> None:
    for kind in ("packaged", "packaged.tls", "source"):
        assert 0 < tiny.median(f"init.{kind}") < tiny.median(f"start.{kind}")


def test_the_promised_figures_are_taken_in_several_turns_a_round(tiny: Results) -> None:
    taken = {tiny.figures[name].taken for name in ("ceiling.evalsha", "rows.ceiling", "deployed.1")}
    assert taken == {3}
    assert tiny.figures["read.get_item"].taken == tiny.figures["read.plain.get"].taken == 3


def test_the_recorded_runs_are_whole() -> None:
    for run in read(document.RESULTS).runs:
        assert [ratio.name for ratio in run.ratios] == [required.name for required in REQUIRED]


def test_the_page_shows_each_promise_s_worst_run() -> None:
    page = document.PAGE.read_text(encoding="utf-8")
    for ratio in read(document.RESULTS).ratios:
        assert f"| {ratio.name} | {ratio.promised} | {ratio.measured} |" in page


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


def test_the_readme_claims_what_is_promised_and_what_the_worst_run_kept() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    speed = readme.partition("## Speed\n")[2].partition("\n## ")[0]
    claimed = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", speed)}
    assert claimed
    assert claimed <= {required.bound for required in REQUIRED}
    kept = {ratio.name: ratio.is_kept for ratio in read(document.RESULTS).ratios}
    assert all(kept.get(one.name, True) for one in REQUIRED if one.bound in claimed)


def test_a_percentile_is_the_time_that_so_many_calls_take_at_the_most() -> None:
    times = Times([number / 1e6 for number in range(1, 101)])
    assert times.fastest == pytest.approx(1)
    assert times.percentile(50) == pytest.approx(50)
    assert times.percentile(99) == pytest.approx(99)
    assert Times([3e-6]).percentile(99) == pytest.approx(3)


def test_an_attached_client_answers_faster_than_the_emulator(tiny: Results) -> None:
    attached, emulator = (
        tiny.figures[f"{name}.get_item.fastest"].low for name in ("attached", "emulator")
    )
    assert tiny.figures["attached.floor.p50"].low < emulator
    assert attached < emulator


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


def test_a_rate_keeps_a_promise_instead_of_the_ratio() -> None:
    required = Required("hot of cold", "hot", "cold", 8, rate_bound=850_000)
    ratio = required.of({"hot": [900_000.0], "cold": [200_000.0]})
    assert ratio is not None
    assert ratio.value == 4.5
    assert ratio.is_kept
    slower = required.of({"hot": [800_000.0], "cold": [200_000.0]})
    assert slower is not None
    assert not slower.is_kept
    assert slower.headroom == pytest.approx(800 / 850)


def test_the_worst_run_counts_for_each_promise() -> None:
    low, high = Ratio("low", 2, 1, at_least=True), Ratio("high", 1, 2, at_least=False)
    worse_low, worse_high = Ratio("low", 1, 1, at_least=True), Ratio("high", 3, 2, at_least=False)
    assert worst([[low, worse_high], [worse_low, high]]) == [worse_low, worse_high]
    assert worst([]) == []


def run_with(*ratios: Ratio, date: str = "") -> Results:
    return Results(date, {}, {}, {}, {}, {}, list(ratios))


def test_the_newest_runs_are_kept() -> None:
    record = Record([])
    for number in range(KEPT_RUNS + 1):
        run = run_with(Ratio("one", 1 + number, 1, at_least=True), date=str(number))
        record = record.with_run(run)
    assert [run.date for run in record.runs] == ["1", "2", "3"]
    assert record.worst.date == "1"
    assert [ratio.value for ratio in record.ratios] == [2]


def test_runs_that_held_other_promises_are_dropped() -> None:
    record = Record([run_with(Ratio("one", 1, 1, at_least=True))])
    run = run_with(Ratio("one", 1, 2, at_least=True))
    assert record.with_run(run).runs == [run]


def test_a_bill_rounds_each_invocation_up_to_a_millisecond() -> None:
    bill = cost.billed("ours", 1_000, ONE_VCPU_MB, wall_us=2.0005, cpu_us=1.0)
    assert bill.milliseconds == 3
    assert bill.requests == 1_000
    assert bill.gb_seconds == pytest.approx(3 * 1769 / 1024)
    assert bill.dollars("arm64") == pytest.approx(0.0002 + 3 * 1769 / 1024 * 0.0000133334)


def test_half_a_cpu_doubles_cpu_time_and_no_waiting() -> None:
    half = ONE_VCPU_MB // 2
    bill = cost.billed("ours", 1_000, half, wall_us=30, cpu_us=10)
    assert bill.milliseconds == pytest.approx(20 + 20, abs=1)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A cache behind TLS."""
    folder = tmp_path_factory.mktemp("tls")
    with EmbeddedValkey() as server, Secure(server, folder) as secure:
        yield secure


def test_the_cache_behind_tls_leads_a_cluster_s_clients_to_its_tls_port(secure: Secure) -> None:
    cache = Cache(secure.settings())
    assert cache.call("key", b"SET", b"key", b"value") == b"OK"
    cache.close()


def test_a_client_without_the_authority_does_not_trust_the_cache(secure: Secure) -> None:
    context = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", secure.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_the_cpu_time_of_the_server_grows_with_its_work(secure: Secure) -> None:
    cpu = ServerCpu(secure.server.port)
    before = cpu.seconds()
    cache = Cache(secure.settings())
    for _ in range(100):
        cache.call("key", b"GET", b"key")
    assert cpu.seconds() > before
    cache.close()
    cpu.close()


def test_a_small_batch_is_applied_by_the_packaged_function(secure: Secure, tmp_path: Path) -> None:
    task = unpack(tmp_path)["packaged"]
    with Small(secure, 50, None, task, tmp_path) as small:
        samples: dict[str, Sample] = {sample.name: sample for sample in small.take()}
    assert {"deployed.1", "cpu.deployed.10", "server.cpu.deployed.100"} <= samples.keys()
    with Valkey(host="127.0.0.1", port=secure.server.port) as client:
        assert client.dbsize() >= 2 * 50  # an entry and its fence each


def test_the_runtime_api_hands_its_event_to_one_client() -> None:
    event = Feed(1).text(0, 1).encode()
    with RuntimeApi() as api:
        host, port = api.address.split(":")
        api.event = event
        with socket.create_connection((host, int(port)), 5) as client:
            client.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n")
            with client.makefile("rb") as answer:
                head, _, body = answer.read().partition(b"\r\n\r\n")
        assert b"Lambda-Runtime-Aws-Request-Id: " in head
        assert body == event
        assert api.event == b""
