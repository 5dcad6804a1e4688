"""A table, a cache, and between us and the table's stream a proxy that injects faults."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import Any

import pytest

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.client import Aws
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.process import HOST, ServerProcess, answers
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.replication.replicator import build
from dynamirror.runner.event_source_mapping import Counts, EventSourceMapping
from dynamirror.runner.follower import Follower


class Proxy:
    """MicroBurst in front of the emulator."""

    def __init__(self, process: ServerProcess) -> None:
        self.port = process.port
        self.aws = Aws("us-east-1", f"http://{HOST}:{self.port}", ("local", "local"))

    def inject(self, *rules: dict[str, Any]) -> None:
        """Replace the rules; none lifts all faults."""
        self._control("POST", "/_microburst/rules", rules)

    def fired(self) -> int:
        """How many faults were injected so far."""
        return len(json.loads(self._control("GET", "/_microburst/fired", None)))

    def _control(self, method: str, path: str, body: object) -> bytes:
        connection = HTTPConnection(HOST, self.port, timeout=10)
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status < 300, content
        connection.close()
        return content


@pytest.fixture(scope="session")
def burst(dynamodb: EmbeddedDynamoDB) -> Iterator[Proxy]:
    """The proxy, started once."""

    def command(port: int, _folder: object) -> list[str]:
        upstream = dynamodb.endpoint_url
        return [
            *(sys.executable, "-m", "microburst", "--host", HOST),
            *("--port", str(port), "--upstream", upstream),
        ]

    process = ServerProcess("microburst", command, ready=answers)
    yield Proxy(process)
    process.stop()


@pytest.fixture
def proxy(burst: Proxy) -> Iterator[Proxy]:
    """The proxy, without faults at first and at last."""
    burst.inject()
    yield burst
    burst.inject()


class Following:
    """`dynamirror run` in a thread."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.counts = Counts()
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        try:
            self.follower.follow(self._report, every=0.05)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def _report(self, counts: Counts) -> None:
        self.counts = counts
        if self._stop.is_set():
            raise InterruptedError

    @property
    def ended(self) -> bool:
        """Whether it has given up."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """As Ctrl-C does."""
        self._stop.set()
        self._thread.join(30)
        assert self.ended


Start = Callable[..., Following]


@pytest.fixture
def follow(valkey: EmbeddedValkey, cache: Cache) -> Iterator[Start]:
    """Starts to mirror a table; stops at the end."""
    cache.broadcast(b"PING")
    with ExitStack() as stack:

        def start(aws: Aws, table: str, **options: Any) -> Following:
            replicator = build(valkey.settings())
            told: list[str] = options.pop("told", [])
            heal = options.pop("heal", True)
            mapping = EventSourceMapping(**options)
            follower = Follower(
                aws, table, replicator, mapping, tell=told.append, heal=heal, margin=1
            )
            following = Following(follower)
            stack.callback(replicator.cache.close)
            stack.callback(following.stop)
            return following

        yield start
