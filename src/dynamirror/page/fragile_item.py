"""An item that nobody else writes, so that damage to its entry stays."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import time

from dynamirror.demo.demo import Demo
from dynamirror.errors import DynamirrorError, RecordError
from dynamirror.records.attribute_value import Item

_KEY_VALUES = {"S": "fragile", "N": "-1", "B": "ZnJhZ2lsZQ=="}
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class FragileItem:
    """An item and the key of its entry."""

    item: Item
    canary_key: str


def make_fragile_item(demo: Demo) -> FragileItem:
    """Derive an item with an entry from the demo's samples, and return it.

    Raises:
        DynamirrorError: no view has an entry for such an item.
    """
    partition, tag = demo.schema.keys[0], demo.schema.types[0]
    tomorrow = {"N": str(int(time()) + _DAY)}
    for sample in demo.samples:
        item = {**sample, partition: {tag: _KEY_VALUES[tag]}}
        item |= dict.fromkeys(demo.expiring & item.keys(), tomorrow)
        for key in _entry_keys(demo, item):
            return FragileItem(item, key)
    raise DynamirrorError(
        "no entry to damage: no view selects a copy of a sample item with a key of its own"
    )


def _entry_keys(demo: Demo, item: Item) -> Iterator[str]:
    for view in demo.views:
        try:
            key = view.render(item)
            expires = view.expires(item)
            lasts = expires is None or expires > time()
            if key is not None and lasts and view.encode(item) is not None:
                yield key
        except RecordError:
            continue
