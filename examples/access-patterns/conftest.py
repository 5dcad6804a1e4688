"""The fixtures of the access patterns' tests."""

from pathlib import Path
from typing import Any

import pytest
from patterns import Patterns

pytest_plugins = ["dynamirror.testing"]


@pytest.fixture
def mirror_config() -> Path:
    """Return the views; the mirror also creates the tables of this file."""
    return Path(__file__).with_name("mirror.toml")


@pytest.fixture
def patterns(mirror: Any, valkey: Any) -> Patterns:
    """Return the access patterns on empty tables."""
    orders = mirror.reader("orders", view="orders")
    products = mirror.reader("products", view="products")
    return Patterns(orders, products, valkey)
