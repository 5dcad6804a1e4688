"""From Lambda events to acknowledged entries: ours, the original's way, and the server alone."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from boto3.dynamodb.types import TypeDeserializer
from valkey import Valkey

from bench import ceiling
from bench.ceiling import FENCE_TTL
from bench.cpus import SERVERS, on, raised
from bench.node import Driven, original
from bench.records import HOT_ITEMS, Event, Feed
from bench.results import Sample
from bench.servers import Secure, ServerCpu, away, cache_at, round_trip_ms
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import PUT, Command
from dynamirror.emulators.process import HOST
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.replication.replicator import Replicator
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON, Encoding, attribute
from dynamirror.views.view import Schema, Views, ViewSpec

BATCHES = (100, 1_000, 10_000)
ENCODINGS = (JSON, DYNAMODB_JSON, HASH, attribute("email"))
# One round trip a record takes so long that some must do.
_FEW = 10
_FEW_AND_FAR = 50
_RAW_BATCH = 1_000

RATE = "records/s"


class Plenty:
    """A Lambda context with time enough."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return 60_000


def replicator(cache: Cache, encoding: Encoding = JSON, key: str | None = None) -> Replicator:
    """Make what applies batches, with one view; its keys are its encoding's own unless given."""
    spec = ViewSpec(key=key or f"{encoding.name}:{{id}}", encoding=encoding)
    schema = Schema("bench", ("id",))
    return Replicator(cache, Views.for_schema((spec,), schema), fence_ttl=FENCE_TTL)


def timed(
    name: str,
    events: Iterable[Event],
    handle: Callable[[Event], object],
    server: ServerCpu | None = None,
) -> Iterator[Sample]:
    """Handle events: take the rate, and the CPU time a record of this process and of the server.

    Args:
        name: of the figure.
        events: the events, which are made outside the time.
        handle: what handles one.
        server: reads the CPU time of the cache's server; None to leave it out.
    """
    seconds = cpu = 0.0
    records = 0
    used = server.seconds() if server else 0.0
    for event in events:
        records += len(event["Records"])
        begin, begin_cpu = time.perf_counter(), time.process_time()
        handle(event)
        cpu += time.process_time() - begin_cpu
        seconds += time.perf_counter() - begin
    yield Sample(name, RATE, records / seconds)
    yield Sample(f"cpu.{name}", "us/record", cpu / records * 1e6)
    if server:
        yield Sample(f"server.cpu.{name}", "us/record", (server.seconds() - used) / records * 1e6)


def ours(replicate: Replicator) -> Callable[[Event], None]:
    """Apply an event as Lambda has it applied."""

    def handle(event: Event) -> None:
        if replicate(event, Plenty())["batchItemFailures"]:
            sys.exit("bench: the cache did not take a batch")

    return handle


class PythonWay:
    """The original's way in Python, and a step beyond it: one plain pipeline a batch."""

    def __init__(self, port: int) -> None:
        self._client: Any = Valkey(host=HOST, port=port)
        self._from_dynamodb = TypeDeserializer().deserialize

    def one_by_one(self, event: Event) -> None:
        """One SET or DEL a record, each awaited."""
        for record in event["Records"]:
            self._write(self._client, record)

    def pipelined(self, event: Event) -> None:
        """All of a batch at once."""
        pipeline = self._client.pipeline(transaction=False)
        for record in event["Records"]:
            self._write(pipeline, record)
        pipeline.execute()

    def _write(self, client: Any, record: Event) -> None:
        data = record["dynamodb"]
        key = f"python:{self._from_dynamodb(data['Keys']['id'])}"
        if record["eventName"] == "REMOVE":
            client.delete(key)
            return
        item = {name: self._from_dynamodb(value) for name, value in data["NewImage"].items()}
        client.set(key, json.dumps(item, default=_plain))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _plain(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else sorted(value)  # type: ignore[call-overload]


class Applying:
    """All that is measured of applying.

    Args:
        server: the cache.
        secure: the cache with TLS.
        records: how many make a figure.
        node: Node.js and the original's bundle; None to leave it out.
        folder: for the original's events.
    """

    def __init__(
        self,
        server: EmbeddedValkey,
        secure: Secure,
        records: int,
        node: tuple[Path, Path] | None,
        folder: Path,
    ) -> None:
        self._stack = ExitStack()
        self._uniform, self._hot = Feed(records), Feed(records, HOT_ITEMS)
        self._secure = secure
        with on(SERVERS):
            far = self._stack.enter_context(away(server.port))
        self._stack.enter_context(raised(far.guard_pid))
        self._port = server.port
        self._far_port = far.port
        near_cache, far_cache = (cache_at(server, port) for port in (server.port, far.port))
        secure_cache = Cache(secure.settings())
        self._near = {encoding.name: replicator(near_cache, encoding) for encoding in ENCODINGS}
        self._apply = {
            "loopback": ours(self._near["json"]),
            "1ms": ours(replicator(far_cache)),
            "tls": ours(replicator(secure_cache)),
        }
        near_cache.execute([Command(b"x", (b"SCRIPT", b"LOAD", PUT.source))])
        self._cpu = {"loopback": ServerCpu(server.port), "tls": ServerCpu(secure.server.port)}
        for cache in (near_cache, far_cache, secure_cache):
            self._stack.callback(cache.close)
        for cpu in self._cpu.values():
            self._stack.callback(cpu.close)
        self._python = {
            "loopback": (PythonWay(server.port), records // _FEW),
            "1ms": (PythonWay(far.port), records // _FEW_AND_FAR),
        }
        for way, _ in self._python.values():
            self._stack.callback(way.close)
        self._node: dict[str, tuple[Driven, int]] = {}
        if node is not None:
            events = folder / "events.json"
            events.write_text(self._uniform.text(0, records // _FEW), encoding="utf-8")
            for place, port, ca_file, few in (
                ("loopback", server.port, None, _FEW),
                ("tls", secure.port, secure.ca_file, _FEW),
                ("1ms", far.port, None, _FEW_AND_FAR),
            ):
                driven = original(node, events, port, ca_file=ca_file, cpu=self._cpu.get(place))
                self._node[place] = (self._stack.enter_context(driven), records // few)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def promised(self) -> Iterator[Sample]:
        """Take the figures of the promised ratios, each next to its base."""
        batch = BATCHES[-1]
        yield ceiling.scripts("ceiling.evalsha", self._port, len(self._uniform))
        yield from self._applied("uniform", batch, "loopback")
        yield from self._original("loopback")
        yield from self._applied("hot", batch, "loopback")
        yield from self._applied("uniform", batch, "tls")
        yield from self._original("tls")
        yield from self._applied("uniform", batch, "1ms")
        yield from self._original("1ms")

    def others(self) -> Iterator[Sample]:
        """Take the other figures once."""
        yield Sample("ping.loopback", "ms", round_trip_ms(self._port))
        yield Sample("ping.1ms", "ms", round_trip_ms(self._far_port))
        yield Sample("ping.tls", "ms", self._secure.round_trip_ms())
        yield ceiling.sets(self._port, len(self._uniform))
        for place in self._apply:
            for batch in BATCHES[:-1]:
                yield from self._applied("uniform", batch, place)
        for batch in BATCHES[:-1]:
            yield from self._applied("hot", batch, "loopback")
        for batch in BATCHES:
            yield from self._applied("hot", batch, "1ms")
        yield from self._applied("uniform", 1, "loopback", len(self._uniform) // _FEW)
        for name, replicate in self._near.items():
            if name != "json":
                events = self._uniform.events(BATCHES[-1])
                yield from timed(
                    f"apply.uniform.{BATCHES[-1]}.{name}.loopback", events, ours(replicate)
                )
        yield from self._in_python()

    def _applied(
        self, kind: str, batch: int, place: str, records: int | None = None
    ) -> Iterator[Sample]:
        feed = self._uniform if kind == "uniform" else self._hot
        name = f"apply.{kind}.{batch}.json.{place}"
        cpu = self._cpu.get(place)
        yield from timed(name, feed.events(batch, records), self._apply[place], cpu)

    def _original(self, place: str) -> Iterator[Sample]:
        if place in self._node:
            driven, few = self._node[place]
            yield from driven.take(f"original.node.{place}", few)

    def _in_python(self) -> Iterator[Sample]:
        for place, (way, few) in self._python.items():
            events = self._uniform.events(1, few)
            yield from timed(f"original.python.{place}", events, way.one_by_one)
        way, _ = self._python["loopback"]
        yield from timed("plain.pipeline.loopback", self._uniform.events(_RAW_BATCH), way.pipelined)
        text = self._uniform.text(0, _RAW_BATCH)
        yield Sample("event.bytes", "bytes/record", len(text) / min(_RAW_BATCH, len(self._uniform)))
        begin = time.process_time()
        records = len(json.loads(text)["Records"])
        yield Sample("cpu.event.decode", "us/record", (time.process_time() - begin) / records * 1e6)
