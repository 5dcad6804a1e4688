"""Random reads, in the form that requests to DynamoDB have on the wire, and tables to read.

Of what the emulator is known to answer otherwise than DynamoDB, the reads here have nothing; see
`generated_expressions` for expressions. What it answers otherwise besides: it counts a page's items
of a COUNT as any other, but it charges a consistent read for what an index is asked.
"""

from json import dumps, loads
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.generated_expressions import (
    ORDERED,
    Expressions,
    Value,
    item,
    ordered,
    settled_item,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PARTITIONS = ("p", "q", "a-b_c.d%{}")
_TOGETHER = ("a", "b", "ab", "abc", "é", "€", "0")


class Kind(NamedTuple):
    """A kind of table.

    Args:
        keys: the types of the primary key, by name.
        items: its items.
    """

    keys: dict[str, str]
    items: list[Value]


def kind(random: Random, sort: str | None, count: int) -> Kind:
    """Return a table with a sort key of a type, or without one."""
    keys = {"pk": "S"} if sort is None else {"pk": "S", "sk": sort}
    found: dict[str, Value] = {}
    for number in range(count):
        partition = f"{number}" if sort is None else random.choice(_PARTITIONS)
        key: Value = {"pk": {"S": partition}}
        if sort is not None:
            key["sk"] = _sort_value(random, sort)
        made = {**_readable(item(random)), **key}
        if random.random() < 0.8:
            made["group"] = {"S": random.choice("xyz")}
        if random.random() < 0.8:
            made["rank"] = {"N": str(random.randrange(9))}
        if random.random() < 0.3:
            made["expires"] = {"N": "1000"}
        found[repr(key)] = made
    return Kind(keys, list(found.values()))


def _readable(made: Value) -> Value:
    """Return an item without the numbers that boto3 cannot read as the emulator spells them."""
    text = dumps(made)
    for number in ("9.9E+125", "1E-130"):
        text = text.replace(f'"-{number}"', '"-3"').replace(f'"{number}"', '"3"')
    readable: Value = loads(text)
    return {name: _distinct(value) for name, value in readable.items()}


def _distinct(value: Any) -> Any:
    """Return a value without members that are twice in a set."""
    match value:
        case {"NS": numbers}:
            return {"NS": list(dict.fromkeys(numbers))}
        case dict():
            return {name: _distinct(part) for name, part in value.items()}
        case list():
            return [_distinct(part) for part in value]
        case _:
            return value


def _sort_value(random: Random, tag: str) -> Value:
    # Not empty, and of numbers none that the emulator finds by its spelling alone.
    if tag == "N":
        return {"N": str(random.choice([-100, -15, -1, 0, 1, 2, 10, 11, 99, 1000, 123456]))}
    while True:
        made = value(random, [tag])
        if made[tag]:
            return made


class Reads:
    """Makes reads of tables.

    Args:
        random: decides.
        tables: the tables by name.
        index: whether queries name the index `by-group` in some cases.
    """

    def __init__(self, random: Random, tables: dict[str, Kind], *, index: bool = False) -> None:
        self._random, self._tables, self._index = random, tables, index

    def read(self) -> tuple[str, Value]:
        """Return an operation and the body of its request."""
        makes: Sequence[Callable[[], tuple[str, Value]]] = (self.get, self.batch, self.query)
        return self._random.choices(makes, (2, 1, 5))[0]()

    def get(self) -> tuple[str, Value]:
        """Return a GetItem."""
        name, table = self._table()
        body = {"TableName": name, "Key": self._key(table), **self._selected(table)}
        return "GetItem", self._options(body)

    def batch(self) -> tuple[str, Value]:
        """Return a BatchGetItem of one to three tables."""
        random = self._random
        asked: Value = {}
        for name in random.sample(sorted(self._tables), random.randint(1, len(self._tables))):
            table = self._tables[name]
            keys = {repr(key): key for key in (self._key(table) for _ in range(4))}
            asked[name] = {"Keys": list(keys.values()), **self._selected(table)}
            if random.random() < 0.1:
                asked[name]["ConsistentRead"] = True
        body: Value = {"RequestItems": asked}
        if random.random() < 0.3:
            body["ReturnConsumedCapacity"] = random.choice(["TOTAL", "NONE"])
        return "BatchGetItem", body

    def query(self) -> tuple[str, Value]:
        """Return a Query."""
        random = self._random
        name, table = self._table()
        body: Value = {"TableName": name}
        keys, types = list(table.keys), list(table.keys.values())
        if self._index and random.random() < 0.3:
            body["IndexName"] = "by-group"
            keys, types = ["group", "rank"], ["S", "N"]
        if random.random() < 0.2:
            self._legacy(body, table, keys, types)
        else:
            self._expressions(body, table, keys, types)
        if random.random() < 0.5:
            body["ScanIndexForward"] = random.random() < 0.5
        if random.random() < 0.6:
            body["Limit"] = random.choice([1, 1, 2, 3, 5, 50])
        if random.random() < 0.2 and not body.keys() & {"ProjectionExpression", "AttributesToGet"}:
            body["Select"] = random.choice(["COUNT", "COUNT", "ALL_ATTRIBUTES"])
        return "Query", self._options(body)

    def _table(self) -> tuple[str, Kind]:
        name = self._random.choice(sorted(self._tables))
        return name, self._tables[name]

    def _key(self, table: Kind) -> Value:
        found = self._random.choice(table.items)
        key = {name: found[name] for name in table.keys}
        if self._random.random() < 0.2:
            key["pk"] = {"S": "absent"}
        return key

    def _selected(self, table: Kind) -> Value:
        random = self._random
        match random.randint(0, 5):
            case 0:
                return {"AttributesToGet": sorted({random.choice([*_some(table), "no"]), "n"})}
            case 1 | 2:
                made = Expressions(random, table.items)
                text = made.projection()
                names = {"ExpressionAttributeNames": made.names} if made.names else {}
                return {"ProjectionExpression": text, **names}
            case _:
                return {}

    def _options(self, body: Value) -> Value:
        random = self._random
        if random.random() < 0.05 and "IndexName" not in body:
            body["ConsistentRead"] = True
        if random.random() < 0.3:
            body["ReturnConsumedCapacity"] = random.choice(["TOTAL", "INDEXES", "NONE"])
        return body

    def _conditions(
        self, table: Kind, keys: list[str], types: list[str]
    ) -> tuple[Value, tuple[str, str, list[Value]] | None]:
        """Return a partition value, and the sort key's name, operator and operands."""
        random = self._random
        found = random.choice(table.items)
        partition = found.get(keys[0], {"S": "x"})
        if random.random() < 0.05:
            partition = {"S": "absent"}
        if len(keys) == 1 or random.random() < 0.4:
            return partition, None
        tag = types[1]

        def operand() -> Value:
            known: Value = random.choice(table.items).get(keys[1], {"N": "3"})
            return known if random.random() < 0.7 else _sort_value(random, tag)

        operators = ["=", "<", "<=", ">", ">=", "BETWEEN"]
        operator = random.choice([*operators, "begins_with"] if tag != "N" else operators)
        operands = [operand()]
        if operator == "BETWEEN":
            operands = sorted([operands[0], operand()], key=ordered)
        return partition, (keys[1], operator, operands)

    def _expressions(self, body: Value, table: Kind, keys: list[str], types: list[str]) -> None:
        random = self._random
        made = Expressions(random, table.items)
        partition, sort = self._conditions(table, keys, types)

        def name(text: str) -> str:
            if text not in ("group", "rank"):  # reserved words, both
                return made.name(text)
            made.names[f"#{text}"] = text
            return f"#{text}"

        parts = [f"{name(keys[0])} = {made.constant(partition)}"]
        if sort is not None:
            attribute, operator, operands = sort
            values = [made.constant(operand) for operand in operands]
            if operator == "BETWEEN":
                parts.append(f"{name(attribute)} BETWEEN {values[0]} AND {values[1]}")
            elif operator == "begins_with":
                parts.append(f"begins_with({name(attribute)}, {values[0]})")
            else:
                parts.append(f"{name(attribute)} {operator} {values[0]}")
        random.shuffle(parts)
        body["KeyConditionExpression"] = " AND ".join(parts)
        if random.random() < 0.5:
            body["FilterExpression"] = made.condition()
        if random.random() < 0.3:
            body["ProjectionExpression"] = made.projection()
            if random.random() < 0.3:
                body["Select"] = "SPECIFIC_ATTRIBUTES"
        body |= made.placeholders()

    def _legacy(self, body: Value, table: Kind, keys: list[str], types: list[str]) -> None:
        random = self._random
        partition, sort = self._conditions(table, keys, types)
        body["KeyConditions"] = {keys[0]: _condition("EQ", [partition])}
        if sort is not None:
            attribute, operator, operands = sort
            if operator == "begins_with" and "B" in operands[0]:
                operator = ">="  # as the emulator would compare the texts of base64
            body["KeyConditions"][attribute] = _condition(_LEGACY[operator], operands)
        if random.random() < 0.4:
            operator = random.choice(["EQ", "NE", "LT", "GE", "NULL", "NOT_NULL"])
            operands = [] if "NULL" in operator else [value(random, ORDERED)]
            body["QueryFilter"] = {random.choice(["n", "s", "a"]): _condition(operator, operands)}
        if random.random() < 0.3:
            body["AttributesToGet"] = sorted({random.choice(_some(table)), "n", "pk"})


_LEGACY = {
    "=": "EQ",
    "<": "LT",
    "<=": "LE",
    ">": "GT",
    ">=": "GE",
    "BETWEEN": "BETWEEN",
    "begins_with": "BEGINS_WITH",
}


def _condition(operator: str, operands: list[Value]) -> Value:
    return {"ComparisonOperator": operator, "AttributeValueList": operands}


def _some(table: Kind) -> list[str]:
    return sorted({name for found in table.items for name in found})


def settled_answer(operation: str, answer: Value) -> Value:
    """Return an answer so that those with the same meaning are equal."""
    settled = {name: part for name, part in answer.items() if name != "ConsumedCapacity"}
    if "Item" in answer:
        settled["Item"] = settled_item(answer["Item"])
    if "Items" in answer:
        settled["Items"] = list(map(settled_item, answer["Items"]))
    if operation == "BatchGetItem":
        settled["Responses"] = {
            name: sorted(map(settled_item, items), key=repr_of)
            for name, items in answer["Responses"].items()
        }
        settled["UnprocessedKeys"] = answer.get("UnprocessedKeys", {})
    return settled


def repr_of(value: Any) -> str:
    """Return a text that is equal for equal values, in whatever order they name their members."""
    match value:
        case dict():
            return repr(sorted((name, repr_of(part)) for name, part in value.items()))
        case list() | tuple():
            return repr(list(map(repr_of, value)))
        case set() | frozenset():
            return repr(sorted(map(repr_of, value)))
        case _:
            return repr(value)
