"""A replica takes over: when asked to, and when its primary dies.

Replication is asynchronous: what a primary acknowledged and had not passed on when it died is lost,
entry and fence together. The stream has gone on by then, so nobody notices; the last test shows
that delivering again, or reading the items from the table, makes it good.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from time import time

import pytest
from tests.support.builders import view
from tests.support.clusters import HOST, Node, hung, keys_of, knows_all, three_nodes
from tests.support.deadlines import settle, wait_until
from tests.support.mirroring import FENCE_TTL, Mirror, Table, entries, number
from tests.support.scans import scanned_keys

from dynamirror.cache.answers import Failure
from dynamirror.cache.asynchronous.client import AsyncCache
from dynamirror.cache.client import Cache
from dynamirror.cache.pipeline import CHUNK
from dynamirror.cache.scripts import Command
from dynamirror.cache.writer import apply
from dynamirror.errors import CacheError
from dynamirror.records.version import SnapshotVersion
from dynamirror.settings import Settings
from dynamirror.views.entry import entry_of_row

OpenCache = Callable[[Settings], Cache]
IDS = [
    key.removeprefix("users:")
    for keys in zip(*(keys_of(node, 2 * CHUNK, "users:") for node in range(3)), strict=True)
    for key in keys
]


@dataclass
class Pair:
    """The node that holds the first third of the slots, and the one that follows it."""

    primary: Node
    replica: Node
    others: list[Node]

    @property
    def all(self) -> list[Node]:
        """Every node of the cluster."""
        return [self.primary, self.replica, *self.others]

    def settled(self) -> bool:
        """Whether the replica follows, all has reached it, and everyone knows who is who."""
        role = self.replica.ask(b"ROLE")
        follows = role[0] == b"slave" and role[2] == self.primary.port and role[3] == b"connected"
        return (
            follows
            and self.primary.is_primary()
            and all(map(knows_all, self.all))
            and self.primary.ask(b"WAIT", 1, 10) == 1
        )

    def swapped(self) -> "Pair":
        """The pair after the replica has taken over."""
        return Pair(self.replica, self.primary, self.others)


@pytest.fixture(scope="module")
def cluster_of_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A cluster of which the first primary has a replica, and both survive their own deaths."""
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        nodes = stack.enter_context(three_nodes((folder / "a", None, None)))
        replica = Node(None, folder / "b")
        stack.callback(replica.close)
        replica.ask(b"CLUSTER", b"MEET", HOST, nodes[0].port)
        settle(lambda: knows_all(replica))
        replica.ask(b"CLUSTER", b"REPLICATE", nodes[0].name)
        pair = Pair(nodes[0], replica, nodes[1:])
        for node in pair.all:  # so that a death is noticed soon
            node.ask(b"CONFIG", b"SET", b"cluster-node-timeout", 700)
        yield pair


@pytest.fixture
def pair(cluster_of_pair: Pair) -> Pair:
    """The pair as it stands now; empty."""
    either = (cluster_of_pair, cluster_of_pair.swapped())
    # One that was started again takes itself for the primary until it hears of its successor.
    settle(lambda: any(one.settled() for one in either))
    pair = next(one for one in either if one.primary.is_primary())
    for node in (pair.primary, *pair.others):
        node.ask(b"FLUSHALL")
    return pair


@pytest.fixture
def cluster(pair: Pair, open_cache: OpenCache) -> Cache:
    """The cluster, reached through a node that outlives all tests."""
    return open_cache(pair.others[0].server.settings(timeout=0.5))


def test_an_answer_that_comes_late_does_not_end_the_set_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = Cache(pair.primary.server.settings(timeout=0.05), single=True)
    monkeypatch.setattr(pair.primary, "direct", hasty)
    late = []
    with closing(hasty), ExitStack() as stack:
        stack.enter_context(hung(pair.primary.server))

        def settled() -> bool:
            try:
                return pair.settled()
            except CacheError as error:
                late.append(error)
                stack.close()  # it goes on
                raise

        settle(settled)
    assert late


def test_a_failover_that_was_asked_for_loses_nothing(
    pair: Pair, cluster: Cache, open_cache: OpenCache
) -> None:
    mirror, table = Mirror(cluster), Table()
    assert mirror.deliver(table.puts(IDS, name="old")) is None
    watching = open_cache(pair.others[1].server.settings())
    assert len(set(scanned_keys(watching, "users:*"))) == len(IDS)

    def fail_over() -> None:
        pair.replica.ask(b"CLUSTER", b"FAILOVER")
        wait_until(pair.replica.is_primary)

    records = table.puts(IDS, name="new")
    identifier = mirror.deliver(records, during={3 * CHUNK: fail_over})
    mirror.deliver_again(records, identifier)
    assert entries(cluster) == table.shown()

    settle(pair.swapped().settled)
    # A cache that only looks on is told of no move, but looks at the primaries.
    assert {role[0] for role in watching.broadcast(b"ROLE")} == {b"master"}
    more = [table.delete(IDS[0]), *table.puts(IDS[1:], name="newest")]
    before = pair.primary.errors("MOVED")
    mirror.deliver_again(more, number(more[0]))
    assert entries(cluster) == table.shown()
    assert pair.primary.errors("MOVED") == before, "the new primary was known already"


def test_a_failover_during_a_scan_hides_no_key(pair: Pair, cluster: Cache) -> None:
    """The replica's cursors are not the primary's."""
    mirror, table = Mirror(cluster), Table()
    assert mirror.deliver(table.puts(IDS)) is None
    scan = scanned_keys(cluster, "*")
    seen = set(islice(scan, 100))
    pair.replica.ask(b"CLUSTER", b"FAILOVER")
    wait_until(pair.swapped().settled)
    seen |= set(scan)
    shown = {key.encode() for key in table.shown()}
    assert {key for key in seen if key.startswith(b"users:")} == shown


def test_a_primary_that_dies_is_replaced_and_found_by_a_later_batch(
    pair: Pair, cluster: Cache
) -> None:
    mirror, table = Mirror(cluster), Table()
    assert mirror.deliver(table.puts(IDS, name="old")) is None
    records = table.puts(IDS, name="new")
    try:
        identifier = mirror.deliver(records, during={4 * CHUNK: pair.primary.kill})
        assert identifier is not None
        assert all(str(pair.primary) in reason for reason in mirror.reasons)
        for node in pair.others:
            assert {image["name"] for image in entries(node.direct).values()} == {"new"}
        # What was acknowledged before it died may not have reached the replica: all comes again.
        mirror.deliver_again(records, number(records[0]))
        assert pair.replica.is_primary()
        assert entries(cluster) == table.shown()
    finally:
        pair.primary.start()


def test_a_primary_that_hangs_is_replaced_and_does_no_harm_when_it_wakes(
    pair: Pair, cluster: Cache
) -> None:
    mirror, table = Mirror(cluster), Table()
    assert mirror.deliver(table.puts(IDS, name="old")) is None
    assert pair.primary.ask(b"WAIT", 1, 10_000) == 1
    records = table.puts(IDS, name="new")
    with hung(pair.primary.server):
        identifier = mirror.deliver(records)
        assert mirror.reasons == {f"{pair.primary}: no answer in time"}
        mirror.deliver_again(records, identifier)  # to the replica, once it has taken over
        newest = [*table.puts(IDS[1:], name="newest"), table.delete(IDS[0])]
        mirror.deliver_again(newest, number(newest[0]))
        assert pair.replica.is_primary()
        assert entries(cluster) == table.shown()
    # It finds the commands that it was sent when it hung, and is then told of its successor.
    settle(pair.swapped().settled)
    assert entries(cluster) == table.shown()
    assert mirror.deliver(records) is None
    assert mirror.reports[-1].applied == 0


@contextmanager
def unfollowed(pair: Pair) -> Iterator[None]:
    """Nothing reaches the replica any more, as if the network between the two were slow."""
    pair.primary.ask(b"ACL", b"SETUSER", b"default", b"-psync", b"-sync")
    try:
        pair.primary.ask(b"CLIENT", b"KILL", b"TYPE", b"replica")
        yield
    finally:
        # The user is as it was when the server starts again.
        pair.primary.kill()


def test_what_an_asynchronous_failover_lost_is_made_good_by_delivering_it_again_or_by_rows(
    pair: Pair, cluster: Cache
) -> None:
    mirror, table = Mirror(cluster), Table()
    assert mirror.deliver(table.puts(IDS, name="old")) is None
    assert pair.primary.ask(b"WAIT", 1, 10_000) == 1
    before = entries(pair.primary.direct)
    mine = [key.removeprefix("users:") for key in before]
    with unfollowed(pair):
        records = [*table.puts(mine[1:], name="new"), table.delete(mine[0])]
        assert mirror.deliver(records) is None, "all of it was acknowledged"
    try:
        wait_until(pair.replica.is_primary)
        # The replica neither has these writes nor knows of them.
        assert entries(pair.replica.direct) == before

        again, by_rows = records[::2], records[1::2]
        mirror.deliver_again(again, number(again[0]))
        as_of = SnapshotVersion(int(time()) + 60)
        bound = view()
        rows = []
        for one in by_rows:
            key = one["dynamodb"]["Keys"]
            rows.append(entry_of_row(bound, key, table.items.get(key["id"]["S"]), as_of))
        report = apply(cluster, [row for row in rows if row], fence_ttl=FENCE_TTL)
        assert report.applied == len(by_rows)
        assert entries(cluster) == table.shown()
    finally:
        pair.primary.start()


def test_coroutines_read_on_after_a_primary_died(pair: Pair, cluster: Cache) -> None:
    mirror, table = Mirror(cluster), Table()
    assert mirror.deliver(table.puts(IDS[:30], name="old")) is None
    assert pair.primary.ask(b"WAIT", 1, 10_000) == 1
    shown = {key: entry for key, entry in entries(cluster).items() if key in table.shown()}
    reads = [Command(key.encode(), (b"GET", key.encode())) for key in shown]
    settings = pair.others[0].server.settings(timeout=0.5)

    async def read() -> None:
        cache = AsyncCache(settings)
        before = await cache.execute(reads)
        await asyncio.to_thread(pair.primary.kill)
        while True:
            calls = [cache.execute(reads) for _ in range(16)]
            for answers in await asyncio.gather(*calls):
                for old, answer in zip(before, answers, strict=True):
                    assert answer == old or isinstance(answer, Failure), "none is ever another's"
            if answers == before:
                break
        await cache.close()

    try:
        asyncio.run(asyncio.wait_for(read(), 60))
        assert pair.replica.is_primary()
    finally:
        pair.primary.start()
