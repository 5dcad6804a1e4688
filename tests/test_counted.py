"""Numbers of things in words."""

import pytest

from dynamirror.counted import counted


@pytest.mark.parametrize(
    ("number", "plural", "text"),
    [
        (0, "items", "0 items"),
        (1, "items", "1 item"),
        (1, "orphaned entries", "1 orphaned entry"),
        (1, "retries", "1 retry"),
        (1, "applied", "1 applied"),
        (1_234_567, "entries", "1,234,567 entries"),
    ],
)
def test_one_thing_is_named_in_the_singular(number: int, plural: str, text: str) -> None:
    assert counted(number, plural) == text
