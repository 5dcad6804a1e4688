"""Views in words, with the entries that an item makes and what they cost."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from dynamirror.errors import RecordError
from dynamirror.records.attribute_value import Item, utf8
from dynamirror.records.version import ChangeVersion, SnapshotVersion
from dynamirror.views.board import Board
from dynamirror.views.collection import Collection
from dynamirror.views.condition import Combined, Condition, Test
from dynamirror.views.encoding import ValueType, unpack_fields
from dynamirror.views.entry import Put, entry_of_row
from dynamirror.views.index import Index
from dynamirror.views.keyspace import SERVERLESS_KEY_BYTES, fence_key
from dynamirror.views.view import View, ViewSpec

_ENCODINGS = {
    "json": "JSON text",
    "dynamodb-json": "DynamoDB JSON text",
    "hash": "a hash with a field for each attribute",
    "attribute": "the bare value of {}",
}
# As long as every fence of a change is.
_FENCE = len(str(ChangeVersion(epoch=0, sequence=0, created=0)))


@dataclass(frozen=True, slots=True)
class Sample:
    """The entry that one item makes, and what it takes in the cache, in bytes without overhead.

    Args:
        key: of the entry.
        value: what it holds.
        expires: when it expires, in seconds since 1970; None for never.
        cost: of the key, the value, the fence with its key, and the index's member.
    """

    key: str
    value: str
    expires: int | None
    cost: dict[str, int]


def in_words(spec: ViewSpec, view: View) -> Iterator[str]:
    """Describe a view in sentences.

    Args:
        spec: as it was written.
        view: bound to its table.
    """
    items = "every item" if view.when is None else f"items where {condition(view.when)}"
    shape = _ENCODINGS[view.encoding.name].format(", ".join(view.encoding.attributes or ()))
    yield f"for {items} of table {view.schema.table}"
    yield f"key {view.template.text} holds {shape}"
    if spec.projection.include is not None:
        kept = spec.order.completed(spec.projection, view.schema.keys).include
        yield f"only {_listed(kept or ())}"
    if spec.projection.exclude:
        yield f"without {_listed(spec.projection.exclude)}"
    for old, new in spec.projection.rename.items():
        yield f"{old} is called {new}"
    for name, value in spec.projection.constants.items():
        yield f"{name} is always {value['N'] if 'N' in value else _constant(*value.values())}"
    if spec.ttl:
        yield f"an entry expires at {spec.ttl}, in seconds since 1970"
    yield from _order(spec, view)
    yield from _cautions(view)


def _order(spec: ViewSpec, view: View) -> Iterator[str]:
    match view.members:
        case Collection(partition_name=partition, sort_name=sort):
            yield f"the entries of one {partition} can be read in the order of {sort}"
        case Index(partition_name=partition, sort_name=sort):
            order = f" in the order of {sort}" if sort else ""
            lacking = " or ".join(name for name in (partition, sort) if name)
            yield (
                f"a query with IndexName {view.name} finds the entries of one {partition}{order}; "
                f"an item without {lacking} is not in it"
            )
            if view.encoding.name != "dynamodb-json":
                yield (
                    f"its encoding {view.encoding.name} does not keep all of an item, so queries "
                    'of it are passed on; encoding = "dynamodb-json" is exact'
                )
        case Board(partition_name=partition):
            of = f"of one {partition}" if partition else "of the whole table"
            yield (
                f"the entries {of} stand in a sorted set by {spec.score}, as a double: two numbers "
                "that differ behind the 15th digit may share a score"
            )
            if partition is None:
                yield (
                    "all its keys are in one hash slot, so one node of a cluster takes all its "
                    "writes; name a partition in `index` if that is too many"
                )


def _cautions(view: View) -> Iterator[str]:
    if view.needs_old_image:
        yield "its key can change, so the stream must be NEW_AND_OLD_IMAGES"
    if not view.owns_its_keys:
        yield (
            "its keys have no prefix of their own, so orphaned entries are found, but not deleted"
        )
    schema = view.schema
    most = view.template.longest_key(
        schema.keys, dict(zip(schema.keys, schema.types, strict=False))
    )
    allowed = SERVERLESS_KEY_BYTES - view.template.fence_bytes
    if most is None or most > allowed:
        length = "any length" if most is None else f"up to {most:,} bytes"
        yield (
            f"a key can have {length}, and in ElastiCache Serverless no more than {allowed:,} "
            "bytes, because the fence's key must fit: an item with a longer one is quarantined"
        )


def too_long_keys(view: View, items: Iterable[Item]) -> str | None:
    """Return a sentence about items whose keys ElastiCache Serverless refuses; None for none."""
    allowed = SERVERLESS_KEY_BYTES - view.template.fence_bytes
    lengths = []
    for item in items:
        with suppress(RecordError):
            if (key := view.render(item)) is not None:
                lengths.append(len(utf8(key)))
    longer = [length for length in lengths if length > allowed]
    if not longer:
        return None
    return (
        f"warning: {len(longer):,} of {len(lengths):,} items have a key that is too long for "
        f"ElastiCache Serverless, the longest with {max(longer):,} bytes"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def condition(one: Condition) -> str:
    """Describe a condition in words."""
    match one:
        case Combined(parts=parts, together=together):
            word = " or " if together is any else " and "
            texts = [
                f"({condition(part)})" if isinstance(part, Combined) else condition(part)
                for part in parts
            ]
            return word.join(texts)
        case Test(name=name, operator="exists", operand=wanted):
            return f"{name} exists" if wanted else f"{name} does not exist"
        case Test(name=name, operator="in", operand=operands):
            return f"{name} is one of {', '.join(_constant(each) for each in operands)}"
        case Test(name=name, operator=operator, operand=operand):
            word = {"equals": "is", "prefix": "begins with"}.get(operator, operator)
            return f"{name} {word} {_constant(operand)}"
        case _:
            return str(one)


def _constant(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value).lower()


def sample(view: View, items: Iterable[Item]) -> Sample | None:
    """Return the entry of the first item that has one; None if none has."""
    for item in items:
        try:
            put = entry_of_row(view, item, item, SnapshotVersion(0))
            value = view.encode(item) if isinstance(put, Put) else None
        except RecordError:
            continue
        if put is not None and value is not None:
            return _sample(view, put.key, value, item)
    return None


def _sample(view: View, key: str, value: bytes, item: Item) -> Sample:
    text, size = value.decode(errors="backslashreplace"), len(value)
    if view.encoding.layout is ValueType.HASH:
        parts = unpack_fields(value)
        text = " ".join(part.decode(errors="backslashreplace") for part in parts)
        size = sum(map(len, parts))
    cost = {"key": len(utf8(key)), "value": size, "fence": len(utf8(fence_key(key))) + _FENCE}
    if view.members:
        cost["index member"] = len(view.members.member(item))
    return Sample(key, text, view.expires(item), cost)
