"""Projections return the parts of an item as DynamoDB does.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ProjectionExpressions.html
"""

from typing import Any

import pytest

from dynamirror.expressions import NotUnderstoodError, attributes_to_get, parse_projection

ITEM: dict[str, Any] = {
    "p": {"S": "k"},
    "a": {
        "M": {
            "b": {"L": [{"N": "0"}, {"M": {"x": {"S": "hi"}, "y": {"S": "yo"}}}]},
            "c": {"N": "5"},
        }
    },
    "l": {"L": [{"S": "zero"}, {"S": "one"}, {"S": "two"}, {"L": [{"N": "1"}, {"N": "2"}]}]},
    "a.b": {"S": "dotted"},
    "e": {"M": {}},
    "s": {"SS": ["x"]},
}
ZERO, ONE, TWO = ITEM["l"]["L"][:3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p", {"p": {"S": "k"}}),
        (" p ,\ta.c ", {"p": {"S": "k"}, "a": {"M": {"c": {"N": "5"}}}}),
        ("a", {"a": ITEM["a"]}),
        ("e", {"e": {"M": {}}}),
        ("gone", {}),
        ("a.b[0]", {"a": {"M": {"b": {"L": [{"N": "0"}]}}}}),
        ("a.b[1].y", {"a": {"M": {"b": {"L": [{"M": {"y": {"S": "yo"}}}]}}}}),
        # elements close up, in the order of the list
        ("l[2], l[0]", {"l": {"L": [ZERO, TWO]}}),
        ("l[1], l[9]", {"l": {"L": [ONE]}}),
        ("l[3][1], l[0]", {"l": {"L": [ZERO, {"L": [{"N": "2"}]}]}}),
        ("a.b[1].y, a.b[1].x", {"a": {"M": {"b": {"L": [ITEM["a"]["M"]["b"]["L"][1]]}}}}),
        ("a.b[1].x, a.b[0]", {"a": {"M": {"b": {"L": [{"N": "0"}, {"M": {"x": {"S": "hi"}}}]}}}}),
        # what is not there leaves nothing behind, not even an empty map or list
        *((text, {}) for text in ("a.q", "a.b[5]", "a.b.x", "a[0]", "p.x", "p[0]", "e.x", "s[0]")),
        ("l[3][5], l[3][6]", {}),
        ("a.q, a.b[0].z, p", {"p": {"S": "k"}}),
        ("#d", {"a.b": {"S": "dotted"}}),
        ("#a.#b[0]", {"a": {"M": {"b": {"L": [{"N": "0"}]}}}}),
    ],
)
def test_a_projection_keeps_the_structure(text: str, expected: dict[str, Any]) -> None:
    names = {"#d": "a.b", "#a": "a", "#b": "b"}
    assert parse_projection(text, names).of(ITEM) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("a, a", "a.b, a.b", "a[1], a[1]", "a, a.b", "a.b, a", "a.b, a.b[2]", "a.b.d.e, a.b"),
        *("a.b, a[1]", "a[1], a.b", "a.b.c, a.b[0]", "#a, a", "a.#b, #a.b", "a.b, p, a.b.c"),
        *("", " ", "a,", ",a", "a,,b", "a b", "a.", "a[0", "a[x]", "a[-1]", "a [0]", ":v", "a = b"),
        *(
            "name",
            "a.name",
            "(a)",
            "size(a)",
            "_a",
            "1a",
            "#gone",
            "#empty",
            "#a.",
            "*",
            "x" * 4097,
        ),
        *("a[100000]", "a" + ".a" * 32, "a" + "[0]" * 1300),
    ],
)
def test_what_dynamodb_may_refuse_is_not_understood(text: str) -> None:
    with pytest.raises(NotUnderstoodError):
        parse_projection(text, {"#a": "a", "#b": "b", "#empty": ""})


@pytest.mark.parametrize("text", ["a, b", "a.b, a.c", "a.b.d, a.b.e", "a[1], a[2]", "a.b, a.c[2]"])
def test_paths_that_only_begin_alike_do_not_overlap(text: str) -> None:
    assert parse_projection(text, None).names() <= {"a", "b"}


def test_attributes_to_get_are_names_with_their_dots() -> None:
    assert attributes_to_get(["a.b", "gone", "p"]).of(ITEM) == {
        "a.b": {"S": "dotted"},
        "p": {"S": "k"},
    }


@pytest.mark.parametrize("given", [None, [], "a", ["a", "a"], [""], [1], [["a"]], ["a"] * 256])
def test_attributes_to_get_that_dynamodb_may_refuse_are_not_understood(given: Any) -> None:
    with pytest.raises(NotUnderstoodError):
        attributes_to_get(given)


@pytest.mark.parametrize("value", [{"M": "a"}, {"L": 1}])
def test_an_item_with_a_value_that_is_none_is_not_understood(value: Any) -> None:
    text = "v[0].y" if "L" in value else "v.x.y"
    projection = parse_projection(text, None)
    with pytest.raises(NotUnderstoodError):
        projection.of({"v": value})
