"""Every kind of view is made whole again, whatever was lost or damaged."""

import random
from typing import Any

import pytest
from tests.support.world import MakeWorld, World

from dynamirror.cache.client import Cache
from dynamirror.cache.entry_state import EntryLocation
from dynamirror.cache.scripts import Command
from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.view import View

WHEN = 'when = { status = { in = ["open", "paid"] } }'
KINDS = {
    "attribute": 'encoding = "attribute"\nattribute = "n"',
    "when": f'encoding = "dynamodb-json"\n{WHEN}',
    "projection": 'include = ["n"]\nrename = { n = "number" }\nconstants = { kind = "order" }',
    "ttl": f'ttl = "until"\nencoding = "hash"\n{WHEN}',
    "pinned": 'key = "pinned:{pk}"\nwhen = { sk = "1" }',
    "moving": 'key = "by:{status}:{pk}:{sk}"',
    "collection": f'collection = true\n{WHEN}\nttl = "until"',
    "collection of hashes": 'collection = true\nencoding = "hash"\ninclude = ["n"]',
    "index": 'name = "by-status"\nindex = { partition = "status", sort = "n" }\nttl = "until"',
    "score": 'name = "top"\nindex = { partition = "status" }\nscore = "n"\nttl = "until"',
    "score of all": 'name = "top"\nindex = {}\nscore = "n"\nencoding = "hash"',
}
KEYS = {"pk": "S", "sk": "N"}
PARTITIONS, SORTS = ("a", "b", "{c}"), range(-3, 4)


def an_item(rng: random.Random, partition: str, sort: int) -> dict[str, Any]:
    """An item that is open, paid, closed or nothing, and expires in the future or never."""
    item: dict[str, Any] = {"pk": {"S": partition}, "sk": {"N": str(sort)}}
    item["n"] = {"N": str(rng.randrange(1000))}
    if status := rng.choice(["open", "paid", "closed", ""]):
        item["status"] = {"S": status}
    if until := rng.choice(["1000000000", "4102444800", ""]):
        item["until"] = {"N": until}
    return item


def write(world: World, rng: random.Random) -> None:
    """Put or delete every item."""
    for partition in PARTITIONS:
        for sort in SORTS:
            item = an_item(rng, partition, sort)
            if rng.random() < 0.7:
                world.client.put_item(TableName=world.table, Item=item)
            else:
                key: Any = {name: item[name] for name in KEYS}
                world.client.delete_item(TableName=world.table, Key=key)


def places(world: World, view: View) -> list[EntryLocation]:
    """Where entries of the view are."""
    return [
        EntryLocation(view, key, item)
        for item in world.items()
        if (key := view.render(item)) is not None
    ]


def harm(cache: Cache, rng: random.Random, place: EntryLocation, ghost: str) -> None:
    """Damage an entry, its expiry or its index, or add what does not belong there."""
    key = place.key.encode()
    harms: list[tuple[bytes, bytes, *tuple[bytes | int, ...]]] = [
        (b"DEL", key),
        (b"SET", key, b"damaged"),
        (b"EXPIREAT", key, 4_102_444_799) if place.view.ttl else (b"DEL", key),
        (b"PERSIST", key),
    ]
    if members := place.view.members:
        index = members.index_key(place.item).encode()
        harms += [
            (b"ZREM", index, members.member(place.item)),
            (b"ZADD", index, -7, members.member(place.item)),
            (b"ZADD", index, 0, members.member({**place.item, "sk": {"N": ghost}})),
            (b"DEL", index),
        ]
    words = rng.choice(harms)
    (answer,) = cache.execute([Command(words[1], words)])
    assert isinstance(answer, int | bytes), answer


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_gap_a_rebuild_and_after_any_damage_verify_makes_it_whole(
    make_world: MakeWorld, kind: str
) -> None:
    rng = random.Random(kind)
    world = make_world(*parse_views(f"[[view]]\n{KINDS[kind]}"), keys=KEYS)
    delivery = world.follow()
    write(world, rng)
    world.caught_up(delivery)
    assert world.compare().differences == 0
    delivery.stop()
    world.switch(on=False)
    write(world, rng)  # of which no stream tells
    world.switch(on=True)
    delivery = world.follow_the_new_stream()
    world.rebuilt()
    world.caught_up(delivery)
    assert world.marker.is_complete
    assert world.compare().differences == 0
    (view,) = world.views
    there = places(world, view)
    for ghost, place in enumerate(rng.sample(there, min(4, len(there))), 100):
        harm(world.cache, rng, place, str(ghost))
    found = world.verify(repair=True)
    assert found.repaired == found.differences
    assert world.compare().differences == 0


@pytest.mark.parametrize(
    "kind", ["collection", "collection of hashes", "index", "score", "score of all"]
)
def test_a_sweep_empties_indices_of_what_is_gone(make_world: MakeWorld, kind: str) -> None:
    world = make_world(*parse_views(f"[[view]]\n{KINDS[kind]}"), keys=KEYS)
    members = world.views[0].members
    assert members is not None
    others = {"status": {"S": "open"}, "n": {"N": "1"}}
    gone = [{"pk": {"S": "a"}, "sk": {"N": str(number)}, **others} for number in range(3)]
    index = members.index_key(gone[0])
    for item in gone:
        world.cache.call(index, b"ZADD", index, 0, members.member(item))
    _loaded, swept = world.rebuilt()
    assert swept.deleted == len(gone)
    assert world.cache.call(index, b"EXISTS", index) == 0
