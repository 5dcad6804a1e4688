"""A node of the cluster hangs, or dies and comes back with its data."""

from itertools import chain

import pytest
from tests.support.clusters import Node, hung, keys_of, knows_all
from tests.support.deadlines import wait_until
from tests.support.mirroring import Mirror, Record, Table, entries, number

from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK, UNDER_WAY

SIZE = 2 * CHUNK  # entries on each node


def ids_of(node: int) -> list[str]:
    """Items whose entries are on the node."""
    return [key.removeprefix("users:") for key in keys_of(node, SIZE, "users:")]


MINE = [ids_of(node) for node in range(3)]
EVERYWHERE = list(chain.from_iterable(zip(*MINE, strict=True)))


def first_on(node: int, records: list[Record]) -> str:
    """The number of the first record whose entry is on the node."""
    return next(number(one) for one in records if one["dynamodb"]["Keys"]["id"]["S"] in MINE[node])


def assert_shown_but_by(victim: int, nodes: list[Node], table: Table) -> None:
    """Hold all nodes but one to what the table holds."""
    shown = table.shown()
    for index in {0, 1, 2} - {victim}:
        mine = {f"users:{item_id}" for item_id in MINE[index]}
        assert entries(nodes[index].direct) == {key: shown[key] for key in mine & shown.keys()}


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_node_that_hangs_costs_one_timeout_and_delays_only_what_is_on_it(
    cluster: Cache, nodes: list[Node], given_up: list[str], victim: int
) -> None:
    mirror, table = Mirror(cluster), Table()
    assert mirror.deliver(table.puts(EVERYWHERE, name="old")) is None
    records = [*table.puts(EVERYWHERE[5:], name="new"), *map(table.delete, EVERYWHERE[:5])]
    with hung(nodes[victim].server):
        identifier = mirror.deliver(records)
        assert given_up == [str(nodes[victim])]
        assert identifier == first_on(victim, records)
        assert mirror.reasons == {f"{nodes[victim]}: no answer in time"}
        assert_shown_but_by(victim, nodes, table)
    mirror.deliver_again(records, identifier)
    assert entries(cluster) == table.shown()
    wait_until(lambda: all(map(knows_all, nodes)))


def test_a_node_that_dies_in_the_middle_of_a_batch_goes_on_from_what_it_had_acknowledged(
    cluster: Cache, nodes: list[Node]
) -> None:
    mirror, table, victim = Mirror(cluster), Table(), nodes[2]
    assert mirror.deliver(table.puts(EVERYWHERE, name="old")) is None
    first = table.puts(EVERYWHERE, name="new")
    try:
        identifier = mirror.deliver(first, during={(UNDER_WAY + 3) * CHUNK: victim.kill})
        assert identifier is not None
        acknowledged = first[: [number(one) for one in first].index(identifier)]
        assert len(acknowledged) >= 2 * CHUNK
        assert all(str(victim) in reason for reason in mirror.reasons)
        assert_shown_but_by(2, nodes, table)

        second = table.puts(reversed(EVERYWHERE), name="newest")
        again = mirror.deliver(second)
        assert again == first_on(2, second)
        assert mirror.reasons == {f"{victim}: no connection: Connection refused"}
        assert_shown_but_by(2, nodes, table)
    finally:
        victim.start()
    wait_until(lambda: all(map(knows_all, nodes)))
    kept = entries(victim.direct)
    for one in acknowledged:
        if (item_id := one["dynamodb"]["Keys"]["id"]["S"]) in MINE[2]:
            assert kept[f"users:{item_id}"]["name"] == "new"
    mirror.deliver_again(first, identifier)
    mirror.deliver_again(second, again)
    assert entries(cluster) == table.shown()
