"""The page's server, as anybody on the machine may speak to it."""

import http.client
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deadlines import wait_until
from dynamirror.cache import Cache
from dynamirror.cli.page import DemoPage
from dynamirror.errors import ConfigError, DynamirrorError
from dynamirror.local.demo import Demo
from dynamirror.local.dynamodb import EmbeddedDynamoDB
from dynamirror.local.process import answers
from dynamirror.local.valkey import EmbeddedValkey
from dynamirror.page.sampler import Mirrored, Sampler
from dynamirror.page.server import Page
from dynamirror.page.state import Condition, Shard
from dynamirror.quarantine import Parked, park
from dynamirror.stream.positions import Position, Positions
from processes import COMMAND, environment, linux_only

EVERY = 0.05


@pytest.fixture
def page(mirrored: Mirrored) -> Iterator[Page]:
    with Page(mirrored, every=EVERY) as page:
        yield page


def ask(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, str, Mapping[str, str]]:
    """GET it; gives status, text and headers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
    try:
        connection.request("GET", parts.path, headers=dict(headers or {}))
        response = connection.getresponse()
        text = "" if response.status == 101 else response.read().decode()
        return response.status, text, dict(response.getheaders())
    finally:
        connection.close()


def test_it_is_served_with_what_the_browser_must_not_do(page: Page) -> None:
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
def test_whoever_calls_it_by_another_name_is_refused(page: Page, host: str) -> None:
    """A site may give its own name our address, and would be told everything."""
    assert ask(page.url, {"Host": host})[0] == 400
    assert ask(page.url, {"Host": urlsplit(page.url).netloc})[0] == 200


def test_another_site_is_refused(page: Page) -> None:
    own = page.url.rstrip("/")
    port = urlsplit(page.url).port
    assert port
    wire = f"{own}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    for origin in (
        "http://evil.example",
        "null",
        f"http://127.0.0.1:{port + 1}",
        f"https{own[4:]}",
    ):
        assert ask(page.url, {"Origin": origin})[0] == 403
        assert ask(wire, socket_headers(origin))[0] == 403
    assert ask(page.url, {"Origin": own})[0] == 200


@linux_only
def test_nobody_but_this_machine_can_reach_it(page: Page) -> None:
    port = urlsplit(page.url).port
    assert port
    tables = [Path(f"/proc/net/{name}") for name in ("tcp", "tcp6")]
    texts = [table.read_text() for table in tables if table.exists()]
    lines = [line.split() for text in texts for line in text.splitlines()]
    listening = [local for _, local, _, state, *_ in lines if state == "0A"]
    assert [one for one in listening if one.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_a_port_that_is_taken_is_told(mirrored: Mirrored, valkey: EmbeddedValkey) -> None:
    with pytest.raises(ConfigError, match=rf"--page-port: {valkey.port} cannot be used: Address"):
        Page(mirrored, port=valkey.port, every=EVERY)


def test_a_process_shows_one_page_after_the_other(mirrored: Mirrored) -> None:
    for _ in range(2):
        with Page(mirrored, every=EVERY) as page:
            assert ask(page.url)[0] == 200
            with pytest.raises(DynamirrorError, match="shows a page already"):
                Page(mirrored, every=EVERY)
        port = urlsplit(page.url).port
        assert port
        assert not answers(port)


def commands(cache: Cache) -> int:
    """How many commands the server has carried out, but for this one."""
    (info,) = cache.broadcast(b"INFO", b"commandstats")
    lines = [line for line in info.decode().splitlines() if ":calls=" in line]
    counts = {line.partition(":")[0]: int(line.split("=")[1].split(",")[0]) for line in lines}
    ours = ("cmdstat_info", "cmdstat_cluster|slots")
    return sum(count for name, count in counts.items() if name not in ours)


def test_the_mirror_is_read_only_while_somebody_looks(mirrored: Mirrored) -> None:
    sampler = Sampler(mirrored, every=EVERY)
    sampler.start()
    try:
        before = commands(mirrored.cache)
        wait_until(lambda: len(sampler._history) > 5)
        assert commands(mirrored.cache) == before
        wait_until(lambda: sampler.viewed().number > 3)
        assert commands(mirrored.cache) > before
        snapshot = sampler.viewed()
    finally:
        sampler.stop()
    assert snapshot.condition is Condition.STOPPED
    assert snapshot.tally.applied == 7
    (row,) = snapshot.seen.rows
    assert (row.table, row.cache) == ("name Ada", None)
    assert snapshot.seen.reason
    assert snapshot.buttons == ()


def test_shards_and_quarantine_are_told(mirrored: Mirrored) -> None:
    arn, key = mirrored.stream(), {"id": {"S": "2"}}
    Positions(mirrored.cache, arn).save("shard-1", Position("123"))
    Positions(mirrored.cache, arn).save("shard-0", Position("99", finished=True))
    park(mirrored.cache, [Parked(mirrored.table, key, "5", "too odd")], at="now")
    sampler = Sampler(mirrored, every=EVERY)
    sampler.start()
    try:
        wait_until(lambda: sampler.viewed().seen.rows)
        seen = sampler.viewed().seen
    finally:
        sampler.stop()
    assert list(seen.shards) == [
        Shard("shard-0", "99", finished=True),
        Shard("shard-1", "123", finished=False),
    ]
    assert seen.quarantined == 1
    (parked,) = seen.parked
    assert (parked.item, parked.reason) == ('{"id":{"S":"2"}}', "too odd")


def test_a_cache_that_does_not_answer_is_told_and_not_the_end(
    mirrored: Mirrored, valkey: EmbeddedValkey
) -> None:
    with closing(Cache(valkey.settings(timeout=0.2))) as cache:
        sampler = Sampler(replace(mirrored, cache=cache), every=EVERY)
        sampler.start()
        try:
            wait_until(lambda: sampler.viewed().seen.rows)
            mirrored.cache.broadcast(b"CLIENT", b"PAUSE", 2_000, b"ALL")
            wait_until(lambda: sampler.viewed().seen.trouble)
            assert sampler.viewed().seen.rows
            wait_until(lambda: sampler.viewed().seen.trouble is None)
        finally:
            sampler.stop()


def test_commands_do_not_pay_for_the_page() -> None:
    code = (
        "import sys, dynamirror.cli; sys.exit('nicegui' in sys.modules or 'uvicorn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_demo_tells_where_its_page_is_and_takes_it_along(tmp_path: Path) -> None:
    (folder := tmp_path / "cwd").mkdir()
    process = subprocess.Popen(
        [*COMMAND, "demo", "--seconds", "3"],
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
    assert errors == ""
    port = urlsplit(url).port
    assert port
    assert not answers(port)
    assert not list(folder.iterdir())


WITHOUT = "import sys; sys.modules['nicegui'] = None; from dynamirror.cli import main; main()"


def test_without_nicegui_the_demo_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "demo", "--seconds", "0.2"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = "no page: NiceGUI is not installed; install dynamirror with the extra `page`"
    assert said in done.stdout.splitlines()


def test_without_nicegui_run_says_so(
    mirrored: Mirrored, dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    where = ["--table", mirrored.table, "--endpoint-url", dynamodb.endpoint_url]
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
        "dynamirror: --page: NiceGUI is not installed; install dynamirror with the extra `page`\n"
    )


def test_no_page_is_served_where_none_is_wanted() -> None:
    said: list[str] = []
    none = DemoPage(wanted=False, port=None, in_browser=False)
    with none.imported(), none.of(Demo(ids=1, rate=1, seed=1), said.append):
        assert none.url is None
    assert said == []
