"""Memory: of an entry and its fence in the cache, and of an event in the function."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from valkey import Valkey

from bench.apply import ENCODINGS, ours, replicator
from bench.records import Feed
from bench.results import Sample
from bench.start import DEPLOYED, ISOLATED
from dynamirror.cache.client import Cache
from dynamirror.emulators.process import HOST
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.views.encoding import Encoding
from dynamirror.views.keyspace import fence_key

# Of an event, as Lambda takes it; https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
EVENT_BYTES = 6 * 1024 * 1024
_SAMPLED = 1_000
_KEY = "user:{id}"
_FUNCTION = str(DEPLOYED / "function.py")


def in_cache(records: int) -> Iterator[Sample]:
    """Bytes of an entry and of a fence, by encoding, and what the server says that both take."""
    feed = Feed(records)
    for encoding in ENCODINGS:
        # A server of its own each: what was deleted leaves room behind that is counted as used.
        with EmbeddedValkey(cluster=False) as server:
            cache = Cache(server.settings())
            client: Any = Valkey(host=HOST, port=server.port)
            yield from _measured(cache, client, encoding, feed)
            cache.close()
            client.close()


def _measured(cache: Cache, client: Any, encoding: Encoding, feed: Feed) -> Iterator[Sample]:
    handle = ours(replicator(cache, encoding, _KEY))
    before = _used(client)
    for event in feed.events(1_000):
        handle(event)
    name = encoding.name
    yield Sample(f"memory.both.{name}", "bytes", (_used(client) - before) / len(feed))
    keys = [_KEY.format(id=f"{number:06d}") for number in range(min(_SAMPLED, len(feed)))]
    for kind, names in (("entry", keys), ("fence", map(fence_key, keys))):
        usage = statistics.mean(client.memory_usage(key, samples=0) for key in names)
        yield Sample(f"memory.{kind}.{name}", "bytes", usage)
    if client.type(keys[0]) == b"hash":
        held = sum(len(field) + len(value) for field, value in client.hgetall(keys[0]).items())
    else:
        held = client.strlen(keys[0])
    yield Sample(f"memory.value.{name}", "bytes", held)


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])


def in_function(task: Path, environment: Mapping[str, str], folder: Path) -> Iterator[Sample]:
    """Resident memory of the packaged function: before, and at most for, one event of 6 MB.

    Args:
        task: the unpacked asset.
        environment: what leads it to the cache.
        folder: for the events.
    """
    feed = Feed(EVENT_BYTES // len(Feed(1).text(0, 1)))
    words = []
    for number, event in enumerate(islice(_events(feed), 2)):
        path = folder / f"event-{number}.json"
        path.write_text(json.dumps(event, separators=(",", ":")), encoding="utf-8")
        words.append(str(path))
    done = subprocess.run(
        [*ISOLATED, _FUNCTION, str(task), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line.split() for line in done.stdout.splitlines() if line.startswith("handled")]
    if len(said) != len(words):
        sys.exit(f"bench: the function failed: {done.stderr}")
    _, before, peak = said[-1]
    yield Sample("rss.event", "MB", Path(words[-1]).stat().st_size / 2**20)
    yield Sample("rss.event.records", "records", len(feed))
    yield Sample("rss.before", "MB", int(before) / 1024)
    yield Sample("rss.peak", "MB", int(peak) / 1024)


def _events(feed: Feed) -> Iterator[dict[str, Any]]:
    yield from feed.events(1, 1)
    yield from feed.events(len(feed))
