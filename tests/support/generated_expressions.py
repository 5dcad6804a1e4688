"""Random items and expressions, in the form that requests to DynamoDB have on the wire.

Cases in which the emulator is known to differ from DynamoDB are left out here; the tests of
expressions state them one by one, with DynamoDB's documentation as the source:

- Two missing attributes are equal for it (`a = b`), and never in DynamoDB.
- `begins_with` on an attribute of another type is refused by it, and false in DynamoDB.
- `contains` of binary in binary is false for it, and numbers in sets are compared as texts.
- `size` of a number, a boolean or null is 0 for it, and missing in DynamoDB.
- The legacy CONTAINS and BEGINS_WITH convert every type to text, and CONTAINS of binary compares
  base64 texts; NOT_CONTAINS is true of a missing attribute; ConditionalOperator is ignored.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from decimal import Decimal
from http.client import HTTPConnection, HTTPException
from json import dumps, loads
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlsplit

Value = dict[str, Any]


class Partition(NamedTuple):
    """The items of the partition `p` of the table `expressions`, in order."""

    requests: "Requests"
    items: list[Value]


TYPES = ("S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M")
ORDERED = ("S", "N", "B")
# Attribute to the types that it may have; each is missing from some items.
ATTRIBUTES = {
    "a": TYPES,
    "b": TYPES,
    "n": ("N",),
    "s": ("S",),
    "bin": ("B",),
    "sized": ("S", "B", "SS", "NS", "BS", "L", "M"),
    "part": ("S", "SS", "BS", "L", "BOOL", "N"),
    "deep": ("M",),
    "listed": ("L",),
}
_TEXTS = (
    *("", "a", "ab", "abc", "b", "ba", "Z", "1", "10"),
    *("é", "aé", "\u20ac", "\ufffd", "\U0001d11e"),
)
_NUMBERS = (
    *("0", "1", "-1", "2", "10", "1.5", "-1.5", "1E-130", "9.9E+125", "-9.9E+125", "0.1", "0.10"),
    *("1.0", "1E+2", "100", "99999999999999999999999999999999999999", "0.30000000000000004"),
    *("99999999999999999999999999999999999998", "1.0000000000000000000000000000000000001"),
)
_BYTES = (b"a", b"ab", b"\x00", b"\x7f", b"\x80", b"\xff", b"\xff\xff", b"abc")
_BINARIES = [b64encode(each).decode() for each in _BYTES]
_NAMES = ("x", "y", "z")


class Requests:
    """Requests to the emulator, as botocore sends them."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc)

    def call(self, operation: str, body: Value) -> tuple[int, Any]:
        """Return the status and the body of the answer."""
        headers = {
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/dynamodb/x",
        }
        try:
            return self._exchange(body, headers)
        except (ConnectionError, HTTPException):  # the emulator ends a connection that was idle
            self._connection.close()
            return self._exchange(body, headers)

    def _exchange(self, body: Value, headers: dict[str, str]) -> tuple[int, Any]:
        self._connection.request("POST", "/", dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, loads(answer.read())

    def close(self) -> None:
        self._connection.close()


def value(random: Random, tags: Sequence[str], depth: int = 2) -> Value:
    """Return a value of one of these types."""
    tag = random.choice(tags)
    inner = TYPES if depth else ("S", "N", "BOOL")

    def member() -> Value:
        return value(random, inner, max(0, depth - 1))

    makes: dict[str, Callable[[], Any]] = {
        "S": lambda: random.choice(_TEXTS),
        "N": lambda: random.choice(_NUMBERS),
        "B": lambda: random.choice(_BINARIES),
        "BOOL": lambda: random.random() < 0.5,
        "NULL": lambda: True,
        "SS": lambda: random.sample(_TEXTS[1:], random.randint(1, 3)),
        "NS": lambda: random.sample(_DISTINCT, random.randint(1, 3)),
        "BS": lambda: random.sample(_BINARIES, random.randint(1, 3)),
        "L": lambda: [member() for _ in range(random.randint(0, 3))],
        "M": lambda: {name: member() for name in random.sample(_NAMES, random.randint(0, 3))},
    }
    return {tag: makes[tag]()}


_DISTINCT = [number for number in _NUMBERS if number not in ("1.0", "0.10", "1E+2")]


def item(random: Random) -> Value:
    """Return an item without its key."""
    found = {
        name: value(random, tags) for name, tags in ATTRIBUTES.items() if random.random() < 0.75
    }
    return {**found, "always": value(random, TYPES), "figure": value(random, ["N"])}


def settled(value: Value) -> Any:
    """Return the value with sets in order, so that equal values are equal."""
    ((tag, content),) = value.items()
    match tag:
        case "SS" | "NS" | "BS":
            return tag, sorted(content)
        case "L":
            return tag, [settled(member) for member in content]
        case "M":
            return tag, settled_item(content)
        case _:
            return tag, content


def settled_item(item: Value) -> Value:
    """Return the item with sets in order."""
    return {name: settled(member) for name, member in item.items()}


class Expressions:
    """Makes expressions, with the names and values that they use.

    Args:
        random: decides.
        items: whose values are used as constants, so that conditions are often met.
    """

    def __init__(self, random: Random, items: Sequence[Value]) -> None:
        self._random = random
        self._items = items
        self.names: dict[str, str] = {}
        self.values: dict[str, Value] = {}

    def placeholders(self) -> Value:
        """Return the arguments that a request has beside its expressions."""
        names = {"ExpressionAttributeNames": self.names} if self.names else {}
        values = {"ExpressionAttributeValues": self.values} if self.values else {}
        return {**names, **values}

    def name(self, name: str) -> str:
        """Return an attribute's name, or a placeholder of it."""
        if self._random.random() < 0.6:
            return name
        placeholder = f"#{name}{self._random.randint(0, 1)}"
        self.names[placeholder] = name
        return placeholder

    def constant(self, value: Value) -> str:
        """Return a placeholder of a value."""
        placeholder = f":v{len(self.values)}"
        self.values[placeholder] = value
        return placeholder

    def some(self, name: str, tags: Sequence[str]) -> Value:
        """Return a value of these types that an item has in an attribute, or another one."""
        found: Value | None = self._random.choice(self._items).get(name)
        if found and self._random.random() < 0.7 and next(iter(found)) in tags:
            return found
        return value(self._random, tags)

    def path(self) -> str:
        """Return a path of any depth."""
        random = self._random
        if random.random() < 0.6:
            return self.name(random.choice(list(ATTRIBUTES)))
        text = self.name(random.choice(["deep", "listed", "a", "b"]))
        for _ in range(random.randint(1, 3)):
            index, name = f"[{random.randint(0, 3)}]", random.choice(_NAMES)
            text += index if random.random() < 0.4 else f".{self.name(name)}"
        return text

    def test(self) -> str:
        """Return one comparison or function."""
        kinds = (
            *(self._equality, self._equality, self._order, self._of_constant, self._of_paths),
            *(self._between, self._among, self._existence, self._type, self._part, self._size),
        )
        return self._random.choice(kinds)()

    def _sign(self) -> str:
        return self._random.choice(["=", "<>", "<", "<=", ">", ">="])

    def _equality(self) -> str:
        path, sign = self.path(), self._random.choice(["=", "<>"])
        return f"{path} {sign} {self.constant(self.some(self.names.get(path, path), TYPES))}"

    def _order(self) -> str:
        path, sign = self.path(), self._random.choice(["<", "<=", ">", ">="])
        return f"{path}{sign}{self.constant(self.some(self.names.get(path, path), ORDERED))}"

    def _of_constant(self) -> str:
        return f"{self.constant(self.some('n', ['N']))} {self._sign()} {self.path()}"

    def _of_paths(self) -> str:
        # of which one is never missing
        return (
            f"{self.path()} {self._sign()} {self.name(self._random.choice(['always', 'figure']))}"
        )

    def _among(self) -> str:
        path = self.path()
        values = [self.some(self.names.get(path, path), TYPES) for _ in range(3)]
        return f"{path} IN ({', '.join(map(self.constant, values))})"

    def _existence(self) -> str:
        function = self._random.choice(["attribute_exists", "attribute_not_exists"])
        return f"{function}({self.path()})"

    def _type(self) -> str:
        return f"attribute_type({self.path()}, {self.constant({'S': self._random.choice(TYPES)})})"

    def _size(self) -> str:
        size = self.constant({"N": str(self._random.randint(0, 4))})
        return f"size({self.name('sized')}) {self._sign()} {size}"

    def _between(self) -> str:
        path, tag = self.path(), self._random.choice(ORDERED)
        bounds = sorted((value(self._random, [tag]) for _ in range(2)), key=ordered)
        if tag == "S":
            # UTF-16 has another order for some; a request with them is left to DynamoDB.
            bounds = [bound for bound in bounds if "\U0001d11e" not in bound["S"]] or [{"S": "a"}]
        low, high = self.constant(bounds[0]), self.constant(bounds[-1])
        return f"{path} BETWEEN {low} AND {high}"

    def _part(self) -> str:
        random = self._random
        kind = random.randint(0, 3)
        if kind == 0:
            start = self.constant({"S": random.choice(_TEXTS[1:])})
            return f"begins_with({self.name('s')}, {start})"
        if kind == 1:
            start = self.constant({"B": random.choice(_BINARIES)})
            return f"begins_with({self.name('bin')}, {start})"
        element = value(random, ["S", "S", "B", "BOOL", "SS", "L", "NULL"])
        if element == {"S": ""}:
            element = {"S": "a"}
        return f"contains({self.name('part')}, {self.constant(element)})"

    def condition(self, depth: int = 2) -> str:
        """Return a condition."""
        random = self._random
        if not depth or random.random() < 0.3:
            return self.test()
        match random.randint(0, 3):
            case 0:
                return f"NOT {self._inside(depth)}"
            case 1 | 2:
                parts = [self._inside(depth) for _ in range(random.randint(2, 3))]
                return random.choice([" AND ", " OR ", " and ", " oR "]).join(parts)
            case _:
                # precedence decides
                parts = [self.test() for _ in range(3)]
                return f"{parts[0]} OR {parts[1]} AND NOT {parts[2]}"

    def _inside(self, depth: int) -> str:
        inner = self.condition(depth - 1)
        is_joined = " AND " in inner.upper() or " OR " in inner.upper()
        return f"({inner})" if is_joined or inner.startswith("NOT") else inner

    def projection(self) -> str:
        """Return a projection, whose paths may overlap or conflict."""
        return ", ".join(self.path() for _ in range(self._random.randint(1, 4)))


def ordered(value: Value) -> Any:
    """Return what sorts values of one type in DynamoDB's order, written down independently."""
    ((tag, content),) = value.items()
    return {"S": str.encode, "N": Decimal, "B": b64decode}[tag](content)  # type: ignore[operator]
