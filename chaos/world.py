"""All that takes part in a run: a real cluster, an emulator behind a faulty proxy, the mirror."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chaos.cluster import Cluster, wait_until
from dynamirror.cache.checkpoints import Checkpoints
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import Command
from dynamirror.dynamodb.client import aws_errors, describe_table
from dynamirror.dynamodb.scan import scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB, create_table
from dynamirror.emulators.process import HOST, ServerProcess, answers
from dynamirror.errors import DynamirrorError, SourceError
from dynamirror.recovery.comparison import Comparison
from dynamirror.recovery.verify import compare
from dynamirror.settings import load_views
from dynamirror.stoppable_thread import StoppableThread
from dynamirror.views.view import Schema, View, bind_views

_WRITES_A_SECOND = 150
_MIRROR = Path(__file__).parent / "mirror.toml"
_KEYS = {"pk": "S", "sk": "S"}
_PARTITIONS, _SORTS = 8, 5
_FUTURE = 4_102_444_800
_DELETES = 1 / 3


class Mirror:
    """One `dynamirror run`, as a process of its own."""

    def __init__(self, url: str, table: str, port: int) -> None:
        self.counts: dict[str, int] = {}
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "ELASTICACHE_", "DYNAMIRROR_"))
        }
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dynamirror", "run", "--table", table),
                *("--endpoint-url", url, "--cache", f"{HOST}:{port}", "--no-tls"),
                *("--config", str(_MIRROR)),
                *("--batch-size", "50", "--interval", "0.1", "--json"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                self.counts = json.loads(line)

    def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        self.process.wait()
        self._reader.join()


class World:
    """Everything, kept from run to run; each run has a table of its own."""

    def __init__(self) -> None:
        self._resources = ExitStack()
        self.mirrors: list[Mirror] = []
        self._seen: list[Mirror] = []
        self._keeping = True
        self._lock = threading.Lock()
        self.restarts = 0

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self.cluster = Cluster()
            starting.callback(self.cluster.stop)
            self.database = EmbeddedDynamoDB()
            starting.callback(self.database.stop)
            upstream = self.database.endpoint_url
            self._proxy = ServerProcess(
                "microburst",
                lambda port, _folder: [
                    *(sys.executable, "-m", "microburst", "--host", HOST),
                    *("--port", str(port), "--upstream", upstream),
                ],
                ready=answers,
            )
            starting.callback(self._proxy.stop)
            self.client = self.database.aws.dynamodb()
            self.cache = Cache(self.cluster.nodes[0].server.settings(timeout=5))
            starting.callback(self.cache.close)
            self._resources = starting.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        self._resources.close()

    def begin(self, table: str) -> None:
        """Begin a run with a table of its own and an empty cache."""
        self.cluster.settle()
        self.inject()
        for node in self.cluster.nodes:
            node.ask(b"FLUSHALL")
        self.table = table
        create_table(self.client, table, _KEYS)
        self._keeping, self._seen, self.restarts = True, [], 0
        self.start_mirror()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def end(self) -> None:
        """End the mirrors."""
        self._keeping = False
        for mirror in self.mirrors:
            mirror.kill()
        self.mirrors = []

    def start_mirror(self) -> Mirror:
        """Start another `dynamirror run`."""
        url = f"http://{HOST}:{self._proxy.port}"
        nodes = self.cluster.nodes
        mirror = Mirror(url, self.table, nodes[len(self._seen) % len(nodes)].port)
        with self._lock:
            self.mirrors.append(mirror)
            self._seen.append(mirror)
        return mirror

    def kill_mirror(self, mirror: Mirror) -> None:
        """End a mirror for good."""
        self._forget(mirror)
        mirror.kill()

    def any_mirror(self, rng: random.Random) -> Mirror:
        """One of those that run; there may be none for a moment."""
        wait_until(lambda: self.mirrors, "a mirror to run")
        return rng.choice(self.mirrors)

    def _forget(self, mirror: Mirror) -> None:
        with self._lock:
            if mirror in self.mirrors:
                self.mirrors.remove(mirror)

    def _keep(self) -> None:
        """Start a mirror again that has given up, as any supervisor of processes would."""
        while self._keeping:
            for mirror in list(self.mirrors):
                if mirror.process.poll() is not None and self._keeping:
                    self.restarts += 1
                    self.start_mirror()
                    self._forget(mirror)
            time.sleep(0.1)

    def counted(self, name: str) -> int:
        """The sum of a count over all mirrors of this run."""
        return sum(mirror.counts.get(name, 0) for mirror in self._seen)

    def inject(self, *rules: dict[str, Any]) -> None:
        """Replace the proxy's faults; none lifts them."""
        connection = HTTPConnection(HOST, self._proxy.port, timeout=10)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/_microburst/rules", json.dumps(rules), headers)
        status = connection.getresponse().status
        connection.close()
        if status >= 300:
            raise SystemExit(f"chaos: the proxy refuses {rules}")

    def forget_positions(self) -> None:
        """Have the whole stream delivered again."""
        arn = describe_table(self.client, self.table).stream_arn
        key = Checkpoints(self.cache, arn).key
        self.cache.execute([Command(key.encode(), (b"UNLINK", key.encode()))])

    def canary(self, name: str) -> float:
        """Write an item and tell how long it took to show in the cache."""
        item = {"pk": {"S": name}, "sk": {"S": "canary"}}
        self.client.put_item(TableName=self.table, Item=item)
        key = f"all:{name}:canary"

        def shows() -> bool:
            try:
                return self.cache.call(key, b"GET", key.encode()) is not None
            except DynamirrorError:
                return False

        return wait_until(shows, f"{name} to show")

    @property
    def views(self) -> Sequence[View]:
        """All views of the table."""
        schema = Schema(self.table, tuple(_KEYS), tuple(_KEYS.values()))
        return bind_views(load_views(str(_MIRROR)), schema)

    def compare(self) -> Comparison:
        """Compare the whole table with the whole cache, in every view."""
        return compare(scan_table(self.client, self.table), self.cache, self.views)

    def settled(self) -> Comparison:
        """Compare until there is no difference, for a minute at the most."""
        last = Comparison()

        def agrees() -> bool:
            nonlocal last
            try:
                last = self.compare()
            except DynamirrorError:
                return False
            return last.differences == 0

        try:
            wait_until(agrees, "the cache to agree with the table")
        except TimeoutError:
            last = self.compare()
        return last


class Writer(StoppableThread):
    """Writes to the table all the while."""

    def __init__(self, world: World, rng: random.Random) -> None:
        super().__init__()
        self._world = world
        self._rng = rng
        self.written = 0

    def run(self) -> None:
        """Write until stopped."""
        begin = time.monotonic()
        while True:
            due = begin + self.written / _WRITES_A_SECOND
            if self._halt.wait(max(0.0, due - time.monotonic())):
                return
            try:
                with aws_errors(f"table {self._world.table}"):
                    self._write()
            except SourceError as error:
                raise SystemExit(f"chaos: the emulator does not take writes: {error}") from error
            self.written += 1

    def _write(self) -> None:
        """Put an item, which may be new to a view or leave one, or delete one."""
        rng, client, table = self._rng, self._world.client, self._world.table
        item: dict[str, Any] = {
            "pk": {"S": f"p{rng.randrange(_PARTITIONS)}"},
            "sk": {"S": f"s{rng.randrange(_SORTS)}"},
        }
        if rng.random() < _DELETES:
            client.delete_item(TableName=table, Key=item)
            return
        item["n"] = {"N": str(rng.randrange(1000))}
        if status := rng.choice(["open", "paid", "closed", ""]):
            item |= {"status": {"S": status}, "meta": {"M": {"status": {"S": status}}}}
        if until := rng.choice([1, _FUTURE, _FUTURE + 1, None]):
            item["until"] = {"N": str(until)}
        client.put_item(TableName=table, Item=item)
