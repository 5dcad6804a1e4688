"""The mirror is killed over and over, in the middle of whatever it does."""

import random
import threading
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from tests.support.deadlines import wait_until
from tests.support.processes import environment, start
from tests.support.streams import Source

from dynamirror.cache.client import Cache
from dynamirror.dynamodb.scan import scan_table
from dynamirror.emulators.dynamodb import EmbeddedDynamoDB
from dynamirror.emulators.valkey import EmbeddedValkey
from dynamirror.functions import simulator
from dynamirror.recovery.verify import compare
from dynamirror.views.view import Schema, ViewSpec

_KILLS = 3


@pytest.mark.parametrize("seed", [1])
def test_a_mirror_that_is_killed_over_and_over_ends_as_the_table(
    seed: int, dynamodb: EmbeddedDynamoDB, valkey: EmbeddedValkey, cache: Cache, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    drawn = simulator.operations(random.Random(rng.random()), ids=30)
    source, halt = Source(dynamodb), threading.Event()
    options = (
        *("--table", source.name, "--endpoint-url", dynamodb.endpoint_url),
        *("--cache", f"127.0.0.1:{valkey.port}", "--no-tls", "--batch-size", "5"),
    )

    def write() -> None:
        for operation in islice(drawn, 20_000):
            if halt.wait(0.002):
                return
            simulator.write(source.client, source.name, operation)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(_KILLS):
            goal = commands_of(cache) + rng.randint(1, 40)
            mirror = start("run", *options, env=environment(tmp_path))
            try:
                # Killed soon after it has begun to write: in mid-batch, with more on its way.
                wait_until(partial(_reached, cache, goal))
            finally:
                mirror.kill()
                mirror.communicate()
    finally:
        halt.set()
        writer.join()
    view = ViewSpec().bind(Schema(source.name, ("id",), ("S",)))
    mirror = start("run", *options, env=environment(tmp_path))
    try:
        wait_until(
            lambda: compare(scan_table(source.client, source.name), cache, [view]).differences == 0
        )
    finally:
        mirror.kill()
        mirror.communicate()


def _reached(cache: Cache, goal: int) -> bool:
    return commands_of(cache) > goal


def commands_of(cache: Cache) -> int:
    """How many scripts the server has run."""
    (info,) = cache.broadcast(b"INFO", b"commandstats")
    for line in info.decode().splitlines():
        if line.startswith("cmdstat_evalsha:"):
            return int(line.partition("calls=")[2].partition(",")[0])
    return 0
