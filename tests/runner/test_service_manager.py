"""What `run` reports to systemd."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from dynamirror.runner.service_manager import reported_to_systemd

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """Listen as systemd does."""
    address = str(tmp_path / "notify@1") if request.param == "path" else f"\0{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(60)
        try:
            receiver.bind(address)
        except OSError:
            pytest.skip("abstract addresses are Linux's")
        yield receiver


def environment(systemd: socket.socket, **variables: str) -> dict[str, str]:
    """Return what systemd sets."""
    address = systemd.getsockname()
    text = f"@{address[1:].decode()}" if isinstance(address, bytes) else address
    return {"NOTIFY_SOCKET": text, **variables}


def waiting(systemd: socket.socket) -> list[str]:
    """Return the reports that have come."""
    systemd.settimeout(0)
    found = []
    with suppress(BlockingIOError):
        while True:
            found.append(systemd.recv(1000).decode())
    systemd.settimeout(60)
    return found


def test_it_is_ready_inside_and_stops_after(systemd: socket.socket) -> None:
    with reported_to_systemd(lambda: None, environment(systemd)):
        assert waiting(systemd) == ["READY=1"]
    assert waiting(systemd) == ["STOPPING=1"]


def test_an_error_inside_stops_it_too(systemd: socket.socket) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        reported_to_systemd(lambda: None, environment(systemd)),
    ):
        raise ZeroDivisionError
    assert waiting(systemd) == ["READY=1", "STOPPING=1"]


def test_a_signal_while_the_watchdog_starts_stops_it_too(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    env = environment(systemd, WATCHDOG_USEC="1000")
    with pytest.raises(KeyboardInterrupt), reported_to_systemd(lambda: None, env):
        pass
    assert waiting(systemd) == ["READY=1", "STOPPING=1"]


def test_the_watchdog_hears_of_a_process_that_works_and_why_one_does_not(
    systemd: socket.socket,
) -> None:
    reason: list[str] = []
    env = environment(systemd, WATCHDOG_USEC="2000", WATCHDOG_PID=str(os.getpid()))
    with reported_to_systemd(lambda: reason[0] if reason else None, env):
        assert [systemd.recv(1000) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        reason.append("the thread of shard 1 hangs")
        while systemd.recv(1000) == b"WATCHDOG=1":
            pass
        assert systemd.recv(1000) == b"STATUS=the thread of shard 1 hangs"
        reason.clear()
        while systemd.recv(1000) != b"STATUS=works again":
            pass
    assert "STOPPING=1" in waiting(systemd)


def test_the_watchdog_of_another_process_hears_nothing(systemd: socket.socket) -> None:
    env = environment(systemd, WATCHDOG_USEC="1000", WATCHDOG_PID="1")
    with reported_to_systemd(lambda: None, env):
        pass
    assert waiting(systemd) == ["READY=1", "STOPPING=1"]


def test_a_systemd_that_is_gone_does_not_matter(tmp_path: Path) -> None:
    with reported_to_systemd(lambda: None, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        pass


def test_without_systemd_nothing_is_asked() -> None:
    def why_not_live() -> str | None:
        raise AssertionError

    with reported_to_systemd(why_not_live, {"WATCHDOG_USEC": "1000"}):
        pass
