"""The fixtures of the shop's tests."""

from pathlib import Path
from typing import Any

import pytest
from shop import Shop

pytest_plugins = ["dynamirror.testing"]


@pytest.fixture
def mirror_config() -> Path:
    """Return the views; the mirror also creates the tables of this file."""
    return Path(__file__).with_name("mirror.toml")


@pytest.fixture
def shop(dynamodb: Any, mirror: Any) -> Shop:
    """Return a shop on an empty table."""
    users, lines = mirror.reader(view="users"), mirror.reader(view="order lines")
    return Shop(dynamodb.Table("shop"), users, lines)
