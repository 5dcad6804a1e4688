"""Processes of `run --ha` that share a mirror, for tests and for `make availability`."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from chaos.cluster import wait_until
from dynamirror.cache.client import Cache
from dynamirror.cache.lease import read_lease
from dynamirror.dynamodb.client import describe_table
from dynamirror.dynamodb.scan import scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.errors import CacheError, DynamirrorError
from dynamirror.recovery.verify import compare
from dynamirror.views.view import ViewSpec

LEASE_SECONDS = 2.0
_TIMEOUT_SECONDS = 1.0


class Replica:
    """One `dynamirror run --ha`, as a process of its own."""

    def __init__(
        self, database: EmbeddedDynamoDB, valkey: EmbeddedValkey, table: str, *arguments: str
    ) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "ELASTICACHE_", "DYNAMIRROR_", "DYNAMODB_"))
        }
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dynamirror", "run", "--table", table),
                *("--endpoint-url", database.endpoint_url, "--interval", "1"),
                *("--ha", "--lease", f"{LEASE_SECONDS:g}", "--health", "0", *arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=kept | valkey.settings().to_env(),
            text=True,
        )
        self.lines: list[str] = []
        self.address: tuple[str, int] | None = None
        self.is_paused = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip())
                if line.startswith("health at "):
                    url = urlsplit(line.split()[-1])
                    assert url.hostname
                    assert url.port
                    self.address = url.hostname, url.port

    def url(self, what: str) -> str | None:
        """Return the URL that it has printed after a word; None for none yet."""
        line = next((line for line in self.lines if line.startswith(what)), None)
        return None if line is None else line.split()[-1]

    def health(self, path: str) -> tuple[int, str]:
        """Return status and text of one of its addresses; 0 without an answer."""
        if self.address is None or self.is_paused or self.process.poll() is not None:
            return 0, ""
        connection = HTTPConnection(*self.address, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()
        except (OSError, HTTPException):
            return 0, ""
        finally:
            connection.close()

    @property
    def leads(self) -> bool:
        """Whether it says that it leads."""
        status, text = self.health("/livez")
        return status > 0 and "standby" not in text

    def pause(self) -> None:
        """Stop it without ending it."""
        self.is_paused = True
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)
        self.is_paused = False

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it by a signal, and return its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(60)
        self._reader.join()
        return status


class Place:
    """A table, a cache, and the processes that mirror one into the other."""

    def __init__(
        self, database: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, table: str
    ) -> None:
        self.database, self.valkey, self.cache, self.table = database, valkey, cache, table
        self.client = database.aws.dynamodb()
        create_table(self.client, table, {"id": "S"})
        self.view = ViewSpec().bind(describe_table(self.client, table).schema)
        self.replicas: list[Replica] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for replica in self.replicas:
            replica.end()

    def start(self, *arguments: str) -> Replica:
        """Start another process."""
        replica = Replica(self.database, self.valkey, self.table, *arguments)
        self.replicas.append(replica)
        return replica

    def wait(self) -> None:
        """Wait until all processes run.

        Raises:
            RuntimeError: one has ended.
            TimeoutError: one does not run in time.
        """
        ended: list[Replica] = []

        def run() -> bool:
            ended.extend(each for each in self.replicas if each.process.poll() is not None)
            return bool(ended) or all(each.address for each in self.replicas)

        wait_until(run, "all processes to run", 180)
        if ended:
            status, lines = ended[0].process.returncode, "\n".join(ended[0].lines)
            raise RuntimeError(f"a process ended with status {status}:\n{lines}")

    def end(self, replica: Replica, number: signal.Signals) -> int:
        """End a process for good, and return its exit status."""
        self.replicas.remove(replica)
        return replica.end(number)

    def leader(self) -> Replica | None:
        """Return the process that the lease in the cache names; None for none that runs."""
        try:
            lease = read_lease(self.cache, self.table)
        except CacheError:
            return None
        pid = None if lease is None else int(lease.who.rpartition(":")[2])
        return next((each for each in self.replicas if each.process.pid == pid), None)

    def new_leader(self, but: Replica | None = None) -> Replica:
        """Wait for a leader that is another, and return it."""
        found: list[Replica] = []

        def leads() -> bool:
            leader = self.leader()
            if leader is not None and leader is not but and not leader.is_paused:
                found.append(leader)
            return bool(found)

        wait_until(leads, "a process to lead")
        return found[0]

    def differences(self) -> int:
        """Return how many entries are not as the table says."""
        rows = scan_table(self.client, self.table)
        return compare(rows, self.cache, [self.view]).differences

    def settled(self) -> int:
        """Compare until there is no difference, for a minute at the most."""

        def agrees() -> bool:
            with suppress(DynamirrorError):
                return self.differences() == 0
            return False

        with suppress(TimeoutError):
            wait_until(agrees, "the cache to agree with the table")
        return self.differences()
