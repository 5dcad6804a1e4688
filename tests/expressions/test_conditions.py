"""Conditions mean what DynamoDB's documentation says, also where the emulator is lax.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
"""

from base64 import b64encode
from typing import Any

import pytest

from dynamirror.expressions import NotUnderstoodError, check_filter, parse_condition

LARGE = "99999999999999999999999999999999999998"
ITEM: dict[str, Any] = {
    "t": {"S": "héllo"},
    "astral": {"S": "\U0001d11e"},
    "n": {"N": "1"},
    "huge": {"N": "99999999999999999999999999999999999999"},
    "bin": {"B": b64encode(b"\x00\x80abc").decode()},
    "octets": {"B": b"\x00\x80abc"},
    "flag": {"BOOL": True},
    "nil": {"NULL": True},
    "ss": {"SS": ["b", "a"]},
    "ns": {"NS": ["1", "2.50"]},
    "bs": {"BS": [b64encode(b"ab").decode()]},
    "list1": {"L": [{"N": "1"}, {"SS": ["x", "y"]}, {"M": {"k": {"S": "v"}}}]},
    "doc": {"M": {"x": {"L": [{"M": {"y.z": {"N": "7"}}}]}, "e": {"M": {}}}},
    "a.b": {"S": "dotted"},
    "a": {"M": {"b": {"S": "nested"}}},
    "empty": {"S": ""},
}


def holds(text: str, values: dict[str, Any] | None = None, **names: str) -> bool:
    """Evaluate a condition on ITEM; names are given without their `#`."""
    given = {f"#{key}": name for key, name in names.items()}
    return parse_condition(text, given, values).holds(ITEM)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("n = :v", {"N": "1.0"}, True),
        ("n = :v", {"N": "1E0"}, True),
        ("n = :v", {"S": "1"}, False),
        ("n <> :v", {"S": "1"}, True),
        ("flag = :v", {"N": "1"}, False),
        ("huge > :v", {"N": LARGE}, True),  # equal as floats
        ("huge = :v", {"N": LARGE}, False),
        ("n < :v", {"S": "2"}, False),
        ("n >= :v", {"S": "0"}, False),
        ("ss = :v", {"SS": ["a", "b"]}, True),
        ("ns = :v", {"NS": ["2.5", "1.0"]}, True),
        ("bin = :v", {"B": b64encode(b"\x00\x80abc").decode()}, True),
        ("octets = :v", {"B": b64encode(b"\x00\x80abc").decode()}, True),
        ("bin > :v", {"B": b64encode(b"\x00\x7f").decode()}, True),  # bytes are unsigned
        ("list1[1] = :v", {"SS": ["y", "x"]}, True),
        ("doc.e = :v", {"M": {}}, True),
        ("doc.x = :v", {"L": [{"M": {"y.z": {"N": "7.0"}}}]}, True),
        ("nil = :v", {"NULL": True}, True),
        ("t < :v", {"S": "i"}, True),  # UTF-8 order
        ("astral > :v", {"S": "\uffff"}, True),  # not UTF-16 order
    ],
)
def test_a_comparison_is_exact_and_of_one_type(
    text: str, value: dict[str, Any], *, expected: bool
) -> None:
    assert holds(text, {":v": value}) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gone = :one", False),
        ("gone <> :one", True),
        ("NOT gone = :one", True),
        ("gone < :one", False),
        ("NOT gone < :one", True),
        ("gone BETWEEN :one AND :one", False),
        ("gone IN (:one)", False),
        ("attribute_type(gone, :tag)", False),
        ("begins_with(gone, :tag)", False),
        ("contains(gone, :one)", False),
        ("size(gone) = :one", False),
        ("size(gone) <> :one", True),
        ("doc.x[9].q = :one", False),
        ("t.x = :one", False),
        ("doc[0] <> :one", True),
        ("attribute_not_exists(doc.x[1])", True),
        # What is missing is not even equal to what is missing: the emulator finds it equal.
        ("gone = lost", False),
        ("gone <> lost", True),
        ("gone IN (lost, :one)", False),
    ],
)
def test_what_is_missing_differs_from_everything(text: str, *, expected: bool) -> None:
    given = {":one": {"N": "1"}, ":tag": {"S": "S"}}
    assert holds(text, given) is expected


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("contains(t, :v)", {"S": "éll"}, True),
        ("contains(ss, :v)", {"S": "a"}, True),
        ("contains(ss, :v)", {"SS": ["a"]}, False),
        ("contains(ns, :v)", {"N": "2.5"}, True),  # the emulator compares texts
        ("contains(bs, :v)", {"B": b64encode(b"ab").decode()}, True),
        ("contains(bin, :v)", {"B": b64encode(b"\x80a").decode()}, True),  # false in the emulator
        ("contains(list1, :v)", {"N": "1.0"}, True),
        ("contains(list1, :v)", {"SS": ["y", "x"]}, True),
        ("contains(list1, :v)", {"M": {"k": {"S": "v"}}}, True),
        ("contains(doc, :v)", {"S": "x"}, False),
        ("contains(n, :v)", {"N": "1"}, False),
        ("contains(flag, :v)", {"BOOL": True}, False),
        ("begins_with(t, :v)", {"S": "hé"}, True),
        ("begins_with(bin, :v)", {"B": "AIA="}, True),
        ("begins_with(n, :v)", {"S": "1"}, False),  # the emulator refuses it
        ("begins_with(t, :v)", {"B": "aA=="}, False),
        ("attribute_type(ns, :v)", {"S": "NS"}, True),
        ("attribute_type(doc.x[0], :v)", {"S": "M"}, True),
        ("attribute_type(nil, :v)", {"S": "S"}, False),
    ],
)
def test_functions_look_into_every_type(
    text: str, value: dict[str, Any], *, expected: bool
) -> None:
    assert holds(text, {":v": value}) is expected


@pytest.mark.parametrize(
    ("name", "size"),
    [("t", 5), ("astral", 2), ("bin", 5), ("octets", 5), ("ss", 2), ("list1", 3), ("doc", 2)],
)
def test_size_counts_utf_16_bytes_and_members(name: str, size: int) -> None:
    # https://github.com/ExtendDB/extenddb/issues/60 compares with DynamoDB itself.
    assert holds(f"size({name}) = :v", {":v": {"N": str(size)}})


@pytest.mark.parametrize("name", ["n", "flag", "nil"])
def test_a_value_without_a_size_fulfils_no_comparison(name: str) -> None:
    for sign in ("=", "<", "<=", ">", ">="):  # 0 in the emulator
        assert not holds(f"size({name}) {sign} :v", {":v": {"N": "0"}})
    with pytest.raises(NotUnderstoodError):
        holds(f"size({name}) <> :v", {":v": {"N": "3"}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n = :yes OR n = :no AND n = :no", True),
        ("(n = :yes OR n = :no) AND n = :no", False),
        ("NOT n = :no AND n = :no", False),
        ("NOT (n = :no AND n = :no)", True),
        ("NOT (NOT n = :yes)", True),
        ("n BETWEEN :yes AND :yes AND n = :yes", True),
        ("n = :yes\tand\nNoT n = :no", True),
        ("(n = :yes) and (n = :yes oR n = :no)", True),
        ("((n = :no) AND n = :yes) OR n = :yes", True),
    ],
)
def test_not_binds_more_than_and_and_that_more_than_or(text: str, *, expected: bool) -> None:
    given = {":yes": {"N": "1"}, ":no": {"N": "2"}}
    assert holds(text, given) is expected


def test_a_placeholder_is_one_name_with_its_dots() -> None:
    assert holds("#n = :v", {":v": {"S": "dotted"}}, n="a.b")
    assert holds("a.b = :v", {":v": {"S": "nested"}})
    assert holds("#d.x[0].#n = :v", {":v": {"N": "7"}}, d="doc", n="y.z")


def test_a_condition_names_the_attributes_that_it_reads() -> None:
    condition = parse_condition(
        "#a.b = :v OR contains(doc.x, ss[0]) OR size(t) > :v", {"#a": "name"}, {":v": {"N": "1"}}
    )
    assert condition.names() == {"name", "doc", "ss", "t"}
    assert condition.placeholders == {"#a", ":v"}
    check_filter(condition, ("pk", "sk"))
    with pytest.raises(NotUnderstoodError):
        check_filter(condition, ("pk", "doc"))


_CANDIDATES = ", ".join(f":v{number}" for number in range(99))
_MANY = {f":v{number}": {"N": str(number)} for number in range(100)}


def test_in_takes_99_values_and_leaves_more_to_dynamodb() -> None:
    assert parse_condition(f"n IN ({_CANDIDATES})", None, _MANY).holds(ITEM)
    with pytest.raises(NotUnderstoodError):
        parse_condition(f"n IN ({_CANDIDATES}, :v99)", None, _MANY)


CONSTANTS: dict[str, Any] = {
    "v": {"N": "1"},
    "w": {"N": "2"},
    "s": {"S": "a"},
    "empty": {"S": ""},
    "list": {"L": []},
    "flag": {"BOOL": True},
    "ns": {"NS": ["1"]},
    "dog": {"S": "DOG"},
    "high": {"S": "\uffff"},
    "astral": {"S": "\U0001d11e"},
}


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "n", ":v", "n =", "= :v", "n = :v AND", "AND n = :v", "n = :v n = :v", "()"),
        *("n == :v", "n != :v", "n = :v)", "(n = :v", "n = 1", "n = 'a'", "n = :v;", "n = :v -- a"),
        *(
            "n IN ()",
            "n IN :v",
            "n BETWEEN :v",
            "n BETWEEN :v, :w",
            "NOT",
            "NOT NOT n = :v",
            "n NOT IN (:v)",
        ),
        # redundant parentheses, and operands in parentheses
        *("((n = :v))", "NOT ((n = :v))", "(((n = :v)) AND n = :v)", "(n) = :v", "((n)) = :v"),
        # reserved words, in any case and at any place
        *("name = :v", "Name = :v", "doc.name = :v", "size = :v", "contains = :v", "and = :v"),
        # names
        *("_n = :v", "1n = :v", "n-a = :v", "ä = :v", "n. = :v", ".n = :v", "n..a = :v"),
        *(
            "n[] = :v",
            "n[a] = :v",
            "n[-1] = :v",
            "n[01] = :v",
            "n [0] = :v",
            "n . a = :v",
            "n[:v] = :v",
        ),
        # placeholders
        *("n = :unknown", "#unknown = :v", "# = :v", "n = :", "#n- = :v"),
        # functions
        *(
            "size(n)",
            "SIZE(n) = :v",
            "dog(n)",
            "begins_with(n)",
            "contains(n, :v, :v)",
            "size(:v) = :v",
        ),
        *("attribute_exists(:v)", "attribute_exists(n) = :v", "attribute_exists(size(n))"),
        *(
            "if_not_exists(n, :v) = :v",
            "size(size(n)) = :v",
            "contains(n, size(n))",
            "size(n, n) = :v",
        ),
        # one operand twice, and constants only
        *("n = n", "n <> n", "contains(n, n)", "n IN (:v, n)", "n BETWEEN n AND :v", "#n = n"),
        *(":v = :v", ":v = :w", "attribute_type(:v, :s)"),
        # types of constants
        *(
            "n < :list",
            "n BETWEEN :v AND :s",
            "n BETWEEN :w AND :v",
            "t BETWEEN :high AND :astral",
            "n >= :flag",
            "n < :ns",
        ),
        *("begins_with(t, :v)", "begins_with(t, :empty)", "contains(t, :empty)", "size(t) = :s"),
        *("attribute_type(n, :dog)", "attribute_type(n, t)", "attribute_type(n, :v)"),
        # values that DynamoDB refuses, or may
        *(f"n = :bad{number}" for number in range(22)),
    ],
)
def test_what_dynamodb_may_refuse_is_not_understood(text: str) -> None:
    bad: list[Any] = [
        *({"N": ""}, {"N": "x"}, {"N": "NaN"}, {"N": "1e126"}, {"N": "1e-131"}, {"N": "1" * 39}),
        *(
            {"SS": []},
            {"SS": ["a", "a"]},
            {"NS": ["1", "1.0"]},
            {"BS": ["YQ==", "YQ=="]},
            {"SS": [""]},
        ),
        *({"B": "x"}, {"B": "YQ"}, {"NULL": False}, {"BOOL": "true"}, {"S": 1}, {"S": "\ud800"}),
        *({}, {"S": "a", "N": "1"}, {"X": "a"}, "a", {"L": [{"M": {"a": {"NS": []}}}]}),
    ]
    given = {f":{name}": value for name, value in CONSTANTS.items()}
    given |= {f":bad{number}": value for number, value in enumerate(bad)}
    with pytest.raises(NotUnderstoodError):
        parse_condition(text, {"#n": "n"}, given)


def test_an_expression_has_at_most_4096_bytes_and_300_operators() -> None:
    given = {":v": {"N": "1"}}
    assert parse_condition("n = :v" + " " * 4090, None, given).holds(ITEM)
    for text in ("n = :v" + " " * 4091, "#é = :v" + " " * 4089):
        with pytest.raises(NotUnderstoodError):
            parse_condition(text, None, given)
    most = " OR ".join(["n=:v"] * 150)
    assert parse_condition(most, None, given).holds(ITEM)
    with pytest.raises(NotUnderstoodError):
        parse_condition(f"{most} OR n=:v", None, given)


@pytest.mark.parametrize(
    "text", ["(" * 4000, "NOT " * 1000 + "n = :v", "n<:v OR (" * 299 + ")" * 299]
)
def test_a_deep_expression_is_not_understood(text: str) -> None:
    with pytest.raises(NotUnderstoodError):
        parse_condition(text, None, {":v": {"N": "1"}})


def test_a_deep_value_is_not_understood() -> None:
    value: dict[str, Any] = {"N": "1"}
    for _ in range(31):
        value = {"L": [value]}
    with pytest.raises(NotUnderstoodError):
        parse_condition("n = :v", None, {":v": value})


@pytest.mark.parametrize(
    "value",
    [{"N": "x"}, {"B": "x"}, {"X": "a"}, {"S": "a", "N": "1"}, {}, "a", {"NS": 1}],
)
def test_an_item_with_a_value_that_is_none_is_not_understood(value: Any) -> None:
    condition = parse_condition("bad <> :v", None, {":v": {"N": "1"}})
    with pytest.raises(NotUnderstoodError):
        condition.holds({"bad": value})


@pytest.mark.parametrize("text", ["begins_with(t, empty)", "contains(t, empty)"])
def test_a_part_that_is_empty_is_left_to_dynamodb(text: str) -> None:
    with pytest.raises(NotUnderstoodError):
        holds(text)
