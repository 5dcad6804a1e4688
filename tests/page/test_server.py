"""The page's server, as any process on the machine may use it."""

import http.client
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import COMMAND, environment, linux_only

from dynamirror.cache.checkpoints import Checkpoint, Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.quarantine import ParkedItem, park
from dynamirror.cli.page import DemoPage
from dynamirror.demo.demo import Demo
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.process import answers
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.page.mirror_source import MirrorSource
from dynamirror.page.sampler import Sampler
from dynamirror.page.server import LivePage
from dynamirror.page.state import Condition, Shard

INTERVAL = 0.05


@pytest.fixture
def page(mirror: MirrorSource) -> Iterator[LivePage]:
    with LivePage(mirror, interval=INTERVAL) as page:
        yield page


def ask(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
    """Send a GET request, and return status, text and headers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
    try:
        connection.request("GET", parts.path, headers=dict(headers or {}))
        response = connection.getresponse()
        text = "" if response.status == 101 else response.read().decode()
        return response.status, text, dict(response.getheaders())
    finally:
        connection.close()


def test_the_page_is_served_with_a_policy_for_the_browser(page: LivePage) -> None:
    status, text, headers = ask(page.url)
    assert status == 200
    assert "dynamirror" in text
    policy = headers["content-security-policy"]
    assert "default-src 'self' data: blob:" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http:" not in policy


def socket_headers(origin: str) -> dict[str, str]:
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Origin": origin,
    }


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1"])
def test_a_request_by_another_host_name_is_refused(page: LivePage, host: str) -> None:
    """A site may point its own name at our address, and could then read the page."""
    assert ask(page.url, {"Host": host})[0] == 400
    assert ask(page.url, {"Host": urlsplit(page.url).netloc})[0] == 200


def test_another_site_is_refused(page: LivePage) -> None:
    own = page.url.rstrip("/")
    wire = f"{own}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    for origin in (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{page.port + 1}",
        f"https{own[4:]}",
    ):
        assert ask(page.url, {"Origin": origin})[0] == 403
        assert ask(wire, socket_headers(origin))[0] == 403
    assert ask(page.url, {"Origin": own})[0] == 200


@linux_only
def test_nobody_but_this_machine_can_reach_it(page: LivePage) -> None:
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    texts = [table.read_text() for table in tables if table.exists()]
    lines = [line.split() for text in texts for line in text.splitlines()]
    listening = [local for _, local, _, state, *_ in lines if state == "0A"]
    port = f"{page.port:04X}"
    assert [address for address in listening if address.endswith(f":{port}")] == [
        f"0100007F:{port}"
    ]


def test_a_taken_port_is_an_error(mirror: MirrorSource, valkey: EmbeddedValkey) -> None:
    with pytest.raises(
        ConfigError, match=rf"--page-port: 127.0.0.1:{valkey.port} is not available \(Address"
    ):
        LivePage(mirror, port=valkey.port, interval=INTERVAL)


def test_a_process_shows_one_page_after_the_other(mirror: MirrorSource) -> None:
    for _ in range(2):
        with LivePage(mirror, interval=INTERVAL) as page:
            assert ask(page.url)[0] == 200
            with pytest.raises(DynamirrorError, match="serves a page already"):
                LivePage(mirror, interval=INTERVAL)
        assert not answers(page.port)


def commands(cache: Cache) -> int:
    """Return how many commands the server has executed, without this one."""
    (info,) = cache.broadcast(b"INFO", b"commandstats")
    lines = [line for line in info.decode().splitlines() if ":calls=" in line]
    counts = {line.partition(":")[0]: int(line.split("=")[1].split(",")[0]) for line in lines}
    own = ("cmdstat_info", "cmdstat_cluster|slots")
    return sum(count for name, count in counts.items() if name not in own)


def test_the_mirror_is_read_only_while_somebody_looks(mirror: MirrorSource) -> None:
    ticks: list[None] = []
    sampler = Sampler(replace(mirror, delivery=lambda: ticks.append(None)), interval=INTERVAL)
    sampler.start()
    try:
        before = commands(mirror.cache)
        wait_until(lambda: len(ticks) > 5)
        assert commands(mirror.cache) == before
        wait_until(lambda: sampler.view().number > 3)
        assert commands(mirror.cache) > before
        state = sampler.view()
    finally:
        sampler.stop()
    assert state.condition is Condition.STOPPED
    assert state.tally.applied == 7
    (row,) = state.observation.rows
    assert (row.table, row.cache) == ("name Ada", None)
    assert state.observation.reason
    assert state.buttons == ()


def test_shards_and_quarantine_are_shown(mirror: MirrorSource) -> None:
    arn, key = mirror.stream(), {"id": {"S": "2"}}
    Checkpoints(mirror.cache, arn).save("shard-1", Checkpoint("123"))
    Checkpoints(mirror.cache, arn).save("shard-0", Checkpoint("99", finished=True))
    park(mirror.cache, [ParkedItem(mirror.table, key, "5", "too odd")], at="now")
    sampler = Sampler(mirror, interval=INTERVAL)
    sampler.start()
    try:
        wait_until(lambda: sampler.view().observation.rows)
        observation = sampler.view().observation
    finally:
        sampler.stop()
    assert list(observation.shards) == [
        Shard("shard-0", "99", finished=True),
        Shard("shard-1", "123", finished=False),
    ]
    assert observation.quarantined == 1
    (parked,) = observation.parked
    assert (parked.item, parked.reason) == ('{"id":{"S":"2"}}', "too odd")


def test_a_cache_that_does_not_answer_is_reported_and_the_sampler_goes_on(
    mirror: MirrorSource, valkey: EmbeddedValkey
) -> None:
    with closing(Cache(valkey.settings(timeout=0.2))) as cache:
        sampler = Sampler(replace(mirror, cache=cache), interval=INTERVAL)
        sampler.start()
        try:
            wait_until(lambda: sampler.view().observation.rows)
            mirror.cache.broadcast(b"CLIENT", b"PAUSE", 2_000, b"ALL")
            wait_until(lambda: sampler.view().observation.trouble)
            assert sampler.view().observation.rows
            wait_until(lambda: sampler.view().observation.trouble is None)
        finally:
            sampler.stop()


def test_other_commands_do_not_import_the_page() -> None:
    code = (
        "import sys, dynamirror.cli; sys.exit('nicegui' in sys.modules or 'uvicorn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_demo_prints_its_pages_url_and_that_both_agree_and_ends_the_page_with_itself(
    tmp_path: Path,
) -> None:
    (folder := tmp_path / "cwd").mkdir()
    process = subprocess.Popen(
        [*COMMAND, "demo", "--seconds", "2"],
        env=environment(tmp_path),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        line = next(line for line in process.stdout if line.startswith("watch it"))
        url = line.split()[-1]
        status, text, _ = ask(url)
        assert status == 200
        assert "press-flush" in text
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "in sync" in output
    assert "0 differences" in output
    assert errors == ""
    port = urlsplit(url).port
    assert port
    assert not answers(port)
    assert not list(folder.iterdir())


WITHOUT = "import sys; sys.modules['nicegui'] = None; from dynamirror.cli import main; main()"


def test_without_nicegui_the_demo_runs_without_a_page(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "demo", "--seconds", "0.2"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    message = (
        "no page: a page needs nicegui, which is not installed; pip install 'dynamirror[page]'"
    )
    assert message in done.stdout.splitlines()


def test_without_nicegui_run_refuses_a_page(
    mirror: MirrorSource, dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    where = ["--table", mirror.table, "--endpoint-url", dynamodb.endpoint_url]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "run", "--page", *where],
        env=environment(tmp_path, **valkey.settings().to_env()),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "dynamirror: --page needs nicegui, which is not installed; pip install 'dynamirror[page]'\n"
    )


def test_no_page_is_served_where_none_is_wanted() -> None:
    messages: list[str] = []
    demo_page = DemoPage(wanted=False, port=None, in_browser=False)
    with demo_page.imported(), demo_page.of(Demo(ids=1, rate=1, seed=1), messages.append):
        assert demo_page.url is None
    assert messages == []
