"""Airports as items of a table."""

from functools import cache
from typing import Any

import airportsdata
from tests.support.builders import item

TEXTS = {"name", "city", "country", "tz"}


def airports(number: int | None = None) -> list[dict[str, Any]]:
    """The airports of the world, or the first of them."""
    return [
        item(code, **{name: str(one[name]) for name in sorted(TEXTS)})
        for code, one in _known()[:number]
    ]


@cache
def _known() -> list[tuple[str, Any]]:
    """Read once, which takes half a second."""
    return list(airportsdata.load("ICAO").items())
