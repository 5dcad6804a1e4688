"""Views in place of a table's own indexes."""

from typing import Any

import pytest

from dynamirror.views.mirror_toml import parse_views
from dynamirror.views.secondary_indexes import difference, indexes_of, proposals
from dynamirror.views.view import Schema

SCHEMA = Schema("orders", ("PK", "SK"), ("S", "S"))


def described(*kinds: str, projection: Any = None, name: str = "by-customer") -> Any:
    """An index by AWS, with the key attributes customer, created, other."""
    names = ("customer", "created", "other")
    return {
        "IndexName": name,
        "KeySchema": [
            {"AttributeName": attribute, "KeyType": kind}
            for attribute, kind in zip(names, kinds, strict=False)
        ],
        "Projection": projection or {"ProjectionType": "ALL"},
    }


KEYS_ONLY = {"ProjectionType": "KEYS_ONLY"}
INCLUDE = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["total", "status"]}
TABLE: Any = {
    "TableName": "orders",
    "LocalSecondaryIndexes": [described("HASH", projection=KEYS_ONLY, name="local")],
    "GlobalSecondaryIndexes": [
        described("HASH", "RANGE"),
        described("HASH", projection=INCLUDE, name="some"),
        described("HASH", "RANGE", "RANGE", name="several"),
    ],
}


def test_each_proposal_is_a_view_that_answers_as_the_index() -> None:
    texts = list(proposals(TABLE))
    (several,) = [text for text in texts if text.startswith("#")]
    assert "several" in several
    specs = parse_views("\n".join(texts))
    assert [spec.name for spec in specs] == ["local", "by-customer", "some"]
    indexes = indexes_of(TABLE)
    for spec in specs:
        assert difference(spec, spec.bind(SCHEMA), indexes[spec.name]) is None
    views = [spec.bind(SCHEMA) for spec in specs]
    assert [text[:1] for text in proposals(TABLE, views)] == ["#"]


@pytest.mark.parametrize(
    ("words", "index", "said"),
    [
        ('index = { partition = "customer" }', described("HASH", "RANGE"), "its key is customer,"),
        ('index = { partition = "customer" }', described("HASH", "HASH"), "is another"),
        (
            'index = { partition = "customer" }\ninclude = ["total"]',
            described("HASH"),
            "it has PK, SK, customer, total, and the table's index has all attributes",
        ),
        (
            'index = { partition = "customer" }',
            described("HASH", projection=KEYS_ONLY),
            "it has all attributes, and the table's index has PK, SK, customer",
        ),
        (
            'index = { partition = "customer" }\ninclude = ["total", "x"]',
            described("HASH", projection=INCLUDE),
            "it lacks status of the table's index and it has x beside what the table's index has",
        ),
        ('index = { partition = "customer" }\nencoding = "json"', described("HASH"), "encoding"),
        ('index = { partition = "customer" }\nscore = "n"', described("HASH"), "score"),
        ('index = { partition = "customer" }\nwhen = { x = "y" }', described("HASH"), "`when`"),
        ('index = { partition = "customer" }\nrename = { x = "y" }', described("HASH"), "`rename`"),
    ],
)
def test_how_a_view_differs_from_the_index_of_its_name(words: str, index: Any, said: str) -> None:
    (spec,) = parse_views(f'[[view]]\nname = "by-customer"\n{words}')
    assert said in (difference(spec, spec.bind(SCHEMA), index) or "")
