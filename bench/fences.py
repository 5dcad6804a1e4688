"""What a fence costs as a key, and as a field that expires, with versions of either width.

`make fences` prints the numbers that docs/decisions/0041-fences-stay-keys.md quotes.
"""

import argparse
import statistics
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha1
from typing import Any, Final, NamedTuple

from rich.console import Console
from rich.table import Table
from valkey import Valkey
from valkey.exceptions import OutOfMemoryError

from bench.ceiling import FENCE_TTL, rate
from bench.records import CREATED
from bench.servers import ServerCpu
from dynamirror.cache.scripts import PUT
from dynamirror.emulators.process import HOST
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.records.version import ChangeVersion
from dynamirror.views.keyspace import fence_key

# In a cache of a billion items, a hash a slot has 60,000 fields: its own costs do not count.
_FIELDS: Final = 5_000
_EPOCH: Final = 1_790_000_000_000
# Sequence numbers have 21 to 40 digits; this is the longest kind.
_FIRST: Final = 10**39
_VALUE: Final = b"x" * 300
_FILLER: Final = bytes(10_000)
_AT_ONCE: Final = 1_000


def text(number: int) -> bytes:
    """Return a version as it is stored today: 64 letters."""
    return str(ChangeVersion(_EPOCH, _FIRST + number, CREATED)).encode()


def packed(number: int) -> bytes:
    """Return a version as 29 bytes, of which text order is number order where it is byte order."""
    epoch = _EPOCH.to_bytes(6, "big")
    return b"c" + epoch + (_FIRST + number).to_bytes(17, "big") + struct.pack(">xI", CREATED)


class Form(NamedTuple):
    """One way to keep fences.

    Args:
        name: for the table.
        is_field: whether a fence is a field of a hash, rather than a key.
        version: returns the version of a number.
    """

    name: str
    is_field: bool
    version: Callable[[int], bytes]

    @property
    def script(self) -> bytes:
        """The put script of today, changed for this form and no more."""
        source = PUT.source
        if self.is_field:
            source = source.replace(b"'GET', fence", b"'HGET', fence, entry")
            for written in (b"KEYS[3] and (held or 'r0000000000') or incoming", b"incoming"):
                source = source.replace(
                    b"'SET', fence, %b, 'EX', fence_ttl" % written,
                    b"'HSETEX', fence, 'EX', fence_ttl, 'FIELDS', 1, entry, %b" % written,
                )
        if self.version is packed:
            source = source.replace(b"2, 54", b"2, 24").replace(b", 55)", b", 25)")
        return source

    def place(self, number: int, of: int) -> bytes:
        """Return the key of a fence, or of the hash that has it."""
        if self.is_field:
            return b"dynamirror:fences:{%05d}" % (number % max(1, of // _FIELDS))
        return fence_key(_entry(number).decode()).encode()

    def write(self, number: int, of: int) -> tuple[bytes | int, ...]:
        """Return the command that writes a fence alone."""
        place, version = self.place(number, of), self.version(number)
        if self.is_field:
            field = _entry(number)
            return (b"HSETEX", place, b"EX", FENCE_TTL, b"FIELDS", 1, field, version)
        return (b"SET", place, version, b"EX", FENCE_TTL)


FORMS: Final = (
    Form("key, 64 letters", is_field=False, version=text),
    Form("key, 29 bytes", is_field=False, version=packed),
    Form("field, 64 letters", is_field=True, version=text),
    Form("field, 29 bytes", is_field=True, version=packed),
)


class Cost(NamedTuple):
    """What fences of one form cost.

    Args:
        form: the form.
        size: bytes of a fence, with the server's tables.
        rate: calls of the put script a second.
        cpu_us: microseconds of the server's CPU for each call.
        evicted: the share of fences that a full cache evicted.
        scanned_keys: keys that SCAN returns for each entry.
        scan_us: microseconds of the server's CPU of a whole SCAN for each entry.
    """

    form: str
    size: float
    rate: float
    cpu_us: float
    evicted: float
    scanned_keys: float
    scan_us: float


def measure(form: Form, fences: int) -> Cost:
    """Measure one form on a server of its own.

    Args:
        form: the form.
        fences: how many.
    """
    with _server() as (port, client), closing(ServerCpu(port)) as cpu:
        before = _used(client)
        _send(client, (form.write(number, fences) for number in range(fences)))
        size = (_used(client) - before) / fences
        # Now each gets its entry, and a newer version.
        commands = _scripts(form, client, fences)
        begin = cpu.seconds()
        written = rate(port, commands, b"$7\r\napplied\r\n")
        cpu_us = (cpu.seconds() - begin) * 1e6 / fences
        begin = cpu.seconds()
        keys = sum(1 for _ in client.scan_iter(count=_AT_ONCE))
        scan_us = (cpu.seconds() - begin) * 1e6 / fences
        evicted = 1 - _left_when_full(form, client, fences) / fences
        return Cost(form.name, size, written, cpu_us, evicted, keys / fences, scan_us)


def _entry(number: int) -> bytes:
    return b"user:%08d" % number


@contextmanager
def _server() -> Iterator[tuple[int, Any]]:
    with EmbeddedValkey(cluster=False) as server, Valkey(host=HOST, port=server.port) as client:
        yield server.port, client


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])


def _send(client: Any, commands: Iterable[tuple[bytes | int, ...]]) -> None:
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
        if len(pipeline) == _AT_ONCE:
            pipeline.execute()
    pipeline.execute()


def _scripts(form: Form, client: Any, fences: int) -> list[tuple[bytes | int, ...]]:
    """Return a call of the put script for each entry."""
    source = form.script
    sha = sha1(source, usedforsecurity=False).hexdigest().encode()
    client.script_load(source)
    return [
        (
            *(b"EVALSHA", sha, 2, _entry(number), form.place(number, fences)),
            *(form.version(fences + number), FENCE_TTL, _VALUE),
        )
        for number in range(fences)
    ]


def _left_when_full(form: Form, client: Any, fences: int) -> int:
    """Return how many fences are left once another application has filled the cache."""
    client.config_set("maxmemory-policy", "volatile-lru")
    client.config_set("maxmemory", _used(client) + 1_000_000)
    # Without evictions, a hundredth of this is refused.
    try:
        for number in range(1_000 + fences // 10):
            client.set(b"other:%d" % number, _FILLER)
    except OutOfMemoryError:
        pass
    if form.is_field:
        hashes = {form.place(number, fences) for number in range(fences)}
        return sum(client.hlen(name) for name in hashes)
    return sum(
        client.exists(*(form.place(number, fences) for number in range(first, last)))
        for first in range(0, fences, _AT_ONCE)
        for last in (min(fences, first + _AT_ONCE),)
    )


def median(costs: list[Cost]) -> Cost:
    """Return the medians of several measurements of one form."""
    numbers = zip(*(cost[1:] for cost in costs), strict=True)
    return Cost(costs[0].form, *map(statistics.median, numbers))


def table(costs: list[Cost]) -> Table:
    """Return the costs as a table, beside those of the first form."""
    result = Table(title="a fence")
    result.add_column("form")
    headings = ("bytes", "scripts/s", "µs/script", "evicted", "keys/entry", "scan µs/entry")
    for heading in (*headings, "bytes ÷", "µs ÷"):
        result.add_column(heading, justify="right")
    first = costs[0]
    for cost in costs:
        result.add_row(
            *(cost.form, f"{cost.size:.0f}", f"{cost.rate:,.0f}", f"{cost.cpu_us:.2f}"),
            *(f"{cost.evicted:.0%}", f"{cost.scanned_keys:.2f}", f"{cost.scan_us:.2f}"),
            *(f"{cost.size / first.size:.2f}", f"{cost.cpu_us / first.cpu_us:.2f}"),
        )
    return result


def main() -> None:
    """Measure all forms in interleaved rounds, and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fences", type=int, default=300_000, help="how many of each form")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    options = parser.parse_args()
    taken: dict[str, list[Cost]] = {form.name: [] for form in FORMS}
    for _ in range(options.rounds):
        for form in FORMS:
            taken[form.name].append(measure(form, options.fences))
    Console(width=120).print(table([median(costs) for costs in taken.values()]))


if __name__ == "__main__":
    main()
