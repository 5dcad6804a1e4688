"""The health check of the image: what an answer, or none, means."""

import runpy
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dynamirror.emulators.process import free_port
from dynamirror.runner.health_endpoint import HealthEndpoint

SCRIPT = Path(__file__).parents[2] / "deploy/docker/livez.py"


def checked(port: int) -> str | None:
    """Return what the check says about a port."""
    names: dict[str, Any] = runpy.run_path(str(SCRIPT))
    main = names["main"]
    main.__globals__["_SECONDS"] = 0.2
    answer: str | None = main(port)
    return answer


@contextmanager
def answering(text: bytes) -> Iterator[int]:
    """Answer whoever connects; without a text never."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            with client:
                client.recv(1000)
                client.sendall(text)

        if text:
            threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("reason", [None, "no progress for 3 min: a thread hangs"])
def test_it_says_what_the_process_says_at_any_address(host: str, reason: str | None) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with HealthEndpoint(
        host, 0, why_not_live=lambda: reason, why_not_ready=lambda: "not asked"
    ) as endpoint:
        assert checked(int(endpoint.url.rpartition(":")[2])) == reason


@pytest.mark.parametrize(
    ("text", "answer"),
    [(b"", "timed out"), (b"SSH-2.0-OpenSSH\r\n", "SSH"), (b"HTTP/1.0 500 no\r\n\r\n", "")],
)
def test_an_answer_of_another_kind_is_none(text: bytes, answer: str) -> None:
    with answering(text) as port:
        said = checked(port)
    assert said is not None
    assert answer in said


def test_a_port_that_nobody_listens_at_is_refused() -> None:
    assert "refused" in str(checked(free_port()))
