"""From Lambda events to acknowledged entries: ours, the original's way, and the server alone."""

import json
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Self

import libvalkey
from boto3.dynamodb.types import TypeDeserializer
from valkey import Valkey

from bench.cpus import SERVERS, on
from bench.node import NodeWay
from bench.records import CREATED, HOT_ITEMS, Event, Feed
from bench.results import Sample
from bench.servers import away, cache_at, round_trip_ms
from dynamirror.cache.client import Cache
from dynamirror.cache.scripts import PUT, Command
from dynamirror.emulators.process import HOST
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import ChangeVersion
from dynamirror.replication.replicator import Replicator
from dynamirror.views.encoding import DYNAMODB_JSON, HASH, JSON, Encoding, attribute
from dynamirror.views.keyspace import fence_key
from dynamirror.views.view import Schema, Views, ViewSpec

FENCE_TTL = 93_600
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
    name: str, events: Iterable[Event], handle: Callable[[Event], object]
) -> Iterator[Sample]:
    """Handle events, timing nothing else: records a second, and this process's CPU time of each."""
    seconds = cpu = 0.0
    records = 0
    for event in events:
        records += len(event["Records"])
        begin, begin_cpu = time.perf_counter(), time.process_time()
        handle(event)
        seconds += time.perf_counter() - begin
        cpu += time.process_time() - begin_cpu
    yield Sample(name, RATE, records / seconds)
    yield Sample(f"cpu.{name}", "us/record", cpu / records * 1e6)


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
        records: how many make a figure.
        node: Node.js and the original's bundle; None to leave it out.
        folder: for the original's events.
    """

    def __init__(
        self, server: EmbeddedValkey, records: int, node: tuple[Path, Path] | None, folder: Path
    ) -> None:
        self._stack = ExitStack()
        self._numbers = count(1)
        self._uniform, self._hot = Feed(records), Feed(records, HOT_ITEMS)
        with on(SERVERS):
            far = self._stack.enter_context(away(server.port))
        self._port = server.port
        self._far_port = far.port
        near_cache, far_cache = (cache_at(server, port) for port in (server.port, far.port))
        self._near = {one.name: replicator(near_cache, one) for one in ENCODINGS}
        self._far = replicator(far_cache)
        near_cache.execute([Command(b"x", (b"SCRIPT", b"LOAD", PUT.source))])
        for cache in (near_cache, far_cache):
            self._stack.callback(cache.close)
        self._python = {
            "loopback": (PythonWay(server.port), records // _FEW),
            "1ms": (PythonWay(far.port), records // _FEW_AND_FAR),
        }
        for way, _ in self._python.values():
            self._stack.callback(way.close)
        self._node: dict[str, tuple[NodeWay, int]] = {}
        if node is not None:
            events = folder / "events.json"
            events.write_text(self._uniform.text(0, records // 2), encoding="utf-8")
            for place, port, part in (
                ("loopback", server.port, 2),
                ("1ms", far.port, _FEW_AND_FAR),
            ):
                theirs = self._stack.enter_context(NodeWay(*node, events, port))
                self._node[place] = (theirs, records // part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def take(self) -> Iterator[Sample]:
        """Take each figure once."""
        yield Sample("ping.loopback", "ms", round_trip_ms(self._port))
        yield Sample("ping.1ms", "ms", round_trip_ms(self._far_port))
        yield from self._ceilings()
        yield from self._nearby()
        yield from self._far_away()
        yield from self._others()

    def _nearby(self) -> Iterator[Sample]:
        handle = ours(self._near["json"])
        for batch in BATCHES:
            for kind, feed in (("uniform", self._uniform), ("hot", self._hot)):
                yield from timed(f"apply.{kind}.{batch}.json.loopback", feed.events(batch), handle)
        few = self._uniform.events(1, len(self._uniform) // _FEW)
        yield from timed("apply.uniform.1.json.loopback", few, handle)
        for name, replicate in self._near.items():
            if name != "json":
                events = self._uniform.events(BATCHES[-1])
                yield from timed(
                    f"apply.uniform.{BATCHES[-1]}.{name}.loopback", events, ours(replicate)
                )

    def _far_away(self) -> Iterator[Sample]:
        handle = ours(self._far)
        for batch in BATCHES:
            for kind, feed in (("uniform", self._uniform), ("hot", self._hot)):
                yield from timed(f"apply.{kind}.{batch}.json.1ms", feed.events(batch), handle)

    def _others(self) -> Iterator[Sample]:
        for place, (way, few) in self._python.items():
            events = self._uniform.events(1, few)
            yield from timed(f"original.python.{place}", events, way.one_by_one)
        way, _ = self._python["loopback"]
        yield from timed("plain.pipeline.loopback", self._uniform.events(_RAW_BATCH), way.pipelined)
        for place, (node, few) in self._node.items():
            yield from node.take(f"original.node.{place}", few)
        text = self._uniform.text(0, _RAW_BATCH)
        yield Sample("event.bytes", "bytes/record", len(text) / min(_RAW_BATCH, len(self._uniform)))
        begin = time.process_time()
        records = len(json.loads(text)["Records"])
        yield Sample("cpu.event.decode", "us/record", (time.process_time() - begin) / records * 1e6)

    def _ceilings(self) -> Iterator[Sample]:
        number, records = next(self._numbers), len(self._uniform)
        sets = _sets(number, records)
        yield Sample("ceiling.set", "commands/s", ceiling(self._port, sets, b"+OK\r\n"))
        scripts = _scripts(number, records)
        yield Sample(
            "ceiling.evalsha", "commands/s", ceiling(self._port, scripts, b"$7\r\napplied\r\n")
        )


def ceiling(port: int, commands: Sequence[tuple[bytes | int, ...]], reply: bytes) -> float:
    """Commands a second that the server does when all are packed beforehand and sent at once."""
    packed = [
        b"".join(libvalkey.pack_command(command) for command in commands[at : at + _RAW_BATCH])
        for at in range(0, len(commands), _RAW_BATCH)
    ]
    with socket.create_connection((HOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = time.perf_counter()
        for block, sent in zip(packed, range(0, len(commands), _RAW_BATCH), strict=True):
            connection.sendall(block)
            missing = min(_RAW_BATCH, len(commands) - sent) * len(reply)
            while missing > 0:
                missing -= len(connection.recv(1 << 16))
        return len(commands) / (time.perf_counter() - begin)


def _sets(number: int, records: int) -> list[tuple[bytes | int, ...]]:
    value = str(number).encode() + b"x" * 300
    return [(b"SET", b"set:%d" % at, value) for at in range(records)]


def _scripts(number: int, records: int) -> list[tuple[bytes | int, ...]]:
    """Calls of the put script as `apply` makes them, with values of the same size."""
    value = str(number).encode() + b"x" * 300
    commands = []
    for at in range(records):
        key = f"raw:{at:06d}"
        version = ChangeVersion(1, number * records + at + 1, CREATED)
        call = PUT.command(key.encode(), fence_key(key).encode(), str(version), FENCE_TTL, value)
        commands.append(
            tuple(word.encode() if isinstance(word, str) else word for word in call.words)
        )
    return commands
