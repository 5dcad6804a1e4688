"""The grammar of conditions and projections: from text to a syntax tree.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ProjectionExpressions.html

Of the published parsers, lark takes 220 ms to import and to read such a grammar, more than all of
botocore, and parsimonious brings a C extension of its own; neither knows DynamoDB's limits. Left
out on purpose, as DynamoDB then answers by itself: operands in parentheses and spaces in paths.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from dynamirror.errors import NotUnderstoodError
from dynamirror.expressions.reserved_words import RESERVED_WORDS

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
_MOST_BYTES: Final = 4096
_MOST_OPERATORS: Final = 300
_LONGEST_PLACEHOLDER: Final = 255
# Of paths by the documentation. Of parentheses only here, as items run through them by recursion.
_MOST_LEVELS: Final = 32
# 100 by the documentation, but DynamoDB counts the operand before IN as well.
_MOST_CANDIDATES: Final = 99

# Function to its number of operands; `size` is an operand itself.
FUNCTIONS: Final = {
    "attribute_exists": 1,
    "attribute_not_exists": 1,
    "attribute_type": 2,
    "begins_with": 2,
    "contains": 2,
}
COMPARATORS: Final = frozenset({"=", "<>", "<", "<=", ">", ">="})
_KEYWORDS: Final = frozenset({"AND", "OR", "NOT", "BETWEEN", "IN"})

_NAME = r"(?:[A-Za-z][A-Za-z0-9_]*|\#[A-Za-z0-9_]+)"
_STEP = rf"(?:\.{_NAME}|\[(?:0|[1-9][0-9]{{0,4}})\])"
_token = re.compile(
    rf"[ \t\r\n]*(?:({_NAME}{_STEP}*)|(:[A-Za-z0-9_]+)|(<>|<=|>=|[=<>(),])|$)"
).match
_steps = re.compile(rf"{_NAME}|[0-9]+").findall


class Path(NamedTuple):
    """A document path, with its `#name` placeholders."""

    steps: tuple[str | int, ...]


class Value(NamedTuple):
    """A `:value` placeholder."""

    placeholder: str


class Size(NamedTuple):
    """The function `size` of a path."""

    path: Path


Operand: TypeAlias = Path | Value | Size


class Test(NamedTuple):
    """A comparison, BETWEEN, IN, or a function.

    Args:
        operator: the sign, the keyword in capital letters, or the function's name.
        operands: in the order that they are written in.
    """

    operator: str
    operands: tuple[Operand, ...]


class Combination(NamedTuple):
    """Conditions joined by AND or OR, or one behind NOT."""

    operator: str
    parts: tuple["Node", ...]


Node: TypeAlias = Test | Combination


class ConditionTree(NamedTuple):
    """A condition, and the placeholders that it uses."""

    root: Node
    placeholders: frozenset[str]


class ProjectionTree(NamedTuple):
    """The paths of a projection, and the placeholders that it uses."""

    paths: tuple[Path, ...]
    placeholders: frozenset[str]


class _Token(NamedTuple):
    """`kind` is path, value, sign, keyword, or end."""

    kind: str
    text: str


_END: Final = _Token("end", "")


def condition_tree(text: str) -> ConditionTree:
    """Parse a filter or a key condition.

    Raises:
        NotUnderstoodError: it is not understood.
    """
    return _condition_tree(_checked(text))


def projection_tree(text: str) -> ProjectionTree:
    """Parse a projection.

    Raises:
        NotUnderstoodError: it is not understood.
    """
    return _projection_tree(_checked(text))


def _checked(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise NotUnderstoodError("an expression must be a text that is not empty")
    # A letter has four bytes at the most.
    if len(text) * 4 > _MOST_BYTES and len(text.encode(errors="replace")) > _MOST_BYTES:
        raise NotUnderstoodError(f"an expression is longer than {_MOST_BYTES} bytes")
    return text


@lru_cache(maxsize=1024)
def _condition_tree(text: str) -> ConditionTree:
    parser = _Parser(_tokens(text))
    root = parser.disjunction()
    parser.take("end")
    return ConditionTree(root, parser.placeholders())


@lru_cache(maxsize=1024)
def _projection_tree(text: str) -> ProjectionTree:
    parser = _Parser(_tokens(text))
    paths = [parser.path()]
    while parser.take_if("sign", ","):
        paths.append(parser.path())
    parser.take("end")
    return ProjectionTree(tuple(paths), parser.placeholders())


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        match = _token(text, at)
        if not match:
            raise NotUnderstoodError(f"an expression has an unknown token at {at}")
        path, value, sign = match.groups()
        if path:
            keyword = path.upper()
            tokens.append(
                _Token("keyword", keyword) if keyword in _KEYWORDS else _Token("path", path)
            )
        elif value:
            tokens.append(_Token("value", value))
        elif sign:
            tokens.append(_Token("sign", sign))
        at = match.end()
    return [*tokens, _END]


class _Parser:
    """A recursive descent, from OR, which binds least, down to a single operand."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._level = 0
        self._operators = 0
        # Of each group: where it opens, to what comes behind it.
        self._groups: dict[int, int] = {}

    def placeholders(self) -> frozenset[str]:
        """Return the placeholders in the whole text.

        Raises:
            NotUnderstoodError: one is too long.
        """
        found = {token.text for token in self._tokens if token.kind == "value"}
        for token in self._tokens:
            if token.kind == "path":
                found.update(step for step in _steps(token.text) if step[0] == "#")
        if any(len(placeholder) > _LONGEST_PLACEHOLDER for placeholder in found):
            raise NotUnderstoodError(f"a placeholder has more than {_LONGEST_PLACEHOLDER} letters")
        return frozenset(found)

    def take(self, kind: str, text: str | None = None) -> str:
        token = self._tokens[self._at]
        if token.kind != kind or (text is not None and token.text != text):
            raise NotUnderstoodError(f"an expression has a syntax error at token {self._at}")
        self._at += 1
        return token.text

    def take_if(self, kind: str, text: str) -> bool:
        if self._tokens[self._at] != (kind, text):
            return False
        self._at += 1
        return True

    def disjunction(self) -> Node:
        parts = [self._conjunction()]
        while self.take_if("keyword", "OR"):
            self._count()
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Combination("OR", tuple(parts))

    def _conjunction(self) -> Node:
        parts = [self._negation()]
        while self.take_if("keyword", "AND"):
            self._count()
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else Combination("AND", tuple(parts))

    def _negation(self) -> Node:
        negated = self.take_if("keyword", "NOT")
        if negated:
            self._count()
        # Reports differ on whether DynamoDB takes a second NOT; here it is a syntax error.
        part = self._group() if self._is_sign("(") else self._test()
        return Combination("NOT", (part,)) if negated else part

    def _group(self) -> Node:
        opened = self._at
        self.take("sign", "(")
        self._level += 1
        if self._level > _MOST_LEVELS:
            raise NotUnderstoodError(f"an expression is nested more than {_MOST_LEVELS} deep")
        inside = self.disjunction()
        if self._groups.get(opened + 1) == self._at:
            raise NotUnderstoodError("an expression has redundant parentheses")
        self.take("sign", ")")
        self._level -= 1
        self._groups[opened] = self._at
        return inside

    def _test(self) -> Test:
        self._count()
        name = self._tokens[self._at].text
        if name in FUNCTIONS and self._is_sign("(", ahead=1):
            self._at += 1
            operands = self._list()
            if len(operands) != FUNCTIONS[name]:
                raise NotUnderstoodError(f"{name} has another number of operands")
            return Test(name, operands)
        first = self._operand()
        if self.take_if("keyword", "BETWEEN"):
            low = self._operand()
            self.take("keyword", "AND")
            return Test("BETWEEN", (first, low, self._operand()))
        if self.take_if("keyword", "IN"):
            candidates = self._list()
            if len(candidates) > _MOST_CANDIDATES:
                raise NotUnderstoodError("IN may have too many operands")
            return Test("IN", (first, *candidates))
        sign = self.take("sign")
        if sign not in COMPARATORS:
            raise NotUnderstoodError(f"an expression has a syntax error at token {self._at}")
        return Test(sign, (first, self._operand()))

    def _list(self) -> tuple[Operand, ...]:
        self.take("sign", "(")
        operands = [self._operand()]
        while self.take_if("sign", ","):
            operands.append(self._operand())
        self.take("sign", ")")
        return tuple(operands)

    def _operand(self) -> Operand:
        token = self._tokens[self._at]
        if token.kind == "value":
            self._at += 1
            return Value(token.text)
        if token == ("path", "size") and self._is_sign("(", ahead=1):
            self._count()
            self._at += 2
            size = Size(self.path())
            self.take("sign", ")")
            return size
        return self.path()

    def path(self) -> Path:
        text = self.take("path")
        if self._is_sign("("):
            raise NotUnderstoodError("an expression has an unknown function")
        steps = _steps(text)
        if len(steps) >= _MOST_LEVELS:
            raise NotUnderstoodError(f"a path has {_MOST_LEVELS} steps or more")
        for step in steps:
            if step.upper() in RESERVED_WORDS or step in FUNCTIONS:
                raise NotUnderstoodError("an expression has a reserved word as an attribute")
        return Path(tuple(int(step) if step.isdecimal() else step for step in steps))

    def _is_sign(self, sign: str, *, ahead: int = 0) -> bool:
        at = self._at + ahead
        return at < len(self._tokens) and self._tokens[at] == ("sign", sign)

    def _count(self) -> None:
        # DynamoDB does not count functions; to count them here is never too lax.
        self._operators += 1
        if self._operators > _MOST_OPERATORS:
            raise NotUnderstoodError(f"an expression has more than {_MOST_OPERATORS} operators")
