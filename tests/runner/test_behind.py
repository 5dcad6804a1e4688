"""How far a shard is behind is told from when it was last seen read to its end."""

from collections.abc import Mapping
from threading import Event
from typing import Any

from tests.support.builders import item, record
from tests.support.deadlines import wait_until
from tests.support.streams import Memory, Tree

from dynamirror.runner.delivery import Delivery


def test_a_shard_is_behind_for_as_long_as_its_records_are_not_taken() -> None:
    now, may_take = [50.0], Event()

    def function(_event: Mapping[str, Any], _context: object) -> None:
        if not may_take.is_set():
            raise RuntimeError("boom")

    tree = Tree({"s": None, "done": None}, {"s": [[record(1, item())]]}, endless=["s"])
    delivery = Delivery(tree.reader(), function, Memory(), poll_seconds=0.01, clock=lambda: now[0])
    assert delivery.behind() == {}
    delivery.start()
    try:
        wait_until(lambda: delivery.counts.retries and set(delivery.behind()) == {"s"})
        assert delivery.behind() == {"s": 0}, "since it began"
        now[0] += 100
        assert delivery.behind() == {"s": 100}
        may_take.set()
        wait_until(lambda: delivery.behind() == {"s": 0})
    finally:
        delivery.stop()
