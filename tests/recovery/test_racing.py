"""Rows and changes race for the same hot items, and nothing goes back."""

import json
import random
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count, pairwise
from typing import Any, NamedTuple

import pytest
from tests.support.deadlines import wait_until
from tests.support.world import World, Write

from dynamirror.records.version import ChangeVersion, SnapshotVersion, Version, parse, supersedes
from dynamirror.views.keyspace import fence_key

IDS = [f"hot{number}" for number in range(10)]


class Step(NamedTuple):
    """One change of an item: when it was made, and the number it left (None for a delete)."""

    sequence: int
    created: int
    number: int | None


class Seen(NamedTuple):
    """What a reader saw at one moment: the fence and the number beside it."""

    fence: Version
    number: int | None


class Held:
    """Hands batches on, unless it is held back; keeps all changes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._free = threading.Event()
        self._free.set()
        self.history: dict[str, list[Step]] = defaultdict(list)

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        self._free.wait(60)
        for record in event["Records"]:
            data = record["dynamodb"]
            number = data["NewImage"]["n"]["N"] if "NewImage" in data else None
            created = int(data["ApproximateCreationDateTime"])
            step = Step(int(data["SequenceNumber"]), created, int(number) if number else None)
            if step not in self.history[data["Keys"]["id"]["S"]]:
                self.history[data["Keys"]["id"]["S"]].append(step)
        return self._world.replicator(event, context)

    @contextmanager
    def back(self) -> Iterator[None]:
        """Hold it back."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()


class Reader(threading.Thread):
    """Reads entries and their fences, both at once, over and over."""

    def __init__(self, world: World) -> None:
        super().__init__(name="reader", daemon=True)
        self._world = world
        self._halt = threading.Event()
        self.seen: dict[str, list[Seen]] = defaultdict(list)

    def run(self) -> None:
        while not self._halt.is_set():
            for one in IDS:
                key = f"{self._world.table}:{one}"
                words = key.encode(), fence_key(key).encode()
                value, fence = self._world.cache.call(key, b"MGET", *words)
                if fence is None:
                    assert value is None
                    continue
                number = None if value is None else int(json.loads(value)["n"])
                now = Seen(parse(fence.decode()), number)
                if not self.seen[one] or self.seen[one][-1] != now:
                    self.seen[one].append(now)

    def stop(self) -> None:
        """End."""
        self._halt.set()
        self.join()


def hot_writes(world: World, seed: int) -> Iterator[Write]:
    """Three puts to one delete, with a number that only grows."""
    rng, client = random.Random(seed), world.aws.dynamodb()
    for number in count(1):
        key = {"id": {"S": rng.choice(IDS)}}
        if rng.random() < 0.25:
            yield lambda key=key: client.delete_item(TableName=world.table, Key=key)  # type: ignore[misc]
        else:
            item = key | {"n": {"N": str(number)}}
            yield lambda item=item: client.put_item(TableName=world.table, Item=item)  # type: ignore[misc]


@pytest.mark.parametrize("seed", [1])
def test_nothing_goes_back_while_rows_and_changes_race(world: World, seed: int) -> None:
    held, reader = Held(world), Reader(world)
    delivery = world.follow(function=held)
    reader.start()
    with world.written_to(hot_writes(world, seed), pause=0.001):
        for _ in range(2):
            with held.back():  # rows go ahead of the stream, and it is replayed over them
                wait_until(lambda: world.rebuilt(limit=3)[0][0].applied > len(IDS) // 2)
            for _ in range(3):  # and side by side with it
                world.rebuilt(limit=3)
    world.caught_up(delivery)
    reader.stop()
    assert world.compare().differences == 0, f"seed {seed}"
    rows = sum(
        isinstance(one.fence, SnapshotVersion) for seen in reader.seen.values() for one in seen
    )
    assert rows >= len(IDS) // 2
    for one in IDS:
        hold_to_what_is_promised(reader.seen[one], held.history[one])


def hold_to_what_is_promised(seen: list[Seen], history: list[Step]) -> None:
    """After a change, that or something newer; after a row, nothing that ended before its horizon.

    Between the two, what a row held is replayed: only then a reader sees an older number again.
    """
    places = {step.sequence: place for place, step in enumerate(history)}
    numbers = {step.number: place for place, step in enumerate(history) if step.number is not None}
    assert [step.created for step in history] == sorted(step.created for step in history)
    newest, as_of = -1, 0
    for one in seen:
        match one.fence:
            case ChangeVersion(sequence=sequence):
                place = places[sequence]
                assert one.number == history[place].number, "an entry is not its fence's"
                assert place >= newest, "a change was undone"
                newest = place
            case SnapshotVersion():
                as_of = max(as_of, one.fence.as_of)
                if one.number is None:
                    continue  # which of the deletes it was, the row does not tell
                place = numbers[one.number]
                assert place >= newest, "a row undid a change"
        if place + 1 < len(history):
            assert history[place + 1].created >= as_of, "it had ended before the row was read"
    for before, after in pairwise(seen):
        assert supersedes(after.fence, before.fence)
