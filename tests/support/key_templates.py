"""Key templates and primary keys to render them with."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from tests.support.strategies import binaries, numbers, texts

from dynamirror.views.key_template import KeyTemplate

TEMPLATES = [
    "{table}:{pk}:{sk}",
    "{pk}:{sk}",
    "{pk}#{sk}",
    "{pk}::{sk}",
    "{pk} {sk}",
    "{pk}-{sk}",
    "{pk}.{sk}",
    "{pk}\N{MIDDLE DOT}{sk}",
    "{sk}|{pk}:{pk}",
    "a-{pk}--{sk}-z",
    "{pk}/{sk}25",
    "{pk}/{sk}64ynamirror:",
    "%{pk}:{sk}%",
    "%64ynamirror:{pk}:{sk}",
    "d{pk}:{sk}",
    "dynamirror{pk}:{sk}",
    "{table}:{{{pk}}}:{sk}",
    "{{{pk}}}:{sk}",
    "{pk}:{{{sk}}}",
    "x{{{pk}|{sk}}}y",
    "{{all}}{pk}:{sk}",
]


TABLES = ["users", "dynamirror", "d"]


# Pieces that pretend to be what a template, an escape or our own name space writes.
_PIECES = [
    *"{}%:#-./| ad",
    "{}",
    "%3A",
    "%%",
    "25",
    "64ynamirror:",
    "%64ynamirror:",
    "ynamirror:",
    "dynamirror",
    "dynamirror:",
    "dynamirror:fence:",
    "users:",
    "\N{MIDDLE DOT}",
    "e\N{COMBINING ACUTE ACCENT}",
    "\N{MUSICAL SYMBOL G CLEF}",
    "\0",
]


hostile = st.lists(st.sampled_from(_PIECES), max_size=4).map("".join) | texts


EVERY = [KeyTemplate.parse(text, table=table) for text in TEMPLATES for table in TABLES]


def attributes(tag: str) -> st.SearchStrategy[dict[str, Any]]:
    content: st.SearchStrategy[Any] = {"S": hostile, "N": numbers, "B": binaries}[tag]
    return st.fixed_dictionaries({tag: content})


def key_tuples(pk: str, sk: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Different primary keys, whose attributes have a type each, as a table's have."""
    return st.lists(
        st.fixed_dictionaries({"pk": attributes(pk), "sk": attributes(sk)}),
        min_size=2,
        max_size=8,
        unique_by=identity,
    )


primary_keys = st.tuples(st.sampled_from("SSNB"), st.sampled_from("SSNB")).flatmap(
    lambda tags: key_tuples(*tags)
)


def identity(item: dict[str, Any]) -> tuple[object, ...]:
    """What DynamoDB tells items apart by."""
    return tuple(
        Decimal(value["N"]) if "N" in value else next(iter(value.values()))
        for _, value in sorted(item.items())
    )


def item(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def render(template: KeyTemplate, item: dict[str, Any]) -> str:
    key = template.renderer()(item)
    assert key is not None
    return key
