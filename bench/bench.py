"""Measures apply against this machine's own ceilings, in one run: `make bench`.

Every figure is the median of interleaved rounds, so that a noisy moment hits all of them alike.
Only the ratios travel from one machine to another.
"""

import argparse
import json
import logging
import random
import socket
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import libvalkey
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dynamirror.cache import Cache
from dynamirror.handler import Replicator
from dynamirror.key import fence_key
from dynamirror.local.dynamodb import EmbeddedDynamoDB
from dynamirror.local.valkey import EmbeddedValkey
from dynamirror.scripts import PUT, Command
from dynamirror.version import ChangeVersion
from dynamirror.view import Schema, Views, ViewSpec
from reading import Reading
from whole import Whole

RECORDS = 20_000
BATCH = 1_000
# One by one takes so long that a tenth must do.
FEW = RECORDS // 10
STREAM = "arn:aws:dynamodb:us-east-1:000000000000:table/bench/stream/2026-01-01T00:00:00.000"
CREATED = 1_790_000_000
# Applying in batches must be at least this many times as fast as one round trip a record.
FLOOR = 5.0

Event = dict[str, Any]


class Plenty:
    """A Lambda context with time enough."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended."""
        return 60_000


def make_records(count: int, round_number: int) -> list[Event]:
    """Different items of about 400 bytes, newer from round to round."""
    rng = random.Random(round_number)
    records = []
    for number in range(count):
        image = {
            "id": {"S": f"{number:06d}"},
            "name": {"S": rng.choice(["Alice", "Bob", "Charlie", "David"])},
            "email": {"S": f"user{number}@example.com"},
            "visits": {"N": str(rng.randint(0, 10**9))},
            "score": {"N": f"{rng.random():.17f}"},
            "active": {"BOOL": rng.random() < 0.5},  # noqa: PLR2004 - even odds
            "tags": {"SS": ["red", "green", "blue"]},
            "address": {"M": {"city": {"S": "Springfield"}, "zip": {"S": f"{number:05d}"}}},
            "about": {"S": "x" * 100},
        }
        records.append(
            {
                "eventID": f"{number}",
                "eventName": "MODIFY",
                "eventSource": "aws:dynamodb",
                "awsRegion": "us-east-1",
                "eventSourceARN": STREAM,
                "dynamodb": {
                    "ApproximateCreationDateTime": CREATED,
                    "Keys": {"id": image["id"]},
                    "NewImage": image,
                    "SequenceNumber": f"{round_number * RECORDS + number + 1:021d}",
                    "SizeBytes": 400,
                    "StreamViewType": "NEW_AND_OLD_IMAGES",
                },
            }
        )
    return records


def apply_rate(replicator: Replicator, records: Sequence[Event], batch: int) -> float:
    """Records a second, from Lambda event to acknowledged entries."""
    events = [{"Records": records[at : at + batch]} for at in range(0, len(records), batch)]
    begin = time.perf_counter()
    for event in events:
        if replicator(event, Plenty())["batchItemFailures"]:
            sys.exit("bench: the cache did not take a batch")
    return len(records) / (time.perf_counter() - begin)


def ceiling(port: int, commands: Sequence[tuple[bytes | int, ...]], reply: bytes) -> float:
    """Commands a second that the server does when all are packed beforehand and sent at once."""
    packed = [
        b"".join(libvalkey.pack_command(command) for command in commands[at : at + BATCH])
        for at in range(0, len(commands), BATCH)
    ]
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begin = time.perf_counter()
        for block, sent in zip(packed, range(0, len(commands), BATCH), strict=True):
            connection.sendall(block)
            missing = min(BATCH, len(commands) - sent) * len(reply)
            while missing > 0:
                missing -= len(connection.recv(1 << 16))
        return len(commands) / (time.perf_counter() - begin)


def sets(round_number: int) -> list[tuple[bytes | int, ...]]:
    """Plain SETs of the same size."""
    value = str(round_number).encode() + b"x" * 300
    return [(b"SET", b"set:%d" % number, value) for number in range(RECORDS)]


def scripts(round_number: int) -> list[tuple[bytes | int, ...]]:
    """Calls of the put script on the same keys as `apply`, with the same size of value."""
    value = str(round_number).encode() + b"x" * 300
    commands = []
    for number in range(RECORDS):
        key = f"raw:{number:06d}"
        version = ChangeVersion(1, round_number * RECORDS + number + 1, CREATED)
        call = PUT.command(key.encode(), fence_key(key).encode(), str(version), 93_600, value)
        commands.append(
            tuple(word.encode() if isinstance(word, str) else word for word in call.words)
        )
    return commands


def take(port: int, replicator: Replicator, number: int) -> Iterator[tuple[str, float]]:
    """Take each figure once, in operations a second."""
    yield "SET ceiling", ceiling(port, sets(number), b"+OK\r\n")
    yield "EVALSHA ceiling", ceiling(port, scripts(number), b"$7\r\napplied\r\n")
    for place, (name, count, batch) in enumerate(
        (
            ("apply, one record a round trip", FEW, 1),
            ("apply, batches of 1,000", RECORDS, BATCH),
            ("apply, batches of 10,000", RECORDS, 10 * BATCH),
        )
    ):
        records = make_records(count, 3 * number + place)
        yield name, apply_rate(replicator, records, batch)


def measure(rounds: int) -> dict[str, float]:
    """Take the median of each figure over interleaved rounds, in operations a second."""
    figures: dict[str, list[float]] = {}
    with (
        EmbeddedValkey() as server,
        EmbeddedValkey(cluster=False) as single,
        EmbeddedDynamoDB() as database,
    ):
        cache = Cache(server.settings())
        images = [record["dynamodb"]["NewImage"] for record in make_records(RECORDS, 0)]
        whole, reading = Whole(database, cache, images), Reading(database, single, images)
        schema = Schema("bench", ("id",))
        replicator = Replicator(
            cache, Views((ViewSpec(),), lambda _table, _keys: schema), fence_ttl=93_600
        )
        cache.execute([Command(b"x", (b"SCRIPT", b"LOAD", PUT.source))])
        for number in track(range(rounds), "measuring", console=Console(stderr=True)):
            taken = chain(take(server.port, replicator, number), whole.take(), reading.take())
            for name, figure in taken:
                figures.setdefault(name, []).append(figure)
        reading.close()
        cache.close()
    return {name: statistics.median(values) for name, values in figures.items()}


def main() -> int:
    """Measure, print, and fail if batches are not worth it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.getLogger("dynamirror").addHandler(logging.NullHandler())
    figures = measure(options.rounds)
    evalsha, one = figures["EVALSHA ceiling"], figures["apply, one record a round trip"]
    if options.json:
        print(json.dumps({name: round(value) for name, value in figures.items()}))
    else:
        table = Table(title=f"{RECORDS:,} records of about 400 bytes, median of {options.rounds}")
        for heading in ("", "a second", "of the EVALSHA ceiling", "of one by one"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, value in figures.items():
            table.add_row(name, f"{value:,.0f}", f"{value / evalsha:.2f}", f"{value / one:.1f}")
        Console().print(table)
    return int(figures["apply, batches of 1,000"] < FLOOR * one)


if __name__ == "__main__":
    sys.exit(main())
