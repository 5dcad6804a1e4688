"""Key conditions of a query: boto3's objects, as a range of an index and as DynamoDB has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boto3.dynamodb.conditions import ConditionBase

from dynamirror.attributes import AttributeValue, Item, sort_bytes
from dynamirror.reader.values import key_attribute
from dynamirror.rows import on_the_wire
from dynamirror.view import Schema

# Operator to how DynamoDB writes it.
_FORMS: Mapping[str, str] = {
    **{sign: f"#s {sign} :a" for sign in ("=", "<", "<=", ">", ">=")},
    "BETWEEN": "#s BETWEEN :a AND :b",
    "begins_with": "begins_with(#s, :a)",
}


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a range ends.

    Args:
        member: the last that may be in it.
        inside: whether it is.
    """

    member: bytes
    inside: bool

    def __bytes__(self) -> bytes:
        return (b"[" if self.inside else b"(") + self.member


@dataclass(frozen=True, slots=True)
class Range:
    """A part of an index.

    Args:
        low: its lower edge; None for none.
        high: its upper edge; None for none.
    """

    low: Edge | None = None
    high: Edge | None = None

    def after(self, member: bytes, *, forward: bool) -> "Range":
        """What is left of it behind a member, in the direction of reading."""
        edge = Edge(member, inside=False)
        if forward:
            return self if self.low and self.low.member > member else Range(edge, self.high)
        return self if self.high and self.high.member < member else Range(self.low, edge)

    def words(self, *, forward: bool) -> tuple[bytes, ...]:
        """The words of ZRANGE that select it."""
        low = bytes(self.low) if self.low else b"-"
        high = bytes(self.high) if self.high else b"+"
        return (low, high, b"BYLEX") if forward else (high, low, b"BYLEX", b"REV")


@dataclass(frozen=True, slots=True)
class KeyCondition:
    """Which items of one partition a query is for.

    Args:
        schema: the table.
        partition: the partition key.
        operator: of the condition on the sort key; empty for none.
        operands: of that.
    """

    schema: Schema
    partition: AttributeValue
    operator: str = ""
    operands: tuple[AttributeValue, ...] = ()

    @property
    def item(self) -> Item:
        """What is known of all the items."""
        return {self.schema.keys[0]: self.partition}

    def range(self) -> Range:
        """The part of the partition's index.

        Raises:
            RecordError: an operand cannot be a sort key.
        """
        edges = [sort_bytes(operand) for operand in self.operands]
        match self.operator:
            case "":
                return Range()
            case "=":
                return Range(Edge(edges[0], inside=True), Edge(edges[0], inside=True))
            case "BETWEEN":
                return Range(Edge(edges[0], inside=True), Edge(edges[1], inside=True))
            case "begins_with":
                above = _next(edges[0])
                high = None if above is None else Edge(above, inside=False)
                return Range(Edge(edges[0], inside=True), high)
            case "<" | "<=":
                return Range(high=Edge(edges[0], inside=self.operator == "<="))
            case _:
                return Range(low=Edge(edges[0], inside=self.operator == ">="))

    def expression(self) -> dict[str, Any]:
        """The arguments of boto3's low-level `query`."""
        names = {"#p": self.schema.keys[0]}
        values = {":p": self.partition, **dict(zip((":a", ":b"), self.operands, strict=False))}
        text = "#p = :p"
        if self.operator:
            names["#s"] = self.schema.keys[1]
            text += f" AND {_FORMS[self.operator]}"
        return {
            "KeyConditionExpression": text,
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": on_the_wire(values),
        }


def parse(condition: object, schema: Schema) -> KeyCondition:
    """Read a condition on a table's primary key, such as `Key("pk").eq(1) & Key("sk").gt(2)`.

    Raises:
        TypeError: it is none of boto3's objects, or a value cannot stand in a key.
        ValueError: DynamoDB would not take it as a key condition.
    """
    if not isinstance(condition, ConditionBase):
        raise TypeError(
            'KeyConditionExpression must be built with boto3\'s Key, as in Key("pk").eq("a")'
        )
    partition: AttributeValue | None = None
    sort: tuple[str, tuple[AttributeValue, ...]] = ("", ())
    for name, operator, operands in _parts(condition):
        if name == schema.keys[0] and operator == "=" and partition is None:
            (partition,) = _typed(operands, name, schema)
        elif name in schema.keys[1:] and not sort[0] and operator in _FORMS:
            sort = operator, _typed(operands, name, schema)
        else:
            raise ValueError(f"{name} {operator}: not in a key condition of table {schema.table}")
    if partition is None:
        raise ValueError(f"a key condition of table {schema.table} says what {schema.keys[0]} is")
    operator, operands = sort
    if operator == "BETWEEN" and sort_bytes(operands[0]) > sort_bytes(operands[1]):
        raise ValueError("BETWEEN: the first value must not be beyond the second")
    if operator == "begins_with" and schema.types[1] == "N":
        raise ValueError("begins_with does not go with a number")
    return KeyCondition(schema, partition, operator, operands)


def _parts(condition: ConditionBase) -> list[tuple[str, str, tuple[Any, ...]]]:
    built: Any = condition.get_expression()
    operator, values = built["operator"], built["values"]
    if operator == "AND":
        return [part for inner in values for part in _parts(inner)]
    name = getattr(values[0], "name", None)
    return [(name or "a condition", operator, tuple(values[1:]))]


def _typed(operands: tuple[Any, ...], name: str, schema: Schema) -> tuple[AttributeValue, ...]:
    tag = schema.types[schema.keys.index(name)]
    values = tuple(key_attribute(operand) for operand in operands)
    for value in values:
        if tag not in value:
            (other,) = value
            raise ValueError(f"{name} of table {schema.table} is of type {tag}, not {other}")
    return values


def _next(prefix: bytes) -> bytes | None:
    """The first bytes behind all that begin with these; None if nothing can be."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
