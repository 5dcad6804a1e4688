"""What the table of a demo is filled with, and what is written to it."""

from dataclasses import dataclass
from typing import Any

from dynamirror.counted import counted
from dynamirror.demo.dataset import load_dataset
from dynamirror.demo.example import Example, expiry_attributes, load_example, table_of
from dynamirror.settings import load_tables, load_views
from dynamirror.views.view import Schema, ViewSpec

MOST_SAMPLES = 5
# As the simulator writes them.
SIMULATED: tuple[dict[str, Any], ...] = tuple(
    {"id": {"S": str(number)}, "name": {"S": "Ada"}, "timestamp": {"S": ""}}
    for number in range(1, MOST_SAMPLES + 1)
)


@dataclass(frozen=True, slots=True)
class Contents:
    """A demo's table.

    Args:
        specs: the views.
        schema: the table's schema.
        items: items to fill the table with.
        example: the items that random changes resemble; None for those of the simulator.
        loaded: the file's name with its number of items and their key; None without a file.
    """

    specs: tuple[ViewSpec, ...]
    schema: Schema
    items: list[dict[str, Any]]
    example: Example | None = None
    loaded: str | None = None

    @property
    def samples(self) -> list[dict[str, Any]]:
        """Return items as they are written to the table."""
        return self.example.items if self.example else list(SIMULATED)


def read_contents(
    view: str | None,
    load: str | None = None,
    key: str | None = None,
    *,
    ids: int,
    table: str | None = None,
) -> Contents:
    """Return the contents of a demo's table.

    With a file to load, random changes resemble its items where the simulator's would not fit: with
    views of their own, or with another key than `id`. The items beside the views are not used.

    Args:
        view: path of a `mirror.toml`; None for the default view.
        load: path of a file to fill the table from; None for none.
        key: the attribute of that file that identifies an item, or two, as in `pk,sk`.
        ids: the number of items of the file to change.
        table: the table of several in the `mirror.toml`; None for the only one.

    Raises:
        ConfigError: a file or the key is wrong.
    """
    specs = load_views(view)
    if load is None:
        example = load_example(view, table)
        if example is None:
            return Contents(specs, table_of(view, ()).schema, [])
        return Contents(specs, example.schema, example.items, example)
    dataset = load_dataset(load, table_of(view, load_tables(view)).schema, key)
    loaded = f"{load}: {counted(len(dataset.items), 'items')}, the key is {dataset.key}"
    example = None
    if view is not None or dataset.schema.keys != ("id",):
        step = max(1, len(dataset.items) // ids)
        example = Example(dataset.schema, dataset.items[::step][:ids], expiry_attributes(specs))
    return Contents(specs, dataset.schema, dataset.items, example, loaded)
