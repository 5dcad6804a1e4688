"""Each view of an item is judged alone: one that cannot key it takes nothing from the others."""

from itertools import permutations
from typing import Any

import pytest
from tests.support.scans import keys_in

from dynamirror.dynamodb import items as rows
from dynamirror.recovery.redrive import Outcome
from dynamirror.views.view import ViewSpec

SPECS = (
    ViewSpec(name="tag", key="tag:{tag}:{id}"),
    ViewSpec(name="city", key="city:{city}:{id}"),
    ViewSpec(name="open", key="open:{id}", when={"city": "Rome"}),
)
LIST: dict[str, Any] = {"L": []}
ROME, OSLO, BONN = ({"S": name} for name in ("Rome", "Oslo", "Bonn"))


def shown(mirrored: Any) -> set[bytes]:
    """The entries in the cache."""
    return {key for key in keys_in(mirrored.cache, "*") if not key.startswith(b"dynamirror:")}


def changed(
    mirrored: Any, *versions: dict[str, Any], old: Any = None, age: float = 60
) -> list[Any]:
    """Put versions of one item into the table; gives the records, with old images."""
    records = []
    for new in versions:
        mirrored.source.put("1", **new)
        item = {"id": {"S": "1"}, **new}
        records.append(mirrored.record(item, old, age=age))
        old = item
    return records


@pytest.mark.parametrize(
    "specs", list(permutations(SPECS)), ids=lambda one: " ".join(s.name for s in one)
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_view_that_cannot_key_an_item_silences_no_other_view(
    mirror: Any, monkeypatch: pytest.MonkeyPatch, specs: Any, *, at_once: bool
) -> None:
    monkeypatch.setattr(rows, "CONSISTENT_MARGIN", 0)  # one clock for all
    mirrored = mirror(*specs)
    first, second = changed(
        mirrored, {"tag": {"S": "a"}, "city": ROME}, {"tag": LIST, "city": OSLO}
    )
    if at_once:
        mirrored.deliver(first, second)
    else:
        mirrored.deliver(first)
        assert shown(mirrored) == {b"tag:a:1", b"city:Rome:1", b"open:1"}
        mirrored.deliver(second)
    assert shown(mirrored) == {b"city:Oslo:1"}
    (item,) = mirrored.read_quarantine()
    assert item.note.reason.startswith("view tag: ")
    (one,) = mirrored.redrive()
    assert one.outcome is Outcome.POISON
    assert one.reason.startswith("view tag: ")
    old = second["dynamodb"]["NewImage"]
    (third,) = changed(mirrored, {"tag": {"S": "b"}, "city": BONN}, old=old, age=0)
    mirrored.deliver(third)
    assert shown(mirrored) == {b"tag:b:1", b"city:Bonn:1"}
    assert [one.outcome for one in mirrored.redrive()] == [Outcome.HEALED]
    assert mirrored.read_quarantine() == []
    assert shown(mirrored) == {b"tag:b:1", b"city:Bonn:1"}
    assert mirrored.compare().differences == 0


def test_a_record_that_several_views_cannot_write_is_parked_once_with_every_reason(
    mirror: Any,
) -> None:
    mirrored = mirror(*SPECS, ViewSpec(name="all", key="all:{id}"))
    (one,) = changed(mirrored, {"tag": LIST, "city": LIST})
    one["dynamodb"]["NewImage"]["spoilt"] = {"X": "?"}
    mirrored.deliver(one)
    (item,) = mirrored.read_quarantine()
    assert item.note.count == 1
    for view in ("tag", "city", "all"):
        assert f"view {view}: " in item.note.reason


def test_an_entry_that_an_undecodable_record_left_under_an_old_key_is_gone_once_it_is_healed(
    mirror: Any,
) -> None:
    mirrored = mirror(*SPECS)
    first, second = changed(mirrored, {"city": ROME, "tag": {"S": "a"}}, {"city": OSLO})
    neighbour = mirrored.put("10", city=ROME, tag={"S": "a"})
    del second["eventName"]
    mirrored.deliver(first, second, neighbour)
    assert shown(mirrored) >= {b"tag:a:1", b"city:Rome:1", b"open:1"}
    key = f"dynamirror:{{{mirrored.table}}}:quarantine"
    (item,) = mirrored.read_quarantine()
    # It does not tell when it was made: let that be long ago.
    old = item.text.replace(str(item.note.created).encode(), b"1000")
    mirrored.cache.call(key, b"HSET", key, item.field, old)
    assert [one.outcome for one in mirrored.redrive()] == [Outcome.HEALED]
    assert shown(mirrored) == {b"city:Oslo:1", b"tag:a:10", b"city:Rome:10", b"open:10"}
    assert mirrored.compare().differences == 0
