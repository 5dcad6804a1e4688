"""Key conditions of a query: boto3's objects, as a range of an index and as DynamoDB has them."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from boto3.dynamodb.conditions import ConditionBase, ConditionExpressionBuilder, Key
from botocore.exceptions import ClientError

from dynamirror.dynamodb.keys import on_the_wire
from dynamirror.reader.refusals import check_key, check_number, refusal
from dynamirror.reader.values import attribute_of
from dynamirror.records.attribute_value import AttributeValue, Item
from dynamirror.records.key_codec import sort_bytes
from dynamirror.views.view import Schema

# Operator to how DynamoDB writes it.
_FORMS: Mapping[str, str] = {
    **{sign: f"#s {sign} :a" for sign in ("=", "<", "<=", ">", ">=")},
    "BETWEEN": "#s BETWEEN :a AND :b",
    "begins_with": "begins_with(#s, :a)",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range.

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

    low: Bound | None = None
    high: Bound | None = None

    def holds(self, member: bytes) -> bool:
        """Return whether a member is in it."""
        low, high = self.low, self.high
        above = low is None or member > low.member or (low.inside and member == low.member)
        below = high is None or member < high.member or (high.inside and member == high.member)
        return above and below

    def after(self, member: bytes, *, forward: bool) -> "Range":
        """Return the part of the range after a member, in the direction of reading."""
        edge = Bound(member, inside=False)
        if forward:
            return self if self.low and self.low.member > member else Range(edge, self.high)
        return self if self.high and self.high.member < member else Range(self.low, edge)

    def words(self, *, forward: bool) -> tuple[bytes, ...]:
        """Return the words of ZRANGE that select the range."""
        low = bytes(self.low) if self.low else b"-"
        high = bytes(self.high) if self.high else b"+"
        return (low, high, b"BYLEX") if forward else (high, low, b"BYLEX", b"REV")


@dataclass(frozen=True, slots=True)
class KeyCondition:
    """A condition on the primary key of one partition's items.

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
        """Return the attributes that all the items share."""
        return {self.schema.keys[0]: self.partition}

    def range(self) -> Range:
        """Return the range of the partition's index."""
        edges = [sort_bytes(operand) for operand in self.operands]
        match self.operator:
            case "":
                return Range()
            case "=":
                return Range(Bound(edges[0], inside=True), Bound(edges[0], inside=True))
            case "BETWEEN":
                return Range(Bound(edges[0], inside=True), Bound(edges[1], inside=True))
            case "begins_with":
                above = _next(edges[0])
                high = None if above is None else Bound(above, inside=False)
                return Range(Bound(edges[0], inside=True), high)
            case "<" | "<=":
                return Range(high=Bound(edges[0], inside=self.operator == "<="))
            case _:
                return Range(low=Bound(edges[0], inside=self.operator == ">="))

    def expression(self) -> dict[str, Any]:
        """Return the arguments of boto3's low-level `query`."""
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


class _Part(NamedTuple):
    """A condition on one attribute."""

    name: str
    operator: str
    operands: tuple[AttributeValue, ...]


def parse(condition: object, schema: Schema) -> KeyCondition:
    """Read a condition on a table's primary key, such as `Key("pk").eq(1) & Key("sk").gt(2)`.

    Raises:
        ClientError: DynamoDB would refuse it.
        DynamoDBNeedsKeyConditionError: it is on an `Attr`; boto3 refuses that.
        TypeError: it is none of boto3's objects, or DynamoDB has no such values.
        ValueError: a text is not valid Unicode.
    """
    if not isinstance(condition, ConditionBase):
        raise TypeError(
            'KeyConditionExpression must be built with boto3\'s Key, as in Key("pk").eq("a")'
        )
    parts = _parts(condition)
    for part in parts:
        _check_operands(part)
    given = {part.name: part for part in parts}
    if len(given) < len(parts):
        raise _refusal("KeyConditionExpressions must only contain one condition per key")
    if len(parts) > len(schema.keys):
        raise _refusal(
            f"The number of query conditions ({len(parts)}) exceeds the number of key attributes "
            f"defined in the schema ({len(schema.keys)})"
        )
    for name in schema.keys[: len(parts)]:
        if name not in given:
            raise _refusal(f"Query condition missed key schema element: {name}")
    for place, name in enumerate(schema.keys[: len(parts)]):
        _check_fit(given[name], schema.types[place], place)
    partition = given[schema.keys[0]]
    if partition.operator != "=":
        raise _refusal("Query key condition not supported")
    sort = given.get(schema.keys[-1]) if len(parts) > 1 else None
    return KeyCondition(
        schema,
        partition.operands[0],
        sort.operator if sort else "",
        sort.operands if sort else (),
    )


def _parts(condition: ConditionBase) -> list[_Part]:
    built: Any = condition.get_expression()
    operator, values = built["operator"], built["values"]
    if operator == "AND":
        return [part for inner in values for part in _parts(inner)]
    if operator in ("OR", "NOT"):
        raise _refusal(f"Invalid operator used in KeyConditionExpression: {operator}")
    if not isinstance(values[0], Key):
        ConditionExpressionBuilder().build_expression(condition, is_key_condition=True)  # refuses
    return [_Part(values[0].name, operator, tuple(map(attribute_of, values[1:])))]


def _check_operands(part: _Part) -> None:
    """Refuse what DynamoDB refuses before it looks at the table."""
    tags = [tag for operand in part.operands for tag in operand]
    for operand, tag in zip(part.operands, tags, strict=True):
        if tag == "N" and (reason := check_number(operand[tag])):
            raise _refusal(reason)
    if part.operator == "begins_with" and tags[0] not in ("S", "B"):
        raise _refusal(
            "Invalid KeyConditionExpression: Incorrect operand type for operator or function; "
            f"operator or function: begins_with, operand type: {tags[0]}"
        )
    if part.operator == "BETWEEN":
        low, high = part.operands
        bounds = (
            f"lower bound operand: AttributeValue: {_shown(low)}, "
            f"upper bound operand: AttributeValue: {_shown(high)}"
        )
        requires = "Invalid KeyConditionExpression: The BETWEEN operator requires"
        if tags[0] != tags[1]:
            raise _refusal(f"{requires} same data type for lower and upper bounds; {bounds}")
        if tags[0] in ("S", "N", "B") and sort_bytes(low) > sort_bytes(high):
            raise _refusal(
                f"{requires} upper bound to be greater than or equal to lower bound; {bounds}"
            )


def _check_fit(part: _Part, tag: str, place: int) -> None:
    """Refuse operands that are no values of a key attribute."""
    for operand in part.operands:
        if tag not in operand:
            raise _refusal(
                "One or more parameter values were invalid: Condition parameter type does not "
                "match schema type"
            )
        if reason := check_key(part.name, operand, place):
            raise _refusal(reason)


def _shown(value: AttributeValue) -> str:
    ((tag, content),) = value.items()
    text = b64encode(content).decode() if isinstance(content, bytes) else content
    return f"{{{tag}:{text}}}"


def _refusal(message: str) -> ClientError:
    return refusal("Query", message)


def _next(prefix: bytes) -> bytes | None:
    """Return the first bytes after all with this prefix; None if there are none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
