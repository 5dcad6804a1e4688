"""Airports as items of a table."""

from typing import Any

import airportsdata
from tests.support.builders import item

TEXTS = {"name", "city", "country", "tz"}


def airports(number: int | None = None) -> list[dict[str, Any]]:
    """The airports of the world, or the first of them."""
    known = list(airportsdata.load("ICAO").items())[:number]
    return [
        item(code, **{name: str(one[name]) for name in sorted(TEXTS)})  # type: ignore[literal-required]
        for code, one in known
    ]
