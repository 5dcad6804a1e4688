"""The embedded servers: they listen here only, and never outlive their owner."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import alive, descendants, environment, is_alive, linux_only, listening

from dynamirror.cache.client import Cache
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.process import ServerProcess, answers, free_port
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import DynamirrorError

_LOOPBACK = "0100007F"
_OWNER = """
import time
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
with EmbeddedDynamoDB() as one, EmbeddedValkey(cluster=False) as two:
    print("ready", flush=True)
    time.sleep(600)
"""


def _never(_port: int) -> bool:
    return False


@linux_only
def test_the_servers_listen_on_this_machine_only(
    valkey: EmbeddedValkey, dynamodb: EmbeddedDynamoDB
) -> None:
    for guard in (valkey.guard_pid, dynamodb.guard_pid):
        addresses = listening([guard, *descendants(guard)])
        assert addresses
        assert set(addresses) == {_LOOPBACK}


def test_two_of_each_work_at_once(
    dynamodb: EmbeddedDynamoDB, single_valkey: EmbeddedValkey
) -> None:
    with EmbeddedDynamoDB() as other_dynamodb, EmbeddedValkey(cluster=False) as other_valkey:
        create_table(other_dynamodb.aws.dynamodb(), "apart", {"id": "S"})
        assert "apart" not in dynamodb.aws.dynamodb().list_tables()["TableNames"]
        one, two = Cache(single_valkey.settings()), Cache(other_valkey.settings())
        two.call("apart", b"SET", b"apart", b"1")
        assert one.call("apart", b"GET", b"apart") is None
        one.close()
        two.close()


@linux_only
def test_stop_removes_process_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for begin in (EmbeddedDynamoDB, lambda: EmbeddedValkey(cluster=False)):
        server = begin()
        pids = [server.guard_pid, *descendants(server.guard_pid)]
        assert len(pids) > 1
        assert list(tmp_path.iterdir())
        server.stop()
        assert not any(map(is_alive, pids))
        assert not list(tmp_path.iterdir())
        server.stop()  # once more is no error


@linux_only
def test_a_killed_owner_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        try:
            assert owner.stdout
            assert owner.stdout.readline() == "ready\n"
            assert len(alive(tmp_path)) >= 5  # the owner, two guards, two servers
            assert len(list(tmp_path.iterdir())) >= 2
        finally:
            owner.kill()
    wait_until(lambda: not alive(tmp_path))
    wait_until(lambda: not list(tmp_path.iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_guard_takes_its_server_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = EmbeddedValkey(cluster=False)
    children = descendants(server.guard_pid)
    os.kill(server.guard_pid, signal.SIGKILL)
    try:
        wait_until(lambda: not any(map(is_alive, children)))
        wait_until(lambda: not answers(server.port))
    finally:
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        server.stop()
    assert not list(tmp_path.iterdir())


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words() -> None:
    script = "import sys; sys.exit('no such option')"
    with pytest.raises(DynamirrorError, match="thing did not start: no such option"):
        ServerProcess("thing", lambda _port, _folder: [sys.executable, "-c", script], ready=_never)


def test_a_port_taken_meanwhile_is_no_error() -> None:
    # Fails as a server does whose port was taken, until the third time.
    ports: list[int] = []

    def command(port: int, _folder: Path) -> list[str]:
        ports.append(port)
        taken = "import sys; sys.exit('Address already in use')"
        return [sys.executable, "-c", "import time; time.sleep(600)" if len(ports) == 3 else taken]

    server = ServerProcess("thing", command, ready=lambda _port: len(ports) == 3)
    assert server.port == ports[-1]
    server.stop()


@linux_only
def test_nobody_else_gets_the_port_before_the_server_listens() -> None:
    def command(port: int, _folder: Path) -> list[str]:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        server = (
            "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1]))).accept()"
        )
        return [sys.executable, "-c", server, str(port)]

    server = ServerProcess("thing", command, ready=answers)
    server.stop()


@linux_only
def test_a_server_that_never_gets_ready_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script = "import time; time.sleep(600)"
    started: list[str] = []

    def command(_port: int, folder: Path) -> list[str]:
        started.append(str(folder))
        return [sys.executable, "-c", script, str(folder)]

    with pytest.raises(DynamirrorError, match="thing did not start: no output"):
        ServerProcess("thing", command, ready=_never, deadline=0.2)
    assert len(started) == 1
    assert not list(tmp_path.iterdir())


def test_a_free_port_keeps_below_the_highest_allowed() -> None:
    assert all(free_port(55_535) <= 55_535 for _ in range(20))


def test_a_stray_module_in_the_current_folder_does_not_break_the_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("h2", "ministack"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('stray')\n")
    monkeypatch.chdir(tmp_path)
    with EmbeddedDynamoDB() as server:
        assert server.aws.dynamodb().list_tables()["TableNames"] == []
